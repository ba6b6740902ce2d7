//! What this broker wants of a log group and has not got yet.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::entry::{Marker, ObjectId, PartitionId, Place, Writer};
use super::plan::{Answer, Candidate, Want, Wanted};
use crate::env::sync::Mutex;
use crate::log::{AppendError, AppendOrigin, IfRefused, PendingAppend, TopicPartition};
use crate::record::{BatchHeader, EndTxnMarker};

pub(super) type Outcome = Result<Answer, AppendError>;

/// A batch, or another change of a partition, between its submission and its answer.
pub(super) struct Pending {
    pub partition: TopicPartition,
    pub id: PartitionId,
    pub since: Instant,
    pub work: Work,
    pub joint: Option<Part>,
    /// When its turn in its group's queue is, from when it is there.
    pub turn: OnceLock<u64>,
    /// Everybody who waits: retries that come before the answer wait for the same.
    waiting: Mutex<Vec<oneshot::Sender<Outcome>>>,
    /// Room in memory, which a joint append has for all its parts.
    _room: Option<Arc<OwnedSemaphorePermit>>,
}

pub(super) enum Work {
    Batch(Batch),
    Change(Want),
}

pub(super) struct Batch {
    pub candidate: Candidate,
    /// As it will be stored, but for offset and leader epoch.
    pub header: BatchHeader,
    pub marker: Option<EndTxnMarker>,
    pub origin: AppendOrigin,
    pub claim: Option<i32>,
    /// As it will be stored, without offset and leader epoch.
    pub stored: Bytes,
    pub place: Mutex<BatchPlace>,
}

/// Where the bytes of a batch are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchPlace {
    /// In the write buffer, or on their way into an object.
    Memory,
    /// They go with the commit.
    Inline,
    Object(ObjectId, u32),
    Made(Marker),
}

/// A batch's place in a joint append.
#[derive(Clone)]
pub(super) struct Part {
    pub joint: Arc<Joint>,
    pub if_refused: IfRefused,
}

/// What is appended as a whole or not at all.
pub(super) struct Joint {
    parts: usize,
    /// Nobody is answered before all are: whoever hears of one part finds the others in their logs.
    settled: Mutex<Vec<(Arc<Pending>, Outcome)>>,
}

impl Joint {
    pub fn new(parts: usize) -> Arc<Self> {
        Arc::new(Self {
            parts,
            settled: Mutex::new(Vec::with_capacity(parts)),
        })
    }

    pub fn parts(&self) -> usize {
        self.parts
    }
}

impl Batch {
    /// With a marker that needs no bytes, if it is `made`.
    pub fn place_of(made: Option<Marker>) -> Mutex<BatchPlace> {
        Mutex::new(made.map_or(BatchPlace::Memory, BatchPlace::Made))
    }

    pub fn place(&self) -> BatchPlace {
        *self.place.lock()
    }

    pub fn set_place(&self, place: BatchPlace) {
        *self.place.lock() = place;
    }
}

impl Pending {
    pub fn new(
        partition: TopicPartition,
        work: Work,
        joint: Option<Part>,
        room: Option<Arc<OwnedSemaphorePermit>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: PartitionId::from(&partition),
            partition,
            since: Instant::now(),
            work,
            joint,
            turn: OnceLock::new(),
            waiting: Mutex::new(Vec::new()),
            _room: room,
        })
    }

    pub fn batch(&self) -> Option<&Batch> {
        match &self.work {
            Work::Batch(batch) => Some(batch),
            Work::Change(_) => None,
        }
    }

    /// Whose batch it is; `None`: nobody's who is known by an id.
    pub fn writer(&self) -> Option<Writer> {
        let header = &self.batch()?.header;
        let producer_id = header.producer_id;
        header.has_producer_id().then_some((self.id, producer_id))
    }

    /// Resolves when it is known what has come of it.
    pub fn outcome(&self) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        self.add_waiting(sender);
        receiver
    }

    /// One more waits for what comes of it.
    pub fn add_waiting(&self, waiting: oneshot::Sender<Outcome>) {
        self.waiting.lock().push(waiting);
    }

    /// Whether it can be committed: its bytes are where they will stay, or go with the commit.
    pub fn is_ready(&self) -> bool {
        self.batch()
            .is_none_or(|batch| batch.place() != BatchPlace::Memory)
    }

    /// For the plan. `inline` gathers the bytes that go with the commit.
    pub fn wanted(&self, inline: &mut Vec<u8>) -> Wanted {
        let what = match &self.work {
            Work::Change(want) => want.clone(),
            Work::Batch(batch) => {
                let place = match batch.place() {
                    BatchPlace::Object(object, position) => Place::Object { object, position },
                    BatchPlace::Made(marker) => Place::Made(marker),
                    BatchPlace::Inline | BatchPlace::Memory => {
                        let position = inline.len() as u32;
                        inline.extend_from_slice(&batch.stored);
                        Place::Inline { seq: 0, position }
                    }
                };
                Want::Append {
                    batch: batch.candidate,
                    origin: batch.origin,
                    claim: batch.claim,
                    place,
                }
            }
        };
        Wanted {
            partition: self.partition.clone(),
            what,
        }
    }

    /// Tells everybody who waits, or waits itself for the other parts.
    pub fn settle(self: &Arc<Self>, outcome: Outcome) {
        let Some(Part { joint, .. }) = &self.joint else {
            self.tell(&outcome);
            return;
        };
        let settled = {
            let mut settled = joint.settled.lock();
            settled.push((Arc::clone(self), outcome));
            match settled.len() == joint.parts {
                true => std::mem::take(&mut *settled),
                false => Vec::new(),
            }
        };
        for (pending, outcome) in settled {
            pending.tell(&outcome);
        }
    }

    fn tell(&self, outcome: &Outcome) {
        let mut is_first = true;
        for waiting in self.waiting.lock().drain(..) {
            let outcome = match outcome {
                // Those behind the first are retries.
                Ok(Answer::Appended(appended)) if !is_first => {
                    let mut appended = *appended;
                    appended.duplicate = true;
                    Ok(Answer::Appended(appended))
                }
                outcome => outcome.clone(),
            };
            is_first = false;
            // Whoever has gone away does not need it.
            let _ = waiting.send(outcome);
        }
    }
}

/// The answer to an append that waits for this outcome.
pub(super) fn appended(outcome: oneshot::Receiver<Outcome>) -> PendingAppend {
    Box::pin(async move {
        match outcome.await {
            Ok(Ok(Answer::Appended(appended))) => Ok(appended),
            Ok(Ok(other)) => Err(AppendError::Storage(format!("an append came to {other:?}"))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(left_open()),
        }
    })
}

/// What is said of work that was on its way when the store ended.
pub(super) fn left_open() -> AppendError {
    AppendError::Indeterminate("the store was shut down before the commit".to_owned())
}
