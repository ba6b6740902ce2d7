//! A shard as its owner drives it.

use super::{LATER_MS, Now, TransactionShard};
use crate::codec::RecordError;
use crate::machine::{EndTxn, KeyValue, Machine, Moment, Producer, Refused, Token};
use crate::txn::effects::{Effects, Note, Outcome, Question};
use crate::txn::measures::Cause;
use crate::txn::record::TransactionRecord;
use crate::txn::reply::TransactionReply;
use crate::txn::request::{TransactionRequest, TransactionalId};
use crate::txn::stock::Waiting;
use crate::txn::transaction::Transaction;

impl Machine for TransactionShard {
    type Catalog = ();
    type Request = TransactionRequest;
    type Reply = TransactionReply;
    type Record = TransactionRecord;
    type RecordError = RecordError;
    type Question = Question;
    type Outcome = Outcome;
    type Note = Note;

    fn replay(
        &mut self,
        _producer: Option<Producer>,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), RecordError> {
        // A record of an unknown kind changes nothing.
        if let Some(record) = TransactionRecord::decode(key, value)? {
            self.apply(record);
        }
        Ok(())
    }

    /// Nobody writes to this log in a transaction.
    fn replay_marker(&mut self, _end: EndTxn) {}

    fn settled(&mut self, _producer: Producer, _is_appended: bool) {}

    fn depends_on_markers(&self, _request: &TransactionRequest) -> bool {
        false
    }

    /// Goes on with the ends that were under way, and lets what is left of each time run.
    fn loaded(&mut self, now: &Moment<()>) -> Effects {
        let now = Now::from(now);
        let mut effects = Effects::default();
        let mut under_way: Vec<(TransactionalId, Transaction)> = Vec::new();
        for (transactional_id, transaction) in &self.transactions {
            if transaction.state.is_prepare() {
                under_way.push((transactional_id.clone(), transaction.clone()));
            } else {
                let deadline_ms = now.steady_ms + self.remains_ms(now, transaction);
                self.timers.schedule(transactional_id.clone(), deadline_ms);
            }
        }
        for (transactional_id, prepared) in under_way {
            let after = prepared.completed(now.wall_ms);
            let cause = Cause::Load;
            self.end(
                now,
                &transactional_id,
                &prepared,
                after,
                cause,
                &mut effects,
            );
        }
        effects
    }

    fn handle(&mut self, now: &Moment<()>, token: Token, request: TransactionRequest) -> Effects {
        let mut effects = Effects::default();
        self.serve(now.into(), token, request, &mut effects);
        effects.questions.extend(self.stock.question());
        effects
    }

    fn outcome(&mut self, now: &Moment<()>, outcome: Outcome) -> Effects {
        let now = Now::from(now);
        let mut effects = Effects::default();
        let Outcome::ProducerIds(ids) = outcome;
        let are_none = ids.is_empty();
        for waiting in self.stock.restock(ids) {
            match waiting {
                Waiting::Request(token, _) if are_none => {
                    effects.reply(token, Refused::Unavailable.into());
                }
                Waiting::Request(token, request) => self.serve(now, token, request, &mut effects),
                // Its producer has ended it meanwhile.
                Waiting::Timeout(id) if self.timers.is_scheduled(&id) => {}
                Waiting::Timeout(id) if are_none => {
                    let deadline_ms = now.steady_ms.saturating_add(LATER_MS);
                    self.timers.schedule(id, deadline_ms);
                }
                Waiting::Timeout(id) => self.time_is_up(now, id, &mut effects),
            }
        }
        if !are_none {
            effects.questions.extend(self.stock.question());
        }
        effects
    }

    fn next_deadline(&self) -> Option<i64> {
        self.timers.next_deadline()
    }

    fn on_deadline(&mut self, now: &Moment<()>) -> Effects {
        let now = Now::from(now);
        let mut effects = Effects::default();
        while let Some(transactional_id) = self.timers.pop_due(now.steady_ms) {
            self.time_is_up(now, transactional_id, &mut effects);
        }
        effects.questions.extend(self.stock.question());
        effects
    }

    fn unload(self, refused: Refused) -> Vec<(Token, TransactionReply)> {
        let waiting = self.stock.into_waiting().into_iter();
        let requests = waiting.filter_map(|waiting| match waiting {
            Waiting::Request(token, _) => Some((token, refused.into())),
            Waiting::Timeout(_) => None,
        });
        requests.collect()
    }

    fn encode(record: &TransactionRecord) -> Result<KeyValue, RecordError> {
        record.encode()
    }
}
