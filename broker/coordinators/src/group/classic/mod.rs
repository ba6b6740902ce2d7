//! A group of the classic protocol: the members find the assignment, the group keeps them in step.
//!
//! ```text
//!            first join                    all joined, or time is up            leader's sync
//!   Empty ---------------> PreparingRebalance ---------------> CompletingRebalance ---------------> Stable
//!     ^                      |     ^                                   |                              |
//!     +----------------------+     +-----------------------------------+------------------------------+
//!        time is up, nobody left        a member joins anew, leaves, dies or does not sync in time
//! ```
//!
//! Kafka's `ClassicGroup` and `GroupMetadataManager.classicGroup*` are the model, without their state Dead: a deleted
//! group is gone from the shard. Join and sync requests are parked as tokens in their members. Wherever a member stops
//! waiting, its token is answered. Kafka now and then forgets one.

#[cfg(test)]
mod invariants;
pub(crate) mod join;
pub(crate) mod member;
mod membership;
pub(crate) mod migrate;
mod rebalance;
mod sync;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol_shim::ErrorCode;

use crate::batch_size::BATCH_OVERHEAD_BYTES;
use crate::codec::MAX_STRING_BYTES;
use crate::group::classic::member::Member;
use crate::group::context::{Context, TimerKey};
use crate::group::effects::{Note, NoteKind};
use crate::group::embedded::{self, Subscription};
use crate::group::id::{GroupId, InstanceId, MemberId, Name};
use crate::group::record::GroupRecord;
use crate::group::record::classic::{GroupMetadata, MemberMetadata};
use crate::group::reply::{
    AssignedTopics, DescribedGroup, DescribedMember, GroupReply, JoinReply, JoinReplyMember,
    SyncReply,
};
use crate::group::request::{JoinGroup, Protocol};
use crate::machine::Token;
use crate::timer::Timers;

/// What a group is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl State {
    /// The name as tools print it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// The first rebalance of an empty group waits a fixed time, and longer while members keep coming.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct InitialRebalance {
    delay_ms: i32,
    remaining_ms: i32,
    new_member_added: bool,
}

/// One classic group.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct ClassicGroup {
    id: GroupId,
    state: State,
    /// When the group entered its state. `None` if the log does not say.
    state_timestamp_ms: Option<i64>,
    generation_id: i32,
    /// `None` until there is a member. A group that only stores offsets never has one.
    protocol_type: Option<Name>,
    /// The protocol chosen for this generation.
    protocol_name: Option<Name>,
    /// Some member, whenever there are members.
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    /// Instance id to member id.
    static_members: BTreeMap<InstanceId, MemberId>,
    /// Ids that were given out with MEMBER_ID_REQUIRED. Their owners have not joined yet.
    pending_join: BTreeSet<MemberId>,
    /// Members that have their join reply and have not sent SyncGroup yet.
    pending_sync: BTreeSet<MemberId>,
    /// How many members have a parked JoinGroup.
    awaiting_join_count: usize,
    /// How many members offer each protocol. No entry is zero.
    protocol_support: BTreeMap<Name, usize>,
    /// What the members of this generation subscribe to. `None` if the coordinator cannot know.
    subscribed_topics: Option<BTreeSet<Name>>,
    initial_rebalance: Option<InitialRebalance>,
}

/// What the retention time of a group's offsets is counted from (KIP-211).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetentionBase {
    /// The time when the group became empty.
    Since(i64),
    /// The time of each offset's own commit.
    SinceCommit,
}

impl ClassicGroup {
    pub(crate) fn new(id: GroupId, state_timestamp_ms: Option<i64>) -> Self {
        Self {
            id,
            state: State::Empty,
            state_timestamp_ms,
            generation_id: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            awaiting_join_count: 0,
            protocol_support: BTreeMap::new(),
            subscribed_topics: None,
            initial_rebalance: None,
        }
    }

    /// Makes the group that a record describes: stable with its members, or empty.
    pub(crate) fn restore(id: GroupId, metadata: &GroupMetadata) -> Self {
        let timestamp_ms = Some(metadata.state_timestamp_ms).filter(|&at| at != -1);
        let mut group = Self::new(id, timestamp_ms);
        group.generation_id = metadata.generation_id;
        group.protocol_type = Some(metadata.protocol_type.clone()).filter(|name| !name.is_empty());
        group.protocol_name = metadata.protocol_name.clone();
        for member in &metadata.members {
            if group.members.contains_key(&member.member_id) {
                continue;
            }
            // Only the chosen protocol is in the log. The others come back with the member's next join.
            let protocol = Protocol {
                name: group.protocol_name.get_or_insert_with(|| "".into()).clone(),
                metadata: member.subscription.clone(),
            };
            group.insert(member.member_id.clone(), Member::restore(member, protocol));
        }
        group.leader = match &metadata.leader {
            Some(leader) if group.members.contains_key(leader) => Some(leader.clone()),
            Some(_) => group.leader,
            None => None,
        };
        if !group.members.is_empty() {
            group.state = State::Stable;
        }
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    /// As the description of a group has it, where it is empty unless the group is stable.
    pub(crate) fn stable_protocol(&self) -> Name {
        let is_stable = self.state == State::Stable;
        self.protocol_name
            .clone()
            .filter(|_| is_stable)
            .unwrap_or_default()
    }

    /// What members are assigned, if they are plain consumers. Assignments that cannot be read count for nothing.
    pub(crate) fn assigned(&self) -> AssignedTopics {
        let mut assigned = AssignedTopics::default();
        if self.state != State::Stable || !self.uses_consumer_protocol() {
            return assigned;
        }
        for member in self.members.values() {
            let read = embedded::Assignment::read(&member.assignment).unwrap_or_default();
            let partitions = read.partitions.into_iter();
            assigned.add(partitions.map(|(topic, indexes)| (topic, indexes.len())));
        }
        assigned
    }

    /// The record of the group as it is now.
    pub(crate) fn to_record(&self) -> GroupRecord {
        GroupRecord::Group {
            group_id: self.id.clone(),
            value: Some(self.metadata()),
        }
    }

    /// Whether the group's record could still be written if it grew by this much.
    fn fits_log(&self, cx: &Context<'_>, more_bytes: usize) -> bool {
        let batch_bytes = BATCH_OVERHEAD_BYTES + self.to_record().size_bytes() + more_bytes;
        batch_bytes <= cx.max_batch_bytes
    }

    pub(crate) fn metadata(&self) -> GroupMetadata {
        GroupMetadata {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation_id: self.generation_id,
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone(),
            state_timestamp_ms: self.state_timestamp_ms.unwrap_or(-1),
            members: self
                .members
                .iter()
                .map(|(member_id, member)| MemberMetadata {
                    member_id: member_id.clone(),
                    group_instance_id: member.group_instance_id.clone(),
                    client_id: member.client_id.clone(),
                    client_host: member.client_host.clone(),
                    rebalance_timeout_ms: member.rebalance_timeout_ms,
                    session_timeout_ms: member.session_timeout_ms,
                    subscription: self.chosen_metadata(member),
                    assignment: member.assignment.clone(),
                })
                .collect(),
        }
    }

    /// Gives every member a session after a load. A group that cannot stay as it is rebalances.
    pub(crate) fn loaded(&mut self, cx: &mut Context<'_>) {
        for (member_id, member) in &self.members {
            cx.schedule(self.session_key(member_id), member.session_timeout_ms);
        }
        let why = if self.leader.is_none() {
            // The group had turned classic and was about to rebalance.
            self.leader = self.members.keys().next().cloned();
            self.leader.as_ref().map(|_| "the group has no leader")
        } else if self.members.len() > cx.config.max_size {
            Some("the group is larger than group.max.size allows")
        } else {
            None
        };
        if let Some(why) = why {
            self.prepare_rebalance(cx, why.to_owned());
        }
    }

    /// Every parked request, answered with `error`.
    pub(crate) fn unload(self, error: ErrorCode) -> Vec<(Token, GroupReply)> {
        let mut replies = Vec::new();
        for (member_id, member) in self.members {
            if let Some(token) = member.awaiting_join {
                replies.push((token, GroupReply::Join(JoinReply::error(member_id, error))));
            }
            if let Some(token) = member.awaiting_sync {
                replies.push((token, GroupReply::Sync(SyncReply::error(error))));
            }
        }
        replies
    }

    pub(crate) fn cancel_timers(&self, timers: &mut Timers<TimerKey>) {
        timers.cancel(TimerKey::Join(self.id.clone()));
        timers.cancel(TimerKey::Sync(self.id.clone()));
        for member_id in self.members.keys().chain(&self.pending_join) {
            timers.cancel(self.session_key(member_id));
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    #[cfg(test)]
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.state, State::Empty | State::Stable)
    }

    pub(crate) fn has_pending_members(&self) -> bool {
        !self.pending_join.is_empty()
    }

    pub(crate) fn protocol_type(&self) -> Name {
        self.protocol_type.clone().unwrap_or_default()
    }

    pub(crate) fn describe(&self) -> DescribedGroup {
        let stable = self.state == State::Stable;
        DescribedGroup {
            state: self.state.name(),
            protocol_type: self.protocol_type(),
            protocol_data: self
                .protocol_name
                .clone()
                .filter(|_| stable)
                .unwrap_or_default(),
            members: self
                .members
                .iter()
                .map(|(member_id, member)| DescribedMember {
                    member_id: member_id.clone(),
                    group_instance_id: member.group_instance_id.clone(),
                    client_id: member.client_id.clone(),
                    client_host: member.client_host.clone(),
                    metadata: if stable {
                        self.chosen_metadata(member)
                    } else {
                        Bytes::new()
                    },
                    assignment: member.assignment.clone(),
                })
                .collect(),
            ..DescribedGroup::named(self.id.clone())
        }
    }

    pub(crate) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(embedded::PROTOCOL_TYPE)
    }

    /// Whether a member may be reading `topic`. A consumer group whose subscriptions are unknown reads everything.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// What offsets expire by. `None` while nothing of the group may expire.
    pub(crate) fn retention_base(&self) -> Option<RetentionBase> {
        match (&self.protocol_type, self.state) {
            (None, _) => Some(RetentionBase::SinceCommit),
            (Some(_), State::Empty) => Some(
                self.state_timestamp_ms
                    .map_or(RetentionBase::SinceCommit, RetentionBase::Since),
            ),
            (Some(_), State::Stable)
                if self.uses_consumer_protocol() && self.subscribed_topics.is_some() =>
            {
                Some(RetentionBase::SinceCommit)
            }
            _ => None,
        }
    }

    fn session_key(&self, member_id: &MemberId) -> TimerKey {
        TimerKey::Session(self.id.clone(), member_id.clone())
    }

    fn transition(&mut self, cx: &Context<'_>, state: State) {
        self.state = state;
        self.state_timestamp_ms = Some(cx.wall_ms);
    }

    fn note(&self, cx: &mut Context<'_>, what: NoteKind) {
        cx.effects.notes.push(Note {
            group_id: self.id.clone(),
            what,
        });
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    fn all_members_joined(&self) -> bool {
        self.awaiting_join_count == self.members.len() && self.pending_join.is_empty()
    }

    fn rebalance_timeout_ms(&self) -> i32 {
        self.members
            .values()
            .map(|member| member.rebalance_timeout_ms)
            .max()
            .unwrap_or(0)
            .max(0)
    }

    /// Checks who is asking. Gives FENCED_INSTANCE_ID if another member holds the instance id, else UNKNOWN_MEMBER_ID.
    fn validate_member(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = group_instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(owner) if **owner != *member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }

    /// Adds a member. The first one decides on the protocol type and leads.
    fn insert(&mut self, member_id: MemberId, member: Member) {
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members
                .insert(instance_id.clone(), member_id.clone());
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        self.awaiting_join_count += usize::from(member.awaiting_join.is_some());
        count_protocols(&mut self.protocol_support, &member.protocols);
        self.pending_join.remove(&member_id);
        self.members.insert(member_id, member);
    }

    /// Removes a member or a pending member and answers what it has parked. If it led, another one is appointed.
    fn remove(&mut self, cx: &mut Context<'_>, member_id: &MemberId) {
        cx.timers.cancel(self.session_key(member_id));
        self.pending_join.remove(member_id);
        let Some(member) = self.members.remove(member_id) else {
            return;
        };
        uncount_protocols(&mut self.protocol_support, &member.protocols);
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        // UNKNOWN_MEMBER_ID makes the member come back as a new one, if it is still there.
        if let Some(token) = member.awaiting_join {
            self.awaiting_join_count -= 1;
            let reply = JoinReply::error("".into(), ErrorCode::UnknownMemberId);
            cx.effects.reply(token, GroupReply::Join(reply));
        }
        if let Some(token) = member.awaiting_sync {
            cx.effects.reply(
                token,
                GroupReply::Sync(SyncReply::error(ErrorCode::UnknownMemberId)),
            );
        }
    }

    /// Whether a member with these protocols can work with those already there.
    fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let common = |name: &str| {
            self.protocol_support.get(name).copied().unwrap_or(0) == self.members.len()
        };
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| common(&protocol.name))
    }

    /// The protocol with the most votes, then the first by name. Each member votes for its first protocol that all support.
    fn select_protocol(&self) -> Option<Name> {
        let mut votes: BTreeMap<&Name, usize> = BTreeMap::new();
        for member in self.members.values() {
            let supported_by_all = |protocol: &&Protocol| {
                self.protocol_support.get(&protocol.name) == Some(&self.members.len())
            };
            if let Some(choice) = member.protocols.iter().find(supported_by_all) {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes
            .into_iter()
            .find(|(_, count)| *count == most)
            .map(|(name, _)| name.clone())
    }

    /// The member's subscription for the chosen protocol.
    fn chosen_metadata(&self, member: &Member) -> Bytes {
        self.protocol_name
            .as_deref()
            .and_then(|name| member.metadata_for(name))
            .unwrap_or_default()
    }

    fn compute_subscribed_topics(&self) -> Option<BTreeSet<Name>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(Subscription::read_topics(&self.chosen_metadata(member)).ok()?);
        }
        Some(topics)
    }

    /// The reply to a join that is part of the current generation.
    fn join_reply(&self, member_id: &MemberId) -> JoinReply {
        JoinReply {
            error: None,
            generation_id: self.generation_id,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: member_id.clone(),
            members: if self.is_leader(member_id) {
                self.members_for_leader()
            } else {
                Vec::new()
            },
        }
    }

    fn members_for_leader(&self) -> Vec<JoinReplyMember> {
        self.members
            .iter()
            .map(|(member_id, member)| JoinReplyMember {
                member_id: member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                metadata: self.chosen_metadata(member),
            })
            .collect()
    }
}

impl JoinGroup {
    /// Whether what the request says can be written into a group's record, in a batch of at most this size. Only one of
    /// several protocols is written at a time. Together they may be larger, within reason.
    pub(crate) fn fits_record(&self, max_batch_bytes: usize) -> bool {
        const OTHER_PROTOCOLS_BYTES: usize = 8 << 20;
        let metadata = || {
            self.protocols
                .iter()
                .map(|protocol| protocol.metadata.len())
        };
        let largest_bytes = metadata().max().unwrap_or(0);
        let others_bytes = metadata().sum::<usize>() - largest_bytes;
        if largest_bytes >= max_batch_bytes || others_bytes > OTHER_PROTOCOLS_BYTES {
            return false;
        }
        let instance_id = self.group_instance_id.as_deref().unwrap_or_default();
        let longest_new_member_id =
            self.client_id.len().max(instance_id.len()) + "-".len() + uuid::fmt::Hyphenated::LENGTH;
        let texts: [&str; 3] = [&self.protocol_type, &self.client_host, &self.member_id];
        texts
            .into_iter()
            .chain(self.protocols.iter().map(|protocol| &*protocol.name))
            .all(|text| text.len() <= MAX_STRING_BYTES)
            && longest_new_member_id <= MAX_STRING_BYTES
    }
}

fn count_protocols(support: &mut BTreeMap<Name, usize>, protocols: &[Protocol]) {
    for protocol in protocols {
        *support.entry(protocol.name.clone()).or_default() += 1;
    }
}

fn uncount_protocols(support: &mut BTreeMap<Name, usize>, protocols: &[Protocol]) {
    for protocol in protocols {
        if let Some(count) = support.get_mut(&protocol.name) {
            *count -= 1;
            if *count == 0 {
                support.remove(&protocol.name);
            }
        }
    }
}
