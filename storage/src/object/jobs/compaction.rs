//! Compaction of logs in objects: what is due and what stays says [`crate::compaction`], as on one machine.
//!
//! Runs stand in for segments: some that follow each other are read, filtered, written to an object, and replaced by an entry.
//! How far a log is clean is told by its runs, so no checkpoint is needed, and a run that loses nothing is written anew all the
//! same. What producers have sent last is in the group's state, not in the log: no batch has to stay for their sake.
//!
//! The cleaner reads and writes as it goes, so it has a thread of its own, which waits for the stores.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::group::{Group, nameless};
use super::object_writer::{ObjectWriter, RunReader};
use super::{JobError, JobSettings, Shared, Topics};
use crate::compaction::{
    CleanedSegment, CompactableLog, CompactionError, CompactionSettings, LogBounds, LogToClean,
    RateLimiter, SegmentSummary, compact, filthiest,
};
use crate::log::LogConfig;
use crate::object::database::LogGroup;
use crate::object::entry::{AbortedTxn, PartitionId, Run};
use crate::object::group_state::{GroupState, Partition};
use crate::object::plan::{Answer, Want, Wanted};
use crate::record::BatchHeader;
use crate::record::batch::set_offset_and_epoch;

/// A log that is due, and its group.
pub(super) type Due = (LogGroup, PartitionId);

/// Runs that are cleaned together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    runs: Vec<Run>,
    bytes: u64,
}

impl Segment {
    fn base_offset(&self) -> i64 {
        self.runs[0].base_offset
    }

    fn summary(&self) -> SegmentSummary {
        let newest = self.runs.iter().map(|run| run.max_timestamp).max();
        SegmentSummary {
            base_offset: self.base_offset(),
            size_bytes: self.bytes,
            offset_index_bytes: 0,
            time_index_bytes: 0,
            largest_timestamp: newest.unwrap_or(-1),
            first_batch_timestamp: self.runs[0].max_timestamp,
        }
    }
}

/// The runs of a log as segments. None is active: what comes next is another run.
///
/// A segment is either clean or dirty, and either decided or not. And it has no more offsets than there is room for keys, or a part
/// of it would be taken for clean that was not compared.
fn segments(partition: &Partition<'_>, config: &LogConfig, settings: &JobSettings) -> Vec<Segment> {
    let limit_bytes = config.segment_bytes.min(settings.object_bytes);
    let keys = (settings.cleaner.dedupe_buffer_bytes / 32).max(1) as i64;
    let stable = partition.offsets().last_stable_offset;
    let mut segments: Vec<Segment> = Vec::new();
    for run in partition.runs(0) {
        let bytes = u64::from(run.size_bytes);
        let kind = |run: &Run| (run.is_compacted, run.next_offset <= stable);
        match segments.last_mut() {
            Some(last)
                if last.bytes + bytes <= limit_bytes
                    && kind(&last.runs[0]) == kind(&run)
                    && run.next_offset - last.base_offset() <= keys =>
            {
                last.bytes += bytes;
                last.runs.push(run);
            }
            _ => segments.push(Segment {
                runs: vec![run],
                bytes,
            }),
        }
    }
    segments
}

/// How far a log may be cleaned, if it is due at this time.
fn range(
    partition: &Partition<'_>,
    segments: &[Segment],
    config: &LogConfig,
    settings: &JobSettings,
    now_ms: i64,
) -> Option<LogToClean> {
    let offsets = partition.offsets();
    let bounds = LogBounds {
        log_start_offset: offsets.log_start_offset,
        last_stable_offset: offsets.last_stable_offset,
        log_end_offset: offsets.log_end_offset,
        active_base_offset: offsets.log_end_offset,
    };
    let summaries: Vec<_> = segments.iter().map(Segment::summary).collect();
    let dirty = Some(partition.first_dirty_offset());
    let range = LogToClean::new(&bounds, &summaries, dirty, config, now_ms);
    let is_worth_it = range.cleanable_bytes >= settings.clean_bytes || range.overdue_ms > 0;
    (is_worth_it && range.is_due(config)).then_some(range)
}

/// The log of a group to clean first.
pub(super) fn due(
    state: &GroupState,
    topics: &dyn Topics,
    settings: &JobSettings,
    now_ms: i64,
    uncleanable: &HashSet<PartitionId>,
) -> Option<PartitionId> {
    let candidates = state.partitions();
    let candidates = candidates.filter(|one| !uncleanable.contains(&one.id()));
    let due = candidates.filter_map(|one| {
        let config = topics.config(one.id()).filter(|config| config.compact)?;
        if one.first_dirty_offset() >= one.offsets().log_end_offset {
            return None;
        }
        let segments = segments(&one, &config, settings);
        let range = range(&one, &segments, &config, settings, now_ms)?;
        Some((one.id(), range))
    });
    filthiest(due).map(|(partition, _)| partition)
}

/// Cleans the logs that it is told of, one after the other.
pub(super) async fn clean_for_ever(shared: Arc<Shared>, mut due: mpsc::Receiver<Due>) {
    while let Some((group, partition)) = due.recv().await {
        match clean(&shared, group, partition).await {
            Ok(()) => {}
            Err(CleaningError::Job(error)) => shared.tell("compaction", Some(group), &error),
            Err(CleaningError::Log(CompactionError::Io(error)))
                if error.kind() != io::ErrorKind::InvalidData =>
            {
                tracing::warn!(?partition, %error, "compaction failed; it is tried again");
            }
            Err(CleaningError::Log(CompactionError::Cancelled)) => {}
            Err(CleaningError::Log(error)) => {
                tracing::error!(?partition, %error, "the log cannot be compacted");
                shared.uncleanable.lock().insert(partition);
            }
        }
    }
}

/// Why a log was not cleaned to the end.
#[derive(Debug, thiserror::Error)]
pub(super) enum CleaningError {
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Log(#[from] CompactionError),
}

/// Cleans a log if it is due.
pub(super) async fn clean(
    shared: &Arc<Shared>,
    group: LogGroup,
    partition: PartitionId,
) -> Result<(), CleaningError> {
    let job = format!("compact/{}", group.0);
    if !shared.take(&job).await? {
        return Ok(());
    }
    let group = Group::load(shared, group).await?;
    let settings = shared.settings();
    let now_ms = shared.config.clock.now_ms();
    let Some(config) = shared.config.topics.config(partition) else {
        return Ok(());
    };
    let (segments, range, aborted) = {
        let Some(one) = group.state.partition(partition) else {
            return Ok(());
        };
        let segments = segments(&one, &config, &settings);
        let Some(range) = range(&one, &segments, &config, &settings, now_ms) else {
            return Ok(());
        };
        (segments, range, one.aborted_txns().to_vec())
    };
    let log = RunsToClean {
        shared: Arc::clone(shared),
        runtime: Handle::current(),
        group: RefCell::new(group),
        partition,
        segments,
        aborted,
        job,
    };
    let rate = settings.cleaner.io_max_bytes_per_second;
    let settings = CompactionSettings {
        offset_map_bytes: settings.cleaner.dedupe_buffer_bytes,
        decompressed_limit_bytes: settings.cleaner.decompressed_limit_bytes,
    };
    let mut limiter = RateLimiter::new(rate, shared.config.clock.monotonic_ms());
    let mut cleaning = move || {
        let pace = |bytes: usize| {
            let now_ms = log.shared.config.clock.monotonic_ms();
            let pause_ms = limiter.take(bytes as u64, now_ms);
            if pause_ms > 0 {
                let pause = Duration::from_millis(pause_ms);
                log.runtime
                    .block_on(async { tokio::time::sleep(pause).await });
            }
            match log.shared.is_stopping() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        compact(
            &log,
            &range,
            HashMap::new(),
            &config,
            settings,
            now_ms,
            pace,
        )
    };
    let (done, cleaned) = oneshot::channel();
    let thread = thread::Builder::new().name("compaction".to_owned());
    let spawned = thread.spawn(move || {
        // Whoever is gone does not need it.
        let _ = done.send(cleaning());
    });
    spawned.map_err(CompactionError::Io)?;
    let panicked = |_| JobError::Damaged("the cleaner has panicked".to_owned());
    let cleaned = cleaned.await.map_err(panicked)??;
    tracing::info!(
        ?partition,
        clean_offset = cleaned.clean_offset,
        read_bytes = cleaned.stats.read_bytes,
        written_bytes = cleaned.stats.written_bytes,
        "compacted"
    );
    if let Some(error) = &cleaned.unreadable {
        tracing::warn!(
            ?partition,
            batches = cleaned.stats.unreadable_batches,
            %error,
            "records that cannot be read are kept as they are, and nothing is removed for their sake"
        );
    }
    Ok(())
}

/// A log as the cleaner sees it.
struct RunsToClean {
    shared: Arc<Shared>,
    runtime: Handle,
    group: RefCell<Group>,
    partition: PartitionId,
    segments: Vec<Segment>,
    aborted: Vec<AbortedTxn>,
    job: String,
}

/// What takes the place of runs.
struct CleanedRuns {
    writer: ObjectWriter,
    partition: PartitionId,
    runtime: Handle,
}

impl CompactableLog for RunsToClean {
    type Cleaned = CleanedRuns;

    fn closed_segments(&self) -> Vec<SegmentSummary> {
        self.segments.iter().map(Segment::summary).collect()
    }

    fn read(
        &self,
        segment_base_offset: i64,
        offset: i64,
    ) -> io::Result<impl Iterator<Item = io::Result<Bytes>>> {
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.base_offset() == segment_base_offset)
            .ok_or(io::ErrorKind::NotFound)?;
        let from = segment
            .runs
            .partition_point(|run| run.next_offset <= offset);
        let runs = &segment.runs[from.min(segment.runs.len() - 1)..];
        let mut reader = RunReader::new(&self.shared, self.group.borrow().id, runs);
        Ok(runs.iter().flat_map(move |run| {
            let read = self.runtime.block_on(reader.read(run));
            let batches = read
                .map_err(io::Error::other)
                .and_then(|bytes| self.batches(run, &bytes));
            match batches {
                Ok(batches) => batches.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            }
        }))
    }

    fn aborted_transactions(&self, from: i64, end: i64) -> io::Result<Vec<AbortedTxn>> {
        let aborted = self.aborted.iter();
        Ok(aborted
            .filter(|txn| txn.last_offset >= from && txn.first_offset < end)
            .copied()
            .collect())
    }

    fn create_cleaned(&self, _base_offset: i64) -> io::Result<CleanedRuns> {
        let writer = ObjectWriter::new(&self.shared).map_err(io::Error::other)?;
        let runtime = self.runtime.clone();
        Ok(CleanedRuns {
            writer,
            partition: self.partition,
            runtime,
        })
    }

    fn replace(
        &self,
        mut cleaned: CleanedRuns,
        aborted: &[AbortedTxn],
        replaced: &[i64],
    ) -> io::Result<()> {
        let replaced = self
            .segments
            .iter()
            .filter(|segment| replaced.contains(&segment.base_offset()));
        let wanted = [Wanted {
            partition: nameless(self.partition),
            what: Want::Replace {
                old: replaced.flat_map(|segment| segment.runs.clone()).collect(),
                new: cleaned.writer.packer.take_runs(),
                aborted: Some(aborted.to_vec()),
            },
        }];
        let group = &mut *self.group.borrow_mut();
        let answers = self.runtime.block_on(async {
            cleaned.writer.finish().await?;
            self.shared.keep(&self.job).await?;
            group.catch_up().await?;
            cleaned.writer.commit(group, &wanted).await
        });
        match answers.map_err(io::Error::other)?.pop() {
            Some(Ok(Answer::Done)) => Ok(()),
            Some(Err(error)) => Err(io::Error::other(error.to_string())),
            _ => Err(io::Error::other("its runs have changed meanwhile")),
        }
    }

    fn discard(&self, cleaned: CleanedRuns) -> io::Result<()> {
        self.runtime.block_on(cleaned.writer.give_up());
        Ok(())
    }

    fn marks_clean(&self) -> bool {
        true
    }
}

impl RunsToClean {
    /// The batches of a run, as they are served.
    fn batches(&self, run: &Run, stored: &Bytes) -> io::Result<Vec<Bytes>> {
        let group = self.group.borrow();
        let partition = group.state.partition(self.partition);
        let malformed = |what: String| {
            let what = format!("{run:?}: {what}");
            io::Error::new(io::ErrorKind::InvalidData, what)
        };
        let mut all = BytesMut::from(&stored[..]);
        let mut batches = Vec::new();
        let mut offset = run.base_offset;
        while !all.is_empty() {
            let header = BatchHeader::parse(&all).map_err(|error| malformed(error.to_string()))?;
            if header.size_bytes() > all.len() {
                return Err(malformed("a batch is cut off".to_owned()));
            }
            let mut batch = all.split_to(header.size_bytes());
            if run.is_compacted {
                offset = header.base_offset;
            }
            let epoch = partition.map_or(0, |partition| partition.leader_epoch_at(offset));
            set_offset_and_epoch(&mut batch, offset, epoch)
                .map_err(|error| malformed(error.to_string()))?;
            offset = offset.saturating_add(i64::from(header.last_offset_delta) + 1);
            batches.push(batch.freeze());
        }
        if !run.is_compacted && offset != run.next_offset {
            return Err(malformed(format!("its batches end at {offset}")));
        }
        Ok(batches)
    }
}

impl CleanedSegment for CleanedRuns {
    fn append(&mut self, header: &BatchHeader, batch: &Bytes) -> io::Result<()> {
        let run = Run {
            base_offset: header.base_offset,
            next_offset: header.next_offset(),
            size_bytes: 0,
            max_timestamp: header.max_timestamp,
            place: crate::object::entry::Place::Inline {
                seq: 0,
                position: 0,
            },
            is_compacted: true,
        };
        let pushed = self
            .runtime
            .block_on(self.writer.push(self.partition, &run, batch));
        pushed.map_err(io::Error::other)
    }
}
