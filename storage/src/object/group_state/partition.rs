//! What a group knows of one partition.

use std::collections::VecDeque;

use super::super::entry::{AbortedTxn, BatchEffect, PartitionId, Run};
use super::packed_run::PackedRun;
use super::sources::Sources;
use crate::log::leader_epoch::LeaderEpochs;
use crate::log::producer_state::{ProducerState, ProducerStateConfig};
use crate::log::transaction_index::overlapping;
use crate::log::{AbortedTransaction, ActiveProducer, LogOffsets};

/// What is kept of a partition: as little as possible where it has neither producers nor claims.
#[derive(Clone, Debug)]
pub(in crate::object) struct PartitionState {
    pub log_start_offset: i64,
    pub next_offset: i64,
    pub size_bytes: u64,
    /// In the order of their offsets. Only compaction leaves gaps between them.
    pub(super) runs: VecDeque<PackedRun>,
    pub more: Option<Box<More>>,
}

/// What many partitions do not have.
#[derive(Clone, Debug)]
pub(in crate::object) struct More {
    pub producers: ProducerState,
    /// By the offset of their marker.
    pub aborted: Vec<AbortedTxn>,
    /// Those of claims; before the first it is 0.
    pub epochs: LeaderEpochs,
}

/// Nothing is known of any producer. Entries say who has expired: no time does.
pub(in crate::object) fn no_producers(
    end_offset: i64,
    verifies_transactions: bool,
) -> ProducerState {
    let mut producers = ProducerState::new(ProducerStateConfig::of_log(i64::MAX), end_offset);
    producers.verify_transactions(verifies_transactions);
    producers
}

impl PartitionState {
    pub const fn new() -> Self {
        Self {
            log_start_offset: 0,
            next_offset: 0,
            size_bytes: 0,
            runs: VecDeque::new(),
            more: None,
        }
    }

    /// Whether entries have said anything of it. If not, something was only asked.
    pub fn is_blank(&self) -> bool {
        let says_nothing = |more: &More| {
            more.producers.producers().len() == 0
                && more.aborted.is_empty()
                && more.epochs.latest().is_none()
        };
        self.next_offset == 0 && self.more.as_deref().is_none_or(says_nothing)
    }

    pub fn more(&mut self, verifies_transactions: bool) -> &mut More {
        let end_offset = self.next_offset;
        self.more.get_or_insert_with(|| {
            Box::new(More {
                producers: no_producers(end_offset, verifies_transactions),
                aborted: Vec::new(),
                epochs: LeaderEpochs::new(),
            })
        })
    }

    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    pub fn producers(&self) -> Option<&ProducerState> {
        self.more.as_deref().map(|more| &more.producers)
    }

    pub fn leader_epoch(&self) -> i32 {
        let latest = self.more.as_deref().and_then(|more| more.epochs.latest());
        latest.map_or(0, |latest| latest.epoch)
    }

    pub fn offsets(&self) -> LogOffsets {
        let unstable = self
            .producers()
            .and_then(ProducerState::first_unstable_offset);
        LogOffsets {
            log_start_offset: self.log_start_offset,
            last_stable_offset: unstable
                .unwrap_or(self.next_offset)
                .max(self.log_start_offset),
            high_watermark: self.next_offset,
            log_end_offset: self.next_offset,
        }
    }

    /// A batch was appended at the end.
    pub fn take_in(&mut self, batch: &BatchEffect, at_ms: i64, verifies_transactions: bool) {
        let header = batch.header(self.next_offset);
        self.next_offset = header.next_offset();
        if batch.producer.is_none() && self.more.is_none() {
            return;
        }
        let more = self.more(verifies_transactions);
        let marker = batch.producer.and_then(|producer| producer.marker);
        let completed = more.producers.apply(&header, marker, at_ms);
        // What is in an entry is durable.
        more.producers.on_high_watermark(header.next_offset());
        more.aborted
            .extend(completed.as_ref().and_then(AbortedTxn::of));
    }

    /// Index of the first run that holds an offset from here on.
    pub fn run_index(&self, offset: i64) -> usize {
        self.runs.partition_point(|run| run.next_offset() <= offset)
    }
}

/// A partition of a group, to be read.
#[derive(Clone, Copy)]
pub struct Partition<'a> {
    pub(super) id: PartitionId,
    pub(super) state: &'a PartitionState,
    pub(super) sources: &'a Sources,
}

impl<'a> Partition<'a> {
    pub fn id(&self) -> PartitionId {
        self.id
    }

    pub fn offsets(&self) -> LogOffsets {
        self.state.offsets()
    }

    /// Of all runs, those that reach below the log start included.
    pub fn size_bytes(&self) -> u64 {
        self.state.size_bytes
    }

    /// Raised by each claim; 0 before the first.
    pub fn leader_epoch(&self) -> i32 {
        self.state.leader_epoch()
    }

    /// The epoch of the batch at an offset: to be written into it when it is read.
    pub fn leader_epoch_at(&self, offset: i64) -> i32 {
        let epochs = self.state.more.as_deref().map(|more| &more.epochs);
        epochs
            .and_then(|epochs| epochs.epoch_for_offset(offset))
            .unwrap_or(0)
    }

    /// The epochs that begin within a run, with the offsets where they do. One that was merged may have several.
    pub(in crate::object) fn epochs_within(&self, run: &Run) -> Vec<(i64, i32)> {
        let epochs = self.state.more.as_deref().map(|more| more.epochs.entries());
        let epochs = epochs.unwrap_or_default();
        let from = epochs.partition_point(|epoch| epoch.start_offset <= run.base_offset);
        let inside = epochs[from..].iter();
        inside
            .take_while(|epoch| epoch.start_offset < run.next_offset)
            .map(|epoch| (epoch.start_offset, epoch.epoch))
            .collect()
    }

    /// The largest epoch that is not above `leader_epoch`, and where it ends.
    pub fn end_offset_for_epoch(&self, leader_epoch: i32) -> Option<(i32, i64)> {
        let end_offset = self.state.next_offset;
        let epochs = self.state.more.as_deref().map(|more| &more.epochs);
        match epochs.filter(|epochs| epochs.latest().is_some()) {
            Some(epochs) => epochs.end_offset_for(leader_epoch, end_offset),
            None => (leader_epoch == 0).then_some((0, end_offset)),
        }
    }

    /// In the order of their ids.
    pub fn producers(&self) -> Vec<ActiveProducer> {
        self.state
            .producers()
            .map(ProducerState::active)
            .unwrap_or_default()
    }

    pub fn producer_count(&self) -> usize {
        let producers = self.state.producers();
        producers.map_or(0, |producers| producers.producers().len())
    }

    /// Whether producers outside a transaction were last heard of before `active_ms`.
    pub fn has_silent_producers(&self, active_ms: i64) -> bool {
        let producers = self.state.producers();
        producers.is_some_and(|producers| !producers.silent_since(active_ms).is_empty())
    }

    /// How many transactions are open whose producers have been silent for longer than `silent_for_ms`.
    pub fn late_transactions(&self, silent_for_ms: i64, now_ms: i64) -> usize {
        let producers = self.state.producers();
        producers.map_or(0, |producers| {
            producers.late_transactions(silent_for_ms, now_ms)
        })
    }

    /// The aborted transactions that a reader of `from..end` must know.
    pub fn aborted(&self, from: i64, end: i64) -> Vec<AbortedTransaction> {
        let more = self.state.more.as_deref();
        more.map_or_else(Vec::new, |more| overlapping(&more.aborted, from, end))
    }

    /// The same with their ends, for compaction.
    pub fn aborted_txns(&self) -> &'a [AbortedTxn] {
        let more = self.state.more.as_deref();
        more.map_or(&[], |more| &more.aborted)
    }

    pub fn run_count(&self) -> usize {
        self.state.runs.len()
    }

    /// The runs that hold offsets from `from` on, in order.
    pub fn runs(&self, from: i64) -> impl ExactSizeIterator<Item = Run> + use<'a> {
        let (state, sources) = (self.state, self.sources);
        state
            .runs
            .range(state.run_index(from)..)
            .map(move |run| run.unpack(sources))
    }

    /// The runs that may hold a record with a timestamp of at least `timestamp`, in order. The first that has one at or behind
    /// the log start is the answer to a look-up by time.
    pub fn runs_with_timestamp(&self, timestamp: i64) -> impl Iterator<Item = Run> + use<'a> {
        let (state, sources) = (self.state, self.sources);
        let runs = state.runs.iter();
        runs.filter(move |run| run.max_timestamp >= timestamp)
            .map(move |run| run.unpack(sources))
    }

    /// The first run with the largest timestamp of all.
    pub fn run_of_max_timestamp(&self) -> Option<Run> {
        let newest = self.state.runs.iter().reduce(|best, run| {
            if run.max_timestamp > best.max_timestamp {
                run
            } else {
                best
            }
        });
        newest.map(|run| run.unpack(self.sources))
    }

    /// Where the log would begin if runs left it that are too old at `now_ms`, or too much. A limit of -1 is none.
    ///
    /// As in Kafka a run leaves for its size only if what stays is not less than the limit, and those that stay are without
    /// a gap. A run without timestamps is as old as the next one that has some.
    pub fn start_by_retention(&self, retention_ms: i64, retention_bytes: i64, now_ms: i64) -> i64 {
        let state = self.state;
        let mut start = state.log_start_offset;
        let mut left_bytes = state.size_bytes;
        let limit_bytes = u64::try_from(retention_bytes).ok();
        for run in &state.runs {
            left_bytes = left_bytes.saturating_sub(u64::from(run.size_bytes()));
            let is_surplus = limit_bytes.is_some_and(|limit| left_bytes >= limit);
            if !is_surplus && retention_ms < 0 {
                break;
            }
            if !is_surplus && run.max_timestamp < 0 {
                continue;
            }
            if !is_surplus && now_ms.saturating_sub(run.max_timestamp) <= retention_ms {
                break;
            }
            start = start.max(run.next_offset());
        }
        start
    }

    /// The offset of the first run that was never compacted; the end of the log if all were.
    pub fn first_dirty_offset(&self) -> i64 {
        let dirty = self.state.runs.iter().find(|run| !run.is_compacted());
        let first = dirty.map_or(self.state.next_offset, |run| run.base_offset);
        first.max(self.state.log_start_offset)
    }
}
