//! The records of a step may take several batches. A crash may leave any number of the first ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{any::Group, *};
use super::context::*;

/// To save time, only one step in so many is looked at.
const EVERY: usize = 5;

/// Ends the log behind each record of a step, and sees whether groups recover.
#[derive(Debug, Default)]
pub(super) struct TornSteps {
    steps: usize,
}

impl TornSteps {
    /// `before` is the shard as the log made it before the step.
    pub(super) fn check_cuts(
        &mut self,
        config: &GroupConfig,
        before: &GroupShard,
        step: &[GroupRecord],
        now: &Moment<dyn Catalog>,
    ) {
        if step.is_empty() {
            return;
        }
        self.steps += 1;
        if !self.steps.is_multiple_of(EVERY) {
            return;
        }
        let mut torn = before.clone();
        for (index, record) in step.iter().enumerate() {
            torn.apply(record);
            let is_whole = index + 1 == step.len();
            let _shown = Cut { step, index };
            recover(torn.clone(), config, is_whole, now);
        }
    }
}

/// Shown if what follows fails.
struct Cut<'a> {
    step: &'a [GroupRecord],
    index: usize,
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (left, lost) = self.step.split_at(self.index + 1);
            println!("cut behind {left:#?}, without {lost:#?}");
        }
    }
}

/// Loads what is left, and lets all members of a consumer group send heartbeats. Then the group has a whole target.
fn recover(mut shard: GroupShard, config: &GroupConfig, is_whole: bool, now: &Moment<dyn Catalog>) {
    let mut now = Moment {
        catalog: Arc::clone(&now.catalog),
        ..*now
    };
    let effects = shard.loaded(&now);
    answer(&mut shard, effects, &now);
    let consumer_groups = |shard: &GroupShard| -> Vec<GroupId> {
        let groups = shard.groups.iter();
        let groups = groups.filter(|(_, group)| matches!(group, Group::Consumer(_)));
        groups.map(|(group_id, _)| group_id.clone()).collect()
    };
    for group_id in consumer_groups(&shard) {
        let Some(Group::Consumer(group)) = shard.groups.get(&group_id) else {
            continue;
        };
        if is_whole {
            group.check_whole(&*now.catalog);
        }
        let mut was_heard = false;
        // Twice after the interval between two targets: expressions may have been asked about in between.
        for _ in 0..3 {
            let Some(Group::Consumer(group)) = shard.groups.get(&group_id) else {
                break;
            };
            for request in group.next_heartbeats() {
                let effects = shard.handle(&now, Token(0), request);
                was_heard |= effects.replies.iter().any(|(_, reply)| is_served(reply));
                answer(&mut shard, effects, &now);
            }
            now.steady_ms += i64::from(config.consumer_assignment_interval_ms);
        }
        if let Some(Group::Consumer(group)) = shard.groups.get(&group_id)
            && was_heard
        {
            group.check_target(&*now.catalog);
        }
    }
}

/// Compaction leaves the last record of each key, in their order. No group takes that for a torn log.
pub(super) fn check_compacted(cx: &TestContext) {
    for keeps_tombstones in [true, false] {
        let mut last: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for (index, record) in cx.log.iter().enumerate() {
            let (key, _) = record.encode().unwrap().expect("no transactions here");
            last.insert(key, index);
        }
        let mut left: Vec<usize> = last.into_values().collect();
        left.sort_unstable();
        let mut shard = GroupShard::new(cx.config.clone());
        for record in left.into_iter().map(|index| &cx.log[index]) {
            if keeps_tombstones || !is_tombstone(record) {
                shard.apply(record);
            }
        }
        for group in shard.groups.values() {
            if let Group::Consumer(group) = group {
                group.check_whole(&*cx.handed_in);
            }
        }
    }
}

fn is_tombstone(record: &GroupRecord) -> bool {
    match record {
        GroupRecord::Offset { value, .. } => value.is_none(),
        GroupRecord::Group { value, .. } => value.is_none(),
        GroupRecord::Consumer { record, .. } => record.is_tombstone(),
        GroupRecord::TxnOffset { .. } | GroupRecord::EndTxn { .. } => false,
    }
}

/// Whether the group knows who asks.
fn is_served(reply: &GroupReply) -> bool {
    match reply {
        GroupReply::ConsumerHeartbeat(reply) => reply.refusal.is_none(),
        GroupReply::Heartbeat(error) => {
            matches!(error, None | Some(ErrorCode::RebalanceInProgress))
        }
        other => panic!("{other:?}"),
    }
}

/// Answers the questions of a step.
fn answer(shard: &mut GroupShard, effects: Effects, now: &Moment<dyn Catalog>) {
    for question in effects.questions {
        let outcome = match question {
            Question::Patterns(asked) => Outcome::Patterns(resolved(asked, &now.catalog)),
            Question::Target(asked) => match asked.upgrade() {
                Some(asked) => Outcome::Target(asked.compute()),
                None => continue,
            },
        };
        let effects = shard.outcome(now, outcome);
        answer(shard, effects, now);
    }
}
