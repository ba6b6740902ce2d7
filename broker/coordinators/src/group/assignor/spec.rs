//! What assignors work on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::group::id::{InstanceId, MemberId};

/// Partitions by topic. No topic is without partitions.
pub type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// What an assignor works on.
#[derive(Debug, Default)]
pub(crate) struct Spec<'a> {
    pub(crate) members: BTreeMap<MemberId, MemberSpec<'a>>,
    /// How many partitions each subscribed topic has.
    pub(crate) partition_counts: BTreeMap<Uuid, i32>,
}

/// A member, as an assignor sees it.
#[derive(Debug)]
pub(crate) struct MemberSpec<'a> {
    pub(crate) instance_id: Option<&'a InstanceId>,
    /// Members that subscribe to the same topics may share one set, which costs less than equal sets.
    pub(crate) subscribed: Arc<BTreeSet<Uuid>>,
    /// The member's part of the last target.
    pub(crate) previous: Option<&'a Partitions>,
}

/// Topics with the same subscribers.
pub(super) struct Pool {
    /// Indexes into the members in the order given, ascending.
    pub(super) subscribers: Vec<usize>,
    pub(super) topics: Vec<Uuid>,
}

impl Spec<'_> {
    /// The topics that exist and have subscribers, in the order of the subscribers.
    ///
    /// Takes time and memory for each topic and each set of subscriptions, not for each member that has such a set.
    pub(super) fn pools(&self, order: &[&MemberId]) -> Vec<Pool> {
        let mut alike: BTreeMap<*const BTreeSet<Uuid>, usize> = BTreeMap::new();
        let mut sets: Vec<(&BTreeSet<Uuid>, Vec<usize>)> = Vec::new();
        for (index, member_id) in order.iter().enumerate() {
            let subscribed = &self.members[*member_id].subscribed;
            let at = *alike.entry(Arc::as_ptr(subscribed)).or_insert_with(|| {
                sets.push((subscribed, Vec::new()));
                sets.len() - 1
            });
            sets[at].1.push(index);
        }
        let mut sets_of: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
        for (at, (subscribed, _)) in sets.iter().enumerate() {
            for topic_id in subscribed.iter() {
                if self.partition_counts.contains_key(topic_id) {
                    sets_of.entry(*topic_id).or_default().push(at);
                }
            }
        }
        let mut topics_of: BTreeMap<Vec<usize>, Vec<Uuid>> = BTreeMap::new();
        for (topic_id, sets) in sets_of {
            topics_of.entry(sets).or_default().push(topic_id);
        }
        let pools = topics_of.into_iter().map(|(at, topics)| {
            let members = at.iter().flat_map(|at| &sets[*at].1).copied();
            let mut subscribers: Vec<usize> = members.collect();
            subscribers.sort_unstable();
            Pool {
                subscribers,
                topics,
            }
        });
        let mut pools: Vec<Pool> = pools.collect();
        pools.sort_by(|one, other| one.subscribers.cmp(&other.subscribers));
        pools
    }
}
