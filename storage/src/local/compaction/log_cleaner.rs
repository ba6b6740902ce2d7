//! The thread that compacts the logs of a directory, the filthiest first.
//!
//! It looks only at logs that have a dirty closed segment. Before it touches one it has a checkpoint taken: recovery must
//! find every segment that it continues as it was written.

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::compaction::{
    CompactionError, CompactionSettings, LogToClean, RateLimiter, compact, filthiest,
};
use crate::env::sync::{Mutex, thread};
use crate::env::wakeup::Wakeup;
use crate::local::checkpointer::Checkpointer;
use crate::local::file_log::FileLog;
use crate::local::log_dir::LogDir;
use crate::local::logs::Logs;
use crate::log::{CleanerConfig, LogConfig};

/// The longest pause without a look at whether to stop.
const PAUSE_MS: u64 = 50;

/// The cleaner of a log directory.
pub(crate) struct LogCleaner {
    shared: Arc<LogDir>,
    logs: Arc<Logs>,
    checkpointer: Arc<Checkpointer>,
    config: Mutex<CleanerConfig>,
    limiter: Mutex<RateLimiter>,
    /// Ids of logs that cleaning again would not help.
    uncleanable: Mutex<HashSet<u32>>,
    /// Ids of logs whose unreadable batches the operator was told of.
    told: Mutex<HashSet<u32>>,
    stop: AtomicBool,
    wakeup: Wakeup,
}

type Due = (Arc<FileLog>, Arc<LogConfig>);

impl LogCleaner {
    pub fn new(
        shared: Arc<LogDir>,
        logs: Arc<Logs>,
        checkpointer: Arc<Checkpointer>,
        config: CleanerConfig,
    ) -> Self {
        let now_ms = shared.clock.monotonic_ms();
        Self {
            limiter: Mutex::new(RateLimiter::new(config.io_max_bytes_per_second, now_ms)),
            shared,
            logs,
            checkpointer,
            config: Mutex::new(config),
            uncleanable: Mutex::default(),
            told: Mutex::default(),
            stop: AtomicBool::new(false),
            wakeup: Wakeup::default(),
        }
    }

    /// Goes by `config` from now on, but for whether there is a cleaner at all.
    pub fn change(&self, config: &CleanerConfig) {
        let now_ms = self.shared.clock.monotonic_ms();
        let rate = config.io_max_bytes_per_second;
        self.limiter.lock().set_rate(rate, now_ms);
        *self.config.lock() = config.clone();
        // It may have lain down for longer than it would now.
        self.wakeup.wake();
    }

    /// Ends [`LogCleaner::run`] soon, in the middle of a segment if need be.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wakeup.wake();
    }

    /// Whether to break off, even in the middle of a segment.
    fn is_held_up(&self) -> bool {
        self.is_stopped() || self.shared.segments_held.load(Ordering::SeqCst)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// What the thread does.
    pub fn run(&self) {
        // The threads that serve go first. Yet this one must never starve: it holds locks that they want, and a log that is
        // not cleaned grows. A priority belongs to a thread, and in a simulation all share one.
        if !cfg!(feature = "simulation")
            && let Err(error) = rustix::process::setpriority_process(None, 5)
        {
            tracing::debug!(%error, "the cleaner runs with normal priority");
        }
        while !self.is_stopped() {
            let backoff_ms = self.config.lock().backoff_ms;
            self.wakeup.wait(Duration::from_millis(backoff_ms));
            let mut failed = HashSet::new();
            while !self.is_stopped()
                && self.shared.wal.refused().is_none()
                && self.clean_next(&mut failed)
            {}
        }
    }

    /// Cleans the filthiest log that is due; false if there is none. One that went wrong is not tried again in this
    /// round, so that the others have their turn.
    fn clean_next(&self, failed: &mut HashSet<u32>) -> bool {
        // The list is taken out, so that what becomes dirty from here on is looked at again.
        let candidates = std::mem::take(&mut *self.shared.dirty.lock());
        let mut due: Vec<(Due, LogToClean)> = Vec::new();
        for log in self.logs.of(candidates) {
            let log_id = log.log_id;
            if self.uncleanable.lock().contains(&log_id) {
                continue;
            }
            match self.look_at(log) {
                Ok(Some((log, range))) if range.is_due(&log.1) => due.push((log, range)),
                // It may be filthy enough, or old enough, later.
                Ok(Some(_)) => {}
                Ok(None) => continue,
                Err(error) => tracing::warn!(%error, "a log could not be looked at"),
            }
            self.shared.dirty.lock().insert(log_id);
        }
        due.retain(|((log, _), _)| !failed.contains(&log.log_id));
        let Some(((log, config), range)) = filthiest(due) else {
            return false;
        };
        let cleaned = self.clean(&log, &config, &range);
        if log.state.lock().has_segments_below_start() {
            log.queue_free_segments();
        }
        match cleaned {
            Ok(()) => true,
            Err(CompactionError::Cancelled) => false,
            Err(CompactionError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
                tracing::warn!(partition = %log.id, %error, "compaction failed; it is tried again");
                failed.insert(log.log_id);
                true
            }
            Err(error) => {
                tracing::error!(partition = %log.id, %error, "the log cannot be compacted");
                self.uncleanable.lock().insert(log.log_id);
                true
            }
        }
    }

    fn look_at(&self, log: Arc<FileLog>) -> io::Result<Option<(Due, LogToClean)>> {
        log.load_if_dirty()?;
        log.settle_segments()?;
        let Some((bounds, config)) = log.compaction_bounds() else {
            return Ok(None);
        };
        // Asked before the closed segments are: one that is closed meanwhile is among them.
        let rolled = log.has_rolled_segment();
        let segments = log.summaries(&config)?;
        let now_ms = self.shared.clock.now_ms();
        let checkpoint = self.shared.cleaner_offsets.lock().get(&log.key()).copied();
        let range = LogToClean::new(&bounds, &segments, checkpoint, &config, now_ms);
        // A dirty segment that must not be cleaned yet will be.
        let waits = segments
            .last()
            .is_some_and(|last| last.base_offset >= range.first_dirty_offset);
        Ok((rolled || waits || range.cleanable_bytes > 0).then_some(((log, config), range)))
    }

    fn clean(
        &self,
        log: &Arc<FileLog>,
        config: &LogConfig,
        range: &LogToClean,
    ) -> Result<(), CompactionError> {
        let _changing = log.segments_change.lock();
        if self.is_held_up() {
            return Err(CompactionError::Cancelled);
        }
        // Asked before the checkpoint, which makes it durable: in `os` mode a power cut may take what comes behind.
        let last_records = log.last_records()?;
        if let Err(error) = self.checkpointer.checkpoint() {
            tracing::warn!(%error, "nothing is compacted without a checkpoint; it is tried again");
            return Err(CompactionError::Cancelled);
        }
        let settings = {
            let config = self.config.lock();
            CompactionSettings {
                offset_map_bytes: config.dedupe_buffer_bytes,
                decompressed_limit_bytes: config.decompressed_limit_bytes,
            }
        };
        let now_ms = self.shared.clock.now_ms();
        let pace = |bytes| self.pace(bytes);
        let compacted = compact(&**log, range, last_records, config, settings, now_ms, pace)?;
        let counters = &self.shared.counters;
        counters.cleaner_runs.fetch_add(1, Ordering::Relaxed);
        let (read_bytes, written_bytes) =
            (compacted.stats.read_bytes, compacted.stats.written_bytes);
        counters
            .cleaner_read_bytes
            .fetch_add(read_bytes, Ordering::Relaxed);
        counters
            .cleaner_written_bytes
            .fetch_add(written_bytes, Ordering::Relaxed);
        tracing::info!(
            partition = %log.id,
            clean_offset = compacted.clean_offset,
            segments_before = compacted.segments_before,
            segments_after = compacted.segments_after,
            read_bytes = compacted.stats.read_bytes,
            written_bytes = compacted.stats.written_bytes,
            "compacted"
        );
        if let Some(error) = &compacted.unreadable
            && self.told.lock().insert(log.log_id)
        {
            tracing::warn!(
                partition = %log.id,
                batches = compacted.stats.unreadable_batches,
                %error,
                "records that cannot be read are kept as they are, and nothing is removed for their sake"
            );
        }
        Ok(self.shared.change_cleaner_offsets(|offsets| {
            offsets.insert(log.key(), compacted.clean_offset);
            true
        })?)
    }

    /// Pauses as long as the rate demands.
    fn pace(&self, bytes: usize) -> ControlFlow<()> {
        let clock = &self.shared.clock;
        let mut pause_ms = self.limiter.lock().take(bytes as u64, clock.monotonic_ms());
        while pause_ms > 0 && !self.is_held_up() {
            let step_ms = pause_ms.min(PAUSE_MS);
            thread::sleep(Duration::from_millis(step_ms));
            pause_ms -= step_ms;
        }
        if self.is_held_up() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
