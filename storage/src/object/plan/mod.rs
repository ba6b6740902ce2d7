//! From what a broker wants of a log group to effects and answers. Pure, like [`super::group_state`].
//!
//! A plan holds for one state. If another broker's entry came first, the state has changed: apply that entry, and plan
//! anew. So a plan must be cheap: it costs what its batches cost, whatever the state holds, and copies only the producers
//! that are named.
//!
//! What is refused was refused by the state of one moment. A broker that has not read the newest entries may refuse what
//! it should not, so a refusal is only an answer once it is known that the state was the newest: because the entry of the
//! same plan was appended, or because there is no newer one ([`Planned::is_sure`]).

use std::collections::{HashMap, HashSet};

use super::entry::{BatchEffect, Effect, Entry, PartitionId, Place, Run};
use super::group_state::{GroupState, PartitionState, no_producers};
use crate::log::admission::{Admission, admit_header, marker_of};
use crate::log::producer_state::ProducerState;
use crate::log::transaction_index::AbortedTxn;
use crate::log::{AppendError, AppendOrigin, Appended, IfRefused, JointError, TopicPartition};
use crate::record::{BatchHeader, EndTxnMarker, ValidatedBatch};

/// No run of several batches is larger. It is what has to be read to find one of its records.
pub const RUN_BYTES: u32 = 1 << 20;

/// What a broker wants of one partition.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub partition: TopicPartition,
    pub what: Want,
}

#[derive(Clone, Debug)]
pub enum Want {
    /// That a batch is appended. Those of one partition get their offsets in the order in which they are wanted.
    Append {
        batch: Candidate,
        origin: AppendOrigin,
        /// Of a coordinator: the epoch that its claim of the log got; `None` if it has claimed nothing.
        claim: Option<i32>,
        /// Where the bytes are. The `seq` of a place that is inline is the plan's to set.
        place: Place,
    },
    /// That the log begins there, or where it ends, or where it begins already.
    LogStart {
        offset: i64,
    },
    /// That the log is a coordinator's from now on.
    Claim,
    Delete,
    /// That nothing is remembered of a deleted partition.
    Forget,
    /// That runs are replaced, if they are still there. The new ones are within the offsets of the old ones.
    Replace {
        old: Vec<Run>,
        new: Vec<Run>,
        /// The aborted transactions whose marker is in the offsets of the old runs, if there are fewer now.
        aborted: Option<Vec<AbortedTxn>>,
    },
    /// That producers are forgotten which are in no transaction, and were last heard of before that time.
    Expire {
        active_ms: i64,
    },
}

/// All that a plan has to know of a batch. The bytes may be elsewhere by then.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// As it will be stored, but for offset and leader epoch.
    header: BatchHeader,
    marker: Option<EndTxnMarker>,
}

impl Candidate {
    /// # Errors
    /// A control batch that cannot be read, or a batch that ends before it begins.
    pub fn of(batch: &ValidatedBatch) -> Result<Self, AppendError> {
        if batch.header.last_offset_delta < 0 {
            let delta = batch.header.last_offset_delta;
            let what = format!("the batch has last offset delta {delta}; it has to be 0 or more");
            return Err(AppendError::Storage(what));
        }
        Ok(Self {
            header: BatchHeader {
                max_timestamp: batch.max_timestamp(),
                ..batch.header
            },
            marker: marker_of(batch)?,
        })
    }

    pub fn size_bytes(&self) -> usize {
        self.header.size_bytes()
    }
}

/// What came of something that was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Appended(Appended),
    /// Where the log begins.
    LogStart(i64),
    /// The epoch of the claim.
    Claimed(i32),
    Done,
    /// Nothing was done: the log is not any more as the change has it.
    Outdated,
}

/// A plan for one group. The answers are due when its entry has been appended.
#[derive(Debug)]
pub struct Planned {
    /// To be appended behind the state that the plan was made for. If it is empty, there is nothing to append.
    pub entry: Entry,
    /// In the order of what was wanted.
    pub answers: Vec<Result<Answer, AppendError>>,
}

impl Planned {
    /// Whether all answers are right although nothing is appended and the state may not be the newest: each says what entries
    /// have said already. Else look whether there are newer ones, and plan anew if so.
    pub fn is_sure(&self) -> bool {
        let is_duplicate = |answer: &Result<Answer, AppendError>| matches!(answer, Ok(Answer::Appended(appended)) if appended.duplicate);
        self.answers.iter().all(is_duplicate)
    }
}

/// Plans what is wanted of one group, at a time in ms since 1970: each by itself.
pub fn plan<'a>(
    state: &GroupState,
    wanted: impl IntoIterator<Item = &'a Wanted>,
    at_ms: i64,
) -> Planned {
    let mut planner = Planner::new(state, at_ms);
    let answers = wanted
        .into_iter()
        .map(|wanted| planner.want(wanted))
        .collect();
    Planned {
        entry: planner.entry,
        answers,
    }
}

/// One part of what is wanted together.
#[derive(Clone, Debug)]
pub struct WantedPart {
    /// Which of the states the partition is in.
    pub state: usize,
    pub wanted: Wanted,
    pub if_refused: IfRefused,
}

/// A plan for several groups.
#[derive(Debug)]
pub struct JointPlanned {
    /// One for each state, to be appended all or none; those that are empty need not be, but have to be known to be of the
    /// newest state like the others.
    pub entries: Vec<Entry>,
    /// In the order of the parts; an error is of a part that was skipped.
    pub answers: Vec<Result<Answer, AppendError>>,
}

/// Plans what is wanted of several groups together: see [`LogStore::submit_all`](crate::log::LogStore::submit_all).
///
/// # Errors
/// A part was refused that may not be skipped, two parts are of one partition, or a part is of no state.
pub fn plan_all(
    states: &[&GroupState],
    parts: &[WantedPart],
    at_ms: i64,
) -> Result<JointPlanned, JointError> {
    let mut planners: Vec<_> = states
        .iter()
        .map(|state| Planner::new(state, at_ms))
        .collect();
    let mut seen = HashMap::with_capacity(parts.len());
    let mut answers = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        let partition = &part.wanted.partition;
        let outcome = match planners.get_mut(part.state) {
            _ if seen.insert(PartitionId::from(partition), at).is_some() => {
                let what = format!("two parts of a joint append are for {partition}");
                Err(AppendError::Storage(what))
            }
            Some(planner) => planner.want(&part.wanted),
            None => Err(AppendError::Storage(format!("{partition} is in no group"))),
        };
        match outcome {
            Err(error) if part.if_refused == IfRefused::FailAll => {
                let part = Some(at);
                return Err(JointError { part, error });
            }
            outcome => answers.push(outcome),
        }
    }
    Ok(JointPlanned {
        entries: planners.into_iter().map(|planner| planner.entry).collect(),
        answers,
    })
}

/// A plan in the making: the state, and what the effects so far would make of it.
struct Planner<'a> {
    state: &'a GroupState,
    entry: Entry,
    drafts: HashMap<PartitionId, Draft>,
}

/// A partition as it will be.
struct Draft {
    is_deleted: bool,
    log_start_offset: i64,
    next_offset: i64,
    leader_epoch: i32,
    /// Those that were named.
    producers: ProducerState,
    /// Producers that the state still knows.
    expired: HashSet<i64>,
    /// The run that the next batch may belong to.
    open: Option<OpenRun>,
    /// Runs were replaced or removed: the state does not tell any more which there are.
    runs_changed: bool,
}

struct OpenRun {
    /// Which of the effects.
    effect: usize,
    /// Where its next batch would have to be.
    next_place: Place,
    size_bytes: u32,
}

impl<'a> Planner<'a> {
    fn new(state: &'a GroupState, at_ms: i64) -> Self {
        Self {
            state,
            entry: Entry {
                at_ms,
                effects: Vec::new(),
            },
            drafts: HashMap::new(),
        }
    }

    fn want(&mut self, wanted: &Wanted) -> Result<Answer, AppendError> {
        let id = PartitionId::from(&wanted.partition);
        let (state, seq) = (self.state, self.state.seq().saturating_add(1));
        let draft = self
            .drafts
            .entry(id)
            .or_insert_with(|| Draft::of(state, &id));
        let mut planning = Planning {
            partition: &wanted.partition,
            id,
            seq,
            at_ms: self.entry.at_ms,
            base: state.state_of(&id),
            state,
            draft,
            effects: &mut self.entry.effects,
        };
        match &wanted.what {
            Want::Forget => Ok(planning.forget()),
            Want::Delete => Ok(planning.delete()),
            _ if planning.draft.is_deleted => Err(AppendError::Deleted),
            Want::Append {
                batch,
                origin,
                claim,
                place,
            } => planning.append(batch, *origin, *claim, *place),
            Want::LogStart { offset } => Ok(planning.move_start(*offset)),
            Want::Claim => planning.claim(),
            Want::Replace { old, new, aborted } => {
                Ok(planning.replace(old, new, aborted.as_deref()))
            }
            Want::Expire { active_ms } => Ok(planning.expire(*active_ms)),
        }
    }
}

impl Draft {
    fn of(state: &GroupState, id: &PartitionId) -> Self {
        let base = state.state_of(id);
        Self {
            is_deleted: state.is_deleted(id),
            log_start_offset: base.log_start_offset,
            next_offset: base.next_offset,
            leader_epoch: base.leader_epoch(),
            producers: no_producers(base.next_offset, state.verifies_transactions()),
            expired: HashSet::new(),
            open: None,
            runs_changed: false,
        }
    }
}

/// One thing that is wanted.
struct Planning<'a> {
    partition: &'a TopicPartition,
    id: PartitionId,
    /// Of the row that the entry gets.
    seq: i64,
    at_ms: i64,
    base: &'a PartitionState,
    state: &'a GroupState,
    draft: &'a mut Draft,
    effects: &'a mut Vec<Effect>,
}

impl Planning<'_> {
    fn append(
        &mut self,
        batch: &Candidate,
        origin: AppendOrigin,
        claim: Option<i32>,
        place: Place,
    ) -> Result<Answer, AppendError> {
        self.check_claim(origin, claim)?;
        let Candidate { header, marker } = batch;
        let draft = &mut *self.draft;
        if header.has_producer_id()
            && !draft.expired.contains(&header.producer_id)
            && let Some(known) = self.base.producers()
        {
            draft.producers.adopt(known, header.producer_id);
        }
        let log_start_offset = draft.log_start_offset;
        let admitted = admit_header(&draft.producers, self.partition, header, *marker, origin)?;
        if let Admission::Duplicate {
            base_offset,
            last_offset,
        } = admitted
        {
            return Ok(Answer::Appended(Appended {
                base_offset,
                last_offset,
                log_start_offset,
                duplicate: true,
            }));
        }
        let base_offset = draft.next_offset;
        let last_offset = base_offset.checked_add(i64::from(header.last_offset_delta));
        let Some((last_offset, next_offset)) =
            last_offset.and_then(|last| Some((last, last.checked_add(1)?)))
        else {
            let what = format!("{} has no more offsets", self.partition);
            return Err(AppendError::Storage(what));
        };
        let stored = BatchHeader {
            base_offset,
            ..*header
        };
        draft.producers.apply(&stored, *marker, self.at_ms);
        draft.next_offset = next_offset;
        self.add_batch(base_offset, BatchEffect::of(header, *marker), place);
        Ok(Answer::Appended(Appended {
            base_offset,
            last_offset,
            log_start_offset,
            duplicate: false,
        }))
    }

    /// What a coordinator appends it appends by its claim, and nobody may have claimed the log since.
    fn check_claim(&self, origin: AppendOrigin, claim: Option<i32>) -> Result<(), AppendError> {
        let (current, got) = (self.draft.leader_epoch, claim.unwrap_or(0));
        match origin {
            AppendOrigin::Coordinator(_) if got != current => Err(AppendError::Fenced {
                partition: self.partition.clone(),
                current,
                got,
            }),
            _ => Ok(()),
        }
    }

    /// Adds a batch to the run before it, if it lies behind it, or begins one.
    fn add_batch(&mut self, base_offset: i64, batch: BatchEffect, place: Place) {
        let partition = self.id;
        let place = match place {
            Place::Made(marker) => {
                self.draft.open = None;
                self.effects.push(Effect::Marker {
                    partition,
                    offset: base_offset,
                    timestamp: batch.max_timestamp,
                    marker,
                });
                return;
            }
            Place::Inline { position, .. } => Place::Inline {
                seq: self.seq,
                position,
            },
            place @ Place::Object { .. } => place,
        };
        let next_place = behind(place, batch.size_bytes);
        if let Some(open) = &mut self.draft.open
            && open.next_place == place
            && let Some(size_bytes) = open.size_bytes.checked_add(batch.size_bytes)
            && size_bytes <= RUN_BYTES
            && let Some(Effect::Append { batches, .. }) = self.effects.get_mut(open.effect)
            && let Some(next_place) = next_place
        {
            batches.push(batch);
            open.size_bytes = size_bytes;
            open.next_place = next_place;
            return;
        }
        self.draft.open = next_place.map(|next_place| OpenRun {
            effect: self.effects.len(),
            next_place,
            size_bytes: batch.size_bytes,
        });
        self.effects.push(Effect::Append {
            partition,
            base_offset,
            place,
            batches: vec![batch],
        });
    }

    fn move_start(&mut self, offset: i64) -> Answer {
        let draft = &mut *self.draft;
        let offset = offset.clamp(draft.log_start_offset, draft.next_offset);
        if offset > draft.log_start_offset {
            draft.log_start_offset = offset;
            draft.runs_changed = true;
            draft.open = None;
            let partition = self.id;
            self.effects.push(Effect::LogStart { partition, offset });
        }
        Answer::LogStart(offset)
    }

    fn claim(&mut self) -> Result<Answer, AppendError> {
        let Some(leader_epoch) = self.draft.leader_epoch.checked_add(1) else {
            let what = format!("{} has no more leader epochs", self.partition);
            return Err(AppendError::Storage(what));
        };
        self.draft.leader_epoch = leader_epoch;
        // Each batch has one epoch, and a run is cut where it changes.
        self.draft.open = None;
        self.effects.push(Effect::Claim {
            partition: self.id,
            leader_epoch,
        });
        Ok(Answer::Claimed(leader_epoch))
    }

    fn delete(&mut self) -> Answer {
        if !std::mem::replace(&mut self.draft.is_deleted, true) {
            let partition = self.id;
            self.effects.push(Effect::Deleted { partition });
        }
        Answer::Done
    }

    /// Only what was deleted before this plan: what happens at once leaves nothing to wait for.
    fn forget(&mut self) -> Answer {
        if !self.state.is_deleted(&self.id) || self.draft.runs_changed {
            return Answer::Outdated;
        }
        self.draft.runs_changed = true;
        let partition = self.id;
        self.effects.push(Effect::Forgotten { partition });
        Answer::Done
    }

    fn replace(&mut self, old: &[Run], new: &[Run], aborted: Option<&[AbortedTxn]>) -> Answer {
        let (Some(first), Some(last)) = (old.first(), old.last()) else {
            return Answer::Outdated;
        };
        let (from, to) = (first.base_offset, last.next_offset);
        let partition = self.state.partition(self.id);
        let there = partition.map(|partition| partition.runs(from).take(old.len()));
        let is_there = there.is_some_and(|there| there.eq(old.iter().copied()));
        if self.draft.runs_changed || !is_there {
            return Answer::Outdated;
        }
        self.draft.runs_changed = true;
        self.effects.push(Effect::Replaced {
            partition: self.id,
            from,
            to,
            runs: new.to_vec(),
            aborted: aborted.map(<[_]>::to_vec),
        });
        Answer::Done
    }

    fn expire(&mut self, active_ms: i64) -> Answer {
        let silent = self.base.producers();
        let mut producer_ids = silent.map_or_else(Vec::new, |known| known.silent_since(active_ms));
        // Whoever writes in this plan is not silent.
        let named = &self.draft.producers;
        let expired = &mut self.draft.expired;
        producer_ids.retain(|id| named.producer(*id).is_none() && expired.insert(*id));
        if !producer_ids.is_empty() {
            self.effects.push(Effect::Expired {
                partition: self.id,
                producer_ids,
            });
        }
        Answer::Done
    }
}

/// Where the bytes behind a batch are; `None` behind the last position.
fn behind(place: Place, size_bytes: u32) -> Option<Place> {
    Some(match place {
        Place::Object { object, position } => Place::Object {
            object,
            position: position.checked_add(size_bytes)?,
        },
        Place::Inline { seq, position } => Place::Inline {
            seq,
            position: position.checked_add(size_bytes)?,
        },
        Place::Made(_) => return None,
    })
}

#[cfg(test)]
mod tests;
