//! Plans reads under the log's lock: from the tail in memory, or else from segments.

use std::sync::Arc;

use super::cold_read::ColdRead;
use super::search::Search;
use super::span::Span;
use super::state::State;
use crate::local::wal::chunk::ChunkSlice;
use crate::log::transaction_index::{overlapping, reaching};
use crate::log::{FetchedRecords, Isolation, LogOffsets, ReadError, ReadRequest};
use crate::record::BatchHeader;

pub(crate) enum ReadPlan {
    Ready(FetchedRecords),
    Cold(ColdRead),
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
        let segments = self.spans_at(request.fetch_offset);
        let last_end = segments.last().map_or(0, |span| span.end_offset);
        Ok(ReadPlan::Cold(ColdRead {
            request: *request,
            segments,
            end_offset,
            offsets,
            aborted: match request.isolation {
                Isolation::ReadUncommitted => Vec::new(),
                Isolation::ReadCommitted => {
                    let end = end_offset.min(last_end);
                    reaching(&self.aborted, request.fetch_offset, end)
                        .copied()
                        .collect()
                }
            },
        }))
    }

    /// The segments that may hold an offset, or the batch that comes after it.
    fn spans_at(&self, offset: i64) -> Vec<Span> {
        let first = self
            .segments
            .partition_point(|segment| segment.base_offset <= offset)
            .saturating_sub(1);
        // Compaction may have left a segment without the batch that is looked for, or without any.
        self.written_spans(first).take(3).collect()
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

    /// The largest timestamp of the batch at an offset, `Some(None)` if there is no batch; `None`: it is in a segment.
    pub fn timestamp_in_memory(&self, offset: i64) -> Option<Option<i64>> {
        if offset >= self.high_watermark {
            return Some(None);
        }
        let first = self.tail.front()?;
        if first.base_offset > offset {
            return None;
        }
        let at = self
            .tail
            .partition_point(|batch| batch.last_offset < offset);
        let batch = self.tail.get(at)?.bytes.to_bytes();
        let header = BatchHeader::parse(&batch).ok()?;
        Some(Some(header.max_timestamp))
    }

    /// What a look-up of the batch at an offset needs.
    pub fn plan_look_at(&self, offset: i64) -> Result<Search, ReadError> {
        self.check_readable()?;
        Ok(Search {
            segments: self.spans_at(offset),
            open_from: None,
            tail: Vec::new(),
            from_offset: offset.max(self.log_start_offset),
            end_offset: self.high_watermark,
        })
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
