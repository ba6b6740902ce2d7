//! Finds out what is in a log's directory, when the log is first used.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::leader_epoch::LeaderEpochs;
use super::open_files::LogPath;
use super::producer_state::{ProducerState, ProducerStateConfig, snapshot};
use super::scan::{Found, ScanEnd, scan};
use super::segment::{Incoming, OpenSegment, Part, Segment, file_name, offset_of, path};
use super::transaction_index::{self, AbortedTxn};
use super::writer::{METADATA_FILE, SIDECAR_SUFFIX, SNAPSHOT_SUFFIX, epochs_path};
use super::{TopicPartition, offset_index, time_index};
use crate::checkpoint::topic_id_of;
use crate::compaction::swap;
use crate::fs::{self, Access, Fs};
use crate::record::EndTxnMarker;
use crate::record::batch::verify_crc;

/// Of the files of a segment that is no longer part of its log.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";

/// A log as it was found.
pub(crate) struct Loaded {
    /// All segments; the last is `open`.
    pub segments: Vec<Arc<Segment>>,
    pub open: Option<OpenSegment>,
    pub log_start_offset: i64,
    pub log_end_offset: i64,
    pub size_bytes: u64,
    pub producers: ProducerState,
    pub epochs: LeaderEpochs,
    /// The epochs are not in their file yet.
    pub epochs_changed: bool,
    pub aborted: Vec<AbortedTxn>,
    pub snapshots: Vec<i64>,
    /// Files of segments that were deleted before.
    pub left_over: Vec<PathBuf>,
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

/// What decides how a directory is read.
pub(crate) struct LoadContext<'a> {
    pub fs: &'a dyn Fs,
    pub id: &'a TopicPartition,
    pub dir: &'a Arc<LogPath>,
    pub index_interval_bytes: u64,
    pub now_ms: i64,
    /// From the checkpoint of log start offsets.
    pub log_start_offset: Option<i64>,
    /// Bytes at the end may never have reached the disk: what is not whole is cut off.
    pub may_cut_tail: bool,
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> LoadError + '_ {
    |source| LoadError::Io {
        path: path.to_owned(),
        source,
    }
}

pub(crate) fn producer_config() -> ProducerStateConfig {
    ProducerStateConfig {
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
    if !names.is_empty() {
        // A directory without an owner is adopted.
        let owner = owner_of(fs, dir)?;
        if owner.is_some_and(|owner| owner != context.id.topic_id) {
            set_aside(fs, dir)?;
            names.clear();
        }
    }
    names.sort_unstable();
    let offsets = |part: Part| {
        names
            .iter()
            .filter_map(move |name| offset_of(name, part.suffix()))
    };
    let mut segments = Vec::new();
    let mut size_bytes = 0;
    for base_offset in offsets(Part::Log) {
        let path = path(dir, base_offset, Part::Log);
        let bytes = fs
            .open(&path, Access::Read)
            .and_then(|file| file.size_bytes())
            .map_err(io_error(&path))?;
        size_bytes += bytes;
        segments.push(Segment::new(Arc::clone(context.dir), base_offset, bytes));
    }
    let mut aborted = Vec::new();
    for base_offset in offsets(Part::TransactionIndex) {
        let path = path(dir, base_offset, Part::TransactionIndex);
        let bytes = fs::read_all(fs, &path).map_err(io_error(&path))?;
        aborted.extend(transaction_index::parse(&bytes));
    }

    let (open, log_end_offset) = match segments.last() {
        Some(last) => {
            let before = last.written_bytes();
            let (open, end) = open_end(context, last)?;
            size_bytes -= before - last.written_bytes();
            (Some(open), end)
        }
        None => (None, 0),
    };
    let first_offset = segments.first().map_or(0, |first| first.base_offset);
    let log_start_offset = context
        .log_start_offset
        .unwrap_or(0)
        .clamp(first_offset, log_end_offset.max(first_offset));

    let left_over = names
        .iter()
        .filter(|name| name.ends_with(DELETED_SUFFIX))
        .map(|name| dir.join(name))
        .collect();
    let snapshots: Vec<i64> = names
        .iter()
        .filter_map(|name| offset_of(name, SNAPSHOT_SUFFIX))
        .collect();
    let mut loaded = Loaded {
        producers: newest_snapshot(context, &snapshots, first_offset, log_end_offset),
        segments,
        open,
        log_start_offset,
        log_end_offset,
        size_bytes,
        epochs: read_epochs(context)?,
        epochs_changed: false,
        aborted,
        snapshots,
        left_over,
    };
    loaded.epochs_changed = loaded.epochs.truncate_from_end(log_end_offset + 1);
    replay_producers(context, &mut loaded)?;
    loaded.producers.on_high_watermark(log_end_offset);
    for segment in &loaded.segments {
        segment.close();
    }
    Ok(loaded)
}

/// The topic id in a log's directory; `None` if it has none.
pub(crate) fn owner_of(fs: &dyn Fs, dir: &Path) -> Result<Option<uuid::Uuid>, LoadError> {
    let path = dir.join(METADATA_FILE);
    let bytes = fs::if_found(fs::read_all(fs, &path)).map_err(io_error(&path))?;
    Ok(bytes
        .as_deref()
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(topic_id_of))
}

/// Moves the directory of an earlier topic with the same name out of the way. It stays on disk.
pub(crate) fn set_aside(fs: &dyn Fs, dir: &Path) -> Result<(), LoadError> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{name}.{}-stray", uuid::Uuid::new_v4().simple());
    tracing::warn!(
        directory = %dir.display(),
        moved_to = name,
        "the directory belongs to an earlier topic of this name and is set aside"
    );
    fs.rename(dir, &dir.with_file_name(name))
        .map_err(io_error(dir))
}

/// Finds the end of the last segment and brings its indexes up to it.
pub(crate) fn open_end(
    context: &LoadContext<'_>,
    segment: &Arc<Segment>,
) -> Result<(OpenSegment, i64), LoadError> {
    let log_path = segment.path(Part::Log);
    let (mut open, mut end_offset) = indexed_prefix(context, segment, segment.written_bytes())?;
    let log = segment
        .open(context.fs, Part::Log)
        .map_err(io_error(&log_path))?;
    let indexed = open.bytes;
    if indexed > 0 {
        // segment.ms counts from the first batch.
        let first = scan(&*log, 0, segment.written_bytes(), |found| {
            ControlFlow::Break(found.header.max_timestamp)
        });
        if let ScanEnd::Stopped(timestamp) = first.map_err(io_error(&log_path))? {
            open.first_timestamp = Some(timestamp);
        }
    }
    let mut expected = end_offset;
    let mut damaged: Option<(u64, String)> = None;
    let end = scan(&*log, indexed, segment.written_bytes(), |found| {
        let header = &found.header;
        let what = if header.base_offset < expected || header.last_offset_delta < 0 {
            Some(format!(
                "offset {} where {expected} was expected",
                header.base_offset
            ))
        } else if context.may_cut_tail {
            verify_crc(&found.bytes)
                .err()
                .map(|error| error.to_string())
        } else {
            None
        };
        if let Some(what) = what {
            damaged = Some((found.position, what));
            return ControlFlow::Break(());
        }
        expected = header.next_offset();
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
        log.set_len(position).map_err(io_error(&log_path))?;
        segment.set_written_bytes(position);
    }
    end_offset = end_offset.max(expected);
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
    let (mut entries, mut last) =
        offset_index::valid_prefix(&bytes.unwrap_or_default(), limit_bytes);
    if let Some(entry) = last {
        // The entry must point at the batch that it names; else the whole index is built anew.
        let log = segment.open(fs, Part::Log).map_err(io_error(&log_path))?;
        let found = scan(&*log, entry.position.into(), limit_bytes, |found| {
            ControlFlow::Break(found.header.last_offset() - segment.base_offset)
        })
        .map_err(io_error(&log_path))?;
        if found != ScanEnd::Stopped(entry.relative_offset.into()) {
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
    let Some(entry) = last else {
        return Ok((open, segment.base_offset));
    };
    // The batch that the last entry names is described; scanning goes on behind it.
    let log = segment.open(fs, Part::Log).map_err(io_error(&log_path))?;
    let position = u64::from(entry.position);
    let mut end_offset = segment.base_offset;
    scan(&*log, position, limit_bytes, |found| {
        let header = &found.header;
        end_offset = header.next_offset();
        open.bytes = position + found.bytes.len() as u64;
        open.bytes_since_index_entry = found.bytes.len() as u64;
        if header.max_timestamp > open.max_timestamp {
            open.max_timestamp = header.max_timestamp;
            open.offset_of_max_timestamp = header.last_offset();
        }
        ControlFlow::Break(())
    })
    .map_err(io_error(&log_path))?;
    Ok((open, end_offset))
}

/// The producers as of the newest snapshot that can be read; without one, none as of the first offset.
fn newest_snapshot(
    context: &LoadContext<'_>,
    snapshots: &[i64],
    first_offset: i64,
    log_end_offset: i64,
) -> ProducerState {
    for &offset in snapshots.iter().rev() {
        if offset > log_end_offset || offset < first_offset {
            continue;
        }
        let read = |suffix| {
            let path = context.dir.join(file_name(offset, suffix));
            fs::read_all(context.fs, &path).ok()
        };
        let sidecar = read(SIDECAR_SUFFIX).and_then(|bytes| {
            let state = snapshot::from_sidecar(&bytes, producer_config(), context.now_ms).ok()?;
            (state.end_offset() == offset).then_some(state)
        });
        let state = sidecar.or_else(|| {
            let bytes = read(SNAPSHOT_SUFFIX)?;
            snapshot::from_snapshot(&bytes, offset, producer_config(), context.now_ms).ok()
        });
        match state {
            Some(state) => return state,
            None => tracing::warn!(
                partition = %context.id,
                offset,
                "producer snapshot is not readable; an older one is taken"
            ),
        }
    }
    ProducerState::new(producer_config(), first_offset)
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
    loaded.epochs_changed |= loaded
        .epochs
        .assign(header.partition_leader_epoch, header.base_offset);
    let marker = header
        .is_control()
        .then(|| EndTxnMarker::of_batch(&found.bytes).ok().flatten())
        .flatten();
    let completed = loaded.producers.apply(header, marker, context.now_ms);
    let newest = loaded.aborted.last().map_or(-1, |txn| txn.last_offset);
    if let Some(aborted) = completed.as_ref().and_then(AbortedTxn::of)
        && aborted.last_offset > newest
    {
        loaded.aborted.push(aborted);
        if let Some(open) = &mut loaded.open {
            open.pending_aborted.push(aborted);
        }
    }
}
