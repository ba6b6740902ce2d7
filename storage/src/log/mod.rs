//! The seam between the broker and whatever keeps a partition: [`PartitionLog`].
//!
//! Two implementations stand behind it: the log on files and [`crate::memory`] for tests.
//! Both pass one contract suite.

pub(crate) mod admission;
pub mod leader_epoch;
pub mod producer_state;
pub mod stats;
pub(crate) mod timestamp;
pub(crate) mod transaction_index;
pub(crate) mod waiters;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;
use uuid::Uuid;

/// A future behind a pointer: what an object-safe trait returns instead of `async fn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One partition of one incarnation of a topic: a re-created topic has another `topic_id`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub topic_id: Uuid,
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The offsets of a log at one moment: `log_start_offset <= last_stable_offset <= high_watermark <= log_end_offset`.
///
/// All but `log_start_offset` are exclusive ends. The high watermark is the durable offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOffsets {
    pub log_start_offset: i64,
    pub last_stable_offset: i64,
    pub high_watermark: i64,
    pub log_end_offset: i64,
}

/// How far a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset; aborted transactions are listed.
    ReadCommitted,
}

/// What a read asks for.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    pub fetch_offset: i64,
    /// Soft limit of the bytes returned.
    pub max_bytes: usize,
    /// Return the first batch whole even when it is larger than `max_bytes` (KIP-74).
    pub at_least_one_batch: bool,
    pub isolation: Isolation,
}

/// A transaction whose records a read-committed consumer must skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

/// What a log knows of one idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// -1 before the first batch of the epoch.
    pub last_sequence: i32,
    /// In ms, of the last batch or marker; -1 without one.
    pub last_timestamp: i64,
    /// Of the last transaction marker; -1 without one.
    pub coordinator_epoch: i32,
    /// Where the open transaction starts.
    pub current_txn_start_offset: Option<i64>,
}

/// Whole record batches in offset order, and the log's offsets when they were read.
///
/// The first batch may begin before the fetch offset; clients skip what they did not ask for.
#[derive(Clone, Debug)]
pub struct FetchedRecords {
    pub records: Vec<Bytes>,
    pub size_bytes: usize,
    pub offsets: LogOffsets,
    /// Only for [`Isolation::ReadCommitted`].
    pub aborted_transactions: Vec<AbortedTransaction>,
}

/// The outcome of planning a read.
pub enum Read {
    /// Everything was in memory.
    Ready(FetchedRecords),
    /// The rest is on disk; the future reads it off the async workers.
    Cold(BoxFuture<'static, Result<FetchedRecords, ReadError>>),
}

/// Why a read gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("offset {fetch_offset} is outside of {log_start_offset}..={high_watermark}")]
    OffsetOutOfRange {
        fetch_offset: i64,
        log_start_offset: i64,
        high_watermark: i64,
    },
    /// Stored bytes do not match their checksum; nothing was deleted.
    #[error("{partition}: corrupt data at offset {offset}: {what}")]
    Corrupt {
        partition: TopicPartition,
        offset: i64,
        what: String,
    },
    #[error("{0}")]
    Storage(String),
    #[error("the log was deleted")]
    Deleted,
}

/// Who appends: decides which checks a batch must pass (Kafka's `AppendOrigin`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer: idempotence is checked.
    Client,
    /// The broker's own coordinators and metadata writer: control batches are allowed.
    Coordinator,
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
    pub fn into_inner(self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        self.0
    }
}

/// A submitted batch on its way to stable media; resolves when it is as durable as its log promises.
pub type PendingAppend = BoxFuture<'static, Result<Appended, AppendError>>;

/// Where a timestamp look-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    pub timestamp: i64,
    pub offset: i64,
    pub leader_epoch: i32,
}

/// One long poll, registered with every partition it waits for.
///
/// Each advance of a visible end costs one subtraction per waiter; the poll wakes when
/// enough bytes have become visible, or at once when [`FetchWait::wake`] is called.
#[derive(Debug)]
pub struct FetchWait {
    needed_bytes: AtomicI64,
    woken: AtomicBool,
    notify: Notify,
}

impl FetchWait {
    pub fn new(needed_bytes: i64) -> Arc<Self> {
        Arc::new(Self {
            needed_bytes: AtomicI64::new(needed_bytes),
            woken: AtomicBool::new(false),
            notify: Notify::new(),
        })
    }

    /// `bytes` more have become visible.
    pub fn add(&self, bytes: i64) {
        if self.needed_bytes.fetch_sub(bytes, Ordering::AcqRel) <= bytes {
            self.wake();
        }
    }

    /// Ends the wait: an error, a deletion, or enough bytes.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Waits until woken; returns at once if that has happened already.
    pub async fn wait(&self) {
        while !self.woken.load(Ordering::Acquire) {
            self.notify.notified().await;
        }
    }
}

/// Keeps a [`FetchWait`] registered; dropping it takes the registration back.
pub struct WaitRegistration(Option<Box<dyn FnOnce() + Send>>);

impl WaitRegistration {
    pub fn new(deregister: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(deregister)))
    }
}

impl Drop for WaitRegistration {
    fn drop(&mut self) {
        if let Some(deregister) = self.0.take() {
            deregister();
        }
    }
}

/// An append-only log of record batches: one partition.
///
/// `reserve().await`, then `submit()`: the order of `submit` calls is the order of offsets.
/// Nothing is visible to readers before it is durable.
pub trait PartitionLog: Send + Sync {
    fn id(&self) -> &TopicPartition;

    /// Has the log's files looked at where that blocks nobody; `None` if it was done.
    ///
    /// Whatever uses a log first does it otherwise, and blocks.
    fn prepare(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }

    /// Waits until the log takes `bytes` more: this is where back-pressure is felt. The last of the disk is kept for the
    /// broker's own records.
    fn reserve(
        &self,
        bytes: usize,
        origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>>;

    /// Appends one validated batch and gives it its offsets, without waiting for the disk.
    ///
    /// A duplicate of an idempotent batch resolves, when the original is durable, to the original's offset.
    fn submit(
        &self,
        permit: AppendPermit,
        batch: crate::record::ValidatedBatch,
        origin: AppendOrigin,
    ) -> Result<PendingAppend, AppendError>;

    /// The same for who appends no other batch before it waits for this one: it may be committed before this returns.
    fn submit_and_commit(
        &self,
        permit: AppendPermit,
        batch: crate::record::ValidatedBatch,
        origin: AppendOrigin,
    ) -> Result<PendingAppend, AppendError> {
        self.submit(permit, batch, origin)
    }

    /// Whether the log's files are what they should be. Of one that cannot be used the rest says what an empty one would
    /// say, so who takes an empty log for an answer asks this first.
    ///
    /// # Errors
    /// Why the log cannot be used, now or for good.
    fn check_usable(&self) -> Result<(), ReadError> {
        Ok(())
    }

    fn offsets(&self) -> LogOffsets;

    fn leader_epoch(&self) -> i32;

    /// Bytes of all segments and of what is still on its way to them.
    fn size_bytes(&self) -> u64;

    fn read(&self, request: ReadRequest) -> Result<Read, ReadError>;

    /// Registers a long poll that has seen the log up to `seen_end` (exclusive, by `isolation`).
    ///
    /// If more is visible already, the poll is woken at once.
    fn watch(&self, seen_end: i64, isolation: Isolation, wait: &Arc<FetchWait>)
    -> WaitRegistration;

    /// The first record with a timestamp of at least `timestamp`, among the visible ones.
    fn offset_for_timestamp(
        &self,
        timestamp: i64,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>>;

    /// The record with the largest timestamp (ListOffsets -3).
    fn offset_of_max_timestamp(
        &self,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>>;

    /// The largest epoch that is not above `leader_epoch`, and where it ends (OffsetForLeaderEpoch).
    fn end_offset_for_epoch(&self, leader_epoch: i32) -> Option<(i32, i64)>;

    /// The idempotent producers that the log knows, in the order of their ids (DescribeProducers, KIP-664).
    fn producers(&self) -> Vec<ActiveProducer>;

    /// Moves the log start offset up (DeleteRecords); resolves to the new one when durable.
    fn delete_records_before(&self, offset: i64) -> BoxFuture<'static, Result<i64, AppendError>>;

    /// Takes a changed topic configuration into use.
    fn set_config(&self, config: Arc<LogConfig>);
}

/// When a producer is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// When the batch is on stable media: survives a power cut.
    #[default]
    Strict,
    /// When the batch is in the page cache: survives the death of the process.
    Os,
}

/// What a topic's configuration means to its logs; names and defaults are Kafka's.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    pub segment_bytes: u64,
    pub segment_ms: i64,
    pub segment_index_bytes: u64,
    pub index_interval_bytes: u64,
    /// -1: no limit.
    pub retention_bytes: i64,
    /// -1: no limit.
    pub retention_ms: i64,
    pub file_delete_delay_ms: i64,
    pub compact: bool,
    pub delete: bool,
    pub delete_retention_ms: i64,
    pub min_compaction_lag_ms: i64,
    pub max_compaction_lag_ms: i64,
    pub min_cleanable_dirty_ratio: f64,
    pub flush_messages: i64,
    pub flush_ms: i64,
    /// `None`: as the broker's default.
    pub durability: Option<Durability>,
}

impl LogConfig {
    /// For how long records of a segment may lie apart; compaction must not wait for the segment to be full.
    pub(crate) fn roll_ms(&self) -> i64 {
        if self.compact {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 168 * 3_600_000,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_bytes: -1,
            retention_ms: 168 * 3_600_000,
            file_delete_delay_ms: 60_000,
            compact: false,
            delete: true,
            delete_retention_ms: 86_400_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            durability: None,
        }
    }
}
