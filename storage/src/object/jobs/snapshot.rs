//! A start must not read all that ever happened to a group. So its state is written as an object now and then, and the rows before
//! that are deleted. What a start reads is the snapshot, and the rows behind it.
//!
//! A row whose inline bytes are still needed stays until they are merged into an object ([`super::merge`]), and then for as long
//! as an object would: somebody may be about to read it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::time::Instant;

use super::group::Group;
use super::{JobError, JobSettings, Shared};
use crate::object::database::{DatabaseError, LogGroup};
use crate::object::entry::ObjectId;
use crate::object::group_state::GroupState;
use crate::object::in_flight::Unnamed;
use crate::object::patience::{self, answered};

/// Where snapshots are, below the prefix of the cluster.
pub(super) const PREFIX: &str = "snapshots";

/// The key of a snapshot: `snapshots/GROUP/EPOCH/ID`.
pub(super) fn key(group: LogGroup, object: &ObjectId) -> String {
    format!("{PREFIX}/{}/{}/{}", group.0, object.broker_epoch, object.id)
}

/// Who has written the snapshot with this key; `None` if it is no key of a snapshot.
pub(super) fn from_key(key: &str) -> Option<ObjectId> {
    let mut parts = key.split('/');
    let parts = [(); 4]
        .map(|()| parts.next())
        .into_iter()
        .collect::<Option<Vec<_>>>()?;
    let object = ObjectId {
        broker_epoch: parts[2].parse().ok()?,
        id: uuid::Uuid::try_parse(parts[3]).ok()?,
    };
    let group = LogGroup(parts[1].parse().ok()?);
    (self::key(group, &object) == key).then_some(object)
}

/// When snapshots of a group were written, and all that is small was merged.
pub(super) struct Tended {
    snapshot_at: Instant,
    small_at: Instant,
    /// From when on no row up to which one was needed any more, by the monotonic clock in ms; the oldest first.
    unneeded: VecDeque<(u64, i64)>,
    /// Rows up to here were trimmed.
    trimmed_to: i64,
    /// Snapshots of which it is not known whether the database has taken them, and of which entry they are.
    doubtful: Vec<(i64, ObjectId)>,
}

impl Tended {
    pub fn new() -> Self {
        Self {
            snapshot_at: Instant::now(),
            small_at: Instant::now(),
            unneeded: VecDeque::new(),
            trimmed_to: 0,
            doubtful: Vec::new(),
        }
    }

    /// Whether what is small has stayed where it is for long enough; if so, its time begins anew.
    pub fn merges_small(&mut self, shared: &Shared) -> bool {
        let is_due = self.small_at.elapsed() >= shared.settings().small_age;
        if is_due {
            self.small_at = Instant::now();
        }
        is_due
    }

    fn trim_now(&mut self, shared: &Shared, state: &GroupState) -> i64 {
        let now_ms = shared.config.clock.monotonic_ms();
        self.trim_to(state, now_ms, shared.settings().delete_delay)
    }

    /// Up to which row nobody needs any, nor may be about to read one; 0: none.
    fn trim_to(&mut self, state: &GroupState, now_ms: u64, delay: Duration) -> i64 {
        let is_over =
            |since_ms: u64| Duration::from_millis(now_ms.saturating_sub(since_ms)) >= delay;
        self.unneeded.push_back((now_ms, first_needed(state) - 1));
        while self
            .unneeded
            .get(1)
            .is_some_and(|(since_ms, _)| is_over(*since_ms))
        {
            self.unneeded.pop_front();
        }
        let oldest = self
            .unneeded
            .front()
            .filter(|(since_ms, _)| is_over(*since_ms));
        oldest.map_or(0, |(_, seq)| *seq)
    }

    /// The database has a snapshot of this entry: no older one can take its place any more.
    pub fn settle(&mut self, shared: &Shared, snapshot_seq: i64) {
        self.doubtful.retain(|(seq, object)| {
            let is_open = *seq >= snapshot_seq;
            if !is_open {
                shared.config.in_flight.settle(object);
            }
            is_open
        });
    }
}

/// Whether a snapshot is worth its while.
fn is_due(state: &GroupState, snapshot_seq: i64, is_old: bool, settings: &JobSettings) -> bool {
    let rows = state.seq() - snapshot_seq;
    rows >= settings.snapshot_entries || (rows > 0 && is_old)
}

/// The first row that is needed although there is a snapshot of this state.
fn first_needed(state: &GroupState) -> i64 {
    let inline = state.inline_rows().next().map(|(seq, _)| seq);
    inline.unwrap_or(state.seq() + 1)
}

pub(super) async fn write_if_due(
    shared: &Arc<Shared>,
    group: &mut Group,
    tended: &mut Tended,
) -> Result<(), JobError> {
    let settings = shared.settings();
    let is_old = tended.snapshot_at.elapsed() >= settings.snapshot_interval;
    if !is_due(&group.state, group.snapshot_seq, is_old, &settings) {
        return trim_rest(shared, group, tended).await;
    }
    write(shared, group, tended).await
}

/// Rows are trimmed with a snapshot, and stay for a while after they were needed. So when nothing more is appended the last of them
/// are left: they go with the snapshot that there is.
async fn trim_rest(
    shared: &Arc<Shared>,
    group: &Group,
    tended: &mut Tended,
) -> Result<(), JobError> {
    let Some(object) = &group.snapshot else {
        return Ok(());
    };
    let trim_to = tended.trim_now(shared, &group.state);
    let trim_to = trim_to.min(group.snapshot_seq);
    if trim_to <= tended.trimmed_to {
        return Ok(());
    }
    let (fence, key) = (shared.fence()?, key(group.id, object));
    let log = &shared.config.log;
    log.trim(fence, group.id, group.snapshot_seq, key, trim_to)
        .await?;
    tended.trimmed_to = trim_to;
    Ok(())
}

pub(super) async fn write(
    shared: &Arc<Shared>,
    group: &mut Group,
    tended: &mut Tended,
) -> Result<(), JobError> {
    let fence = shared.fence()?;
    let seq = group.state.seq();
    let unnamed = Unnamed::begin(&shared.config.in_flight, fence.broker_epoch);
    let key = key(group.id, &unnamed.object());
    let payload = PutPayload::from(group.state.to_snapshot());
    let path = Path::from(key.as_str());
    answered(patience::WRITING, shared.config.objects.put(&path, payload)).await?;
    let object = unnamed.name();
    let trim_to = tended.trim_now(shared, &group.state);
    let trimmed = shared
        .config
        .log
        .trim(fence, group.id, seq, key, trim_to)
        .await;
    match trimmed {
        Err(error @ DatabaseError::InDoubt(_)) => {
            tended.doubtful.push((seq, object));
            return Err(error.into());
        }
        Err(error) => {
            shared.config.in_flight.settle(&object);
            return Err(error.into());
        }
        Ok(is_the_newest) => {
            shared.config.in_flight.settle(&object);
            if is_the_newest {
                group.snapshot_seq = seq;
                group.snapshot = Some(object);
                tended.trimmed_to = trim_to;
                tended.settle(shared, seq);
            }
        }
    }
    tended.snapshot_at = Instant::now();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_not_needed_any_more_stays_for_as_long_as_a_fetch_may_take() {
        let mut tended = Tended::new();
        let delay = Duration::from_millis(100);
        let mut state = GroupState::new();
        let mut at = |now_ms| {
            let seq = state.seq() + 1;
            state.apply(seq, &Default::default()).expect("applied");
            tended.trim_to(&state, now_ms, delay)
        };
        let trimmed = [0, 50, 99, 100, 149, 150, 1_000].map(&mut at);
        assert_eq!(trimmed, [0, 0, 0, 1, 1, 2, 6]);
    }

    #[test]
    fn a_key_of_a_snapshot_is_read_back_and_no_other_is() {
        let object = ObjectId {
            broker_epoch: 9,
            id: uuid::Uuid::from_u128(77),
        };
        let key = key(LogGroup(63), &object);
        assert_eq!(from_key(&key), Some(object));
        for other in [
            "",
            "snapshots/1",
            "data/00/9/77",
            &format!("{key}/x"),
            &object.key(),
        ] {
            assert_eq!(from_key(other), None, "{other}");
        }
    }
}
