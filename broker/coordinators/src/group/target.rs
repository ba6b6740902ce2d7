//! The target that a group epoch asks for: asked about in one step, computed wherever there is time for it, and taken
//! over by the group as it is by then.
//!
//! An assignor goes through all members, their topics and the partitions of those, which may take seconds. So the question
//! shares what it is about with the group, and costs little to ask. If it is a small one, the step that asks answers it. A
//! large one is handed out ([`Effects::assign`](crate::group::Effects::assign)), one at a time of each group. Meanwhile
//! members are served from the target that there is, and the answer is taken over as if all that has happened since had
//! happened after it: who is gone gets nothing, who has come in place of a static member gets what that was to have, others
//! who are new wait for the next target. That is how KIP-1263 has it; Kafka 4.4 knows its settings and still computes every
//! target at once.

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

/// A member that is to have a part of the target.
#[derive(Debug)]
pub(super) struct AskingMember {
    pub(super) subscription: Arc<MemberSubscription>,
    /// Its part of the last one.
    pub(super) previous: Option<Arc<Partitions>>,
}

/// The answer, which the group takes over as it is by then.
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

    /// Whether members, their topics and the partitions of those are no more than `limit`, counted no further than that.
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
        // Most members subscribe to the same: each has a set of its own only if it wants something of its own.
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
