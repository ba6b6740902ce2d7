//! Retention: records that are too old, or more than the log may keep, leave it at its start (UnifiedLog.deleteOldSegments).
//!
//! First the log start moves, by an entry in the write-ahead log. When that is durable the segments below are renamed,
//! and removed after `file.delete.delay.ms`. A crash in between leaves segments that nobody reads; they go when the log
//! is next loaded.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::FileLog;
use super::append::{indeterminate, not_applied};
use super::state::{Phase, State};
use crate::env::fs::{Access, if_found};
use crate::local::log_dir::Doomed;
use crate::local::segment::writer::SegmentWriter;
use crate::local::segment::{self, DELETED_SUFFIX, Part, Segment, offset_of};
use crate::local::wal::entry::NewEntry;
use crate::local::wal::format::{EntryKind, Place};
use crate::local::wal::logs;
use crate::log::{AppendError, BoxFuture, LogConfig};

/// What retention makes of a log.
enum Verdict {
    /// Nothing yet: the largest timestamp of this segment has to be read from its index first.
    Read(Arc<Segment>),
    Decided {
        /// The log may begin here.
        new_start: i64,
        /// The segment that is appended to has to go, too.
        roll: bool,
        /// When to look again.
        due_ms: Option<i64>,
    },
}

fn judge(state: &State, now_ms: i64) -> Verdict {
    let config = &state.config;
    let mut new_start = state.log_start_offset;
    let mut due_ms = None;
    let mut roll = false;
    let mut total_bytes = state.size_bytes;
    let limit_bytes = u64::try_from(config.retention_bytes).ok();
    for (at, segment) in state.segments.iter().enumerate() {
        let next = state.segments.get(at + 1);
        let end_offset = next.map_or(state.log_end_offset, |next| next.base_offset);
        let open = state
            .open
            .iter()
            .find(|open| open.segment.base_offset == segment.base_offset);
        let bytes = open.map_or_else(|| segment.written_bytes(), |open| open.bytes);
        if !config.delete || (next.is_none() && bytes == 0) {
            break;
        }
        if end_offset > state.high_watermark {
            due_ms = Some(now_ms);
            break;
        }
        let is_surplus = limit_bytes
            .is_some_and(|limit| total_bytes.saturating_sub(limit) >= bytes && total_bytes > limit);
        if !is_surplus {
            if config.retention_ms < 0 {
                break;
            }
            let newest = match open {
                Some(open) => Some(open.largest_timestamp()),
                None => segment.known_largest_timestamp(),
            };
            let Some(newest) = newest else {
                return Verdict::Read(Arc::clone(segment));
            };
            let expires_ms = newest.saturating_add(config.retention_ms);
            if now_ms <= expires_ms {
                due_ms = Some(expires_ms.saturating_add(1));
                break;
            }
        }
        total_bytes = total_bytes.saturating_sub(bytes);
        new_start = new_start.max(end_offset);
        roll = next.is_none();
    }
    Verdict::Decided {
        new_start,
        roll,
        due_ms,
    }
}

impl FileLog {
    /// Lets retention look at the log at a time in ms since 1970, or earlier.
    pub fn check_retention_at(&self, due_ms: i64) {
        self.shared.retention.bring_forward(self.log_id, due_ms);
    }

    /// Plans a look after an append: the log may be too large now, or hold the first records that can grow old.
    pub(crate) fn plan_retention(&self, state: &mut State, begins_segment: bool) {
        if !state.config.delete || state.retention_due_ms == 0 {
            return;
        }
        let oldest_bytes = state
            .segments
            .first()
            .map_or(0, |oldest| oldest.written_bytes());
        let is_surplus = u64::try_from(state.config.retention_bytes)
            .is_ok_and(|limit_bytes| state.size_bytes >= limit_bytes.saturating_add(oldest_bytes));
        if begins_segment || is_surplus {
            state.retention_due_ms = 0;
            self.check_retention_at(0);
        }
    }

    /// Moves the log start past records that are too old or too many, and plans the next look.
    pub fn enforce_retention(self: &Arc<Self>) {
        match self.move_start_by_retention() {
            Ok(Some(due_ms)) => self.check_retention_at(due_ms),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(partition = %self.id, %error, "retention failed; it is tried again");
                self.check_retention_at(0);
            }
        }
    }

    fn move_start_by_retention(self: &Arc<Self>) -> io::Result<Option<i64>> {
        let now_ms = self.shared.clock.now_ms();
        let unloaded = {
            let mut state = self.state.lock();
            state.retention_due_ms = i64::MAX;
            matches!(state.phase, Phase::Unloaded).then(|| Arc::clone(&state.config))
        };
        if let Some(config) = unloaded {
            match self.due_by_files(&config, now_ms)? {
                Some(due_ms) if due_ms <= now_ms => {}
                other => return Ok(other),
            }
        }
        let mut state = self.state();
        let (new_start, roll, due_ms) = loop {
            if !matches!(state.phase, Phase::Ready) {
                return Ok(None);
            }
            match judge(&state, now_ms) {
                Verdict::Decided {
                    new_start,
                    roll,
                    due_ms,
                } => break (new_start, roll, due_ms),
                Verdict::Read(segment) => {
                    drop(state);
                    segment.find_largest_timestamp(&*self.shared.fs, now_ms)?;
                    state = self.state();
                }
            }
        };
        if roll {
            // Its name keeps the end of the log.
            self.start_segment(&mut state, now_ms);
            state.needs_sync = true;
            self.mark_busy(&mut state);
        }
        let log_start_offset = state.log_start_offset;
        drop(state);
        if new_start > log_start_offset {
            tracing::info!(partition = %self.id, log_start_offset, new_start, "retention moves the log start");
            // The segments go when it is durable; nobody waits for that here.
            drop(self.move_log_start(new_start));
        } else if roll || self.state.lock().has_segments_below_start() {
            self.queue_free_segments();
        }
        Ok(due_ms)
    }

    /// Moves the log start up to `offset`, by an entry in the write-ahead log.
    pub(crate) fn move_log_start(
        self: &Arc<Self>,
        offset: i64,
    ) -> BoxFuture<'static, Result<i64, AppendError>> {
        let mut guard = self.state();
        let state = &mut *guard;
        if let Err(error) = state.check_appendable() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let offset = offset.min(state.high_watermark);
        if offset <= state.log_start_offset {
            return Box::pin(std::future::ready(Ok(state.log_start_offset)));
        }
        // Recovery takes the last entry behind a checkpoint: it must be the highest of all, those before the checkpoint
        // included.
        let offset = offset.max(state.next_log_start_offset);
        let (reply, answer) = oneshot::channel();
        let log = Arc::clone(self);
        let appended = self.shared.wal.append(
            &NewEntry {
                log_id: self.log_id,
                kind: EntryKind::LogStart,
                offset,
                place: Place::default(),
                payload: &[],
                // Files are removed once it is durable: a power cut must not take it back, whatever appends are promised.
                strict: true,
                commits_here: false,
            },
            &mut state.declared,
            || logs::declaration(&self.id),
            |_| {},
            Box::new(move |written| {
                let _ = reply.send(match written {
                    Ok(_) => Ok(log.log_start_moved(offset)),
                    Err(error) => Err(indeterminate(&error)),
                });
            }),
        );
        if appended.is_ok() {
            state.next_log_start_offset = offset;
        }
        drop(guard);
        match appended {
            Ok(()) => Box::pin(async move {
                answer.await.unwrap_or_else(|_| {
                    Err(AppendError::Indeterminate(
                        "the log directory was closed".to_owned(),
                    ))
                })
            }),
            Err(error) => Box::pin(std::future::ready(Err(not_applied(&error)))),
        }
    }

    /// The new log start is durable.
    fn log_start_moved(self: &Arc<Self>, offset: i64) -> i64 {
        let mut state = self.state.lock();
        state.log_start_offset = state.log_start_offset.max(offset);
        let log_start_offset = state.log_start_offset;
        state.epochs_changed |= state.epochs.truncate_from_start(log_start_offset);
        let free = state.has_segments_below_start();
        drop(state);
        if free {
            self.queue_free_segments();
        }
        self.shared
            .log_starts
            .lock()
            .insert(self.key(), log_start_offset);
        self.shared
            .log_starts_changed
            .store(true, Ordering::Release);
        log_start_offset
    }

    /// When a log that is not loaded is due, from the names and indexes in its directory.
    fn due_by_files(&self, config: &LogConfig, now_ms: i64) -> io::Result<Option<i64>> {
        let fs = &*self.shared.fs;
        let names = if_found(fs.list(&self.dir))?.unwrap_or_default();
        let mut offsets: Vec<i64> = names
            .iter()
            .filter_map(|entry| offset_of(&entry.name, Part::Log.suffix()))
            .collect();
        offsets.sort_unstable();
        let Some(&oldest) = offsets.first() else {
            return Ok(None);
        };
        if !config.delete {
            return Ok(None);
        }
        let bytes_of = |offset: &i64| {
            let path = segment::path(&self.dir, *offset, Part::Log);
            fs.open(&path, Access::Read)?.size_bytes()
        };
        if offsets.len() == 1 && bytes_of(&oldest)? == 0 {
            return Ok(None);
        }
        if let Ok(limit_bytes) = u64::try_from(config.retention_bytes) {
            let total_bytes = offsets.iter().map(bytes_of).sum::<io::Result<u64>>()?;
            if total_bytes > limit_bytes {
                return Ok(Some(now_ms));
            }
        }
        if config.retention_ms < 0 {
            return Ok(None);
        }
        let oldest = Segment::new(Arc::clone(&self.dir), oldest, 0);
        let newest = oldest.find_largest_timestamp(fs, now_ms)?;
        Ok(Some(
            newest.saturating_add(config.retention_ms).saturating_add(1),
        ))
    }

    /// Removes the segments below the log start, which is durable, on the I/O pool.
    pub(crate) fn queue_free_segments(self: &Arc<Self>) {
        let log = Arc::clone(self);
        self.shared.pool.write(move || {
            let freed = log.free_segments();
            if let Err(error) = &freed {
                tracing::warn!(partition = %log.id, %error, "segments below the log start could not be removed; it is tried again");
            }
            if freed.is_err() || log.state.lock().has_segments_below_start() {
                log.check_retention_at(0);
            }
        });
    }

    /// Renames the segments below the log start and has them removed later.
    pub(crate) fn free_segments(self: &Arc<Self>) -> io::Result<()> {
        self.free_wanted.store(true, Ordering::SeqCst);
        // Whoever holds the lock does it afterwards.
        while self.free_wanted.load(Ordering::SeqCst)
            && let Some(_changing) = self.segments_change.try_lock()
        {
            if self.shared.segments_held.load(Ordering::SeqCst) {
                // The caller comes back, since they are still there.
                return Ok(());
            }
            self.free_wanted.store(false, Ordering::SeqCst);
            self.free_segments_now()?;
        }
        Ok(())
    }

    fn free_segments_now(self: &Arc<Self>) -> io::Result<()> {
        if let Err(error) = self.write_segments() {
            // What could not be written is still in the write-ahead log, and the removal may make room for it.
            tracing::warn!(partition = %self.id, %error, "writing a segment failed; it is tried again");
        }
        let mut writer = self.writer.lock();
        {
            let state = self.state.lock();
            if !matches!(state.phase, Phase::Ready) || !state.has_segments_below_start() {
                return Ok(());
            }
        }
        self.settle_segments_as(&writer)?;
        // What stays must be durable before what tells where it begins is gone.
        self.keep_end(&mut writer)?;
        let (mut leaving, delay_ms) = {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Ready) {
                return Ok(());
            }
            // What producers wrote to these segments must be known without them.
            let known_below = writer.producers_known_below(state.log_start_offset);
            let mut leaving = std::mem::take(&mut state.leaving);
            leaving.extend(state.take_segments_below_start(known_below));
            self.keep_producers(&mut state, &writer);
            (leaving, state.config.file_delete_delay_ms)
        };
        let mut paths = Vec::new();
        let mut first_error = None;
        leaving.retain(|segment| {
            let renamed = self.rename_segment(segment, &mut paths);
            let is_left = renamed.is_err();
            first_error = first_error.take().or(renamed.err());
            is_left
        });
        // The next attempt finds those that could not be renamed.
        self.state.lock().leaving = leaving;
        let synced = self.shared.fs.sync_dir(&self.dir);
        if !paths.is_empty() {
            let delay_ms = u64::try_from(delay_ms).unwrap_or(0);
            self.shared.remove_after(delay_ms, Doomed::Files(paths));
        }
        first_error.map_or(synced, Err)
    }

    /// If segments below the start wait for a snapshot of their producers, has the next checkpoint make one durable.
    fn keep_producers(&self, state: &mut State, writer: &SegmentWriter) {
        let Some(second) = state.segments.get(1).map(|second| second.base_offset) else {
            return;
        };
        if second > state.log_start_offset {
            return;
        }
        if !writer.has_snapshot_from(second) && !state.will_snapshot_from(second) {
            state.take_snapshot();
        }
        state.needs_sync = true;
        self.mark_busy(state);
    }

    /// The log file goes last: as long as it is there, the segment is.
    fn rename_segment(&self, segment: &Segment, paths: &mut Vec<PathBuf>) -> io::Result<()> {
        let mut closed = segment.keep_closed();
        closed.set_gone();
        for part in [
            Part::OffsetIndex,
            Part::TimeIndex,
            Part::TransactionIndex,
            Part::Log,
        ] {
            let path = segment.path(part);
            let mut name = path.clone().into_os_string();
            name.push(DELETED_SUFFIX);
            let doomed = PathBuf::from(name);
            if if_found(self.shared.fs.rename(&path, &doomed))?.is_some() {
                paths.push(doomed);
            }
        }
        Ok(())
    }
}

impl State {
    /// Takes out the segments that end below the log start, and below `known_below`, and are written to their end.
    fn take_segments_below_start(&mut self, known_below: i64) -> Vec<Arc<Segment>> {
        let limit = self.log_start_offset.min(known_below);
        let first_open = self
            .open
            .front()
            .map_or(i64::MAX, |open| open.segment.base_offset);
        let count = self
            .segments
            .windows(2)
            .take_while(|pair| pair[1].base_offset <= limit && pair[0].base_offset < first_open)
            .count();
        let removed: Vec<_> = self.segments.drain(..count).collect();
        let bytes: u64 = removed.iter().map(|segment| segment.written_bytes()).sum();
        self.size_bytes = self.size_bytes.saturating_sub(bytes);
        let log_start_offset = self.log_start_offset;
        self.aborted
            .retain(|txn| txn.last_offset >= log_start_offset);
        removed
    }
}
