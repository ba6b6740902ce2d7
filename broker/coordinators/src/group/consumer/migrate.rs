//! Takes over the members of a classic group, and sends classic members back.

use std::collections::BTreeSet;

use crate::group::assignor::spec::Partitions;
use crate::group::classic::migrate::Migrant;
use crate::group::consumer::{ConsumerGroup, Member};
use crate::group::context::Context;
use crate::group::embedded::Subscription;
use crate::group::id::{GroupId, MemberId};
use crate::group::record::consumer::{ConsumerRecord, GroupEpoch, TargetEpoch};
use crate::group::record::consumer_member::{
    ClassicMember, CurrentAssignment, MemberState, MemberSubscription,
};

/// A member that comes from a classic group, with what it reads and what it has.
pub(crate) struct Immigrant {
    pub(crate) member: Migrant,
    pub(crate) subscription: Subscription,
    pub(crate) partitions: Partitions,
}

impl ConsumerGroup {
    /// Makes a group in which everybody has what a classic group last gave them, and has it as its target. Writes the
    /// records in the order in which Kafka does.
    pub(crate) fn of_immigrants(
        cx: &mut Context<'_>,
        id: GroupId,
        generation_id: i32,
        members: Vec<Immigrant>,
    ) -> Self {
        let mut group = Self::new(id);
        let mut assigned = Vec::new();
        for immigrant in members {
            let member_id = immigrant.member.member_id.clone();
            assigned.push((member_id.clone(), immigrant.partitions));
            let subscription = as_subscription(immigrant.member, immigrant.subscription);
            group.append(cx, ConsumerRecord::Member(member_id, Some(subscription)));
        }
        let epoch = GroupEpoch {
            epoch: generation_id,
            metadata_hash: group.metadata_hash(&**cx.catalog),
        };
        group.append(cx, ConsumerRecord::Group(Some(epoch)));
        for (member_id, partitions) in &assigned {
            let target = Some(partitions.clone());
            group.append(cx, ConsumerRecord::TargetMember(member_id.clone(), target));
        }
        // This is long ago, so that the next target need not wait.
        let target_epoch = TargetEpoch {
            epoch: generation_id,
            timestamp_ms: 0,
        };
        group.append(cx, ConsumerRecord::Target(Some(target_epoch)));
        for (member_id, partitions) in assigned {
            let since_now = |indexes: BTreeSet<i32>| {
                let indexes = indexes.into_iter();
                indexes.map(|index| (index, generation_id)).collect()
            };
            let current = CurrentAssignment {
                member_epoch: generation_id,
                previous_member_epoch: generation_id,
                state: MemberState::Stable,
                assigned: partitions
                    .into_iter()
                    .map(|(topic_id, indexes)| (topic_id, since_now(indexes)))
                    .collect(),
                ..CurrentAssignment::default()
            };
            group.append(cx, ConsumerRecord::Current(member_id, Some(current)));
        }
        group
    }

    /// The epoch of members that are at their target. To classic members it is the generation.
    pub(crate) fn generation_id(&self) -> i32 {
        self.target_epoch.epoch
    }

    /// The classic members that stay, for a classic group that takes them over.
    pub(crate) fn emigrants(&self, leaving: &BTreeSet<MemberId>) -> Vec<Migrant> {
        let members = self.members.iter();
        members
            .filter(|(member_id, _)| !leaving.contains(*member_id))
            .filter_map(|(member_id, member)| as_migrant(member_id, member))
            .collect()
    }
}

fn as_subscription(member: Migrant, subscription: Subscription) -> MemberSubscription {
    MemberSubscription {
        instance_id: member.group_instance_id,
        rack_id: subscription.rack_id,
        client_id: member.client_id,
        client_host: member.client_host,
        topic_names: subscription.topics,
        topic_regex: Some("".into()),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        server_assignor: None,
        classic: Some(ClassicMember {
            session_timeout_ms: member.session_timeout_ms,
            protocols: member.protocols,
        }),
    }
}

fn as_migrant(member_id: &MemberId, member: &Member) -> Option<Migrant> {
    let subscription = &member.subscription;
    let classic = member.classic()?;
    Some(Migrant {
        member_id: member_id.clone(),
        group_instance_id: subscription.instance_id.clone(),
        client_id: subscription.client_id.clone(),
        client_host: subscription.client_host.clone(),
        rebalance_timeout_ms: subscription.rebalance_timeout_ms,
        session_timeout_ms: classic.session_timeout_ms,
        protocols: classic.protocols.clone(),
    })
}
