//! How a directory is closed.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::threads::COMMIT_THREAD;
use super::{LocalStore, WAL_DIR};
use crate::env::fs::{self, Fs, is_passing};
use crate::env::sync::thread;
use crate::local::io_pool::IoPool;
use crate::local::text_files::CLEAN_SHUTDOWN;
use crate::local::wal::checkpoint::Checkpoint;
use crate::local::wal::entry::WalError;
use crate::local::wal::logs::LogTable;
use crate::local::wal::ring::{Shortage, list_regions, region_path};
use crate::log::StorageError;

/// What Kafka writes into the file that says that it was stopped in order.
pub(super) const CLEAN_MARK: &[u8] = br#"{"version":0,"brokerEpoch":-1}"#;
/// How often a shutdown looks whether the last writes wait for room.
const MAKE_ROOM_INTERVAL: Duration = Duration::from_millis(1);

impl LocalStore {
    /// See [`crate::log::LogStore::shutdown`].
    pub(super) fn close(&self) -> Result<(), StorageError> {
        let Some(lock) = self.lock.lock().take() else {
            return Ok(());
        };
        let refused_before = self.shared.wal.refused();
        // A start looks for directories that it does not know of only after a stop that was not in order.
        let departed = self.shared.finish_departures();
        self.shared.wal.close();
        // A snapshot breaks off then. It uses the pool.
        let _copying = self.copying.lock();
        self.stop_threads();
        // What has its outcome by now still renames directories.
        let _deleting = self.shared.deleting.lock();
        let closed = match refused_before {
            Some(error) => Err(io::Error::other(error.to_string())),
            None => departed.and_then(|()| self.close_files()),
        };
        self.release();
        drop(lock);
        closed.map_err(|error| {
            StorageError(format!(
                "{} was not closed in order, the next start will recover it: {error}",
                self.shared.path.display()
            ))
        })
    }

    fn stop_threads(&self) {
        if let Some(cleaner) = &self.cleaner {
            cleaner.stop();
        }
        self.maintenance.stop();
        self.checkpointer.stop();
        // The maintenance ends first, and then the commit thread, which may be waiting for it.
        for thread in self.threads.lock().drain(..).rev() {
            while thread.thread().name() == Some(COMMIT_THREAD) && !thread.is_finished() {
                self.make_room();
                thread::sleep(MAKE_ROOM_INTERVAL);
            }
            if thread.join().is_err() {
                tracing::error!("a storage thread panicked");
            }
        }
    }

    /// Gives the commit thread the room for its last writes that the maintenance would have made.
    fn make_room(&self) {
        let wal = &self.shared.wal;
        if wal.refused() != Some(WalError::Closed) {
            // It has failed, and waits for nothing any more.
            return;
        }
        if !wal.ring().is_waited_for() {
            return;
        }
        let made = match wal.ring().need() {
            Some(Shortage::Grow) => wal.ring().grow(),
            Some(Shortage::Checkpoint) => self.checkpointer.checkpoint(),
            None => Ok(()),
        };
        match made {
            Ok(()) => {}
            // The caller comes back.
            Err(error) if is_passing(&error) => {}
            Err(error) => wal.fail(&error.to_string()),
        }
    }

    /// Leaves a directory as Kafka would: segments, indexes, snapshots and checkpoints, and no write-ahead log.
    fn close_files(&self) -> io::Result<()> {
        let shared = &self.shared;
        let logs = self.logs.all();
        for log in &logs {
            log.begin_close();
        }
        // Where each log is synced by itself, a stop waits for many small syncs, as recovery does.
        let pool = IoPool::start(self.closing_threads)?;
        self.checkpointer.make_durable(&pool, logs.clone())?;
        for log in &logs {
            log.release_memory(u64::MAX);
        }
        let mut recovery_points = shared.closed_at.lock().clone();
        for log in logs {
            if let Some(end_offset) = log.end_offset() {
                recovery_points.insert(log.key(), end_offset);
            }
        }
        // At the next start they say where each log has to end, so none may be older than its log.
        shared.change_recovery_points(|points| {
            *points = recovery_points;
            true
        })?;
        self.checkpointer.checkpoint_closed()?;
        remove_wal(&*shared.fs, &shared.path.join(WAL_DIR))?;
        fs::replace(&*shared.fs, &shared.path.join(CLEAN_SHUTDOWN), CLEAN_MARK)
    }

    /// Gives up everything, so that nothing touches the directory any more.
    fn release(&self) {
        self.shared.append_budget.close();
        self.shared.pool.close();
        self.shared.busy.lock().clear();
        self.shared.departures.clear();
        self.shared.doomed.lock().clear();
        for log in self.logs.clear() {
            log.wake_all();
        }
    }
}

impl Drop for LocalStore {
    /// Without [`LocalStore::shutdown`] the directory is left as a crash would leave it.
    fn drop(&mut self) {
        if let Some(lock) = self.lock.lock().take() {
            self.shared.wal.fail("the log manager was dropped");
            self.stop_threads();
            let _deleting = self.shared.deleting.lock();
            self.release();
            drop(lock);
        }
    }
}

/// Removes the write-ahead log. The checkpoint goes last, so that what a crash leaves in between is still understood.
fn remove_wal(fs: &dyn Fs, wal_dir: &Path) -> io::Result<()> {
    for index in list_regions(fs, wal_dir)? {
        fs.remove_file(&region_path(wal_dir, index))?;
    }
    LogTable::remove_others(fs, wal_dir, None)?;
    fs.sync_dir(wal_dir)?;
    Checkpoint::remove(fs, wal_dir)?;
    fs.remove_dir_all(wal_dir)?;
    match wal_dir.parent() {
        Some(parent) => fs.sync_dir(parent),
        None => Ok(()),
    }
}
