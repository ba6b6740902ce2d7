//! The question for a target of a consumer group, and its answer.
//!
//! An assignor goes through all members, their topics and the partitions of those, which may take seconds. So a group asks in
//! one step and takes the answer over in another. The question shares with the group what it is about, and costs little to
//! ask. A small question is answered by the step that asks. A large one is handed out
//! ([`Question::Target`](crate::group::Question::Target)), one at a time of each group.
//!
//! Meanwhile members are served from the target that there is. The group takes the answer over as if everything since the
//! question had happened after the answer. A member that is gone gets nothing. A member that has come in place of a static
//! one gets the part of that one. Other new members wait for the next target. KIP-1263 plans this; Kafka 4.4 knows its
//! settings and still computes every target at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::group::assignor::Assignor;
use crate::group::assignor::spec::{MemberSpec, Partitions, Spec};
use crate::group::catalog::Catalog;
use crate::group::id::{GroupId, MemberId, Name};
use crate::group::record::consumer::ResolvedRegex;
use crate::group::record::consumer_member::MemberSubscription;

/// What a target is to be computed from.
#[derive(Debug)]
pub struct TargetQuestion {
    pub(super) group_id: GroupId,
    /// The group epoch that asks for it.
    pub(super) epoch: i32,
    pub(super) assignor: Assignor,
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) members: BTreeMap<MemberId, AskingMember>,
    pub(super) regexes: BTreeMap<Name, Arc<ResolvedRegex>>,
}

/// A member that gets a part of the target.
#[derive(Debug)]
pub(super) struct AskingMember {
    pub(super) subscription: Arc<MemberSubscription>,
    /// Its part of the last one.
    pub(super) previous: Option<Arc<Partitions>>,
}

/// The answer to a question.
#[derive(Debug)]
pub struct ComputedTarget {
    pub(super) question: Arc<TargetQuestion>,
    pub(super) target: BTreeMap<MemberId, Partitions>,
}

impl ComputedTarget {
    pub(super) fn group_id(&self) -> &GroupId {
        &self.question.group_id
    }
}

impl TargetQuestion {
    /// Runs the assignor. Its time grows with members, their topics and the partitions of those.
    pub fn compute(self: Arc<Self>) -> ComputedTarget {
        let target = self.assignor.assign(&self.spec());
        ComputedTarget {
            question: self,
            target,
        }
    }

    /// Whether there are at most `limit` members, topics and partitions. Counts no further than that.
    pub(super) fn is_within(&self, limit: usize) -> bool {
        let mut work = self.members.len();
        let mut topics: BTreeSet<&Name> = BTreeSet::new();
        for member in self.members.values() {
            if work > limit {
                return false;
            }
            for name in subscribed_names(&member.subscription, &self.regexes) {
                work += 1;
                if topics.insert(name) {
                    let partition_count = self.catalog.topic(name).map_or(0, |(_, count)| count);
                    work += usize::try_from(partition_count).unwrap_or(0);
                }
                if work > limit {
                    return false;
                }
            }
        }
        work <= limit
    }

    fn spec(&self) -> Spec<'_> {
        let mut partition_counts = BTreeMap::new();
        // Most members subscribe to the same topics, and share one set of them.
        let mut known = BTreeMap::new();
        let members = self.members.iter().map(|(member_id, member)| {
            let said = &member.subscription;
            let subscribed = known
                .entry((said.pattern(), &said.topic_names))
                .or_insert_with(|| {
                    let names = subscribed_names(said, &self.regexes);
                    let topics = names.filter_map(|name| self.catalog.topic(name));
                    let ids = topics.map(|(topic_id, partition_count)| {
                        partition_counts.insert(topic_id, partition_count);
                        topic_id
                    });
                    Arc::new(ids.collect::<BTreeSet<Uuid>>())
                });
            let member = MemberSpec {
                instance_id: said.instance_id.as_ref(),
                subscribed: Arc::clone(subscribed),
                previous: member.previous.as_deref(),
            };
            (member_id.clone(), member)
        });
        let members = members.collect();
        Spec {
            members,
            partition_counts,
        }
    }
}

/// The topics that a member with this subscription reads, by name.
fn subscribed_names<'a>(
    subscription: &'a MemberSubscription,
    regexes: &'a BTreeMap<Name, Arc<ResolvedRegex>>,
) -> impl Iterator<Item = &'a Name> {
    let resolved = subscription
        .topic_regex
        .as_ref()
        .and_then(|regex| regexes.get(regex));
    let by_regex: Option<&BTreeSet<Name>> = resolved.map(|resolved| &resolved.topics);
    let by_name = &subscription.topic_names;
    let also = by_regex.into_iter().flatten();
    by_name
        .iter()
        .chain(also.filter(move |name| !by_name.contains(*name)))
}
