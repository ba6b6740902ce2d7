//! Rules of the assignors, checked on chosen and on random groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::{Rng, SeedableRng, rngs::StdRng};

use uuid::Uuid;

use crate::group::assignor::Assignor;
use crate::group::assignor::spec::{MemberSpec, Partitions, Spec};
use crate::group::id::{InstanceId, MemberId};
use crate::seed::number_from_env;

fn topic(number: u128) -> Uuid {
    Uuid::from_u128(number + 1)
}

fn member(number: usize) -> MemberId {
    format!("m{number:04}").into()
}

/// One group, as a test builds it.
#[derive(Debug, Clone, Default)]
struct Group {
    subscriptions: BTreeMap<MemberId, BTreeSet<Uuid>>,
    instance_ids: BTreeMap<MemberId, InstanceId>,
    partition_counts: BTreeMap<Uuid, i32>,
    target: BTreeMap<MemberId, Partitions>,
}

impl Group {
    fn homogeneous(member_count: usize, partition_counts: &[i32]) -> Self {
        let topics = (0u128..)
            .zip(partition_counts)
            .map(|(number, &count)| (topic(number), count));
        let mut group = Self {
            partition_counts: topics.collect(),
            ..Self::default()
        };
        for number in 0..member_count {
            group.add(number);
        }
        group
    }

    fn add(&mut self, number: usize) {
        let everything = self.partition_counts.keys().copied().collect();
        self.subscriptions.insert(member(number), everything);
    }

    fn assign(&mut self, assignor: Assignor) -> BTreeMap<MemberId, Partitions> {
        let members = self.subscriptions.iter().map(|(id, subscribed)| {
            let spec = MemberSpec {
                instance_id: self.instance_ids.get(id),
                subscribed: Arc::new(subscribed.clone()),
                previous: self.target.get(id),
            };
            (id.clone(), spec)
        });
        let spec = Spec {
            members: members.collect(),
            partition_counts: self.partition_counts.clone(),
        };
        let target = assignor.assign(&spec);
        assert_eq!(
            target,
            assignor.assign(&spec),
            "the same input gives the same target"
        );
        self.check(&target);
        self.target = target.clone();
        target
    }

    /// Every partition that somebody subscribes to is at one subscriber, and nothing else is anywhere.
    fn check(&self, target: &BTreeMap<MemberId, Partitions>) {
        assert!(target.keys().eq(self.subscriptions.keys()));
        let mut owners: BTreeMap<(Uuid, i32), &MemberId> = BTreeMap::new();
        for (id, partitions) in target {
            for (topic_id, indexes) in partitions {
                assert!(!indexes.is_empty(), "a topic without partitions");
                assert!(
                    self.subscriptions[id].contains(topic_id),
                    "{id} gets what it did not ask for"
                );
                for index in indexes {
                    let other = owners.insert((*topic_id, *index), id);
                    assert_eq!(other, None, "{topic_id}-{index} has two owners");
                }
            }
        }
        let wanted: BTreeSet<Uuid> = self.subscriptions.values().flatten().copied().collect();
        let expected: BTreeSet<(Uuid, i32)> = self
            .partition_counts
            .iter()
            .filter(|(topic_id, _)| wanted.contains(topic_id))
            .flat_map(|(topic_id, &count)| (0..count).map(|index| (*topic_id, index)))
            .collect();
        assert!(
            owners.keys().eq(&expected),
            "partitions without an owner, or that do not exist"
        );
    }
}

fn sizes(target: &BTreeMap<MemberId, Partitions>) -> Vec<usize> {
    let size = |partitions: &Partitions| partitions.values().map(BTreeSet::len).sum();
    target.values().map(size).collect()
}

fn moved(before: &BTreeMap<MemberId, Partitions>, after: &BTreeMap<MemberId, Partitions>) -> usize {
    let had = |id: &MemberId, topic_id: &Uuid, index: &i32| {
        before
            .get(id)
            .and_then(|had| had.get(topic_id))
            .is_some_and(|had| had.contains(index))
    };
    let mut moved = 0;
    for (id, partitions) in after {
        for (topic_id, indexes) in partitions {
            moved += indexes
                .iter()
                .filter(|index| !had(id, topic_id, index))
                .count();
        }
    }
    moved
}

#[test]
fn uniform_gives_every_member_as_much_as_any_other_give_or_take_one() {
    for member_count in 1..12 {
        let mut group = Group::homogeneous(member_count, &[7, 1, 3, 12]);
        let sizes = sizes(&group.assign(Assignor::Uniform));
        assert!(
            sizes.iter().max() <= sizes.iter().min().map(|min| min + 1).as_ref(),
            "{sizes:?}"
        );
    }
}

#[test]
fn uniform_moves_to_a_new_member_only_its_share() {
    let mut group = Group::homogeneous(3, &[12]);
    let before = group.assign(Assignor::Uniform);
    group.add(3);
    let after = group.assign(Assignor::Uniform);
    assert_eq!(
        (sizes(&after), moved(&before, &after)),
        (vec![3, 3, 3, 3], 3)
    );
}

#[test]
fn uniform_moves_from_a_member_that_left_only_what_it_had() {
    let mut group = Group::homogeneous(4, &[12]);
    let before = group.assign(Assignor::Uniform);
    group.subscriptions.remove(&member(0));
    let after = group.assign(Assignor::Uniform);
    assert_eq!((sizes(&after), moved(&before, &after)), (vec![4, 4, 4], 3));
}

#[test]
fn uniform_leaves_a_balanced_group_alone() {
    let mut group = Group::homogeneous(5, &[4, 9]);
    let before = group.assign(Assignor::Uniform);
    assert_eq!(group.assign(Assignor::Uniform), before);
}

#[test]
fn range_gives_neighbouring_partitions_and_the_same_ones_in_topics_of_the_same_size() {
    let mut group = Group::homogeneous(3, &[7, 7]);
    let target = group.assign(Assignor::Range);
    let of = |number: usize| {
        target[&member(number)]
            .values()
            .map(|indexes| indexes.iter().copied().collect())
            .collect::<Vec<Vec<i32>>>()
    };
    assert_eq!(of(0), [[0, 1, 2], [0, 1, 2]]);
    assert_eq!(of(1), [[3, 4], [3, 4]]);
    assert_eq!(of(2), [[5, 6], [5, 6]]);
}

#[test]
fn range_puts_static_members_first_in_the_order_of_their_instances() {
    let mut group = Group::homogeneous(3, &[3]);
    group.instance_ids.insert(member(2), "a".into());
    group.instance_ids.insert(member(1), "b".into());
    let target = group.assign(Assignor::Range);
    let of = |number: usize| target[&member(number)][&topic(0)].first().copied();
    assert_eq!((of(2), of(1), of(0)), (Some(0), Some(1), Some(2)));
}

#[test]
fn members_beyond_the_partitions_get_nothing() {
    for assignor in [Assignor::Uniform, Assignor::Range] {
        let sizes = sizes(&Group::homogeneous(5, &[2]).assign(assignor));
        assert_eq!(sizes.iter().sum::<usize>(), 2);
        assert_eq!(sizes.len(), 5);
    }
}

#[test]
fn random_groups_that_grow_shrink_and_change_their_minds_keep_every_partition_at_one_subscriber() {
    let seed = number_from_env("GROUP_SEED").unwrap_or_else(rand::random);
    println!("repeat with GROUP_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..200 {
        let mut group = Group::default();
        for _ in 0..30 {
            match rng.random_range(0..5) {
                0 => drop(
                    group
                        .partition_counts
                        .insert(topic(rng.random_range(0..6)), rng.random_range(1..20)),
                ),
                1 => drop(
                    group
                        .partition_counts
                        .remove(&topic(rng.random_range(0..6))),
                ),
                2 => drop(group.subscriptions.remove(&member(rng.random_range(0..8)))),
                _ => {
                    let topics = (0..rng.random_range(0..7))
                        .map(|_| topic(rng.random_range(0..6)))
                        .collect();
                    group
                        .subscriptions
                        .insert(member(rng.random_range(0..8)), topics);
                }
            }
            let assignor = if rng.random_bool(0.8) {
                Assignor::Uniform
            } else {
                Assignor::Range
            };
            let target = group.assign(assignor);
            if assignor == Assignor::Uniform {
                check_no_single_move_would_help(&group, &target);
            }
        }
    }
}

/// Nobody has two partitions more than another member that could take one of them.
fn check_no_single_move_would_help(group: &Group, target: &BTreeMap<MemberId, Partitions>) {
    let sizes: BTreeMap<&MemberId, usize> = target.keys().zip(sizes(target)).collect();
    for (from, partitions) in target {
        for to in target.keys().filter(|to| sizes[to] + 1 < sizes[from]) {
            let shared = partitions
                .keys()
                .find(|topic_id| group.subscriptions[to].contains(topic_id));
            assert_eq!(
                shared, None,
                "{from} with {} could give to {to} with {}",
                sizes[from], sizes[to]
            );
        }
    }
}
