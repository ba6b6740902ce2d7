//! The log on files: one partition behind the seam.
//!
//! A batch is checked, given its offsets and copied into the write-ahead log under the
//! partition's lock, which is held for about a microsecond and never over I/O. When the commit
//! thread reports it durable, it becomes visible and joins the tail: the batches in memory from
//! which readers are served and segments are written. The segment follows later.

mod append;
mod cold_read;
mod delete;
pub(crate) mod handle;
pub(crate) mod joint;
mod load;
mod plan;
mod read;
mod retention;
mod search;
pub(crate) mod snapshot;
mod span;
pub(crate) mod state;
mod write_back;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use state::{Phase, State};

use crate::env::sync::{Mutex, MutexGuard};
use crate::local::log_dir::LogDir;
use crate::local::segment::open_files::LogPath;
use crate::local::segment::writer::SegmentWriter;
use crate::local::segment::{OpenSegment, Segment};
use crate::log::producer_state::ProducerState;
use crate::log::waiters::Waiters;
use crate::log::{LogConfig, TopicPartition};

/// A partition on files.
pub(crate) struct FileLog {
    pub(crate) id: TopicPartition,
    pub(crate) log_id: u32,
    pub(crate) shared: Arc<LogDir>,
    pub(crate) dir: Arc<LogPath>,
    pub(crate) state: Mutex<State>,
    pub(crate) writer: Arc<Mutex<SegmentWriter>>,
    /// Held by whoever removes or replaces segments.
    pub(crate) segments_change: Mutex<()>,
    /// There are segments to be removed.
    pub(crate) free_wanted: AtomicBool,
    waiters: Arc<Waiters>,
    /// The files were looked at.
    prepared: AtomicBool,
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
            writer: Arc::new(Mutex::new(SegmentWriter::new(
                Arc::clone(&shared.fs),
                Arc::clone(&shared.direct_io),
                id.clone(),
                Arc::clone(&dir),
            ))),
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

    /// Enters the log into the list of those with something in memory.
    pub(crate) fn mark_busy(&self, state: &mut State) {
        if !state.listed_as_busy {
            state.listed_as_busy = true;
            let mut busy = self.shared.busy.lock();
            if busy.is_empty() {
                self.shared.maintenance.wake();
            }
            busy.push(self.log_id);
        }
    }

    /// Topic and partition, as checkpoints name them.
    pub(crate) fn key(&self) -> (String, i32) {
        (self.id.topic.to_string(), self.id.partition)
    }

    /// The producers, under the settings of now.
    fn producers<'a>(&self, state: &'a mut State) -> &'a mut ProducerState {
        let shared = &self.shared;
        let producers = &mut state.producers;
        producers.set_expiration_ms(shared.producer_id_expiration_ms.load(Ordering::Relaxed));
        let verification = &shared.transaction_verification_enabled;
        producers.verify_transactions(verification.load(Ordering::Relaxed));
        producers
    }

    /// There are producers that may expire.
    fn note_producers(&self, state: &mut State) {
        if !state.listed_with_producers && state.producers.producers().len() > 0 {
            state.listed_with_producers = true;
            let mut logs = self.shared.with_producers.lock();
            logs.insert(self.log_id);
        }
    }

    /// Forgets producers that have been silent for too long; says whether any is left.
    pub fn remove_expired_producers(&self) -> bool {
        let mut state = self.state.lock();
        self.producers(&mut state)
            .remove_expired(self.shared.clock.now_ms());
        let any_left = state.producers.producers().len() > 0;
        state.listed_with_producers = any_left;
        any_left
    }

    /// There may be something to compact.
    fn note_dirty(&self, state: &State) {
        if state.config.compact && !state.segments.is_empty() {
            let mut dirty = self.shared.dirty.lock();
            dirty.insert(self.log_id);
        }
    }

    /// Lets the next batch begin a new segment.
    pub(crate) fn start_segment(&self, state: &mut State, now_ms: i64) {
        if state.log_end_offset > 0 {
            // Even if nothing is left below: producers outlive their batches.
            state.take_snapshot();
        }
        self.note_dirty(state);
        let segment = Segment::new(Arc::clone(&self.dir), state.log_end_offset, 0);
        state.segments.push(Arc::clone(&segment));
        state.open.push_back(OpenSegment::new(segment, now_ms));
    }

    /// Wakes all long polls: the log will not advance any more.
    pub fn wake_all(&self) {
        self.waiters.wake_all();
    }
}
