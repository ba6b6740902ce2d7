//! Committed offsets, and those of transactions that are still open.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use crate::group::any::Group;
use crate::group::classic::RetentionBase;
use crate::group::id::{GroupId, Name};
use crate::group::record::GroupRecord;
use crate::group::record::offset::{CommittedOffset, OffsetKey};

type ByPartition<T> = BTreeMap<Name, BTreeMap<i32, T>>;

/// The offsets of all groups of a shard.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Offsets {
    committed: BTreeMap<GroupId, ByPartition<Stored>>,
    /// By producer id: offsets committed in its open transaction.
    pending: BTreeMap<i64, Pending>,
    /// By group: the producers with an open transaction on a partition.
    open: BTreeMap<GroupId, ByPartition<BTreeSet<i64>>>,
    /// Counts records: the later one of two commits wins, even if its transaction ended first.
    sequence: u64,
}

/// What a producer's open transaction has committed.
#[derive(Debug, Clone, Default)]
struct Pending {
    /// In the log. A marker ends these.
    settled: BTreeMap<OffsetKey, Stored>,
    /// On their way there, by write. A marker may come before one of them: then the log refuses it.
    unsettled: VecDeque<BTreeMap<OffsetKey, Stored>>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.settled.is_empty() && self.unsettled.is_empty()
    }

    fn has(&self, key: &OffsetKey) -> bool {
        let mut unsettled = self.unsettled.iter();
        self.settled.contains_key(key) || unsettled.any(|write| write.contains_key(key))
    }

    /// A write keeps its place when nothing is left of it.
    fn remove(&mut self, key: &OffsetKey) {
        self.settled.remove(key);
        for write in &mut self.unsettled {
            write.remove(key);
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&OffsetKey, &Stored)> {
        self.settled.iter().chain(self.unsettled.iter().flatten())
    }
}

#[derive(Debug, Clone)]
struct Stored {
    sequence: u64,
    /// How often an offset of the partition was committed, as far as the log tells since the load, this one included.
    commits: u64,
    value: CommittedOffset,
}

impl Stored {
    fn new(sequence: u64, value: &CommittedOffset) -> Self {
        Self {
            sequence,
            commits: 1,
            value: value.clone(),
        }
    }
}

impl Offsets {
    /// Takes over a commit outside of transactions, or the removal of an offset together with the pending ones of its partition.
    pub(super) fn apply(&mut self, key: &OffsetKey, value: Option<&CommittedOffset>) {
        self.sequence += 1;
        let OffsetKey {
            group_id,
            topic,
            partition_index,
        } = key;
        if let Some(value) = value {
            let stored = Stored::new(self.sequence, value);
            commit(&mut self.committed, key, stored);
            return;
        }
        take(&mut self.committed, group_id, topic, *partition_index);
        for producer_id in take(&mut self.open, group_id, topic, *partition_index)
            .into_iter()
            .flatten()
        {
            if let Some(pending) = self.pending.get_mut(&producer_id) {
                pending.remove(key);
            }
            self.forget_if_empty(producer_id);
        }
    }

    /// Takes over a commit in an open transaction.
    pub(super) fn apply_pending(
        &mut self,
        producer_id: i64,
        key: &OffsetKey,
        value: &CommittedOffset,
    ) {
        let stored = self.next(value);
        let pending = self.pending.entry(producer_id).or_default();
        pending.settled.insert(key.clone(), stored);
        self.opened(producer_id, key);
    }

    /// Takes note of a write in an open transaction that is yet to come into the log. It is pending for whoever asks.
    pub(super) fn stage<'a>(
        &mut self,
        producer_id: i64,
        commits: impl Iterator<Item = (&'a OffsetKey, &'a CommittedOffset)>,
    ) {
        let mut write = BTreeMap::new();
        for (key, value) in commits {
            write.insert(key.clone(), self.next(value));
            self.opened(producer_id, key);
        }
        let pending = self.pending.entry(producer_id).or_default();
        pending.unsettled.push_back(write);
    }

    /// The oldest of the producer's writes is in the log, or was refused. Gives the groups that it is about, if it is there.
    pub(super) fn settle(&mut self, producer_id: i64, is_appended: bool) -> BTreeSet<GroupId> {
        let mut groups = BTreeSet::new();
        let Some(pending) = self.pending.get_mut(&producer_id) else {
            return groups;
        };
        let write = pending.unsettled.pop_front().unwrap_or_default();
        if is_appended {
            groups.extend(write.keys().map(|key| key.group_id.clone()));
            pending.settled.extend(write);
        } else {
            let gone: Vec<_> = write.into_keys().filter(|key| !pending.has(key)).collect();
            gone.iter().for_each(|key| self.closed(producer_id, key));
        }
        self.forget_if_empty(producer_id);
        groups
    }

    fn next(&mut self, value: &CommittedOffset) -> Stored {
        self.sequence += 1;
        Stored::new(self.sequence, value)
    }

    fn opened(&mut self, producer_id: i64, key: &OffsetKey) {
        let open = self.open.entry(key.group_id.clone()).or_default();
        open.entry(key.topic.clone())
            .or_default()
            .entry(key.partition_index)
            .or_default()
            .insert(producer_id);
    }

    fn closed(&mut self, producer_id: i64, key: &OffsetKey) {
        let (group_id, topic) = (&key.group_id, &key.topic);
        if let Some(mut producers) = take(&mut self.open, group_id, topic, key.partition_index) {
            producers.remove(&producer_id);
            if !producers.is_empty() {
                put(&mut self.open, key, producers);
            }
        }
    }

    fn forget_if_empty(&mut self, producer_id: i64) {
        if self
            .pending
            .get(&producer_id)
            .is_some_and(Pending::is_empty)
        {
            self.pending.remove(&producer_id);
        }
    }

    /// Ends the producer's transaction. Its offsets are dropped, or they count unless a later commit has overtaken them: so it
    /// does not matter when this is learnt, as long as no later write of the producer's is settled.
    pub(super) fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        self.sequence += 1;
        let Some(pending) = self.pending.get_mut(&producer_id) else {
            return;
        };
        let ended = std::mem::take(&mut pending.settled);
        let mut closed: Vec<_> = ended.keys().cloned().collect();
        closed.retain(|key| !pending.has(key));
        closed.iter().for_each(|key| self.closed(producer_id, key));
        self.forget_if_empty(producer_id);
        for (key, stored) in ended {
            if commit {
                self::commit(&mut self.committed, &key, stored);
            }
        }
    }

    /// The topics of a group with a committed offset, and each partition's.
    pub(super) fn committed(
        &self,
        group_id: &str,
    ) -> impl Iterator<Item = (&Name, impl Iterator<Item = (i32, &CommittedOffset)>)> {
        let topics = self.committed.get(group_id).into_iter().flatten();
        topics.map(|(topic, partitions)| {
            let partitions = partitions.iter();
            (
                topic,
                partitions.map(|(index, stored)| (*index, &stored.value)),
            )
        })
    }

    /// Topic, partition and committed offset of a group, and how often that was committed, in their order, from behind a place on.
    pub(super) fn committed_after(
        &self,
        group_id: &str,
        after: Option<(Name, i32)>,
    ) -> impl Iterator<Item = (&Name, i32, i64, u64)> {
        let topics = self.committed.get(group_id).into_iter();
        topics.flat_map(move |topics| {
            let after = after.clone();
            let first = after.as_ref().map(|(topic, _)| topic.clone());
            let from = first.map_or(Bound::Unbounded, Bound::Included);
            let topics = topics.range::<Name, _>((from, Bound::Unbounded));
            topics.flat_map(move |(topic, partitions)| {
                let from = match &after {
                    Some((first, partition)) if first == topic => Bound::Excluded(*partition),
                    _ => Bound::Unbounded,
                };
                let partitions = partitions.range((from, Bound::Unbounded));
                partitions.map(move |(index, stored)| {
                    (topic, *index, stored.value.offset, stored.commits)
                })
            })
        })
    }

    /// What all groups have committed for a topic, also in transactions that are still open.
    pub(super) fn of_topic(
        &self,
        topic: &Name,
    ) -> impl Iterator<Item = (OffsetKey, &CommittedOffset)> {
        let committed = self.committed.iter().flat_map(move |(group_id, topics)| {
            let partitions = topics.get(topic).into_iter().flatten();
            partitions.map(move |(index, stored)| {
                (OffsetKey::new(group_id, topic, *index), &stored.value)
            })
        });
        let pending = self.pending.values().flat_map(Pending::iter);
        let pending = pending.filter(move |(key, _)| key.topic == *topic);
        committed.chain(pending.map(|(key, stored)| (key.clone(), &stored.value)))
    }

    pub(super) fn get(
        &self,
        group_id: &str,
        topic: &str,
        partition_index: i32,
    ) -> Option<&CommittedOffset> {
        self.committed
            .get(group_id)?
            .get(topic)?
            .get(&partition_index)
            .map(|stored| &stored.value)
    }

    /// Whether a transaction that is open as far as is known has committed offsets of the group.
    pub(super) fn has_pending(&self, group_id: &str) -> bool {
        self.open.contains_key(group_id)
    }

    pub(super) fn is_pending(&self, group_id: &str, topic: &str, partition_index: i32) -> bool {
        let open = self.open.get(group_id).and_then(|topics| topics.get(topic));
        open.is_some_and(|partitions| partitions.contains_key(&partition_index))
    }

    /// Every partition of `group_id` with an offset, pending ones included, each once.
    pub(super) fn keys_of(&self, group_id: &GroupId) -> BTreeSet<OffsetKey> {
        let committed = self
            .committed
            .get(group_id)
            .into_iter()
            .flat_map(partitions_of);
        let open = self.open.get(group_id).into_iter().flat_map(partitions_of);
        committed
            .chain(open)
            .map(|(topic, partition_index)| OffsetKey::new(group_id, topic, partition_index))
            .collect()
    }

    /// Adds tombstones for the group's expired offsets. `true` if no offset and no open transaction is left after them.
    pub(super) fn expire(
        &self,
        group_id: &GroupId,
        group: &Group,
        now_ms: i64,
        retention_ms: i64,
        tombstones: &mut Vec<GroupRecord>,
    ) -> bool {
        let mut nothing_left = !self.open.contains_key(group_id);
        let Some(topics) = self.committed.get(group_id) else {
            return nothing_left;
        };
        let Some(base) = group.retention_base() else {
            return false;
        };
        for (topic, partitions) in topics {
            let subscribed = group.is_subscribed_to(topic);
            for (partition_index, Stored { value, .. }) in partitions {
                let expires_at_ms = value.expire_timestamp_ms.unwrap_or_else(|| {
                    let since_ms = match base {
                        RetentionBase::Since(since_ms) => since_ms,
                        RetentionBase::SinceCommit => value.commit_timestamp_ms,
                    };
                    since_ms.saturating_add(retention_ms)
                });
                if now_ms >= expires_at_ms
                    && !subscribed
                    && !self.is_pending(group_id, topic, *partition_index)
                {
                    let key = OffsetKey::new(group_id, topic, *partition_index);
                    tombstones.push(GroupRecord::Offset { key, value: None });
                } else {
                    nothing_left = false;
                }
            }
        }
        nothing_left
    }

    /// The state as the shortest log that leads to it.
    #[cfg(test)]
    pub(super) fn snapshot(&self) -> Vec<GroupRecord> {
        let committed = self.committed.iter().flat_map(|(group_id, topics)| {
            topics.iter().flat_map(move |(topic, partitions)| {
                partitions
                    .iter()
                    .map(move |(index, stored)| GroupRecord::Offset {
                        key: OffsetKey::new(group_id, topic, *index),
                        value: Some(stored.value.clone()),
                    })
            })
        });
        let pending = self.pending.iter().flat_map(|(&producer_id, offsets)| {
            offsets
                .settled
                .iter()
                .map(move |(key, stored)| GroupRecord::TxnOffset {
                    producer_id,
                    producer_epoch: 0,
                    key: key.clone(),
                    value: stored.value.clone(),
                })
        });
        committed.chain(pending).collect()
    }
}

fn partitions_of<T>(topics: &ByPartition<T>) -> impl Iterator<Item = (&Name, i32)> {
    topics
        .iter()
        .flat_map(|(topic, partitions)| partitions.keys().map(move |index| (topic, *index)))
}

/// An offset counts from now on, unless a later one is there already.
fn commit(map: &mut BTreeMap<GroupId, ByPartition<Stored>>, key: &OffsetKey, stored: Stored) {
    // Names are cloned only if need be: nearly every commit is for a partition that has an offset already.
    match get_mut(map, key) {
        Some(current) => {
            let commits = current.commits + stored.commits;
            if stored.sequence > current.sequence {
                *current = stored;
            }
            current.commits = commits;
        }
        None => put(map, key, stored),
    }
}

fn get_mut<'a, T>(
    map: &'a mut BTreeMap<GroupId, ByPartition<T>>,
    key: &OffsetKey,
) -> Option<&'a mut T> {
    let topics = map.get_mut(&key.group_id)?;
    topics.get_mut(&key.topic)?.get_mut(&key.partition_index)
}

fn put<T>(map: &mut BTreeMap<GroupId, ByPartition<T>>, key: &OffsetKey, value: T) {
    let topics = map.entry(key.group_id.clone()).or_default();
    topics
        .entry(key.topic.clone())
        .or_default()
        .insert(key.partition_index, value);
}

/// Removes an entry, and the maps it leaves empty.
fn take<T>(
    map: &mut BTreeMap<GroupId, ByPartition<T>>,
    group_id: &GroupId,
    topic: &Name,
    partition_index: i32,
) -> Option<T> {
    let topics = map.get_mut(group_id)?;
    let partitions = topics.get_mut(topic)?;
    let value = partitions.remove(&partition_index);
    if partitions.is_empty() {
        topics.remove(topic);
    }
    if topics.is_empty() {
        map.remove(group_id);
    }
    value
}
