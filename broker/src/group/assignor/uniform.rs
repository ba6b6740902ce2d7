//! The `uniform` assignor: balance first, then as few moves as possible.
//!
//! Topics with the same subscribers form a pool. Within a pool a partition without an owner goes to the subscriber
//! that has the fewest partitions of all pools, and then partitions move from the fullest to the emptiest
//! subscriber while those differ by two or more. Pools are gone over until nothing moves; every move brings two
//! members closer, so that ends. With one pool (all members subscribe to the same) the result is balanced to one
//! partition, and no assignment that is needs fewer moves.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Partitions, Spec};
use crate::group::event::Id;

type Partition = (Uuid, i32);

/// Topics with the same subscribers.
struct Pool {
    subscribers: Vec<usize>,
    /// By subscriber: the pool's partitions it has.
    owned: BTreeMap<usize, Vec<Partition>>,
    unowned: Vec<Partition>,
}

pub(super) fn assign(spec: &Spec<'_>) -> BTreeMap<Id, Partitions> {
    let order: Vec<&Id> = spec.members.keys().collect();
    let mut loads = vec![0usize; order.len()];
    let mut pools = pools(spec, &order, &mut loads);
    // Where there is little choice, choose first.
    pools.sort_by_key(|pool| pool.subscribers.len());
    for pool in &mut pools {
        pool.fill(&mut loads);
    }
    while pools.iter_mut().any(|pool| pool.balance(&mut loads)) {}

    let mut assignment: Vec<Partitions> = vec![Partitions::new(); order.len()];
    for (member, partitions) in pools.into_iter().flat_map(|pool| pool.owned) {
        for (topic_id, partition) in partitions {
            assignment[member]
                .entry(topic_id)
                .or_default()
                .insert(partition);
        }
    }
    order.into_iter().cloned().zip(assignment).collect()
}

/// The pools, with every partition at the member that had it, if that member still may have it.
fn pools(spec: &Spec<'_>, order: &[&Id], loads: &mut [usize]) -> Vec<Pool> {
    let mut topics_of: BTreeMap<Vec<usize>, Vec<Uuid>> = BTreeMap::new();
    for (topic_id, subscribers) in spec.subscribers(order) {
        topics_of.entry(subscribers).or_default().push(topic_id);
    }
    let mut pools = Vec::with_capacity(topics_of.len());
    for (subscribers, topics) in topics_of {
        let mut pool = Pool {
            subscribers,
            owned: BTreeMap::new(),
            unowned: Vec::new(),
        };
        let mut taken: BTreeSet<Partition> = BTreeSet::new();
        for &member in &pool.subscribers {
            let previous = spec.members[order[member]].previous;
            for topic_id in &topics {
                let known = 0..spec.partition_counts[topic_id];
                let kept = previous.and_then(|previous| previous.get(topic_id));
                for &partition in kept.into_iter().flatten() {
                    if known.contains(&partition) && taken.insert((*topic_id, partition)) {
                        pool.owned
                            .entry(member)
                            .or_default()
                            .push((*topic_id, partition));
                        loads[member] += 1;
                    }
                }
            }
        }
        for topic_id in topics {
            let partitions = (0..spec.partition_counts[&topic_id]).map(|index| (topic_id, index));
            pool.unowned
                .extend(partitions.filter(|partition| !taken.contains(partition)));
        }
        pools.push(pool);
    }
    pools
}

impl Pool {
    fn by_load(&self, loads: &[usize]) -> BTreeSet<(usize, usize)> {
        self.subscribers
            .iter()
            .map(|&member| (loads[member], member))
            .collect()
    }

    /// Gives every partition without an owner to the emptiest subscriber.
    fn fill(&mut self, loads: &mut [usize]) {
        if self.unowned.is_empty() {
            return;
        }
        let mut by_load = self.by_load(loads);
        for partition in std::mem::take(&mut self.unowned) {
            let Some((load, member)) = by_load.pop_first() else {
                return;
            };
            self.owned.entry(member).or_default().push(partition);
            loads[member] = load + 1;
            by_load.insert((load + 1, member));
        }
    }

    /// Moves partitions from the fullest to the emptiest; whether there was anything to move.
    fn balance(&mut self, loads: &mut [usize]) -> bool {
        let mut by_load = self.by_load(loads);
        let mut donors: BTreeSet<(usize, usize)> = self
            .owned
            .iter()
            .filter(|(_, partitions)| !partitions.is_empty())
            .map(|(&member, _)| (loads[member], member))
            .collect();
        let mut moved = false;
        while let (Some(&(high, from)), Some(&(low, to))) = (donors.last(), by_load.first()) {
            if high < low + 2 {
                break;
            }
            let giver = self.owned.entry(from).or_default();
            let Some(partition) = giver.pop() else {
                break;
            };
            let gives_more = !giver.is_empty();
            self.owned.entry(to).or_default().push(partition);
            donors.remove(&(high, from));
            donors.remove(&(low, to));
            by_load.remove(&(high, from));
            by_load.remove(&(low, to));
            (loads[from], loads[to]) = (high - 1, low + 1);
            if gives_more {
                donors.insert((high - 1, from));
            }
            donors.insert((low + 1, to));
            by_load.insert((high - 1, from));
            by_load.insert((low + 1, to));
            moved = true;
        }
        moved
    }
}
