//! Finds out what is in a log's directory, when the log is first used.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::fs::{self, Access, Fs};
use crate::env::random::new_uuid;
use crate::local::compaction::swap;
use crate::local::segment::open_files::LogPath;
use crate::local::segment::scan::{Found, OffsetRule, ScanEnd, header_at, scan};
use crate::local::segment::writer::{
    METADATA_FILE, NOTES, SIDECAR_SUFFIX, SNAPSHOT_SUFFIX, epochs_path,
};
use crate::local::segment::{Incoming, OpenSegment, Part, Segment, file_name, offset_of, path};
use crate::local::segment::{offset_index, time_index};
use crate::local::text_files::{partition_metadata, topic_id_of};
use crate::log::TopicPartition;
use crate::log::leader_epoch::LeaderEpochs;
use crate::log::producer_state::{ProducerState, ProducerStateConfig, snapshot};
use crate::log::transaction_index::{self, AbortedTxn};
use crate::record::EndTxnMarker;
use crate::record::batch::verify_crc;

/// Of the files of a segment that is no longer part of its log.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";

/// In the directory of a log in which offsets may be missing: below which one. Nothing that Kafka would look at.
const GAPS_FILE: &str = "offset-gaps";

/// Notes durably below which offset some may be missing from now on.
pub(crate) fn note_gaps(fs: &dyn Fs, dir: &Path, gaps_below: i64) -> io::Result<()> {
    fs::replace(fs, &dir.join(GAPS_FILE), gaps_below.to_string().as_bytes())
}

/// Below which offset some may be missing. What cannot be read may mean any.
fn read_gaps(fs: &dyn Fs, dir: &Path) -> Result<i64, LoadError> {
    let path = dir.join(GAPS_FILE);
    let bytes = fs::if_found(fs::read_all(fs, &path)).map_err(io_error(&path))?;
    let text = bytes.map(String::from_utf8);
    Ok(text.map_or(0, |text| {
        text.ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(i64::MAX)
    }))
}

/// A log as it was found.
pub(crate) struct Loaded {
    /// All segments; the last is `open`.
    pub segments: Vec<Arc<Segment>>,
    pub open: Option<OpenSegment>,
    pub log_start_offset: i64,
    pub log_end_offset: i64,
    pub size_bytes: u64,
    pub may_have_gaps: bool,
    /// Only below are there gaps.
    pub gaps_below: i64,
    pub producers: ProducerState,
    pub epochs: LeaderEpochs,
    /// The epochs are not in their file yet.
    pub epochs_changed: bool,
    pub aborted: Vec<AbortedTxn>,
    pub snapshots: Vec<i64>,
    /// Of which offset each note is.
    pub notes: [Option<i64>; 2],
    /// What was read behind the newest of them.
    pub bytes_since_snapshot: u64,
    /// Files of segments that were deleted before.
    pub left_over: Vec<PathBuf>,
    /// What else is known by this name is of another topic, whose directory was set aside.
    pub was_anothers: bool,
}

/// Why a log cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is damaged at byte {position}: {what}", .path.display())]
    Damaged {
        path: PathBuf,
        position: u64,
        what: String,
    },
}

impl LoadError {
    /// It may be well another time.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if fs::is_passing(source))
    }
}

/// What decides how a directory is read.
pub(crate) struct LoadContext<'a> {
    pub fs: &'a dyn Fs,
    pub id: &'a TopicPartition,
    pub dir: &'a Arc<LogPath>,
    pub index_interval_bytes: u64,
    pub now_ms: i64,
    pub producer_id_expiration_ms: i64,
    /// From the checkpoint of log start offsets.
    pub log_start_offset: Option<i64>,
    /// Bytes at the end may never have reached the disk: what is not whole is cut off.
    pub may_cut_tail: bool,
    /// Up to where the segments are known to be on stable media.
    pub recovery_point: i64,
    /// What readers have seen may be gone: their promise was the page cache, and the last shutdown was not orderly.
    pub may_have_shrunk: bool,
    /// Where the log ended when it was closed in order, if nothing has happened to it since.
    pub closed_at: Option<i64>,
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> LoadError + '_ {
    |source| LoadError::Io {
        path: path.to_owned(),
        source,
    }
}

pub(crate) fn producer_config(producer_id_expiration_ms: i64) -> ProducerStateConfig {
    ProducerStateConfig {
        producer_id_expiration_ms,
        // The coordinator checks that a partition was added to a transaction before it lets data in.
        transaction_verification_enabled: false,
        ..ProducerStateConfig::default()
    }
}

/// Reads a log's directory. One that is not there is an empty log.
pub(crate) fn load(context: &LoadContext<'_>) -> Result<Loaded, LoadError> {
    let (fs, dir) = (context.fs, &**context.dir);
    let mut names: Vec<String> = fs::if_found(fs.list(dir))
        .map_err(io_error(dir))?
        .unwrap_or_default()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    let replacing = [swap::CLEANED, swap::SWAP];
    if names
        .iter()
        .any(|name| replacing.iter().any(|suffix| name.ends_with(suffix)))
    {
        // The process ended while segments were replaced.
        swap::recover(fs, dir).map_err(io_error(dir))?;
        let entries = fs.list(dir).map_err(io_error(dir))?;
        names = entries.into_iter().map(|entry| entry.name).collect();
    }
    let mut owner = None;
    let mut was_anothers = false;
    let mut durable_start = context.log_start_offset.unwrap_or(0);
    if !names.is_empty() {
        owner = owner_of(fs, dir).map_err(io_error(dir))?;
        let is_anothers = owner.is_some_and(|owner| owner != context.id.topic_id);
        // After a crash nobody can tell whose it is without a name tag: it may be an earlier topic's. Nothing in it was
        // part of a checkpoint, which makes the tag durable first.
        if is_anothers || (owner.is_none() && context.may_cut_tail) {
            set_aside(fs, dir)?;
            names.clear();
        }
        was_anothers = is_anothers;
        if is_anothers {
            // What is known by this name is of the other topic: this one would have its tag in the directory.
            (owner, durable_start) = (None, 0);
        }
    }
    let has_tag = names.iter().any(|name| name == METADATA_FILE);
    let is_foreign = !names.is_empty() && !has_tag;
    let mut gaps_below = match is_foreign {
        true => i64::MAX,
        false => read_gaps(fs, dir)?,
    };
    let may_have_gaps = gaps_below > 0;
    names.sort_unstable();
    let offsets = |part: Part| {
        names
            .iter()
            .filter_map(move |name| offset_of(name, part.suffix()))
    };
    let mut segments = Vec::new();
    for base_offset in offsets(Part::Log) {
        let path = path(dir, base_offset, Part::Log);
        let bytes = fs
            .open(&path, Access::Read)
            .and_then(|file| file.size_bytes())
            .map_err(io_error(&path))?;
        segments.push(Segment::new(Arc::clone(context.dir), base_offset, bytes));
    }
    let removal_has_begun = drop_removed_segments(context, &names, &mut segments);
    if context.may_cut_tail {
        cut_lost_segments(context, &mut segments, gaps_below)?;
    }
    let found = segments.len();
    let (open, log_end_offset) =
        find_end(context, owner, durable_start, &mut segments, may_have_gaps)?;
    if removal_has_begun || context.may_cut_tail || segments.len() < found {
        remove_orphans(context, &names, &segments)?;
    }
    let size_bytes = segments.iter().map(|segment| segment.written_bytes()).sum();
    let mut aborted = Vec::new();
    let is_there = |base: &i64| segments.iter().any(|segment| segment.base_offset == *base);
    for base_offset in offsets(Part::TransactionIndex).filter(is_there) {
        let path = path(dir, base_offset, Part::TransactionIndex);
        let bytes = fs::read_all(fs, &path).map_err(io_error(&path))?;
        aborted.extend(transaction_index::parse(&bytes));
    }
    if is_foreign {
        // What is appended from here on is ours.
        gaps_below = log_end_offset;
    }
    let first_offset = segments
        .first()
        .map_or(log_end_offset, |first| first.base_offset);
    let log_start_offset = durable_start.clamp(first_offset, log_end_offset.max(first_offset));

    let left_over = names
        .iter()
        .filter(|name| name.ends_with(DELETED_SUFFIX))
        .map(|name| dir.join(name))
        .collect();
    let mut snapshots: Vec<i64> = names
        .iter()
        .filter_map(|name| offset_of(name, SNAPSHOT_SUFFIX))
        .collect();
    if context.may_cut_tail {
        // What they tell of was lost; other batches may have these offsets soon.
        aborted.retain(|txn: &AbortedTxn| txn.last_offset < log_end_offset);
        forget_lost(context, segments.last(), &mut snapshots, log_end_offset)?;
    }
    // A snapshot may have reached the disk, and an index of the transactions before it not: from what is durable on, the
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
        segments,
        open,
        log_start_offset,
        log_end_offset,
        size_bytes,
        may_have_gaps,
        gaps_below,
        epochs: read_epochs(context)?,
        epochs_changed: false,
        aborted,
        snapshots,
        notes,
        bytes_since_snapshot: 0,
        left_over,
        was_anothers,
    };
    loaded.epochs_changed = loaded.epochs.truncate_from_end(log_end_offset + 1);
    let known = loaded.aborted.len();
    let snapshot_offset = loaded.producers.end_offset();
    replay_producers(context, &mut loaded)?;
    // What is appended to an index is found only if all before it is in order.
    let from = match loaded.aborted.len() == known {
        true => loaded.segments.len().saturating_sub(1),
        false => 0,
    };
    write_transaction_indexes(context, &loaded, from)?;
    loaded.producers.on_high_watermark(log_end_offset);
    if context.may_have_shrunk && !loaded.segments.is_empty() {
        begin_epoch(context, &mut loaded)?;
    }
    if is_foreign && !loaded.segments.is_empty() {
        adopt(context, &mut loaded)?;
    } else if owner.is_none() && !loaded.segments.is_empty() {
        write_owner(context)?;
    }
    let last = loaded.segments.last();
    if last.is_some_and(|last| last.base_offset > snapshot_offset) {
        // Compaction may take markers out of a closed segment: a snapshot from before it, in which their transactions
        // are open, must not be what a later start begins with.
        write_snapshot(context, &mut loaded)?;
    }
    for segment in &loaded.segments {
        segment.close();
    }
    Ok(loaded)
}

/// Begins a leader epoch, durably, before anything is appended: offsets that readers have seen may be given again, and
/// by the epoch they find out (KIP-320).
fn begin_epoch(context: &LoadContext<'_>, loaded: &mut Loaded) -> Result<(), LoadError> {
    let latest = loaded.epochs.latest().map_or(0, |latest| latest.epoch);
    let epoch = latest.saturating_add(1);
    loaded.epochs.assign(epoch, loaded.log_end_offset);
    let path = epochs_path(context.dir);
    let text = loaded.epochs.to_checkpoint();
    fs::replace(context.fs, &path, text.as_bytes()).map_err(io_error(&path))
}

/// Makes a directory without `partition.metadata` this log's own: another broker's, put here by hand.
///
/// The other broker has given out producer ids as this one does, from the same numbers: its producers
/// are forgotten, or a new one with such an id would be taken for it, and its batches for duplicates.
/// Only open transactions are kept, as they were. The snapshot that says so is durable before the
/// directory has an owner, so that a crash in between adopts it again.
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
    note_gaps(context.fs, context.dir, offset).map_err(io_error(context.dir))?;
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

/// Writes the snapshot of the producers as of the end of the log, durably.
fn write_snapshot(context: &LoadContext<'_>, loaded: &mut Loaded) -> Result<(), LoadError> {
    let offset = loaded.log_end_offset;
    for (suffix, bytes) in [
        (SNAPSHOT_SUFFIX, snapshot::to_snapshot(&loaded.producers)),
        (SIDECAR_SUFFIX, snapshot::to_sidecar(&loaded.producers)),
    ] {
        let path = context.dir.join(file_name(offset, suffix));
        fs::replace(context.fs, &path, &bytes).map_err(io_error(&path))?;
    }
    if !loaded.snapshots.contains(&offset) {
        loaded.snapshots.push(offset);
    }
    loaded.bytes_since_snapshot = 0;
    Ok(())
}

/// The topic id in a log's directory; `None` if it has none.
pub(crate) fn owner_of(fs: &dyn Fs, dir: &Path) -> io::Result<Option<uuid::Uuid>> {
    let bytes = fs::if_found(fs::read_all(fs, &dir.join(METADATA_FILE)))?;
    Ok(bytes
        .as_deref()
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(topic_id_of))
}

/// Moves the directory of an earlier topic with the same name out of the way. It stays on disk.
pub(crate) fn set_aside(fs: &dyn Fs, dir: &Path) -> Result<(), LoadError> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{name}.{}-stray", new_uuid().simple());
    tracing::warn!(
        directory = %dir.display(),
        moved_to = name,
        "the directory belongs to another topic of this name and is set aside; to serve it, stop the \
         broker, remove partition.metadata from it, and give it its name back"
    );
    fs.rename(dir, &dir.with_file_name(name))
        .map_err(io_error(dir))
}

fn write_owner(context: &LoadContext<'_>) -> Result<(), LoadError> {
    let path = context.dir.join(METADATA_FILE);
    let text = partition_metadata(context.id.topic_id);
    fs::replace(context.fs, &path, text.as_bytes()).map_err(io_error(&path))
}

/// Drops the segments behind the first that has lost a part of what was written to it: nobody was promised that the
/// page cache reaches the disk in order, or at all.
fn cut_lost_segments(
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

/// Drops the segments below the log start whose removal had begun, and says whether there were any. Renames reach the disk
/// in any order: a power cut may have kept one segment and not the next, and what producers wrote to that would be missing
/// from what they are known by. Those behind the last that was renamed stay: there may be no snapshot of their producers.
fn drop_removed_segments(
    context: &LoadContext<'_>,
    names: &[String],
    segments: &mut Vec<Arc<Segment>>,
) -> bool {
    let log_start_offset = context.log_start_offset.unwrap_or(0);
    let last_renamed = names
        .iter()
        .filter_map(|name| offset_of(name.strip_suffix(DELETED_SUFFIX)?, Part::Log.suffix()))
        .filter(|base_offset| *base_offset < log_start_offset)
        .max();
    let Some(last_renamed) = last_renamed else {
        return false;
    };
    let goes = |pair: &&[Arc<Segment>]| {
        pair[0].base_offset <= last_renamed && pair[1].base_offset <= log_start_offset
    };
    let below = segments.windows(2).take_while(goes).count();
    segments.drain(..below);
    true
}

/// Removes the files of segments that are not part of the log any more: the next one of that name would take them for
/// its own.
fn remove_orphans(
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
fn forget_lost(
    context: &LoadContext<'_>,
    last: Option<&Arc<Segment>>,
    snapshots: &mut Vec<i64>,
    log_end_offset: i64,
) -> Result<(), LoadError> {
    let lost: Vec<i64> = snapshots
        .extract_if(.., |offset| *offset > log_end_offset)
        .collect();
    for &offset in &lost {
        for suffix in [SNAPSHOT_SUFFIX, SIDECAR_SUFFIX] {
            let path = context.dir.join(file_name(offset, suffix));
            fs::if_found(context.fs.remove_file(&path)).map_err(io_error(&path))?;
        }
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

/// Where the log ends: behind its last batch, and never below its durable start.
///
/// Offsets below the start have been given out, and nothing else may tell of them: the segments below it are removed, and
/// the one behind it may not have reached the disk. Segments that end below it are no longer part of the log.
fn find_end(
    context: &LoadContext<'_>,
    owner: Option<uuid::Uuid>,
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
            // Put here by hand: perhaps the start is not this log's.
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
        // Durably: what is appended from here on relies on it.
        log.set_len(position)
            .and_then(|()| log.sync_data())
            .map_err(io_error(&log_path))?;
        segment.set_written_bytes(position);
    }
    Ok((open, end_offset))
}

/// The last segment as far as its indexes describe it, cut off at `limit_bytes`; and the offset that follows.
///
/// What the indexes do not describe is scanned afterwards. Index files are cut to what is valid of them.
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
        // What it describes may not have been written: the whole segment is looked at.
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

/// The producers as of the newest snapshot or note that can be read; without one, none as of the first offset. And what
/// offsets the notes are of. A newer snapshot that cannot be read is taken out of `snapshots`.
fn newest_snapshot(
    context: &LoadContext<'_>,
    snapshots: &mut Vec<i64>,
    first_offset: i64,
    log_end_offset: i64,
) -> Result<(ProducerState, [Option<i64>; 2]), LoadError> {
    let producer_config = || producer_config(context.producer_id_expiration_ms);
    let read = |path: &Path| match fs::read_all(context.fs, path) {
        // It is there, and what an older one says instead may be wrong: compaction may have removed how transactions ended.
        Err(error) if fs::is_passing(&error) => Err(io_error(path)(error)),
        other => Ok(other.ok()),
    };
    let read_sidecar = |path: &Path| -> Result<Option<ProducerState>, LoadError> {
        let parse =
            |bytes: Vec<u8>| snapshot::from_sidecar(&bytes, producer_config(), context.now_ms).ok();
        Ok(read(path)?.and_then(parse))
    };
    let mut newest: Option<ProducerState> = None;
    let mut notes = [None; 2];
    for (note, name) in notes.iter_mut().zip(NOTES) {
        let path = context.dir.join(name);
        let Some(state) = read_sidecar(&path)? else {
            continue;
        };
        let end_offset = state.end_offset();
        if end_offset > log_end_offset {
            // What is appended from here on may be something else.
            fs::if_found(context.fs.remove_file(&path))
                .and_then(|_| context.fs.sync_dir(context.dir))
                .map_err(io_error(&path))?;
            continue;
        }
        *note = Some(end_offset);
        let noted = newest
            .as_ref()
            .map_or(first_offset, ProducerState::end_offset);
        if end_offset >= noted {
            newest = Some(state);
        }
    }
    for at in (0..snapshots.len()).rev() {
        let offset = snapshots[at];
        if offset > log_end_offset || offset < first_offset {
            continue;
        }
        if newest
            .as_ref()
            .is_some_and(|noted| noted.end_offset() > offset)
        {
            break;
        }
        let path = |suffix| context.dir.join(file_name(offset, suffix));
        let state = read_sidecar(&path(SIDECAR_SUFFIX))?;
        let mut state = state.filter(|state| state.end_offset() == offset);
        if state.is_none()
            && let Some(bytes) = read(&path(SNAPSHOT_SUFFIX))?
        {
            state = snapshot::from_snapshot(&bytes, offset, producer_config(), context.now_ms).ok();
        }
        match state {
            Some(state) => return Ok((state, notes)),
            None => {
                tracing::warn!(
                    partition = %context.id,
                    offset,
                    "producer snapshot is not readable; an older one is taken"
                );
                snapshots.remove(at);
            }
        }
    }
    let none = || ProducerState::new(producer_config(), first_offset);
    Ok((newest.unwrap_or_else(none), notes))
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

/// Takes in what was appended after the snapshot.
fn replay_producers(context: &LoadContext<'_>, loaded: &mut Loaded) -> Result<(), LoadError> {
    let from_offset = loaded.producers.end_offset();
    if from_offset >= loaded.log_end_offset {
        return Ok(());
    }
    let first = loaded
        .segments
        .partition_point(|segment| segment.base_offset <= from_offset)
        .saturating_sub(1);
    let later = loaded.segments[first..].to_vec();
    for segment in later {
        let path = segment.path(Part::Log);
        let position = segment
            .position_before(context.fs, from_offset.max(segment.base_offset))
            .map_err(io_error(&segment.path(Part::OffsetIndex)))?;
        let log = segment
            .open(context.fs, Part::Log)
            .map_err(io_error(&path))?;
        let end = scan(&*log, position, segment.written_bytes(), |found| {
            if found.header.base_offset >= from_offset {
                loaded.bytes_since_snapshot += found.bytes.len() as u64;
                take_in(context, loaded, &found);
            }
            ControlFlow::<()>::Continue(())
        })
        .map_err(io_error(&path))?;
        if let ScanEnd::Invalid { position, error } = end {
            return Err(LoadError::Damaged {
                path,
                position,
                what: error.to_string(),
            });
        }
    }
    Ok(())
}

fn take_in(context: &LoadContext<'_>, loaded: &mut Loaded, found: &Found) {
    let header = &found.header;
    let epoch = header.partition_leader_epoch;
    // What the file knows already is not news: it may know later epochs too.
    if loaded.epochs.epoch_for_offset(header.base_offset) != Some(epoch) {
        loaded.epochs_changed |= loaded.epochs.assign(epoch, header.base_offset);
    }
    let marker = header
        .is_control()
        .then(|| EndTxnMarker::of_batch(&found.bytes).ok().flatten())
        .flatten();
    let completed = loaded.producers.apply(header, marker, context.now_ms);
    if let Some(aborted) = completed.as_ref().and_then(AbortedTxn::of) {
        let at = loaded
            .aborted
            .binary_search_by_key(&aborted.last_offset, |txn| txn.last_offset);
        if let Err(at) = at {
            loaded.aborted.insert(at, aborted);
        }
    }
}

/// Writes the transaction indexes anew from what the log has told: a crash may have left some of them without entries
/// that others come after.
fn write_transaction_indexes(
    context: &LoadContext<'_>,
    loaded: &Loaded,
    from: usize,
) -> Result<(), LoadError> {
    let ends = loaded.segments.iter().skip(1);
    let ends = ends.map(|next| next.base_offset).chain([i64::MAX]);
    for (segment, end) in loaded.segments.iter().zip(ends).skip(from) {
        let entries: Vec<u8> = loaded
            .aborted
            .iter()
            .filter(|txn| (segment.base_offset..end).contains(&txn.last_offset))
            .flat_map(AbortedTxn::encode)
            .collect();
        let path = segment.path(Part::TransactionIndex);
        let found = fs::if_found(fs::read_all(context.fs, &path)).map_err(io_error(&path))?;
        if found.unwrap_or_default() != entries {
            fs::replace(context.fs, &path, &entries).map_err(io_error(&path))?;
        }
    }
    Ok(())
}
