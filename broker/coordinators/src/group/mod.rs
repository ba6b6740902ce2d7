//! Groups and their offsets: pure state machines, driven by requests and time.
//!
//! A [`GroupShard`] holds all groups and committed offsets that hash to one partition of `__consumer_offsets`
//! ([`partition_for`](crate::partition_for)). It is a [`Machine`](crate::machine::Machine), which says how its owner drives
//! it. In addition:
//!
//! * **Expressions**: the owner hands in a heartbeat that has a regular expression together with the topics that match.
//!   When topics have changed, [`Question::Patterns`] asks again, for matching may take seconds.
//! * **Targets**: an assignor may need long for a large group. [`Question::Target`] asks the owner to have the target
//!   computed elsewhere ([`TargetQuestion::compute`]).
//! * **Transactions**: offsets of an open transaction are pending until its marker comes. Then the offset that was *written*
//!   last counts, whichever transaction ended first. A replay of the log does the same.
//! * **Failure**: clients retry after either refusal. Members find their group as its last record left it.
//!
//! # What is durable
//!
//! Committed offsets, pending offsets of transactions, and consumer groups are in the log as a whole. A classic group is in
//! it as it was when it last settled: when a rebalance ended, when it became empty, or when a static member was replaced. In
//! between, the classic protocol keeps the members in memory only.
//!
//! Hence the rule that the tests check after every step: a replay of the records gives the same offsets and the same groups,
//! and the same members wherever a group is settled. The records of a step may take several batches, and a crash may leave
//! the first ones only. A group recovers from that by itself (`consumer/assignment.rs`).

mod any;
mod assignor;
mod catalog;
mod classic;
mod config;
mod consumer;
mod context;
mod effects;
mod embedded;
mod id;
mod migration;
mod offsets;
mod prices;
mod record;
mod reply;
mod request;
mod shard;
mod target;

#[cfg(test)]
mod tests;

pub use assignor::Assignor;
pub use assignor::spec::Partitions;
pub use catalog::Catalog;
pub use config::{GroupConfig, MigrationPolicy};
pub use effects::{Effects, Note, NoteKind, Outcome, Question, ResolvePatterns};
pub use id::{GroupId, InstanceId, MemberId, Name};
pub use reply::*;
pub use request::*;
pub use shard::GroupShard;
pub use target::{ComputedTarget, TargetQuestion};

// What the tests look into.
#[cfg(test)]
use crate::allowance::{Allowance, Priced};
#[cfg(test)]
use record::{
    GroupRecord,
    classic::{GroupMetadata, MemberMetadata},
    consumer::{ConsumerRecord, GroupEpoch, ResolvedRegex, TargetEpoch},
    consumer_member::{
        Assigned, ClassicMember, CurrentAssignment, MemberState, MemberSubscription,
    },
    offset::{CommittedOffset, OffsetKey},
};

/// The topic that groups and their offsets live in.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
