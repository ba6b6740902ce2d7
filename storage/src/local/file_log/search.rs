//! Looks for a time in a log: in its segments, and in the batches that have not reached one yet.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::span::{Span, failed};
use crate::env::fs::Fs;
use crate::local::segment::scan::{WINDOW_BYTES, read_window};
use crate::local::segment::{Part, Segment, time_index};
use crate::local::wal::chunk::ChunkSlice;
use crate::log::{ReadError, TimestampOffset, TopicPartition, timestamp};
use crate::record::BatchHeader;

/// A look-up by time, planned.
pub(crate) struct Search {
    pub(super) segments: Vec<Span>,
    /// Base offset of the first segment whose indexes are not complete.
    pub(super) open_from: Option<i64>,
    /// The batches that are not in a segment yet.
    pub(super) tail: Vec<ChunkSlice>,
    pub(super) from_offset: i64,
    /// Exclusive.
    pub(super) end_offset: i64,
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
        // The last stable offset may lie within a batch, where the log begins.
        let is_visible = |found: &TimestampOffset| found.offset < self.end_offset;
        found
            .transpose()
            .map(|found: Option<_>| found.filter(is_visible))
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

    /// The first batch that is visible, with its largest timestamp.
    pub fn first(&self, fs: &dyn Fs, id: &TopicPartition) -> SearchResult {
        let mut found = None;
        for span in &self.segments {
            let from = self.from_offset.max(span.segment.base_offset);
            self.scan_segment(fs, id, span, from, &mut |batch| {
                found = BatchHeader::parse(batch).ok();
                true
            })?;
            if found.is_some() {
                break;
            }
        }
        Ok(found.map(|header| TimestampOffset {
            timestamp: header.max_timestamp,
            offset: header.base_offset,
            leader_epoch: header.partition_leader_epoch,
        }))
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
            let base_offset =
                BatchHeader::parse(&bytes).map_or(i64::MAX, |header| header.base_offset);
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
    BatchHeader::parse(batch).map_or(-1, |header| header.max_timestamp)
}
