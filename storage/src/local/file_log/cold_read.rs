//! A read from segments, off the async workers.

use std::cell::Cell;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::span::{Span, Start, failed};
use crate::env::fs::BLOCK_BYTES;
use crate::local::log_dir::LogDir;
use crate::log::transaction_index::{AbortedTxn, overlapping};
use crate::log::{FetchedRecords, LogOffsets, ReadError, ReadRequest, TopicPartition};
use crate::record::batch::verify_crc;

/// The most that one cold read returns: as much as a buffer holds wherever the read begins in a block.
const COLD_READ_LIMIT_BYTES: usize = (1 << 20) - BLOCK_BYTES;
/// The least that one cold read fetches, in the hope of a whole batch.
const WINDOW_MIN_BYTES: usize = 64 << 10;

/// A read from segments, planned.
pub(crate) struct ColdRead {
    pub(super) request: ReadRequest,
    /// The first may hold the fetch offset; the others follow it.
    pub(super) segments: Vec<Span>,
    /// Exclusive; batches that begin here or later are not visible.
    pub(super) end_offset: i64,
    pub(super) offsets: LogOffsets,
    pub(super) aborted: Vec<AbortedTxn>,
}

impl ColdRead {
    /// Answers with what was read ahead, if that is enough. It takes no system call.
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
        // If something is wrong with it, the file will tell.
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
            dir.maintenance.wake();
        }
        if let Some(taken) = &taken
            && is_ahead
        {
            self.keep_rest(dir, span, taken);
        }
        Ok(taken)
    }

    /// Keeps bytes that were read and not taken, if they are enough for the next fetch.
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
        // One window has to do if there is anything in it. What it cuts off is read with the next fetch.
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
    /// Bytes that were read behind them.
    rest: Bytes,
}
