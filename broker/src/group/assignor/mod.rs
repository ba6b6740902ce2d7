//! Server-side assignors (KIP-848): pure functions from subscriptions and the last target to a new target.

mod range;
mod uniform;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

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
    pub(super) subscribed: BTreeSet<Uuid>,
    /// The member's part of the last target.
    pub(super) previous: Option<&'a Partitions>,
}

impl Spec<'_> {
    /// The members subscribed to each topic that exists, as indexes into the members in the order given.
    fn subscribers(&self, order: &[&Id]) -> BTreeMap<Uuid, Vec<usize>> {
        let mut subscribers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
        for (index, member_id) in order.iter().enumerate() {
            let subscribed = self.members[*member_id].subscribed.iter();
            for topic_id in subscribed.filter(|id| self.partition_counts.contains_key(id)) {
                subscribers.entry(*topic_id).or_default().push(index);
            }
        }
        subscribers
    }
}
