//! A flush makes an object with a little of each partition, or a row with bytes in it. Whoever reads a partition would have to get
//! thousands of them. So they are merged, in two steps: first what is small, of all partitions of a group; then, once a partition
//! has enough in large objects that it shares with many, that partition alone.
//!
//! Each byte is copied about three times in its life. An object of which a group needs but a little any more counts as small, so
//! what is left of it moves on, and it can go. So does one of which it needs less than half of what it once did, as soon as such
//! objects keep enough that nobody needs: the store has no more than about twice what the logs have.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::group::{Group, nameless};
use super::object_writer::{ObjectWriter, RunReader};
use super::{JobError, JobSettings, Shared};
use crate::object::entry::{ObjectId, PartitionId, Place, Run, Source};
use crate::object::group_state::{GroupState, Partition, Uses};
use crate::object::plan::{Answer, Want, Wanted};

/// No merge reads more sources: each costs a GET, and a little memory.
const SOURCES: usize = 512;
/// No merge names more runs of one partition: its entry has to stay small.
const RUNS_OF_PARTITION: usize = 4_096;
/// What is small is left in so many objects for long: a flush makes an object that many groups share, and a group that hardly
/// anybody writes to would keep many of them for a few bytes in each.
const FEW_OBJECTS: usize = 8;
/// Inline bytes that are worth an object of their own, and rows.
const INLINE_BYTES: u64 = 1 << 20;
const INLINE_ROWS: usize = 1_000;
/// How many times a visit merges. There are others that wait.
const MERGES: usize = 16;

/// What is merged into one object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Merge {
    pub pieces: Vec<Piece>,
}

/// Runs of one partition that follow each other, and which of them move.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub partition: PartitionId,
    pub old: Vec<Run>,
    moves: Vec<bool>,
}

/// What to merge next. `is_overdue`: nothing stays in rows any more, nor what is small in more than a few objects.
pub(super) fn plan_merge(
    state: &GroupState,
    settings: &JobSettings,
    is_overdue: bool,
) -> Option<Merge> {
    let selected =
        small_sources(state, settings, is_overdue).or_else(|| large_sources(state, settings));
    if let Some(selected) = selected {
        let is_selected = |_: &Partition<'_>, run: &Run| {
            let source = run.place.source();
            source.is_some_and(|(source, _)| selected.contains(&source))
        };
        let pieces = state
            .partitions()
            .filter_map(|one| piece(&one, is_selected));
        return merge_of(pieces.collect());
    }
    let widest = state
        .partitions()
        .filter_map(|one| Some((shared_bytes(state, &one, settings)?, one.id())))
        .max()?;
    let partition = state.partition(widest.1)?;
    let shared = shared_objects(state, &partition, settings);
    let mut bytes = 0;
    let piece = piece(&partition, |_, run| {
        let is_shared =
            matches!(run.place, Place::Object { object, .. } if shared.contains(&object));
        let is_selected = is_shared && bytes < settings.object_bytes * 3 / 2;
        bytes += u64::from(run.size_bytes) * u64::from(is_selected);
        is_selected
    });
    merge_of(piece.into_iter().collect())
}

fn merge_of(mut pieces: Vec<Piece>) -> Option<Merge> {
    pieces.sort_unstable_by_key(|piece| piece.partition);
    (!pieces.is_empty()).then_some(Merge { pieces })
}

/// From the first to the last run that is selected, and those in between.
fn piece(
    partition: &Partition<'_>,
    mut is_selected: impl FnMut(&Partition<'_>, &Run) -> bool,
) -> Option<Piece> {
    let mut old: Vec<Run> = Vec::new();
    let mut moves = Vec::new();
    let mut end = 0;
    for run in partition.runs(0) {
        let moves_on = is_selected(partition, &run);
        if old.is_empty() && !moves_on {
            continue;
        }
        if old.len() == RUNS_OF_PARTITION {
            break;
        }
        old.push(run);
        moves.push(moves_on);
        if moves_on {
            end = old.len();
        }
    }
    old.truncate(end);
    moves.truncate(end);
    write_out_markers(&old, &mut moves);
    let partition = partition.id();
    (end > 0).then_some(Piece {
        partition,
        old,
        moves,
    })
}

/// Lets markers between runs that move do so, too: they would keep them apart.
fn write_out_markers(old: &[Run], moves: &mut [bool]) {
    let is_marker = |run: &Run| matches!(run.place, Place::Made(_));
    let mut at = 0;
    while at < old.len() {
        let markers = old[at..].iter().take_while(|run| is_marker(run)).count();
        let (from, to) = (at, at + markers);
        let is_joined = |at: usize| moves.get(at) == Some(&true) && !old[at].is_compacted;
        if markers > 0 && from.checked_sub(1).is_some_and(is_joined) && is_joined(to) {
            moves[from..to].fill(true);
        }
        at = to + 1;
    }
}

/// Rows, and objects of which the group needs little or of which most is dead, the oldest first, if there are enough of them.
fn small_sources(
    state: &GroupState,
    settings: &JobSettings,
    is_overdue: bool,
) -> Option<HashSet<Source>> {
    let rows: Vec<_> = state
        .inline_rows()
        .map(|(seq, uses)| (Source::Row(seq), uses.bytes))
        .collect();
    let inline_bytes: u64 = rows.iter().map(|(_, bytes)| bytes).sum();
    if !rows.is_empty() && (is_overdue || rows.len() >= INLINE_ROWS || inline_bytes >= INLINE_BYTES)
    {
        return Some(first_of(rows, settings));
    }
    let is_small = |uses: &Uses| uses.bytes < settings.merge_bytes;
    let is_dying = |uses: &Uses| uses.bytes < uses.dead_bytes();
    let (mut count, mut bytes, mut dead_bytes) = (0, 0, 0);
    for (_, uses) in state.objects() {
        if is_small(&uses) {
            count += 1;
            bytes += uses.bytes;
        }
        if is_dying(&uses) {
            dead_bytes += uses.dead_bytes();
        }
    }
    let enough = match is_overdue {
        true => settings.merge_objects.min(FEW_OBJECTS),
        false => settings.merge_objects,
    };
    let merges_small = count >= enough.max(2) || (count >= 2 && bytes >= settings.merge_bytes);
    let merges_dying = dead_bytes > 0 && dead_bytes >= settings.object_bytes / 8;
    if !merges_small && !merges_dying {
        return None;
    }
    let chosen = state.objects().filter(|(_, uses)| {
        let as_small = merges_small && is_small(uses);
        as_small || (merges_dying && is_dying(uses))
    });
    let mut chosen: Vec<_> = chosen.collect();
    // By age: ids begin with the time.
    chosen.sort_unstable_by_key(|(object, _)| object.id);
    let chosen = chosen.into_iter();
    Some(first_of(
        chosen.map(|(object, uses)| (Source::Object(object), uses.bytes)),
        settings,
    ))
}

/// Objects that were merged once, and are not large yet.
fn large_sources(state: &GroupState, settings: &JobSettings) -> Option<HashSet<Source>> {
    let mut medium: Vec<(ObjectId, u64)> = state
        .objects()
        .filter(|(_, uses)| {
            (settings.merge_bytes..settings.object_bytes * 3 / 4).contains(&uses.bytes)
        })
        .map(|(object, uses)| (object, uses.bytes))
        .collect();
    let bytes: u64 = medium.iter().map(|(_, bytes)| bytes).sum();
    if medium.len() < 2 || bytes < settings.object_bytes {
        return None;
    }
    medium.sort_unstable_by_key(|(object, _)| object.id);
    let medium = medium.into_iter();
    Some(first_of(
        medium.map(|(object, bytes)| (Source::Object(object), bytes)),
        settings,
    ))
}

/// The first sources that together make a large object.
fn first_of(
    sources: impl IntoIterator<Item = (Source, u64)>,
    settings: &JobSettings,
) -> HashSet<Source> {
    let mut total_bytes = 0;
    sources
        .into_iter()
        .take(SOURCES)
        .take_while(|(_, bytes)| {
            let fits = total_bytes < settings.object_bytes;
            total_bytes += bytes;
            fits
        })
        .map(|(source, _)| source)
        .collect()
}

/// Large objects in which a partition has less than half of what the group needs there.
fn shared_objects(
    state: &GroupState,
    partition: &Partition<'_>,
    settings: &JobSettings,
) -> HashSet<ObjectId> {
    let mut own: HashMap<ObjectId, u64> = HashMap::new();
    for run in partition.runs(0) {
        if let Place::Object { object, .. } = run.place {
            *own.entry(object).or_default() += u64::from(run.size_bytes);
        }
    }
    own.retain(|object, own_bytes| {
        let all_bytes = state.uses_of(object).map_or(0, |uses| uses.bytes);
        all_bytes >= settings.object_bytes * 3 / 4 && *own_bytes < all_bytes / 2
    });
    own.into_keys().collect()
}

/// What a partition has in such objects; `None` if it would not make a large one.
fn shared_bytes(state: &GroupState, one: &Partition<'_>, settings: &JobSettings) -> Option<u64> {
    if one.size_bytes() < settings.object_bytes {
        return None;
    }
    let shared = shared_objects(state, one, settings);
    let in_shared = one.runs(0).filter(
        |run| matches!(run.place, Place::Object { object, .. } if shared.contains(&object)),
    );
    let bytes = in_shared.map(|run| u64::from(run.size_bytes)).sum();
    (bytes >= settings.object_bytes).then_some(bytes)
}

/// Merges what there is to merge, within reason.
pub(super) async fn merge_all(
    shared: &Arc<Shared>,
    group: &mut Group,
    job: &str,
    is_overdue: bool,
) -> Result<(), JobError> {
    for _ in 0..MERGES {
        let Some(merge) = plan_merge(&group.state, &shared.settings(), is_overdue) else {
            return Ok(());
        };
        shared.keep(job).await?;
        self::merge(shared, group, merge).await?;
        tokio::time::sleep(shared.settings().merge_pause).await;
    }
    Ok(())
}

/// Copies runs into an object, and lets it take their place.
pub(super) async fn merge(
    shared: &Arc<Shared>,
    group: &mut Group,
    merge: Merge,
) -> Result<(), JobError> {
    let moved = merge.pieces.iter().flat_map(|piece| {
        let runs = piece.old.iter().zip(&piece.moves);
        runs.filter(|(_, moves)| **moves).map(|(run, _)| run)
    });
    let mut reader = RunReader::new(shared, group.id, moved);
    let mut writer = ObjectWriter::new(shared)?;
    let mut wanted = Vec::with_capacity(merge.pieces.len());
    match copy(&merge, &mut reader, &mut writer, &mut wanted).await {
        Ok(()) => {}
        Err(error) => {
            writer.give_up().await;
            return Err(error);
        }
    }
    let (pieces, bytes) = (wanted.len(), writer.written_bytes());
    let answers = writer.commit(group, &wanted).await?;
    let done = answers
        .iter()
        .filter(|answer| matches!(answer, Ok(Answer::Done)));
    tracing::debug!(
        group = group.id.0,
        bytes,
        partitions = pieces,
        replaced = done.count(),
        "merged"
    );
    Ok(())
}

async fn copy(
    merge: &Merge,
    reader: &mut RunReader,
    writer: &mut ObjectWriter,
    wanted: &mut Vec<Wanted>,
) -> Result<(), JobError> {
    for piece in &merge.pieces {
        for (run, moves) in piece.old.iter().zip(&piece.moves) {
            if *moves {
                let bytes = reader.read(run).await?;
                writer.push(piece.partition, run, &bytes).await?;
            } else {
                writer.packer.keep(run);
            }
        }
        wanted.push(Wanted {
            partition: nameless(piece.partition),
            what: Want::Replace {
                old: piece.old.clone(),
                new: writer.packer.take_runs(),
                aborted: None,
            },
        });
    }
    writer.finish().await
}

#[cfg(test)]
mod tests;
