//! Reads: planned under the log's lock, from the tail in memory or else, off the async workers, from segments.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::env::fs::{BLOCK_BYTES, Fs};
use crate::local::file_log::state::State;
use crate::local::log_dir::LogDir;
use crate::local::segment::scan::{
    Found, OffsetRule, ScanEnd, WINDOW_BYTES, read_window, scan_windows,
};
use crate::local::segment::{Part, Segment, time_index};
use crate::local::wal::chunk::ChunkSlice;
use crate::log::transaction_index::{AbortedTxn, overlapping};
use crate::log::{
    FetchedRecords, Isolation, LogOffsets, ReadError, ReadRequest, TimestampOffset, TopicPartition,
    timestamp,
};
use crate::record::batch::verify_crc;

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
    /// Answers with what was read ahead, if that is enough: it takes no system call.
    pub fn read_kept(&self, dir: &LogDir, id: &TopicPartition) -> Option<FetchedRecords> {
        let span = self.segments.first()?;
        let next = self.request.fetch_offset;
        let (kept_position, kept) = dir.direct_io.read_ahead.take(&span.segment, next)?;
        let start = Start {
            position: kept_position,
            next,
            last_offset: None,
        };
        let mut window = |position: u64, bytes: usize| {
            let from = position.checked_sub(kept_position);
            let rest = from.and_then(|from| kept.get(usize::try_from(from).ok()?..));
            match rest {
                Some(rest) if bytes <= rest.len() => Ok(kept.slice_ref(rest)),
                _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
            }
        };
        // What is wrong with it, the file will tell.
        let taken = self.take(id, span, start, &mut window).ok().flatten()?;
        self.keep_rest(dir, span, &taken);
        Some(self.fetched(Some(taken)))
    }

    /// Reads whole batches from the first segment that has any from the fetch offset on.
    pub fn read(&self, dir: &LogDir, id: &TopicPartition) -> Result<FetchedRecords, ReadError> {
        for span in &self.segments {
            let taken = self.read_segment(dir, id, span)?;
            if taken.is_some() {
                return Ok(self.fetched(taken));
            }
        }
        Ok(self.fetched(None))
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

    fn window_bytes(&self) -> usize {
        self.limit_bytes().max(WINDOW_MIN_BYTES)
    }

    fn fetched(&self, taken: Option<Taken>) -> FetchedRecords {
        let next_offset = taken.as_ref().map(|taken| taken.next_offset);
        let records: Vec<Bytes> = taken.into_iter().map(|taken| taken.records).collect();
        FetchedRecords {
            size_bytes: records.iter().map(Bytes::len).sum(),
            records,
            offsets: self.offsets,
            aborted_transactions: overlapping(
                &self.aborted,
                self.request.fetch_offset,
                next_offset.unwrap_or(self.request.fetch_offset),
            ),
        }
    }

    fn read_segment(
        &self,
        dir: &LogDir,
        id: &TopicPartition,
        span: &Span,
    ) -> Result<Option<Taken>, ReadError> {
        let fs = &*dir.fs;
        let segment = &span.segment;
        let start = span
            .start(fs, self.request.fetch_offset)
            .map_err(|error| failed(id, &error))?;
        let left = segment.written_bytes().saturating_sub(start.position);
        let reader = dir
            .direct_io
            .reader(fs, segment, left)
            .map_err(|error| failed(id, &error))?;
        let window_bytes = self.window_bytes();
        let goes_on = start.goes_on();
        let mut is_ahead = false;
        let read_ahead = &dir.direct_io.read_ahead;
        let held_nothing = read_ahead.is_empty();
        let mut window = |position, bytes| {
            let left = segment.written_bytes().saturating_sub(position);
            let more_bytes = left.min(2 * bytes as u64) as usize;
            let may_read_ahead = goes_on && bytes <= window_bytes && bytes < more_bytes;
            let permit = may_read_ahead.then(|| dir.cold_reads.try_take(more_bytes));
            let Some(permit) = permit.flatten() else {
                return reader.read(position, bytes);
            };
            is_ahead = true;
            Ok(permit.hold_bytes(reader.read(position, more_bytes)?))
        };
        let taken = self.take(id, span, start, &mut window)?;
        if held_nothing && !read_ahead.is_empty() {
            // It has something to release before long.
            dir.maintenance.ring();
        }
        if let Some(taken) = &taken
            && is_ahead
        {
            self.keep_rest(dir, span, taken);
        }
        Ok(taken)
    }

    /// Keeps what was read and not taken for the next fetch, if that will be enough for it.
    fn keep_rest(&self, dir: &LogDir, span: &Span, taken: &Taken) {
        let left = span.segment.written_bytes().saturating_sub(taken.end);
        let wanted = left.min(self.window_bytes() as u64);
        if left > 0 && taken.rest.len() as u64 >= wanted {
            let read_ahead = &dir.direct_io.read_ahead;
            let now_ms = dir.clock.monotonic_ms();
            let (next_offset, end) = (taken.next_offset, taken.end);
            read_ahead.keep(&span.segment, next_offset, end, &taken.rest, now_ms);
        }
    }

    /// Takes the batches from the fetch offset on, as many as there may be, from what `read` gives.
    fn take(
        &self,
        id: &TopicPartition,
        span: &Span,
        start: Start,
        read: &mut dyn FnMut(u64, usize) -> std::io::Result<Bytes>,
    ) -> Result<Option<Taken>, ReadError> {
        let from_offset = self.request.fetch_offset;
        let size_bytes = Cell::new(0);
        let has_some = || size_bytes.get() > 0;
        // One window has to do, if there is anything in it: what it cuts off is read with the next fetch.
        let (mut window, mut window_position) = (Bytes::new(), 0);
        let mut next_window = |position, bytes| {
            if has_some() {
                return Ok(None);
            }
            window_position = position;
            window = read(position, bytes)?;
            Ok(Some(window.clone()))
        };
        let (mut damaged, mut read_to) = (None, None);
        let wrong = span
            .walk(start, self.window_bytes(), &mut next_window, &mut |found| {
                let header = &found.header;
                if header.base_offset >= self.end_offset {
                    return ControlFlow::Break(());
                }
                if header.last_offset() < from_offset {
                    return ControlFlow::Continue(());
                }
                let fits = size_bytes.get() + found.bytes.len() <= self.limit_bytes();
                let always = !has_some() && self.request.at_least_one_batch;
                if !(fits || always) {
                    return ControlFlow::Break(());
                }
                if let Err(error) = verify_crc(&found.bytes) {
                    damaged = Some((header.base_offset, error.to_string()));
                    return ControlFlow::Break(());
                }
                size_bytes.set(size_bytes.get() + found.bytes.len());
                read_to = Some((header.next_offset(), found.end_position()));
                ControlFlow::Continue(())
            })
            .map_err(|error| failed(id, &error))?;
        if let Some(what) = wrong {
            damaged = Some((from_offset, what));
        }
        if let Some((next_offset, end)) = read_to {
            span.segment.note_read(next_offset, end);
        }
        if let Some((offset, what)) = damaged {
            return Err(ReadError::Corrupt {
                partition: id.clone(),
                offset,
                what,
            });
        }
        Ok(read_to.map(|(next_offset, end)| {
            let end_in_window = (end - window_position) as usize;
            Taken {
                records: window.slice(end_in_window - size_bytes.get()..end_in_window),
                rest: window.slice(end_in_window..),
                next_offset,
                end,
            }
        }))
    }
}

/// Batches that follow each other in a segment.
struct Taken {
    records: Bytes,
    next_offset: i64,
    /// Where they end.
    end: u64,
    /// What was read behind them.
    rest: Bytes,
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

impl Start {
    /// Whether it is where the last read of the segment ended.
    fn goes_on(&self) -> bool {
        self.position > 0 && self.last_offset.is_none()
    }
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
