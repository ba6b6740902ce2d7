//! Removes files that a crash has left in a directory and that are no part of the log any more.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::context::{LoadContext, LoadError, io_error};
use super::producers::remove_snapshot;
use crate::env::fs::{self, Access};
use crate::local::segment::scan::{OffsetRule, ScanEnd, scan};
use crate::local::segment::{DELETED_SUFFIX, Part, Segment, offset_of};
use crate::log::transaction_index;
use crate::record::batch::verify_crc;

/// Drops the segments behind the first one that has lost something. Nobody was promised that the page cache reaches the
/// disk in order, or at all.
pub(super) fn cut_lost_segments(
    context: &LoadContext<'_>,
    segments: &mut Vec<Arc<Segment>>,
    gaps_below: i64,
) -> Result<(), LoadError> {
    let Some(first) = segments.first() else {
        return Ok(());
    };
    let known = context
        .recovery_point
        .max(context.log_start_offset.unwrap_or(0));
    let mut kept = segments.len();
    if first.base_offset > known && gaps_below == 0 {
        kept = 0;
    } else {
        let from = segments.partition_point(|segment| segment.base_offset <= known);
        for (at, pair) in segments.windows(2).enumerate().skip(from.max(1) - 1) {
            let (segment, end) = (&pair[0], pair[1].base_offset);
            let path = segment.path(Part::Log);
            let mut rule = OffsetRule {
                next: segment.base_offset,
                end,
                may_have_gaps: segment.base_offset < gaps_below,
                first_last_offset: None,
            };
            let log = segment
                .open(context.fs, Part::Log)
                .map_err(io_error(&path))?;
            let scanned = scan(&*log, 0, segment.written_bytes(), |found| {
                match rule.check(&found.header).is_ok() && verify_crc(&found.bytes).is_ok() {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            })
            .map_err(io_error(&path))?;
            if scanned != ScanEnd::Complete || !(end <= gaps_below || rule.next == end) {
                kept = at + 1;
                break;
            }
        }
    }
    for lost in segments.drain(kept..) {
        tracing::warn!(file = %lost.path(Part::Log).display(), "what comes before it was never written; removed");
    }
    Ok(())
}

/// Drops the segments below the log start whose removal had begun, and says whether a removal had.
///
/// Renames reach the disk in any order. A power cut may have kept one segment and not the next, and the producers that
/// wrote to the missing one would not be known. Segments behind the last renamed one stay: there may be no snapshot of
/// their producers. So does one of the same offset. Recovery has made it anew from the write-ahead log, and what was appended
/// since then is in no other segment.
pub(super) fn drop_removed_segments(
    log_start_offset: i64,
    names: &[String],
    segments: &mut Vec<Arc<Segment>>,
) -> bool {
    let last_renamed = names
        .iter()
        .filter_map(|name| offset_of(name.strip_suffix(DELETED_SUFFIX)?, Part::Log.suffix()))
        .filter(|base_offset| *base_offset < log_start_offset)
        .max();
    let Some(last_renamed) = last_renamed else {
        return false;
    };
    let goes = |pair: &&[Arc<Segment>]| {
        pair[0].base_offset < last_renamed && pair[1].base_offset <= log_start_offset
    };
    let below = segments.windows(2).take_while(goes).count();
    segments.drain(..below);
    true
}

/// Removes the files of segments that are no part of the log any more. The next segment of such a name would take them
/// for its own.
pub(super) fn remove_orphans(
    context: &LoadContext<'_>,
    names: &[String],
    segments: &[Arc<Segment>],
) -> Result<(), LoadError> {
    let is_orphan = |name: &&String| {
        let mut offsets = Part::ALL
            .iter()
            .filter_map(|part| offset_of(name, part.suffix()));
        offsets.any(|offset| segments.iter().all(|segment| segment.base_offset != offset))
    };
    let mut removed = false;
    for name in names.iter().filter(is_orphan) {
        let path = context.dir.join(name);
        removed |= fs::if_found(context.fs.remove_file(&path))
            .map_err(io_error(&path))?
            .is_some();
    }
    match removed {
        true => context
            .fs
            .sync_dir(context.dir)
            .map_err(io_error(context.dir)),
        false => Ok(()),
    }
}

/// Removes snapshots and aborted transactions of offsets that are not there any more.
pub(super) fn forget_lost(
    context: &LoadContext<'_>,
    last: Option<&Arc<Segment>>,
    snapshots: &mut Vec<i64>,
    log_end_offset: i64,
) -> Result<(), LoadError> {
    let lost: Vec<i64> = snapshots
        .extract_if(.., |offset| *offset > log_end_offset)
        .collect();
    for &offset in &lost {
        remove_snapshot(context, offset)?;
    }
    if !lost.is_empty() {
        let synced = context.fs.sync_dir(context.dir);
        synced.map_err(io_error(context.dir))?;
    }
    let Some(last) = last else { return Ok(()) };
    let path = last.path(Part::TransactionIndex);
    let Some(bytes) = fs::if_found(fs::read_all(context.fs, &path)).map_err(io_error(&path))?
    else {
        return Ok(());
    };
    let left = transaction_index::parse(&bytes)
        .iter()
        .filter(|txn| txn.last_offset < log_end_offset)
        .count();
    context
        .fs
        .open(&path, Access::Write)
        .and_then(|file| {
            file.set_len((left * transaction_index::ENTRY_BYTES) as u64)?;
            file.sync_data()
        })
        .map_err(io_error(&path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::segment::file_name;
    use crate::local::segment::open_files::{LogPath, OpenFiles};

    /// Which of these segments stay, if the others' logs are renamed.
    fn kept(there: &[i64], renamed: &[i64], log_start_offset: i64) -> Vec<i64> {
        let log = |offset: &i64| file_name(*offset, Part::Log.suffix());
        let names = there.iter().map(log);
        let names = names.chain(renamed.iter().map(|at| log(at) + DELETED_SUFFIX));
        let names: Vec<String> = names.collect();
        let dir = LogPath::new("topic-0".into(), &OpenFiles::new(10, Arc::default()));
        let segments = there.iter();
        let mut segments: Vec<_> = segments
            .map(|offset| Segment::new(Arc::clone(&dir), *offset, 0))
            .collect();
        let had_begun = drop_removed_segments(log_start_offset, &names, &mut segments);
        assert_eq!(had_begun, renamed.iter().any(|at| *at < log_start_offset));
        segments.iter().map(|segment| segment.base_offset).collect()
    }

    #[test]
    fn a_removal_that_was_cut_short_is_brought_to_its_end_and_takes_nothing_else() {
        assert_eq!(kept(&[10, 17], &[14], 17), [17]);
        assert_eq!(kept(&[10, 17, 19], &[14], 20), [17, 19]);
        assert_eq!(kept(&[10, 14], &[], 17), [10, 14]);
        // The last was made anew, and goes on behind what was removed.
        assert_eq!(kept(&[10, 14, 19], &[10, 14], 20), [14, 19]);
    }
}
