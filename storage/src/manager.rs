//! One log directory: opens, finds, deletes and closes its logs.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::env::clock::{Clock, SystemClock};
use crate::env::fs::{Fs, RealFs};
use crate::env::sync::Mutex;
use crate::local::compaction::CleanerConfig;
pub use crate::local::deletion::DeletedTopics;
use crate::local::store::FileManager;
use crate::log::stats::DirectoryStats;
use crate::log::{Durability, LogConfig, PartitionLog, TopicPartition};
use crate::memory::memory_log::MemoryLog;

/// How a log directory is kept.
#[derive(Clone, Debug)]
pub struct LogManagerConfig {
    pub dir: PathBuf,
    /// What an acknowledgement promises, where the topic does not say.
    pub durability: Durability,
    /// How far the write-ahead log may grow. It begins small and grows with use.
    pub wal_ring_bytes: u64,
    /// What it grows by: no batch may be larger.
    pub wal_region_bytes: u64,
    /// What it begins with, written before the directory is open.
    pub wal_first_region_bytes: u64,
    /// Bytes that may be on their way from producers to segments; appends beyond wait.
    pub append_budget_bytes: u64,
    /// Segments are written past the page cache in pieces of so many bytes or more, and read in pieces of four times as
    /// many.
    pub direct_io_bytes: u64,
    /// Bytes of batches kept in memory for consumers that read the tail.
    pub tail_cache_bytes: u64,
    /// Bytes read from segments that may be on their way to consumers; reads beyond wait.
    pub cold_read_budget_bytes: usize,
    /// Threads for cold reads and segment writes.
    pub io_threads: usize,
    /// Threads for recovery and for an orderly stop, which wait for many small syncs and for little else.
    pub recovery_threads: usize,
    /// Most files of segments that are open at one time, but for those in use; never more than half of what the
    /// system allows the process.
    pub open_files_max: usize,
    /// A checkpoint of so many logs syncs the whole file system instead of each log by itself.
    pub sync_together_from: usize,
    /// How often logs are looked at that may have something to delete (`log.retention.check.interval.ms`).
    pub retention_check_interval_ms: u64,
    /// Where more was appended to a log, the next checkpoint notes its producers. What has come since is read again at the
    /// first use after a crash.
    pub note_interval_bytes: u64,
    /// A producer outside a transaction is forgotten after being silent for so long (`producer.id.expiration.ms`).
    pub producer_id_expiration_ms: i64,
    /// How often silent producers are looked for (`producer.id.expiration.check.interval.ms`).
    pub producer_id_expiration_check_interval_ms: u64,
    /// What is kept free on the disk: below it nothing is appended but to the broker's own logs.
    /// `None`: a twentieth of the file system, at most 512 MiB.
    pub disk_reserve_bytes: Option<u64>,
    /// Compaction of this directory.
    pub cleaner: CleanerConfig,
    pub fs: Arc<dyn Fs>,
    pub clock: Arc<dyn Clock>,
}

impl LogManagerConfig {
    /// The defaults for a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            durability: Durability::Strict,
            wal_ring_bytes: 1 << 30,
            wal_region_bytes: 64 << 20,
            wal_first_region_bytes: 4 << 20,
            append_budget_bytes: 256 << 20,
            direct_io_bytes: 16 << 10,
            tail_cache_bytes: 128 << 20,
            cold_read_budget_bytes: 256 << 20,
            io_threads: 4,
            recovery_threads: 32,
            open_files_max: 32768,
            sync_together_from: 256,
            retention_check_interval_ms: 300_000,
            note_interval_bytes: 512 << 10,
            producer_id_expiration_ms: 86_400_000,
            producer_id_expiration_check_interval_ms: 600_000,
            disk_reserve_bytes: None,
            cleaner: CleanerConfig::default(),
            fs: Arc::new(RealFs),
            clock: Arc::new(SystemClock::default()),
        }
    }
}

/// Why a log directory was not opened. Nothing in it was deleted.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("log directory {} is in use by another broker", .dir.display())]
    Locked { dir: PathBuf },
    #[error("log directory {} is not writable: {source}", .dir.display())]
    NotWritable {
        dir: PathBuf,
        source: std::io::Error,
    },
    #[error("{} was written by a newer version of this broker (format {found})", .path.display())]
    NewerFormat { path: PathBuf, found: u16 },
    /// Acknowledged data may be missing in the middle of the write-ahead log.
    #[error("hole in the write-ahead log: {}: {what}", .path.display())]
    HoleInWal { path: PathBuf, what: String },
    /// A file is not what the other files say it is.
    #[error("damaged: {}: {what}", .path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl OpenError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

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

/// All logs of one log directory.
pub struct LogManager(Backing);

enum Backing {
    Files(FileManager),
    Memory(Memory),
}

struct Memory {
    logs: Mutex<HashMap<TopicPartition, Arc<MemoryLog>>>,
    recovery_report: RecoveryReport,
    failed: watch::Sender<Option<StorageError>>,
}

impl LogManager {
    /// Locks the directory, creating it if need be, and recovers everything that its write-ahead log holds.
    ///
    /// # Errors
    /// See [`OpenError`]; each is a sentence for the operator.
    pub fn open(config: LogManagerConfig) -> Result<Arc<Self>, OpenError> {
        let files = FileManager::open(config)?;
        Ok(Arc::new(Self(Backing::Files(files))))
    }

    /// Logs without files, for tests.
    pub fn in_memory() -> Arc<Self> {
        Arc::new(Self(Backing::Memory(Memory {
            logs: Mutex::default(),
            recovery_report: RecoveryReport {
                clean: true,
                ..RecoveryReport::default()
            },
            failed: watch::Sender::new(None),
        })))
    }

    /// Opens a log or creates it. No file is touched before it is used.
    ///
    /// # Errors
    /// The directory was shut down or has failed.
    pub fn open_log(
        &self,
        id: TopicPartition,
        config: Arc<LogConfig>,
    ) -> Result<Arc<dyn PartitionLog>, StorageError> {
        match &self.0 {
            Backing::Files(files) => files.open_log(id, config),
            Backing::Memory(memory) => {
                let mut logs = memory.logs.lock();
                let log = logs
                    .entry(id.clone())
                    .or_insert_with(|| Arc::new(MemoryLog::new(id, config)));
                Ok(Arc::clone(log) as Arc<dyn PartitionLog>)
            }
        }
    }

    /// Deletes a log: see [`LogManager::delete_logs`].
    ///
    /// # Errors
    /// The deletion could not be made durable.
    pub fn delete_log(&self, id: &TopicPartition) -> Result<(), StorageError> {
        self.delete_logs(std::slice::from_ref(id))
    }

    /// Deletes logs: at once for their users, their files after `file.delete.delay.ms`.
    ///
    /// Returns when the deletions are durable, which takes a few writes to the disk, however many logs there are.
    ///
    /// # Errors
    /// Some of the deletions could not be made durable; the others are.
    pub fn delete_logs(&self, ids: &[TopicPartition]) -> Result<(), StorageError> {
        match &self.0 {
            Backing::Files(files) => files.delete_logs(ids),
            Backing::Memory(memory) => {
                for id in ids {
                    if let Some(log) = memory.logs.lock().remove(id) {
                        log.delete();
                    }
                }
                Ok(())
            }
        }
    }

    /// Looks, in the background, for directories that belong to no log: to be called once, when all logs are open.
    ///
    /// After a crash those of `deleted` topics are removed when `delay_ms` have passed. Whatever else has a topic id that
    /// is not known is set aside and kept; one without an id is left for a topic of its name to adopt. `done` is called
    /// when `deleted` is not needed any more.
    pub fn sweep(
        &self,
        deleted: DeletedTopics,
        delay_ms: u64,
        done: impl FnOnce() + Send + 'static,
    ) {
        match &self.0 {
            Backing::Files(files) => files.sweep(deleted, delay_ms, done),
            Backing::Memory(_) => done(),
        }
    }

    /// What opening the directory found and did.
    pub fn recovery_report(&self) -> &RecoveryReport {
        match &self.0 {
            Backing::Files(files) => files.recovery_report(),
            Backing::Memory(memory) => &memory.recovery_report,
        }
    }

    /// Becomes `Some` when the directory goes offline: nothing is acknowledged any more.
    pub fn failed(&self) -> watch::Receiver<Option<StorageError>> {
        match &self.0 {
            Backing::Files(files) => files.failed(),
            Backing::Memory(memory) => memory.failed.subscribe(),
        }
    }

    /// How the directory does; `None` without files. Takes only locks that are never held over I/O.
    pub fn stats(&self) -> Option<DirectoryStats> {
        match &self.0 {
            Backing::Files(files) => Some(files.stats()),
            Backing::Memory(_) => None,
        }
    }

    /// Why nothing is appended any more, if so; known before [`LogManager::failed`] when the disk stalls too.
    pub fn offline(&self) -> Option<String> {
        match &self.0 {
            Backing::Files(files) => files.offline(),
            Backing::Memory(_) => None,
        }
    }

    /// Why appends stand still, if they have for seconds: the directory is not offline, and may go on.
    pub fn stalled(&self) -> Option<String> {
        match &self.0 {
            Backing::Files(files) => files.stalled(),
            Backing::Memory(_) => None,
        }
    }

    /// Free bytes on the disk. Asks the file system, so it may block.
    pub fn free_disk_bytes(&self) -> Option<u64> {
        match &self.0 {
            Backing::Files(files) => files.free_disk_bytes(),
            Backing::Memory(_) => None,
        }
    }

    /// Writes everything out and leaves a clean directory. Calling it again does nothing.
    ///
    /// # Errors
    /// Something could not be written; the next start recovers it.
    pub fn shutdown(&self) -> Result<(), StorageError> {
        match &self.0 {
            Backing::Files(files) => files.shutdown(),
            Backing::Memory(_) => Ok(()),
        }
    }
}
