//! The `uniform` assignor: balance first, then as few moves as possible.
//!
//! Topics with the same subscribers form a pool. Within a pool a partition without an owner goes to the subscriber that has
//! the fewest partitions of all pools. Then partitions move from the fullest to the emptiest subscriber while those differ
//! by two or more. This is repeated for all pools until nothing moves. It ends, because every move brings two members
//! closer.
//!
//! If all members subscribe to the same topics, there is one pool. Then members differ by one partition at most, and no
//! assignment that is as balanced needs fewer moves.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::group::assignor::spec::{Partitions, Pool, Spec};
use crate::group::id::MemberId;

type Partition = (Uuid, i32);

/// The partitions of topics with the same subscribers.
struct Shares {
    subscribers: Vec<usize>,
    /// By subscriber: the pool's partitions it has.
    owned: BTreeMap<usize, Vec<Partition>>,
    unowned: Vec<Partition>,
}

pub(super) fn assign(spec: &Spec<'_>) -> BTreeMap<MemberId, Partitions> {
    let order: Vec<&MemberId> = spec.members.keys().collect();
    let mut loads = vec![0usize; order.len()];
    let mut pools = pools(spec, &order, &mut loads);
    // The pools with little choice choose first.
    pools.sort_by_key(|pool| pool.subscribers.len());
    for pool in &mut pools {
        pool.fill(&mut loads);
    }
    let mut moves = true;
    while moves {
        moves = false;
        for pool in &mut pools {
            moves |= pool.balance(&mut loads);
        }
    }

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
fn pools(spec: &Spec<'_>, order: &[&MemberId], loads: &mut [usize]) -> Vec<Shares> {
    let mut pools = Vec::new();
    for Pool {
        subscribers,
        topics,
    } in spec.pools(order)
    {
        let mut pool = Shares {
            subscribers,
            owned: BTreeMap::new(),
            unowned: Vec::new(),
        };
        let mut taken: BTreeSet<Partition> = BTreeSet::new();
        for &member in &pool.subscribers {
            let Some(previous) = spec.members[order[member]].previous else {
                continue;
            };
            for (topic_id, partitions) in common(previous, &topics) {
                let known = 0..spec.partition_counts[&topic_id];
                for &partition in partitions {
                    if known.contains(&partition) && taken.insert((topic_id, partition)) {
                        let owned = pool.owned.entry(member).or_default();
                        owned.push((topic_id, partition));
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

/// What a member had of some topics, which are in order. Takes time for the topics or for what it had, whichever is less.
fn common<'a>(previous: &'a Partitions, topics: &[Uuid]) -> Vec<(Uuid, &'a BTreeSet<i32>)> {
    if previous.len() < topics.len() {
        let had = previous.iter();
        had.filter(|(topic_id, _)| topics.binary_search(topic_id).is_ok())
            .map(|(topic_id, partitions)| (*topic_id, partitions))
            .collect()
    } else {
        let had = topics
            .iter()
            .filter_map(|topic_id| previous.get_key_value(topic_id));
        had.map(|(topic_id, partitions)| (*topic_id, partitions))
            .collect()
    }
}

impl Shares {
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

    fn is_balanced(&self, loads: &[usize]) -> bool {
        let owners = self.owned.iter();
        let owners = owners.filter(|(_, partitions)| !partitions.is_empty());
        let highest = owners.map(|(&member, _)| loads[member]).max();
        let lowest = self.subscribers.iter().map(|&member| loads[member]).min();
        highest.unwrap_or(0) < lowest.unwrap_or(0) + 2
    }

    /// Moves partitions from the fullest to the emptiest. Says whether there was anything to move.
    fn balance(&mut self, loads: &mut [usize]) -> bool {
        if self.is_balanced(loads) {
            return false;
        }
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
