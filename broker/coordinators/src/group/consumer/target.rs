//! When a consumer group asks for a target, and how it takes one over.

use std::sync::Arc;

use crate::group::consumer::ConsumerGroup;
use crate::group::context::Context;
use crate::group::effects::Question;
use crate::group::id::MemberId;
use crate::group::record::consumer::{ConsumerRecord, TargetEpoch};
use crate::group::target::{AskingMember, ComputedTarget, TargetQuestion};

impl ConsumerGroup {
    /// Asks for a new target if the group epoch wants one and the last is old enough (KIP-1263).
    pub(super) fn refresh_target(&mut self, cx: &mut Context<'_>) {
        let last = self.target_epoch;
        let interval_ms = i64::from(self.assignment_interval_ms(cx));
        // A target from the future was made before the clock was put back.
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
            let asked = AskingMember {
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

    /// Takes over the answer to a question that was handed out. If another group of this name had asked, nobody wants it.
    pub(crate) fn target_computed(&mut self, cx: &mut Context<'_>, computed: ComputedTarget) {
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

    /// The member that gets what was computed: the one that was meant, or a static one that has come in its place.
    fn heir(&self, question: &TargetQuestion, member_id: MemberId) -> Option<MemberId> {
        if self.members.contains_key(&member_id) {
            return Some(member_id);
        }
        let asked = question.members.get(&member_id)?;
        let instance_id = asked.subscription.instance_id.as_ref()?;
        let heir = self.static_members.get(instance_id)?;
        let is_new = !question.members.contains_key(heir);
        is_new.then(|| heir.clone())
    }

    /// Notes that nobody is left. There is nothing to compute, and the next member's target need not wait.
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
