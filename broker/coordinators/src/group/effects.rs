//! What a request, an answer or the passing of time brings about.

use std::sync::Weak;

use crate::group::id::{GroupId, MemberId, Name};
use crate::group::record::GroupRecord;
use crate::group::reply::GroupReply;
use crate::group::request::{PatternsResolved, Viewer};
use crate::group::target::{ComputedTarget, TargetQuestion};
use crate::machine::Producer;

/// The outcome of one step of a shard.
pub type Effects = crate::machine::Effects<GroupRecord, GroupReply, Question, Note>;

impl Effects {
    /// Adds a record, in a write of its kind.
    pub(super) fn write(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::TxnOffset {
                producer_id,
                producer_epoch,
                ..
            } => {
                let producer = Producer {
                    id: producer_id,
                    epoch: producer_epoch,
                };
                self.append_in(producer, record);
            }
            record => self.append(record),
        }
    }
}

/// Something that a shard wants to know and that takes long to find out.
#[derive(Debug)]
pub enum Question {
    /// What expressions match among the newest topics.
    Patterns(ResolvePatterns),
    /// A target. A group that no longer waits for it drops the question.
    Target(Weak<TargetQuestion>),
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub enum Outcome {
    Patterns(PatternsResolved),
    Target(ComputedTarget),
}

/// The regular expressions of a group, which may match other topics now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvePatterns {
    pub group_id: GroupId,
    /// Each with a member that has it.
    pub patterns: Vec<(Name, Viewer)>,
}

/// Something worth a line in the broker's log. The owner puts it into words, since clients chose the names and reasons in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub group_id: GroupId,
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
    MemberRemoved { member_id: MemberId, reason: String },
}
