//! ConsumerGroupHeartbeat: joining, staying, and getting to the target.

use std::sync::Arc;

use protocol_shim::ErrorCode;

use crate::batch_size::BATCH_OVERHEAD_BYTES;
use crate::codec::MAX_STRING_BYTES;
use crate::group::assignor::Assignor;
use crate::group::assignor::spec::Partitions;
use crate::group::config::GroupConfig;
use crate::group::consumer::reconcile::{Owned, Reconciliation};
use crate::group::consumer::{ConsumerGroup, JOIN_EPOCH, LEAVE_EPOCH, Member, STATIC_LEAVE_EPOCH};
use crate::group::context::Context;
use crate::group::id::{InstanceId, MemberId, Name};
use crate::group::record::GroupRecord;
use crate::group::record::consumer::ConsumerRecord;
use crate::group::record::consumer_member::{CurrentAssignment, MemberState, MemberSubscription};
use crate::group::reply::{ConsumerHeartbeatReply, Refusal};
use crate::group::request::ConsumerHeartbeat;

/// From this version on the member brings its own id (KIP-1082).
const FIRST_VERSION_WITH_OWN_MEMBER_ID: i16 = 1;

/// Who sends a heartbeat, or a JoinGroup, as far as the group knows.
pub(super) enum Sender {
    New,
    Known,
    /// A static member that comes back under a new id in place of this one.
    Returning(MemberId),
}

impl ConsumerHeartbeat {
    /// Checks what can be checked without the group.
    pub(crate) fn validate(&self, config: &GroupConfig) -> Result<(), Refusal> {
        let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
        let is_empty = |text: Option<&str>| text.is_some_and(str::is_empty);
        let epoch = self.member_epoch;
        let may_get_id = epoch == JOIN_EPOCH && self.api_version < FIRST_VERSION_WITH_OWN_MEMBER_ID;
        if self.member_id.is_empty() && !may_get_id && epoch >= STATIC_LEAVE_EPOCH {
            return invalid("MemberId can't be empty.");
        }
        if self.group_id.is_empty() {
            return invalid("GroupId can't be empty.");
        }
        if is_empty(self.instance_id.as_deref()) {
            return invalid("InstanceId can't be empty.");
        }
        if is_empty(self.rack_id.as_deref()) {
            return invalid("RackId can't be empty.");
        }
        if epoch == JOIN_EPOCH {
            if self.rebalance_timeout_ms == -1 {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if self.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            if self.subscribed_topic_names.is_none() && self.subscribed_topic_regex.is_none() {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
        } else if epoch == STATIC_LEAVE_EPOCH && self.instance_id.is_none() {
            return invalid("InstanceId can't be null.");
        } else if epoch < STATIC_LEAVE_EPOCH {
            return invalid("MemberEpoch is invalid.");
        }
        let instance_id = self.instance_id.as_deref().unwrap_or_default();
        let ids: [&str; 3] = [&self.group_id, &self.member_id, instance_id];
        if ids.iter().any(|id| id.len() > MAX_STRING_BYTES) {
            return invalid("An id is too long.");
        }
        let Some(name) = &self.server_assignor else {
            return Ok(());
        };
        let known = Assignor::from_name(name);
        if known.is_some_and(|assignor| config.consumer_assignors.contains(&assignor)) {
            return Ok(());
        }
        let names = config
            .consumer_assignors
            .iter()
            .map(|assignor| assignor.name());
        Err(Refusal::new(
            ErrorCode::UnsupportedAssignor,
            format!(
                "ServerAssignor {name} is not supported. Supported assignors: {}.",
                names.collect::<Vec<_>>().join(", ")
            ),
        ))
    }

    /// Whether the request says everything, as after an error. Then the answer does, too.
    fn is_full(&self) -> bool {
        let subscribes =
            self.subscribed_topic_names.is_some() || self.subscribed_topic_regex.is_some();
        self.member_epoch == JOIN_EPOCH
            || (self.rebalance_timeout_ms != -1 && subscribes && self.owned.is_some())
    }
}

impl ConsumerGroup {
    /// Handles a heartbeat that has passed [`validate`](ConsumerHeartbeat::validate). A refusal changes nothing.
    pub(crate) fn heartbeat(
        &mut self,
        cx: &mut Context<'_>,
        mut request: ConsumerHeartbeat,
    ) -> Result<ConsumerHeartbeatReply, Refusal> {
        if request.member_epoch == LEAVE_EPOCH || request.member_epoch == STATIC_LEAVE_EPOCH {
            return self.leave(cx, &request);
        }
        if request.member_id.is_empty() {
            request.member_id = request.member_uuid.to_string().into();
        }
        let member_id = request.member_id.clone();
        let sender = self.identify(cx, &request)?;
        let before = self
            .known(&sender, &member_id)
            .map(|member| Arc::clone(&member.subscription))
            .unwrap_or_default();
        let was_classic = before.classic.is_some();
        let after = updated(&before, &request);
        if !self.fits_log(cx, &member_id, &after) {
            return Err(Refusal::new(ErrorCode::UnknownServerError, ""));
        }
        if let Some(pattern) = after
            .pattern()
            .filter(|pattern| Some(*pattern) != before.pattern())
        {
            self.pattern_said(cx, pattern, request.resolved.take())?;
        }
        if let Some(pattern) = after.pattern() {
            self.patterns
                .viewers
                .insert(pattern.clone(), request.viewer.clone());
        }
        let topics_may_differ = self.enter(cx, &sender, &member_id, after);
        let assigned_before = assigned_partitions(&self.current_of(&member_id));
        self.refresh_patterns(cx);
        self.refresh_target(cx);
        let current = self.reconcile(cx, &member_id, &request.owned, topics_may_differ);
        if was_classic {
            // The deadline was for the next request of the other protocol.
            self.arm_revocation(cx, &member_id);
        }
        let session_timeout_ms = self.session_timeout_ms(cx);
        cx.schedule(self.session_key(&member_id), session_timeout_ms);

        let assignment = assigned_partitions(&current);
        let says_assignment = request.is_full() || assignment != assigned_before;
        Ok(ConsumerHeartbeatReply {
            refusal: None,
            member_id: Some(member_id),
            member_epoch: current.member_epoch,
            heartbeat_interval_ms: self.heartbeat_interval_ms(cx),
            assignment: says_assignment.then_some(assignment),
        })
    }

    /// The member that a request is from, or takes the place of.
    pub(super) fn known(&self, sender: &Sender, member_id: &MemberId) -> Option<&Member> {
        match sender {
            Sender::New => None,
            Sender::Known => self.members.get(member_id),
            Sender::Returning(previous_id) => self.members.get(previous_id),
        }
    }

    pub(super) fn current_of(&self, member_id: &MemberId) -> CurrentAssignment {
        let member = self.members.get(member_id);
        member.map_or(Member::default().current, |member| member.current.clone())
    }

    /// Takes over what a member says of itself. If this or a change of topics asks for a new target, the group epoch goes
    /// up. Says whether the member may read other topics now.
    pub(super) fn enter(
        &mut self,
        cx: &mut Context<'_>,
        sender: &Sender,
        member_id: &MemberId,
        after: MemberSubscription,
    ) -> bool {
        if let Sender::Returning(previous_id) = sender {
            self.replace_member(cx, previous_id, member_id);
        }
        let before = self
            .members
            .get(member_id)
            .map(|member| &*member.subscription);
        let is_said_already = before == Some(&after);
        let nothing = MemberSubscription::default();
        let before = before.unwrap_or(&nothing);
        let subscribes_anew = !after.reads_as(before);
        let votes_anew = after.server_assignor != before.server_assignor;
        let preferred = |group: &Self, cx: &Context<'_>| {
            votes_anew.then(|| group.preferred_assignor(cx.config.consumer_default_assignor()))
        };
        let preferred_before = preferred(self, cx);
        if !is_said_already {
            self.append(cx, ConsumerRecord::Member(member_id.clone(), Some(after)));
        }
        let prefers_another = preferred(self, cx) != preferred_before;
        let topics_may_differ = subscribes_anew || self.is_catalog_new(cx);
        if topics_may_differ || prefers_another {
            let reason = if subscribes_anew {
                format!("member {member_id} joined or changed its subscription")
            } else if prefers_another {
                format!("member {member_id} has decided on another assignor")
            } else {
                "subscribed topics changed".to_owned()
            };
            self.refresh_epoch(cx, subscribes_anew || prefers_another, &reason);
        }
        topics_may_differ
    }

    /// Whether what a member says of itself fits into a batch of the log.
    pub(super) fn fits_log(
        &self,
        cx: &Context<'_>,
        member_id: &MemberId,
        said: &MemberSubscription,
    ) -> bool {
        let is_written = self
            .members
            .get(member_id)
            .map(|member| &*member.subscription)
            == Some(said);
        is_written || {
            let record = GroupRecord::Consumer {
                group_id: self.id.clone(),
                record: ConsumerRecord::Member(member_id.clone(), Some(said.clone())),
            };
            BATCH_OVERHEAD_BYTES + record.size_bytes() <= cx.max_batch_bytes
        }
    }

    pub(super) fn has_room_for(&self, cx: &Context<'_>, member_id: &MemberId) -> bool {
        self.members.len() < cx.config.consumer_max_size || self.members.contains_key(member_id)
    }

    /// Finds out who sends the request, or why it may not.
    fn identify(&self, cx: &Context<'_>, request: &ConsumerHeartbeat) -> Result<Sender, Refusal> {
        let member_id = &request.member_id;
        let is_join = request.member_epoch == JOIN_EPOCH;
        if !self.has_room_for(cx, member_id) {
            let message = format!(
                "The consumer group has reached its maximum capacity of {} members.",
                cx.config.consumer_max_size
            );
            return Err(Refusal::new(ErrorCode::GroupMaxSizeReached, message));
        }
        let Some(instance_id) = &request.instance_id else {
            return match self.members.get(member_id) {
                // A member may start over under its id. It has given up everything.
                Some(_) if is_join => Ok(Sender::Known),
                Some(member) => {
                    check_epoch(&member.current, request)?;
                    Ok(Sender::Known)
                }
                None if is_join => Ok(Sender::New),
                None => Err(self.unknown_member(member_id)),
            };
        };
        match self.static_members.get(instance_id) {
            Some(owner) if is_join => {
                // A classic member does not say that it leaves for a while.
                let makes_way = |member: &Member| {
                    member.current.member_epoch == STATIC_LEAVE_EPOCH || member.is_classic()
                };
                if self.members.get(owner).is_some_and(makes_way) {
                    return Ok(Sender::Returning(owner.clone()));
                }
                let message = format!(
                    "Static member {member_id} with instance id {instance_id} cannot join the group because the instance id is owned by {owner} member."
                );
                Err(Refusal::new(ErrorCode::UnreleasedInstanceId, message))
            }
            None if is_join => Ok(match self.members.contains_key(member_id) {
                true => Sender::Known,
                false => Sender::New,
            }),
            owner => {
                self.check_static_owner(owner, member_id, instance_id)?;
                if let Some(member) = self.members.get(member_id) {
                    check_epoch(&member.current, request)?;
                }
                Ok(Sender::Known)
            }
        }
    }

    /// Checks that the member that holds an instance id is the one that asks.
    pub(super) fn check_static_owner(
        &self,
        owner: Option<&MemberId>,
        member_id: &MemberId,
        instance_id: &InstanceId,
    ) -> Result<(), Refusal> {
        match owner {
            None => Err(Refusal::new(
                ErrorCode::UnknownMemberId,
                format!("Instance id {instance_id} is unknown."),
            )),
            Some(owner) if owner != member_id => Err(Refusal::new(
                ErrorCode::FencedInstanceId,
                format!(
                    "Static member {member_id} with instance id {instance_id} was fenced by member {owner}."
                ),
            )),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn unknown_member(&self, member_id: &str) -> Refusal {
        Refusal::new(
            ErrorCode::UnknownMemberId,
            format!("Member {member_id} is not a member of group {}.", self.id),
        )
    }

    /// Takes the member one step towards its target.
    pub(super) fn reconcile(
        &mut self,
        cx: &mut Context<'_>,
        member_id: &MemberId,
        owned: &Owned,
        topics_may_differ: bool,
    ) -> CurrentAssignment {
        let Some(member) = self.members.get(member_id) else {
            return CurrentAssignment::default();
        };
        let target_epoch = self.target_epoch.epoch;
        if member.current.is_reconciled_to(target_epoch) && !topics_may_differ {
            return member.current.clone();
        }
        let reconciliation = Reconciliation {
            target_epoch,
            target: &self.target_of(member_id),
            is_subscribed: |topic_id| self.reads(&**cx.catalog, &member.subscription, topic_id),
            owned,
            is_taken: |topic_id, index| {
                let owner = self.owners.get(&(topic_id, index));
                owner.is_some()
            },
        };
        let next = reconciliation.next(&member.current);
        if next == member.current {
            return next;
        }
        let is_classic = member.is_classic();
        self.append(
            cx,
            ConsumerRecord::Current(member_id.clone(), Some(next.clone())),
        );
        if !is_classic {
            self.arm_revocation(cx, member_id);
        }
        next
    }

    /// Gives a member its rebalance timeout if it has to give partitions up.
    fn arm_revocation(&self, cx: &mut Context<'_>, member_id: &MemberId) {
        let Some(member) = self.members.get(member_id) else {
            return;
        };
        let key = self.rebalance_key(member_id);
        if member.current.is_revoking() {
            cx.schedule(key, member.subscription.rebalance_timeout_ms);
        } else {
            cx.timers.cancel(key);
        }
    }
}

/// The subscription after a heartbeat. What the request leaves out stays.
fn updated(before: &MemberSubscription, request: &ConsumerHeartbeat) -> MemberSubscription {
    let names = request.subscribed_topic_names.as_ref();
    let or_before = |new: &Option<Name>, old: &Option<Name>| new.clone().or_else(|| old.clone());
    MemberSubscription {
        instance_id: request
            .instance_id
            .clone()
            .or_else(|| before.instance_id.clone()),
        rack_id: or_before(&request.rack_id, &before.rack_id),
        client_id: request.client_id.clone(),
        client_host: request.client_host.clone(),
        topic_names: names.map_or_else(
            || before.topic_names.clone(),
            |names| names.iter().cloned().collect(),
        ),
        topic_regex: or_before(&request.subscribed_topic_regex, &before.topic_regex)
            .or_else(|| Some("".into())),
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => before.rebalance_timeout_ms,
            timeout_ms => timeout_ms,
        },
        server_assignor: or_before(&request.server_assignor, &before.server_assignor),
        classic: None,
    }
}

/// Checks a member's epoch. The one before will do if the member may have missed the answer with the new one.
fn check_epoch(current: &CurrentAssignment, request: &ConsumerHeartbeat) -> Result<(), Refusal> {
    let (received, known) = (request.member_epoch, current.member_epoch);
    let fenced = |how: &str| {
        let message = format!(
            "The consumer group member has a {how} member epoch ({received}) than the one known by the group coordinator ({known}). The member must abandon all its partitions and rejoin."
        );
        Err(Refusal::new(ErrorCode::FencedMemberEpoch, message))
    };
    if received > known {
        return fenced("greater");
    }
    if received < known {
        let missed_the_answer = received == current.previous_member_epoch;
        if !missed_the_answer || !has_only_assigned(current, &request.owned) {
            return fenced("smaller");
        }
    }
    let brings_nothing = request.owned.as_ref().is_some_and(Vec::is_empty);
    if current.state == MemberState::Unknown && !brings_nothing {
        return Err(Refusal::new(
            ErrorCode::FencedMemberEpoch,
            "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.",
        ));
    }
    Ok(())
}

fn has_only_assigned(current: &CurrentAssignment, owned: &Owned) -> bool {
    let Some(owned) = owned else {
        return false;
    };
    owned.iter().all(|(topic_id, indexes)| {
        let assigned = current.assigned.get(topic_id);
        assigned.is_some_and(|assigned| indexes.iter().all(|index| assigned.contains_key(index)))
    })
}

/// What a member may use now.
pub(super) fn assigned_partitions(current: &CurrentAssignment) -> Partitions {
    let topics = current.assigned.iter();
    topics
        .map(|(topic_id, partitions)| (*topic_id, partitions.keys().copied().collect()))
        .collect()
}
