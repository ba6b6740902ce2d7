//! SyncGroup: the leader hands in the assignment, and everybody takes home a part.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol_shim::ErrorCode;

use crate::group::classic::member::Member;
use crate::group::classic::{ClassicGroup, State};
use crate::group::context::{Context, TimerKey};
use crate::group::effects::NoteKind;
use crate::group::id::{MemberId, Name};
use crate::group::reply::{GroupReply, SyncReply};
use crate::group::request::SyncGroup;
use crate::machine::Token;

impl ClassicGroup {
    /// SyncGroup. Answers at once, or parks `token` in the member until the leader's assignment is there.
    pub(crate) fn sync(&mut self, cx: &mut Context<'_>, token: Token, request: SyncGroup) {
        if let Err(error) = self.validate_sync(&request) {
            return cx
                .effects
                .reply(token, GroupReply::Sync(SyncReply::error(error)));
        }
        self.pending_sync.remove(&request.member_id);
        if self.pending_sync.is_empty() {
            cx.timers.cancel(TimerKey::Sync(self.id.clone()));
        }
        let Some(member) = self.members.get_mut(&request.member_id) else {
            return;
        };
        if self.state == State::Stable {
            let reply = assignment_of(member, &self.protocol_type, &self.protocol_name);
            return cx.effects.reply(token, GroupReply::Sync(reply));
        }
        // The member has given up its earlier request. If it still listens to that one, it may try again.
        answer(cx, member, ErrorCode::RebalanceInProgress);
        member.awaiting_sync = Some(token);
        if self.is_leader(&request.member_id) {
            self.assign(cx, request.assignments.into_iter().collect());
        }
    }

    fn validate_sync(&self, request: &SyncGroup) -> Result<(), ErrorCode> {
        let differs = |asked: &Option<_>, ours: &Option<_>| {
            asked.is_some() && ours.is_some() && asked != ours
        };
        if self.state == State::Empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            Err(ErrorCode::IllegalGeneration)
        } else if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            Err(ErrorCode::InconsistentGroupProtocol)
        } else if self.state == State::PreparingRebalance {
            Err(ErrorCode::RebalanceInProgress)
        } else {
            Ok(())
        }
    }

    /// Takes the leader's assignment. The generation is complete: it goes to the log and to all members that wait for it.
    fn assign(&mut self, cx: &mut Context<'_>, mut assignments: BTreeMap<MemberId, Bytes>) {
        for (member_id, member) in &mut self.members {
            member.assignment = assignments.remove(member_id).unwrap_or_default();
        }
        if !self.fits_log(cx, 0) {
            // As in Kafka, nobody has an assignment that a restart would forget.
            for (member_id, member) in &mut self.members {
                if answer(cx, member, ErrorCode::UnknownServerError) {
                    let session = TimerKey::Session(self.id.clone(), member_id.clone());
                    cx.schedule(session, member.session_timeout_ms);
                }
            }
            let reason = "the group with its assignments is too large for the log".to_owned();
            return self.prepare_rebalance(cx, reason);
        }
        self.transition(cx, State::Stable);
        cx.effects.write(self.to_record());
        let (generation_id, member_count) = (self.generation_id, self.members.len());
        self.note(
            cx,
            NoteKind::Settled {
                generation_id,
                member_count,
            },
        );
        for (member_id, member) in &mut self.members {
            if let Some(token) = member.awaiting_sync.take() {
                let reply = assignment_of(member, &self.protocol_type, &self.protocol_name);
                cx.effects.reply(token, GroupReply::Sync(reply));
                // The session may have run out unnoticed while the member waited.
                let session = TimerKey::Session(self.id.clone(), member_id.clone());
                cx.schedule(session, member.session_timeout_ms);
            }
        }
    }

    /// Tells everybody to join again, since a rebalance overtakes the assignment.
    pub(super) fn withdraw_assignments(&mut self, cx: &mut Context<'_>) {
        for (member_id, member) in &mut self.members {
            member.assignment = Bytes::new();
            if answer(cx, member, ErrorCode::RebalanceInProgress) {
                let session = TimerKey::Session(self.id.clone(), member_id.clone());
                cx.schedule(session, member.session_timeout_ms);
            }
        }
    }
}

fn assignment_of(
    member: &Member,
    protocol_type: &Option<Name>,
    protocol_name: &Option<Name>,
) -> SyncReply {
    SyncReply {
        error: None,
        protocol_type: protocol_type.clone(),
        protocol_name: protocol_name.clone(),
        assignment: member.assignment.clone(),
    }
}

/// Answers the member's parked SyncGroup, if it has one.
pub(super) fn answer(cx: &mut Context<'_>, member: &mut Member, error: ErrorCode) -> bool {
    let token = member.awaiting_sync.take();
    if let Some(token) = token {
        cx.effects
            .reply(token, GroupReply::Sync(SyncReply::error(error)));
    }
    token.is_some()
}
