//! The transactional ids of one partition of `__transaction_state`.

mod machine;
mod requests;

use std::collections::BTreeMap;

use protocol_shim::ErrorCode;

use crate::batch_size::BATCH_OVERHEAD_BYTES;
use crate::machine::{Moment, Write};
use crate::timer::Timers;
use crate::txn::EPOCH_PER_TRANSACTION;
use crate::txn::config::TransactionConfig;
use crate::txn::effects::{Effects, Note, NoteKind};
use crate::txn::measures::{Cause, Measures};
use crate::txn::record::TransactionRecord;
use crate::txn::request::TransactionalId;
use crate::txn::stock::{NoProducerId, Stock, Waiting};
use crate::txn::transaction::{Transaction, TransactionState};

/// Markers that are written with the record that completes their transaction. More take several writes, and a crash may
/// leave the first ones only. So each of them has a record that says what is under way, and the shard goes on with the others
/// when it is loaded.
pub(super) const MARKERS_AT_ONCE: usize = 10_000;
/// When a transaction whose time is up is looked at again for which no producer id could be had.
const LATER_MS: i64 = 1_000;

/// All transactional ids of one `__transaction_state` partition. The [module](super) says how to drive it.
#[derive(Debug)]
pub struct TransactionShard {
    config: TransactionConfig,
    pub(super) transactions: BTreeMap<TransactionalId, Transaction>,
    /// Each id has one: when its transaction is to be aborted, or when it expires.
    pub(super) timers: Timers<TransactionalId>,
    stock: Stock,
    pub(super) measures: Measures,
}

/// The moment of a call.
#[derive(Debug, Clone, Copy)]
struct Now {
    /// Deadlines go by this.
    steady_ms: i64,
    /// Records tell this.
    wall_ms: i64,
    max_batch_bytes: usize,
}

impl From<&Moment<()>> for Now {
    fn from(moment: &Moment<()>) -> Self {
        Self {
            steady_ms: moment.steady_ms,
            wall_ms: moment.steady_ms.saturating_add(moment.wall_ahead_ms),
            max_batch_bytes: moment.max_batch_bytes,
        }
    }
}

impl TransactionShard {
    /// An empty shard, ready for [`replay`](crate::machine::Machine::replay).
    pub fn new(config: TransactionConfig) -> Self {
        Self {
            config,
            transactions: BTreeMap::new(),
            timers: Timers::new(),
            stock: Stock::default(),
            measures: Measures::default(),
        }
    }

    /// Takes over one record, from the log or one that the shard has just made. Gives the state that the id had before.
    /// Nothing but this function changes what is durable.
    fn apply(&mut self, record: TransactionRecord) -> Option<TransactionState> {
        let TransactionRecord {
            transactional_id,
            value,
        } = record;
        let before = match value {
            Some(value) => {
                self.measures.enter(value.state);
                self.transactions.insert(transactional_id, value)
            }
            None => self.transactions.remove(&transactional_id),
        };
        let before = before?.state;
        self.measures.leave(before);
        Some(before)
    }

    /// Applies a record and sets the timer of its id. A timeout counts from the beginning of a transaction.
    fn put(&mut self, now: Now, record: TransactionRecord) {
        let transactional_id = record.transactional_id.clone();
        let lasts_ms = record.value.as_ref().map(|value| self.lasts_ms(value));
        let is_open =
            record.value.as_ref().map(|value| value.state) == Some(TransactionState::Ongoing);
        let was_open = self.apply(record) == Some(TransactionState::Ongoing);
        match lasts_ms {
            Some(_) if was_open && is_open => {}
            Some(lasts_ms) => {
                let deadline_ms = now.steady_ms.saturating_add(lasts_ms);
                self.timers.schedule(transactional_id, deadline_ms);
            }
            None => self.timers.cancel(transactional_id),
        }
    }

    /// How long the state may last.
    fn lasts_ms(&self, transaction: &Transaction) -> i64 {
        i64::from(match transaction.state {
            TransactionState::Ongoing => transaction.timeout_ms,
            _ => self.config.id_expiration_ms,
        })
    }

    /// What is left of that after a restart. It is never more than the whole, wherever the wall clock has gone.
    fn remains_ms(&self, now: Now, transaction: &Transaction) -> i64 {
        let since_ms = match transaction.state {
            TransactionState::Ongoing => transaction.start_ms,
            _ => transaction.last_update_ms,
        };
        let lasts_ms = self.lasts_ms(transaction).max(0);
        let until_ms = since_ms.saturating_add(lasts_ms);
        until_ms.saturating_sub(now.wall_ms).clamp(0, lasts_ms)
    }

    /// Applies a record and appends it.
    ///
    /// # Errors
    /// UNKNOWN_SERVER_ERROR if the log takes no record of this size, as in Kafka. Nothing has changed.
    fn write(
        &mut self,
        now: Now,
        record: TransactionRecord,
        effects: &mut Effects,
    ) -> Result<(), ErrorCode> {
        if record.size_bytes() + BATCH_OVERHEAD_BYTES > now.max_batch_bytes {
            return Err(ErrorCode::UnknownServerError);
        }
        effects.append(record.clone());
        self.put(now, record);
        Ok(())
    }

    /// Ends a transaction: writes its markers, and with them the state that comes after. If there are too many markers for one
    /// write, the first ones go with the state that it is in meanwhile, which is `prepared`.
    fn end(
        &mut self,
        now: Now,
        transactional_id: &TransactionalId,
        prepared: &Transaction,
        after: Transaction,
        cause: Cause,
        effects: &mut Effects,
    ) {
        let record = |value: Transaction| TransactionRecord {
            transactional_id: transactional_id.clone(),
            value: Some(value),
        };
        let mut ending = prepared.ending();
        let open_ms = now.wall_ms.saturating_sub(prepared.start_ms);
        self.measures.ended(ending.commit, cause, open_ms);
        if matches!(cause, Cause::Fence | Cause::Timeout) {
            let producer = self.transactions.get(transactional_id);
            let what = NoteKind::Aborted {
                cause,
                producer: producer.map_or(prepared.producer, |open| open.producer),
                open_ms,
            };
            effects.notes.push(Note {
                transactional_id: transactional_id.clone(),
                what,
            });
        }
        while ending.partitions.len() > MARKERS_AT_ONCE {
            let later = ending.partitions.split_off(MARKERS_AT_ONCE);
            let mut chunk = ending.clone();
            (chunk.partitions, ending.partitions) = (ending.partitions, later);
            effects.writes.push(Write::Joint {
                record: record(prepared.clone()),
                ending: chunk,
            });
        }
        match ending.partitions.is_empty() {
            true => effects.append(record(after.clone())),
            false => effects.writes.push(Write::Joint {
                record: record(after.clone()),
                ending,
            }),
        }
        self.put(now, record(after));
    }

    /// The time of an id is up: aborts its transaction, or forgets the id.
    fn time_is_up(&mut self, now: Now, transactional_id: TransactionalId, effects: &mut Effects) {
        let Some(transaction) = self.transactions.get(&transactional_id) else {
            return;
        };
        if transaction.state != TransactionState::Ongoing {
            let record = TransactionRecord {
                transactional_id: transactional_id.clone(),
                value: None,
            };
            effects.append(record.clone());
            effects.notes.push(Note {
                transactional_id,
                what: NoteKind::Expired,
            });
            self.put(now, record);
            return;
        }
        let aborted =
            transaction.prepared(false, EPOCH_PER_TRANSACTION, now.wall_ms, &mut self.stock);
        match aborted {
            Ok(prepared) => {
                let after = prepared.completed(now.wall_ms);
                self.end(
                    now,
                    &transactional_id,
                    &prepared,
                    after,
                    Cause::Timeout,
                    effects,
                );
            }
            Err(NoProducerId) => self.stock.wait(Waiting::Timeout(transactional_id)),
        }
    }
}
