//! Groups and their offsets: pure state machines, driven by events and time.
//!
//! A [`GroupShard`] holds all groups and committed offsets that hash to one partition of `__consumer_offsets`
//! ([`partition_for`](crate::partition_for)). It is owned by one task, knows no clock, no randomness and no I/O, and gives the same
//! answers to the same events.
//!
//! It is a [`Machine`](crate::machine::Machine), which says how its owner drives it. Besides:
//!
//! * **Expressions**: who hands in a heartbeat with a regular expression says what it matches. When topics have changed,
//!   [`Question::Patterns`] asks again, for matching may take seconds.
//! * **Targets**: [`Question::Target`] asks for a target that an assignor would need long for; the owner has it computed
//!   elsewhere ([`TargetQuestion::compute`]).
//! * **Transactions**: offsets of an open one are pending until its marker comes. Then the offset that was *written* last
//!   counts, whichever transaction ended first. Replaying the log does the same.
//! * **Failure**: clients retry after either refusal; members find their group as its last record left it.
//!
//! # What is durable
//!
//! Committed offsets, pending transactional offsets, consumer groups whole, and classic groups as they were when they
//! last settled: at the end of a rebalance, when they became empty, or when a static member was replaced. In between,
//! the classic protocol keeps a group's membership in memory only. Hence the rule the tests check after every step: replaying the records gives the
//! same offsets and the same groups, and the same members wherever a group is settled.

mod allowance;
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
mod pattern;
mod record;
mod reply;
mod request;
mod shard;
mod target;

#[cfg(test)]
mod tests;

pub use allowance::{Allowance, Priced};
pub use assignor::Assignor;
pub use assignor::spec::Partitions;
pub use catalog::Catalog;
pub use config::{GroupConfig, MigrationPolicy};
pub use effects::{Effects, Note, NoteKind, Outcome, Question, ResolvePatterns};
pub use id::{GroupId, InstanceId, MemberId, Name};
pub use pattern::TopicPattern;
pub use reply::*;
pub use request::*;
pub use shard::GroupShard;
pub use target::{ComputedTarget, TargetQuestion};

// What the tests look into.
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
