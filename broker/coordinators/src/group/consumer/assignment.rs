//! Changes of subscriptions and of topics ask for a new target: they bump the group epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::group::assignor::Assignor;
use crate::group::assignor::spec::Partitions;
use crate::group::catalog::Catalog;
use crate::group::consumer::{ConsumerGroup, Member};
use crate::group::context::Context;
use crate::group::effects::NoteKind;
use crate::group::id::{MemberId, Name};
use crate::group::record::consumer::{ConsumerRecord, GroupEpoch};
use crate::group::record::consumer_member::MemberSubscription;

impl ConsumerGroup {
    /// Compares subscriptions and topics with what the group epoch stands for, and bumps it if they differ or
    /// `must_bump`.
    pub(super) fn refresh_epoch(&mut self, cx: &mut Context<'_>, must_bump: bool, reason: &str) {
        self.review_patterns(cx);
        let is_first_look = self.checked_catalog.replace(cx.catalog_version).is_none();
        let is_owed = is_first_look && self.lacks_epoch(&**cx.catalog);
        let metadata_hash = self.metadata_hash(&**cx.catalog);
        if !must_bump && !is_owed && metadata_hash == self.epoch.metadata_hash {
            return;
        }
        self.note(
            cx,
            NoteKind::Rebalance {
                generation_id: self.epoch.epoch,
                reason: reason.to_owned(),
            },
        );
        let epoch = self.epoch.epoch.saturating_add(1);
        self.append(
            cx,
            ConsumerRecord::Group(Some(GroupEpoch {
                epoch,
                metadata_hash,
            })),
        );
    }

    /// Whether the log lacks an epoch that a change before it asks for.
    ///
    /// A crash leaves such a log when the records of one step took several batches. Nobody would ask for the target then, and
    /// members would go without one. In a log that has the epoch, a whole target has followed it or is still to come. So a
    /// target that is not whole gives the crash away, and so does a subscription that has changed behind the epoch.
    ///
    /// Takes time for each member and topic of the target, not for each partition.
    pub(super) fn lacks_epoch(&self, catalog: &dyn Catalog) -> bool {
        if self.epoch.epoch > self.target_epoch.epoch {
            return false;
        }
        let mut missing_counts: BTreeMap<Uuid, usize> = BTreeMap::new();
        for name in self.read_topics() {
            if let Some((topic_id, partition_count)) = catalog.topic(name) {
                let partition_count = usize::try_from(partition_count).unwrap_or(0);
                missing_counts.insert(topic_id, partition_count);
            }
        }
        for (topic_id, partitions) in self.target.values().flat_map(|target| &**target) {
            if let Some(missing_count) = missing_counts.get_mut(topic_id) {
                *missing_count = missing_count.saturating_sub(partitions.len());
            }
        }
        // A member that joins to read nothing needs no target.
        let lacks_target = |(member_id, member): (&MemberId, &Member)| {
            member.subscription.reads_something() && !self.target.contains_key(member_id)
        };
        self.reads_changed
            || self.members.iter().any(lacks_target)
            || missing_counts
                .values()
                .any(|missing_count| *missing_count > 0)
    }

    /// The names of all topics that members read, even of those that are gone.
    fn read_topics(&self) -> BTreeSet<&Name> {
        let by_regex = self.regexes.values().flat_map(|resolved| &resolved.topics);
        self.topic_counts.keys().chain(by_regex).collect()
    }

    /// Whether topics may have changed since subscriptions were last looked at.
    pub(super) fn is_catalog_new(&self, cx: &Context<'_>) -> bool {
        self.checked_catalog != Some(cx.catalog_version)
    }

    /// A number that changes when a subscribed topic comes, goes or grows. Zero if there is no such topic.
    ///
    /// Takes time for each topic, not for each member that reads it. Expressions that nobody has must be forgotten before.
    pub(super) fn metadata_hash(&self, catalog: &dyn Catalog) -> i64 {
        let mut hash = Fnv::default();
        for name in self.read_topics() {
            if let Some((topic_id, partition_count)) = catalog.topic(name) {
                hash.add(name.as_bytes());
                hash.add(topic_id.as_bytes());
                hash.add(&partition_count.to_be_bytes());
            }
        }
        hash.finish()
    }

    /// The assignor that most members ask for. The first configured one if nobody asks.
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

    /// Whether a member with this subscription may have partitions of a topic.
    pub(super) fn reads(
        &self,
        catalog: &dyn Catalog,
        subscription: &MemberSubscription,
        topic_id: Uuid,
    ) -> bool {
        let Some(name) = catalog.topic_name(topic_id) else {
            return false;
        };
        let by_regex = subscription
            .pattern()
            .and_then(|pattern| self.regexes.get(pattern));
        subscription.topic_names.contains(&name)
            || by_regex.is_some_and(|resolved| resolved.topics.contains(&name))
    }

    pub(crate) fn target_of(&self, member_id: &str) -> Arc<Partitions> {
        self.target.get(member_id).cloned().unwrap_or_default()
    }
}

/// FNV-1a with 64 bits. Unlike the standard library's hasher it is the same on every machine and in every version.
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
