//! Groups and their offsets: pure state machines, driven by events and time.
//!
//! A [`GroupShard`] holds all groups and committed offsets that hash to one partition of `__consumer_offsets`
//! ([`partition_for`]). It is owned by one task, knows no clock, no randomness and no I/O, and gives the same
//! answers to the same events.
//!
//! # The contract with its owner
//!
//! * **Load**: [`new`](GroupShard::new), [`apply`](GroupShard::apply) for every record of the log in order, then
//!   [`loaded`](GroupShard::loaded), whose effects are handled like all others.
//! * **Topics**: [`set_catalog`](GroupShard::set_catalog) before the first request, and again before the next one
//!   whenever topics or settings of groups have changed. It costs nothing; groups look when a member comes by.
//! * **Expressions**: who hands in a heartbeat with a regular expression says what it matches. When topics have changed,
//!   [`Effects::resolve`] asks again; the owner finds out elsewhere, for matching may take seconds, and hands the outcome to
//!   [`patterns_resolved`](GroupShard::patterns_resolved).
//! * **Targets**: [`Effects::assign`] asks for targets that an assignor would need long for. The owner has them computed
//!   elsewhere ([`TargetQuestion::compute`]) and hands them to [`target_computed`](GroupShard::target_computed), in any order
//!   and however late.
//! * **Run**: [`handle`](GroupShard::handle) each request in the order it arrives. When the queue of requests is
//!   drained and [`next_deadline`](GroupShard::next_deadline) has come, call [`on_deadline`](GroupShard::on_deadline).
//!   Time never goes backwards from one call to the next.
//! * **Append, then reply**: append [`Effects::records`] as one batch, in the order of the calls; release
//!   [`Effects::replies`] in the order they were given, each when everything appended before it, its own step's
//!   records included, is durable. *Every* reply takes its place in that queue, reads too: the shard has already applied
//!   what is not yet durable, so a reply that overtook it could show a commit that a power cut takes back.
//! * **Failure**: if an append fails, or might have, the shard is ahead of its log and good for nothing. Replies held
//!   back become [`GroupReply::into_failed`] with COORDINATOR_NOT_AVAILABLE (NOT_COORDINATOR if the partition moved
//!   away), requests still parked are answered through [`unload`](GroupShard::unload), and a new shard is loaded
//!   from the log. Clients retry either error; members find their group as its last record left it.
//!
//! # What is durable
//!
//! Committed offsets, pending transactional offsets, consumer groups whole, and classic groups as they were when they
//! last settled: at the end of a rebalance, when they became empty, or when a static member was replaced. In between,
//! the classic protocol keeps a group's membership in memory only. Hence the rule the tests check after every step: replaying the records gives the
//! same offsets and the same groups, and the same members wherever a group is settled.

mod admin;
mod allowance;
mod any;
mod assignor;
mod catalog;
mod classic;
mod codec;
mod config;
mod consumer;
mod effects;
mod embedded;
mod event;
mod migration;
mod offsets;
mod pattern;
mod record;
mod reply;
mod shard;
mod timer;

#[cfg(test)]
mod tests;

pub use allowance::{Allowance, Priced};
pub use assignor::{Assignor, Partitions};
pub use catalog::Catalog;
pub use config::{GroupConfig, MigrationPolicy};
pub use consumer::{
    Assigned, ClassicMember, ComputedTarget, ConsumerRecord, CurrentAssignment, GroupEpoch,
    MemberState, MemberSubscription, ResolvedRegex, TargetEpoch, TargetQuestion,
};
pub use effects::{Effects, Note, NoteKind, ResolvePatterns};
pub use event::*;
pub use pattern::TopicPattern;
pub use record::{
    BATCH_OVERHEAD_BYTES, CommittedOffset, GroupMetadata, GroupRecord, KeyValue, MemberMetadata,
    OffsetKey, RecordError, record_bytes,
};
pub use reply::*;
pub use shard::GroupShard;

/// The topic that groups and their offsets live in.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The `__consumer_offsets` partition that owns `group_id`, as every Kafka client and tool computes it.
pub fn partition_for(group_id: &str, partition_count: i32) -> i32 {
    let hash = group_id.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    // Kafka's Utils.abs: the one hash without a positive counterpart counts as 0.
    hash.checked_abs().unwrap_or(0) % partition_count.max(1)
}
