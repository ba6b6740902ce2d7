//! A read: its request, its result and its errors.

use bytes::Bytes;

use super::{BoxFuture, TopicPartition};

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

/// Where a timestamp look-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    pub timestamp: i64,
    pub offset: i64,
    pub leader_epoch: i32,
}

/// A log as it is known without looking at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    pub high_watermark: i64,
    /// `None`: only where the log ends is known, from an orderly stop.
    pub more: Option<GlanceInside>,
}

/// What a log knows of itself that was used since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlanceInside {
    pub log_start_offset: i64,
    pub size_bytes: u64,
}
