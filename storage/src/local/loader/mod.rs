//! Finds out what is in a log's directory, when the log is first used.

mod context;
mod directory;
mod end;
pub(crate) mod gaps;
mod lost;
mod producers;

use std::sync::Arc;

use context::io_error;
pub(crate) use context::{LoadContext, LoadError, Loaded};
use directory::Directory;
use end::find_end;
pub(crate) use end::open_end;
use producers::{newest_snapshot, replay_producers, write_snapshot, write_transaction_indexes};

use crate::env::fs::{self, Access};
use crate::local::owner::METADATA_FILE;
use crate::local::segment::writer::epochs_path;
use crate::local::segment::{OpenSegment, Part, Segment, path};
use crate::local::text_files::partition_metadata;
use crate::log::leader_epoch::LeaderEpochs;
use crate::log::transaction_index::{self, AbortedTxn};

/// Reads a log's directory. One that is not there is an empty log.
pub(crate) fn load(context: &LoadContext<'_>) -> Result<Loaded, LoadError> {
    let directory = Directory::look_at(context)?;
    let Extent {
        segments,
        open,
        log_end_offset,
    } = find_segments(context, &directory)?;
    let first_offset = segments
        .first()
        .map_or(log_end_offset, |first| first.base_offset);
    let durable_start = directory.durable_start;
    let gaps_below = match directory.is_foreign {
        // What is appended from here on is ours, and has no gaps.
        true => log_end_offset,
        false => directory.gaps_below,
    };
    let mut aborted = read_transaction_indexes(context, &directory, &segments)?;
    let mut snapshots = directory.snapshots();
    if context.may_cut_tail {
        // What lies behind the end was lost. Other batches may have those offsets soon.
        aborted.retain(|txn| txn.last_offset < log_end_offset);
        lost::forget_lost(context, segments.last(), &mut snapshots, log_end_offset)?;
    }
    // A snapshot may have reached the disk without the index of the transactions before it. Behind what is durable the
    // batches say what was aborted. Below the log start nobody asks for that, and the batches may be gone.
    let trusted_end = match context.may_cut_tail {
        true => context
            .recovery_point
            .max(gaps_below)
            .max(durable_start)
            .min(log_end_offset),
        false => log_end_offset,
    };
    let (producers, notes) = newest_snapshot(context, &mut snapshots, first_offset, trusted_end)?;
    let mut loaded = Loaded {
        producers,
        size_bytes: segments.iter().map(|segment| segment.written_bytes()).sum(),
        segments,
        open,
        log_start_offset: durable_start.clamp(first_offset, log_end_offset.max(first_offset)),
        log_end_offset,
        may_have_gaps: directory.gaps_below > 0,
        gaps_below,
        epochs: read_epochs(context)?,
        epochs_changed: false,
        aborted,
        snapshots,
        notes,
        bytes_since_snapshot: 0,
        left_over: directory.left_over(context),
        has_files: !directory.names.is_empty(),
        was_anothers: directory.was_anothers,
    };
    loaded.epochs_changed = loaded.epochs.truncate_from_end(log_end_offset + 1);
    bring_up(context, &directory, &mut loaded)?;
    for segment in &loaded.segments {
        segment.close();
    }
    Ok(loaded)
}

/// The segments that are part of the log, the last of them open, and where the log ends.
struct Extent {
    segments: Vec<Arc<Segment>>,
    open: Option<OpenSegment>,
    log_end_offset: i64,
}

/// Finds the segments of the log. What a crash has left of others is removed.
fn find_segments(context: &LoadContext<'_>, directory: &Directory) -> Result<Extent, LoadError> {
    let mut segments = Vec::new();
    for base_offset in directory.offsets(Part::Log) {
        let path = path(context.dir, base_offset, Part::Log);
        let bytes = context
            .fs
            .open(&path, Access::Read)
            .and_then(|file| file.size_bytes())
            .map_err(io_error(&path))?;
        segments.push(Segment::new(Arc::clone(context.dir), base_offset, bytes));
    }
    let names = &directory.names;
    let log_start_offset = context.log_start_offset.unwrap_or(0);
    let removal_has_begun = lost::drop_removed_segments(log_start_offset, names, &mut segments);
    if context.may_cut_tail {
        lost::cut_lost_segments(context, &mut segments, directory.gaps_below)?;
    }
    let found = segments.len();
    let (open, log_end_offset) = find_end(
        context,
        directory.owner,
        directory.durable_start,
        &mut segments,
        directory.gaps_below > 0,
    )?;
    if removal_has_begun || context.may_cut_tail || segments.len() < found {
        lost::remove_orphans(context, names, &segments)?;
    }
    Ok(Extent {
        segments,
        open,
        log_end_offset,
    })
}

fn read_transaction_indexes(
    context: &LoadContext<'_>,
    directory: &Directory,
    segments: &[Arc<Segment>],
) -> Result<Vec<AbortedTxn>, LoadError> {
    let mut aborted = Vec::new();
    let is_there = |base: &i64| segments.iter().any(|segment| segment.base_offset == *base);
    for base_offset in directory.offsets(Part::TransactionIndex).filter(is_there) {
        let path = path(context.dir, base_offset, Part::TransactionIndex);
        let bytes = fs::read_all(context.fs, &path).map_err(io_error(&path))?;
        aborted.extend(transaction_index::parse(&bytes));
    }
    Ok(aborted)
}

/// Takes in what was appended behind the newest snapshot, and brings the files up to it.
fn bring_up(
    context: &LoadContext<'_>,
    directory: &Directory,
    loaded: &mut Loaded,
) -> Result<(), LoadError> {
    let known = loaded.aborted.len();
    let snapshot_offset = loaded.producers.end_offset();
    replay_producers(context, loaded)?;
    // An entry that is appended to an index is found only if all entries before it are in order.
    let from = match loaded.aborted.len() == known {
        true => loaded.segments.len().saturating_sub(1),
        false => 0,
    };
    write_transaction_indexes(context, loaded, from)?;
    loaded.producers.on_high_watermark(loaded.log_end_offset);
    let Some(last) = loaded.segments.last() else {
        return Ok(());
    };
    let is_behind_snapshot = last.base_offset > snapshot_offset;
    if context.may_have_shrunk {
        begin_epoch(context, loaded)?;
    }
    if directory.is_foreign {
        adopt(context, loaded)?;
    } else if directory.owner.is_none() {
        write_owner(context)?;
    }
    if is_behind_snapshot {
        // Compaction may take markers out of a closed segment. A later start must not begin with a snapshot from before
        // that segment, in which the transactions of those markers are open.
        write_snapshot(context, loaded)?;
    }
    Ok(())
}

fn read_epochs(context: &LoadContext<'_>) -> Result<LeaderEpochs, LoadError> {
    let path = epochs_path(context.dir);
    let bytes = fs::if_found(fs::read_all(context.fs, &path)).map_err(io_error(&path))?;
    let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
    LeaderEpochs::from_checkpoint(&text).map_err(|error| LoadError::Damaged {
        path,
        position: 0,
        what: error.to_string(),
    })
}

/// Begins a leader epoch, durably, before anything is appended. Offsets that readers have seen may be given again, and
/// readers find that out by the epoch (KIP-320).
fn begin_epoch(context: &LoadContext<'_>, loaded: &mut Loaded) -> Result<(), LoadError> {
    let latest = loaded.epochs.latest().map_or(0, |latest| latest.epoch);
    let epoch = latest.saturating_add(1);
    loaded.epochs.assign(epoch, loaded.log_end_offset);
    let path = epochs_path(context.dir);
    let text = loaded.epochs.to_checkpoint();
    fs::replace(context.fs, &path, text.as_bytes()).map_err(io_error(&path))
}

/// Makes a directory without `partition.metadata` this log's own. It was another broker's and was put here by hand.
///
/// The other broker has given out producer ids from the same numbers as this one. So its producers are forgotten:
/// otherwise a new producer with such an id would be taken for the old one, and its batches for duplicates. Only open
/// transactions are kept, as they were. The snapshot that says so is durable before the directory has an owner, so that
/// after a crash in between it is adopted again.
fn adopt(context: &LoadContext<'_>, loaded: &mut Loaded) -> Result<(), LoadError> {
    loaded.producers.forget_idle();
    let offset = loaded.log_end_offset;
    for open in loaded.producers.producers() {
        tracing::warn!(
            partition = %context.id,
            producer_id = open.producer_id,
            first_offset = open.current_txn_first_offset,
            "a transaction was left open: read_committed consumers do not get past it"
        );
    }
    gaps::note_gaps(context.fs, context.dir, offset).map_err(io_error(context.dir))?;
    write_snapshot(context, loaded)?;
    write_owner(context)?;
    tracing::info!(
        partition = %context.id,
        log_start_offset = loaded.log_start_offset,
        log_end_offset = offset,
        "adopted a directory without an owner"
    );
    Ok(())
}

fn write_owner(context: &LoadContext<'_>) -> Result<(), LoadError> {
    let path = context.dir.join(METADATA_FILE);
    let text = partition_metadata(context.id.topic_id);
    fs::replace(context.fs, &path, text.as_bytes()).map_err(io_error(&path))
}
