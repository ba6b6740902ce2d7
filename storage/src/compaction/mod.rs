//! Log compaction: a log whose topic has `cleanup.policy=compact` keeps the last record of each key.
//!
//! [`LogToClean`] says which log is due and how far it may be cleaned, and [`compact`] does it to anything that can be read
//! and replaced by segments: each engine says what its segments are. Order and offsets of records never change. The
//! semantics are Kafka's.

mod cleaner;
mod offset_map;
mod policy;
mod rate_limiter;
mod transactions;

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;

use bytes::Bytes;
use thiserror::Error;

pub use cleaner::{CleanError, CleanStats, LastRecord};
pub use policy::{LogBounds, LogToClean, SegmentSummary, filthiest};
pub use rate_limiter::RateLimiter;

use crate::log::LogConfig;
use crate::log::transaction_index::AbortedTxn;
use crate::record::BatchHeader;
use cleaner::{BatchChecker, BatchFilter, CleanContext, MapBuilder};
use offset_map::OffsetMap;

/// What compaction needs of a log. Nothing else may remove or replace closed segments meanwhile.
pub trait CompactableLog {
    /// A segment that is being written, to take the place of others.
    type Cleaned: CleanedSegment;

    /// The closed segments, in order.
    fn closed_segments(&self) -> Vec<SegmentSummary>;

    /// The batches of a closed segment, one by one and in order, from the one with `offset` or an earlier one on.
    /// What cannot be read is an error, not an end.
    fn read(
        &self,
        segment_base_offset: i64,
        offset: i64,
    ) -> io::Result<impl Iterator<Item = io::Result<Bytes>>>;

    /// The aborted transactions that have offsets in `from..end`: begun before `end`, marker at `from` or later.
    fn aborted_transactions(&self, from: i64, end: i64) -> io::Result<Vec<AbortedTxn>>;

    /// Begins a segment that will replace the one at `base_offset` and some that follow it.
    fn create_cleaned(&self, base_offset: i64) -> io::Result<Self::Cleaned>;

    /// Makes `cleaned` durable, with `aborted` as its transaction index, and lets it take the place of the segments
    /// at `replaced`. After a crash either they or it are there.
    fn replace(
        &self,
        cleaned: Self::Cleaned,
        aborted: &[AbortedTxn],
        replaced: &[i64],
    ) -> io::Result<()>;

    /// Removes a segment that will not be used.
    fn discard(&self, cleaned: Self::Cleaned) -> io::Result<()>;

    /// Whether a segment is replaced even if nothing of it goes, because only so it counts as clean.
    fn marks_clean(&self) -> bool {
        false
    }
}

/// A segment that is being written.
pub trait CleanedSegment {
    /// Appends a batch, which `header` describes; there may be a gap before it.
    fn append(&mut self, header: &BatchHeader, batch: &Bytes) -> io::Result<()>;
}

/// The broker's settings for compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionSettings {
    /// Memory of the offset map: `log.cleaner.dedupe.buffer.size`, by `log.cleaner.threads`.
    pub offset_map_bytes: usize,
    /// The most that a batch may decompress to.
    pub decompressed_limit_bytes: usize,
}

/// What became of a log.
#[derive(Debug)]
pub struct Compacted {
    /// The log is clean up to here: the next first dirty offset, for the checkpoint.
    pub clean_offset: i64,
    pub segments_before: usize,
    pub segments_after: usize,
    pub stats: CleanStats,
    /// The first batch that was kept because its records cannot be read.
    pub unreadable: Option<CleanError>,
}

/// Why a log was not compacted, or not to its end. What was replaced before the error is as good as it was.
#[derive(Debug, Error)]
pub enum CompactionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Cleaning it again would not help: Kafka calls such a partition uncleanable.
    #[error("segment {segment_base_offset}: {error}")]
    Uncleanable {
        segment_base_offset: i64,
        #[source]
        error: CleanError,
    },
    /// Rewritten batches can be larger. Positions in a segment have 31 bits.
    #[error("the cleaned segment {segment_base_offset} would be larger than 2 GiB")]
    SegmentTooLarge { segment_base_offset: i64 },
    /// To go on would lose what was not read.
    #[error(
        "segment {segment_base_offset} has {size_bytes} bytes, of which {read_bytes} were read"
    )]
    Incomplete {
        segment_base_offset: i64,
        size_bytes: u64,
        read_bytes: u64,
    },
    #[error("compaction was cancelled")]
    Cancelled,
}

/// Cleans a log: reads the dirty range for the last offset of each key, then copies what is to stay of all segments
/// up to there, and replaces them group by group.
///
/// `last_records` is what must remain of each producer that is still remembered. All of it is durable: a batch goes because
/// its producer has sent a later one, and a crash that took the later one would leave neither.
///
/// `pace` is told of the bytes read and written, batch by batch; it is the place to pause, or to break off.
///
/// # Errors
/// See [`CompactionError`]. The checkpoint must not be moved then.
pub fn compact<L: CompactableLog>(
    log: &L,
    range: &LogToClean,
    last_records: HashMap<i64, LastRecord>,
    config: &LogConfig,
    settings: CompactionSettings,
    now_ms: i64,
    mut pace: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Compacted, CompactionError> {
    let mut pace = |bytes| match pace(bytes) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(CompactionError::Cancelled),
    };
    let segments = log.closed_segments();
    let segments = policy::below(&segments, range.first_uncleanable_offset);

    let (map, map_bytes) = build_offset_map(log, segments, range, settings, &mut pace)?;
    let clean_offset = map
        .latest_offset()
        .map_or(range.first_dirty_offset, |offset| offset + 1);

    let context = CleanContext {
        now_ms,
        delete_retention_ms: config.delete_retention_ms,
        end_offset: range.first_uncleanable_offset,
        decompressed_limit_bytes: settings.decompressed_limit_bytes,
    };
    let mut filter = BatchFilter::new(&map, last_records, context);
    filter.stats.map_bytes = map_bytes;
    // Without a dirty record there is nothing to clean by.
    let to_clean = match map.latest_offset() {
        Some(_) => policy::below(segments, clean_offset),
        None => &[],
    };
    let mut segments_after = 0;
    let mut rest = to_clean;
    while !rest.is_empty() {
        let len = policy::group_len(rest, config, range.first_uncleanable_offset);
        let after = segments.get(to_clean.len() - rest.len() + len);
        let end_offset = after.map_or(range.first_uncleanable_offset, |next| next.base_offset);
        clean_group(log, &rest[..len], end_offset, &mut filter, &mut pace)?;
        rest = &rest[len..];
        segments_after += 1;
    }
    Ok(Compacted {
        clean_offset,
        segments_before: to_clean.len(),
        segments_after,
        stats: filter.stats,
        unreadable: filter.unreadable,
    })
}

fn build_offset_map<L: CompactableLog>(
    log: &L,
    segments: &[SegmentSummary],
    range: &LogToClean,
    settings: CompactionSettings,
    pace: &mut impl FnMut(usize) -> Result<(), CompactionError>,
) -> Result<(OffsetMap, u64), CompactionError> {
    let (start, end) = (range.first_dirty_offset, range.first_uncleanable_offset);
    let keys = u64::try_from(end.saturating_sub(start)).unwrap_or(0);
    let dirty = policy::between(segments, start, end);
    if dirty.is_empty() {
        return Ok((OffsetMap::new(0, 0), 0));
    }
    let mut builder = MapBuilder::new(
        OffsetMap::new(settings.offset_map_bytes, keys),
        start,
        log.aborted_transactions(start, end)?,
        settings.decompressed_limit_bytes,
    );
    let mut map_bytes = 0;
    for (at, segment) in dirty.iter().enumerate() {
        let segment_end = dirty.get(at + 1).map_or(end, |next| next.base_offset);
        let mut checker = BatchChecker::new(segment.base_offset, segment_end);
        for batch in log.read(segment.base_offset, start.max(segment.base_offset))? {
            let batch = batch?;
            pace(batch.len())?;
            map_bytes += batch.len() as u64;
            let all_fit = checker
                .check(&batch)
                .and_then(|header| builder.add(&header, &batch))
                .map_err(|error| uncleanable(segment, error))?;
            if !all_fit {
                return Ok((builder.finish(), map_bytes));
            }
        }
        builder.cover_to(segment_end);
    }
    Ok((builder.finish(), map_bytes))
}

/// Cleans segments that end before `end_offset` into one.
fn clean_group<L: CompactableLog>(
    log: &L,
    group: &[SegmentSummary],
    end_offset: i64,
    filter: &mut BatchFilter<'_>,
    pace: &mut impl FnMut(usize) -> Result<(), CompactionError>,
) -> Result<(), CompactionError> {
    let Some(first) = group.first() else {
        return Ok(());
    };
    let mut cleaned = log.create_cleaned(first.base_offset)?;
    let changed = match copy_group(log, group, end_offset, filter, &mut cleaned, pace) {
        Ok(changed) => changed,
        Err(error) => {
            if let Err(error) = log.discard(cleaned) {
                tracing::warn!(%error, "a segment that was being cleaned cannot be removed");
            }
            return Err(error);
        }
    };
    let aborted = filter.take_retained_aborted();
    if !changed && group.len() == 1 && !log.marks_clean() {
        return Ok(log.discard(cleaned)?);
    }
    let replaced: Vec<i64> = group.iter().map(|segment| segment.base_offset).collect();
    Ok(log.replace(cleaned, &aborted, &replaced)?)
}

/// Copies what is to stay, and says whether that differs from what is there.
fn copy_group<L: CompactableLog>(
    log: &L,
    group: &[SegmentSummary],
    end_offset: i64,
    filter: &mut BatchFilter<'_>,
    cleaned: &mut L::Cleaned,
    pace: &mut impl FnMut(usize) -> Result<(), CompactionError>,
) -> Result<bool, CompactionError> {
    let segment_base_offset = group[0].base_offset;
    let mut changed = false;
    let mut written_bytes = 0;
    for (at, segment) in group.iter().enumerate() {
        let segment_end = group
            .get(at + 1)
            .map_or(end_offset, |next| next.base_offset);
        filter.expect_aborted(log.aborted_transactions(segment.base_offset, segment_end)?);
        let mut checker = BatchChecker::new(segment.base_offset, segment_end);
        let mut read_bytes = 0;
        for batch in log.read(segment.base_offset, segment.base_offset)? {
            let batch = batch?;
            pace(batch.len())?;
            read_bytes += batch.len() as u64;
            let retained = checker
                .check(&batch)
                .and_then(|header| filter.filter(&header, &batch))
                .map_err(|error| uncleanable(segment, error))?;
            let Some((header, retained)) = retained else {
                changed = true;
                continue;
            };
            changed |= retained.as_ptr() != batch.as_ptr() && retained != batch;
            written_bytes += retained.len();
            if written_bytes > i32::MAX as usize {
                return Err(CompactionError::SegmentTooLarge {
                    segment_base_offset,
                });
            }
            pace(retained.len())?;
            cleaned.append(&header, &retained)?;
        }
        if read_bytes != segment.size_bytes {
            return Err(CompactionError::Incomplete {
                segment_base_offset: segment.base_offset,
                size_bytes: segment.size_bytes,
                read_bytes,
            });
        }
    }
    Ok(changed)
}

fn uncleanable(segment: &SegmentSummary, error: CleanError) -> CompactionError {
    CompactionError::Uncleanable {
        segment_base_offset: segment.base_offset,
        error,
    }
}

#[cfg(test)]
mod tests;
