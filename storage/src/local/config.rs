//! How a log directory is kept.

use std::path::PathBuf;
use std::sync::Arc;

use crate::env::clock::{Clock, SystemClock};
use crate::env::fs::{Fs, RealFs};
use crate::log::{Durability, LiveConfig, RecoveryProgress};

/// How a log directory is kept.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    pub dir: PathBuf,
    /// What an acknowledgement promises, where the topic does not say.
    pub durability: Durability,
    /// How far the write-ahead log may grow. It begins small and grows with use.
    pub wal_ring_bytes: u64,
    /// By how much it grows. No batch may be larger.
    pub wal_region_bytes: u64,
    /// Its size at first, written before the directory opens.
    pub wal_first_region_bytes: u64,
    /// Bytes that may be on their way from producers to segments; appends beyond wait.
    pub append_budget_bytes: u64,
    /// Pieces of segments that are at least this large are written past the page cache. Pieces four times as large are
    /// read past it.
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
    /// A checkpoint of this many logs or more syncs the whole file system instead of each log by itself.
    pub sync_together_from: usize,
    /// How often logs are looked at that may have something to delete (`log.retention.check.interval.ms`).
    pub retention_check_interval_ms: u64,
    /// How long after the start they are first (`log.initial.task.delay.ms`).
    pub initial_task_delay_ms: u64,
    /// Where more was appended to a log, the next checkpoint notes its producers. What has come since is read again at the
    /// first use after a crash.
    pub note_interval_bytes: u64,
    /// How often silent producers are looked for (`producer.id.expiration.check.interval.ms`).
    pub producer_id_expiration_check_interval_ms: u64,
    /// What is kept free on the disk: below it nothing is appended but to the broker's own logs.
    /// `None`: a twentieth of the file system, at most 512 MiB.
    pub disk_reserve_bytes: Option<u64>,
    /// What [`LogStore::change`](crate::log::LogStore::change) may change later.
    pub live: LiveConfig,
    /// Told how far the recovery is.
    pub progress: Arc<RecoveryProgress>,
    pub fs: Arc<dyn Fs>,
    pub clock: Arc<dyn Clock>,
}

impl LocalConfig {
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
            initial_task_delay_ms: 30_000,
            note_interval_bytes: 512 << 10,
            producer_id_expiration_check_interval_ms: 600_000,
            disk_reserve_bytes: None,
            live: LiveConfig::default(),
            progress: Arc::default(),
            fs: Arc::new(RealFs),
            clock: Arc::new(SystemClock::default()),
        }
    }
}
