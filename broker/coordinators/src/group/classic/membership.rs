//! Staying in a group and leaving it: heartbeats, sessions, LeaveGroup, and who may commit.

use protocol_shim::ErrorCode;

use crate::group::classic::{ClassicGroup, State};
use crate::group::context::Context;
use crate::group::effects::NoteKind;
use crate::group::id::MemberId;
use crate::group::reply::LeftMember;
use crate::group::request::{Heartbeat, LeavingMember};

impl ClassicGroup {
    /// Heartbeat: extends the session and says whether to join again.
    pub(crate) fn heartbeat(
        &mut self,
        cx: &mut Context<'_>,
        request: &Heartbeat,
    ) -> Result<(), ErrorCode> {
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        self.extend_session(cx, &request.member_id);
        match self.state {
            State::Empty => Err(ErrorCode::UnknownMemberId),
            State::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    /// LeaveGroup, of several members at once: one rebalance for all of them.
    pub(crate) fn leave(
        &mut self,
        cx: &mut Context<'_>,
        members: Vec<LeavingMember>,
    ) -> Vec<LeftMember> {
        let left: Vec<LeftMember> = members
            .into_iter()
            .map(|member| {
                let error = self.leave_one(cx, &member).err();
                member.left(error)
            })
            .collect();
        let left_count = left.iter().filter(|member| member.error.is_none()).count();
        if left_count > 0 {
            match self.state {
                State::Empty => {}
                State::PreparingRebalance => self.maybe_complete_join(cx),
                State::CompletingRebalance | State::Stable => {
                    self.prepare_rebalance(cx, format!("{left_count} members left"));
                }
            }
        }
        left
    }

    fn leave_one(
        &mut self,
        cx: &mut Context<'_>,
        leaving: &LeavingMember,
    ) -> Result<(), ErrorCode> {
        let instance_id = leaving.group_instance_id.as_deref();
        let member_id: MemberId = if leaving.member_id.is_empty() {
            // An administrator removes a static member and knows only its instance id.
            let owner = instance_id.and_then(|instance_id| self.static_members.get(instance_id));
            owner.cloned().ok_or(ErrorCode::UnknownMemberId)?
        } else {
            if !self.pending_join.contains(&leaving.member_id) {
                self.validate_member(&leaving.member_id, instance_id)?;
            }
            leaving.member_id.clone()
        };
        self.remove(cx, &member_id);
        let reason = leaving.reason.as_deref().unwrap_or("not provided");
        self.note(
            cx,
            NoteKind::MemberRemoved {
                member_id,
                reason: format!("left; client reason: {reason}"),
            },
        );
        Ok(())
    }

    /// Removes a member whose session is over, or a pending member whose time to join is.
    pub(crate) fn on_session_deadline(&mut self, cx: &mut Context<'_>, member_id: &MemberId) {
        let pending = self.pending_join.contains(member_id);
        let expired = self
            .members
            .get(member_id)
            .is_some_and(|member| !member.is_waiting_for_group());
        if !pending && !expired {
            return;
        }
        self.remove(cx, member_id);
        let reason = if pending {
            "did not join with the id it was given"
        } else {
            "session timeout"
        };
        self.note(
            cx,
            NoteKind::MemberRemoved {
                member_id: member_id.clone(),
                reason: reason.into(),
            },
        );
        match self.state {
            State::PreparingRebalance if self.all_members_joined() => self.complete_join(cx),
            State::CompletingRebalance | State::Stable if expired => {
                self.prepare_rebalance(cx, format!("session of member {member_id} expired"));
            }
            _ => {}
        }
    }

    /// Checks that an offset commit may come from this member, and extends its session.
    pub(crate) fn authorize_commit(
        &mut self,
        cx: &mut Context<'_>,
        member_id: &MemberId,
        group_instance_id: Option<&str>,
        generation_id: i32,
    ) -> Result<(), ErrorCode> {
        let in_group = self.check_committer(member_id, group_instance_id, generation_id)?;
        match self.state {
            State::Empty => Ok(()),
            _ if !in_group => Err(ErrorCode::UnknownMemberId),
            // The member is about to get an assignment. What it commits now is from before.
            State::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
            State::Stable | State::PreparingRebalance => {
                self.extend_session(cx, member_id);
                Ok(())
            }
        }
    }

    /// The same for a commit in a transaction. Older producers do not say who they are.
    pub(crate) fn authorize_txn_commit(
        &self,
        member_id: &MemberId,
        group_instance_id: Option<&str>,
        generation_id: i32,
    ) -> Result<(), ErrorCode> {
        self.check_committer(member_id, group_instance_id, generation_id)
            .map(|_| ())
    }

    /// Says `false` if the committer claims to be no member. An empty group lets everybody pass who has no generation.
    fn check_committer(
        &self,
        member_id: &MemberId,
        group_instance_id: Option<&str>,
        generation_id: i32,
    ) -> Result<bool, ErrorCode> {
        if generation_id < 0 && self.state == State::Empty {
            return Ok(false);
        }
        if generation_id < 0 && member_id.is_empty() && group_instance_id.is_none() {
            return Ok(false);
        }
        self.validate_member(member_id, group_instance_id)?;
        if generation_id == self.generation_id {
            Ok(true)
        } else {
            Err(ErrorCode::IllegalGeneration)
        }
    }

    fn extend_session(&self, cx: &mut Context<'_>, member_id: &MemberId) {
        if let Some(member) = self.members.get(member_id) {
            cx.schedule(self.session_key(member_id), member.session_timeout_ms);
        }
    }
}

impl LeavingMember {
    pub(crate) fn left(self, error: Option<ErrorCode>) -> LeftMember {
        LeftMember {
            member_id: self.member_id,
            group_instance_id: self.group_instance_id,
            error,
        }
    }
}
