//! What the logs of one directory share.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use tokio::sync::{Semaphore, watch};

use crate::env::clock::Clock;
use crate::env::fs::{FileSystemSync, Fs, Space};
use crate::env::sync::Mutex;
use crate::env::wakeup::Wakeup;
use crate::local::counters::Counters;
use crate::local::departures::Departures;
use crate::local::io_pool::IoPool;
use crate::local::retention_schedule::Schedule;
use crate::local::segment::direct::DirectIo;
use crate::local::segment::open_files::OpenFiles;
use crate::local::text_files::{
    CLEANER_OFFSETS, LOG_START_OFFSETS, Offsets, RECOVERY_POINTS, write_offsets,
};
use crate::local::wal::chunk::ChunkPool;
use crate::local::wal::commit::Wal;
use crate::log::Durability;
use crate::log::cold_budget::ColdBudget;

/// How soon a step is tried again that was refused because no descriptor or no memory was left.
pub(crate) const AGAIN_MS: u64 = 1_000;
/// How much of a large disk is kept free.
const DISK_RESERVE_BYTES: u64 = 512 << 20;

/// The files, threads and budgets of a log directory.
pub(crate) struct LogDir {
    pub path: PathBuf,
    pub fs: Arc<dyn Fs>,
    pub clock: Arc<dyn Clock>,
    pub wal: Wal,
    pub pool: IoPool,
    pub chunks: Arc<ChunkPool>,
    pub direct_io: Arc<DirectIo>,
    pub durability: Durability,
    /// The last process was not stopped in order. Its writes may not be durable.
    pub was_killed: bool,
    /// The last shutdown was not orderly, and some of what was in the page cache may be gone.
    pub may_cut_tails: bool,
    /// Room for batches between submission and their segment.
    pub append_budget: Arc<Semaphore>,
    pub append_budget_bytes: usize,
    /// Chunks beyond this are dropped from memory when what is in them has been written.
    pub tail_cache_bytes: usize,
    /// Ids of logs with something in memory: to be written, to be synced, or kept for readers.
    pub busy: Mutex<Vec<u32>>,
    /// Held while `busy` is incomplete: some of its logs are taken out to see whether they may leave it.
    pub releasing: Mutex<()>,
    /// Held by whoever deletes logs, or keeps them from being deleted.
    pub deleting: Mutex<()>,
    /// Bytes committed since the start. The age of what is kept in memory is measured in these.
    pub committed_bytes: AtomicU64,
    /// Log start offsets that do not follow from the names of the segments.
    pub log_starts: Mutex<Offsets>,
    pub log_starts_changed: AtomicBool,
    /// Held while a file of offsets is replaced, by writers that do not hold the lock of the offsets themselves.
    pub writing_offsets: Mutex<()>,
    /// Where each log ended at the last orderly shutdown. A log leaves the list when it is first used.
    pub closed_at: Mutex<Offsets>,
    /// Up to where each log's segments are known to be on stable media.
    pub recovery_points: Mutex<Offsets>,
    /// There is no room for segments: nothing is appended until there is.
    pub disk_full: watch::Sender<bool>,
    /// The disk has less free than is to be kept: only the broker's own logs are appended to.
    pub low_on_space: AtomicBool,
    pub disk_reserve_bytes: Option<u64>,
    pub note_interval_bytes: u64,
    pub producer_id_expiration_ms: AtomicI64,
    pub transaction_verification_enabled: AtomicBool,
    pub producer_check_interval_ms: u64,
    /// Ids of logs that know a producer.
    pub with_producers: Mutex<BTreeSet<u32>>,
    /// When to sync batches that were acknowledged without a sync, by the monotonic clock; `u64::MAX` for never.
    pub flush_due_ms: AtomicU64,
    /// Syncs the whole file system, where that can be relied on.
    pub file_system_sync: Option<FileSystemSync>,
    pub sync_together_from: usize,
    /// The files of segments that are open.
    pub open_files: Arc<OpenFiles>,
    /// Room for bytes that are read from segments.
    pub cold_reads: ColdBudget,
    /// When retention looks at each log.
    pub retention: Schedule,
    /// Files to be removed, each with its time by the monotonic clock.
    pub doomed: Mutex<Vec<(u64, Doomed)>>,
    /// Deleted logs whose directories still have their names.
    pub departures: Departures,
    /// Ids of compacted logs that may have a dirty segment.
    pub dirty: Mutex<BTreeSet<u32>>,
    /// Up to where each log is clean.
    pub cleaner_offsets: Mutex<Offsets>,
    /// No segment is removed or replaced for now: a snapshot takes hold of them.
    pub segments_held: AtomicBool,
    /// Wakes the maintenance thread.
    pub maintenance: Arc<Wakeup>,
    pub counters: Counters,
}

/// What the maintenance does later.
pub(crate) enum Doomed {
    /// A directory to be removed. It was renamed before, so nobody takes it for a log's.
    Directory(PathBuf),
    /// Files to be removed, which were renamed before.
    Files(Vec<PathBuf>),
    /// A step to be tried again: no descriptor or no memory was left for it.
    Again(Job),
}

/// Something to be done for a directory.
pub(crate) type Job = Box<dyn FnOnce(&Arc<LogDir>) + Send>;

impl LogDir {
    /// Notes whether segments can be written.
    pub fn set_disk_full(&self, full: bool) {
        let changed = self
            .disk_full
            .send_if_modified(|known| std::mem::replace(known, full) != full);
        if changed && full {
            tracing::error!(directory = %self.path.display(), "no space left: nothing is appended until there is");
            self.maintenance.wake();
        } else if changed {
            tracing::info!(directory = %self.path.display(), "there is space again");
        }
    }

    /// If memory holds more than it should: the age from which on batches that are in their segment are dropped.
    pub fn dropped_age(&self) -> Option<u64> {
        let committed_bytes = self.committed_bytes.load(Ordering::Relaxed);
        let is_over = self.chunks.used_bytes() > self.tail_cache_bytes;
        is_over.then(|| committed_bytes.saturating_sub(self.tail_cache_bytes as u64))
    }

    /// Whether segments are to be written, so that appends need not wait for it.
    pub fn is_short_of_budget(&self) -> bool {
        self.append_budget.available_permits() < self.append_budget_bytes / 4
    }

    fn reserve_bytes(&self, space: &Space) -> u64 {
        self.disk_reserve_bytes
            .unwrap_or_else(|| DISK_RESERVE_BYTES.min(space.total_bytes / 20))
    }

    /// Whether the disk has room for `bytes` beside what is to be kept free.
    pub fn has_space_for(&self, bytes: u64) -> bool {
        let Ok(space) = self.fs.space(&self.path) else {
            return true;
        };
        space.free_bytes >= self.reserve_bytes(&space).saturating_add(bytes)
    }

    /// Looks how much room is left on the disk.
    pub fn check_space(&self) {
        let Ok(space) = self.fs.space(&self.path) else {
            return;
        };
        let reserve_bytes = self.reserve_bytes(&space);
        let was_low = self.low_on_space.load(Ordering::Relaxed);
        // Ends only with a little more than that, or the state would flip to and fro.
        let wanted_bytes = match was_low {
            true => reserve_bytes.saturating_add(reserve_bytes / 8),
            false => reserve_bytes,
        };
        let is_low = space.free_bytes < wanted_bytes;
        if is_low != was_low {
            self.low_on_space.store(is_low, Ordering::Relaxed);
        }
        let (directory, free_bytes) = (self.path.display(), space.free_bytes);
        match (was_low, is_low) {
            (false, true) => tracing::error!(
                %directory, free_bytes, reserve_bytes,
                "little space left: producers are refused until there is more"
            ),
            (true, false) => tracing::info!(
                %directory, free_bytes, reserve_bytes,
                "there is enough space again: producers are served"
            ),
            _ => {}
        }
    }

    /// Changes the recovery points, durably if `change` says so.
    pub fn change_recovery_points(
        &self,
        change: impl FnOnce(&mut Offsets) -> bool,
    ) -> io::Result<()> {
        let mut recovery_points = self.recovery_points.lock();
        let before = recovery_points.clone();
        if !change(&mut recovery_points) {
            return Ok(());
        }
        let path = self.path.join(RECOVERY_POINTS);
        let written = write_offsets(&*self.fs, &path, &recovery_points);
        if written.is_err() {
            // Otherwise the next attempt would find it done.
            *recovery_points = before;
        }
        written
    }

    /// Lowers a recovery point to the end of its log. After a power cut the log may end before what a checkpoint has made
    /// durable, and what is appended there is not durable yet. The new point is durable when this returns, so this comes
    /// before anything is appended.
    pub fn lower_recovery_point(&self, key: &(String, i32), end_offset: i64) -> io::Result<()> {
        self.change_recovery_points(|points| {
            let point = points.get_mut(key).filter(|point| **point > end_offset);
            point.map(|point| *point = end_offset).is_some()
        })
    }

    /// Writes down, durably, where the logs begin, if that has changed.
    pub fn save_log_starts(&self) -> io::Result<()> {
        let _writing = self.writing_offsets.lock();
        if !self.log_starts_changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let offsets = self.log_starts.lock().clone();
        write_offsets(&*self.fs, &self.path.join(LOG_START_OFFSETS), &offsets)
            .inspect_err(|_| self.log_starts_changed.store(true, Ordering::Release))
    }

    /// Forgets where an earlier log of this name began. That is durable when this returns, so this comes before anything is
    /// appended to the log that has the name now.
    pub fn forget_log_start(&self, key: &(String, i32)) -> io::Result<()> {
        if self.log_starts.lock().remove(key).is_some() {
            self.log_starts_changed.store(true, Ordering::Release);
        }
        self.save_log_starts()
    }

    /// Changes up to where the logs are clean, durably if `change` says so.
    pub fn change_cleaner_offsets(
        &self,
        change: impl FnOnce(&mut Offsets) -> bool,
    ) -> io::Result<()> {
        let _writing = self.writing_offsets.lock();
        let offsets = {
            let mut offsets = self.cleaner_offsets.lock();
            if !change(&mut offsets) {
                return Ok(());
            }
            offsets.clone()
        };
        write_offsets(&*self.fs, &self.path.join(CLEANER_OFFSETS), &offsets)
    }

    /// Has what is written by now synced within `delay_ms`.
    pub fn flush_within(&self, delay_ms: i64) {
        if self.durability == Durability::Strict || delay_ms == i64::MAX {
            return;
        }
        let delay_ms = u64::try_from(delay_ms).unwrap_or(0);
        let due_ms = self.clock.monotonic_ms().saturating_add(delay_ms);
        if due_ms < self.flush_due_ms.fetch_min(due_ms, Ordering::AcqRel) {
            self.maintenance.wake();
        }
    }

    /// Removes files when `delay_ms` have passed.
    pub fn remove_after(&self, delay_ms: u64, doomed: Doomed) {
        let due_ms = self.clock.monotonic_ms().saturating_add(delay_ms);
        self.doomed.lock().push((due_ms, doomed));
        self.maintenance.wake();
    }

    /// Tries a step again soon for which no descriptor or no memory was left.
    pub fn again(&self, job: impl FnOnce(&Arc<Self>) + Send + 'static) {
        self.remove_after(AGAIN_MS, Doomed::Again(Box::new(job)));
    }

    /// Whether an acknowledgement of this log waits for stable media.
    pub fn is_strict(&self, topic: Option<Durability>) -> bool {
        topic.unwrap_or(self.durability) == Durability::Strict
    }
}
