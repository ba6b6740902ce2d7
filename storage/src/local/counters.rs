//! What the threads of a log directory count.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::log::stats::LatencyHistogram;

/// The write-ahead log's writes. Only the thread that commits counts, and there is one at a time.
#[derive(Debug)]
pub(crate) struct CommitStats {
    origin: Instant,
    /// When the commit under way began, in microseconds after `origin`, plus one; 0 while there is none.
    began_us: AtomicU64,
    /// The commit under way waits for room.
    wants_room: AtomicBool,
    pub writes: LatencyHistogram,
    pub entries: AtomicU64,
    pub bytes: AtomicU64,
}

impl Default for CommitStats {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            began_us: AtomicU64::new(0),
            wants_room: AtomicBool::new(false),
            writes: LatencyHistogram::default(),
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }
}

impl CommitStats {
    fn now_us(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX - 1)
    }

    /// A commit waits for room or for the device from now on.
    pub fn begin(&self) {
        self.wants_room.store(true, Ordering::Relaxed);
        self.began_us.store(self.now_us() + 1, Ordering::Relaxed);
    }

    /// It has room, and waits for the device only.
    pub fn begin_write(&self) {
        self.wants_room.store(false, Ordering::Relaxed);
    }

    /// It has returned, with or without success.
    pub fn end(&self) {
        self.began_us.store(0, Ordering::Relaxed);
    }

    /// How long the commit under way has waited for room; zero if it does not.
    pub fn waiting_for_room(&self) -> Duration {
        match self.wants_room.load(Ordering::Relaxed) {
            true => self.in_flight(),
            false => Duration::ZERO,
        }
    }

    /// How long the commit under way has taken so far; zero if there is none.
    pub fn in_flight(&self) -> Duration {
        match self.began_us.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            began => Duration::from_micros((self.now_us() + 1).saturating_sub(began)),
        }
    }
}

/// What the other threads of a directory count.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub checkpoints: LatencyHistogram,
    pub cleaner_runs: AtomicU64,
    pub cleaner_read_bytes: AtomicU64,
    pub cleaner_written_bytes: AtomicU64,
}
