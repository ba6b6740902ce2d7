//! JoinGroup: who may come in, and under which id.

use protocol_shim::ErrorCode;

use crate::group::classic::member::{Member, distinct};
use crate::group::classic::{ClassicGroup, State};
use crate::group::context::Context;
use crate::group::id::MemberId;
use crate::group::reply::{GroupReply, JoinReply};
use crate::group::request::JoinGroup;
use crate::machine::Token;

/// From this version on a new member first gets an id and then joins with it (KIP-394). Otherwise a lost reply would leave
/// a member behind that nobody knows of.
pub(crate) const FIRST_VERSION_REQUIRING_MEMBER_ID: i16 = 4;
/// From this version on a restarted static leader can be told that it leads and need not assign (KIP-814).
const FIRST_VERSION_WITH_SKIP_ASSIGNMENT: i16 = 9;

impl ClassicGroup {
    /// JoinGroup. Answers at once, or parks `token` in the member until the join phase ends.
    pub(crate) fn join(&mut self, cx: &mut Context<'_>, token: Token, mut request: JoinGroup) {
        request.protocols = distinct(request.protocols);
        let error = if !self.has_room_for(cx, &request.member_id) {
            self.remove(cx, &request.member_id);
            reply(
                cx,
                token,
                JoinReply::error("".into(), ErrorCode::GroupMaxSizeReached),
            );
            return self.maybe_complete_join(cx);
        } else if !self.supports(&request.protocol_type, &request.protocols) {
            ErrorCode::InconsistentGroupProtocol
        } else if request.member_id.is_empty() {
            return self.join_new(cx, token, request);
        } else if !self.pending_join.contains(&request.member_id) {
            return self.rejoin(cx, token, request);
        } else if request.group_instance_id.is_none() {
            return self.add_member(cx, token, request.member_id.clone(), request);
        } else {
            // Only dynamic members have pending ids. Kafka fails an assertion here.
            ErrorCode::UnknownServerError
        };
        reply(cx, token, JoinReply::error(request.member_id, error));
    }

    /// While members come back, only those that wait already count. So a group above its limit can shrink: the last ones
    /// to come are turned away.
    fn has_room_for(&self, cx: &Context<'_>, member_id: &str) -> bool {
        let member = self.members.get(member_id);
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                member.is_some_and(|member| member.awaiting_join.is_some())
                    || self.awaiting_join_count < cx.config.max_size
            }
            State::CompletingRebalance | State::Stable => {
                member.is_some() || self.members.len() < cx.config.max_size
            }
        }
    }

    fn join_new(&mut self, cx: &mut Context<'_>, token: Token, request: JoinGroup) {
        let instance_id = request.group_instance_id.as_deref();
        let prefix = instance_id.unwrap_or(&request.client_id);
        let member_id = MemberId::from(format!("{prefix}-{}", request.member_uuid));
        match &request.group_instance_id {
            Some(instance_id) => match self.static_members.get(instance_id).cloned() {
                Some(old_member_id) => {
                    self.replace_static_member(cx, token, old_member_id, member_id, request)
                }
                None => self.add_member(cx, token, member_id, request),
            },
            None if request.api_version < FIRST_VERSION_REQUIRING_MEMBER_ID => {
                self.add_member(cx, token, member_id, request);
            }
            None => {
                self.pending_join.insert(member_id.clone());
                cx.schedule(self.session_key(&member_id), request.session_timeout_ms);
                reply(
                    cx,
                    token,
                    JoinReply::error(member_id, ErrorCode::MemberIdRequired),
                );
            }
        }
    }

    fn add_member(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        member_id: MemberId,
        request: JoinGroup,
    ) {
        if let Some(initial) = &mut self.initial_rebalance {
            initial.new_member_added = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        let reason = format!(
            "member {member_id} joins; client reason: {}",
            request.reason()
        );
        // A member that is parked in its first JoinGroup has no session yet. This bounds the wait for it.
        cx.schedule(
            self.session_key(&member_id),
            cx.config.new_member_join_timeout_ms,
        );
        self.insert(member_id, Member::new(request, token));
        self.prepare_or_complete_join(cx, reason);
    }

    fn rejoin(&mut self, cx: &mut Context<'_>, token: Token, request: JoinGroup) {
        let member_id = request.member_id.clone();
        if let Err(error) = self.validate_member(&member_id, request.group_instance_id.as_deref()) {
            return reply(
                cx,
                token,
                JoinReply {
                    protocol_name: None,
                    ..JoinReply::error(member_id, error)
                },
            );
        }
        let unchanged = self
            .members
            .get(&member_id)
            .is_some_and(|member| member.protocols == request.protocols);
        match self.state {
            State::Empty => reply(
                cx,
                token,
                JoinReply::error(member_id, ErrorCode::UnknownMemberId),
            ),
            // The member has lost the reply to its join, and gets it again.
            State::CompletingRebalance if unchanged => {
                reply(cx, token, self.join_reply(&member_id))
            }
            // A follower that has forgotten its generation gets it again. A leader that joins wants a rebalance: it may
            // have seen something that no subscription shows, such as a topic with more partitions.
            State::Stable if unchanged && !self.is_leader(&member_id) => {
                reply(cx, token, self.join_reply(&member_id));
            }
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                let reason = format!(
                    "member {member_id} rejoins; client reason: {}",
                    request.reason()
                );
                self.update_member(cx, token, &member_id, request);
                self.prepare_or_complete_join(cx, reason);
            }
        }
    }

    /// Takes over what the member says now and parks its request.
    fn update_member(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        member_id: &MemberId,
        request: JoinGroup,
    ) {
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        super::uncount_protocols(&mut self.protocol_support, &member.protocols);
        super::count_protocols(&mut self.protocol_support, &request.protocols);
        member.rebalance_timeout_ms = request.effective_rebalance_timeout_ms();
        member.session_timeout_ms = request.session_timeout_ms;
        member.protocols = request.protocols;
        match member.awaiting_join.replace(token) {
            None => self.awaiting_join_count += 1,
            // The member has given up its earlier request. If it still listens to that one, it may try again.
            Some(superseded) => {
                reply(
                    cx,
                    superseded,
                    JoinReply::error(member_id.clone(), ErrorCode::RebalanceInProgress),
                );
            }
        }
    }

    /// Takes back a static member that has lost its member id. It gets a new one, and whoever still uses the old one is fenced.
    fn replace_static_member(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        old_member_id: MemberId,
        member_id: MemberId,
        request: JoinGroup,
    ) {
        let chosen = self.protocol_name.as_ref();
        let mut said = request.protocols.iter();
        let said = said.find(|protocol| Some(&protocol.name) == chosen);
        let more_bytes = said.map_or(0, |protocol| protocol.metadata.len());
        if self.state == State::Stable && !self.fits_log(cx, more_bytes) {
            let error = JoinReply::error("".into(), ErrorCode::UnknownServerError);
            return reply(cx, token, error);
        }
        let old_leader = self.leader.clone();
        let api_version = request.api_version;
        let reason = format!(
            "static member {member_id} comes back; client reason: {}",
            request.reason()
        );
        self.rename_member(cx, &old_member_id, &member_id);
        self.update_member(cx, token, &member_id, request);
        if let Some(member) = self.members.get(&member_id) {
            cx.schedule(self.session_key(&member_id), member.session_timeout_ms);
        }
        match self.state {
            State::Stable if self.select_protocol() == self.protocol_name => {
                // Nothing changes for the others. The member goes on where it left off, without a rebalance.
                if self
                    .members
                    .get_mut(&member_id)
                    .and_then(|member| member.awaiting_join.take())
                    .is_some()
                {
                    self.awaiting_join_count -= 1;
                }
                self.subscribed_topics = self.compute_subscribed_topics();
                cx.effects.write(self.to_record());
                let mut response = self.join_reply(&member_id);
                if api_version >= FIRST_VERSION_WITH_SKIP_ASSIGNMENT {
                    response.skip_assignment = self.is_leader(&member_id);
                } else {
                    // An older client that is told to lead would compute an assignment that nobody waits for.
                    response.leader = old_leader.unwrap_or_default();
                    response.members.clear();
                }
                reply(cx, token, response);
            }
            State::Empty | State::PreparingRebalance => self.maybe_complete_join(cx),
            // The leader may be assigning to the old id at this moment, and would miss the new one.
            State::CompletingRebalance | State::Stable => self.prepare_rebalance(cx, reason),
        }
    }

    fn rename_member(
        &mut self,
        cx: &mut Context<'_>,
        old_member_id: &MemberId,
        member_id: &MemberId,
    ) {
        cx.timers.cancel(self.session_key(old_member_id));
        let Some(mut member) = self.members.remove(old_member_id) else {
            return;
        };
        if let Some(old_token) = member.awaiting_join.take() {
            self.awaiting_join_count -= 1;
            let fenced = JoinReply::error(old_member_id.clone(), ErrorCode::FencedInstanceId);
            reply(
                cx,
                old_token,
                JoinReply {
                    protocol_name: None,
                    ..fenced
                },
            );
        }
        super::sync::answer(cx, &mut member, ErrorCode::FencedInstanceId);
        member.is_new = false;
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members
                .insert(instance_id.clone(), member_id.clone());
        }
        if self.pending_sync.remove(old_member_id) {
            self.pending_sync.insert(member_id.clone());
        }
        if self.is_leader(old_member_id) {
            self.leader = Some(member_id.clone());
        }
        self.members.insert(member_id.clone(), member);
    }
}

impl JoinGroup {
    fn reason(&self) -> &str {
        self.reason
            .as_deref()
            .filter(|reason| !reason.is_empty())
            .unwrap_or("not provided")
    }
}

fn reply(cx: &mut Context<'_>, token: Token, response: JoinReply) {
    cx.effects.reply(token, GroupReply::Join(response));
}
