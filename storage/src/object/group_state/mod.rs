//! The state of a log group: what its entries, one after the other, have made of its partitions. Pure.
//!
//! Brokers that have applied the same entries are in the same state, whether they began with the first or with a
//! snapshot (`snapshot.rs`). Only verifications of transactions (KIP-890) are a broker's own: a guard is proof of
//! what this broker has seen since it asked, so it is in no entry and in no snapshot.

mod packed_run;
mod partition;
mod sources;

use std::collections::HashMap;
use std::collections::hash_map;

use thiserror::Error;

use super::entry::{
    AbortedTxn, BatchEffect, Effect, Entry, ObjectId, PartitionId, Place, Run, Source,
};
use crate::log::admission::refused;
use crate::log::producer_state::ProducerState;
use crate::log::{AppendError, LogOffsets, TopicPartition, VerificationGuard};
use packed_run::PackedRun;
pub use partition::Partition;
pub(super) use partition::{PartitionState, no_producers};
use sources::Sources;
pub use sources::Uses;

/// An entry that cannot be the next one of the group that it was applied to. Either is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("entry {seq} cannot be the next of this log group: {what}")]
pub struct InvalidEntry {
    pub seq: i64,
    pub what: String,
}

/// What an entry has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Each partition that it names, once, in the order of its effects.
    pub changes: Vec<Change>,
    /// Objects that nothing in this group needs any more.
    pub unused: Vec<ObjectId>,
}

/// What an entry has changed of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub partition: PartitionId,
    /// Before it.
    pub offsets: LogOffsets,
    pub appended_bytes: u64,
    pub is_deleted: bool,
}

/// The partitions of a log group, as of one entry.
#[derive(Clone, Debug)]
pub struct GroupState {
    pub(super) seq: i64,
    pub(super) partitions: HashMap<PartitionId, PartitionState>,
    /// With the time of their deletion, in ms.
    pub(super) deleted: HashMap<PartitionId, i64>,
    sources: Sources,
    verifies_transactions: bool,
}

impl Default for GroupState {
    fn default() -> Self {
        Self {
            seq: 0,
            partitions: HashMap::new(),
            deleted: HashMap::new(),
            sources: Sources::default(),
            verifies_transactions: true,
        }
    }
}

static BLANK: PartitionState = PartitionState::new();

impl GroupState {
    /// A group without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// The entry that was applied last; 0 before the first.
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// Applies the entry that follows.
    ///
    /// # Errors
    /// The entry was not made for this state. The state may have taken in a part of it, and is not to be used any more.
    pub fn apply(&mut self, seq: i64, entry: &Entry) -> Result<Applied, InvalidEntry> {
        let invalid = |what: String| InvalidEntry { seq, what };
        if seq.checked_sub(1) != Some(self.seq) {
            let what = format!("{} is the last that was applied", self.seq);
            return Err(invalid(what));
        }
        let mut applied = Applied::default();
        let mut places = HashMap::new();
        for effect in &entry.effects {
            let partition = effect.partition();
            let at = *places.entry(partition).or_insert_with(|| {
                applied.changes.push(Change {
                    partition,
                    offsets: self.state_of(&partition).offsets(),
                    appended_bytes: 0,
                    is_deleted: false,
                });
                applied.changes.len() - 1
            });
            let mut applying = Applying {
                state: self,
                partition,
                at_ms: entry.at_ms,
                change: &mut applied.changes[at],
                unused: &mut applied.unused,
            };
            applying.apply(effect).map_err(|what| {
                let PartitionId {
                    topic_id,
                    partition,
                } = partition;
                invalid(format!("{topic_id}-{partition}: {what}"))
            })?;
        }
        self.seq = seq;
        // An object may have lost its last run to one effect, and got another by the next.
        let sources = &self.sources;
        applied
            .unused
            .retain(|object| sources.uses_of(Source::Object(*object)).is_none());
        Ok(applied)
    }

    /// A partition as it is. One that nothing was said of is empty. `None`: it is deleted.
    pub fn partition(&self, id: PartitionId) -> Option<Partition<'_>> {
        (!self.is_deleted(&id)).then(|| self.view(id, self.state_of(&id)))
    }

    /// All partitions that entries have said something of, but for the deleted ones, in no order.
    pub fn partitions(&self) -> impl Iterator<Item = Partition<'_>> {
        self.known().map(|(id, state)| self.view(id, state))
    }

    /// The deleted partitions that are remembered, with the time of their deletion in ms, in no order.
    pub fn deleted(&self) -> impl Iterator<Item = (PartitionId, i64)> {
        self.deleted.iter().map(|(id, at_ms)| (*id, *at_ms))
    }

    /// The objects that runs of this group are in, in no order.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = (ObjectId, Uses)> {
        self.sources.objects()
    }

    /// What of an object is needed here; `None` if nothing is.
    pub fn uses_of(&self, object: &ObjectId) -> Option<Uses> {
        self.sources.uses_of(Source::Object(*object))
    }

    /// The rows whose inline bytes are needed, the oldest first.
    pub fn inline_rows(&self) -> impl Iterator<Item = (i64, Uses)> {
        self.sources.rows()
    }

    /// Whether the first batch of a transaction needs a guard (`transaction.partition.verification.enable`).
    pub fn verify_transactions(&mut self, enabled: bool) {
        if self.verifies_transactions == enabled {
            return;
        }
        self.verifies_transactions = enabled;
        let states = self.partitions.values_mut();
        for more in states.filter_map(|state| state.more.as_deref_mut()) {
            more.producers.verify_transactions(enabled);
        }
    }

    pub(super) fn verifies_transactions(&self) -> bool {
        self.verifies_transactions
    }

    /// See [`PartitionLog::begin_verification`](crate::log::PartitionLog::begin_verification).
    ///
    /// # Errors
    /// The producer's epoch is older than the state knows, or the partition is deleted.
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
        if self.is_deleted(&id) {
            return Err(AppendError::Deleted);
        }
        let verifies = self.verifies_transactions;
        let state = self.partitions.entry(id).or_insert(PartitionState::new());
        let guard = state.more(verifies).producers.begin_verification(
            producer_id,
            producer_epoch,
            base_sequence,
            supports_epoch_bump,
            now_ms,
        );
        guard.map_err(|error| refused(partition, error))
    }

    /// See [`PartitionLog::check_transaction`](crate::log::PartitionLog::check_transaction).
    ///
    /// # Errors
    /// What an append would be answered.
    pub fn check_transaction(
        &self,
        partition: &TopicPartition,
        producer_id: i64,
        producer_epoch: i16,
        guard: Option<VerificationGuard>,
    ) -> Result<(), AppendError> {
        let id = PartitionId::from(partition);
        if self.is_deleted(&id) {
            return Err(AppendError::Deleted);
        }
        let checked = match self.state_of(&id).producers() {
            Some(producers) => producers.check_transaction(producer_id, producer_epoch, guard),
            None => no_producers(0, self.verifies_transactions).check_transaction(
                producer_id,
                producer_epoch,
                guard,
            ),
        };
        checked.map_err(|error| refused(partition, error))
    }

    /// Takes over what only this broker knows, of a state that it goes on from: the verifications that were begun.
    pub(super) fn take_over(&mut self, old: &Self) {
        self.verify_transactions(old.verifies_transactions);
        for (id, state) in &old.partitions {
            let Some(more) = state.more.as_deref() else {
                continue;
            };
            if !more.producers.has_verifications() || self.is_deleted(id) {
                continue;
            }
            let verifies = self.verifies_transactions;
            let known = self.partitions.entry(*id).or_insert(PartitionState::new());
            let producers = &mut known.more(verifies).producers;
            producers.adopt_verifications(&more.producers);
        }
    }

    /// Whether somebody may come back with a guard that only this state knows.
    pub(super) fn has_verifications(&self) -> bool {
        let states = self.partitions.values();
        let mut known = states.filter_map(PartitionState::producers);
        known.any(ProducerState::has_verifications)
    }

    /// Forgets verifications that were begun before `started_ms`, and that no batch has followed.
    pub fn forget_verifications(&mut self, started_ms: i64) {
        let states = self.partitions.values_mut();
        for more in states.filter_map(|state| state.more.as_deref_mut()) {
            more.producers.forget_verifications(started_ms);
        }
    }

    pub(super) fn is_deleted(&self, id: &PartitionId) -> bool {
        self.deleted.contains_key(id)
    }

    pub(super) fn state_of(&self, id: &PartitionId) -> &PartitionState {
        self.partitions.get(id).unwrap_or(&BLANK)
    }

    /// What entries have said something of.
    pub(super) fn known(&self) -> impl Iterator<Item = (PartitionId, &PartitionState)> {
        let all = self.partitions.iter().map(|(id, state)| (*id, state));
        all.filter(|(_, state)| !state.is_blank())
    }

    pub(super) fn runs_of(&self, state: &PartitionState) -> impl Iterator<Item = Run> {
        state.runs.iter().map(|run| run.unpack(&self.sources))
    }

    /// Adds a run to a partition of this group; returns whether it is one.
    pub(super) fn push_run(&mut self, state: &mut PartitionState, run: &Run) -> bool {
        let packed = PackedRun::pack(run, &mut self.sources);
        state.size_bytes += u64::from(run.size_bytes);
        state.runs.extend(packed);
        packed.is_some()
    }

    /// What its runs are in, in an order that depends on nothing else.
    pub(super) fn sources_sorted(&self) -> Vec<(Source, Uses)> {
        self.sources.sorted()
    }

    /// The most that was ever needed of something that runs are in.
    pub(super) fn set_most(&mut self, source: Source, most_bytes: u64) {
        self.sources.set_most(source, most_bytes);
    }

    fn view<'a>(&'a self, id: PartitionId, state: &'a PartitionState) -> Partition<'a> {
        Partition {
            id,
            state,
            sources: &self.sources,
        }
    }
}

/// One effect on its way into the state.
struct Applying<'a> {
    state: &'a mut GroupState,
    partition: PartitionId,
    at_ms: i64,
    change: &'a mut Change,
    unused: &'a mut Vec<ObjectId>,
}

type Outcome = Result<(), String>;

impl Applying<'_> {
    fn apply(&mut self, effect: &Effect) -> Outcome {
        if let Effect::Deleted { .. } = effect {
            return self.delete();
        }
        if let Effect::Forgotten { .. } = effect {
            let known = self.state.deleted.remove(&self.partition);
            return known
                .map(drop)
                .ok_or_else(|| "it is not deleted".to_owned());
        }
        if self.state.is_deleted(&self.partition) {
            return Err("it is deleted".to_owned());
        }
        match effect {
            Effect::Append {
                base_offset,
                place,
                batches,
                ..
            } => self.append(*base_offset, *place, batches),
            Effect::Marker {
                offset,
                timestamp,
                marker,
                ..
            } => {
                let batch = marker.effect(*timestamp);
                self.append(*offset, Place::Made(*marker), &[batch])
            }
            Effect::LogStart { offset, .. } => self.move_start(*offset),
            Effect::Claim { leader_epoch, .. } => self.claim(*leader_epoch),
            Effect::Replaced {
                from,
                to,
                runs,
                aborted,
                ..
            } => self.replace(*from, *to, runs, aborted.as_deref()),
            Effect::Expired { producer_ids, .. } => self.expire(producer_ids),
            Effect::Deleted { .. } | Effect::Forgotten { .. } => Ok(()),
        }
    }

    fn entry(&mut self) -> (&mut PartitionState, &mut Sources) {
        let state = match self.state.partitions.entry(self.partition) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(place) => place.insert(PartitionState::new()),
        };
        (state, &mut self.state.sources)
    }

    fn append(&mut self, base_offset: i64, place: Place, batches: &[BatchEffect]) -> Outcome {
        let verifies = self.state.verifies_transactions;
        let at_ms = self.at_ms;
        let (state, sources) = self.entry();
        if base_offset != state.next_offset {
            let next = state.next_offset;
            return Err(format!("{next} is the next offset, not {base_offset}"));
        }
        let run = run_of(base_offset, place, batches).ok_or("a run is too large, or empty")?;
        let packed = PackedRun::pack(&run, sources).ok_or("a run has no such size")?;
        for batch in batches {
            state.take_in(batch, at_ms, verifies);
        }
        state.runs.push_back(packed);
        state.size_bytes += u64::from(run.size_bytes);
        packed
            .source_index()
            .into_iter()
            .for_each(|index| sources.settle(index));
        self.change.appended_bytes += u64::from(run.size_bytes);
        Ok(())
    }

    fn move_start(&mut self, offset: i64) -> Outcome {
        let (state, _) = self.entry();
        if offset < state.log_start_offset || offset > state.next_offset {
            let (start, end) = (state.log_start_offset, state.next_offset);
            return Err(format!(
                "it cannot begin at {offset}, outside of {start}..={end}"
            ));
        }
        state.log_start_offset = offset;
        if let Some(more) = &mut state.more {
            more.aborted.retain(|txn| txn.last_offset >= offset);
            more.epochs.truncate_from_start(offset);
        }
        let count = state.run_index(offset);
        self.remove_runs(0, count);
        Ok(())
    }

    fn claim(&mut self, leader_epoch: i32) -> Outcome {
        let verifies = self.state.verifies_transactions;
        let (state, _) = self.entry();
        let current = state.leader_epoch();
        if leader_epoch <= current {
            return Err(format!(
                "the claim has epoch {leader_epoch}, not above {current}"
            ));
        }
        let next_offset = state.next_offset;
        state
            .more(verifies)
            .epochs
            .assign(leader_epoch, next_offset);
        Ok(())
    }

    fn replace(
        &mut self,
        from: i64,
        to: i64,
        runs: &[Run],
        aborted: Option<&[AbortedTxn]>,
    ) -> Outcome {
        let (state, sources) = self.entry();
        let start = state.runs.partition_point(|run| run.base_offset < from);
        let end = state.runs.partition_point(|run| run.next_offset() <= to);
        let begins = state
            .runs
            .get(start)
            .is_some_and(|run| run.base_offset == from);
        let ends = end.checked_sub(1).and_then(|last| state.runs.get(last));
        if start >= end || !begins || ends.is_none_or(|run| run.next_offset() != to) {
            return Err(format!("there are no runs from {from} to {to}"));
        }
        let mut behind = from;
        let mut packed = Vec::with_capacity(runs.len());
        for run in runs {
            let follows = run.base_offset >= behind && run.next_offset <= to;
            let run = follows.then(|| PackedRun::pack(run, sources)).flatten();
            let run = run.ok_or_else(|| format!("a run in place of {from}..{to} is not within"))?;
            behind = run.next_offset();
            packed.push(run);
        }
        if let (Some(aborted), Some(more)) = (aborted, &mut state.more) {
            let inside = |txn: &AbortedTxn| (from..to).contains(&txn.last_offset);
            if !aborted.iter().all(inside) {
                return Err(format!(
                    "an aborted transaction does not end in {from}..{to}"
                ));
            }
            let first = more.aborted.partition_point(|txn| txn.last_offset < from);
            let behind = more.aborted.partition_point(|txn| txn.last_offset < to);
            more.aborted.splice(first..behind, aborted.iter().copied());
        }
        state.size_bytes += packed
            .iter()
            .map(|run| u64::from(run.size_bytes()))
            .sum::<u64>();
        self.remove_runs(start, end);
        let (state, sources) = self.entry();
        // Some of the new ones are the old ones.
        for index in packed.iter().filter_map(PackedRun::source_index) {
            sources.settle(index);
        }
        let rest = state.runs.split_off(start);
        state.runs.extend(packed);
        state.runs.extend(rest);
        Ok(())
    }

    fn expire(&mut self, producer_ids: &[i64]) -> Outcome {
        let (state, _) = self.entry();
        let Some(more) = &mut state.more else {
            return Err("it has no producers".to_owned());
        };
        for id in producer_ids {
            if !more.producers.forget(*id) {
                return Err(format!("producer {id} is not there to expire"));
            }
        }
        Ok(())
    }

    fn delete(&mut self) -> Outcome {
        let count = self.entry().0.runs.len();
        self.remove_runs(0, count);
        self.state.partitions.remove(&self.partition);
        if self
            .state
            .deleted
            .insert(self.partition, self.at_ms)
            .is_some()
        {
            return Err("it is deleted already".to_owned());
        }
        self.change.is_deleted = true;
        Ok(())
    }

    /// Takes out the runs at `start..end`.
    fn remove_runs(&mut self, start: usize, end: usize) {
        let state = self.state.partitions.get_mut(&self.partition);
        for run in state.into_iter().flat_map(|state| {
            let removed: Vec<_> = state.runs.drain(start..end).collect();
            let bytes: u64 = removed.iter().map(|run| u64::from(run.size_bytes())).sum();
            state.size_bytes -= bytes;
            removed
        }) {
            let Some(index) = run.source_index() else {
                continue;
            };
            if let Some(Source::Object(object)) = self.state.sources.remove(index, run.size_bytes())
            {
                self.unused.push(object);
            }
        }
    }
}

/// The run that batches make. `None`: they are more than a run holds, or none.
fn run_of(base_offset: i64, place: Place, batches: &[BatchEffect]) -> Option<Run> {
    let mut run = Run {
        base_offset,
        next_offset: base_offset,
        size_bytes: 0,
        max_timestamp: i64::MIN,
        place,
        is_compacted: false,
    };
    for batch in batches {
        let offsets = i64::from(batch.last_offset_delta) + 1;
        run.next_offset = run.next_offset.checked_add(offsets)?;
        run.size_bytes = run.size_bytes.checked_add(batch.size_bytes)?;
        run.max_timestamp = run.max_timestamp.max(batch.max_timestamp);
    }
    (!batches.is_empty() && u32::try_from(run.next_offset - base_offset).is_ok()).then_some(run)
}
