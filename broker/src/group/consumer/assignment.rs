//! From subscriptions and topics to a target: changes bump the group epoch, and a new epoch gets a new target.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{
    ConsumerGroup, ConsumerRecord, GroupEpoch, MemberSubscription, TargetEpoch, subscribed_names,
};
use crate::group::{
    assignor::{Assignor, MemberSpec, Partitions, Spec},
    catalog::Catalog,
    effects::NoteKind,
    event::Id,
    shard::Context,
};

impl ConsumerGroup {
    /// Compares subscriptions and topics with what the group epoch stands for, and bumps it if they differ or
    /// `must_bump`.
    pub(super) fn refresh_epoch(&mut self, cx: &mut Context<'_>, must_bump: bool, reason: &str) {
        self.review_patterns(cx);
        self.checked_catalog = Some(cx.catalog_version);
        let metadata_hash = self.metadata_hash(cx.catalog);
        let is_new = self.epoch.epoch == 0;
        let bumps = must_bump || metadata_hash != self.epoch.metadata_hash;
        if !bumps && !is_new {
            return;
        }
        self.note(
            cx,
            NoteKind::Rebalance {
                generation_id: self.epoch.epoch,
                reason: reason.to_owned(),
            },
        );
        // A group begins with epoch 1, so that the first subscription makes it 2.
        let epoch = self.epoch.epoch.max(1).saturating_add(i32::from(bumps));
        self.append(
            cx,
            ConsumerRecord::Group(Some(GroupEpoch {
                epoch,
                metadata_hash,
            })),
        );
    }

    /// Whether topics may have changed since subscriptions were last looked at.
    pub(super) fn is_catalog_new(&self, cx: &Context<'_>) -> bool {
        self.checked_catalog != Some(cx.catalog_version)
    }

    /// Says whether any subscribed topic came, went or grew. Zero if there is none.
    pub(super) fn metadata_hash(&self, catalog: &dyn Catalog) -> i64 {
        let members = self.members.values();
        let names: BTreeSet<&Id> = members
            .flat_map(|member| subscribed_names(&member.subscription, &self.regexes))
            .collect();
        let mut hash = Fnv::default();
        for name in names {
            if let Some((topic_id, partition_count)) = catalog.topic(name) {
                hash.add(name.as_bytes());
                hash.add(topic_id.as_bytes());
                hash.add(&partition_count.to_be_bytes());
            }
        }
        hash.finish()
    }

    /// Computes a new target if the group epoch asks for one and the last is old enough (KIP-1263).
    pub(super) fn refresh_target(&mut self, cx: &mut Context<'_>) {
        let last = self.target_epoch;
        let interval_ms = i64::from(self.assignment_interval_ms(cx));
        // One from the future was made before the clock was put back.
        let since_ms = cx.wall_ms.saturating_sub(last.timestamp_ms);
        let is_due = last.epoch == 0 || !(0..interval_ms).contains(&since_ms);
        if self.epoch.epoch <= last.epoch || !is_due {
            return;
        }
        let assignor = self.preferred_assignor(cx.config.consumer_default_assignor());
        let target = assignor.assign(&self.spec(cx.catalog));
        for (member_id, partitions) in target {
            if self.target.get(&member_id) != Some(&partitions) {
                self.append(
                    cx,
                    ConsumerRecord::TargetMember(member_id, Some(partitions)),
                );
            }
        }
        let target_epoch = TargetEpoch {
            epoch: self.epoch.epoch,
            timestamp_ms: cx.wall_ms,
        };
        self.append(cx, ConsumerRecord::Target(Some(target_epoch)));
    }

    fn assignment_interval_ms(&self, cx: &Context<'_>) -> i32 {
        cx.catalog
            .group_setting(&self.id, "consumer.assignment.interval.ms")
            .unwrap_or(cx.config.consumer_assignment_interval_ms)
    }

    fn spec(&self, catalog: &dyn Catalog) -> Spec<'_> {
        let mut spec = Spec::default();
        let mut topics: BTreeMap<&Id, Option<Uuid>> = BTreeMap::new();
        for (member_id, member) in &self.members {
            let mut subscribed = BTreeSet::new();
            for name in subscribed_names(&member.subscription, &self.regexes) {
                let partition_counts = &mut spec.partition_counts;
                let known = topics.entry(name).or_insert_with(|| {
                    let (topic_id, partition_count) = catalog.topic(name)?;
                    partition_counts.insert(topic_id, partition_count);
                    Some(topic_id)
                });
                subscribed.extend(*known);
            }
            let member_spec = MemberSpec {
                instance_id: member.subscription.instance_id.as_ref(),
                subscribed,
                previous: self.target.get(member_id),
            };
            spec.members.insert(member_id.clone(), member_spec);
        }
        spec
    }

    /// The assignor that most members ask for; the first configured one if nobody asks.
    pub(super) fn preferred_assignor(&self, default: Assignor) -> Assignor {
        let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
        for member in self.members.values() {
            let wanted = member.subscription.server_assignor.as_deref();
            if let Some(assignor) = wanted.and_then(Assignor::from_name) {
                *votes.entry(assignor).or_default() += 1;
            }
        }
        let most = votes.values().copied().max().unwrap_or(0);
        let mut winners = votes.into_iter().filter(|(_, count)| *count == most);
        winners.next().map_or(default, |(assignor, _)| assignor)
    }

    /// The topics that a member with this subscription may have partitions of.
    pub(super) fn subscribed_ids(
        &self,
        catalog: &dyn Catalog,
        subscription: &MemberSubscription,
    ) -> BTreeSet<Uuid> {
        subscribed_names(subscription, &self.regexes)
            .filter_map(|name| catalog.topic(name).map(|(topic_id, _)| topic_id))
            .collect()
    }

    pub(in crate::group) fn target_of(&self, member_id: &str) -> Partitions {
        self.target.get(member_id).cloned().unwrap_or_default()
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every version, which the standard library's hasher is not.
#[derive(Default)]
struct Fnv(Option<u64>);

impl Fnv {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;

    fn add(&mut self, bytes: &[u8]) {
        let mut hash = self.0.unwrap_or(Self::OFFSET_BASIS);
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(Self::PRIME);
        }
        self.0 = Some(hash);
    }

    fn finish(self) -> i64 {
        self.0.unwrap_or(0).cast_signed()
    }
}
