//! Reads: planned under the log's lock, from the tail in memory or else, off the async workers, from segments.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::scan::{Found, OffsetRule, ScanEnd, WINDOW_BYTES, read_window, scan_windows};
use super::segment::{Part, Segment};
use super::state::State;
use super::transaction_index::{AbortedTxn, overlapping};
use super::{
    FetchedRecords, Isolation, LogOffsets, ReadError, ReadRequest, TimestampOffset, TopicPartition,
    time_index, timestamp,
};
use crate::fs::{BLOCK_BYTES, Fs};
use crate::log_dir::LogDir;
use crate::record::batch::verify_crc;
use crate::wal::chunk::ChunkSlice;

/// What one cold read returns at most: as much as a buffer holds wherever the read begins in a block.
const COLD_READ_LIMIT_BYTES: usize = (1 << 20) - BLOCK_BYTES;
/// And reads at least, in the hope of a whole batch.
const WINDOW_MIN_BYTES: usize = 64 << 10;

pub(crate) enum ReadPlan {
    Ready(FetchedRecords),
    Cold(ColdRead),
}

/// A segment, and what its batches' offsets must be.
struct Span {
    segment: Arc<Segment>,
    end_offset: i64,
    may_have_gaps: bool,
}

/// A read from segments, planned.
pub(crate) struct ColdRead {
    request: ReadRequest,
    /// From the one that may hold the fetch offset on.
    segments: Vec<Span>,
    /// Exclusive; batches that begin here or later are not visible.
    end_offset: i64,
    offsets: LogOffsets,
    aborted: Vec<AbortedTxn>,
}

impl State {
    pub fn plan_read(&self, request: &ReadRequest) -> Result<ReadPlan, ReadError> {
        self.check_readable()?;
        let offsets = self.offsets();
        if request.fetch_offset < offsets.log_start_offset
            || request.fetch_offset > offsets.log_end_offset
        {
            return Err(ReadError::OffsetOutOfRange {
                fetch_offset: request.fetch_offset,
                log_start_offset: offsets.log_start_offset,
                high_watermark: offsets.high_watermark,
            });
        }
        let end_offset = self.visible_end(request.isolation);
        if request.fetch_offset >= end_offset {
            return Ok(ReadPlan::Ready(FetchedRecords {
                records: Vec::new(),
                size_bytes: 0,
                offsets,
                aborted_transactions: Vec::new(),
            }));
        }
        if let Some(first) = self.tail.front()
            && first.base_offset <= request.fetch_offset
        {
            return Ok(ReadPlan::Ready(
                self.read_tail(request, end_offset, offsets),
            ));
        }
        let first = self
            .segments
            .partition_point(|segment| segment.base_offset <= request.fetch_offset)
            .saturating_sub(1);
        Ok(ReadPlan::Cold(ColdRead {
            request: *request,
            // Compaction may have left a segment without the batch that is looked for, or without any.
            segments: self.written_spans(first).take(3).collect(),
            end_offset,
            offsets,
            aborted: match request.isolation {
                Isolation::ReadUncommitted => Vec::new(),
                Isolation::ReadCommitted => self.aborted_from(request.fetch_offset),
            },
        }))
    }

    /// The segments from one on that have files.
    fn written_spans(&self, first: usize) -> impl Iterator<Item = Span> {
        let segments = &self.segments[first..];
        let ends = segments.iter().skip(1).map(|next| next.base_offset);
        segments
            .iter()
            .zip(ends.chain([i64::MAX]))
            .filter(|(segment, _)| segment.written_bytes() > 0)
            .map(|(segment, end_offset)| Span {
                segment: Arc::clone(segment),
                end_offset,
                may_have_gaps: self.may_have_gaps,
            })
    }

    fn aborted_from(&self, offset: i64) -> Vec<AbortedTxn> {
        let first = self.aborted.partition_point(|txn| txn.last_offset < offset);
        self.aborted[first..].to_vec()
    }

    fn read_tail(
        &self,
        request: &ReadRequest,
        end_offset: i64,
        offsets: LogOffsets,
    ) -> FetchedRecords {
        let first = self
            .tail
            .partition_point(|batch| batch.last_offset < request.fetch_offset);
        let mut slices: Vec<ChunkSlice> = Vec::new();
        let mut size_bytes = 0;
        let mut next_offset = request.fetch_offset;
        for batch in self.tail.range(first..) {
            let always = size_bytes == 0 && request.at_least_one_batch;
            let fits = size_bytes + batch.bytes.len() <= request.max_bytes;
            if batch.base_offset >= end_offset || !(fits || always) {
                break;
            }
            size_bytes += batch.bytes.len();
            next_offset = batch.last_offset + 1;
            if !slices
                .last_mut()
                .is_some_and(|last| last.join(&batch.bytes))
            {
                slices.push(batch.bytes.clone());
            }
        }
        let aborted_transactions = match request.isolation {
            Isolation::ReadUncommitted => Vec::new(),
            Isolation::ReadCommitted => {
                overlapping(&self.aborted, request.fetch_offset, next_offset)
            }
        };
        FetchedRecords {
            records: slices.iter().map(ChunkSlice::to_bytes).collect(),
            size_bytes,
            offsets,
            aborted_transactions,
        }
    }

    /// Everything that a look-up by time needs.
    pub fn plan_search(&self, isolation: Isolation) -> Result<Search, ReadError> {
        self.check_readable()?;
        Ok(Search {
            segments: self.written_spans(0).collect(),
            open_from: self.open.front().map(|open| open.segment.base_offset),
            tail: self
                .tail
                .range(self.written..)
                .map(|batch| batch.bytes.clone())
                .collect(),
            from_offset: self.log_start_offset,
            end_offset: self.visible_end(isolation),
        })
    }
}

impl ColdRead {
    /// Reads whole batches from the first segment that has any from the fetch offset on.
    pub fn read(&self, dir: &LogDir, id: &TopicPartition) -> Result<FetchedRecords, ReadError> {
        let mut records: Vec<Bytes> = Vec::new();
        let size_bytes = Cell::new(0);
        let mut next_offset = self.request.fetch_offset;
        for span in &self.segments {
            let has_some = || size_bytes.get() > 0;
            self.read_segment(dir, id, span, &has_some, &mut |bytes, last_offset| {
                let fits = size_bytes.get() + bytes.len() <= self.limit_bytes();
                let always = !has_some() && self.request.at_least_one_batch;
                if !(fits || always) {
                    return ControlFlow::Break(());
                }
                size_bytes.set(size_bytes.get() + bytes.len());
                next_offset = last_offset + 1;
                records.push(bytes);
                ControlFlow::Continue(())
            })?;
            if has_some() {
                break;
            }
        }
        Ok(FetchedRecords {
            records,
            size_bytes: size_bytes.get(),
            offsets: self.offsets,
            aborted_transactions: overlapping(
                &self.aborted,
                self.request.fetch_offset,
                next_offset,
            ),
        })
    }

    /// Whether a segment was removed or replaced meanwhile.
    pub fn is_outdated(&self) -> bool {
        self.segments.iter().any(|span| span.segment.is_gone())
    }

    pub fn set_max_bytes(&mut self, max_bytes: usize) {
        self.request.max_bytes = max_bytes;
    }

    /// What the read takes at most, unless its first batch alone is larger.
    pub fn limit_bytes(&self) -> usize {
        self.request.max_bytes.min(COLD_READ_LIMIT_BYTES)
    }

    fn read_segment(
        &self,
        dir: &LogDir,
        id: &TopicPartition,
        span: &Span,
        has_some: &dyn Fn() -> bool,
        take: &mut dyn FnMut(Bytes, i64) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let failed = |error: std::io::Error| ReadError::Storage(format!("{id}: {error}"));
        let fs = &*dir.fs;
        let from_offset = self.request.fetch_offset;
        let segment = &span.segment;
        let window_bytes = self.limit_bytes().max(WINDOW_MIN_BYTES);
        let start = span.start(fs, from_offset).map_err(failed)?;
        let left = segment.written_bytes().saturating_sub(start.position);
        let reader = dir.direct_io.reader(fs, segment, left).map_err(failed)?;
        // One window has to do, if there is anything in it: what it cuts off is read with the next fetch.
        let mut window = |position, bytes| match has_some() {
            true => Ok(None),
            false => reader.read(position, bytes).map(Some),
        };
        let (mut damaged, mut read_to) = (None, None);
        let wrong = span
            .walk(start, window_bytes, &mut window, &mut |found| {
                let header = &found.header;
                if header.base_offset >= self.end_offset {
                    return ControlFlow::Break(());
                }
                if header.last_offset() < from_offset {
                    return ControlFlow::Continue(());
                }
                if let Err(error) = verify_crc(&found.bytes) {
                    damaged = Some((header.base_offset, error.to_string()));
                    return ControlFlow::Break(());
                }
                let (last_offset, end) = (header.last_offset(), found.end_position());
                take(found.bytes, last_offset)?;
                read_to = Some((last_offset + 1, end));
                ControlFlow::Continue(())
            })
            .map_err(failed)?;
        if let Some(what) = wrong {
            damaged = Some((from_offset, what));
        }
        if let Some((next_offset, position)) = read_to {
            segment.note_read(next_offset, position);
        }
        match damaged {
            Some((offset, what)) => Err(ReadError::Corrupt {
                partition: id.clone(),
                offset,
                what,
            }),
            None => Ok(()),
        }
    }
}

/// Where a walk begins, and what is known of the batch there.
#[derive(PartialEq)]
struct Start {
    position: u64,
    /// The batch begins with it, or behind it if there may be gaps.
    next: i64,
    /// What the index says of it.
    last_offset: Option<i64>,
}

impl Span {
    fn beginning(&self) -> Start {
        Start {
            position: 0,
            next: self.segment.base_offset,
            last_offset: None,
        }
    }

    /// Where to look for an offset: where the last read ended, if that was there, or what the index says.
    fn start(&self, fs: &dyn Fs, from_offset: i64) -> std::io::Result<Start> {
        if let Some(position) = self.segment.position_of_next_read(from_offset) {
            return Ok(Start {
                position,
                next: from_offset,
                last_offset: None,
            });
        }
        let entry = self.segment.entry_before(fs, from_offset)?;
        Ok(entry.map_or_else(
            || self.beginning(),
            |entry| Start {
                position: entry.position.into(),
                last_offset: Some(self.segment.base_offset + i64::from(entry.relative_offset)),
                ..self.beginning()
            },
        ))
    }

    /// Calls `visit` for the batches from `start` on; says where and how they are damaged.
    fn walk(
        &self,
        mut start: Start,
        window_bytes: usize,
        read: &mut dyn FnMut(u64, usize) -> std::io::Result<Option<Bytes>>,
        visit: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> std::io::Result<Option<String>> {
        let segment = &self.segment;
        loop {
            let from = start.position;
            let mut rule = OffsetRule {
                next: start.next,
                end: self.end_offset,
                may_have_gaps: self.may_have_gaps,
                first_last_offset: start.last_offset,
            };
            let mut wrong = None;
            let to = segment.written_bytes();
            let end = scan_windows(&mut *read, window_bytes, from, to, |found| {
                if let Err(what) = rule.check(&found.header) {
                    wrong = Some((found.position, what));
                    return ControlFlow::Break(());
                }
                visit(found)
            })?;
            if let ScanEnd::Invalid { position, error } = end {
                wrong = Some((position, error.to_string()));
            }
            match wrong {
                // It may be the index that is wrong: nothing covers it either, and the segment does without.
                Some((position, _)) if position == from && start != self.beginning() => {
                    start = self.beginning();
                }
                Some((position, what)) => {
                    let path = segment.path(Part::Log);
                    return Ok(Some(format!(
                        "{} at byte {position}: {what}",
                        path.display()
                    )));
                }
                None => return Ok(None),
            }
        }
    }
}

/// A look-up by time, planned.
pub(crate) struct Search {
    segments: Vec<Span>,
    /// Base offset of the first segment whose indexes are not complete.
    open_from: Option<i64>,
    /// What is not in a segment yet.
    tail: Vec<ChunkSlice>,
    from_offset: i64,
    /// Exclusive.
    end_offset: i64,
}

pub(crate) type SearchResult = Result<Option<TimestampOffset>, ReadError>;

impl Search {
    /// The first visible record that is not older than `timestamp`.
    pub fn first_at_or_after(
        &self,
        fs: &dyn Fs,
        id: &TopicPartition,
        timestamp: i64,
    ) -> SearchResult {
        let mut found = None;
        for span in &self.segments {
            let segment = &span.segment;
            if let Some(newest) = self.newest_in(fs, id, segment)?
                && newest < timestamp
            {
                continue;
            }
            let relative = segment
                .open(fs, Part::TimeIndex)
                .and_then(|file| time_index::lookup(&*file, timestamp))
                .map_err(|error| failed(id, &error))?;
            let from = self
                .from_offset
                .max(segment.base_offset + i64::from(relative));
            self.scan_segment(fs, id, span, from, &mut |batch| {
                found = self.in_batch(id, batch, timestamp).transpose();
                found.is_some()
            })?;
            if found.is_some() {
                break;
            }
        }
        if found.is_none() {
            self.scan_tail(&mut |batch| {
                found = self.in_batch(id, batch, timestamp).transpose();
                found.is_some()
            });
        }
        found.transpose()
    }

    /// The first visible record with the largest timestamp.
    pub fn max(&self, fs: &dyn Fs, id: &TopicPartition) -> SearchResult {
        let mut newest: Option<(i64, Bytes)> = None;
        let mut consider = |batch: &Bytes, max_timestamp: i64| {
            if newest
                .as_ref()
                .is_none_or(|(best, _)| max_timestamp > *best)
            {
                newest = Some((max_timestamp, batch.clone()));
            }
            false
        };
        for span in &self.segments {
            let segment = &span.segment;
            // Without a complete time index the whole segment has to be looked at.
            let last = segment
                .open(fs, Part::TimeIndex)
                .and_then(|file| time_index::last(&*file))
                .map_err(|error| failed(id, &error))?;
            let from = last.map_or(0, |last| last.relative_offset);
            let from = self.from_offset.max(segment.base_offset + i64::from(from));
            self.scan_segment(fs, id, span, from, &mut |batch| {
                consider(batch, max_timestamp_of(batch))
            })?;
        }
        self.scan_tail(&mut |batch| consider(batch, max_timestamp_of(batch)));
        match newest {
            Some((max_timestamp, batch)) if max_timestamp >= 0 => {
                self.in_batch(id, &batch, max_timestamp)
            }
            _ => Ok(None),
        }
    }

    /// Whether a segment was removed or replaced meanwhile.
    pub fn is_outdated(&self) -> bool {
        self.segments.iter().any(|span| span.segment.is_gone())
    }

    /// The largest timestamp of a segment, if its index is known to tell.
    fn newest_in(
        &self,
        fs: &dyn Fs,
        id: &TopicPartition,
        segment: &Arc<Segment>,
    ) -> Result<Option<i64>, ReadError> {
        if self
            .open_from
            .is_none_or(|open| segment.base_offset >= open)
        {
            return Ok(None);
        }
        let last = segment
            .open(fs, Part::TimeIndex)
            .and_then(|file| time_index::last(&*file))
            .map_err(|error| failed(id, &error))?;
        Ok(last.map(|last| last.timestamp))
    }

    /// Calls `visit` for the visible batches of a segment until it returns true.
    fn scan_segment(
        &self,
        fs: &dyn Fs,
        id: &TopicPartition,
        span: &Span,
        from_offset: i64,
        visit: &mut dyn FnMut(&Bytes) -> bool,
    ) -> Result<(), ReadError> {
        let io_failed = |error| failed(id, &error);
        let log = span.segment.open(fs, Part::Log).map_err(io_failed)?;
        let mut window = |position, bytes| read_window(&*log, position, bytes).map(Some);
        let start = span.start(fs, from_offset).map_err(io_failed)?;
        let damaged = span
            .walk(start, WINDOW_BYTES, &mut window, &mut |found| {
                if found.header.base_offset >= self.end_offset {
                    return ControlFlow::Break(());
                }
                if found.header.last_offset() < from_offset || !visit(&found.bytes) {
                    return ControlFlow::Continue(());
                }
                ControlFlow::Break(())
            })
            .map_err(io_failed)?;
        match damaged {
            Some(what) => Err(ReadError::Corrupt {
                partition: id.clone(),
                offset: from_offset,
                what,
            }),
            None => Ok(()),
        }
    }

    fn scan_tail(&self, visit: &mut dyn FnMut(&Bytes) -> bool) {
        for slice in &self.tail {
            let bytes = slice.to_bytes();
            let base_offset = crate::record::BatchHeader::parse(&bytes)
                .map_or(i64::MAX, |header| header.base_offset);
            if base_offset >= self.end_offset || visit(&bytes) {
                return;
            }
        }
    }

    fn in_batch(&self, id: &TopicPartition, batch: &Bytes, timestamp: i64) -> SearchResult {
        if max_timestamp_of(batch) < timestamp {
            return Ok(None);
        }
        timestamp::first_at_or_after(batch, timestamp, self.from_offset)
            .map_err(|error| failed(id, &error))
    }
}

fn max_timestamp_of(batch: &Bytes) -> i64 {
    crate::record::BatchHeader::parse(batch).map_or(-1, |header| header.max_timestamp)
}

fn failed(id: &TopicPartition, error: &dyn std::fmt::Display) -> ReadError {
    ReadError::Storage(format!("{id}: {error}"))
}
