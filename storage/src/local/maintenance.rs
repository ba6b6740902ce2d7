//! The threads that look after a log directory. One takes checkpoints, which may take seconds. The other grows the
//! ring and writes what has waited long enough, which commits may be waiting for meanwhile; it gives memory back, and
//! removes deleted directories.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::env::bell::Bell;
use crate::env::fs::{if_found, is_passing};
use crate::env::sync::{Mutex, thread};
use crate::local::file_log::FileLog;
use crate::local::io_pool::IoPool;
use crate::local::log_dir::{AGAIN_MS, Doomed, LogDir};
use crate::local::wal::checkpoint::Checkpoint;
use crate::local::wal::commit::WalError;
use crate::local::wal::logs::LogTable;
use crate::local::wal::ring::Shortage;
use crate::log::Durability;
use crate::log::StorageError;

/// How often a busy directory is looked at. A batch is in its segment after about as long.
const TICK: Duration = Duration::from_secs(1);
/// How often an idle one is: the bell rings if there is something to do.
const IDLE_TICK: Duration = Duration::from_secs(3600);
/// A checkpoint is taken at least so often while there is something to take it of.
const CHECKPOINT_INTERVAL_MS: u64 = 60_000;
/// How long, and how often, a checkpoint waits for batches on their way that the notes know already.
const NOTE_WAIT: Duration = Duration::from_millis(1);
const NOTE_WAITS: usize = 20;
/// How many logs are written at once to make room for producers.
const LOGS_AT_ONCE: usize = 256;
/// How many logs retention looks at in one go; after a start it may be all of them.
const RETENTION_BATCH: usize = 256;
/// How soon after a failure the ring is tried to grow again, at first and at last.
const GROWTH_PAUSE_MS: u64 = 1_000;
const GROWTH_PAUSE_MAX_MS: u64 = 10_000;
/// Without appends for so long, everything is written, checkpointed and dropped from memory.
const QUIET_MS: u64 = 5_000;
/// Files of segments that nobody used for so long, and at most twice as long, are closed.
const CLOSE_UNUSED_MS: u64 = 10_000;
/// How soon something is removed again that could not be, for a reason that may last.
const REMOVED_AGAIN_MS: u64 = 3_600_000;
/// Deleted directories, and lists of files, that are removed at one look.
const REMOVED_TOGETHER: usize = 1_000;

/// The state of the two threads.
pub(crate) struct Maintenance {
    shared: Arc<LogDir>,
    wal_dir: PathBuf,
    stop: AtomicBool,
    /// Wakes the thread that takes checkpoints.
    checkpoint_due: Bell,
    checkpoints: Mutex<Checkpoints>,
    retention_check_interval_ms: u64,
    failed: Arc<watch::Sender<Option<StorageError>>>,
}

struct Checkpoints {
    last: Checkpoint,
    taken_ms: u64,
    table: LogTable,
}

/// What was seen at the last look, to tell whether the directory is quiet.
struct Seen {
    committed_bytes: u64,
    changed_ms: u64,
    written_ms: u64,
    /// Where in the list of busy logs the next ones are that make room.
    written_to: usize,
    released: bool,
    released_ms: u64,
    /// When unused files were closed.
    closed_ms: u64,
    /// When retention is due, by the monotonic clock.
    retention_ms: u64,
    /// When silent producers are due, by the monotonic clock.
    producers_ms: u64,
    /// When the ring may be tried to grow again, and the pause before that.
    growth_ms: u64,
    growth_pause_ms: u64,
}

impl Maintenance {
    pub fn new(
        shared: Arc<LogDir>,
        wal_dir: PathBuf,
        retention_check_interval_ms: u64,
        last: Checkpoint,
        table: LogTable,
        failed: Arc<watch::Sender<Option<StorageError>>>,
    ) -> Self {
        let taken_ms = shared.clock.monotonic_ms();
        Self {
            shared,
            wal_dir,
            stop: AtomicBool::new(false),
            checkpoint_due: Bell::default(),
            checkpoints: Mutex::new(Checkpoints {
                last,
                taken_ms,
                table,
            }),
            retention_check_interval_ms,
            failed,
        }
    }

    /// Ends [`Maintenance::run`] and [`Maintenance::take_checkpoints`].
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.shared.maintenance.ring();
        self.checkpoint_due.ring();
    }

    /// The thread that takes checkpoints.
    pub fn take_checkpoints(&self) {
        loop {
            self.checkpoint_due.wait(IDLE_TICK);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            if self.shared.wal.refused().is_none()
                && let Err(error) = self.checkpoint()
            {
                tracing::error!(%error, "checkpoint failed; it is tried again");
            }
        }
    }

    /// The thread that does everything else.
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
            retention_ms: now.saturating_add(self.retention_check_interval_ms),
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
            // On a full disk all of them are tried, to find out whether it still is.
            match is_short && !*shared.disk_full.borrow() {
                true => self.make_room_in_budget(&mut seen.written_to),
                false => self.write_segments(),
            }
            seen.written_ms = now_ms;
        }
        if self.checkpoint_is_due(now_ms, quiet) {
            self.checkpoint_due.ring();
        }
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

    /// Adds to the ring what is needed, where the disk has room for it. After a failure with longer and longer pauses.
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
        let mut logs = std::mem::take(&mut *self.shared.with_producers.lock());
        logs.retain(|_, log| {
            log.upgrade()
                .is_some_and(|log| log.remove_expired_producers())
        });
        self.shared.with_producers.lock().extend(logs);
    }

    /// Looks at the logs that are due, and says whether there are more of them.
    fn enforce_retention(&self) -> bool {
        let now_ms = self.shared.clock.now_ms();
        let due = self.shared.retention.take_due(now_ms, RETENTION_BATCH);
        let more = due.len() == RETENTION_BATCH;
        for log in due {
            self.shared.pool.write(move || log.enforce_retention());
        }
        more
    }

    /// Writes some logs after the other, until producers have room again or all are written. The next call goes on behind
    /// them: what gathers in a log until it is its turn is written in one piece.
    fn make_room_in_budget(&self, written_to: &mut usize) {
        let logs = busy(&self.shared);
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
        if self.write(busy(&self.shared), FileLog::write_segments) {
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

    fn checkpoint_is_due(&self, now_ms: u64, quiet: bool) -> bool {
        let Some(checkpoints) = self.checkpoints.try_lock() else {
            // One is being taken.
            return false;
        };
        let committed = self.shared.wal.committed();
        if committed.next_sequence == checkpoints.last.start_sequence {
            return false;
        }
        let (full_bytes, max_bytes) = self.shared.wal.ring().fill();
        // One may be newer than `now_ms`.
        quiet
            || now_ms.saturating_sub(checkpoints.taken_ms) >= CHECKPOINT_INTERVAL_MS
            || full_bytes >= max_bytes / 4
            || self.shared.wal.ring().need() == Some(Shortage::Checkpoint)
            || self.shared.wal.ring().shortage(1 << 20) == Some(Shortage::Checkpoint)
    }

    /// Has the logs note their producers, and gives the ends of the logs from which on recovery may begin with that.
    fn take_notes(&self) -> Vec<(Arc<FileLog>, i64)> {
        let logs = busy(&self.shared);
        let noted: Vec<_> = logs
            .iter()
            .filter_map(|log| Some((log, log.take_note()?)))
            .collect();
        let is_behind = |(log, end): &(&Arc<FileLog>, i64)| {
            let durable_end = log.durable_end_soon();
            durable_end.is_some_and(|durable_end| durable_end < *end)
        };
        // Recovery may use a note only if all that it knows lies before the checkpoint. Commits may be waiting for this
        // checkpoint, so that it does not wait for them for long.
        for _ in 0..NOTE_WAITS {
            if !noted.iter().any(is_behind) {
                break;
            }
            thread::sleep(NOTE_WAIT);
        }
        ends_of(&logs)
    }

    /// Makes everything durable where it belongs, so that replay may begin behind it and the ring is free again.
    pub fn checkpoint(&self) -> io::Result<()> {
        let shared = &self.shared;
        let mut checkpoints = self.checkpoints.lock();
        let began = Instant::now();
        let notes_until = self.take_notes();
        let committed = shared.wal.committed();
        // Only the write-ahead log says that their logs were deleted.
        shared.finish_departures()?;
        let declared = shared.wal.take_declared();
        if !declared.is_empty()
            && let Err(error) = checkpoints.table.add(&*shared.fs, &declared)
        {
            shared.wal.put_back_declared(declared);
            return Err(error);
        }
        let logs = busy(shared);
        let ends = ends_of(&logs);
        self.make_durable(&shared.pool, logs)?;
        if shared.durability == Durability::Os {
            // After a power cut the write-ahead log may end before what the segments have.
            shared.change_recovery_points(|points| {
                // A log that was deleted meanwhile has been taken out, and another may have its name.
                let left = ends
                    .iter()
                    .filter(|(log, _)| log.durable_end_soon().is_some());
                points.extend(left.map(|(log, end)| (log.key(), *end)));
                true
            })?;
        }
        shared.save_log_starts()?;
        let checkpoint = Checkpoint {
            number: checkpoints.last.number + 1,
            start_sequence: committed.next_sequence,
            start: committed.end,
            ..checkpoints.last
        };
        checkpoint.write(&*shared.fs, &self.wal_dir)?;
        for (log, end) in notes_until {
            log.checkpointed(end);
        }
        checkpoints.last = checkpoint;
        checkpoints.taken_ms = shared.clock.monotonic_ms();
        shared.wal.ring().release(committed.next_sequence);
        shared.counters.checkpoints.observe(began.elapsed());
        Ok(())
    }

    /// Makes durable what is in the write-ahead log of some logs. Many small syncs take several times as long as one of
    /// the whole file system, which writes what others have on it as well.
    pub fn make_durable(&self, pool: &IoPool, mut logs: Vec<Arc<FileLog>>) -> io::Result<()> {
        let shared = &self.shared;
        logs.retain(|log| log.needs_sync());
        let are_many = logs.len() >= shared.sync_together_from;
        let together = shared.open_files.take_closed_unsynced() || are_many;
        let Some(sync) = shared.file_system_sync.as_ref().filter(|_| together) else {
            let synced = pool.for_each(logs, |log| log.make_durable());
            return synced.into_iter().collect();
        };
        let sync = || {
            sync().inspect_err(|error| {
                // What it was to write is in the write-ahead log: a restart writes it again.
                let why = format!("syncing the segments failed: {error}");
                shared.wal.fail(&why);
            })
        };
        let begun = pool.for_each(logs.clone(), |log| log.begin_sync());
        sync()?;
        let finished = pool.for_each(logs, |log| log.finish_sync());
        // Whatever has become of the others: nobody else makes the new names of these durable.
        if finished.iter().any(|again| matches!(again, Ok(true))) {
            sync()?;
        }
        let finished = finished.into_iter().map(|finished| finished.map(|_| ()));
        begun.into_iter().chain(finished).collect()
    }

    /// The last checkpoint of an orderly shutdown: nothing is to be replayed, and the ring may go.
    pub fn checkpoint_closed(&self) -> io::Result<()> {
        self.checkpoint()?;
        let mut checkpoints = self.checkpoints.lock();
        let checkpoint = Checkpoint {
            number: checkpoints.last.number + 1,
            closed: true,
            ..checkpoints.last
        };
        checkpoint.write(&*self.shared.fs, &self.wal_dir)?;
        checkpoints.last = checkpoint;
        Ok(())
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
            let logs = std::mem::take(&mut *shared.busy.lock());
            let still_busy: Vec<_> = logs
                .into_iter()
                .filter(|log| log.release_memory(age))
                .collect();
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

    /// Removes what is due; of very much a part, so that segments are not written behind all of it.
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

impl LogDir {
    fn remove(self: &Arc<Self>, doomed: Doomed) {
        let (path, removed) = match &doomed {
            Doomed::Directory(path) => (Some(path), if_found(self.fs.remove_dir_all(path))),
            Doomed::Files(paths) => {
                let mut paths = paths.iter();
                let failed = paths.find_map(|path| {
                    let removed = if_found(self.fs.remove_file(path));
                    removed.err().map(|error| (Some(path), Err(error)))
                });
                failed.unwrap_or((None, Ok(None)))
            }
            Doomed::Again(_) => (None, Ok(None)),
        };
        if let Doomed::Again(job) = doomed {
            return job(self);
        }
        if let Err(error) = removed {
            let path = path.map(|path| path.display());
            tracing::warn!(?path, %error, "what was deleted could not be removed; it is tried again");
            let delay_ms = match is_passing(&error) {
                true => AGAIN_MS,
                false => REMOVED_AGAIN_MS,
            };
            self.remove_after(delay_ms, doomed);
        }
    }
}

/// The logs with something in memory.
fn busy(shared: &LogDir) -> Vec<Arc<FileLog>> {
    let _not_releasing = shared.releasing.lock();
    shared.busy.lock().clone()
}

/// What a checkpoint from here on will have made durable of each log at least.
fn ends_of(logs: &[Arc<FileLog>]) -> Vec<(Arc<FileLog>, i64)> {
    let end = |log: &Arc<FileLog>| Some((Arc::clone(log), log.durable_end_soon()?));
    logs.iter().filter_map(end).collect()
}
