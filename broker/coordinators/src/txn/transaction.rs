//! One transactional id: what is known of it, and what becomes of it.
//!
//! Nothing here changes in place. Each function gives the state that comes next, or says why there is none.

use std::sync::Arc;

use protocol_shim::ErrorCode;

use crate::machine::{Ending, Partition, Producer};
use crate::txn::EPOCH_PER_TRANSACTION;
use crate::txn::partitions::Partitions;
use crate::txn::stock::{NoProducerId, Stock};

pub(super) const NO_PRODUCER_ID: i64 = -1;
pub(super) const NO_EPOCH: i16 = -1;
pub(super) const NO_TIME: i64 = -1;

/// The last epoch that a client is given. The one above is for markers, so that they can always fence it.
pub(super) const LAST_EPOCH: i16 = i16::MAX - 1;

/// What a transactional id is up to. Kafka knows two states more, which no record ever tells: Dead and PrepareEpochFence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum TransactionState {
    /// There is a producer. It has not begun a transaction yet.
    Empty,
    Ongoing,
    /// The transaction is committed, and its markers are being written.
    PrepareCommit,
    /// The transaction is aborted, and its markers are being written.
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

use TransactionState::*;

impl TransactionState {
    /// In the order of their numbers.
    pub const ALL: [Self; 6] = [
        Empty,
        Ongoing,
        PrepareCommit,
        PrepareAbort,
        CompleteCommit,
        CompleteAbort,
    ];

    /// As a record says it.
    pub(super) fn number(self) -> i8 {
        self as i8
    }

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Empty => "Empty",
            Ongoing => "Ongoing",
            PrepareCommit => "PrepareCommit",
            PrepareAbort => "PrepareAbort",
            CompleteCommit => "CompleteCommit",
            CompleteAbort => "CompleteAbort",
        }
    }

    /// Whether markers are being written.
    pub(super) fn is_prepare(self) -> bool {
        matches!(self, PrepareCommit | PrepareAbort)
    }

    pub(super) fn is_complete(self) -> bool {
        matches!(self, CompleteCommit | CompleteAbort)
    }

    /// How the transaction ended that the state tells of, if it tells of an end.
    pub(super) fn is_commit(self) -> Option<bool> {
        match self {
            Empty | Ongoing => None,
            PrepareCommit | CompleteCommit => Some(true),
            PrepareAbort | CompleteAbort => Some(false),
        }
    }
}

/// What is known of one transactional id. A record says the same, but for the ids of topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub(super) producer: Producer,
    /// The epoch that the producer had before, or -1. A client that asks again under it has not heard the answer.
    pub(super) last_epoch: i16,
    /// The producer id before this state, or -1.
    pub(super) previous_producer_id: i64,
    /// The producer id that comes with the end of the transaction, while markers are being written, or -1.
    pub(super) next_producer_id: i64,
    pub(super) timeout_ms: i32,
    pub(super) state: TransactionState,
    pub(super) partitions: Arc<Partitions>,
    /// When the transaction began, by the wall clock, or -1.
    pub(super) start_ms: i64,
    /// When this state was reached, by the wall clock.
    pub(super) last_update_ms: i64,
    /// The version of the protocol that the transaction goes by. 2: the producer has a new epoch afterwards.
    pub(super) version: i16,
}

/// Why a request does not lead to a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Error(ErrorCode),
    /// A producer id is needed. The request is to wait until there is one.
    NoProducerId,
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        Self::Error(error)
    }
}

impl From<NoProducerId> for Refusal {
    fn from(_: NoProducerId) -> Self {
        Self::NoProducerId
    }
}

impl Transaction {
    /// An id that is used for the first time. Its producer has no epoch until it is [`initialized`](Self::initialized).
    pub(super) fn unused(producer_id: i64, now_ms: i64) -> Self {
        Self {
            producer: Producer {
                id: producer_id,
                epoch: NO_EPOCH,
            },
            last_epoch: NO_EPOCH,
            previous_producer_id: NO_PRODUCER_ID,
            next_producer_id: NO_PRODUCER_ID,
            timeout_ms: 0,
            state: Empty,
            partitions: Arc::default(),
            start_ms: NO_TIME,
            last_update_ms: now_ms,
            version: 0,
        }
    }

    /// Whether somebody is the current producer.
    ///
    /// # Errors
    /// INVALID_PRODUCER_ID_MAPPING for another id, PRODUCER_FENCED for another epoch of the same id.
    pub(super) fn check(&self, producer: Producer) -> Result<(), ErrorCode> {
        if producer.id != self.producer.id {
            Err(ErrorCode::InvalidProducerIdMapping)
        } else if producer.epoch != self.producer.epoch {
            Err(ErrorCode::ProducerFenced)
        } else {
            Ok(())
        }
    }

    /// Whether InitProducerId may come from somebody who says who it is (KIP-360). Its epoch is looked at later, if no
    /// transaction is open.
    ///
    /// # Errors
    /// PRODUCER_FENCED.
    pub(super) fn check_expected(&self, expected: Producer) -> Result<(), ErrorCode> {
        let is_new = self.producer.epoch == NO_EPOCH;
        let is_current = expected.id == self.producer.id;
        let had_its_last_epoch =
            expected.id == self.previous_producer_id && expected.epoch >= LAST_EPOCH;
        let is_zombie = self.state == Ongoing && expected != self.producer;
        match (is_new || is_current || had_its_last_epoch) && !is_zombie {
            true => Ok(()),
            false => Err(ErrorCode::ProducerFenced),
        }
    }

    /// InitProducerId, where no transaction is open: the producer's next epoch, or its next id when there is none.
    pub(super) fn initialized(
        &self,
        expected: Option<Producer>,
        timeout_ms: i32,
        now_ms: i64,
        ids: &mut Stock,
    ) -> Result<Self, Refusal> {
        let Producer { id, epoch } = self.producer;
        let expected = expected.map(|expected| expected.epoch);
        let is_current = expected.is_none_or(|expected| expected == epoch);
        let mut next = Self {
            next_producer_id: NO_PRODUCER_ID,
            timeout_ms,
            state: Empty,
            partitions: Arc::default(),
            start_ms: NO_TIME,
            last_update_ms: now_ms,
            ..self.clone()
        };
        if epoch >= LAST_EPOCH && is_current {
            next.producer = Producer {
                id: ids.take()?,
                epoch: 0,
            };
            next.previous_producer_id = id;
            next.last_epoch = if expected.is_some() { epoch } else { NO_EPOCH };
        } else if is_current || epoch == NO_EPOCH {
            next.producer.epoch = epoch + 1;
            next.previous_producer_id = id;
            next.last_epoch = if expected.is_some() { epoch } else { NO_EPOCH };
        } else if expected != Some(self.last_epoch) {
            return Err(ErrorCode::ProducerFenced.into());
        }
        // Else the answer was lost, and is given again.
        Ok(next)
    }

    /// With more partitions. The first ones begin the transaction.
    pub(super) fn with(&self, partitions: &[Partition], version: i16, now_ms: i64) -> Self {
        let mut all = Partitions::clone(&self.partitions);
        partitions.iter().cloned().for_each(|new| all.insert(new));
        Self {
            previous_producer_id: self.producer.id,
            state: Ongoing,
            partitions: Arc::new(all),
            start_ms: match self.state {
                Ongoing => self.start_ms,
                _ => now_ms,
            },
            last_update_ms: now_ms,
            version,
            ..self.clone()
        }
    }

    /// On its way to its end. From version 2 on, markers carry an epoch above the producer's, which it has afterwards.
    /// There is none above the last one, so then the producer has another id afterwards.
    pub(super) fn prepared(
        &self,
        commit: bool,
        version: i16,
        now_ms: i64,
        ids: &mut Stock,
    ) -> Result<Self, NoProducerId> {
        let mut next = Self {
            previous_producer_id: self.producer.id,
            next_producer_id: NO_PRODUCER_ID,
            state: if commit { PrepareCommit } else { PrepareAbort },
            start_ms: match self.state {
                Ongoing => self.start_ms,
                // Nothing was begun. It can be aborted all the same.
                _ => now_ms,
            },
            last_update_ms: now_ms,
            version,
            ..self.clone()
        };
        if version >= EPOCH_PER_TRANSACTION {
            if self.producer.epoch >= LAST_EPOCH {
                next.next_producer_id = ids.take()?;
            }
            next.producer.epoch = self.producer.epoch.saturating_add(1);
            next.last_epoch = self.producer.epoch;
        }
        Ok(next)
    }

    /// What its markers say, if it is [`prepared`](Self::prepared).
    pub(super) fn ending(&self) -> Ending {
        Ending {
            producer: self.producer,
            commit: self.state == PrepareCommit,
            transaction_version: self.version,
            partitions: self.partitions.to_vec(),
        }
    }

    /// With its markers written, if it is [`prepared`](Self::prepared).
    pub(super) fn completed(&self, now_ms: i64) -> Self {
        let has_new_id =
            self.version >= EPOCH_PER_TRANSACTION && self.next_producer_id != NO_PRODUCER_ID;
        Self {
            producer: match has_new_id {
                true => Producer {
                    id: self.next_producer_id,
                    epoch: 0,
                },
                false => self.producer,
            },
            previous_producer_id: self.producer.id,
            next_producer_id: NO_PRODUCER_ID,
            state: match self.state {
                PrepareCommit => CompleteCommit,
                _ => CompleteAbort,
            },
            partitions: Arc::default(),
            last_update_ms: now_ms,
            ..self.clone()
        }
    }
}
