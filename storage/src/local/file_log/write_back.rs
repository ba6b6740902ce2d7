//! Writes segments behind the write-ahead log, and makes them durable.

use std::io;
use std::sync::Arc;

use super::FileLog;
use super::state::{Phase, State};
use crate::env::fs::is_passing;
use crate::local::segment::writer::{SegmentWriter, Snapshot};
use crate::log::producer_state::snapshot;

/// The most that one write takes.
const RUN_LIMIT_BYTES: u64 = 4 << 20;

/// How much is appended between two snapshots of the producers. A start reads no more than this again, even if the notes
/// are lost.
const SNAPSHOT_INTERVAL_BYTES: u64 = 16 << 20;

impl FileLog {
    pub(super) fn write_queued(self: &Arc<Self>) {
        self.state.lock().write_queued = false;
        if let Err(error) = self.write_and_release() {
            tracing::error!(partition = %self.id, %error, "writing a segment failed; it is tried again");
        }
    }

    /// Writes the segments and gives back memory at once. Much may pass through memory before the maintenance looks at all
    /// logs again.
    pub fn write_and_release(&self) -> io::Result<()> {
        let written = self.write_segments();
        if let Some(age) = self.shared.dropped_age() {
            let dropped = self.state.lock().drop_tail_before(age);
            drop(dropped);
        }
        written
    }

    /// Writes all that is durable in the write-ahead log to the segments.
    pub fn write_segments(&self) -> io::Result<()> {
        self.write_runs().inspect_err(|error| {
            if error.kind() == io::ErrorKind::StorageFull {
                self.shared.set_disk_full(true);
            }
        })
    }

    fn write_runs(&self) -> io::Result<()> {
        let mut writer = self.writer.lock();
        loop {
            let snapshots = self.state.lock().due_snapshots();
            for (at, snapshot) in snapshots.iter().enumerate() {
                if let Err(error) = writer.write_snapshot(snapshot) {
                    let mut state = self.state.lock();
                    for snapshot in snapshots.into_iter().skip(at).rev() {
                        state.snapshots.push_front(snapshot);
                    }
                    return Err(error);
                }
            }
            let run = {
                let mut state = self.state.lock();
                if matches!(state.phase, Phase::Deleted | Phase::Unloaded) {
                    return Ok(());
                }
                state.next_run(RUN_LIMIT_BYTES)
            };
            let Some(run) = run else {
                return Ok(());
            };
            let written = writer.write(&run);
            let mut state = self.state.lock();
            if matches!(state.phase, Phase::Deleted) {
                // It was deleted meanwhile: nothing of the run is accounted for any more.
                return Ok(());
            }
            if let Err(error) = written {
                state.put_back(run);
                return Err(error);
            }
            let reserved_bytes = state.written(&run);
            drop(state);
            self.shared.append_budget.add_permits(reserved_bytes);
        }
    }

    /// Takes a note of the producers if enough was appended since the last one, and says up to which offset. The note is
    /// written with the segments.
    ///
    /// Recovery writes a log again from the first batch behind the checkpoint on, and takes only notes of offsets before
    /// that batch. So notes are taken before the place of the checkpoint is decided.
    pub fn take_note(&self) -> Option<i64> {
        let mut state = self.state.lock();
        let is_due = state.bytes_since_note >= self.shared.note_interval_bytes;
        if !matches!(state.phase, Phase::Ready) || !is_due {
            return None;
        }
        state.bytes_since_note = 0;
        let note = Snapshot {
            offset: state.log_end_offset,
            sidecar: snapshot::to_sidecar(&state.producers),
            kafka: None,
        };
        state.snapshots.push_back(note);
        Some(state.log_end_offset)
    }

    /// A checkpoint that covers everything below `end` is durable: recovery does not begin before it any more.
    pub fn checkpointed(&self, end: i64) {
        self.writer.lock().checkpointed(end);
    }

    /// Whether something of the log is not durable where it belongs.
    pub fn needs_sync(&self) -> bool {
        self.state.lock().needs_sync
    }

    /// Brings the files up to the write-ahead log and makes them durable: one log's share of a checkpoint.
    pub fn make_durable(&self) -> io::Result<()> {
        self.bring_up(|writer| self.sync(writer))
    }

    /// Brings the files up to the write-ahead log. The caller then syncs the whole file system.
    pub fn begin_sync(&self) -> io::Result<()> {
        self.bring_up(|writer| {
            writer.begin_sync();
            Ok(())
        })
    }

    /// The file system was synced since [`FileLog::begin_sync`]. Says whether it has to be synced again.
    pub fn finish_sync(&self) -> io::Result<bool> {
        let mut writer = self.writer.lock();
        if matches!(self.state.lock().phase, Phase::Deleted) {
            return Ok(false);
        }
        writer.finish_sync().inspect_err(|_| {
            let mut state = self.state.lock();
            state.epochs_changed = true;
            self.sync_again(&mut state);
        })
    }

    fn sync_again(&self, state: &mut State) {
        state.needs_sync = true;
        self.mark_busy(state);
    }

    /// Writes what waits to be written, and has `sync` make it durable.
    fn bring_up(&self, sync: impl FnOnce(&mut SegmentWriter) -> io::Result<()>) -> io::Result<()> {
        {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Ready) || !state.needs_sync {
                return Ok(());
            }
            state.needs_sync = false;
            if state.bytes_since_snapshot >= SNAPSHOT_INTERVAL_BYTES {
                state.take_snapshot();
            }
        }
        let result = self.write_segments().and_then(|()| {
            let mut writer = self.writer.lock();
            let epochs = {
                let mut state = self.state.lock();
                if matches!(state.phase, Phase::Deleted) {
                    // The directory may have been renamed, and a new one may have its name.
                    return Ok(());
                }
                state.changed_epochs()
            };
            if let Some(text) = epochs {
                writer
                    .write_epochs(&text)
                    .inspect_err(|_| self.state.lock().epochs_changed = true)?;
            }
            sync(&mut writer)
        });
        if result.is_err() {
            self.sync_again(&mut self.state.lock());
        }
        result
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&self, writer: &mut SegmentWriter) -> io::Result<()> {
        writer.sync().inspect_err(|error| {
            if is_passing(error) {
                // A file could not be opened to be synced: nothing is lost.
                return;
            }
            // After a failed sync the next one says nothing of what this one was to write,
            // but the write-ahead log still has it: a restart writes it again.
            let why = format!("syncing the segments of {} failed: {error}", self.id);
            self.shared.wal.fail(&why);
        })
    }

    /// Makes durable where the log ends, before the segments go that tell. The segment behind them may have no file yet, if
    /// nothing in it is durable. Afterwards everything that was written is durable.
    pub(crate) fn keep_end(&self, writer: &mut SegmentWriter) -> io::Result<()> {
        let unwritten = {
            let state = self.state.lock();
            let first = state.open.front().map(|open| Arc::clone(&open.segment));
            first.filter(|first| {
                first.written_bytes() == 0 && first.base_offset <= state.high_watermark
            })
        };
        if let Some(first) = unwritten {
            writer.create_segment(&first)?;
        }
        self.sync(writer)
    }

    /// The offset up to which [`FileLog::make_durable`] will have made the log durable, at least.
    pub fn durable_end_soon(&self) -> Option<i64> {
        let state = self.state.lock();
        matches!(state.phase, Phase::Ready).then_some(state.high_watermark)
    }

    /// Drops batches from memory that are in the segments and older than `age`. Says whether any are left to look after.
    pub fn release_memory(&self, age: u64) -> bool {
        let mut state = self.state.lock();
        let dropped = state.drop_tail_before(age);
        let busy = !state.tail.is_empty() || state.needs_sync;
        let idle = state.unwritten_bytes == 0 && !state.needs_sync;
        if !busy {
            state.listed_as_busy = false;
        }
        drop(state);
        drop(dropped);
        if idle && let Some(mut writer) = self.writer.try_lock() {
            writer.close_files();
        }
        busy
    }

    /// Has the next sync write what lets the next start be quick: it will have nothing to scan.
    pub fn begin_close(&self) {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Ready) {
            return;
        }
        if state.bytes_since_snapshot > 0 {
            state.take_snapshot();
        }
        state.finish_last = true;
        state.needs_sync = true;
    }

    /// The log end offset, if the log was used.
    pub fn end_offset(&self) -> Option<i64> {
        let state = self.state.lock();
        matches!(state.phase, Phase::Ready).then_some(state.log_end_offset)
    }
}
