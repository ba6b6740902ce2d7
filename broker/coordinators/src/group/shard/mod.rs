//! The groups of one partition of `__consumer_offsets`.

mod admin;
mod machine;
mod members;
mod offsets;
mod survey;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::group::any::Group;
use crate::group::catalog::{Catalog, NoTopics};
use crate::group::classic::ClassicGroup;
use crate::group::config::GroupConfig;
use crate::group::consumer::ConsumerGroup;
use crate::group::context::{Context, TimerKey};
use crate::group::effects::Effects;
use crate::group::id::GroupId;
use crate::group::offsets::Offsets;
use crate::group::record::GroupRecord;
use crate::group::record::consumer::ConsumerRecord;
use crate::group::request::PatternsResolved;
use crate::group::target::ComputedTarget;
use crate::machine::Moment;
use crate::timer::Timers;

/// All groups and offsets of one `__consumer_offsets` partition. The [module](super) says how to drive it.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct GroupShard {
    pub(super) config: GroupConfig,
    pub(super) groups: BTreeMap<GroupId, Group>,
    pub(super) offsets: Offsets,
    pub(super) catalog: Arc<dyn Catalog>,
    /// Counts the catalogs there have been.
    catalog_version: u64,
    /// How far the wall clock is ahead of the steady time.
    wall_ahead_ms: i64,
    /// The largest batch that the log takes.
    pub(super) max_batch_bytes: usize,
    timers: Timers<TimerKey>,
}

impl GroupShard {
    /// An empty shard, ready for [`replay`](crate::machine::Machine::replay).
    pub fn new(config: GroupConfig) -> Self {
        Self {
            config,
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            catalog: Arc::new(NoTopics),
            catalog_version: 0,
            wall_ahead_ms: 0,
            max_batch_bytes: usize::MAX,
            timers: Timers::new(),
        }
    }

    /// Takes in the moment of a call, and gives the steady time.
    ///
    /// A consumer group looks at a new catalog when one of its members sends its next heartbeat.
    fn enter(&mut self, now: &Moment<dyn Catalog>) -> i64 {
        self.wall_ahead_ms = now.wall_ahead_ms;
        self.max_batch_bytes = now.max_batch_bytes;
        if !Arc::ptr_eq(&self.catalog, &now.catalog) {
            self.catalog = Arc::clone(&now.catalog);
            self.catalog_version += 1;
        }
        now.steady_ms
    }

    /// What the wall clock says at a moment.
    pub(super) fn wall_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(self.wall_ahead_ms)
    }

    /// Takes over one record, from the log or one that the shard has just made.
    ///
    /// Nothing but this function changes what is durable, with one exception: a running classic group makes its record from
    /// the state that it has already.
    pub(super) fn apply(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::Offset { key, value } => {
                if value.is_some() {
                    self.ensure_group(&key.group_id);
                }
                self.offsets.apply(key, value.as_ref());
            }
            GroupRecord::TxnOffset {
                producer_id,
                key,
                value,
                ..
            } => {
                self.ensure_group(&key.group_id);
                self.offsets.apply_pending(*producer_id, key, value);
            }
            GroupRecord::EndTxn {
                producer_id,
                commit,
                ..
            } => self.offsets.end_transaction(*producer_id, *commit),
            GroupRecord::Group {
                group_id,
                value: Some(metadata),
            } => {
                let group = ClassicGroup::restore(group_id.clone(), metadata);
                self.put(group_id, Group::Classic(group));
            }
            GroupRecord::Group {
                group_id,
                value: None,
            } => self.remove_if(group_id, |group| matches!(group, Group::Classic(_))),
            GroupRecord::Consumer {
                group_id,
                record: ConsumerRecord::Group(None),
            } => self.remove_if(group_id, |group| matches!(group, Group::Consumer(_))),
            GroupRecord::Consumer { group_id, record } => {
                let is_there = matches!(self.groups.get(group_id), Some(Group::Consumer(_)));
                if !is_there && !record.is_tombstone() {
                    let group = ConsumerGroup::new(group_id.clone());
                    self.put(group_id, Group::Consumer(group));
                }
                if let Some(Group::Consumer(group)) = self.groups.get_mut(group_id) {
                    group.apply(record);
                }
            }
        }
    }

    fn put(&mut self, group_id: &GroupId, group: Group) {
        if let Some(previous) = self.groups.insert(group_id.clone(), group) {
            previous.cancel_timers(&mut self.timers);
        }
    }

    fn remove_if(&mut self, group_id: &GroupId, is_meant: impl FnOnce(&Group) -> bool) {
        if self.groups.get(group_id).is_some_and(is_meant)
            && let Some(group) = self.groups.remove(group_id)
        {
            group.cancel_timers(&mut self.timers);
        }
    }

    fn patterns_resolved(&mut self, now_ms: i64, resolved: PatternsResolved) -> Effects {
        let mut effects = Effects::default();
        let group_id = resolved.group_id.clone();
        self.with_group(now_ms, &group_id, &mut effects, |group, cx| {
            if let Some(group) = group.as_consumer_mut() {
                group.patterns_resolved(cx, resolved);
            }
        });
        effects
    }

    fn target_computed(&mut self, now_ms: i64, computed: ComputedTarget) -> Effects {
        let mut effects = Effects::default();
        let group_id = computed.group_id().clone();
        self.with_group(now_ms, &group_id, &mut effects, |group, cx| {
            if let Some(group) = group.as_consumer_mut() {
                group.target_computed(cx, computed);
            }
        });
        effects
    }

    /// What must survive a restart, as records: offsets, and groups with their members if they are settled.
    #[cfg(test)]
    pub(super) fn snapshot(&self) -> Vec<GroupRecord> {
        let groups = self.groups.values().flat_map(|group| match group {
            Group::Classic(group) if group.is_settled() => vec![group.to_record()],
            Group::Classic(_) => Vec::new(),
            Group::Consumer(group) => group.snapshot(),
        });
        groups.chain(self.offsets.snapshot()).collect()
    }

    /// Panics unless groups and deadlines agree with each other.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let deadlines = self.timers.keys();
        let has_deadline = |key: &TimerKey| deadlines.contains_key(key);
        self.groups.values().for_each(|group| match group {
            Group::Classic(group) => group.check(has_deadline),
            Group::Consumer(group) => group.check(has_deadline),
        });
        for key in deadlines.keys() {
            let (TimerKey::Join(group_id)
            | TimerKey::Sync(group_id)
            | TimerKey::Session(group_id, _)
            | TimerKey::Rebalance(group_id, _)) = key
            else {
                continue;
            };
            let is_used = match self.groups.get(group_id) {
                Some(Group::Classic(group)) => group.has_use_for(key),
                Some(Group::Consumer(group)) => group.has_use_for(key),
                None => false,
            };
            assert!(is_used, "a stale deadline: {key:?}");
        }
    }

    /// Writes tombstones for offsets whose time is up, and for empty groups that have no offsets left (KIP-211).
    fn expire(&mut self, now_ms: i64, effects: &mut Effects) {
        let retention_ms = self.config.offsets_retention_ms;
        let wall_ms = self.wall_ms(now_ms);
        let mut records = Vec::new();
        for (group_id, group) in &self.groups {
            let nothing_left =
                self.offsets
                    .expire(group_id, group, wall_ms, retention_ms, &mut records);
            if nothing_left && group.is_abandoned() {
                records.extend(self.group_tombstones(group_id));
            }
        }
        records
            .into_iter()
            .for_each(|record| self.append(effects, record));
        let next_ms = now_ms.saturating_add(self.config.offsets_retention_check_interval_ms.max(1));
        self.timers.schedule(TimerKey::Expiry, next_ms);
    }

    /// Applies a record and adds it to the effects.
    pub(super) fn append(&mut self, effects: &mut Effects, record: GroupRecord) {
        self.apply(&record);
        effects.write(record);
    }

    /// Makes a "simple" group, which has no protocol type, if there is no group: offsets can be committed without one.
    pub(super) fn ensure_group(&mut self, group_id: &GroupId) {
        if !self.groups.contains_key(group_id) {
            let group = Group::Classic(ClassicGroup::new(group_id.clone(), None));
            self.groups.insert(group_id.clone(), group);
        }
    }

    fn step(
        &mut self,
        now_ms: i64,
        act: impl FnOnce(&mut BTreeMap<GroupId, Group>, &mut Context<'_>),
    ) -> Effects {
        let mut effects = Effects::default();
        let (groups, mut cx) = self.groups_and_context(now_ms, &mut effects);
        act(groups, &mut cx);
        effects
    }

    pub(super) fn with_group(
        &mut self,
        now_ms: i64,
        group_id: &GroupId,
        effects: &mut Effects,
        act: impl FnOnce(&mut Group, &mut Context<'_>),
    ) {
        let (groups, mut cx) = self.groups_and_context(now_ms, effects);
        if let Some(group) = groups.get_mut(group_id) {
            act(group, &mut cx);
            group.change_protocol(group_id, &mut cx);
        }
    }

    /// The groups, and what one of them is given in a step.
    fn groups_and_context<'a>(
        &'a mut self,
        now_ms: i64,
        effects: &'a mut Effects,
    ) -> (&'a mut BTreeMap<GroupId, Group>, Context<'a>) {
        let cx = Context {
            now_ms,
            wall_ms: self.wall_ms(now_ms),
            config: &self.config,
            catalog: &self.catalog,
            catalog_version: self.catalog_version,
            max_batch_bytes: self.max_batch_bytes,
            timers: &mut self.timers,
            effects,
            turns_classic: None,
        };
        (&mut self.groups, cx)
    }
}
