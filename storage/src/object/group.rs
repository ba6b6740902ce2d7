//! One log group at this broker: its state as far as this broker has followed it, and what this broker wants of it.
//!
//! What is wanted stands in a queue, in the order of submission, until it is answered. A commit takes from the queue what is
//! ready, plans it for the state, and appends the plan. If somebody else's row came first, the state moves on, and the next commit
//! plans the same again. So the queue is all that there is to remember between attempts.
//!
//! A caller is to be refused at once what cannot be appended. So for a producer with batches on their way to a partition there is
//! an overlay: what is known of it there, as it will be when those are committed. It is a guess. A row that says something of the
//! producer makes it anew, and only the plan of a commit decides. While there is a burst rows come by the hundred, and there may be
//! many thousands of batches in the queue: so a row looks at those of its producers, and at no others.

use std::collections::hash_map::{Entry as MapEntry, OccupiedEntry};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::cache::{Blob, Cache, RunKey};
use super::database::{LogGroup, Row};
use super::entry::{Effect, Entry, Marker, PartitionId, Place, Writer};
use super::group_state::{Applied, GroupState, no_producers};
use super::pending::{Batch, BatchPlace, Outcome, Part, Pending, Work, left_open};
use super::plan::{Answer, Candidate};
use super::queue::Queue;
use super::run_bytes;
use crate::env::sync::{Mutex, MutexGuard};
use crate::log::admission::{Admission, admit_header, marker_of, refused};
use crate::log::producer_state::ProducerState;
use crate::log::waiters::Waiters;
use crate::log::{
    AppendError, AppendOrigin, Appended, LogOffsets, TopicPartition, VerificationGuard,
};
use crate::record::{BatchHeader, EndTxnMarker, ValidatedBatch};

/// How far this broker knows a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// Nobody has asked, or not for a while.
    Unused,
    Loading,
    Ready,
    /// It could not be read, and is tried again.
    Failed(String),
    /// It cannot be used any more.
    Broken(String),
}

pub(super) struct Group {
    pub id: LogGroup,
    pub load: watch::Sender<Load>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub state: GroupState,
    pub queue: Queue,
    /// The commit on its way, for whoever meets its row first.
    pub attempt: Option<Arc<Attempt>>,
    /// Of those that have batches in the queue.
    overlays: HashMap<Writer, Overlay>,
    waiters: HashMap<PartitionId, Arc<Waiters>>,
    /// Batches that were refused by what this broker knew, until it knows whether that was the newest.
    pub doubts: Vec<Doubt>,
    pub is_clearing_doubts: bool,
    /// When somebody last asked something of the state.
    used_at: Option<Instant>,
    /// Whoever has one of these needs the state to stay.
    holds: Hold,
    /// The last row that was known when the group was let go.
    seen_seq: i64,
    /// How often something in the queue was looked at for an overlay.
    #[cfg(test)]
    looks: usize,
}

/// A group that is read stays so for as long as there is one of these.
pub(super) type Hold = Arc<()>;

/// A producer of a partition that has batches on their way, as it will be.
struct Overlay {
    /// It and no other.
    producers: ProducerState,
    next_offset: i64,
    /// What is on its way, in the order of submission.
    batches: Vec<Arc<Pending>>,
}

/// What tells a batch of a producer from all others: producer, epoch, first and last sequence.
type SentAs = (i64, i16, i32, i32);

fn sent_as(header: &BatchHeader) -> Option<SentAs> {
    let (id, epoch) = (header.producer_id, header.producer_epoch);
    let sent_as = (id, epoch, header.base_sequence, header.last_sequence());
    (header.has_producer_id() && !header.is_control()).then_some(sent_as)
}

/// A plan on its way into the database.
pub(super) struct Attempt {
    pub commit_id: Uuid,
    /// The row that it is to be.
    pub seq: i64,
    pub entry: Entry,
    pub inline: Bytes,
    pub items: Vec<(Arc<Pending>, Outcome)>,
    /// All answers are right, whatever else there is in the database.
    pub is_sure: bool,
    /// The leader epochs of the entry's runs, in their order.
    pub epochs: Vec<i32>,
}

/// A batch on its way into the queue.
pub(super) struct Submission {
    pub partition: TopicPartition,
    pub origin: AppendOrigin,
    pub claim: Option<i32>,
    header: BatchHeader,
    marker: Option<EndTxnMarker>,
    candidate: Candidate,
    stored: Bytes,
    made: Option<Marker>,
    room: Option<Arc<OwnedSemaphorePermit>>,
}

pub(super) struct Doubt {
    pub submission: Submission,
    pub waiting: oneshot::Sender<Outcome>,
}

/// What a batch looks like, seen from what this broker knows.
pub(super) enum Checked {
    /// It goes into the queue; the overlay has it.
    Append,
    /// It is in the log.
    Duplicate(Appended),
    /// It is the same as one on its way.
    Follow(Arc<Pending>),
    /// It does not fit, unless something has come that this broker has not read yet.
    Doubtful(AppendError),
}

/// What is to be done when the group's lock is let go: polls that wake, and callers that are told.
#[derive(Default)]
#[must_use]
pub(super) struct Aftermath {
    wakes: Vec<Wake>,
    settled: Vec<(Arc<Pending>, Outcome)>,
}

struct Wake {
    waiters: Arc<Waiters>,
    bytes: i64,
    moves_stable_end: bool,
    is_deleted: bool,
}

impl Submission {
    /// # Errors
    /// A control batch that cannot be read.
    pub fn new(
        partition: TopicPartition,
        batch: &ValidatedBatch,
        origin: AppendOrigin,
        claim: Option<i32>,
        room: Option<Arc<OwnedSemaphorePermit>>,
    ) -> Result<Self, AppendError> {
        let header = BatchHeader {
            max_timestamp: batch.max_timestamp(),
            ..batch.header
        };
        let made = header.is_control().then(|| Marker::of(batch)).flatten();
        let stored = match batch.log_append_time_ms() {
            Some(_) => batch.to_bytes(0, 0),
            None => batch.bytes.clone(),
        };
        Ok(Self {
            partition,
            origin,
            claim,
            header,
            marker: marker_of(batch)?,
            candidate: Candidate::of(batch)?,
            stored,
            made,
            room,
        })
    }

    pub fn into_pending(self, joint: Option<Part>) -> Arc<Pending> {
        let batch = Batch {
            candidate: self.candidate,
            header: self.header,
            marker: self.marker,
            origin: self.origin,
            claim: self.claim,
            stored: self.stored,
            place: Batch::place_of(self.made),
        };
        Pending::new(self.partition, Work::Batch(batch), joint, self.room)
    }
}

impl Group {
    pub fn new(id: LogGroup) -> Arc<Self> {
        Arc::new(Self {
            id,
            load: watch::Sender::new(Load::Unused),
            inner: Mutex::new(Inner::default()),
        })
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// The group, if it is read. It stays so while the lock is held.
    pub fn known(&self) -> Option<MutexGuard<'_, Inner>> {
        let inner = self.lock();
        self.is_ready().then_some(inner)
    }

    /// Whoever goes on from what he has found in the state, and waits in between, holds it.
    pub fn hold(&self) -> Hold {
        let mut inner = self.lock();
        inner.used();
        Arc::clone(&inner.holds)
    }

    /// Lets go of a group that nobody has used for so long. It is not followed any more, and the next use reads it again.
    pub fn let_go_if_idle(&self, idle: Duration) {
        let forgotten = {
            let Some(mut inner) = self.known().filter(|inner| inner.is_idle(idle)) else {
                return;
            };
            if inner.is_needed() {
                inner.used();
                return;
            }
            self.load.send_replace(Load::Unused);
            inner.seen_seq = inner.state.seq();
            inner.overlays.clear();
            std::mem::take(&mut inner.state)
        };
        drop(forgotten);
    }

    pub fn is_ready(&self) -> bool {
        *self.load.borrow() == Load::Ready
    }

    /// Why the group cannot be used; `None` if it can.
    pub fn trouble(&self) -> Option<String> {
        match &*self.load.borrow() {
            Load::Ready => None,
            Load::Unused | Load::Loading => {
                Some(format!("log group {} is not read yet", self.id.0))
            }
            Load::Failed(what) | Load::Broken(what) => Some(what.clone()),
        }
    }

    pub fn is_broken(&self) -> bool {
        matches!(*self.load.borrow(), Load::Broken(_))
    }

    /// One that is broken stays so.
    pub fn now_is(&self, now: Load) {
        self.load.send_if_modified(|load| {
            let changes = !matches!(load, Load::Broken(_));
            if changes {
                *load = now;
            }
            changes
        });
    }

    /// Gives the group up: what waits is answered, and nothing is appended or read any more.
    pub fn break_off(&self, what: &str) -> Aftermath {
        self.load.send_replace(Load::Broken(what.to_owned()));
        let mut inner = self.lock();
        let unsure = inner.attempt.take();
        let unsure: HashSet<_> = unsure
            .iter()
            .flat_map(|attempt| &attempt.items)
            .map(|(pending, _)| Arc::as_ptr(pending))
            .collect();
        let settled = inner.queue.drain().map(|pending| {
            let error = match unsure.contains(&Arc::as_ptr(&pending)) {
                true => AppendError::Indeterminate(what.to_owned()),
                false => AppendError::Storage(what.to_owned()),
            };
            (pending, Err(error))
        });
        let settled = settled.collect();
        inner.overlays.clear();
        let wakes = inner.waiters.values().map(|waiters| Wake {
            waiters: Arc::clone(waiters),
            bytes: i64::MAX,
            moves_stable_end: true,
            is_deleted: true,
        });
        Aftermath {
            wakes: wakes.collect(),
            settled,
        }
    }

    /// Answers what is left: nobody knows what will become of it. Gives how much that is.
    pub fn close(&self) -> usize {
        let (left, doubts) = {
            let mut inner = self.lock();
            inner.attempt = None;
            inner.overlays.clear();
            let left: Vec<_> = inner.queue.drain().collect();
            (left, std::mem::take(&mut inner.doubts))
        };
        for pending in &left {
            pending.settle(Err(left_open()));
        }
        for doubt in doubts {
            let _ = doubt.waiting.send(Err(left_open()));
        }
        left.len()
    }

    /// Takes in a row, whoever has written it. Rows that were taken in before change nothing.
    ///
    /// # Errors
    /// In words: the row cannot be read or is not the next one, and the group is of no use any more.
    pub fn take_in(&self, row: &Row, cache: &Cache) -> Result<Aftermath, String> {
        let newer = |inner: &MutexGuard<'_, Inner>| row.seq > inner.state.seq();
        let Some(mut inner) = self.known().filter(newer) else {
            return Ok(Aftermath::default());
        };
        let attempt = inner
            .attempt
            .take_if(|attempt| attempt.seq == row.seq)
            .filter(|attempt| attempt.commit_id == row.commit_id);
        if let Some(attempt) = attempt {
            return inner.finish(&attempt).map_err(|error| error.to_string());
        }
        let entry = Entry::of_row(&row.entry).map_err(|error| {
            let group = self.id.0;
            format!("row {} of log group {group}: {error}", row.seq)
        })?;
        for (run, bytes) in inline_runs(&inner.state, &entry, row) {
            cache.insert(run, bytes);
        }
        let applied = inner.apply(row.seq, &entry);
        let aftermath = applied.map_err(|error| error.to_string())?;
        inner.rebuild_overlays(entry.writers());
        Ok(aftermath)
    }

    /// What comes of an attempt whose row is there. Whoever meets the row first does it.
    ///
    /// # Errors
    /// As [`take_in`](Self::take_in).
    pub fn committed(&self, attempt: &Arc<Attempt>) -> Result<Aftermath, String> {
        let mut inner = self.lock();
        let is_open = inner
            .attempt
            .take_if(|open| Arc::ptr_eq(open, attempt))
            .is_some();
        match is_open {
            true => inner.finish(attempt).map_err(|error| error.to_string()),
            false => Ok(Aftermath::default()),
        }
    }
}

impl Inner {
    /// Long polls of this partition are told of what comes.
    pub fn register(&mut self, id: PartitionId, waiters: &Arc<Waiters>) {
        self.waiters.insert(id, Arc::clone(waiters));
    }

    /// Puts something that was checked behind what is on its way.
    pub fn push(&mut self, pending: Arc<Pending>) {
        if let Some(writer) = pending.writer() {
            let overlay = overlay_of(&mut self.overlays, &self.state, writer);
            overlay.into_mut().batches.push(Arc::clone(&pending));
        }
        self.queue.push(pending);
    }

    /// A batch that was checked does not go into the queue.
    pub fn take_back(&mut self, batch: &Submission) {
        let id = PartitionId::from(&batch.partition);
        self.rebuild_overlays([(id, batch.header.producer_id)]);
    }

    pub fn deregister(&mut self, id: &PartitionId) {
        self.waiters.remove(id);
    }

    /// Somebody uses the state.
    pub fn used(&mut self) {
        self.used_at = Some(Instant::now());
    }

    fn is_idle(&self, idle: Duration) -> bool {
        self.used_at.is_none_or(|then| then.elapsed() >= idle)
    }

    /// Whether something is on its way that began with this state.
    fn is_needed(&self) -> bool {
        let is_held = Arc::strong_count(&self.holds) > 1;
        let is_clearing_doubts = self.is_clearing_doubts || !self.doubts.is_empty();
        let is_committing = self.attempt.is_some() || !self.queue.is_empty();
        is_held || is_clearing_doubts || is_committing || self.state.has_verifications()
    }

    /// The last row that this broker has seen of the group, whether it knows the state now or not.
    pub fn seen_seq(&self) -> i64 {
        self.seen_seq.max(self.state.seq())
    }

    /// `transaction.partition.verification.enable` is this from now on.
    pub fn change_verification(&mut self, enabled: bool) {
        self.state.verify_transactions(enabled);
        for overlay in self.overlays.values_mut() {
            overlay.producers.verify_transactions(enabled);
        }
    }

    pub fn offsets(&self, id: PartitionId) -> Option<LogOffsets> {
        Some(self.state.partition(id)?.offsets())
    }

    /// Checks a batch against the state and what is on its way. If it may be appended, the overlay has it from now on, and it has
    /// to go into the queue before the lock is let go.
    ///
    /// # Errors
    /// It is refused, whatever this broker has not read yet: epochs do not go back, and what is deleted stays so.
    pub fn check(&mut self, batch: &Submission, now_ms: i64) -> Result<Checked, AppendError> {
        let id = PartitionId::from(&batch.partition);
        let Some(partition) = self.state.partition(id) else {
            return Err(AppendError::Deleted);
        };
        let (current, got) = (partition.leader_epoch(), batch.claim.unwrap_or(0));
        if matches!(batch.origin, AppendOrigin::Coordinator(_)) && got < current {
            return Err(AppendError::Fenced {
                partition: batch.partition.clone(),
                current,
                got,
            });
        }
        if !batch.header.has_producer_id() {
            return Ok(Checked::Append);
        }
        self.check_producer(id, batch, now_ms)
    }

    fn check_producer(
        &mut self,
        id: PartitionId,
        batch: &Submission,
        now_ms: i64,
    ) -> Result<Checked, AppendError> {
        let admit = |producers: &ProducerState| {
            admit_header(
                producers,
                &batch.partition,
                &batch.header,
                batch.marker,
                batch.origin,
            )
        };
        let writer = (id, batch.header.producer_id);
        let mut overlay = overlay_of(&mut self.overlays, &self.state, writer);
        let checked = match admit(&overlay.get().producers) {
            Ok(Admission::Append(_)) => {
                let overlay = overlay.get_mut();
                overlay.take_in(&batch.header, batch.marker, now_ms);
                return Ok(Checked::Append);
            }
            Ok(Admission::Duplicate { .. }) => {
                let partition = self.state.state_of(&id);
                match partition.producers().map(admit) {
                    Some(Ok(Admission::Duplicate {
                        base_offset,
                        last_offset,
                    })) => Ok(Checked::Duplicate(Appended {
                        base_offset,
                        last_offset,
                        log_start_offset: partition.log_start_offset,
                        duplicate: true,
                    })),
                    _ => {
                        let same = overlay.get().same_as(&batch.header);
                        Ok(same.map_or(Checked::Append, Checked::Follow))
                    }
                }
            }
            Err(
                error @ (AppendError::OutOfOrderSequence { .. }
                | AppendError::InvalidTxnState { .. }),
            ) if batch.origin.is_client() => Ok(Checked::Doubtful(error)),
            Err(error) => Err(error),
        };
        // Without anything on its way the state says as much.
        if overlay.get().batches.is_empty() {
            overlay.remove();
        }
        checked
    }

    /// See [`PartitionLog::begin_verification`](crate::log::PartitionLog::begin_verification). A transaction that a batch on its
    /// way opens is open.
    pub fn begin_verification(
        &mut self,
        partition: &TopicPartition,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        supports_epoch_bump: bool,
        now_ms: i64,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        let id = PartitionId::from(partition);
        if let Some(overlay) = self.overlays.get(&(id, producer_id)) {
            let known = overlay.producers.producer(producer_id);
            let current = known.map_or(producer_epoch, |known| known.producer_epoch);
            if current > producer_epoch {
                return Err(AppendError::InvalidProducerEpoch {
                    producer_id,
                    current,
                    got: producer_epoch,
                });
            }
            if overlay
                .producers
                .has_ongoing_transaction(producer_id, producer_epoch)
            {
                return Ok(None);
            }
        }
        let guard = self.state.begin_verification(
            partition,
            producer_id,
            producer_epoch,
            base_sequence,
            supports_epoch_bump,
            now_ms,
        );
        if let (Some(overlay), Some(known)) = (
            self.overlays.get_mut(&(id, producer_id)),
            self.state.state_of(&id).producers(),
        ) {
            overlay.producers.adopt_verification(known, producer_id);
        }
        guard
    }

    /// See [`PartitionLog::check_transaction`](crate::log::PartitionLog::check_transaction).
    pub fn check_transaction(
        &mut self,
        partition: &TopicPartition,
        producer_id: i64,
        producer_epoch: i16,
        guard: Option<VerificationGuard>,
    ) -> Result<(), AppendError> {
        let id = PartitionId::from(partition);
        if let Some(overlay) = self.overlays.get(&(id, producer_id)) {
            let checked = overlay
                .producers
                .check_transaction(producer_id, producer_epoch, guard);
            return checked.map_err(|error| refused(partition, error));
        }
        self.state
            .check_transaction(partition, producer_id, producer_epoch, guard)
    }

    /// Makes the overlays of these producers anew, from the state and what is on its way.
    fn rebuild_overlays(&mut self, writers: impl IntoIterator<Item = Writer>) {
        let mut done = HashSet::new();
        for writer in writers {
            if !done.insert(writer) {
                continue;
            }
            let Some(old) = self.overlays.remove(&writer) else {
                continue;
            };
            #[cfg(test)]
            {
                self.looks += old.batches.len();
            }
            let mut overlay = Overlay::new(&self.state, writer);
            for pending in old.batches {
                if self.queue.holds(&pending) {
                    overlay.replay(pending);
                }
            }
            if !overlay.batches.is_empty() {
                self.overlays.insert(writer, overlay);
            }
        }
    }

    /// Applies an entry. The overlays of its producers have to be made anew.
    fn apply(
        &mut self,
        seq: i64,
        entry: &Entry,
    ) -> Result<Aftermath, super::group_state::InvalidEntry> {
        let Applied { changes, .. } = self.state.apply(seq, entry)?;
        let mut wakes = Vec::new();
        for change in &changes {
            let Some(waiters) = self.waiters.get(&change.partition) else {
                continue;
            };
            let now = self.offsets(change.partition);
            let stable = now.map_or(i64::MAX, |now| now.last_stable_offset);
            wakes.push(Wake {
                waiters: Arc::clone(waiters),
                bytes: i64::try_from(change.appended_bytes).unwrap_or(i64::MAX),
                moves_stable_end: stable > change.offsets.last_stable_offset,
                is_deleted: change.is_deleted,
            });
        }
        let settled = Vec::new();
        Ok(Aftermath { wakes, settled })
    }

    /// Applies what was committed, and takes what is answered with it out of the queue.
    fn finish(&mut self, attempt: &Attempt) -> Result<Aftermath, super::group_state::InvalidEntry> {
        self.unqueue(&attempt.items);
        // A snapshot may have been taken in that has the row.
        let is_known = attempt.entry.is_empty() || attempt.seq <= self.state.seq();
        let mut aftermath = match is_known {
            true => Aftermath::default(),
            false => self.apply(attempt.seq, &attempt.entry)?,
        };
        // What was answered without a place in the entry leaves the overlays, too.
        let answered = attempt.items.iter().filter_map(|(item, _)| item.writer());
        self.rebuild_overlays(answered.chain(attempt.entry.writers()));
        aftermath.settled = attempt.items.clone();
        Ok(aftermath)
    }

    /// Answers what needs no row.
    pub fn answer(&mut self, items: Vec<(Arc<Pending>, Outcome)>) -> Aftermath {
        self.unqueue(&items);
        self.rebuild_overlays(items.iter().filter_map(|(item, _)| item.writer()));
        Aftermath {
            wakes: Vec::new(),
            settled: items,
        }
    }

    fn unqueue(&mut self, items: &[(Arc<Pending>, Outcome)]) {
        for (item, _) in items {
            self.queue.remove(item);
        }
    }

    /// Goes on with a newer state: that of a snapshot. The commit on its way stays so.
    pub fn replace_state(&mut self, mut state: GroupState) -> Aftermath {
        if state.seq() <= self.state.seq() {
            return Aftermath::default();
        }
        state.take_over(&self.state);
        self.state = state;
        let writers: Vec<_> = self.overlays.keys().copied().collect();
        self.rebuild_overlays(writers);
        let wakes = self.waiters.iter().map(|(id, waiters)| Wake {
            waiters: Arc::clone(waiters),
            bytes: i64::MAX,
            moves_stable_end: true,
            is_deleted: self.state.partition(*id).is_none(),
        });
        Aftermath {
            wakes: wakes.collect(),
            settled: Vec::new(),
        }
    }
}

/// The overlay of a producer; one that has nothing on its way if there is none yet.
fn overlay_of<'a>(
    overlays: &'a mut HashMap<Writer, Overlay>,
    state: &GroupState,
    writer: Writer,
) -> OccupiedEntry<'a, Writer, Overlay> {
    match overlays.entry(writer) {
        MapEntry::Occupied(overlay) => overlay,
        MapEntry::Vacant(place) => place.insert_entry(Overlay::new(state, writer)),
    }
}

impl Overlay {
    /// What the state knows.
    fn new(state: &GroupState, (partition, producer_id): Writer) -> Self {
        let known = state.state_of(&partition);
        let mut producers = no_producers(known.next_offset, state.verifies_transactions());
        if let Some(known) = known.producers() {
            producers.adopt(known, producer_id);
        }
        Self {
            producers,
            next_offset: known.next_offset,
            batches: Vec::new(),
        }
    }

    /// Takes in what is on its way, again. Whatever does not fit any more is answered by the plan that its turn comes to.
    fn replay(&mut self, pending: Arc<Pending>) {
        if let Some(batch) = pending.batch() {
            let (header, marker) = (&batch.header, batch.marker);
            let (producers, partition) = (&self.producers, &pending.partition);
            let admitted = admit_header(producers, partition, header, marker, batch.origin);
            if let Ok(Admission::Append(_)) = admitted {
                self.take_in(header, marker, 0);
            }
        }
        self.batches.push(pending);
    }

    /// The batch on its way that this one repeats.
    fn same_as(&self, header: &BatchHeader) -> Option<Arc<Pending>> {
        let sent = sent_as(header)?;
        let is_same = |pending: &&Arc<Pending>| {
            let batch = pending.batch();
            batch.and_then(|batch| sent_as(&batch.header)) == Some(sent)
        };
        self.batches.iter().rev().find(is_same).cloned()
    }

    fn take_in(&mut self, header: &BatchHeader, marker: Option<EndTxnMarker>, now_ms: i64) {
        let placed = BatchHeader {
            base_offset: self.next_offset,
            ..*header
        };
        self.producers.apply(&placed, marker, now_ms);
        self.next_offset = placed.next_offset();
    }
}

impl Attempt {
    /// The runs of own batches, to be kept: their keys and bytes as they are served.
    pub fn runs(&self, group: LogGroup) -> Vec<(RunKey, Bytes)> {
        let mut stored: HashMap<RunKey, &Bytes> = HashMap::new();
        let mut position = 0;
        for (pending, _) in &self.items {
            let Some(batch) = pending.batch() else {
                continue;
            };
            match batch.place() {
                BatchPlace::Object(object, position) => {
                    stored.insert((Blob::Object(object), position), &batch.stored);
                }
                BatchPlace::Inline => {
                    stored.insert((Blob::Row(group, self.seq), position), &batch.stored);
                    position += batch.stored.len() as u32;
                }
                BatchPlace::Memory | BatchPlace::Made(_) => {}
            }
        }
        let mut runs = Vec::new();
        for (append, epoch) in appends(&self.entry).zip(&self.epochs) {
            let (base_offset, place, batches) = append;
            let Some((blob, start)) = blob_of(group, self.seq, place) else {
                continue;
            };
            let size: u64 = batches
                .iter()
                .map(|batch| u64::from(batch.size_bytes))
                .sum();
            let mut bytes = BytesMut::with_capacity(size as usize);
            let mut position = start;
            for batch in batches {
                let Some(stored) = stored.get(&(blob, position)) else {
                    break;
                };
                bytes.extend_from_slice(stored);
                position = position.wrapping_add(batch.size_bytes);
            }
            if bytes.len() as u64 == size
                && run_bytes::number(&mut bytes, base_offset, |_| *epoch).is_ok()
            {
                runs.push(((blob, start), bytes.freeze()));
            }
        }
        runs
    }
}

type Append<'a> = (i64, Place, &'a [super::entry::BatchEffect]);

fn appends(entry: &Entry) -> impl Iterator<Item = Append<'_>> {
    entry.effects.iter().filter_map(|effect| match effect {
        Effect::Append {
            base_offset,
            place,
            batches,
            ..
        } => Some((*base_offset, *place, batches.as_slice())),
        _ => None,
    })
}

/// The leader epochs of the runs that an entry appends, when it is applied to a state.
pub(super) fn epochs_of(state: &GroupState, entry: &Entry) -> Vec<i32> {
    let mut claimed: HashMap<PartitionId, i32> = HashMap::new();
    let mut epochs = Vec::new();
    for effect in &entry.effects {
        let partition = effect.partition();
        match effect {
            Effect::Claim { leader_epoch, .. } => {
                claimed.insert(partition, *leader_epoch);
            }
            Effect::Append { .. } => {
                let known = || state.state_of(&partition).leader_epoch();
                let epoch = claimed.get(&partition).copied();
                epochs.push(epoch.unwrap_or_else(known));
            }
            _ => {}
        }
    }
    epochs
}

/// The runs that came with a row of somebody else.
fn inline_runs(state: &GroupState, entry: &Entry, row: &Row) -> Vec<(RunKey, Bytes)> {
    if row.inline.is_empty() {
        return Vec::new();
    }
    let epochs = epochs_of(state, entry);
    let mut runs = Vec::new();
    for ((base_offset, place, batches), epoch) in appends(entry).zip(epochs) {
        let Place::Inline { position, .. } = place else {
            continue;
        };
        let size: usize = batches.iter().map(|batch| batch.size_bytes as usize).sum();
        let start = position as usize;
        let Some(bytes) = row.inline.get(start..start.saturating_add(size)) else {
            continue;
        };
        let mut bytes = BytesMut::from(bytes);
        // Damaged bytes are found when they are read.
        if run_bytes::number(&mut bytes, base_offset, |_| epoch).is_ok() {
            let blob = Blob::Row(row.group, row.seq);
            runs.push(((blob, position), bytes.freeze()));
        }
    }
    runs
}

/// What a place of a row is in.
pub(super) fn blob_of(group: LogGroup, seq: i64, place: Place) -> Option<RunKey> {
    match place {
        Place::Object { object, position } => Some((Blob::Object(object), position)),
        Place::Inline { position, .. } => Some((Blob::Row(group, seq), position)),
        Place::Made(_) => None,
    }
}

impl Aftermath {
    pub fn settled(&self) -> &[(Arc<Pending>, Outcome)] {
        &self.settled
    }

    pub fn merge(&mut self, other: Self) {
        self.wakes.extend(other.wakes);
        self.settled.extend(other.settled);
    }

    /// Wakes polls, and then tells callers: whoever is told finds it in the log.
    pub fn follow(self) {
        for wake in self.wakes {
            if wake.is_deleted {
                wake.waiters.wake_all();
                continue;
            }
            let stable = match wake.moves_stable_end {
                true => i64::MAX,
                false => 0,
            };
            wake.waiters.advanced(wake.bytes, stable);
        }
        for (pending, outcome) in self.settled {
            pending.settle(outcome);
        }
    }
}

/// A batch that is in the log already.
pub(super) fn duplicate(appended: Appended) -> Outcome {
    Ok(Answer::Appended(appended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::entry::BatchEffect;
    use crate::object::plan::plan;
    use crate::record::BatchBuilder;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    const NOW_MS: i64 = 1_000;

    fn partition() -> TopicPartition {
        TopicPartition {
            topic: "topic".into(),
            topic_id: Uuid::from_u128(7),
            partition: 0,
        }
    }

    fn built(mut batch: BatchBuilder) -> ValidatedBatch {
        batch.append(NOW_MS, None, Some(b"value"), &[]);
        ValidatedBatch::trusted(batch.build().unwrap()).unwrap()
    }

    /// Submits a batch; returns whether it is let in.
    fn submit(inner: &mut Inner, batch: BatchBuilder, guard: Option<VerificationGuard>) -> bool {
        let origin = AppendOrigin::Client(guard);
        let submission = Submission::new(partition(), &built(batch), origin, None, None).unwrap();
        let checked = inner.check(&submission, NOW_MS);
        let is_let_in = matches!(checked, Ok(Checked::Append));
        if is_let_in {
            inner.push(submission.into_pending(None));
        }
        is_let_in
    }

    #[test]
    fn a_verification_does_not_look_at_all_that_is_on_its_way() {
        const PRODUCERS: i64 = 1_000;
        let mut inner = Inner::default();
        for producer in 0..PRODUCERS {
            let batch = BatchBuilder::new().producer(producer, 0, 0);
            assert!(submit(&mut inner, batch, None));
        }
        for producer in 0..PRODUCERS {
            let verify = |inner: &mut Inner| {
                inner.begin_verification(&partition(), producer, 0, 1, false, NOW_MS)
            };
            let guard = verify(&mut inner).unwrap();
            assert!(guard.is_some(), "nothing is open");
            let batch = || BatchBuilder::new().producer(producer, 0, 1).transactional();
            assert!(!submit(&mut inner, batch(), None), "without a guard");
            assert!(submit(&mut inner, batch(), guard));
            assert_eq!(verify(&mut inner).unwrap(), None, "it is open now");
        }
        assert_eq!(inner.looks, 0);
    }

    /// The next row, which another broker has appended.
    fn row(inner: &Inner, effect: Effect) -> Row {
        let entry = Entry {
            at_ms: NOW_MS,
            effects: vec![effect],
        };
        Row {
            group: LogGroup(0),
            seq: inner.state.seq() + 1,
            commit_id: Uuid::from_u128(1),
            broker_id: 2,
            entry: entry.encode().into(),
            inline: Bytes::new(),
        }
    }

    /// A row with a batch.
    fn row_of_another(inner: &Inner, batch: BatchBuilder) -> Row {
        let batch = built(batch);
        let seq = inner.state.seq() + 1;
        let partition = PartitionId::from(&partition());
        let append = Effect::Append {
            partition,
            base_offset: inner.state.state_of(&partition).next_offset,
            place: Place::Inline { seq, position: 0 },
            batches: vec![BatchEffect::of(&batch.header, None)],
        };
        row(inner, append)
    }

    /// Commits the batches of this broker that stand at these places of its queue.
    fn commit(group: &Group, items: &[Arc<Pending>]) -> Vec<Outcome> {
        let mut inner = group.lock();
        let mut inline = Vec::new();
        let wanted: Vec<_> = items.iter().map(|item| item.wanted(&mut inline)).collect();
        let planned = plan(&inner.state, &wanted, NOW_MS);
        let items = items.iter().cloned().zip(planned.answers.clone());
        let attempt = Arc::new(Attempt {
            commit_id: Uuid::from_u128(2),
            seq: inner.state.seq() + 1,
            epochs: epochs_of(&inner.state, &planned.entry),
            entry: planned.entry,
            inline: inline.into(),
            items: items.collect(),
            is_sure: false,
        });
        if attempt.entry.is_empty() {
            drop(inner.answer(attempt.items.clone()));
            return planned.answers;
        }
        inner.attempt = Some(Arc::clone(&attempt));
        drop(inner);
        drop(group.committed(&attempt).unwrap());
        planned.answers
    }

    fn ready_group() -> Arc<Group> {
        let group = Group::new(LogGroup(0));
        group.now_is(Load::Ready);
        group
    }

    #[test]
    fn a_row_costs_what_is_on_its_way_of_its_own_producers() {
        const PRODUCERS: i64 = 1_000;
        let (group, cache) = (ready_group(), Cache::new(0));
        for producer in 0..PRODUCERS {
            for sequence in 0..2 {
                let batch = BatchBuilder::new().producer(producer, 0, sequence);
                assert!(submit(&mut group.lock(), batch, None));
            }
        }
        let looks = || std::mem::take(&mut group.lock().looks);
        looks();
        // Of producers with nothing on their way here.
        for producer in PRODUCERS..2 * PRODUCERS {
            let batch = BatchBuilder::new().producer(producer, 0, 0);
            let row = row_of_another(&group.lock(), batch);
            drop(group.take_in(&row, &cache).unwrap());
        }
        assert_eq!(looks(), 0);
        // Of those that are, whose first batch has reached another broker, too.
        for producer in 0..PRODUCERS {
            let batch = BatchBuilder::new().producer(producer, 0, 0);
            let row = row_of_another(&group.lock(), batch);
            drop(group.take_in(&row, &cache).unwrap());
        }
        assert_eq!(looks(), 2 * PRODUCERS as usize);
        let queued: Vec<_> = group.lock().queue.iter().cloned().collect();
        for items in queued.chunks(2) {
            let answers = commit(&group, items);
            assert!(matches!(answers[..], [Ok(_), Ok(_)]), "{answers:?}");
        }
        assert_eq!(looks(), 2 * PRODUCERS as usize);
        assert_eq!(group.lock().queue.len(), 0);
    }

    /// What is known of all producers, from the state and a look at the whole queue.
    fn all_that_is_on_its_way(inner: &Inner) -> ProducerState {
        let known = inner.state.state_of(&PartitionId::from(&partition()));
        let verifies = inner.state.verifies_transactions();
        let mut producers = no_producers(known.next_offset, verifies);
        let adopt = |producers: &mut ProducerState, producer| {
            if let Some(known) = known.producers() {
                producers.adopt(known, producer);
            }
        };
        for producer in 0..PRODUCERS {
            adopt(&mut producers, producer);
        }
        let mut next_offset = known.next_offset;
        for batch in inner.queue.iter().filter_map(|pending| pending.batch()) {
            let (header, marker) = (&batch.header, batch.marker);
            let admitted = admit_header(&producers, &partition(), header, marker, batch.origin);
            if let Ok(Admission::Append(_)) = admitted {
                let base_offset = next_offset;
                let placed = BatchHeader {
                    base_offset,
                    ..*header
                };
                producers.apply(&placed, marker, NOW_MS);
                next_offset = placed.next_offset();
            }
        }
        producers
    }

    const PRODUCERS: i64 = 3;

    /// Of all batches that may come.
    fn all_headers() -> Vec<BatchHeader> {
        let mut headers = Vec::new();
        for producer in 0..PRODUCERS {
            for (epoch, sequence) in (0..9).flat_map(|at| [(0, at), (1, at)]) {
                let batch = BatchBuilder::new().producer(producer, epoch, sequence);
                let transactional = batch.clone().transactional();
                headers.extend([batch, transactional].map(|batch| built(batch).header));
            }
        }
        headers
    }

    fn assert_as_if_all_were_looked_at(inner: &Inner, headers: &[BatchHeader], what: &str) {
        let all = all_that_is_on_its_way(inner);
        let id = PartitionId::from(&partition());
        for header in headers {
            let admit = |producers: &ProducerState| {
                let origin = AppendOrigin::CLIENT;
                match admit_header(producers, &partition(), header, None, origin) {
                    Ok(Admission::Append(_)) => Ok("append"),
                    Ok(Admission::Duplicate { .. }) => Ok("duplicate"),
                    Err(error) => Err(error.to_string()),
                }
            };
            let writer = (id, header.producer_id);
            let known = Overlay::new(&inner.state, writer);
            let overlay = inner.overlays.get(&writer).unwrap_or(&known);
            assert_eq!(admit(&overlay.producers), admit(&all), "{what}, {header:?}");
        }
        let on_their_way = inner.overlays.values().map(|overlay| overlay.batches.len());
        assert_eq!(on_their_way.sum::<usize>(), inner.queue.len(), "{what}");
        let are_empty = |overlay: &Overlay| overlay.batches.is_empty();
        assert!(!inner.overlays.values().any(are_empty), "{what}");
    }

    #[test]
    fn what_is_on_its_way_is_known_as_if_all_of_it_were_looked_at() {
        let first = std::env::var("OTTLA_SIM_SEED").ok();
        let first = first.map_or_else(rand::random, |seed| seed.parse::<u64>().unwrap());
        let headers = all_headers();
        let (mut let_in, mut refused) = (0, 0);
        for seed in (0..50).map(|more| first.wrapping_add(more)) {
            let mut random = StdRng::seed_from_u64(seed);
            let (group, cache) = (ready_group(), Cache::new(0));
            group.lock().change_verification(false);
            for step in 0..60 {
                let what = format!("OTTLA_SIM_SEED={seed}, step {step}");
                let producer = random.random_range(0..PRODUCERS);
                let (epoch, sequence) = (random.random_range(0..2), random.random_range(0..7));
                let batch = BatchBuilder::new().producer(producer, epoch, sequence);
                let batch = match random.random_bool(0.3) {
                    true => batch.transactional(),
                    false => batch,
                };
                let count = random.random_range(0..4);
                let queued: Vec<_> = {
                    let inner = group.lock();
                    inner.queue.iter().take(count).cloned().collect()
                };
                let take_in = |row: Row| drop(group.take_in(&row, &cache).unwrap());
                match random.random_range(0..10) {
                    0..5 => match submit(&mut group.lock(), batch, None) {
                        true => let_in += 1,
                        false => refused += 1,
                    },
                    5 => {
                        let row = row_of_another(&group.lock(), batch);
                        take_in(row);
                    }
                    6 => {
                        let partition = PartitionId::from(&partition());
                        let inner = group.lock();
                        let known = inner.state.state_of(&partition);
                        let producers = known.producers();
                        let silent = producers.map(|known| known.silent_since(i64::MAX));
                        let producer_ids = silent.unwrap_or_default();
                        if !producer_ids.is_empty() {
                            let expired = Effect::Expired {
                                partition,
                                producer_ids,
                            };
                            let row = row(&inner, expired);
                            drop(inner);
                            take_in(row);
                        }
                    }
                    7 => {
                        let error = || Err(AppendError::Storage("refused".to_owned()));
                        let items = queued.into_iter().map(|item| (item, error()));
                        drop(group.lock().answer(items.collect()));
                    }
                    _ => drop(commit(&group, &queued)),
                }
                assert_as_if_all_were_looked_at(&group.lock(), &headers, &what);
            }
        }
        assert!(let_in > 0 && refused > 0, "{let_in}, {refused}");
    }
}
