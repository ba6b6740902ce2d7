//! The thread that looks after a log directory: it grows the write-ahead log and writes what has waited long enough, which
//! commits may be waiting for. It also gives memory back, lets retention look at logs, and removes deleted directories.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::checkpointer::Checkpointer;
use super::file_log::FileLog;
use super::log_dir::LogDir;
use super::logs::Logs;
use super::wal::entry::WalError;
use super::wal::ring::Shortage;
use crate::log::StorageError;

/// How often a busy directory is looked at. A batch is in its segment after about as long.
const TICK: Duration = Duration::from_secs(1);
/// How often an idle directory is looked at. The thread is woken if there is something to do.
const IDLE_TICK: Duration = Duration::from_secs(3600);
/// How many logs are written at once to make room for producers.
const LOGS_AT_ONCE: usize = 256;
/// How many logs retention looks at in one go; after a start it may be all of them.
const RETENTION_BATCH: usize = 256;
/// The pause after a failure before the ring is grown again: the first one, and the longest.
const GROWTH_PAUSE_MS: u64 = 1_000;
const GROWTH_PAUSE_MAX_MS: u64 = 10_000;
/// After this time without appends everything is written, checkpointed and dropped from memory.
const QUIET_MS: u64 = 5_000;
/// Files of segments are closed after this time without use, or at most twice this time.
const CLOSE_UNUSED_MS: u64 = 10_000;
/// How many deleted directories and lists of files are removed at one look.
const REMOVED_TOGETHER: usize = 1_000;

/// What the thread works on.
pub(crate) struct Maintenance {
    shared: Arc<LogDir>,
    logs: Arc<Logs>,
    checkpointer: Arc<Checkpointer>,
    stop: AtomicBool,
    retention_check_interval_ms: u64,
    initial_task_delay_ms: u64,
    failed: Arc<watch::Sender<Option<StorageError>>>,
}

/// Counts at the last look, which tell whether the directory is quiet.
struct Seen {
    committed_bytes: u64,
    changed_ms: u64,
    written_ms: u64,
    /// The place in the list of busy logs at which making room goes on.
    written_to: usize,
    released: bool,
    released_ms: u64,
    /// When unused files were closed.
    closed_ms: u64,
    /// When retention is due, by the monotonic clock.
    retention_ms: u64,
    /// When silent producers are due, by the monotonic clock.
    producers_ms: u64,
    /// When the ring may be grown again, and the pause before that.
    growth_ms: u64,
    growth_pause_ms: u64,
}

impl Maintenance {
    pub fn new(
        shared: Arc<LogDir>,
        logs: Arc<Logs>,
        checkpointer: Arc<Checkpointer>,
        retention_check_interval_ms: u64,
        initial_task_delay_ms: u64,
        failed: Arc<watch::Sender<Option<StorageError>>>,
    ) -> Self {
        Self {
            shared,
            logs,
            checkpointer,
            stop: AtomicBool::new(false),
            retention_check_interval_ms,
            initial_task_delay_ms,
            failed,
        }
    }

    /// Ends [`Maintenance::run`].
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.shared.maintenance.wake();
    }

    /// What the thread does.
    pub fn run(&self) {
        let now = self.shared.clock.monotonic_ms();
        let mut seen = Seen {
            committed_bytes: 0,
            changed_ms: now,
            written_ms: now,
            written_to: 0,
            released: true,
            released_ms: now,
            closed_ms: now,
            retention_ms: now.saturating_add(self.initial_task_delay_ms),
            producers_ms: now.saturating_add(self.shared.producer_check_interval_ms),
            growth_ms: now,
            growth_pause_ms: 0,
        };
        self.shared.check_space();
        while !self.stop.load(Ordering::Acquire) {
            let tick = if self.is_idle() && seen.released {
                IDLE_TICK
            } else {
                TICK
            };
            let due_ms = seen
                .retention_ms
                .min(seen.producers_ms)
                .min(self.shared.flush_due_ms.load(Ordering::Acquire));
            let until_due = due_ms.saturating_sub(self.shared.clock.monotonic_ms());
            let tick = tick.min(Duration::from_millis(until_due));
            self.shared.maintenance.wait(tick);
            match self.shared.wal.refused() {
                None => self.look_after(&mut seen),
                Some(WalError::Closed) => {}
                Some(error) => {
                    tracing::error!(directory = %self.shared.path.display(), %error, "offline");
                    self.failed.send_if_modified(|failed| {
                        let is_first = failed.is_none();
                        failed.get_or_insert_with(|| StorageError(error.to_string()));
                        is_first
                    });
                    return;
                }
            }
        }
    }

    fn is_idle(&self) -> bool {
        let ring = self.shared.wal.ring();
        ring.need().is_none()
            && !ring.is_stunted()
            && self.shared.busy.lock().is_empty()
            && self.shared.doomed.lock().is_empty()
            && self.shared.open_files.count() == 0
            && self.shared.direct_io.read_ahead.is_empty()
            && !*self.shared.disk_full.borrow()
            && !self.shared.low_on_space.load(Ordering::Relaxed)
    }

    fn look_after(&self, seen: &mut Seen) {
        let shared = &self.shared;
        let now_ms = shared.clock.monotonic_ms();
        self.grow_ring(seen, now_ms);
        if now_ms >= shared.flush_due_ms.load(Ordering::Acquire) {
            // What is committed from now on asks again.
            shared.flush_due_ms.store(u64::MAX, Ordering::Release);
            shared.wal.flush();
        }
        let committed_bytes = shared.committed_bytes.load(Ordering::Relaxed);
        if committed_bytes != seen.committed_bytes {
            seen.committed_bytes = committed_bytes;
            seen.changed_ms = now_ms;
            seen.released = false;
        }
        let quiet = now_ms - seen.changed_ms >= QUIET_MS;
        let is_short = shared.is_short_of_budget();
        if is_short || now_ms - seen.written_ms >= TICK.as_millis() as u64 {
            shared.check_space();
            // On a full disk all logs are written, to find out whether it is still full.
            match is_short && !*shared.disk_full.borrow() {
                true => self.make_room_in_budget(&mut seen.written_to),
                false => self.write_segments(),
            }
            seen.written_ms = now_ms;
        }
        self.checkpointer.take_if_due(now_ms, quiet);
        shared.direct_io.read_ahead.release_unused(now_ms);
        if quiet || now_ms - seen.released_ms >= TICK.as_millis() as u64 {
            self.release_memory(committed_bytes, quiet);
            seen.released = quiet;
            seen.released_ms = now_ms;
        }
        if now_ms - seen.closed_ms >= CLOSE_UNUSED_MS {
            shared.open_files.close_unused();
            seen.closed_ms = now_ms;
        }
        self.remove_doomed(now_ms);
        if now_ms >= seen.retention_ms {
            let more = self.enforce_retention();
            let interval_ms = self.retention_check_interval_ms;
            let pause_ms = if more {
                TICK.as_millis() as u64
            } else {
                interval_ms
            };
            seen.retention_ms = now_ms.saturating_add(pause_ms.min(interval_ms));
        }
        if now_ms >= seen.producers_ms {
            self.remove_expired_producers();
            seen.producers_ms = now_ms.saturating_add(self.shared.producer_check_interval_ms);
        }
    }

    /// Grows the ring if that is needed and the disk has room. After failures the pauses grow.
    fn grow_ring(&self, seen: &mut Seen, now_ms: u64) {
        let ring = self.shared.wal.ring();
        let is_wanted = ring.need() == Some(Shortage::Grow) || ring.is_stunted();
        if !is_wanted || now_ms < seen.growth_ms {
            return;
        }
        let grown = match self.shared.has_space_for(ring.growth_bytes()) {
            true => ring.grow(),
            false => {
                ring.cannot_grow();
                Err(io::ErrorKind::StorageFull.into())
            }
        };
        match grown {
            Ok(()) => seen.growth_pause_ms = 0,
            Err(error) => {
                if seen.growth_pause_ms == 0 {
                    tracing::warn!(%error, "the write-ahead log cannot grow; it makes do with what it has");
                }
                let pause_ms =
                    (2 * seen.growth_pause_ms).clamp(GROWTH_PAUSE_MS, GROWTH_PAUSE_MAX_MS);
                seen.growth_pause_ms = pause_ms;
                seen.growth_ms = now_ms.saturating_add(pause_ms);
            }
        }
    }

    /// Has every log forget the producers that have been silent for too long.
    fn remove_expired_producers(&self) {
        let ids = std::mem::take(&mut *self.shared.with_producers.lock());
        let logs = self.logs.of(ids);
        let left = logs.iter().filter(|log| log.remove_expired_producers());
        let left: Vec<u32> = left.map(|log| log.log_id).collect();
        self.shared.with_producers.lock().extend(left);
    }

    /// Looks at the logs that are due, and says whether there are more of them.
    fn enforce_retention(&self) -> bool {
        let now_ms = self.shared.clock.now_ms();
        let due = self.shared.retention.take_due(now_ms, RETENTION_BATCH);
        let more = due.len() == RETENTION_BATCH;
        for log in self.logs.of(due) {
            self.shared.pool.write(move || log.enforce_retention());
        }
        more
    }

    /// Writes some logs at a time, until producers have room again or all logs are written. The next call goes on behind
    /// them. What gathers in a log until its turn comes is written in one piece.
    fn make_room_in_budget(&self, written_to: &mut usize) {
        let logs = self.checkpointer.busy_logs();
        for _ in 0..logs.len().div_ceil(LOGS_AT_ONCE) {
            let from = *written_to % logs.len();
            let some = logs.iter().cycle().skip(from);
            let some = some.take(LOGS_AT_ONCE.min(logs.len())).cloned();
            self.write(some.collect(), FileLog::write_and_release);
            *written_to = from + LOGS_AT_ONCE;
            if !self.shared.is_short_of_budget() {
                break;
            }
        }
    }

    fn write_segments(&self) {
        if self.write(self.checkpointer.busy_logs(), FileLog::write_segments) {
            self.shared.set_disk_full(false);
        }
    }

    /// Writes the segments of some logs; says whether all went well.
    fn write(&self, logs: Vec<Arc<FileLog>>, write: fn(&FileLog) -> io::Result<()>) -> bool {
        let written = self.shared.pool.for_each(logs, move |log| write(&log));
        let all_went_well = written.iter().all(Result::is_ok);
        for error in written.into_iter().filter_map(Result::err) {
            tracing::error!(%error, "writing a segment failed; it is tried again");
        }
        all_went_well
    }

    /// Keeps the newest batches in memory for their readers, and gives back the rest.
    fn release_memory(&self, committed_bytes: u64, quiet: bool) {
        let shared = &self.shared;
        let limit = shared.tail_cache_bytes;
        if !quiet && shared.chunks.used_bytes() <= limit {
            return;
        }
        let keep_bytes = if quiet { 0 } else { limit as u64 };
        // A chunk with few batches in it weighs more than they do: keep less until the limit holds.
        for keep_bytes in [keep_bytes, keep_bytes / 4, 0] {
            let age = match keep_bytes {
                0 => u64::MAX,
                bytes => committed_bytes.saturating_sub(bytes),
            };
            let _releasing = shared.releasing.lock();
            let ids = std::mem::take(&mut *shared.busy.lock());
            let logs = self.logs.of(ids);
            let still_busy = logs.iter().filter(|log| log.release_memory(age));
            let still_busy: Vec<u32> = still_busy.map(|log| log.log_id).collect();
            shared.busy.lock().extend(still_busy);
            if shared.chunks.used_bytes() <= limit {
                break;
            }
        }
        if quiet {
            shared.chunks.release_free();
            shared.direct_io.release_free();
        }
    }

    /// Removes what is due. If there is very much, it removes a part, so that segments need not wait for all of it.
    fn remove_doomed(&self, now_ms: u64) {
        let due: Vec<_> = {
            let mut doomed = self.shared.doomed.lock();
            doomed
                .extract_if(.., |(due_ms, _)| *due_ms <= now_ms)
                .take(REMOVED_TOGETHER)
                .collect()
        };
        for (_, doomed) in due {
            let shared = Arc::clone(&self.shared);
            self.shared.pool.write(move || shared.remove(doomed));
        }
    }
}
