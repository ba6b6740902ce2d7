//! Finds where a log ends, and brings the indexes of its last segment up to that.

use std::ops::ControlFlow;
use std::sync::Arc;

use uuid::Uuid;

use super::context::{LoadContext, LoadError, io_error};
use crate::env::fs;
use crate::local::segment::scan::{OffsetRule, ScanEnd, header_at, scan};
use crate::local::segment::{Incoming, OpenSegment, Part, Segment, offset_index, time_index};
use crate::record::batch::verify_crc;

/// Where the log ends: behind its last batch, and never below its durable start.
///
/// Offsets below the start have been given out, and nothing else may tell of them: the segments below the start are
/// removed, and the one behind it may not have reached the disk. Segments that end below it are no part of the log.
pub(super) fn find_end(
    context: &LoadContext<'_>,
    owner: Option<Uuid>,
    durable_start: i64,
    segments: &mut Vec<Arc<Segment>>,
    may_have_gaps: bool,
) -> Result<(Option<OpenSegment>, i64), LoadError> {
    let (mut open, mut end) = (None, 0);
    if let Some(last) = segments.last() {
        let (opened, found) = open_end(context, last, may_have_gaps)?;
        (open, end) = (Some(opened), found);
    }
    let damaged = |segments: &[Arc<Segment>], what| {
        let last = segments.last();
        Err(LoadError::Damaged {
            path: last.map_or_else(|| context.dir.to_path_buf(), |last| last.path(Part::Log)),
            position: last.map_or(0, |last| last.written_bytes()),
            what,
        })
    };
    if end < durable_start {
        let what = format!("the log ends before offset {end}, but begins at {durable_start}");
        if open.is_some() && owner.is_none() {
            // The segments were put here by hand: perhaps the start is not this log's.
            return damaged(segments, what);
        }
        tracing::info!(partition = %context.id, "{what}");
        segments.clear();
        (open, end) = (None, durable_start);
    }
    // A last batch that is missing or has a wrong offset shows nowhere else.
    match owner.and(context.closed_at) {
        Some(closed_at) if closed_at != end => {
            let what =
                format!("the log ends before offset {end}, but was closed before {closed_at}");
            damaged(segments, what)
        }
        _ => Ok((open, end)),
    }
}

/// Finds the end of the last segment and brings its indexes up to it.
pub(crate) fn open_end(
    context: &LoadContext<'_>,
    segment: &Arc<Segment>,
    may_have_gaps: bool,
) -> Result<(OpenSegment, i64), LoadError> {
    let log_path = segment.path(Part::Log);
    let (mut open, mut end_offset) = indexed_prefix(context, segment, segment.written_bytes())?;
    let log = segment
        .open(context.fs, Part::Log)
        .map_err(io_error(&log_path))?;
    let indexed = open.bytes;
    if indexed > 0 {
        // segment.ms counts from the first batch.
        let first = header_at(&*log, 0, segment.written_bytes()).map_err(io_error(&log_path))?;
        open.first_timestamp = first.map(|first| first.max_timestamp);
    }
    let mut rule = OffsetRule {
        next: end_offset,
        end: segment.base_offset.saturating_add(i64::from(i32::MAX) + 1),
        may_have_gaps,
        first_last_offset: None,
    };
    let mut damaged: Option<(u64, String)> = None;
    let end = scan(&*log, indexed, segment.written_bytes(), |found| {
        let header = &found.header;
        let mut checked = rule.check(header);
        if checked.is_ok() && context.may_cut_tail {
            checked = verify_crc(&found.bytes).map_err(|error| error.to_string());
        }
        if let Err(what) = checked {
            damaged = Some((found.position, what));
            return ControlFlow::Break(());
        }
        end_offset = header.next_offset();
        let incoming = Incoming {
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
            bytes: found.bytes.len() as u64,
        };
        open.append(&incoming, context.index_interval_bytes);
        ControlFlow::Continue(())
    })
    .map_err(io_error(&log_path))?;
    if let ScanEnd::Invalid { position, error } = end {
        damaged = Some((position, error.to_string()));
    }
    if let Some((position, what)) = damaged {
        if !context.may_cut_tail {
            return Err(LoadError::Damaged {
                path: log_path,
                position,
                what,
            });
        }
        tracing::warn!(file = %log_path.display(), position, what, "the end of a segment was never written; cut off");
        // It must be durable: what is appended from here on relies on it.
        log.set_len(position)
            .and_then(|()| log.sync_data())
            .map_err(io_error(&log_path))?;
        segment.set_written_bytes(position);
    }
    Ok((open, end_offset))
}

/// The last segment as far as its indexes describe it, up to `limit_bytes`, and the offset that follows.
///
/// What the indexes do not describe is scanned afterwards. Index files are cut to their valid entries.
fn indexed_prefix(
    context: &LoadContext<'_>,
    segment: &Arc<Segment>,
    limit_bytes: u64,
) -> Result<(OpenSegment, i64), LoadError> {
    let fs = context.fs;
    let mut open = OpenSegment::new(Arc::clone(segment), context.now_ms);
    let log_path = segment.path(Part::Log);
    let index_path = segment.path(Part::OffsetIndex);
    let bytes = fs::if_found(fs::read_all(fs, &index_path)).map_err(io_error(&index_path))?;
    let mut bytes = bytes.unwrap_or_default();
    if context.may_cut_tail {
        // What the index describes may not have been written: the whole segment is scanned.
        bytes.clear();
    }
    let (mut entries, mut last) = offset_index::valid_prefix(&bytes, limit_bytes);
    let mut last_batch = None;
    if let Some(entry) = last {
        // The entry must point at the batch that it names; else the whole index is built anew.
        let log = segment.open(fs, Part::Log).map_err(io_error(&log_path))?;
        last_batch = header_at(&*log, entry.position.into(), limit_bytes)
            .map_err(io_error(&log_path))?
            .filter(|found| {
                let relative = found.last_offset().wrapping_sub(segment.base_offset);
                relative == i64::from(entry.relative_offset)
            });
        if last_batch.is_none() {
            tracing::warn!(file = %index_path.display(), "offset index does not fit its segment; built anew");
            (entries, last) = (0, None);
        }
    }
    let end_relative = last.map_or(0, |entry| entry.relative_offset + 1);
    let time_path = segment.path(Part::TimeIndex);
    let bytes = fs::if_found(fs::read_all(fs, &time_path)).map_err(io_error(&time_path))?;
    let (time_entries, last_time) =
        time_index::valid_prefix(&bytes.unwrap_or_default(), end_relative);
    open.offset_entries = entries as u64;
    open.time_entries = time_entries as u64;
    open.last_time_entry = last_time;
    if let Some(time) = last_time {
        open.max_timestamp = time.timestamp;
        open.offset_of_max_timestamp = segment.base_offset + i64::from(time.relative_offset);
    }
    for (part, bytes) in [
        (Part::OffsetIndex, entries * offset_index::ENTRY_BYTES),
        (Part::TimeIndex, time_entries * time_index::ENTRY_BYTES),
    ] {
        let path = segment.path(part);
        let file = segment.open(fs, part).map_err(io_error(&path))?;
        if file.size_bytes().map_err(io_error(&path))? != bytes as u64 {
            file.set_len(bytes as u64).map_err(io_error(&path))?;
        }
    }
    let (Some(entry), Some(header)) = (last, last_batch) else {
        return Ok((open, segment.base_offset));
    };
    // The batch that the last entry names is described; scanning goes on behind it.
    open.bytes = u64::from(entry.position) + header.size_bytes() as u64;
    open.bytes_since_index_entry = header.size_bytes() as u64;
    if header.max_timestamp > open.max_timestamp {
        open.max_timestamp = header.max_timestamp;
        open.offset_of_max_timestamp = header.last_offset();
    }
    Ok((open, header.next_offset()))
}
