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

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use uuid::Uuid;

use super::{ConsumerGroup, ConsumerRecord, MemberSubscription, ResolvedRegex, TargetEpoch};
use crate::group::{
    assignor::{Assignor, MemberSpec, Partitions, Spec},
    catalog::Catalog,
    effects::Question,
    event::Id,
    shard::Context,
};

/// What a target is to be computed from.
#[derive(Debug)]
pub struct TargetQuestion {
    group_id: Id,
    /// The group epoch that asks for it.
    epoch: i32,
    assignor: Assignor,
    catalog: Arc<dyn Catalog>,
    members: BTreeMap<Id, Asked>,
    regexes: BTreeMap<Id, Arc<ResolvedRegex>>,
}

/// A member that is to have a part of the target.
#[derive(Debug)]
struct Asked {
    subscription: Arc<MemberSubscription>,
    /// Its part of the last one.
    previous: Option<Arc<Partitions>>,
}

/// The answer, which the group takes over as it is by then.
#[derive(Debug)]
pub struct ComputedTarget {
    question: Arc<TargetQuestion>,
    target: BTreeMap<Id, Partitions>,
}

impl ComputedTarget {
    pub(in crate::group) fn group_id(&self) -> &Id {
        &self.question.group_id
    }
}

impl TargetQuestion {
    #[cfg(test)]
    pub(super) fn epoch(&self) -> i32 {
        self.epoch
    }

    /// Runs the assignor. Its time grows with members, their topics and the partitions of those.
    pub fn compute(self: Arc<Self>) -> ComputedTarget {
        let target = self.assignor.assign(&self.spec());
        ComputedTarget {
            question: self,
            target,
        }
    }

    /// Whether members, their topics and the partitions of those are no more than `limit`, counted no further than that.
    fn is_within(&self, limit: usize) -> bool {
        let mut work = self.members.len();
        let mut topics: BTreeSet<&Id> = BTreeSet::new();
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

impl ConsumerGroup {
    /// Asks for a new target if the group epoch wants one and the last is old enough (KIP-1263).
    pub(super) fn refresh_target(&mut self, cx: &mut Context<'_>) {
        let last = self.target_epoch;
        let interval_ms = i64::from(self.assignment_interval_ms(cx));
        // One from the future was made before the clock was put back.
        let since_ms = cx.wall_ms.saturating_sub(last.timestamp_ms);
        let is_due = last.timestamp_ms == 0 || !(0..interval_ms).contains(&since_ms);
        if self.epoch.epoch <= last.epoch || !is_due || self.awaited.is_some() {
            return;
        }
        let question = Arc::new(self.ask_for_target(cx));
        if question.is_within(cx.config.consumer_assignment_step_work) {
            self.take_target(cx, question.compute());
        } else {
            let asked = Question::Target(Arc::downgrade(&question));
            cx.effects.questions.push(asked);
            self.awaited = Some(question);
        }
    }

    fn ask_for_target(&self, cx: &Context<'_>) -> TargetQuestion {
        let members = self.members.iter().map(|(member_id, member)| {
            let asked = Asked {
                subscription: Arc::clone(&member.subscription),
                previous: self.target.get(member_id).cloned(),
            };
            (member_id.clone(), asked)
        });
        TargetQuestion {
            group_id: self.id.clone(),
            epoch: self.epoch.epoch,
            assignor: self.preferred_assignor(cx.config.consumer_default_assignor()),
            catalog: Arc::clone(cx.catalog),
            members: members.collect(),
            regexes: self.regexes.clone(),
        }
    }

    /// The answer to a question that was handed out, perhaps by another group of this name: then it is nobody's.
    pub(in crate::group) fn target_computed(
        &mut self,
        cx: &mut Context<'_>,
        computed: ComputedTarget,
    ) {
        let awaited = self.awaited.as_ref();
        if awaited.is_some_and(|awaited| Arc::ptr_eq(awaited, &computed.question)) {
            self.awaited = None;
            self.take_target(cx, computed);
        }
    }

    fn take_target(&mut self, cx: &mut Context<'_>, computed: ComputedTarget) {
        let ComputedTarget { question, target } = computed;
        for (member_id, partitions) in target {
            let Some(member_id) = self.heir(&question, member_id) else {
                continue;
            };
            let known = self.target.get(&member_id);
            if known.map(|known| &**known) != Some(&partitions) {
                let record = ConsumerRecord::TargetMember(member_id, Some(partitions));
                self.append(cx, record);
            }
        }
        let target_epoch = TargetEpoch {
            epoch: question.epoch,
            timestamp_ms: cx.wall_ms,
        };
        self.append(cx, ConsumerRecord::Target(Some(target_epoch)));
    }

    /// Who gets what was computed for a member: itself, or who has come in its place.
    fn heir(&self, question: &TargetQuestion, member_id: Id) -> Option<Id> {
        if self.members.contains_key(&member_id) {
            return Some(member_id);
        }
        let asked = question.members.get(&member_id)?;
        let instance_id = asked.subscription.instance_id.as_ref()?;
        let heir = self.static_members.get(instance_id)?;
        let is_new = !question.members.contains_key(heir);
        is_new.then(|| heir.clone())
    }

    /// Nobody is left: there is nothing to compute, and the next member's target need not wait.
    pub(super) fn rest(&mut self, cx: &mut Context<'_>) {
        self.awaited = None;
        let target_epoch = TargetEpoch {
            epoch: self.epoch.epoch,
            timestamp_ms: 0,
        };
        self.append(cx, ConsumerRecord::Target(Some(target_epoch)));
    }

    fn assignment_interval_ms(&self, cx: &Context<'_>) -> i32 {
        cx.catalog
            .group_setting(&self.id, "consumer.assignment.interval.ms")
            .unwrap_or(cx.config.consumer_assignment_interval_ms)
    }
}

/// The topics that a member with this subscription reads, by name.
fn subscribed_names<'a>(
    subscription: &'a MemberSubscription,
    regexes: &'a BTreeMap<Id, Arc<ResolvedRegex>>,
) -> impl Iterator<Item = &'a Id> {
    let resolved = subscription
        .topic_regex
        .as_ref()
        .and_then(|regex| regexes.get(regex));
    let by_regex: Option<&BTreeSet<Id>> = resolved.map(|resolved| &resolved.topics);
    let by_name = &subscription.topic_names;
    let also = by_regex.into_iter().flatten();
    by_name
        .iter()
        .chain(also.filter(move |name| !by_name.contains(*name)))
}
