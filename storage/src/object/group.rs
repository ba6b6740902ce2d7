//! One log group at this broker: its state as far as this broker has followed it, and what this broker wants of it.
//!
//! What is wanted stands in a queue, in the order of submission, until it is answered. A commit takes from the queue what is
//! ready, plans it for the state, and appends the plan. If somebody else's row came first, the state moves on, and the next commit
//! plans the same again. So the queue is all that there is to remember between attempts.
//!
//! A caller is to be refused at once what cannot be appended. So for partitions with batches on their way there is an overlay:
//! what is known of their producers, as it will be when those are committed. It is a guess. Every row that is applied makes it
//! anew, and only the plan of a commit decides.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::cache::{Blob, Cache, RunKey};
use super::database::{LogGroup, Row};
use super::entry::{Effect, Entry, Marker, PartitionId, Place};
use super::group_state::{Applied, GroupState};
use super::pending::{Batch, BatchPlace, Outcome, Part, Pending, Work, left_open};
use super::plan::{Answer, Candidate};
use super::run_bytes;
use crate::env::sync::{Mutex, MutexGuard};
use crate::log::admission::{Admission, admit_header, marker_of, refused};
use crate::log::producer_state::{ProducerState, ProducerStateConfig};
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
    pub queue: VecDeque<Arc<Pending>>,
    /// The commit on its way, for whoever meets its row first.
    pub attempt: Option<Arc<Attempt>>,
    overlays: HashMap<PartitionId, Overlay>,
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

/// The producers of a partition that have batches on their way, as they will be.
struct Overlay {
    producers: ProducerState,
    next_offset: i64,
    /// The batches of producers that are on their way.
    batches: HashMap<SentAs, Arc<Pending>>,
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
        let settled = inner.queue.drain(..).map(|pending| {
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
            (
                std::mem::take(&mut inner.queue),
                std::mem::take(&mut inner.doubts),
            )
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
        let mut changed = HashSet::new();
        let applied = inner.apply(row.seq, &entry, &mut changed);
        let aftermath = applied.map_err(|error| error.to_string())?;
        inner.rebuild_overlays(&changed);
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
        if let Some(overlay) = self.overlays.get_mut(&pending.id) {
            overlay.note(&pending);
        }
        self.queue.push_back(pending);
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
        let known = self.state.state_of(&id).producers();
        let next_offset = self.state.state_of(&id).next_offset;
        let verifies = self.state.verifies_transactions();
        let overlay = self
            .overlays
            .entry(id)
            .or_insert_with(|| Overlay::new(next_offset, verifies));
        if let Some(known) = known {
            overlay.producers.adopt(known, batch.header.producer_id);
        }
        let admit = |producers: &ProducerState| {
            admit_header(
                producers,
                &batch.partition,
                &batch.header,
                batch.marker,
                batch.origin,
            )
        };
        match admit(&overlay.producers) {
            Ok(Admission::Append(_)) => {
                overlay.take_in(&batch.header, batch.marker, now_ms);
                Ok(Checked::Append)
            }
            Ok(Admission::Duplicate { .. }) => {
                if let Some(known) = known
                    && let Ok(Admission::Duplicate {
                        base_offset,
                        last_offset,
                    }) = admit(known)
                {
                    let log_start_offset = self.state.state_of(&id).log_start_offset;
                    return Ok(Checked::Duplicate(Appended {
                        base_offset,
                        last_offset,
                        log_start_offset,
                        duplicate: true,
                    }));
                }
                let same = sent_as(&batch.header).and_then(|sent| overlay.batches.get(&sent));
                Ok(same.map_or(Checked::Append, |same| Checked::Follow(Arc::clone(same))))
            }
            Err(
                error @ (AppendError::OutOfOrderSequence { .. }
                | AppendError::InvalidTxnState { .. }),
            ) if batch.origin.is_client() => Ok(Checked::Doubtful(error)),
            Err(error) => Err(error),
        }
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
        if let Some(overlay) = self.overlay_with(id, producer_id) {
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
        // Of what is on its way only this producer's may look different now.
        if let (Some(overlay), Some(known)) = (
            self.overlays.get_mut(&id),
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
        if let Some(overlay) = self.overlay_with(id, producer_id) {
            let checked = overlay
                .producers
                .check_transaction(producer_id, producer_epoch, guard);
            return checked.map_err(|error| refused(partition, error));
        }
        self.state
            .check_transaction(partition, producer_id, producer_epoch, guard)
    }

    /// The overlay of a partition that has one, with what is known of a producer.
    fn overlay_with(&mut self, id: PartitionId, producer_id: i64) -> Option<&Overlay> {
        let overlay = self.overlays.get_mut(&id)?;
        if let Some(known) = self.state.state_of(&id).producers() {
            overlay.producers.adopt(known, producer_id);
        }
        Some(overlay)
    }

    /// Makes the overlays of these partitions anew, from the state and what is on its way.
    pub fn rebuild_overlays(&mut self, partitions: &HashSet<PartitionId>) {
        self.overlays.retain(|id, _| !partitions.contains(id));
        let verifies = self.state.verifies_transactions();
        #[cfg(test)]
        {
            self.looks += self.queue.len();
        }
        for pending in &self.queue {
            let Some(batch) = pending.batch() else {
                continue;
            };
            let (header, marker) = (&batch.header, batch.marker);
            if !header.has_producer_id() || !partitions.contains(&pending.id) {
                continue;
            }
            let known = self.state.state_of(&pending.id);
            let overlay = match self.overlays.entry(pending.id) {
                MapEntry::Occupied(overlay) => overlay.into_mut(),
                MapEntry::Vacant(place) => place.insert(Overlay::new(known.next_offset, verifies)),
            };
            if let Some(known) = known.producers() {
                overlay.producers.adopt(known, header.producer_id);
            }
            let admitted = admit_header(
                &overlay.producers,
                &pending.partition,
                header,
                marker,
                batch.origin,
            );
            // Whatever does not fit any more is answered by the plan that its turn comes to.
            if let Ok(Admission::Append(_)) = admitted {
                overlay.take_in(header, marker, 0);
            }
            overlay.note(pending);
        }
    }

    /// Applies an entry, and adds the partitions that it names. Their overlays have to be made anew.
    fn apply(
        &mut self,
        seq: i64,
        entry: &Entry,
        changed: &mut HashSet<PartitionId>,
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
        changed.extend(changes.iter().map(|change| change.partition));
        let settled = Vec::new();
        Ok(Aftermath { wakes, settled })
    }

    /// Applies what was committed, and takes what is answered with it out of the queue.
    fn finish(&mut self, attempt: &Attempt) -> Result<Aftermath, super::group_state::InvalidEntry> {
        self.unqueue(&attempt.items);
        // What was answered without a place in the entry leaves the overlay, too.
        let mut changed = attempt.items.iter().map(|(item, _)| item.id).collect();
        // A snapshot may have been taken in that has the row.
        let is_known = attempt.entry.is_empty() || attempt.seq <= self.state.seq();
        let mut aftermath = match is_known {
            true => Aftermath::default(),
            false => self.apply(attempt.seq, &attempt.entry, &mut changed)?,
        };
        self.rebuild_overlays(&changed);
        aftermath.settled = attempt.items.clone();
        Ok(aftermath)
    }

    /// Answers what needs no row.
    pub fn answer(&mut self, items: Vec<(Arc<Pending>, Outcome)>) -> Aftermath {
        self.unqueue(&items);
        self.rebuild_overlays(&items.iter().map(|(item, _)| item.id).collect());
        Aftermath {
            wakes: Vec::new(),
            settled: items,
        }
    }

    fn unqueue(&mut self, items: &[(Arc<Pending>, Outcome)]) {
        let done: HashSet<_> = items.iter().map(|(item, _)| Arc::as_ptr(item)).collect();
        self.queue.retain(|item| !done.contains(&Arc::as_ptr(item)));
    }

    /// Goes on with a newer state: that of a snapshot. The commit on its way stays so.
    pub fn replace_state(&mut self, mut state: GroupState) -> Aftermath {
        if state.seq() <= self.state.seq() {
            return Aftermath::default();
        }
        state.take_over(&self.state);
        self.state = state;
        let partitions = self.queue.iter().map(|pending| pending.id);
        let partitions = partitions.chain(self.overlays.keys().copied()).collect();
        self.rebuild_overlays(&partitions);
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

impl Overlay {
    fn new(next_offset: i64, verifies_transactions: bool) -> Self {
        let config = ProducerStateConfig::of_log(i64::MAX);
        let mut producers = ProducerState::new(config, next_offset);
        producers.verify_transactions(verifies_transactions);
        Self {
            producers,
            next_offset,
            batches: HashMap::new(),
        }
    }

    fn note(&mut self, pending: &Arc<Pending>) {
        if let Some(sent) = pending.batch().and_then(|batch| sent_as(&batch.header)) {
            self.batches.insert(sent, Arc::clone(pending));
        }
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
    use crate::record::BatchBuilder;

    const NOW_MS: i64 = 1_000;

    fn partition() -> TopicPartition {
        TopicPartition {
            topic: "topic".into(),
            topic_id: Uuid::from_u128(7),
            partition: 0,
        }
    }

    /// Submits a batch; returns whether it is let in.
    fn submit(
        inner: &mut Inner,
        mut batch: BatchBuilder,
        guard: Option<VerificationGuard>,
    ) -> bool {
        batch.append(NOW_MS, None, Some(b"value"), &[]);
        let batch = ValidatedBatch::trusted(batch.build().unwrap()).unwrap();
        let origin = AppendOrigin::Client(guard);
        let submission = Submission::new(partition(), &batch, origin, None, None).unwrap();
        let checked = inner.check(&submission, NOW_MS).unwrap();
        let is_let_in = matches!(checked, Checked::Append);
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
}
