//! The log on files: one partition behind the seam.
//!
//! A batch is checked, given its offsets and copied into the write-ahead log under the
//! partition's lock, which is held for about a microsecond and never over I/O. When the commit
//! thread reports it durable, it becomes visible and joins the tail: the batches in memory from
//! which readers are served and segments are written. The segment follows later.

pub(crate) mod reader;
pub(crate) mod state;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use tokio::sync::oneshot;

use crate::env::fs::{Fs, is_passing};
use crate::env::sync::{Mutex, MutexGuard};
use crate::local::cold_budget::ColdPermit;
use crate::local::deletion::Departure;
use crate::local::file_log::reader::{ColdRead, ReadPlan, Search, SearchResult};
use crate::local::file_log::state::{Phase, State, TailBatch};
use crate::local::loader::{LoadContext, LoadError, load};
use crate::local::log_dir::{Doomed, LogDir};
use crate::local::segment::open_files::LogPath;
use crate::local::segment::writer::{SegmentWriter, Snapshot};
use crate::local::segment::{Incoming, OpenSegment, Segment};
use crate::local::wal::chunk::ChunkSlice;
use crate::local::wal::commit::{NewEntry, WalError};
use crate::local::wal::format::{EntryKind, Place};
use crate::local::wal::logs;
use crate::log::admission::{Admission, admit};
use crate::log::producer_state::snapshot;
use crate::log::transaction_index::AbortedTxn;
use crate::log::waiters::Waiters;
use crate::log::{
    ActiveProducer, AppendError, AppendOrigin, AppendPermit, Appended, BoxFuture, Durability,
    FetchWait, FetchedRecords, Isolation, LogConfig, LogOffsets, Next, PartitionLog, PendingAppend,
    Read, ReadError, ReadRequest, TimestampOffset, TopicPartition, WaitRegistration,
};
use crate::record::batch::{self, BatchHeader, TimestampType};
use crate::record::{EndTxnMarker, ValidatedBatch};

/// A segment is written when so much of it is waiting. Fewer, larger writes cost less.
const WRITE_AT_BYTES: u64 = 256 << 10;
/// What one write takes at most.
const RUN_LIMIT_BYTES: u64 = 4 << 20;
/// How much is appended between two snapshots of the producers: what a start reads again at most, whatever has become of
/// the notes.
const SNAPSHOT_INTERVAL_BYTES: u64 = 16 << 20;

/// A partition on files.
pub(crate) struct FileLog {
    pub(crate) id: TopicPartition,
    pub(crate) log_id: u32,
    pub(crate) shared: Arc<LogDir>,
    pub(crate) dir: Arc<LogPath>,
    pub(crate) state: Mutex<State>,
    pub(crate) writer: Mutex<SegmentWriter>,
    /// Held by whoever removes or replaces segments.
    pub(crate) segments_change: Mutex<()>,
    /// There are segments to be removed.
    pub(crate) free_wanted: AtomicBool,
    waiters: Arc<Waiters>,
    /// The files were looked at.
    prepared: AtomicBool,
}

/// A batch on its way through the write-ahead log.
struct InFlight {
    base_offset: i64,
    last_offset: i64,
    position: u64,
    reserved_bytes: usize,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
}

impl FileLog {
    /// A log whose files are looked at when it is first used.
    pub fn new(
        id: TopicPartition,
        log_id: u32,
        config: Arc<LogConfig>,
        shared: Arc<LogDir>,
    ) -> Self {
        let dir = LogPath::new(shared.path.join(id.to_string()), &shared.open_files);
        Self {
            writer: Mutex::new(SegmentWriter::new(
                Arc::clone(&shared.fs),
                Arc::clone(&shared.direct_io),
                id.clone(),
                Arc::clone(&dir),
            )),
            id,
            log_id,
            shared,
            dir,
            state: Mutex::new(State::unloaded(config)),
            segments_change: Mutex::default(),
            free_wanted: AtomicBool::default(),
            waiters: Arc::default(),
            prepared: AtomicBool::default(),
        }
    }

    /// The state, read from the files if this is the first use.
    pub(crate) fn state(self: &Arc<Self>) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Unloaded) {
            self.load(&mut state);
            let is_loaded = !matches!(state.phase, Phase::Unloaded);
            self.prepared.store(is_loaded, Ordering::Release);
        }
        state
    }

    fn load(self: &Arc<Self>, state: &mut State) {
        let key = (self.id.topic.to_string(), self.id.partition);
        let way_made = self.shared.make_way(&self.id, &self.dir);
        let context = LoadContext {
            fs: &*self.shared.fs,
            id: &self.id,
            dir: &self.dir,
            index_interval_bytes: state.config.index_interval_bytes,
            now_ms: self.shared.clock.now_ms(),
            producer_id_expiration_ms: self.shared.producer_id_expiration_ms,
            log_start_offset: self.shared.log_starts.lock().get(&key).copied(),
            may_cut_tail: self.shared.may_cut_tails,
            may_have_shrunk: self.shared.may_cut_tails
                && !self.shared.is_strict(state.config.durability),
            recovery_point: self
                .shared
                .recovery_points
                .lock()
                .get(&key)
                .copied()
                .unwrap_or(0),
            closed_at: self.shared.closed_at.lock().get(&key).copied(),
        };
        let of_directory = |source| LoadError::Io {
            path: self.shared.path.clone(),
            source,
        };
        let loaded = way_made.map_err(of_directory).and_then(|()| load(&context));
        let loaded = loaded.and_then(|loaded| {
            let forgotten = match loaded.was_anothers {
                true => self.shared.forget_log_start(&key),
                // An attempt before this one may have found that, and not come so far.
                false if state.told_not_loaded => self.shared.save_log_starts(),
                false => Ok(()),
            };
            forgotten
                .and_then(|()| {
                    self.shared
                        .lower_recovery_point(&key, loaded.log_end_offset)
                })
                .map_err(of_directory)?;
            Ok(loaded)
        });
        match loaded {
            Ok(loaded) => {
                self.shared.closed_at.lock().remove(&key);
                let (snapshots, notes) = (loaded.snapshots.clone(), loaded.notes);
                // In `os` mode snapshots are good up to the recovery point, which the next checkpoint moves.
                let checkpointed = match self.shared.durability {
                    Durability::Strict => loaded.log_end_offset,
                    Durability::Os => loaded.log_end_offset.min(context.recovery_point),
                };
                if !loaded.left_over.is_empty() {
                    let left_over = Doomed::Files(loaded.left_over.clone());
                    self.shared.remove_after(0, left_over);
                }
                state.loaded(loaded);
                if let Some(offset) = state.producers.first_undecided_offset() {
                    tracing::warn!(
                        partition = %self.id,
                        offset,
                        "a transaction is open and nothing can end it: who reads only what is committed stops there, \
                         and so does compaction, as long as the topic is there"
                    );
                }
                // Nobody holds the writer's lock before the log is loaded.
                if let Some(mut writer) = self.writer.try_lock() {
                    writer.known_snapshots(snapshots, notes, checkpointed);
                }
                if state.bytes_since_note >= self.shared.note_interval_bytes {
                    // The next checkpoint notes the producers: the next start need not read as much again.
                    state.needs_sync = true;
                    self.mark_busy(state);
                }
                self.note_dirty(state);
                self.note_producers(state);
                // The process may have ended between the new log start and the removal.
                if state.has_segments_below_start() {
                    self.queue_free_segments();
                }
            }
            Err(error) if error.is_passing() => {
                let told = std::mem::replace(&mut state.told_not_loaded, true);
                match told {
                    true => tracing::debug!(partition = %self.id, %error, "cannot be loaded"),
                    false => tracing::warn!(
                        partition = %self.id, %error,
                        "the log cannot be loaded now; it is tried again at its next use"
                    ),
                }
            }
            Err(error) => {
                tracing::error!(partition = %self.id, %error, "the log cannot be used");
                state.phase = Phase::Unusable(error.to_string());
            }
        }
    }

    /// Enters the log into the list of those with something in memory.
    pub(crate) fn mark_busy(self: &Arc<Self>, state: &mut State) {
        if !state.listed_as_busy {
            state.listed_as_busy = true;
            let mut busy = self.shared.busy.lock();
            if busy.is_empty() {
                self.shared.maintenance.ring();
            }
            busy.push(Arc::clone(self));
        }
    }

    fn append(
        self: &Arc<Self>,
        permit: AppendPermit,
        validated: ValidatedBatch,
        origin: AppendOrigin,
        next: Next,
    ) -> Result<PendingAppend, AppendError> {
        let commits_here = next == Next::Wait;
        let now_ms = self.shared.clock.now_ms();
        let mut guard = self.state();
        let state = &mut *guard;
        state.check_appendable()?;
        let marker = match admit(&state.producers, &self.id, &validated, origin)? {
            Admission::Append(marker) => marker,
            Admission::Duplicate {
                base_offset,
                last_offset,
            } => return Ok(state.answer_duplicate(base_offset, last_offset)),
        };
        let header = stored_header(&validated, state.log_end_offset, state.leader_epoch());
        let incoming = Incoming {
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
            bytes: validated.bytes.len() as u64,
        };
        let open = state.open.back();
        let starts_segment =
            open.is_none_or(|open| open.must_roll(&state.config, &incoming, now_ms));
        let place = match open {
            Some(open) if !starts_segment => open.place(header.base_offset),
            _ => Place::default(),
        };
        let (reply, answer) = oneshot::channel();
        let in_flight = InFlight {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            position: u64::from(place.position),
            reserved_bytes: take_over(permit),
            reply,
        };
        let reserved_bytes = in_flight.reserved_bytes;
        let strict = self.shared.is_strict(state.config.durability)
            || state.wants_flush(header.next_offset());
        let log = Arc::clone(self);
        let appended = self.shared.wal.append(
            &NewEntry {
                log_id: self.log_id,
                kind: EntryKind::Batch,
                offset: header.base_offset,
                place,
                payload: &validated.bytes,
                strict,
                commits_here,
            },
            &mut state.declared,
            || logs::declaration(&self.id),
            |copy| patch(copy, &validated, &header),
            Box::new(move |written| log.committed(in_flight, written)),
        );
        if let Err(error) = appended {
            self.shared.append_budget.add_permits(reserved_bytes);
            return Err(not_applied(&error));
        }
        if strict {
            state.flushed_offset = header.next_offset();
        }
        self.take_in(state, &header, marker, &incoming, starts_segment, now_ms);
        drop(guard);
        if commits_here {
            self.shared.wal.commit_here();
        }
        Ok(answered(answer))
    }

    /// Topic and partition, as checkpoints name them.
    pub(crate) fn key(&self) -> (String, i32) {
        (self.id.topic.to_string(), self.id.partition)
    }

    /// There are producers that may expire.
    fn note_producers(self: &Arc<Self>, state: &mut State) {
        if !state.listed_with_producers && state.producers.producers().len() > 0 {
            state.listed_with_producers = true;
            let mut logs = self.shared.with_producers.lock();
            logs.insert(self.log_id, Arc::downgrade(self));
        }
    }

    /// Forgets producers that have been silent for too long; says whether any is left.
    pub fn remove_expired_producers(&self) -> bool {
        let mut state = self.state.lock();
        state.producers.remove_expired(self.shared.clock.now_ms());
        let any_left = state.producers.producers().len() > 0;
        state.listed_with_producers = any_left;
        any_left
    }

    /// There may be something to compact.
    fn note_dirty(self: &Arc<Self>, state: &State) {
        if state.config.compact && !state.segments.is_empty() {
            let mut dirty = self.shared.dirty.lock();
            dirty.insert(self.log_id, Arc::downgrade(self));
        }
    }

    /// Lets the next batch begin a new segment.
    pub(crate) fn start_segment(self: &Arc<Self>, state: &mut State, now_ms: i64) {
        if state.log_end_offset > 0 {
            // Even if nothing is left below: producers outlive their batches.
            state.take_snapshot();
        }
        self.note_dirty(state);
        let segment = Segment::new(Arc::clone(&self.dir), state.log_end_offset, 0);
        state.segments.push(Arc::clone(&segment));
        state.open.push_back(OpenSegment::new(segment, now_ms));
    }

    /// Makes a batch that has entered the write-ahead log part of the state.
    fn take_in(
        self: &Arc<Self>,
        state: &mut State,
        header: &BatchHeader,
        marker: Option<EndTxnMarker>,
        incoming: &Incoming,
        starts_segment: bool,
        now_ms: i64,
    ) {
        if starts_segment {
            self.start_segment(state, now_ms);
        }
        let begins_segment = state.open.back().is_none_or(|open| open.bytes == 0);
        let interval_bytes = state.config.index_interval_bytes;
        let completed = state.producers.apply(header, marker, now_ms);
        self.note_producers(state);
        if let Some(open) = state.open.back_mut() {
            open.append(incoming, interval_bytes);
            if let Some(aborted) = completed.as_ref().and_then(AbortedTxn::of) {
                open.pending_aborted.push(aborted);
                state.aborted.push(aborted);
            }
        }
        state.epochs_changed |= state
            .epochs
            .assign(header.partition_leader_epoch, header.base_offset);
        state.log_end_offset = header.next_offset();
        state.size_bytes += incoming.bytes;
        state.bytes_since_snapshot += incoming.bytes;
        state.bytes_since_note += incoming.bytes;
        self.plan_retention(state, begins_segment);
    }

    /// Who commits reports the fate of a batch.
    fn committed(self: &Arc<Self>, batch: InFlight, written: Result<ChunkSlice, WalError>) {
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                self.shared.append_budget.add_permits(batch.reserved_bytes);
                self.state.lock().fail_duplicates(&error);
                let _ = batch.reply.send(Err(indeterminate(&error)));
                self.waiters.wake_all();
                return;
            }
        };
        let bytes = written.len() as u64;
        let age = self
            .shared
            .committed_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Deleted) {
            drop(state);
            self.shared.append_budget.add_permits(batch.reserved_bytes);
            let _ = batch.reply.send(Err(AppendError::Deleted));
            return;
        }
        let stable_before = state.offsets().last_stable_offset;
        state.tail.push_back(TailBatch {
            base_offset: batch.base_offset,
            last_offset: batch.last_offset,
            position: batch.position,
            reserved_bytes: batch.reserved_bytes,
            age,
            bytes: written,
        });
        state.high_watermark = batch.last_offset + 1;
        state.unwritten_bytes += bytes;
        state.needs_sync = true;
        let high_watermark = state.high_watermark;
        if !self.shared.is_strict(state.config.durability) {
            self.shared.flush_within(state.config.flush_ms);
        }
        state.producers.on_high_watermark(high_watermark);
        let offsets = state.offsets();
        let appended = Appended {
            base_offset: batch.base_offset,
            last_offset: batch.last_offset,
            log_start_offset: offsets.log_start_offset,
            duplicate: false,
        };
        state.answer_waiting_duplicates();
        self.mark_busy(&mut state);
        let write_now = state.unwritten_bytes >= WRITE_AT_BYTES && !state.write_queued;
        state.write_queued |= write_now;
        drop(state);
        let stable_bytes = match offsets.last_stable_offset {
            stable if stable == offsets.high_watermark && stable_before == batch.base_offset => {
                bytes as i64
            }
            // The end of a transaction shows more than this batch: let the reader count.
            stable if stable > stable_before => i64::MAX,
            _ => 0,
        };
        self.waiters.advanced(bytes as i64, stable_bytes);
        // Nobody may be waiting: the producer asked for no acknowledgement, or has gone.
        let _ = batch.reply.send(Ok(appended));
        if write_now {
            let log = Arc::clone(self);
            self.shared.pool.write(move || log.write_queued());
        }
    }

    fn write_queued(self: &Arc<Self>) {
        self.state.lock().write_queued = false;
        if let Err(error) = self.write_and_release() {
            tracing::error!(partition = %self.id, %error, "writing a segment failed; it is tried again");
        }
    }

    /// Writes the segments and gives back memory, where much passes through it in between two looks at all logs.
    pub fn write_and_release(&self) -> std::io::Result<()> {
        let written = self.write_segments();
        if let Some(age) = self.shared.dropped_age() {
            let dropped = self.state.lock().drop_tail_before(age);
            drop(dropped);
        }
        written
    }

    /// Writes all that is durable in the write-ahead log to the segments.
    pub fn write_segments(&self) -> std::io::Result<()> {
        self.write_runs().inspect_err(|error| {
            if error.kind() == std::io::ErrorKind::StorageFull {
                self.shared.set_disk_full(true);
            }
        })
    }

    fn write_runs(&self) -> std::io::Result<()> {
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
                // Meanwhile: nothing of the run is accounted for any more.
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

    /// Takes a note of the producers if enough was appended since that was last done, and says up to which offset. It is
    /// written with the segments.
    ///
    /// Recovery writes a log again from the first batch behind the checkpoint on, and takes only what was noted of offsets
    /// before that one: so this comes before the place of the checkpoint is decided.
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
    pub fn make_durable(self: &Arc<Self>) -> std::io::Result<()> {
        self.bring_up(|writer| self.sync(writer))
    }

    /// The same for a sync of the whole file system, which the caller sees to: brings the files up to the write-ahead log.
    pub fn begin_sync(self: &Arc<Self>) -> std::io::Result<()> {
        self.bring_up(|writer| {
            writer.begin_sync();
            Ok(())
        })
    }

    /// The file system was synced since [`FileLog::begin_sync`]. Says whether it has to be synced again.
    pub fn finish_sync(self: &Arc<Self>) -> std::io::Result<bool> {
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

    fn sync_again(self: &Arc<Self>, state: &mut State) {
        state.needs_sync = true;
        self.mark_busy(state);
    }

    /// Writes what there is to be written, and has `sync` make it durable.
    fn bring_up(
        self: &Arc<Self>,
        sync: impl FnOnce(&mut SegmentWriter) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
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
    pub(crate) fn sync(&self, writer: &mut SegmentWriter) -> std::io::Result<()> {
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

    /// Makes durable where the log ends, before segments go that tell so: the one behind them may have no file yet, with
    /// nothing in it that is durable. Everything that was written is durable then.
    pub(crate) fn keep_end(&self, writer: &mut SegmentWriter) -> std::io::Result<()> {
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

    /// What [`FileLog::make_durable`] will have made durable at least.
    pub fn durable_end_soon(&self) -> Option<i64> {
        let state = self.state.lock();
        matches!(state.phase, Phase::Ready).then_some(state.high_watermark)
    }

    /// Drops from memory what is in the segments and older than `age`; says whether anything is left to look after.
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

    /// Has the next sync write what the next start needs to be quick: after it nothing has to be scanned.
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

    /// Ends the log for its users. `done` is called when the write-ahead log says so, or says why it does not; not if this
    /// returns an error.
    pub fn begin_delete(
        self: &Arc<Self>,
        done: impl FnOnce(Result<(), WalError>) + Send + 'static,
    ) -> Result<(), WalError> {
        let log = Arc::clone(self);
        let mut state = self.state.lock();
        self.shared.wal.append(
            &NewEntry {
                log_id: self.log_id,
                kind: EntryKind::Delete,
                offset: 0,
                place: Place::default(),
                payload: &[],
                strict: true,
                commits_here: false,
            },
            &mut state.declared,
            || logs::declaration(&self.id),
            |_| {},
            Box::new(move |result| {
                if result.is_ok() {
                    log.deleted();
                }
                done(result.map(|_| ()));
            }),
        )?;
        state.deleting = true;
        drop(state);
        self.waiters.wake_all();
        Ok(())
    }

    /// The deletion is durable. Until now a checkpoint had to write what the log holds: it could
    /// have been found again without its deletion. From now on one may begin behind the deletion.
    fn deleted(self: &Arc<Self>) {
        let (reserved_bytes, delay_ms) = {
            let mut state = self.state.lock();
            state.phase = Phase::Deleted;
            let delay_ms = u64::try_from(state.config.file_delete_delay_ms).unwrap_or(0);
            (state.clear(), delay_ms)
        };
        // Before a checkpoint can begin behind the deletion.
        self.shared.departures.add(Departure {
            id: self.id.clone(),
            log: Some(Arc::clone(self)),
            delay_ms,
        });
        self.shared.append_budget.add_permits(reserved_bytes);
        let key = (self.id.topic.to_string(), self.id.partition);
        if self.shared.log_starts.lock().remove(&key).is_some() {
            self.shared
                .log_starts_changed
                .store(true, Ordering::Release);
        }
        self.waiters.wake_all();
    }

    /// Runs `work` while nothing is being written to the log's directory.
    pub fn while_not_writing<R>(&self, work: impl FnOnce() -> R) -> R {
        let mut writer = self.writer.lock();
        writer.close_files();
        work()
    }

    pub fn topic_partition(&self) -> &TopicPartition {
        &self.id
    }

    /// Wakes everyone who waits for the log: it will not advance any more.
    pub fn wake_all(&self) {
        self.waiters.wake_all();
    }
}

/// Room in the budget, now owned by the engine; in bytes.
fn take_over(permit: AppendPermit) -> usize {
    permit.into_inner().map_or(0, |permit| {
        let bytes = permit.num_permits();
        permit.forget();
        bytes
    })
}

/// The header as it will be stored: the copy differs from what was received in nothing else.
fn stored_header(batch: &ValidatedBatch, base_offset: i64, leader_epoch: i32) -> BatchHeader {
    BatchHeader {
        base_offset,
        partition_leader_epoch: leader_epoch,
        max_timestamp: batch.max_timestamp(),
        ..batch.header
    }
}

fn patch(copy: &mut [u8], batch: &ValidatedBatch, stored: &BatchHeader) {
    let timestamp_type = match batch.log_append_time_ms() {
        Some(_) => TimestampType::LogAppendTime,
        None => TimestampType::CreateTime,
    };
    batch::set_offset_and_epoch(copy, stored.base_offset, stored.partition_leader_epoch)
        .and_then(|()| batch::set_max_timestamp(copy, timestamp_type, stored.max_timestamp))
        .expect("a validated batch has a whole header");
}

fn answered(answer: oneshot::Receiver<Result<Appended, AppendError>>) -> PendingAppend {
    Box::pin(async move {
        answer.await.unwrap_or_else(|_| {
            Err(AppendError::Indeterminate(
                "the log directory was closed".to_owned(),
            ))
        })
    })
}

fn disk_full() -> AppendError {
    AppendError::Storage("no space left for segments".to_owned())
}

pub(crate) fn not_applied(error: &WalError) -> AppendError {
    match *error {
        WalError::TooLarge { bytes, limit_bytes } => AppendError::TooLarge { bytes, limit_bytes },
        _ => AppendError::Storage(error.to_string()),
    }
}

pub(crate) fn indeterminate(error: &WalError) -> AppendError {
    match error {
        WalError::WriteFailed(_) => AppendError::Indeterminate(error.to_string()),
        _ => AppendError::Storage(error.to_string()),
    }
}

/// The seam's handle on a [`FileLog`].
pub(crate) struct FileLogHandle(pub Arc<FileLog>);

impl PartitionLog for FileLogHandle {
    fn id(&self) -> &TopicPartition {
        &self.0.id
    }

    fn ready(&self) -> Option<BoxFuture<'static, ()>> {
        if self.0.prepared.load(Ordering::Acquire) {
            return None;
        }
        let (sender, done) = oneshot::channel();
        let log = Arc::clone(&self.0);
        self.0.shared.pool.load(move || {
            drop(log.state());
            let _ = sender.send(());
        });
        // An error means that the directory was closed; the log says so itself.
        Some(Box::pin(async move { done.await.unwrap_or_default() }))
    }

    fn reserve(
        &self,
        bytes: usize,
        origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>> {
        let shared = &self.0.shared;
        // Without groups and metadata nothing could be deleted: they may use what is kept free.
        let refused = origin == AppendOrigin::Client && shared.low_on_space.load(Ordering::Relaxed);
        if refused || *shared.disk_full.borrow() {
            return Box::pin(std::future::ready(Err(disk_full())));
        }
        // A batch larger than the budget waits until it is alone.
        let permits = u32::try_from(bytes.min(shared.append_budget_bytes)).unwrap_or(u32::MAX);
        let budget = Arc::clone(&shared.append_budget);
        if let Ok(permit) = Arc::clone(&budget).try_acquire_many_owned(permits) {
            if shared.is_short_of_budget() {
                shared.maintenance.ring();
            }
            return Box::pin(std::future::ready(Ok(AppendPermit::of(permit))));
        }
        shared.maintenance.ring();
        let mut full = shared.disk_full.subscribe();
        Box::pin(async move {
            let mut room = pin!(budget.acquire_many_owned(permits));
            let mut full = pin!(full.wait_for(|full| *full));
            poll_fn(|context| {
                if let Poll::Ready(permit) = room.as_mut().poll(context) {
                    return Poll::Ready(match permit {
                        Ok(permit) => Ok(AppendPermit::of(permit)),
                        Err(_) => Err(AppendError::Storage(
                            "the log directory is closed".to_owned(),
                        )),
                    });
                }
                full.as_mut().poll(context).map(|_| Err(disk_full()))
            })
            .await
        })
    }

    fn submit(
        &self,
        permit: AppendPermit,
        batch: ValidatedBatch,
        origin: AppendOrigin,
        next: Next,
    ) -> Result<PendingAppend, AppendError> {
        self.0.append(permit, batch, origin, next)
    }

    fn offsets(&self) -> LogOffsets {
        self.0.state().offsets()
    }

    fn current_offsets(&self) -> BoxFuture<'static, Result<LogOffsets, ReadError>> {
        let state = self.0.state();
        let offsets = state.check_readable().map(|()| state.offsets());
        Box::pin(std::future::ready(offsets))
    }

    fn leader_epoch(&self) -> i32 {
        self.0.state().leader_epoch()
    }

    fn size_bytes(&self) -> u64 {
        self.0.state().size_bytes
    }

    fn producers(&self) -> Vec<ActiveProducer> {
        self.0.state().producers.active()
    }

    fn read(&self, request: ReadRequest) -> Result<Read, ReadError> {
        let plan = self.0.state().plan_read(&request)?;
        match plan {
            ReadPlan::Ready(records) => Ok(Read::Ready(records)),
            ReadPlan::Cold(cold) => {
                let log = Arc::clone(&self.0);
                if let Some(records) = cold.read_kept(&log.shared, &log.id) {
                    return Ok(Read::Ready(records));
                }
                let bytes = cold.limit_bytes();
                let room = || log.shared.cold_reads.try_take(bytes);
                let room_made = || {
                    log.shared.direct_io.read_ahead.clear();
                    room()
                };
                if let Some(permit) = room().or_else(room_made) {
                    return Ok(Read::Cold(log.start_cold_read(permit, cold, request)));
                }
                Ok(Read::Cold(Box::pin(async move {
                    let permit = log.shared.cold_reads.take(bytes).await;
                    log.start_cold_read(permit, cold, request).await
                })))
            }
        }
    }

    fn watch(
        &self,
        seen_end: i64,
        isolation: Isolation,
        wait: &Arc<FetchWait>,
    ) -> WaitRegistration {
        let state = self.0.state();
        let registration = self.0.waiters.register(isolation, wait);
        if state.check_readable().is_err() || state.visible_end(isolation) > seen_end {
            wait.wake();
        }
        registration
    }

    fn offset_for_timestamp(
        &self,
        timestamp: i64,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>> {
        self.search(isolation, move |search, fs, id| {
            search.first_at_or_after(fs, id, timestamp)
        })
    }

    fn offset_of_max_timestamp(
        &self,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>> {
        self.search(Isolation::ReadUncommitted, Search::max)
    }

    fn end_offset_for_epoch(&self, leader_epoch: i32) -> Option<(i32, i64)> {
        let state = self.0.state();
        if leader_epoch == state.leader_epoch() {
            return Some((leader_epoch, state.high_watermark));
        }
        let (epoch, end) = state
            .epochs
            .end_offset_for(leader_epoch, state.high_watermark)?;
        Some((epoch, end.min(state.high_watermark)))
    }

    fn delete_records_before(&self, offset: i64) -> BoxFuture<'static, Result<i64, AppendError>> {
        self.0.move_log_start(offset)
    }

    fn set_config(&self, config: Arc<LogConfig>) {
        let mut state = self.0.state.lock();
        state.config = config;
        self.0.note_dirty(&state);
        drop(state);
        self.0.check_retention_at(0);
    }
}

impl FileLogHandle {
    fn search(
        &self,
        isolation: Isolation,
        job: impl Fn(&Search, &dyn Fs, &TopicPartition) -> SearchResult + Send + 'static,
    ) -> BoxFuture<'static, SearchResult> {
        let mut search = match self.0.state().plan_search(isolation) {
            Ok(search) => search,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let (sender, answer) = oneshot::channel();
        let log = Arc::clone(&self.0);
        self.0.shared.pool.search(move || {
            let found = loop {
                let found = job(&search, &*log.shared.fs, &log.id);
                if found.is_ok() || !log.may_be_planned_anew(|| search.is_outdated()) {
                    break found;
                }
                search = match log.state().plan_search(isolation) {
                    Ok(search) => search,
                    Err(error) => break Err(error),
                };
            };
            let _ = sender.send(found);
        });
        read_answer(answer)
    }
}

fn read_answer<T: Send + 'static>(
    answer: oneshot::Receiver<Result<T, ReadError>>,
) -> BoxFuture<'static, Result<T, ReadError>> {
    Box::pin(async move {
        answer.await.unwrap_or_else(|_| {
            Err(ReadError::Storage(
                "the log directory was closed".to_owned(),
            ))
        })
    })
}

impl FileLog {
    /// Reads from segments on the I/O pool.
    fn start_cold_read(
        self: Arc<Self>,
        permit: ColdPermit,
        mut cold: ColdRead,
        mut request: ReadRequest,
    ) -> BoxFuture<'static, Result<FetchedRecords, ReadError>> {
        if permit.is_overdrawn() {
            request.max_bytes = 0;
            cold.set_max_bytes(0);
        }
        let (sender, answer) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        shared.pool.read(move || {
            let read = self.read_cold(cold, &request);
            // The reader may have gone away.
            let _ = sender.send(read.map(|fetched| permit.hold(fetched)));
        });
        read_answer(answer)
    }

    /// Whether a read that has failed may have met segments that are not there any more.
    fn may_be_planned_anew(&self, is_outdated: impl FnOnce() -> bool) -> bool {
        if let Err(error) = self.settle_segments() {
            tracing::debug!(partition = %self.id, %error, "which segments there are is not known yet");
        }
        is_outdated()
    }

    /// Reads from segments; plans anew if they were removed or replaced since the read was planned.
    fn read_cold(
        self: &Arc<Self>,
        mut cold: ColdRead,
        request: &ReadRequest,
    ) -> Result<FetchedRecords, ReadError> {
        loop {
            let read = cold.read(&self.shared, &self.id);
            if read.is_ok() || !self.may_be_planned_anew(|| cold.is_outdated()) {
                return read;
            }
            match self.state().plan_read(request)? {
                ReadPlan::Ready(records) => return Ok(records),
                ReadPlan::Cold(again) => cold = again,
            }
        }
    }
}
