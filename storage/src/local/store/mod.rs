//! All logs of one directory: opens, finds, deletes and closes them.

mod close;
mod delete;
mod open;
mod snapshot;
mod threads;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::checkpointer::Checkpointer;
use super::compaction::LogCleaner;
use super::file_log::handle::FileLogHandle;
use super::file_log::joint;
use super::log_dir::LogDir;
use super::logs::Logs;
use super::maintenance::Maintenance;
use super::sweep::{Sweep, Sweeping};
use super::wal::entry::WalError;
use crate::env::fs::LockGuard;
use crate::env::sync::{Mutex, thread};
use crate::log::stats::DirectoryStats;
use crate::log::{
    AppendError, AppendOrigin, AppendPermit, BoxFuture, DeletedTopics, Health, JointError,
    JointPart, LiveConfig, LogConfig, LogStore, PartitionLog, PendingAppend, RecoveryReport,
    Snapshot, SnapshotProgress, StorageError, TopicPartition,
};
use threads::Panicked;

const WAL_DIR: &str = "wal";
/// A commit that has waited for this long counts as stalled.
const STALLED_SECONDS: u64 = 5;

/// The logs of a directory.
pub(crate) struct LocalStore {
    shared: Arc<LogDir>,
    logs: Arc<Logs>,
    maintenance: Arc<Maintenance>,
    checkpointer: Arc<Checkpointer>,
    cleaner: Option<Arc<LogCleaner>>,
    panicked: Panicked,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    closing_threads: usize,
    recovery_report: RecoveryReport,
    failed: watch::Receiver<Option<StorageError>>,
    /// Held while a snapshot is made.
    copying: Mutex<()>,
    /// Taken when the directory is closed.
    lock: Mutex<Option<LockGuard>>,
}

impl LogStore for LocalStore {
    fn open_log(
        &self,
        id: TopicPartition,
        config: Arc<LogConfig>,
    ) -> Result<Arc<dyn PartitionLog>, StorageError> {
        if let Some(error) = self.shared.wal.refused() {
            return Err(StorageError(error.to_string()));
        }
        let log = self.logs.open(&id, config, &self.shared);
        Ok(Arc::new(FileLogHandle(log)))
    }

    fn reserve(
        &self,
        bytes: usize,
        origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>> {
        self.shared.reserve(bytes, origin)
    }

    fn submit_all(
        &self,
        permit: AppendPermit,
        parts: Vec<JointPart>,
    ) -> Result<Vec<Result<PendingAppend, AppendError>>, JointError> {
        let find = |part: &JointPart| self.logs.find(&part.log);
        let logs: Vec<_> = parts.iter().map(find).collect();
        joint::append_all(&self.shared, permit, &parts, &logs)
    }

    fn delete_logs(
        &self,
        ids: Vec<TopicPartition>,
    ) -> BoxFuture<'static, Result<(), StorageError>> {
        self.delete(ids)
    }

    fn sweep(&self, deleted: DeletedTopics, delay_ms: u64, done: Box<dyn FnOnce() + Send>) {
        let (shared, logs) = (Arc::clone(&self.shared), Arc::clone(&self.logs));
        let spares_all = self.recovery_report.clean;
        let sweep = Sweep::new(&shared, &logs, deleted, spares_all, delay_ms);
        let sweeping = Sweeping::new(sweep, logs, done);
        self.shared.pool.write(move || sweeping.run(&shared));
    }

    fn change(&self, config: &LiveConfig) {
        if let Some(cleaner) = &self.cleaner {
            cleaner.change(&config.cleaner);
        }
        let expiration_ms = &self.shared.producer_id_expiration_ms;
        expiration_ms.store(config.producer_id_expiration_ms, Ordering::Relaxed);
        let verification = &self.shared.transaction_verification_enabled;
        verification.store(config.transaction_verification_enabled, Ordering::Relaxed);
    }

    fn recovery_report(&self) -> &RecoveryReport {
        &self.recovery_report
    }

    fn failed(&self) -> watch::Receiver<Option<StorageError>> {
        self.failed.clone()
    }

    fn health(&self) -> Health {
        match self.shared.wal.refused() {
            None | Some(WalError::Closed) => {}
            Some(error) => return Health::Offline(error.to_string()),
        }
        let commits = self.shared.wal.stats();
        let seconds = commits.in_flight().as_secs();
        if seconds < STALLED_SECONDS {
            return Health::Good;
        }
        let for_what = match commits.waiting_for_room() {
            Duration::ZERO => "the disk",
            _ => "room in the write-ahead log",
        };
        Health::Stalled(format!(
            "a commit has waited for {seconds} s for {for_what}"
        ))
    }

    fn free_disk_bytes(&self) -> Option<u64> {
        let space = self.shared.fs.space(&self.shared.path);
        space.ok().map(|space| space.free_bytes)
    }

    fn stats(&self) -> Option<DirectoryStats> {
        let shared = &*self.shared;
        let (commits, counters) = (shared.wal.stats(), &shared.counters);
        let (ring_used_bytes, ring_max_bytes) = shared.wal.ring().fill();
        let free_budget = shared.append_budget.available_permits();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(DirectoryStats {
            commit_writes: commits.writes.snapshot(),
            commit_in_flight: commits.in_flight(),
            commit_waiting_for_room: commits.waiting_for_room(),
            committed_entries: count(&commits.entries),
            committed_bytes: count(&commits.bytes),
            unwritten_bytes: shared.append_budget_bytes.saturating_sub(free_budget) as u64,
            chunk_bytes: shared.chunks.used_bytes() as u64,
            ring_used_bytes,
            ring_max_bytes,
            checkpoints: counters.checkpoints.snapshot(),
            disk_full: *shared.disk_full.borrow(),
            low_on_space: shared.low_on_space.load(Ordering::Relaxed),
            open_files: shared.open_files.count() as u64,
            cleaner_runs: count(&counters.cleaner_runs),
            cleaner_read_bytes: count(&counters.cleaner_read_bytes),
            cleaner_written_bytes: count(&counters.cleaner_written_bytes),
        })
    }

    fn snapshot(
        &self,
        to: &Path,
        watch: &mut dyn FnMut(SnapshotProgress) -> ControlFlow<()>,
    ) -> Result<Snapshot, StorageError> {
        self.copy_to(to, watch)
    }

    fn shutdown(&self) -> Result<(), StorageError> {
        self.close()
    }
}
