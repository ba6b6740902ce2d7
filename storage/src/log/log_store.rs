//! The seam between the broker and whatever keeps its logs: [`LogStore`].

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::stats::{DirectoryStats, ObjectStats};
use super::{
    AppendError, AppendOrigin, AppendPermit, BoxFuture, LiveConfig, LogConfig, PartitionLog,
    PendingAppend, Snapshot, SnapshotProgress, TopicPartition,
};
use crate::record::ValidatedBatch;

/// Topics that were deleted before the start, by id: their names.
pub type DeletedTopics = HashMap<Uuid, Arc<str>>;

/// What went wrong with files, in words.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct StorageError(pub String);

/// What was found and done when the directory was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The last shutdown was orderly: nothing had to be replayed.
    pub clean: bool,
    pub replayed_batches: u64,
    pub replayed_bytes: u64,
    pub replayed_partitions: usize,
    /// Bytes at the end of the write-ahead log that were not completely written, hence not acknowledged, and dropped.
    pub truncated_bytes: u64,
    pub took: Duration,
}

/// How far opening a store has come, for whoever looks on meanwhile.
#[derive(Debug, Default)]
pub struct RecoveryProgress {
    found_bytes: AtomicU64,
    replayed_bytes: AtomicU64,
}

impl RecoveryProgress {
    /// Forgets what was found and replayed: opening begins again.
    pub(crate) fn begin_again(&self) {
        self.found_bytes.store(0, Ordering::Relaxed);
        self.replayed_bytes.store(0, Ordering::Relaxed);
    }

    /// Adds batches of `bytes` bytes to what is to be replayed.
    pub fn found(&self, bytes: u64) {
        self.found_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds `bytes` to what has been replayed.
    pub fn replayed(&self, bytes: u64) {
        self.replayed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How much of what was found is replayed; 0 while it is not known yet what is to be.
    pub fn percent(&self) -> u64 {
        let replayed = self.replayed_bytes.load(Ordering::Relaxed);
        let found = self.found_bytes.load(Ordering::Relaxed);
        (replayed.saturating_mul(100))
            .checked_div(found)
            .unwrap_or(0)
            .min(100)
    }
}

/// How well a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Good,
    /// Appends have stood still for seconds, and may go on. Says what they wait for.
    Stalled(String),
    /// Logs are served, and grow: what makes room has stopped for good. Says why.
    Neglected(String),
    /// Nothing is appended any more. Says why.
    Offline(String),
}

/// One batch of a joint append.
#[derive(Debug)]
pub struct JointPart {
    pub log: TopicPartition,
    pub batch: ValidatedBatch,
    pub origin: AppendOrigin,
    pub if_refused: IfRefused,
}

/// What becomes of a joint append if a log refuses its part, or is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfRefused {
    /// Nothing is appended at all.
    FailAll,
    /// The other parts are appended without it.
    Skip,
}

/// Why nothing of a joint append was appended.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct JointError {
    /// Which part was refused; `None` if it was all of them together.
    pub part: Option<usize>,
    pub error: AppendError,
}

/// All logs of one broker.
///
/// What returns no future may wait for a disk, but for `open_log`, `failed`, `health` and `stats`.
pub trait LogStore: Send + Sync {
    /// Opens a log or creates it. It is looked at when it is first used: see [`PartitionLog::ready`].
    ///
    /// # Errors
    /// The store was shut down or has failed.
    fn open_log(
        &self,
        id: TopicPartition,
        config: Arc<LogConfig>,
    ) -> Result<Arc<dyn PartitionLog>, StorageError>;

    /// Waits until the store takes `bytes` more, for a joint append: see [`PartitionLog::reserve`].
    fn reserve(
        &self,
        bytes: usize,
        origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>>;

    /// Appends a batch to each of several logs, each of which was opened before. After a crash all of them are there or
    /// none: they are durable together, on stable media, whatever the logs promise otherwise.
    ///
    /// `permit` is for all bytes together. The answer has a place for each part: what was appended, or why the part was
    /// skipped. A part that is a duplicate of a batch in its log is answered as [`PartitionLog::submit`] does.
    ///
    /// # Errors
    /// Nothing was appended: a part was refused that may not be skipped, two parts are of one log, or all of them together
    /// are larger than what the store takes at once.
    fn submit_all(
        &self,
        permit: AppendPermit,
        parts: Vec<JointPart>,
    ) -> Result<Vec<Result<PendingAppend, AppendError>>, JointError>;

    /// Deletes logs: at once for their users, what they hold after `file.delete.delay.ms`.
    ///
    /// Begins at once, and goes on if the future is dropped. The answer comes when the deletions are durable, which takes
    /// a few writes to the disk, however many logs there are.
    ///
    /// # Errors
    /// Some of the deletions could not be made durable; the others are.
    fn delete_logs(&self, ids: Vec<TopicPartition>)
    -> BoxFuture<'static, Result<(), StorageError>>;

    /// Looks, in the background, for what belongs to no log: to be called once, when all logs are open.
    ///
    /// After a crash the remains of `deleted` topics are removed when `delay_ms` have passed. Whatever else has a topic id
    /// that is not known is set aside and kept; what has no id is left for a topic of its name to adopt. `done` is called
    /// when `deleted` is not needed any more.
    fn sweep(&self, deleted: DeletedTopics, delay_ms: u64, done: Box<dyn FnOnce() + Send>);

    /// Uses other settings from now on.
    fn change(&self, config: &LiveConfig);

    /// What opening the store found and did.
    fn recovery_report(&self) -> &RecoveryReport;

    /// Becomes `Some` when the store goes offline: nothing is acknowledged any more.
    fn failed(&self) -> watch::Receiver<Option<StorageError>>;

    /// How well the store is. While the disk stalls, this tells of a failure before [`failed`](Self::failed) does.
    fn health(&self) -> Health;

    /// What the store counts; `None` if it counts nothing. Takes only locks that are never held over I/O.
    fn stats(&self) -> Option<DirectoryStats>;

    /// What a store counts that keeps its logs in object storage; `None` of the others.
    fn object_stats(&self) -> Option<ObjectStats> {
        None
    }

    /// Free bytes where the logs are; `None` if that cannot be told.
    fn free_disk_bytes(&self) -> Option<u64>;

    /// Copies the store, as it is at one moment, into a directory of its own that is empty or not there, but for
    /// [`SNAPSHOT_MANIFEST`](super::SNAPSHOT_MANIFEST), while it is served.
    /// Afterwards [`crate::local::open`] opens it as after an orderly stop.
    ///
    /// Everything is durable when this returns. `watch` is told how far it has come, and can break it off.
    ///
    /// # Errors
    /// Nothing was copied, and what was written into `to` is removed, as far as that is possible.
    fn snapshot(
        &self,
        to: &Path,
        _watch: &mut dyn FnMut(SnapshotProgress) -> ControlFlow<()>,
    ) -> Result<Snapshot, StorageError> {
        let to = to.display();
        let what = format!("there is nothing on the disk that could be copied to {to}");
        Err(StorageError(what))
    }

    /// Writes everything out and leaves the store clean. Calling it again does nothing.
    ///
    /// # Errors
    /// Something could not be written; the next start recovers it.
    fn shutdown(&self) -> Result<(), StorageError>;
}
