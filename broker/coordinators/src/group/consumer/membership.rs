//! Leaving, being removed, being replaced, and who may commit and fetch offsets.

use std::collections::BTreeSet;

use protocol_shim::ErrorCode;

use crate::group::consumer::{ConsumerGroup, Member, STATIC_LEAVE_EPOCH};
use crate::group::context::{Context, TurnsClassic};
use crate::group::effects::NoteKind;
use crate::group::id::MemberId;
use crate::group::record::consumer::ConsumerRecord;
use crate::group::record::consumer_member::{Assigned, CurrentAssignment};
use crate::group::reply::{ConsumerHeartbeatReply, Refusal};
use crate::group::request::{CommitTopic, ConsumerHeartbeat};

/// The first version of OffsetCommit in which a member of a consumer group may commit.
const FIRST_COMMIT_VERSION_WITH_MEMBER_EPOCH: i16 = 9;

impl ConsumerGroup {
    /// Handles a heartbeat that says goodbye. A static member may leave only for a while.
    pub(super) fn leave(
        &mut self,
        cx: &mut Context<'_>,
        request: &ConsumerHeartbeat,
    ) -> Result<ConsumerHeartbeatReply, Refusal> {
        let member_id = &request.member_id;
        if let Some(instance_id) = &request.instance_id {
            let owner = self.static_members.get(instance_id);
            self.check_static_owner(owner, member_id, instance_id)?;
        }
        let Some(member) = self.members.get(member_id) else {
            return Err(self.unknown_member(member_id));
        };
        if request.member_epoch == STATIC_LEAVE_EPOCH {
            let away = CurrentAssignment {
                member_epoch: STATIC_LEAVE_EPOCH,
                pending_revocation: Assigned::new(),
                ..member.current.clone()
            };
            cx.timers.cancel(self.rebalance_key(member_id));
            self.append(cx, ConsumerRecord::Current(member_id.clone(), Some(away)));
        } else {
            self.remove_members(cx, &[member_id.clone()].into(), "left the group");
        }
        Ok(ConsumerHeartbeatReply {
            refusal: None,
            member_id: Some(member_id.clone()),
            member_epoch: request.member_epoch,
            heartbeat_interval_ms: 0,
            assignment: None,
        })
    }

    pub(crate) fn on_session_deadline(&mut self, cx: &mut Context<'_>, member_id: &MemberId) {
        self.remove_members(cx, &[member_id.clone()].into(), "session timeout");
    }

    pub(crate) fn on_rebalance_deadline(&mut self, cx: &mut Context<'_>, member_id: &MemberId) {
        let is_classic = self.members.get(member_id).is_some_and(Member::is_classic);
        let reason = match is_classic {
            true => "did not join or sync in time",
            false => "did not give up its partitions in time",
        };
        self.remove_members(cx, &[member_id.clone()].into(), reason);
    }

    /// Removes members, all for the same reason, and asks for one new target. If nobody of the consumer protocol stays, the
    /// group turns classic and rebalances. If nobody stays at all, the group is at rest.
    pub(super) fn remove_members(
        &mut self,
        cx: &mut Context<'_>,
        member_ids: &BTreeSet<MemberId>,
        reason: &str,
    ) {
        let known = |member_id: &&MemberId| self.members.contains_key(*member_id);
        let leaving: BTreeSet<MemberId> = member_ids.iter().filter(known).cloned().collect();
        if leaving.is_empty() {
            return;
        }
        for member_id in &leaving {
            let removed = NoteKind::MemberRemoved {
                member_id: member_id.clone(),
                reason: reason.to_owned(),
            };
            self.note(cx, removed);
        }
        let names: Vec<&str> = leaving.iter().map(|member_id| &**member_id).collect();
        let reason = format!("member {} {reason}", names.join(", "));
        if self.may_turn_classic(cx, &leaving) {
            cx.turns_classic = Some(TurnsClassic {
                leaving,
                rebalance: Some(reason),
            });
            return;
        }
        for member_id in &leaving {
            self.forget_member(cx, member_id);
        }
        self.refresh_epoch(cx, true, &reason);
        if self.members.is_empty() {
            self.rest(cx);
        }
    }

    fn forget_member(&mut self, cx: &mut Context<'_>, member_id: &MemberId) {
        cx.timers.cancel(self.session_key(member_id));
        cx.timers.cancel(self.rebalance_key(member_id));
        self.append(cx, ConsumerRecord::Current(member_id.clone(), None));
        self.append(cx, ConsumerRecord::TargetMember(member_id.clone(), None));
        self.append(cx, ConsumerRecord::Member(member_id.clone(), None));
    }

    /// Lets a static member that comes back take over what it had under its previous id. No rebalance follows.
    pub(super) fn replace_member(
        &mut self,
        cx: &mut Context<'_>,
        previous: &MemberId,
        member_id: &MemberId,
    ) {
        let Some(Member {
            subscription,
            current,
        }) = self.members.get(previous).cloned()
        else {
            return;
        };
        let target = self.target_of(previous);
        self.forget_member(cx, previous);
        let current = CurrentAssignment {
            member_epoch: 0,
            previous_member_epoch: 0,
            ..current
        };
        let id = || member_id.clone();
        self.append(
            cx,
            ConsumerRecord::Member(id(), Some((*subscription).clone())),
        );
        self.append(
            cx,
            ConsumerRecord::TargetMember(id(), Some((*target).clone())),
        );
        self.append(cx, ConsumerRecord::Current(id(), Some(current)));
    }

    /// Checks that these offsets may be committed. `api_version` is `None` in a transaction.
    ///
    /// An epoch behind the member's is good enough for partitions that the member already had then (KIP-1251).
    pub(crate) fn authorize_commit(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
        member_epoch: i32,
        api_version: Option<i16>,
        topics: &[CommitTopic],
    ) -> Result<(), ErrorCode> {
        if member_epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let is_transactional = api_version.is_none();
        let is_anonymous = member_epoch < 0 && member_id.is_empty() && group_instance_id.is_none();
        if is_transactional && is_anonymous {
            return Ok(());
        }
        let member = self
            .members
            .get(member_id)
            .ok_or(ErrorCode::UnknownMemberId)?;
        let is_too_old =
            api_version.is_some_and(|version| version < FIRST_COMMIT_VERSION_WITH_MEMBER_EPOCH);
        if is_too_old && !member.is_classic() {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let current = &member.current;
        if member_epoch == current.member_epoch {
            return Ok(());
        }
        let had_it_then = |topic: &CommitTopic, partition_index: i32| {
            [&current.assigned, &current.pending_revocation]
                .iter()
                .find_map(|partitions| partitions.get(&topic.topic_id)?.get(&partition_index))
                .is_some_and(|&since_epoch| since_epoch <= member_epoch)
        };
        let all_are_old = topics.iter().all(|topic| {
            let mut partitions = topic.partitions.iter();
            partitions.all(|partition| had_it_then(topic, partition.partition_index))
        });
        if member_epoch < current.member_epoch && all_are_old {
            Ok(())
        } else {
            Err(member.wrong_epoch())
        }
    }

    /// Checks that the member may fetch offsets. Tools say nothing of themselves and always may.
    pub(crate) fn authorize_fetch(
        &self,
        member_id: Option<&str>,
        member_epoch: i32,
    ) -> Result<(), ErrorCode> {
        let Some(member_id) = member_id else {
            return match member_epoch {
                ..0 => Ok(()),
                _ => Err(ErrorCode::UnknownMemberId),
            };
        };
        let member = self
            .members
            .get(member_id)
            .ok_or(ErrorCode::UnknownMemberId)?;
        if member_epoch == member.current.member_epoch {
            Ok(())
        } else {
            Err(member.wrong_epoch())
        }
    }
}

impl Member {
    /// The error for an epoch that is not the member's, in the words of the protocol it uses.
    fn wrong_epoch(&self) -> ErrorCode {
        match self.is_classic() {
            true => ErrorCode::IllegalGeneration,
            false => ErrorCode::StaleMemberEpoch,
        }
    }
}
