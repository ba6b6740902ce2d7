//! Finds out which producers and transactions a log has, from the newest snapshot and the batches behind it.

use std::ops::ControlFlow;
use std::path::Path;

use super::context::{LoadContext, LoadError, Loaded, io_error};
use crate::env::fs;
use crate::local::segment::scan::{Found, ScanEnd, scan};
use crate::local::segment::writer::{NOTES, SIDECAR_SUFFIX, SNAPSHOT_SUFFIX};
use crate::local::segment::{Part, file_name};
use crate::log::producer_state::{ProducerState, ProducerStateConfig, snapshot};
use crate::log::transaction_index::AbortedTxn;
use crate::record::EndTxnMarker;

/// The producers as of the newest snapshot or note that can be read, and the offsets of the notes. Without any, there are
/// no producers as of the first offset.
///
/// Every snapshot is read, and those that cannot be are taken out of `snapshots`: segments go because a snapshot knows
/// their producers, and nobody looks into it then.
pub(super) fn newest_snapshot(
    context: &LoadContext<'_>,
    snapshots: &mut Vec<i64>,
    first_offset: i64,
    log_end_offset: i64,
) -> Result<(ProducerState, [Option<i64>; 2]), LoadError> {
    let producer_config = || ProducerStateConfig::of_log(context.producer_id_expiration_ms);
    let read = |path: &Path| match fs::read_all(context.fs, path) {
        // The file is there, and an older one may be wrong in its place: compaction may have removed how transactions ended.
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
            // What is appended from here on may differ from what the note knows.
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
    let (mut unreadable, mut taken) = (Vec::new(), None);
    for &offset in snapshots.iter().rev() {
        let path = |suffix| context.dir.join(file_name(offset, suffix));
        let state = read_sidecar(&path(SIDECAR_SUFFIX))?;
        let mut state = state.filter(|state| state.end_offset() == offset);
        if state.is_none()
            && let Some(bytes) = read(&path(SNAPSHOT_SUFFIX))?
        {
            state = snapshot::from_snapshot(&bytes, offset, producer_config(), context.now_ms).ok();
        }
        match state {
            Some(_) if taken.is_some() || !(first_offset..=log_end_offset).contains(&offset) => {}
            Some(state) => taken = Some(state),
            None => {
                tracing::warn!(partition = %context.id, offset, "producer snapshot is not readable; it is not used");
                if context.may_cut_tail {
                    // A power cut has torn it. Damage of another kind is left for the operator to see.
                    remove_snapshot(context, offset)?;
                }
                unreadable.push(offset);
            }
        }
    }
    snapshots.retain(|offset| !unreadable.contains(offset));
    let noted = newest
        .as_ref()
        .map_or(first_offset, ProducerState::end_offset);
    let taken = taken.filter(|taken| taken.end_offset() >= noted);
    let none = || ProducerState::new(producer_config(), first_offset);
    Ok((taken.or(newest).unwrap_or_else(none), notes))
}

pub(super) fn remove_snapshot(context: &LoadContext<'_>, offset: i64) -> Result<(), LoadError> {
    for suffix in [SNAPSHOT_SUFFIX, SIDECAR_SUFFIX] {
        let path = context.dir.join(file_name(offset, suffix));
        fs::if_found(context.fs.remove_file(&path)).map_err(io_error(&path))?;
    }
    Ok(())
}

/// Takes in the batches that were appended after the snapshot.
pub(super) fn replay_producers(
    context: &LoadContext<'_>,
    loaded: &mut Loaded,
) -> Result<(), LoadError> {
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
    // The file may know this epoch already, and later ones too.
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

/// Writes the transaction indexes anew from what was found in the log. A crash may have left holes in some of them.
pub(super) fn write_transaction_indexes(
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

/// Writes the snapshot of the producers as of the end of the log, durably.
pub(super) fn write_snapshot(
    context: &LoadContext<'_>,
    loaded: &mut Loaded,
) -> Result<(), LoadError> {
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
