//! A group of the consumer protocol (KIP-848): the coordinator finds the assignment, and each member gets there at its
//! own pace.
//!
//! Three epochs say where everybody is. The *group epoch* goes up when members, subscriptions or topics change. The
//! *target epoch* is the group epoch that the last assignment was computed for. A *member epoch* is the target epoch
//! that the member has reached. It moves when the member has given up what others are to have. A new group begins with
//! epoch 1 and an empty target of that epoch, which nobody has to compute.
//!
//! While an application changes its protocol, some members may still use the classic one (`classic`).
//!
//! Everything but deadlines is in the log. A handler decides, and [`ConsumerGroup::apply`] changes. Kafka's
//! `ConsumerGroup` and `GroupMetadataManager.consumerGroup*` are the model.

mod assignment;
mod classic;
mod heartbeat;
#[cfg(test)]
mod invariants;
mod membership;
pub(crate) mod migrate;
mod patterns;
mod reconcile;
mod target;

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::group::assignor::Assignor;
use crate::group::assignor::spec::Partitions;
use crate::group::catalog::Catalog;
use crate::group::context::{Context, TimerKey};
use crate::group::effects::{Note, NoteKind};
use crate::group::embedded;
use crate::group::id::{GroupId, InstanceId, MemberId, Name};
use crate::group::record::GroupRecord;
use crate::group::record::consumer::{ConsumerRecord, GroupEpoch, ResolvedRegex, TargetEpoch};
use crate::group::record::consumer_member::{
    ClassicMember, CurrentAssignment, MemberState, MemberSubscription,
};
use crate::group::reply::{
    AssignedTopics, DescribedConsumer, DescribedConsumerGroup, NamedPartitions,
};
use crate::group::request::Viewer;
use crate::group::target::TargetQuestion;
use crate::timer::Timers;

/// The epoch with which a member asks to join.
pub(super) const JOIN_EPOCH: i32 = 0;
/// The epoch with which a member leaves.
pub(super) const LEAVE_EPOCH: i32 = -1;
/// The epoch with which a static member leaves for a while.
pub(super) const STATIC_LEAVE_EPOCH: i32 = -2;

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    /// Shared with the question for a target.
    subscription: Arc<MemberSubscription>,
    current: CurrentAssignment,
}

impl Default for Member {
    fn default() -> Self {
        Self {
            subscription: Arc::new(MemberSubscription {
                rebalance_timeout_ms: -1,
                ..MemberSubscription::default()
            }),
            current: CurrentAssignment {
                previous_member_epoch: -1,
                ..CurrentAssignment::default()
            },
        }
    }
}

impl Member {
    /// What the member says in JoinGroup, if it still uses the classic protocol.
    fn classic(&self) -> Option<&ClassicMember> {
        self.subscription.classic.as_ref()
    }

    fn is_classic(&self) -> bool {
        self.classic().is_some()
    }
}

/// One consumer group.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct ConsumerGroup {
    id: GroupId,
    epoch: GroupEpoch,
    members: BTreeMap<MemberId, Member>,
    /// Instance id to member id.
    static_members: BTreeMap<InstanceId, MemberId>,
    /// How many members name each topic.
    topic_counts: BTreeMap<Name, usize>,
    target_epoch: TargetEpoch,
    target: BTreeMap<MemberId, Arc<Partitions>>,
    /// The target that is being computed elsewhere. It is not in the log.
    awaited: Option<Arc<TargetQuestion>>,
    regexes: BTreeMap<Name, Arc<ResolvedRegex>>,
    /// Whether a member has come to read other topics and the epoch that this asks for has not followed.
    reads_changed: bool,
    /// The member that has a partition, or has not given it up yet.
    owners: BTreeMap<(Uuid, i32), MemberId>,
    /// The version of the catalog that subscriptions were last compared with. It is not in the log.
    checked_catalog: Option<u64>,
    patterns: Patterns,
}

/// How much is known of the group's expressions. It is not in the log.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
struct Patterns {
    /// The member that has last said something of those with each expression.
    viewers: BTreeMap<Name, Viewer>,
    /// The version of the catalog that each expression was last matched with.
    matched: BTreeMap<Name, u64>,
    /// Whether some may match other topics now.
    are_stale: bool,
    /// When the owner was last asked to match them.
    asked_at_ms: Option<i64>,
    /// Whether the answer is still to come.
    is_asked: bool,
}

impl ConsumerGroup {
    pub(crate) fn new(id: GroupId) -> Self {
        Self {
            id,
            epoch: GroupEpoch::FIRST,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            topic_counts: BTreeMap::new(),
            target_epoch: TargetEpoch::FIRST,
            target: BTreeMap::new(),
            awaited: None,
            regexes: BTreeMap::new(),
            reads_changed: false,
            owners: BTreeMap::new(),
            checked_catalog: None,
            patterns: Patterns::default(),
        }
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// What members have of each topic that is there.
    pub(crate) fn assigned(&self, catalog: &dyn Catalog) -> AssignedTopics {
        let mut assigned = AssignedTopics::default();
        for member in self.members.values() {
            let mut counts: BTreeMap<Uuid, usize> = BTreeMap::new();
            for (topic_id, _) in partitions_of(&member.current) {
                *counts.entry(topic_id).or_default() += 1;
            }
            let counts = counts.into_iter();
            assigned.add(counts.filter_map(|(id, count)| Some((catalog.topic_name(id)?, count))));
        }
        assigned
    }

    /// Takes over one record. Nothing else changes what is durable. A compacted log may bring records in an order in which
    /// they were never written.
    pub(crate) fn apply(&mut self, record: &ConsumerRecord) {
        match record {
            ConsumerRecord::Group(value) => {
                self.epoch = value.unwrap_or(GroupEpoch::FIRST);
                self.reads_changed = false;
            }
            ConsumerRecord::Target(value) => {
                self.target_epoch = value.unwrap_or(TargetEpoch::FIRST);
            }
            ConsumerRecord::Member(member_id, value) => {
                self.set_subscription(member_id, value.clone());
            }
            ConsumerRecord::TargetMember(member_id, Some(partitions)) => {
                let partitions = Arc::new(partitions.clone());
                self.target.insert(member_id.clone(), partitions);
            }
            ConsumerRecord::TargetMember(member_id, None) => {
                self.target.remove(member_id);
            }
            ConsumerRecord::Current(member_id, Some(current)) => {
                self.set_current(member_id, current.clone());
            }
            ConsumerRecord::Current(member_id, None) => {
                if self.members.contains_key(member_id) {
                    self.set_current(member_id, Member::default().current);
                }
            }
            ConsumerRecord::Regex(regex, Some(resolved)) => {
                let before = self.regexes.get(regex);
                self.reads_changed |= before.is_some_and(|one| one.topics != resolved.topics);
                let resolved = Arc::new(resolved.clone());
                self.regexes.insert(regex.clone(), resolved);
            }
            ConsumerRecord::Regex(regex, None) => {
                self.regexes.remove(regex);
            }
        }
    }

    fn set_subscription(&mut self, member_id: &MemberId, value: Option<MemberSubscription>) {
        let Some(subscription) = value else {
            self.set_current(member_id, CurrentAssignment::default());
            if let Some(removed) = self.members.remove(member_id) {
                self.forget_topics(&removed.subscription);
                if let Some(instance_id) = &removed.subscription.instance_id
                    && self.static_members.get(instance_id) == Some(member_id)
                {
                    self.static_members.remove(instance_id);
                }
            }
            return;
        };
        if let Some(instance_id) = &subscription.instance_id {
            self.static_members
                .insert(instance_id.clone(), member_id.clone());
        }
        for name in &subscription.topic_names {
            *self.topic_counts.entry(name.clone()).or_default() += 1;
        }
        let member = self.members.entry(member_id.clone()).or_default();
        let is_known = *member.subscription != *Member::default().subscription;
        self.reads_changed |= is_known && !member.subscription.reads_as(&subscription);
        let before = std::mem::replace(&mut member.subscription, Arc::new(subscription));
        self.forget_topics(&before);
    }

    fn forget_topics(&mut self, subscription: &MemberSubscription) {
        for name in &subscription.topic_names {
            if let Some(count) = self.topic_counts.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.topic_counts.remove(name);
                }
            }
        }
    }

    fn set_current(&mut self, member_id: &MemberId, current: CurrentAssignment) {
        let owners = &mut self.owners;
        let member = self.members.entry(member_id.clone()).or_default();
        for partition in partitions_of(&member.current) {
            if owners.get(&partition) == Some(member_id) {
                owners.remove(&partition);
            }
        }
        member.current = current;
        for partition in partitions_of(&member.current) {
            owners.insert(partition, member_id.clone());
        }
    }

    /// Applies a record and adds it to the effects.
    fn append(&mut self, cx: &mut Context<'_>, record: ConsumerRecord) {
        self.apply(&record);
        cx.effects.write(GroupRecord::Consumer {
            group_id: self.id.clone(),
            record,
        });
    }

    /// Gives every member a session after a load, and time to members that have to give partitions up.
    pub(crate) fn loaded(&mut self, cx: &mut Context<'_>) {
        let session_timeout_ms = self.session_timeout_ms(cx);
        for (member_id, member) in &self.members {
            let own_ms = member.classic().map(|classic| classic.session_timeout_ms);
            cx.schedule(
                self.session_key(member_id),
                own_ms.unwrap_or(session_timeout_ms),
            );
            if member.current.is_revoking() {
                cx.schedule(
                    self.rebalance_key(member_id),
                    member.subscription.rebalance_timeout_ms,
                );
            }
        }
    }

    pub(crate) fn cancel_timers(&self, timers: &mut Timers<TimerKey>) {
        for member_id in self.members.keys() {
            timers.cancel(self.session_key(member_id));
            timers.cancel(self.rebalance_key(member_id));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The name of the state as tools print it.
    pub(crate) fn state_name(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch.epoch > self.target_epoch.epoch {
            "Assigning"
        } else if self
            .members
            .values()
            .all(|member| member.current.is_reconciled_to(self.target_epoch.epoch))
        {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    pub(crate) fn protocol_type(&self) -> Name {
        embedded::PROTOCOL_TYPE.into()
    }

    /// Whether a member reads `topic`.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        let mut by_regex = self.regexes.values();
        self.topic_counts.contains_key(topic)
            || by_regex.any(|resolved| resolved.topics.contains(topic))
    }

    /// The records that make the log forget the group.
    pub(crate) fn tombstones(&self) -> Vec<ConsumerRecord> {
        let members = || self.members.keys().cloned();
        let mut records: Vec<ConsumerRecord> = Vec::new();
        records.extend(members().map(|id| ConsumerRecord::Current(id, None)));
        records.extend(members().map(|id| ConsumerRecord::TargetMember(id, None)));
        records.push(ConsumerRecord::Target(None));
        records.extend(members().map(|id| ConsumerRecord::Member(id, None)));
        let regexes = self.regexes.keys().cloned();
        records.extend(regexes.map(|regex| ConsumerRecord::Regex(regex, None)));
        records.push(ConsumerRecord::Group(None));
        records
    }

    pub(crate) fn describe(&self, cx: &DescribeContext<'_>) -> DescribedConsumerGroup {
        let name_of = |topic_id: &Uuid| cx.catalog.topic_name(*topic_id);
        let with_names = |partitions: &mut dyn Iterator<Item = (Uuid, Vec<i32>)>| {
            let named = partitions.filter_map(|(topic_id, partitions)| {
                Some(NamedPartitions {
                    topic_id,
                    // A topic that has been deleted has no name to show.
                    topic_name: name_of(&topic_id)?,
                    partitions,
                })
            });
            named.collect::<Vec<_>>()
        };
        let members = self.members.iter().map(|(member_id, member)| {
            let Member {
                subscription,
                current,
            } = member;
            // What a member has been told to give up is its own until it has given it up.
            let mut assigned: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
            for (topic_id, index) in partitions_of(current) {
                assigned.entry(topic_id).or_default().push(index);
            }
            let assigned = &mut assigned.into_iter();
            let target = self.target.get(member_id).into_iter();
            let target = &mut target
                .flat_map(|partitions| partitions.iter())
                .map(|(topic_id, partitions)| (*topic_id, partitions.iter().copied().collect()));
            DescribedConsumer {
                member_id: member_id.clone(),
                instance_id: subscription.instance_id.clone(),
                rack_id: subscription.rack_id.clone(),
                member_epoch: current.member_epoch,
                is_classic: member.is_classic(),
                client_id: subscription.client_id.clone(),
                client_host: subscription.client_host.clone(),
                subscribed_topic_names: subscription.topic_names.iter().cloned().collect(),
                subscribed_topic_regex: subscription.topic_regex.clone(),
                assignment: with_names(assigned),
                target_assignment: with_names(target),
            }
        });
        DescribedConsumerGroup {
            state: self.state_name(),
            group_epoch: self.epoch.epoch,
            assignment_epoch: self.target_epoch.epoch,
            assignor: self.preferred_assignor(cx.default_assignor).name(),
            members: members.collect(),
            ..DescribedConsumerGroup::named(self.id.clone())
        }
    }

    fn session_key(&self, member_id: &MemberId) -> TimerKey {
        TimerKey::Session(self.id.clone(), member_id.clone())
    }

    fn rebalance_key(&self, member_id: &MemberId) -> TimerKey {
        TimerKey::Rebalance(self.id.clone(), member_id.clone())
    }

    fn session_timeout_ms(&self, cx: &Context<'_>) -> i32 {
        cx.catalog
            .group_setting(&self.id, "consumer.session.timeout.ms")
            .unwrap_or(cx.config.consumer_session_timeout_ms)
    }

    fn heartbeat_interval_ms(&self, cx: &Context<'_>) -> i32 {
        cx.catalog
            .group_setting(&self.id, "consumer.heartbeat.interval.ms")
            .unwrap_or(cx.config.consumer_heartbeat_interval_ms)
    }

    fn note(&self, cx: &mut Context<'_>, what: NoteKind) {
        cx.effects.notes.push(Note {
            group_id: self.id.clone(),
            what,
        });
    }

    /// The state as the shortest log that leads to it.
    #[cfg(test)]
    pub(crate) fn snapshot(&self) -> Vec<GroupRecord> {
        let mut records = vec![
            ConsumerRecord::Group(Some(self.epoch)),
            ConsumerRecord::Target(Some(self.target_epoch)),
        ];
        for (member_id, member) in &self.members {
            let (id, member) = (member_id.clone(), member.clone());
            records.push(ConsumerRecord::Member(
                id.clone(),
                Some((*member.subscription).clone()),
            ));
            records.push(ConsumerRecord::Current(id, Some(member.current)));
        }
        let target = self.target.iter();
        records.extend(target.map(|(id, partitions)| {
            ConsumerRecord::TargetMember(id.clone(), Some((**partitions).clone()))
        }));
        let regexes = self.regexes.iter();
        records.extend(
            regexes.map(|(regex, found)| {
                ConsumerRecord::Regex(regex.clone(), Some((**found).clone()))
            }),
        );
        let group_id = &self.id;
        let records = records.into_iter().map(|record| GroupRecord::Consumer {
            group_id: group_id.clone(),
            record,
        });
        records.collect()
    }
}

/// What a description needs besides the group.
pub(crate) struct DescribeContext<'a> {
    pub(crate) catalog: &'a dyn Catalog,
    pub(crate) default_assignor: Assignor,
}

impl CurrentAssignment {
    fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.member_epoch == target_epoch
    }

    /// Whether the member is here and has to give something up. A member that has left for a while has given up already.
    fn is_revoking(&self) -> bool {
        self.state == MemberState::UnrevokedPartitions && self.member_epoch >= 0
    }
}

/// Everything that a member has, or has still to give up.
fn partitions_of(current: &CurrentAssignment) -> impl Iterator<Item = (Uuid, i32)> {
    let topics = current.assigned.iter().chain(&current.pending_revocation);
    topics.flat_map(|(topic_id, partitions)| partitions.keys().map(|index| (*topic_id, *index)))
}
