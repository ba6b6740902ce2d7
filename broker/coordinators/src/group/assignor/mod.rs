//! Server-side assignors (KIP-848): pure functions from subscriptions and the last target to a new target.

mod range;
pub(crate) mod spec;
mod uniform;

use std::collections::BTreeMap;

use crate::group::assignor::spec::{Partitions, Spec};
use crate::group::id::MemberId;

/// The assignors there are, as members name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Every member gets the same number of partitions, give or take one. It keeps what it has where it can.
    Uniform,
    /// Every topic is cut into runs of neighbouring partitions, one for each member, in the order of the members.
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
    pub(super) fn assign(self, spec: &Spec<'_>) -> BTreeMap<MemberId, Partitions> {
        match self {
            Self::Uniform => uniform::assign(spec),
            Self::Range => range::assign(spec),
        }
    }
}
