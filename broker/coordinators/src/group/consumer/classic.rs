//! Members of the classic protocol in a consumer group, while an application moves from one protocol to the other.
//!
//! JoinGroup serves them as a heartbeat that says everything serves other members: each takes them one step towards the
//! target. SyncGroup gives them what they have, in the bytes that they know. Heartbeat tells them when to join again. The
//! generation is the member epoch. Nobody leads and nobody waits for the others, so no request is ever parked.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol_shim::ErrorCode;

use crate::batch_size::BATCH_OVERHEAD_BYTES;
use crate::group::classic::join::FIRST_VERSION_REQUIRING_MEMBER_ID;
use crate::group::classic::member::distinct;
use crate::group::config::MigrationPolicy;
use crate::group::consumer::heartbeat::{Sender, assigned_partitions};
use crate::group::consumer::{ConsumerGroup, Member};
use crate::group::context::{Context, TurnsClassic};
use crate::group::embedded::{self, Subscription};
use crate::group::id::{InstanceId, MemberId, Name};
use crate::group::record::consumer_member::{ClassicMember, MemberState, MemberSubscription};
use crate::group::reply::{JoinReply, LeftMember, SyncReply};
use crate::group::request::{Heartbeat, JoinGroup, LeavingMember, Protocol, SyncGroup};

impl ConsumerGroup {
    /// JoinGroup. A refusal changes nothing.
    pub(crate) fn join_classic(
        &mut self,
        cx: &mut Context<'_>,
        mut request: JoinGroup,
    ) -> Result<JoinReply, ErrorCode> {
        if cx.config.migration_policy == MigrationPolicy::Disabled {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let has_id = !request.member_id.is_empty();
        let member_id = match has_id {
            true => request.member_id.clone(),
            false => request.member_uuid.to_string().into(),
        };
        if !self.has_room_for(cx, &member_id) {
            return Err(ErrorCode::GroupMaxSizeReached);
        }
        request.protocols = distinct(request.protocols);
        let preferred = self.preferred_of(&request.protocol_type, &request.protocols)?;
        let is_dynamic = request.group_instance_id.is_none();
        if !has_id && is_dynamic && request.api_version >= FIRST_VERSION_REQUIRING_MEMBER_ID {
            return Ok(JoinReply::error(member_id, ErrorCode::MemberIdRequired));
        }
        let sender =
            self.identify_classic(&member_id, request.group_instance_id.as_ref(), has_id)?;
        let subscription = Subscription::read(&preferred.metadata)
            .map_err(|_| ErrorCode::InconsistentGroupProtocol)?;

        let known = self.known(&sender, &member_id);
        let used_consumer_protocol = known.is_some_and(|member| !member.is_classic());
        let before = known.map(|member| Arc::clone(&member.subscription));
        let owned = Some(subscription.owned_ids(&**cx.catalog));
        let session_timeout_ms = request.session_timeout_ms;
        let rebalance_timeout_ms = request.effective_rebalance_timeout_ms();
        let after = said_in_join(&before.unwrap_or_default(), request, subscription);
        if !self.fits_log(cx, &member_id, &after) {
            return Err(ErrorCode::UnknownServerError);
        }
        let topics_may_differ = self.enter(cx, &sender, &member_id, after);

        let is_last_to_come_back =
            used_consumer_protocol && self.may_turn_classic(cx, &BTreeSet::new());
        let is_target_old = self.target_epoch.epoch < self.epoch.epoch;
        if !is_last_to_come_back {
            self.refresh_target(cx);
        }
        let current = match is_last_to_come_back && is_target_old {
            // The member joins the classic group's next generation instead.
            true => self.current_of(&member_id),
            false => self.reconcile(cx, &member_id, &owned, topics_may_differ),
        };
        cx.schedule(self.session_key(&member_id), session_timeout_ms);
        // From now on the member has this long to ask for what it has been given.
        cx.schedule(self.rebalance_key(&member_id), rebalance_timeout_ms);
        if is_last_to_come_back {
            // Kafka only asks whether the target is old. But a member that still waits for its part would wait in vain.
            let target_epoch = self.target_epoch.epoch;
            let mut members = self.members.values();
            let all_are_there = members.all(|member| member.current.is_reconciled_to(target_epoch));
            let rebalances = is_target_old || !all_are_there;
            cx.turns_classic = Some(TurnsClassic {
                leaving: BTreeSet::new(),
                rebalance: rebalances.then(|| format!("member {member_id} comes back")),
            });
        }
        Ok(JoinReply {
            error: None,
            generation_id: current.member_epoch,
            protocol_type: Some(embedded::PROTOCOL_TYPE.into()),
            protocol_name: Some(preferred.name),
            leader: "".into(),
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        })
    }

    /// The first of a member's protocols, if one of them is known to all classic members.
    fn preferred_of(
        &self,
        protocol_type: &str,
        protocols: &[Protocol],
    ) -> Result<Protocol, ErrorCode> {
        let is_common = |wanted: &Protocol| {
            let mut classic = self.members.values().filter_map(Member::classic);
            classic.all(|member| {
                let mut known = member.protocols.iter();
                known.any(|known| known.name == wanted.name)
            })
        };
        match protocols.first() {
            Some(first)
                if protocol_type == embedded::PROTOCOL_TYPE && protocols.iter().any(is_common) =>
            {
                Ok(first.clone())
            }
            _ => Err(ErrorCode::InconsistentGroupProtocol),
        }
    }

    /// Finds out who sends the request, or why it may not. Unlike a member of the consumer protocol, a classic member may
    /// take an instance id over at once, for its client does not say goodbye.
    fn identify_classic(
        &self,
        member_id: &MemberId,
        instance_id: Option<&InstanceId>,
        has_id: bool,
    ) -> Result<Sender, ErrorCode> {
        let Some(instance_id) = instance_id else {
            return Ok(match self.members.contains_key(member_id) {
                true => Sender::Known,
                false => Sender::New,
            });
        };
        match self.static_members.get(instance_id) {
            Some(owner) if !has_id => Ok(Sender::Returning(owner.clone())),
            None if !has_id => Ok(Sender::New),
            owner => self
                .check_static_owner(owner, member_id, instance_id)
                .map(|()| Sender::Known)
                .map_err(|refusal| refusal.error),
        }
    }

    /// The classic member that asks, if it is one.
    fn classic_member(
        &self,
        member_id: &MemberId,
        instance_id: Option<&InstanceId>,
        generation_id: i32,
    ) -> Result<(&Member, &ClassicMember), ErrorCode> {
        if let Some(instance_id) = instance_id {
            let owner = self.static_members.get(instance_id);
            self.check_static_owner(owner, member_id, instance_id)
                .map_err(|refusal| refusal.error)?;
        }
        let member = self.members.get(member_id);
        let (member, classic) = member
            .and_then(|member| Some((member, member.classic()?)))
            .ok_or(ErrorCode::UnknownMemberId)?;
        if generation_id != member.current.member_epoch {
            return Err(ErrorCode::IllegalGeneration);
        }
        Ok((member, classic))
    }

    /// SyncGroup: the member takes home what it has.
    pub(crate) fn sync_classic(
        &mut self,
        cx: &mut Context<'_>,
        request: SyncGroup,
    ) -> Result<SyncReply, ErrorCode> {
        let SyncGroup {
            member_id,
            protocol_type,
            protocol_name,
            ..
        } = request;
        let instance_id = request.group_instance_id.as_ref();
        let (member, classic) =
            self.classic_member(&member_id, instance_id, request.generation_id)?;
        let preferred = classic.protocols.first();
        let differs = |asked: &Option<Name>, ours: Option<&str>| {
            asked.as_deref().is_some_and(|asked| Some(asked) != ours)
        };
        if differs(&protocol_type, Some(embedded::PROTOCOL_TYPE))
            || differs(&protocol_name, preferred.map(|protocol| &*protocol.name))
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        // A member that has to give something up has joined already, and will once more when it has done so.
        if member.current.member_epoch < self.target_epoch.epoch
            && member.current.state != MemberState::UnrevokedPartitions
        {
            self.expect_to_join(cx, &member_id);
            return Err(ErrorCode::RebalanceInProgress);
        }
        let subscription = preferred.map_or(&[][..], |protocol| &protocol.metadata);
        let partitions = assigned_partitions(&member.current);
        let assignment = embedded::write_assignment(&partitions, subscription, &**cx.catalog)
            .map_err(|_| ErrorCode::UnknownServerError)?;
        cx.timers.cancel(self.rebalance_key(&member_id));
        cx.schedule(self.session_key(&member_id), classic.session_timeout_ms);
        Ok(SyncReply {
            error: None,
            protocol_type,
            protocol_name,
            assignment,
        })
    }

    /// Heartbeat: extends the session and says whether to join again.
    pub(crate) fn heartbeat_classic(
        &mut self,
        cx: &mut Context<'_>,
        request: &Heartbeat,
    ) -> Result<(), ErrorCode> {
        let member_id = &request.member_id;
        let instance_id = request.group_instance_id.as_ref();
        let (_, classic) = self.classic_member(member_id, instance_id, request.generation_id)?;
        cx.schedule(self.session_key(member_id), classic.session_timeout_ms);
        // There may be no member of the other protocol whose heartbeat would do this.
        if self.is_catalog_new(cx) {
            self.refresh_epoch(cx, false, "subscribed topics changed");
        }
        self.refresh_target(cx);
        let current = self.current_of(member_id);
        let must_join = current.member_epoch < self.target_epoch.epoch
            || match current.state {
                MemberState::Stable => false,
                MemberState::UnreleasedPartitions => !self.waits_for_others(member_id),
                MemberState::UnrevokedPartitions | MemberState::Unknown => true,
            };
        if must_join {
            self.expect_to_join(cx, member_id);
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether another member still has a partition of this one's target.
    fn waits_for_others(&self, member_id: &MemberId) -> bool {
        let target = self.target_of(member_id);
        let mut partitions = target
            .iter()
            .flat_map(|(topic_id, indexes)| indexes.iter().map(|index| (*topic_id, *index)));
        partitions.any(|partition| {
            let owner = self.owners.get(&partition);
            owner.is_some_and(|owner| owner != member_id)
        })
    }

    /// Gives the member its rebalance timeout to join, unless that runs already.
    fn expect_to_join(&self, cx: &mut Context<'_>, member_id: &MemberId) {
        let key = self.rebalance_key(member_id);
        if let Some(member) = self.members.get(member_id)
            && !cx.timers.is_scheduled(&key)
        {
            cx.schedule(key, member.subscription.rebalance_timeout_ms);
        }
    }

    /// LeaveGroup, of several members at once and of either protocol: administrators do not ask which one it is.
    pub(crate) fn leave_classic(
        &mut self,
        cx: &mut Context<'_>,
        members: Vec<LeavingMember>,
    ) -> Vec<LeftMember> {
        let mut leaving = BTreeSet::new();
        let left = members.into_iter().map(|member| {
            let found = self.find_leaving(&member);
            let error = found.as_ref().err().copied();
            leaving.extend(found);
            member.left(error)
        });
        let left = left.collect();
        self.remove_members(cx, &leaving, "left the group");
        left
    }

    fn find_leaving(&self, leaving: &LeavingMember) -> Result<MemberId, ErrorCode> {
        let member_id = &leaving.member_id;
        let Some(instance_id) = &leaving.group_instance_id else {
            let member = self.members.get_key_value(member_id);
            return member
                .map(|(member_id, _)| member_id.clone())
                .ok_or(ErrorCode::UnknownMemberId);
        };
        let owner = self.static_members.get(instance_id);
        if !member_id.is_empty() {
            self.check_static_owner(owner, member_id, instance_id)
                .map_err(|refusal| refusal.error)?;
        }
        owner.cloned().ok_or(ErrorCode::UnknownMemberId)
    }

    /// Whether only classic members stay, and may have a classic group of their own.
    pub(super) fn may_turn_classic(&self, cx: &Context<'_>, leaving: &BTreeSet<MemberId>) -> bool {
        let stay_count = self.members.len().saturating_sub(leaving.len());
        (1..=cx.config.max_size).contains(&stay_count)
            && cx.config.migration_policy.may_downgrade()
            && self.classic_record_bytes() <= cx.max_batch_bytes
            && self
                .members
                .iter()
                .all(|(member_id, member)| member.is_classic() || leaving.contains(member_id))
    }
}

impl ConsumerGroup {
    /// What the record of a classic group with these members would take at most.
    fn classic_record_bytes(&self) -> usize {
        const MEMBER_BYTES: usize = 64;
        const TOPIC_BYTES: usize = 256;
        let members = self.members.iter().map(|(member_id, member)| {
            let protocols = member
                .classic()
                .into_iter()
                .flat_map(|classic| &classic.protocols);
            let subscription = protocols.map(|protocol| protocol.metadata.len()).max();
            let target = self.target_of(member_id);
            let target = target
                .values()
                .map(|indexes| TOPIC_BYTES + 4 * indexes.len());
            let said = &member.subscription;
            let instance_id = said.instance_id.as_ref().map_or(0, |id| id.len());
            let ids = member_id.len() + said.client_id.len() + said.client_host.len() + instance_id;
            MEMBER_BYTES + ids + subscription.unwrap_or(0) + target.sum::<usize>()
        });
        BATCH_OVERHEAD_BYTES + MEMBER_BYTES + self.id.len() + members.sum::<usize>()
    }
}

/// The subscription after a JoinGroup.
fn said_in_join(
    before: &MemberSubscription,
    request: JoinGroup,
    said: Subscription,
) -> MemberSubscription {
    MemberSubscription {
        rebalance_timeout_ms: request.effective_rebalance_timeout_ms(),
        instance_id: request
            .group_instance_id
            .or_else(|| before.instance_id.clone()),
        rack_id: said.rack_id.or_else(|| before.rack_id.clone()),
        client_id: request.client_id,
        client_host: request.client_host,
        topic_names: said.topics,
        topic_regex: Some("".into()),
        server_assignor: before.server_assignor.clone(),
        classic: Some(ClassicMember {
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols,
        }),
    }
}
