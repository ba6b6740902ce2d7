//! Random schedules of consumers that join, move, die and come back, with crashes in between.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng, rngs::StdRng};
use uuid::Uuid;

use super::super::torn_steps::{TornSteps, check_compacted};
use super::*;
use crate::seed::number_from_env;

const SCHEDULES: u64 = 300;
const STEPS: usize = 150;
const TOPICS: [&str; 3] = ["t", "u", "vv"];
const REGEXES: [&str; 3] = ["", "[tu]", "v+"];

struct World {
    cx: TestContext,
    random: StdRng,
    consumers: BTreeMap<usize, Consumer>,
    /// The consumer and the number of its life, which makes member ids that never come again.
    lives: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let config = GroupConfig {
            consumer_assignment_interval_ms: if random.random_bool(0.5) { 0 } else { 1_000 },
            // Some targets are computed at once, others wait until somebody answers.
            consumer_assignment_step_work: [0, 8, 2_500][random.random_range(0..3)],
            consumer_regex_refresh_min_interval_ms: 0,
            consumer_regex_refresh_interval_ms: 60_000,
            consumer_max_size: 5,
            ..GroupConfig::default()
        };
        let mut cx = TestContext::with_config(config);
        cx.set_catalog(|catalog| catalog.put("t", 5));
        cx.hold_targets = true;
        cx.torn = Some(TornSteps::default());
        Self {
            cx,
            random,
            consumers: BTreeMap::new(),
            lives: 0,
        }
    }

    fn reborn(&mut self) -> Consumer {
        self.lives += 1;
        let mut consumer = Consumer::new("g", &format!("m{}", self.lives), &[]);
        consumer.topics = TOPICS
            .iter()
            .filter(|_| self.random.random_bool(0.6))
            .map(|&name| name.into())
            .collect();
        if self.random.random_bool(0.3) {
            consumer.regex = Some(REGEXES[self.random.random_range(0..REGEXES.len())].into());
        }
        consumer
    }

    fn step(&mut self) {
        let slot = self.random.random_range(0..6);
        match self.random.random_range(0..24) {
            20.. => self.hand_in_target(),
            0 => {
                let name = TOPICS[self.random.random_range(0..TOPICS.len())];
                let partition_count = self.random.random_range(1..9);
                self.cx
                    .set_catalog(|catalog| catalog.put(name, partition_count));
            }
            1 => self.cx.set_catalog(|catalog| catalog.remove("u")),
            2 => self
                .cx
                .advance(i64::from(self.random.clone().random_range(0..50_000))),
            3 => self.cx.crash(),
            // It dies without a word.
            4 => drop(self.consumers.remove(&slot)),
            5 | 6 => {
                if let Some(consumer) = self.consumers.remove(&slot) {
                    let is_static = consumer.instance_id.is_some() && self.random.random_bool(0.7);
                    self.cx
                        .leave_consumer(&consumer, if is_static { -2 } else { -1 });
                }
            }
            7 => {
                let other = self.reborn();
                if let Some(consumer) = self.consumers.get_mut(&slot) {
                    consumer.topics = other.topics;
                    consumer.regex = other.regex.or(consumer.regex.as_ref().map(|_| "".into()));
                }
            }
            8..11 if !self.consumers.contains_key(&slot) => {
                let mut consumer = self.reborn();
                if self.random.random_bool(0.4) {
                    consumer.instance_id = Some(format!("i{slot}").into());
                }
                self.consumers.insert(slot, consumer);
                self.heartbeat(slot);
            }
            11 => self.commit(slot),
            _ => self.heartbeat(slot),
        }
        self.check();
    }

    /// Late, in any order, now and then to a shard that has not asked; some never come.
    fn hand_in_target(&mut self) {
        let count = self.cx.computing.len();
        if count > 0 {
            let index = self.random.random_range(0..count);
            self.cx.hand_in_target(index);
        }
        if self.random.random_bool(0.1) && self.cx.delete_groups(&["g"]) == [None] {
            self.consumers.clear();
        }
    }

    fn heartbeat(&mut self, slot: usize) {
        let Some(consumer) = self.consumers.get(&slot) else {
            return;
        };
        let request = match consumer.epoch {
            0 => ConsumerHeartbeat {
                owned: Some(Vec::new()),
                ..consumer.full()
            },
            _ if self.random.random_bool(0.3) => consumer.quiet(),
            _ => consumer.full(),
        };
        let reply = self.cx.consumer_heartbeat(request);
        let is_lost = self.random.random_bool(0.1);
        let Some(consumer) = self.consumers.get_mut(&slot) else {
            return;
        };
        match reply.refusal.map(|refusal| refusal.error) {
            _ if is_lost => {}
            None => {
                consumer.epoch = reply.member_epoch;
                consumer.owned = reply
                    .assignment
                    .unwrap_or(std::mem::take(&mut consumer.owned));
            }
            Some(ErrorCode::GroupMaxSizeReached | ErrorCode::UnreleasedInstanceId) => {
                drop(self.consumers.remove(&slot))
            }
            Some(
                ErrorCode::FencedMemberEpoch
                | ErrorCode::UnknownMemberId
                | ErrorCode::FencedInstanceId
                | ErrorCode::GroupIdNotFound,
            ) => {
                // It starts again; as somebody else, so that it need not wait for its own session to end.
                let (topics, regex, instance_id) = (
                    consumer.topics.clone(),
                    consumer.regex.clone(),
                    consumer.instance_id.clone(),
                );
                let fresh = self.reborn();
                self.consumers.insert(
                    slot,
                    Consumer {
                        topics,
                        regex,
                        instance_id,
                        ..fresh
                    },
                );
            }
            Some(other) => panic!("{other}"),
        }
    }

    /// A commit with an old epoch counts only for a partition that nobody else has been given since.
    fn commit(&mut self, slot: usize) {
        let Some(consumer) = self.consumers.get(&slot).cloned() else {
            return;
        };
        let mut topic = commit_topic("t", 5);
        topic.topic_id = topic_id("t");
        topic.partitions[0].partition_index = self.random.random_range(0..5);
        let index = topic.partitions[0].partition_index;
        let epoch = consumer.epoch - self.random.random_range(0..2);
        let request = CommitOffsets {
            group_id: "g".into(),
            generation_id_or_member_epoch: epoch,
            member_id: consumer.member_id.clone(),
            group_instance_id: consumer.instance_id.clone(),
            retention_time_ms: None,
            topics: vec![topic],
            api_version: 9,
        };
        let token = self.cx.send(GroupRequest::CommitOffsets(request));
        let GroupReply::CommitOffsets(topics) = self.cx.reply(token) else {
            panic!("a reply to something else");
        };
        if topics[0].partitions[0].error.is_some() || epoch <= 0 {
            return;
        }
        let described = self.cx.describe_consumer("g");
        let member = described
            .members
            .iter()
            .find(|member| member.member_id == consumer.member_id);
        let member = member.expect("a commit of a stranger was accepted");
        assert!(epoch <= member.member_epoch);
        // What it has been told to give up is its own until it has.
        let of_others = described
            .members
            .iter()
            .filter(|member| member.member_id != consumer.member_id)
            .flat_map(|member| &member.assignment)
            .any(|topic| topic.topic_id == topic_id("t") && topic.partitions.contains(&index));
        assert!(
            epoch == member.member_epoch || !of_others,
            "a commit from an old epoch for a partition of somebody else"
        );
    }

    /// What consumers that are still members believe to have, they have alone.
    fn check(&mut self) {
        let members: BTreeMap<MemberId, i32> = self
            .cx
            .describe_consumer("g")
            .members
            .into_iter()
            .map(|member| (member.member_id, member.member_epoch))
            .collect();
        let mut owners: BTreeMap<(Uuid, i32), &MemberId> = BTreeMap::new();
        for consumer in self.consumers.values() {
            if consumer.epoch <= 0 || !members.contains_key(&consumer.member_id) {
                continue;
            }
            for (topic_id, partitions) in &consumer.owned {
                for index in partitions {
                    let other = owners.insert((*topic_id, *index), &consumer.member_id);
                    assert_eq!(
                        other, None,
                        "{topic_id}-{index} is also at {}",
                        consumer.member_id
                    );
                }
            }
        }
    }

    /// When nothing happens any more, everybody gets to the target, and together they have everything.
    fn come_to_rest(&mut self) {
        check_compacted(&self.cx);
        self.cx.hold_targets = false;
        while !self.cx.computing.is_empty() {
            self.hand_in_target();
        }
        for _ in 0..40 {
            self.cx.advance(5_000);
            for slot in 0..6 {
                let Some(consumer) = self.consumers.get(&slot) else {
                    continue;
                };
                let request = match consumer.epoch {
                    0 => ConsumerHeartbeat {
                        owned: Some(Vec::new()),
                        ..consumer.full()
                    },
                    _ => consumer.full(),
                };
                let reply = self.cx.consumer_heartbeat(request);
                if reply.refusal.is_some() {
                    let next = self.reborn();
                    let consumer = self.consumers.get_mut(&slot).expect("it was there");
                    *consumer = Consumer {
                        instance_id: consumer.instance_id.clone(),
                        ..next
                    };
                    continue;
                }
                let consumer = self.consumers.get_mut(&slot).expect("it was there");
                consumer.epoch = reply.member_epoch;
                consumer.owned = reply.assignment.expect("a full answer");
            }
            self.check();
        }
        let described = self.cx.describe_consumer("g");
        assert!(
            matches!(described.state, "Stable" | "Empty" | ""),
            "{described:#?}"
        );
        for member in &described.members {
            assert_eq!(member.assignment, member.target_assignment);
        }
    }
}

#[test]
fn whatever_happens_partitions_have_one_owner_and_members_come_to_rest() {
    let seeds = match number_from_env("GROUP_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from_env("GROUP_SCHEDULES").unwrap_or(SCHEDULES),
    };
    for seed in seeds {
        println!("repeat with GROUP_SEED={seed}");
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        // More consumers than the group takes would be turned away for ever.
        while world.consumers.len() > 5 {
            world.consumers.pop_first();
        }
        world.come_to_rest();
    }
}
