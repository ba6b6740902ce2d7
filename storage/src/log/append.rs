//! What an append asks for, and what comes of it.

use super::{BoxFuture, TopicPartition, VerificationGuard};

/// Where a batch comes from. It decides which checks the batch must pass (Kafka's `AppendOrigin`).
///
/// A batch of a transaction that is not open in the log yet needs the guard that was taken before the transaction's
/// coordinator was asked: see [`PartitionLog::begin_verification`](super::PartitionLog::begin_verification).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer: epoch, sequence and transaction are checked.
    Client(Option<VerificationGuard>),
    /// The broker's own coordinators and metadata writer: control batches are allowed. Their batches have no sequence, so
    /// of those with a producer id epoch and transaction are checked.
    Coordinator(Option<VerificationGuard>),
    /// The transaction coordinator, with a marker. Version 2 if it gives the producer a new epoch with each transaction
    /// (KIP-890), else 0.
    Marker { transaction_version: i16 },
}

impl AppendOrigin {
    /// A producer's batch that begins no transaction.
    pub const CLIENT: Self = Self::Client(None);
    /// The broker's own batch that begins no transaction.
    pub const COORDINATOR: Self = Self::Coordinator(None);

    pub fn is_client(self) -> bool {
        matches!(self, Self::Client(_))
    }
}

/// What the caller does next. It lets an engine commit a lone batch at once, and gather those that come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Appends more, or leaves the batch to itself.
    Append,
    /// Waits for this batch before it appends another. The batch may be committed before `submit` returns.
    Wait,
}

/// Where a durable batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: i64,
    pub last_offset: i64,
    pub log_start_offset: i64,
    /// A retry of a batch that is already in the log: `base_offset` is the original's.
    pub duplicate: bool,
}

/// Why an append did not happen, or may not have happened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Not applied.
    #[error(
        "out of order sequence for producer {producer_id} at {partition}: expected {expected}, got {got}"
    )]
    OutOfOrderSequence {
        partition: TopicPartition,
        producer_id: i64,
        expected: i32,
        got: i32,
    },
    /// Not applied: a newer incarnation of the producer has written here.
    #[error("producer {producer_id} epoch {got} is older than {current}")]
    InvalidProducerEpoch {
        producer_id: i64,
        current: i16,
        got: i16,
    },
    /// Not applied: a transactional batch outside of a transaction, or the like.
    #[error("invalid transaction state for producer {producer_id}: {what}")]
    InvalidTxnState { producer_id: i64, what: String },
    /// Not applied: a newer transaction coordinator has written a marker for the producer here.
    #[error(
        "transaction coordinator of producer {producer_id} has epoch {got}, older than {current}"
    )]
    TransactionCoordinatorFenced {
        producer_id: i64,
        current: i32,
        got: i32,
    },
    /// Not applied: another broker's coordinator has claimed the log since this one did
    /// ([`PartitionLog::claim`](super::PartitionLog::claim)).
    #[error("another coordinator has claimed {partition}: its epoch {current} is above {got}")]
    Fenced {
        partition: TopicPartition,
        current: i32,
        got: i32,
    },
    /// Not applied, and never will be: larger than the write-ahead log takes at once.
    #[error(
        "the record batch takes {bytes} bytes, and the log takes at most {limit_bytes} at once"
    )]
    TooLarge { bytes: usize, limit_bytes: usize },
    /// Not applied: the disk is full or was taken offline; reads may still work.
    #[error("{0}")]
    Storage(String),
    /// Unknown whether applied: the device failed while the batch was on its way.
    #[error("{0}")]
    Indeterminate(String),
    /// Not applied.
    #[error("the log was deleted")]
    Deleted,
}

/// Room for one batch, taken before it is submitted; gives it back when dropped unused.
#[derive(Debug)]
pub struct AppendPermit(Option<tokio::sync::OwnedSemaphorePermit>);

impl AppendPermit {
    /// A permit that reserves nothing: for logs without a budget.
    pub fn unlimited() -> Self {
        Self(None)
    }

    /// Room held in a budget until the permit, or whoever takes it over, lets go.
    pub fn of(permit: tokio::sync::OwnedSemaphorePermit) -> Self {
        Self(Some(permit))
    }

    /// Hands the room to the engine, which returns it when the bytes have left memory.
    pub(crate) fn into_inner(self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        self.0
    }
}

/// A submitted batch on its way to stable media; resolves when it is as durable as its log promises.
pub type PendingAppend = BoxFuture<'static, Result<Appended, AppendError>>;
