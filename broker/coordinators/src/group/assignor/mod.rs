//! Server-side assignors (KIP-848): pure functions from subscriptions and the last target to a new target.

mod range;
mod uniform;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use uuid::Uuid;

use super::event::Id;

/// Partitions by topic; no topic without partitions.
pub type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// The assignors there are, as members name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Every member gets the same number of partitions, give or take one, and keeps what it has where it can.
    Uniform,
    /// Every topic is cut into runs of neighbouring partitions, one per member, in the order of the members.
    Range,
}

impl Assignor {
    /// The assignor of this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range]
            .into_iter()
            .find(|assignor| assignor.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// Gives every partition of every subscribed topic to exactly one of the topic's subscribers.
    ///
    /// The answer has an entry for every member.
    pub(super) fn assign(self, spec: &Spec<'_>) -> BTreeMap<Id, Partitions> {
        match self {
            Self::Uniform => uniform::assign(spec),
            Self::Range => range::assign(spec),
        }
    }
}

/// What an assignor works on.
#[derive(Debug, Default)]
pub(super) struct Spec<'a> {
    pub(super) members: BTreeMap<Id, MemberSpec<'a>>,
    /// How many partitions each subscribed topic has.
    pub(super) partition_counts: BTreeMap<Uuid, i32>,
}

/// A member, as an assignor sees it.
#[derive(Debug)]
pub(super) struct MemberSpec<'a> {
    pub(super) instance_id: Option<&'a Id>,
    /// The same set for members that subscribe to the same costs less; equal ones do as well.
    pub(super) subscribed: Arc<BTreeSet<Uuid>>,
    /// The member's part of the last target.
    pub(super) previous: Option<&'a Partitions>,
}

/// Topics with the same subscribers.
struct Pool {
    /// Indexes into the members in the order given, ascending.
    subscribers: Vec<usize>,
    topics: Vec<Uuid>,
}

impl Spec<'_> {
    /// The topics that exist and have subscribers, in the order of those.
    ///
    /// Takes time and memory for each topic and each set of subscriptions, not for each member that has it.
    fn pools(&self, order: &[&Id]) -> Vec<Pool> {
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
