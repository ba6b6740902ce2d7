//! What is too old or too much leaves a log at its start; silent producers are forgotten, and so are partitions that were deleted
//! long ago. Bytes are not touched: whatever no run refers to any more is [`super::orphans`]' to remove.

use std::sync::Arc;

use uuid::Uuid;

use super::group::{Group, nameless};
use super::{JobError, Shared, Topics};
use crate::object::database::LogGroup;
use crate::object::group_state::GroupState;
use crate::object::plan::{Want, Wanted};

/// A deleted partition is remembered for so long: a broker whose metadata is older has lost its lease.
const DELETED_MS: i64 = 24 * 3_600_000;
/// An entry has no more than so many effects.
const WANTED_AT_ONCE: usize = 1_000;

/// What is to leave a group at this time, in ms since 1970.
fn wanted(
    state: &GroupState,
    topics: &dyn Topics,
    producer_id_expiration_ms: i64,
    now_ms: i64,
) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let active_ms = now_ms.saturating_sub(producer_id_expiration_ms);
    for partition in state.partitions() {
        let mut want = |what| {
            let partition = nameless(partition.id());
            wanted.push(Wanted { partition, what });
        };
        if let Some(config) = topics.config(partition.id()).filter(|config| config.delete) {
            let (ms, bytes) = (config.retention_ms, config.retention_bytes);
            let offset = partition.start_by_retention(ms, bytes, now_ms);
            if offset > partition.offsets().log_start_offset {
                want(Want::LogStart { offset });
            }
        }
        if partition.has_silent_producers(active_ms) {
            want(Want::Expire { active_ms });
        }
    }
    for (id, deleted_ms) in state.deleted() {
        if now_ms.saturating_sub(deleted_ms) >= DELETED_MS {
            let partition = nameless(id);
            let what = Want::Forget;
            wanted.push(Wanted { partition, what });
        }
    }
    wanted
}

pub(super) async fn enforce(shared: &Arc<Shared>, group: &mut Group) -> Result<(), JobError> {
    let wanted = wanted(
        &group.state,
        &*shared.config.topics,
        shared.settings().producer_id_expiration_ms,
        shared.config.clock.now_ms(),
    );
    for part in wanted.chunks(WANTED_AT_ONCE) {
        group.commit(shared.fence()?, part).await?;
    }
    Ok(())
}

/// Deletes what is left of topics, however long it takes. Returns when nothing is.
pub(super) async fn delete_topics(shared: &Arc<Shared>, topics: &[Uuid]) {
    let mut left = shared.all_groups();
    if topics.is_empty() {
        return;
    }
    while !left.is_empty() {
        let mut failed = Vec::new();
        for group in left {
            if let Err(error) = delete_topics_of(shared, group, topics).await {
                shared.tell("removal of deleted topics", Some(group), &error);
                failed.push(group);
            }
        }
        left = failed;
        if !left.is_empty() {
            tokio::time::sleep(shared.settings().tick).await;
        }
    }
}

async fn delete_topics_of(
    shared: &Arc<Shared>,
    group: LogGroup,
    topics: &[Uuid],
) -> Result<(), JobError> {
    let mut group = Group::load(shared, group).await?;
    let partitions = group.state.partitions().map(|partition| partition.id());
    let wanted: Vec<_> = partitions
        .filter(|id| topics.contains(&id.topic_id))
        .map(|id| Wanted {
            partition: nameless(id),
            what: Want::Delete,
        })
        .collect();
    for part in wanted.chunks(WANTED_AT_ONCE) {
        group.commit(shared.fence()?, part).await?;
    }
    Ok(())
}
