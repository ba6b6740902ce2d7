//! Takes checkpoints. A checkpoint makes everything before it durable where it belongs, so that the write-ahead log is
//! needed only from there on.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::file_log::FileLog;
use super::io_pool::IoPool;
use super::log_dir::LogDir;
use super::logs::Logs;
use super::wal::checkpoint::Checkpoint;
use super::wal::logs::LogTable;
use super::wal::ring::Shortage;
use crate::env::sync::{Mutex, thread};
use crate::env::wakeup::Wakeup;
use crate::log::Durability;

/// How often the thread takes a checkpoint if nobody wakes it.
const IDLE_TICK: Duration = Duration::from_secs(3600);
/// A checkpoint is taken at least this often while anything was appended.
const CHECKPOINT_INTERVAL_MS: u64 = 60_000;
/// A checkpoint waits for batches that are on their way and that the notes know already: this long, this often.
const NOTE_WAIT: Duration = Duration::from_millis(1);
const NOTE_WAITS: usize = 20;

/// Takes the checkpoints of a directory, one at a time.
pub(crate) struct Checkpointer {
    shared: Arc<LogDir>,
    logs: Arc<Logs>,
    wal_dir: PathBuf,
    stop: AtomicBool,
    /// Wakes the thread.
    due: Wakeup,
    checkpoints: Mutex<Checkpoints>,
}

struct Checkpoints {
    last: Checkpoint,
    taken_ms: u64,
    table: LogTable,
}

impl Checkpointer {
    pub fn new(
        shared: Arc<LogDir>,
        logs: Arc<Logs>,
        wal_dir: PathBuf,
        last: Checkpoint,
        table: LogTable,
    ) -> Self {
        let taken_ms = shared.clock.monotonic_ms();
        Self {
            shared,
            logs,
            wal_dir,
            stop: AtomicBool::new(false),
            due: Wakeup::default(),
            checkpoints: Mutex::new(Checkpoints {
                last,
                taken_ms,
                table,
            }),
        }
    }

    /// Ends [`Checkpointer::run`].
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.due.wake();
    }

    /// The thread that takes checkpoints.
    pub fn run(&self) {
        loop {
            self.due.wait(IDLE_TICK);
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

    /// Has the thread take a checkpoint if it is time. `quiet`: nothing was appended for a while.
    pub fn take_if_due(&self, now_ms: u64, quiet: bool) {
        if self.is_due(now_ms, quiet) {
            self.due.wake();
        }
    }

    fn is_due(&self, now_ms: u64, quiet: bool) -> bool {
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

    /// The logs with something in memory.
    pub fn busy_logs(&self) -> Vec<Arc<FileLog>> {
        let _not_releasing = self.shared.releasing.lock();
        let busy = self.shared.busy.lock().clone();
        self.logs.of(busy)
    }

    /// Has the logs note their producers. Gives the end of each log up to which recovery may use the note.
    fn take_notes(&self) -> Vec<(Arc<FileLog>, i64)> {
        let logs = self.busy_logs();
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
        let logs = self.busy_logs();
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

    /// Makes durable what the write-ahead log holds of some logs. Many small syncs take several times as long as one of the
    /// whole file system. That one also writes what others have on it.
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
        // Even if others have failed: nobody else makes the new names of these durable.
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
}

/// The offset of each log up to which a checkpoint that begins now will have made it durable, at least.
fn ends_of(logs: &[Arc<FileLog>]) -> Vec<(Arc<FileLog>, i64)> {
    let end = |log: &Arc<FileLog>| Some((Arc::clone(log), log.durable_end_soon()?));
    logs.iter().filter_map(end).collect()
}
