//! Which logs to compact, and how far: LogCleanerManager in Kafka 4.

use crate::log::LogConfig;

/// A closed segment, as far as compaction has to know it before reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSummary {
    pub base_offset: i64,
    pub size_bytes: u64,
    pub offset_index_bytes: u64,
    pub time_index_bytes: u64,
    /// In ms; what `min.compaction.lag.ms` counts from.
    pub largest_timestamp: i64,
    /// Max timestamp of the first batch in ms, not positive if unknown; what `max.compaction.lag.ms` counts from.
    pub first_batch_timestamp: i64,
}

/// The offsets between which a log may be compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    pub log_start_offset: i64,
    pub last_stable_offset: i64,
    pub log_end_offset: i64,
    pub active_base_offset: i64,
}

/// How dirty a log is, and which part of it can be cleaned (Kafka's LogToClean).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogToClean {
    pub first_dirty_offset: i64,
    /// The base offset of the first segment that must not be touched.
    pub first_uncleanable_offset: i64,
    /// Of the segments that begin below the first dirty offset.
    pub clean_bytes: u64,
    /// Of the segments from the first dirty to the first uncleanable offset.
    pub cleanable_bytes: u64,
    /// For how long a record has waited beyond `max.compaction.lag.ms`.
    pub overdue_ms: i64,
    /// The checkpoint was outside of the log: it has to be set to the first dirty offset.
    pub reset_checkpoint: bool,
}

impl LogToClean {
    /// Looks at a log whose closed segments are `segments`, in order. `checkpoint` is up to where it was cleaned.
    pub fn new(
        bounds: &LogBounds,
        segments: &[SegmentSummary],
        checkpoint: Option<i64>,
        config: &LogConfig,
        now_ms: i64,
    ) -> Self {
        let checkpoint = checkpoint.unwrap_or(bounds.log_start_offset);
        let reset_checkpoint =
            checkpoint < bounds.log_start_offset || checkpoint > bounds.log_end_offset;
        let first_dirty_offset = if reset_checkpoint {
            bounds.log_start_offset
        } else {
            checkpoint
        };
        let dirty = from_offset(segments, first_dirty_offset, bounds.active_base_offset);

        // Neither undecided transactions, nor what may still be lost, nor the segment that is written to.
        let mut uncleanable = bounds.last_stable_offset.min(bounds.active_base_offset);
        if config.min_compaction_lag_ms > 0 {
            let newest_ms = now_ms.saturating_sub(config.min_compaction_lag_ms);
            let too_young = dirty
                .iter()
                .find(|segment| segment.largest_timestamp > newest_ms);
            if let Some(segment) = too_young {
                uncleanable = uncleanable.min(segment.base_offset);
            }
        }
        let uncleanable = uncleanable.max(first_dirty_offset);
        // Only whole segments are cleaned.
        let first_uncleanable_offset =
            from_offset(segments, uncleanable, bounds.active_base_offset)
                .first()
                .map_or(bounds.active_base_offset, |segment| segment.base_offset);

        let oldest_ms = dirty
            .iter()
            .map(|segment| segment.first_batch_timestamp)
            .filter(|&timestamp| timestamp > 0)
            .min()
            .unwrap_or(i64::MAX);
        let clean_until_ms = now_ms.saturating_sub(config.max_compaction_lag_ms.max(0));

        let bytes = |segments: &[SegmentSummary]| segments.iter().map(|s| s.size_bytes).sum();
        let first_cleanable = first_dirty_offset.min(first_uncleanable_offset);
        Self {
            first_dirty_offset,
            first_uncleanable_offset,
            clean_bytes: bytes(below(segments, first_dirty_offset)),
            cleanable_bytes: bytes(below(
                from_offset(segments, first_cleanable, bounds.active_base_offset),
                first_uncleanable_offset,
            )),
            overdue_ms: clean_until_ms.saturating_sub(oldest_ms).max(0),
            reset_checkpoint,
        }
    }

    /// The share of the cleanable part, between 0 and 1; 0 for a log without closed segments.
    pub fn dirty_ratio(&self) -> f64 {
        let total_bytes = self.clean_bytes + self.cleanable_bytes;
        if total_bytes == 0 {
            return 0.0;
        }
        self.cleanable_bytes as f64 / total_bytes as f64
    }

    /// Whether to clean now: for its dirty ratio, or because a record has waited too long.
    pub fn is_due(&self, config: &LogConfig) -> bool {
        self.cleanable_bytes > 0
            && (self.overdue_ms > 0 || self.dirty_ratio() > config.min_cleanable_dirty_ratio)
    }
}

/// The log to clean first: of those that are due, the one with the largest dirty ratio.
pub fn filthiest<L>(due: impl IntoIterator<Item = (L, LogToClean)>) -> Option<(L, LogToClean)> {
    due.into_iter()
        .max_by(|(_, a), (_, b)| a.dirty_ratio().total_cmp(&b.dirty_ratio()))
}

/// The segments from the one that holds `offset` on; none if that is the active one.
fn from_offset(
    segments: &[SegmentSummary],
    offset: i64,
    active_base_offset: i64,
) -> &[SegmentSummary] {
    if offset >= active_base_offset {
        return &[];
    }
    let after = segments.partition_point(|segment| segment.base_offset <= offset);
    &segments[after.saturating_sub(1)..]
}

/// The segments that begin below `offset`.
pub(super) fn below(segments: &[SegmentSummary], offset: i64) -> &[SegmentSummary] {
    &segments[..segments.partition_point(|segment| segment.base_offset < offset)]
}

/// The segments from the one that holds `offset` to the one before `end_offset`.
pub(super) fn between(
    segments: &[SegmentSummary],
    offset: i64,
    end_offset: i64,
) -> &[SegmentSummary] {
    from_offset(below(segments, end_offset), offset, end_offset)
}

/// The segments at the start of `segments` that are cleaned into one, so that segments do not become ever smaller:
/// as many as keep data, either index and the offsets within what a segment may hold, and at least one.
pub(super) fn group_len(
    segments: &[SegmentSummary],
    config: &LogConfig,
    first_uncleanable_offset: i64,
) -> usize {
    let Some(first) = segments.first() else {
        return 0;
    };
    let mut total = *first;
    let mut len = 1;
    for next in &segments[1..] {
        // Where the next segment but one begins bounds the last offset of the next without reading it.
        let end_offset = segments
            .get(len + 1)
            .map_or(first_uncleanable_offset, |after| after.base_offset);
        total.size_bytes += next.size_bytes;
        total.offset_index_bytes += next.offset_index_bytes;
        total.time_index_bytes += next.time_index_bytes;
        let fits = total.size_bytes <= config.segment_bytes
            && total.offset_index_bytes <= config.segment_index_bytes
            && total.time_index_bytes <= config.segment_index_bytes
            && (next.size_bytes == 0 || end_offset - 1 - first.base_offset <= i64::from(i32::MAX));
        if !fits {
            break;
        }
        len += 1;
    }
    len
}

#[cfg(test)]
mod tests;
