//! What a group is given in a step, and what it may ask of its shard.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::group::catalog::Catalog;
use crate::group::config::GroupConfig;
use crate::group::effects::Effects;
use crate::group::id::{GroupId, MemberId};
use crate::timer::Timers;

/// What a deadline is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    /// Look for expired offsets and groups.
    Expiry,
    /// The group's join phase ends.
    Join(GroupId),
    /// Members of the group that have not sent SyncGroup are removed.
    Sync(GroupId),
    /// The group's member, or pending member, is removed.
    Session(GroupId, MemberId),
    /// The consumer group's member is removed unless it has given up its partitions.
    Rebalance(GroupId, MemberId),
}

/// What a group needs to act in one step.
pub(crate) struct Context<'a> {
    /// The steady time, which deadlines are counted from.
    pub(crate) now_ms: i64,
    /// The wall clock's time, for what is kept and compared after a restart.
    pub(crate) wall_ms: i64,
    pub(crate) config: &'a GroupConfig,
    pub(crate) catalog: &'a Arc<dyn Catalog>,
    pub(crate) catalog_version: u64,
    /// The largest batch that the log takes.
    pub(crate) max_batch_bytes: usize,
    pub(crate) timers: &'a mut Timers<TimerKey>,
    pub(crate) effects: &'a mut Effects,
    /// Set by a consumer group that turns classic when the step is over.
    pub(crate) turns_classic: Option<TurnsClassic>,
}

/// How a consumer group becomes a classic one.
#[derive(Debug, Default)]
pub(crate) struct TurnsClassic {
    /// The members who do not come along.
    pub(crate) leaving: BTreeSet<MemberId>,
    /// Why all members have to join again. If `None`, everybody keeps what the last target says.
    pub(crate) rebalance: Option<String>,
}

impl Context<'_> {
    /// Whether this is the catalog that there is now.
    pub(crate) fn is_newest(&self, catalog: &Arc<dyn Catalog>) -> bool {
        Arc::ptr_eq(self.catalog, catalog)
    }

    /// Sets `key` to fire `delay_ms` from now.
    pub(crate) fn schedule(&mut self, key: TimerKey, delay_ms: i32) {
        self.timers
            .schedule(key, self.now_ms.saturating_add(i64::from(delay_ms)));
    }
}
