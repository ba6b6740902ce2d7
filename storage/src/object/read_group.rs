//! What snapshot and rows have made of a group: how the engine and the jobs come to know it.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use thiserror::Error;

use super::database::{DatabaseError, Head, LogGroup, OrderedLog, Row};
use super::entry::Entry;
use super::group_state::GroupState;
use super::patience::{self, answered};

/// Of rows, for each query.
pub(super) const READ_BYTES: usize = 8 << 20;

/// Why a group could not be read.
#[derive(Debug, Error)]
pub(super) enum ReadGroupError {
    #[error("the database: {0}")]
    Database(#[from] DatabaseError),
    #[error("the object store: {0}")]
    Objects(#[from] object_store::Error),
    #[error("its rows were trimmed meanwhile")]
    Trimmed,
    /// What was read cannot be what was written.
    #[error("{0}")]
    Damaged(String),
}

/// Reads a group as far as it goes when the call is made. `check` sees where that is, before anything is read.
///
/// # Errors
/// It could not be read, or `check` does not want it to be.
pub(super) async fn read_group<E: From<ReadGroupError>>(
    log: &Arc<dyn OrderedLog>,
    objects: &Arc<dyn ObjectStore>,
    id: LogGroup,
    check: impl Fn(&Head) -> Result<(), E>,
) -> Result<(GroupState, Head), E> {
    let mut known_snapshot: Option<i64> = None;
    loop {
        let heads = log.heads(&[id]).await.map_err(ReadGroupError::from)?;
        let unknown = || {
            let what = format!("the database says nothing of log group {}", id.0);
            ReadGroupError::Damaged(what)
        };
        let head = heads.into_iter().next().ok_or_else(unknown)?;
        check(&head)?;
        match read_to(&head, log, objects).await {
            Ok(state) => return Ok((state, head)),
            // A job may have written the next snapshot, and removed this one and the rows before that.
            Err(_) if known_snapshot.is_none_or(|known| known < head.snapshot_seq) => {
                known_snapshot = Some(head.snapshot_seq);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn read_to(
    head: &Head,
    log: &Arc<dyn OrderedLog>,
    objects: &Arc<dyn ObjectStore>,
) -> Result<GroupState, ReadGroupError> {
    let mut state = match &head.snapshot_key {
        None => GroupState::new(),
        Some(key) => {
            let path = Path::from(key.as_str());
            let read = async { objects.get(&path).await?.bytes().await };
            let bytes = answered(patience::READING, read).await?;
            let damaged = |what: String| ReadGroupError::Damaged(format!("snapshot {key}: {what}"));
            let state = GroupState::from_snapshot(&bytes);
            let state = state.map_err(|error| damaged(error.to_string()))?;
            if state.seq() != head.snapshot_seq {
                let (is, expected) = (state.seq(), head.snapshot_seq);
                return Err(damaged(format!("it is of row {is}, not {expected}")));
            }
            state
        }
    };
    while state.seq() < head.seq {
        let known = [(head.group, state.seq())];
        let news = log.read_from(&known, READ_BYTES).await?;
        if news.rows.is_empty() {
            return Err(ReadGroupError::Trimmed);
        }
        for row in &news.rows {
            apply_row(&mut state, row)?;
        }
    }
    Ok(state)
}

/// # Errors
/// The row is not the next one of this group.
pub(super) fn apply_row(state: &mut GroupState, row: &Row) -> Result<(), ReadGroupError> {
    let damaged = |what: &dyn std::fmt::Display| {
        let (group, seq) = (row.group.0, row.seq);
        ReadGroupError::Damaged(format!("row {seq} of log group {group}: {what}"))
    };
    let entry = Entry::of_row(&row.entry).map_err(|error| damaged(&error))?;
    let applied = state.apply(row.seq, &entry);
    applied.map(drop).map_err(|error| damaged(&error))
}

impl From<ReadGroupError> for String {
    fn from(error: ReadGroupError) -> Self {
        error.to_string()
    }
}
