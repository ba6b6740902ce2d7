//! What a log on files keeps in memory, under its lock. Nothing here does I/O.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::local::loader::Loaded;
use crate::local::segment::writer::{Run, Snapshot};
use crate::local::segment::{OpenSegment, Segment};
use crate::local::wal::chunk::ChunkSlice;
use crate::local::wal::entry::WalError;
use crate::log::leader_epoch::LeaderEpochs;
use crate::log::producer_state::{ProducerState, ProducerStateConfig, snapshot};
use crate::log::transaction_index::AbortedTxn;
use crate::log::{
    AppendError, Appended, Isolation, LogConfig, LogOffsets, PendingAppend, ReadError,
};

/// Said of a log whose files could not be looked at: no descriptor or no memory was left.
const NOT_LOADED: &str = "the log could not be loaded; it is tried again";

/// How far a log is in its life.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Its files have not been looked at.
    Unloaded,
    Ready,
    /// Its files are damaged.
    Unusable(String),
    Deleted,
}

/// A durable batch that is still in memory.
#[derive(Debug)]
pub(crate) struct TailBatch {
    pub base_offset: i64,
    pub last_offset: i64,
    /// Position in the segment; 0 if the segment begins with this batch.
    pub position: u64,
    /// Bytes of the append budget, given back when the batch is in its segment.
    pub reserved_bytes: usize,
    /// Bytes that the directory had committed before it.
    pub age: u64,
    pub bytes: ChunkSlice,
}

/// A retry that waits until the batch that it repeats is durable.
struct WaitingDuplicate {
    appended: Appended,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
}

pub(crate) struct State {
    pub phase: Phase,
    pub config: Arc<LogConfig>,
    pub log_start_offset: i64,
    /// Where the log will begin once its entries in the write-ahead log are durable.
    pub next_log_start_offset: i64,
    /// Everything below is durable, and readers may see it.
    pub high_watermark: i64,
    /// The next offset to be given.
    pub log_end_offset: i64,
    pub size_bytes: u64,
    /// Offsets may be missing between batches: the log was compacted, or is not of our making.
    pub may_have_gaps: bool,
    /// Gaps lie below this offset only.
    pub gaps_below: i64,
    /// All segments, the oldest first.
    pub segments: Vec<Arc<Segment>>,
    /// Segments with base offsets in this range were to be replaced, and it is not known yet whether they were.
    pub in_doubt: Option<Range<i64>>,
    /// Segments that have left the log, but have files under their old names still.
    pub leaving: Vec<Arc<Segment>>,
    /// Segments that are not yet written to their end. Appends go to the last one.
    pub open: VecDeque<OpenSegment>,
    /// Durable batches in memory, without a gap up to the high watermark.
    pub tail: VecDeque<TailBatch>,
    /// How many batches of the tail, from its front on, are in their segment.
    pub written: usize,
    /// Bytes of the tail that are not in their segment.
    pub unwritten_bytes: u64,
    pub write_queued: bool,
    pub needs_sync: bool,
    pub listed_as_busy: bool,
    /// The last segment is to be closed like one that was rolled.
    pub finish_last: bool,
    /// The log is in the directory's list of those that know a producer.
    pub listed_with_producers: bool,
    /// Everything below is on stable media, whatever an acknowledgement of the log promises.
    pub flushed_offset: i64,
    pub producers: ProducerState,
    pub epochs: LeaderEpochs,
    pub epochs_changed: bool,
    /// All aborted transactions, by the offset of their marker.
    pub aborted: Vec<AbortedTxn>,
    /// Snapshots of producers. Each is written when everything below its offset has been.
    pub snapshots: VecDeque<Snapshot>,
    pub bytes_since_snapshot: u64,
    /// Bytes appended since the last snapshot or note.
    pub bytes_since_note: u64,
    /// When retention looks at the log again, in ms since 1970; `i64::MAX` if nothing is planned.
    pub retention_due_ms: i64,
    /// The write-ahead log knows the name of this log.
    pub declared: bool,
    /// The log's deletion is on its way to the disk: its users see it as deleted.
    pub deleting: bool,
    /// The operator knows that the log could not be loaded.
    pub told_not_loaded: bool,
    duplicates: Vec<WaitingDuplicate>,
}

impl State {
    pub fn unloaded(config: Arc<LogConfig>) -> Self {
        Self {
            phase: Phase::Unloaded,
            config,
            log_start_offset: 0,
            next_log_start_offset: 0,
            high_watermark: 0,
            log_end_offset: 0,
            size_bytes: 0,
            may_have_gaps: false,
            gaps_below: 0,
            segments: Vec::new(),
            in_doubt: None,
            leaving: Vec::new(),
            open: VecDeque::new(),
            tail: VecDeque::new(),
            written: 0,
            unwritten_bytes: 0,
            write_queued: false,
            needs_sync: false,
            listed_as_busy: false,
            finish_last: false,
            listed_with_producers: false,
            flushed_offset: 0,
            producers: ProducerState::new(ProducerStateConfig::default(), 0),
            epochs: LeaderEpochs::new(),
            epochs_changed: false,
            aborted: Vec::new(),
            snapshots: VecDeque::new(),
            bytes_since_snapshot: 0,
            bytes_since_note: 0,
            retention_due_ms: i64::MAX,
            declared: false,
            deleting: false,
            told_not_loaded: false,
            duplicates: Vec::new(),
        }
    }

    pub fn loaded(&mut self, loaded: Loaded) {
        self.phase = Phase::Ready;
        self.log_start_offset = loaded.log_start_offset;
        self.next_log_start_offset = loaded.log_start_offset;
        self.high_watermark = loaded.log_end_offset;
        self.log_end_offset = loaded.log_end_offset;
        self.size_bytes = loaded.size_bytes;
        self.may_have_gaps = loaded.may_have_gaps;
        self.gaps_below = loaded.gaps_below;
        self.segments = loaded.segments;
        self.open = loaded.open.into_iter().collect();
        self.flushed_offset = loaded.log_end_offset;
        self.producers = loaded.producers;
        self.epochs = loaded.epochs;
        self.epochs_changed = loaded.epochs_changed;
        self.aborted = loaded.aborted;
        self.bytes_since_snapshot = loaded.bytes_since_snapshot;
        self.bytes_since_note = loaded.bytes_since_snapshot;
    }

    pub fn offsets(&self) -> LogOffsets {
        let unstable = self.producers.first_unstable_offset();
        let stable = unstable.map_or(self.high_watermark, |unstable| {
            unstable.min(self.high_watermark)
        });
        LogOffsets {
            log_start_offset: self.log_start_offset,
            last_stable_offset: stable.max(self.log_start_offset),
            high_watermark: self.high_watermark,
            log_end_offset: self.log_end_offset,
        }
    }

    pub fn visible_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.offsets().last_stable_offset,
        }
    }

    /// Whether `flush.messages` or `flush.ms` ask for a sync before a batch that ends here is acknowledged.
    pub fn wants_flush(&self, next_offset: i64) -> bool {
        self.config.flush_ms == 0
            || next_offset.saturating_sub(self.flushed_offset) >= self.config.flush_messages
    }

    pub fn leader_epoch(&self) -> i32 {
        self.epochs.latest().map_or(0, |latest| latest.epoch)
    }

    pub fn check_appendable(&self) -> Result<(), AppendError> {
        match &self.phase {
            _ if self.deleting => Err(AppendError::Deleted),
            Phase::Ready => Ok(()),
            Phase::Unloaded => Err(AppendError::Storage(NOT_LOADED.to_owned())),
            Phase::Unusable(why) => Err(AppendError::Storage(why.clone())),
            Phase::Deleted => Err(AppendError::Deleted),
        }
    }

    pub fn check_readable(&self) -> Result<(), ReadError> {
        match &self.phase {
            _ if self.deleting => Err(ReadError::Deleted),
            Phase::Ready => Ok(()),
            Phase::Unloaded => Err(ReadError::Storage(NOT_LOADED.to_owned())),
            Phase::Unusable(why) => Err(ReadError::Storage(why.clone())),
            Phase::Deleted => Err(ReadError::Deleted),
        }
    }

    /// Answers the retry of a batch: at once if the original is durable, else when it is.
    pub fn answer_duplicate(&mut self, base_offset: i64, last_offset: i64) -> PendingAppend {
        let appended = Appended {
            base_offset,
            last_offset,
            log_start_offset: self.log_start_offset,
            duplicate: true,
        };
        if last_offset < self.high_watermark {
            return Box::pin(std::future::ready(Ok(appended)));
        }
        let (reply, answer) = oneshot::channel();
        self.duplicates.push(WaitingDuplicate { appended, reply });
        Box::pin(async move {
            answer.await.unwrap_or_else(|_| {
                Err(AppendError::Indeterminate(
                    "the log directory was closed".to_owned(),
                ))
            })
        })
    }

    pub fn answer_waiting_duplicates(&mut self) {
        let high_watermark = self.high_watermark;
        for waiting in self
            .duplicates
            .extract_if(.., |waiting| waiting.appended.last_offset < high_watermark)
        {
            let _ = waiting.reply.send(Ok(waiting.appended));
        }
    }

    pub fn fail_duplicates(&mut self, error: &WalError) {
        for waiting in self.duplicates.drain(..) {
            let _ = waiting
                .reply
                .send(Err(AppendError::Indeterminate(error.to_string())));
        }
    }

    /// Whether segments end below the log start, or have left the log and still have files.
    pub fn has_segments_below_start(&self) -> bool {
        let second = self.segments.get(1);
        let ends_below = second.is_some_and(|second| second.base_offset <= self.log_start_offset);
        ends_below || !self.leaving.is_empty()
    }

    /// The next batches to be written, all of them to one segment.
    pub fn next_run(&mut self, limit_bytes: u64) -> Option<Run> {
        let is_last = self.open.len() == 1;
        let open = self.open.front_mut()?;
        let mut position = open.segment.written_bytes();
        let mut end_offset = None;
        let mut batches: Vec<ChunkSlice> = Vec::new();
        let mut bytes = 0;
        for (count, batch) in self.tail.iter().skip(self.written).enumerate() {
            let length = batch.bytes.len() as u64;
            let is_other_segment =
                batch.position == 0 && batch.base_offset != open.segment.base_offset;
            if is_other_segment || (count > 0 && bytes + length > limit_bytes) {
                break;
            }
            if count == 0 {
                position = batch.position;
            }
            bytes += length;
            end_offset = Some(batch.last_offset + 1);
            if !batches
                .last_mut()
                .is_some_and(|last| last.join(&batch.bytes))
            {
                batches.push(batch.bytes.clone());
            }
        }
        let complete = position + bytes == open.bytes;
        let ends = complete && (!is_last || self.finish_last);
        if batches.is_empty() && !ends {
            return None;
        }
        let offset_entries_before = open.offset_entries - open.pending.len() as u64;
        let pending_times = open.pending.iter().filter(|entry| entry.time.is_some());
        let time_entries_before = open.time_entries - pending_times.count() as u64;
        let end_offset = end_offset.unwrap_or(open.segment.base_offset);
        let end_position = position + bytes;
        let due = open
            .pending
            .partition_point(|entry| u64::from(entry.offset.position) < end_position);
        let index = open.pending.drain(..due).collect();
        let aborted: Vec<_> = open
            .pending_aborted
            .extract_if(.., |txn| txn.last_offset < end_offset || ends)
            .collect();
        let finish = ends.then(|| open.next_time_entry());
        if ends && is_last {
            self.finish_last = false;
        }
        Some(Run {
            segment: Arc::clone(&open.segment),
            position,
            batches,
            bytes,
            end_offset,
            index,
            offset_entries_before,
            time_entries_before,
            aborted,
            finish,
        })
    }

    /// A run is in its segment; returns the bytes of the append budget that are free again.
    pub fn written(&mut self, run: &Run) -> usize {
        let mut reserved_bytes = 0;
        while let Some(batch) = self.tail.get_mut(self.written)
            && batch.last_offset < run.end_offset
        {
            reserved_bytes += std::mem::take(&mut batch.reserved_bytes);
            self.written += 1;
        }
        self.unwritten_bytes -= run.bytes;
        if run.finish.is_some()
            && self.open.len() > 1
            && let Some(closed) = self.open.pop_front()
        {
            let timestamp = closed.largest_timestamp();
            closed.segment.set_largest_timestamp(timestamp);
        }
        reserved_bytes
    }

    /// A run could not be written: its index entries are pending again.
    pub fn put_back(&mut self, run: Run) {
        if let Some(open) = self.open.front_mut() {
            for entries in run.index.into_iter().rev() {
                open.pending.push_front(entries);
            }
            let mut aborted = run.aborted;
            aborted.append(&mut open.pending_aborted);
            open.pending_aborted = aborted;
            if let Some(Some(_)) = run.finish {
                open.time_entries -= 1;
                open.last_time_entry = None;
            }
        }
    }

    /// Takes a snapshot of the producers as they are at the end of the log. It is written with the segments.
    pub fn take_snapshot(&mut self) {
        self.bytes_since_snapshot = 0;
        self.bytes_since_note = 0;
        self.snapshots.push_back(Snapshot {
            offset: self.log_end_offset,
            sidecar: snapshot::to_sidecar(&self.producers),
            kafka: Some(snapshot::to_snapshot(&self.producers)),
        });
    }

    /// Whether a snapshot of `offset` or one behind it is to be written.
    pub fn will_snapshot_from(&self, offset: i64) -> bool {
        let mut snapshots = self.snapshots.iter();
        snapshots.any(|snapshot| snapshot.kafka.is_some() && snapshot.offset >= offset)
    }

    /// The snapshots whose offset has been written.
    pub fn due_snapshots(&mut self) -> Vec<Snapshot> {
        let written_end = match self.tail.get(self.written) {
            Some(batch) => batch.base_offset,
            None => self.high_watermark,
        };
        let due = self
            .snapshots
            .partition_point(|snapshot| snapshot.offset <= written_end);
        self.snapshots.drain(..due).collect()
    }

    /// The content of the epochs' file, if it has to be written.
    pub fn changed_epochs(&mut self) -> Option<String> {
        std::mem::take(&mut self.epochs_changed).then(|| self.epochs.to_checkpoint())
    }

    /// Takes batches out of the tail that are in their segment and older than `age`.
    ///
    /// They are returned so that their memory is freed without the lock.
    pub fn drop_tail_before(&mut self, age: u64) -> Vec<TailBatch> {
        self.drop_tail_while(|batch| batch.age < age)
    }

    /// Takes batches out of the tail, from its front, that are in their segment.
    pub fn drop_tail_while(&mut self, goes: impl Fn(&TailBatch) -> bool) -> Vec<TailBatch> {
        let count = self
            .tail
            .iter()
            .take(self.written)
            .take_while(|batch| goes(batch))
            .count();
        self.written -= count;
        self.tail.drain(..count).collect()
    }

    /// Forgets everything: the log is deleted. Returns the bytes of the append budget that are free again.
    pub fn clear(&mut self) -> usize {
        let reserved_bytes = self.tail.iter().map(|batch| batch.reserved_bytes).sum();
        self.tail.clear();
        self.written = 0;
        self.unwritten_bytes = 0;
        self.open.clear();
        self.segments.clear();
        self.in_doubt = None;
        self.leaving.clear();
        self.snapshots.clear();
        self.aborted.clear();
        self.needs_sync = false;
        self.size_bytes = 0;
        self.duplicates.clear();
        reserved_bytes
    }
}
