//! What handling an event, or the passing of time, brings about.

use std::{fmt, sync::Weak};

use crate::client_text::client_text;

use super::{
    consumer::TargetQuestion,
    event::{Id, Token},
    record::GroupRecord,
    reply::GroupReply,
};

/// The outcome of one step of a shard. See the [module's contract](super) for what to do with it.
#[derive(Debug, Default)]
pub struct Effects {
    /// To append to the shard's log, in this order. Those of one step are of one kind: plain records,
    /// the offsets of one producer's transaction, or one transaction marker.
    pub records: Vec<GroupRecord>,
    /// To release, in this order, when `records` and everything appended before them are durable.
    pub replies: Vec<(Token, GroupReply)>,
    /// Expressions to be matched with the newest topics, for [`patterns_resolved`](super::GroupShard::patterns_resolved).
    pub resolve: Vec<ResolvePatterns>,
    /// Targets to be computed elsewhere, for [`target_computed`](super::GroupShard::target_computed). Groups that no longer
    /// wait for theirs drop the question.
    pub assign: Vec<Weak<TargetQuestion>>,
    /// For the log of the broker; saying nothing of them changes nothing.
    pub notes: Vec<Note>,
}

impl Effects {
    pub(super) fn reply(&mut self, token: Token, reply: GroupReply) {
        self.replies.push((token, reply));
    }
}

/// The regular expressions of a group whose topics may be others now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvePatterns {
    pub group_id: Id,
    pub patterns: Vec<Id>,
}

/// Something worth a line in the broker's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub group_id: Id,
    pub what: NoteKind,
}

/// What happened to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoteKind {
    /// A rebalance begins. The reason includes the client's own (KIP-800).
    Rebalance { generation_id: i32, reason: String },
    /// A generation has its members; the leader's assignment is awaited.
    Joined {
        generation_id: i32,
        member_count: usize,
    },
    /// Every member has its assignment, or the group is empty.
    Settled {
        generation_id: i32,
        member_count: usize,
    },
    /// A member is gone.
    MemberRemoved { member_id: Id, reason: String },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group_id = client_text(&self.group_id);
        match &self.what {
            NoteKind::Rebalance {
                generation_id,
                reason,
            } => {
                write!(
                    f,
                    "group {group_id} rebalances after generation {generation_id}: {}",
                    client_text(reason)
                )
            }
            NoteKind::Joined {
                generation_id,
                member_count,
            } => {
                write!(
                    f,
                    "group {group_id} generation {generation_id} joined by {member_count} members"
                )
            }
            NoteKind::Settled {
                generation_id,
                member_count,
            } => {
                write!(
                    f,
                    "group {group_id} generation {generation_id} settled with {member_count} members"
                )
            }
            NoteKind::MemberRemoved { member_id, reason } => {
                let (member_id, reason) = (client_text(member_id), client_text(reason));
                write!(f, "group {group_id} lost member {member_id}: {reason}")
            }
        }
    }
}
