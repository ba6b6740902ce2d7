//! What the logs of one directory share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::bell::Bell;
use crate::checkpoint::Offsets;
use crate::clock::Clock;
use crate::cold_budget::ColdBudget;
use crate::fs::Fs;
use crate::io_pool::IoPool;
use crate::log::Durability;
use crate::log::direct::DirectIo;
use crate::log::open_files::OpenFiles;
use crate::log::partition_log::FileLog;
use crate::retention::Schedule;
use crate::wal::chunk::ChunkPool;
use crate::wal::commit::Wal;

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
    /// The last shutdown was not orderly, and some of what was in the page cache may be gone.
    pub may_cut_tails: bool,
    /// Room for batches between submission and their segment.
    pub append_budget: Arc<Semaphore>,
    pub append_budget_bytes: usize,
    /// Chunks beyond this are dropped from memory when what is in them has been written.
    pub tail_cache_bytes: usize,
    /// Logs with something in memory: to be written, to be synced, or kept for readers.
    pub busy: Mutex<Vec<Arc<FileLog>>>,
    /// Bytes committed since the start: the age of what is kept in memory is counted in it.
    pub committed_bytes: AtomicU64,
    /// Log start offsets that the segments' names do not tell.
    pub log_starts: Mutex<Offsets>,
    pub log_starts_changed: AtomicBool,
    /// There is no room for segments: nothing is appended until there is.
    pub disk_full: watch::Sender<bool>,
    /// The files of segments that are open.
    pub open_files: Arc<OpenFiles>,
    /// Room for what is read from segments.
    pub cold_reads: ColdBudget,
    /// When retention looks at which log.
    pub retention: Schedule,
    /// What is to be removed, and when by the monotonic clock.
    pub doomed: Mutex<Vec<(u64, Doomed)>>,
    /// Compacted logs that may have a dirty segment, by id.
    pub dirty: Mutex<HashMap<u32, Weak<FileLog>>>,
    /// Up to where each log is clean.
    pub cleaner_offsets: Mutex<Offsets>,
    /// Wakes the maintenance thread.
    pub maintenance: Arc<Bell>,
}

/// Renamed already, so that nobody takes it for what it was.
pub(crate) enum Doomed {
    Directory(PathBuf),
    Files(Vec<PathBuf>),
}

impl LogDir {
    /// Notes whether segments can be written.
    pub fn set_disk_full(&self, full: bool) {
        let changed = self
            .disk_full
            .send_if_modified(|known| std::mem::replace(known, full) != full);
        if changed && full {
            tracing::error!(directory = %self.path.display(), "no space left: nothing is appended until there is");
            self.maintenance.ring();
        } else if changed {
            tracing::info!(directory = %self.path.display(), "there is space again");
        }
    }

    /// If memory holds more than it is to: up to which age batches are dropped that are in their segment.
    pub fn dropped_age(&self) -> Option<u64> {
        let committed_bytes = self.committed_bytes.load(Ordering::Relaxed);
        let is_over = self.chunks.used_bytes() > self.tail_cache_bytes;
        is_over.then(|| committed_bytes.saturating_sub(self.tail_cache_bytes as u64))
    }

    /// Removes files when `delay_ms` have passed.
    pub fn remove_after(&self, delay_ms: u64, doomed: Doomed) {
        let due_ms = self.clock.monotonic_ms().saturating_add(delay_ms);
        self.doomed.lock().push((due_ms, doomed));
        self.maintenance.ring();
    }

    /// Whether an acknowledgement of this log waits for stable media.
    pub fn is_strict(&self, topic: Option<Durability>) -> bool {
        topic.unwrap_or(self.durability) == Durability::Strict
    }
}
