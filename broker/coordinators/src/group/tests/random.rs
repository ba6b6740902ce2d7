//! Random schedules: clients that play by the protocol, among deaths, restarts, repeated requests, time, and crashes
//! that lose what was not durable.
//!
//! `GROUP_SEED=n` repeats one schedule, `GROUP_SCHEDULES=n` runs so many.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol_shim::ErrorCode;
use rand::{Rng, SeedableRng, rngs::StdRng};
use uuid::Uuid;

use crate::machine::Token;

use super::{
    super::*,
    context::{TestContext, Visible, commit_topic, protocol},
};
use crate::seed::number_from_env;

const GROUPS: [&str; 2] = ["g", "h"];

/// What a client does next, or waits for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Out,
    Joining(Token),
    Syncing(Token),
    In,
    Beating(Token),
}

#[derive(Debug)]
struct Client {
    group: &'static str,
    instance_id: Option<InstanceId>,
    api_version: i16,
    session_timeout_ms: i32,
    member_id: MemberId,
    generation_id: i32,
    phase: Phase,
    alive: bool,
    subscription: u8,
}

/// What the world was told, and may not be told otherwise.
#[derive(Debug, Default)]
struct Promises {
    /// Who was told to lead a generation.
    leaders: BTreeMap<(&'static str, i32), MemberId>,
    /// Who owns a partition in a generation: the member's slot, which a restarted static member inherits.
    owners: BTreeMap<(&'static str, i32, Bytes), Name>,
    /// The latest generation anybody has joined.
    generations: BTreeMap<&'static str, i32>,
    /// The committed offset.
    offsets: BTreeMap<&'static str, i64>,
}

/// What a request was about, to judge its reply by.
#[derive(Debug)]
enum Sent {
    Join {
        group: &'static str,
    },
    Sync {
        group: &'static str,
        generation_id: i32,
        slot: Name,
    },
    Commit {
        group: &'static str,
        generation_id: i32,
        offset: i64,
    },
    Fetch {
        group: &'static str,
    },
}

struct Simulation {
    random: StdRng,
    cx: TestContext,
    clients: Vec<Client>,
    promises: Promises,
    sent: BTreeMap<Token, Sent>,
    last_offset: i64,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let config = GroupConfig {
            initial_rebalance_delay_ms: [0, 3_000][random.random_range(0..2)],
            max_size: [4, 1_000][usize::from(random.random_bool(0.8))],
            offsets_retention_ms: 120_000,
            offsets_retention_check_interval_ms: 30_000,
            ..GroupConfig::default()
        };
        let mut cx = TestContext::with_config(config);
        cx.hold = random.random_bool(0.7);
        let clients = (0..random.random_range(2..8u8))
            .map(|index| Client {
                group: GROUPS[usize::from(random.random_bool(0.3))],
                instance_id: random.random_bool(0.3).then(|| format!("i{index}").into()),
                api_version: [3, 8, 9][random.random_range(0..3)],
                session_timeout_ms: random.random_range(6_000..20_000),
                member_id: "".into(),
                generation_id: -1,
                phase: Phase::Out,
                alive: true,
                subscription: 0,
            })
            .collect();
        Self {
            random,
            cx,
            clients,
            promises: Promises::default(),
            sent: BTreeMap::new(),
            last_offset: 0,
        }
    }

    fn run(&mut self) {
        for _ in 0..self.random.random_range(20..200) {
            self.step();
            self.check();
        }
        self.settle();
    }

    fn step(&mut self) {
        let index = self.random.random_range(0..self.clients.len());
        match self.random.random_range(0..100) {
            0..55 => self.play(index),
            55..60 => self.commit(index),
            60..63 => self.fetch(),
            63..72 => {
                let by_ms = [1, 500, 3_000, 12_000, 61_000][self.random.random_range(0..5)];
                self.advance(by_ms);
            }
            72..86 => self.cx.flush(self.random.random_range(1..10)),
            86..89 => self.restart(index),
            89..91 => self.clients[index].alive = false,
            91..93 => self.leave(index),
            93..95 => self.repeat(index),
            95..97 => self.meddle(),
            _ => self.crash(),
        }
    }

    /// Takes a client one step further by the protocol.
    fn play(&mut self, index: usize) {
        let client = &self.clients[index];
        if !client.alive {
            return;
        }
        let (Phase::Joining(token) | Phase::Syncing(token) | Phase::Beating(token)) = client.phase
        else {
            return if client.phase == Phase::Out {
                self.send_join(index)
            } else {
                self.beat(index)
            };
        };
        let Some(reply) = self.cx.poll(token) else {
            return;
        };
        match reply {
            GroupReply::Join(JoinReply { error: None, .. }) => {
                let GroupReply::Join(reply) = reply else {
                    unreachable!()
                };
                self.joined(index, reply);
            }
            GroupReply::Sync(SyncReply { error: None, .. }) | GroupReply::Heartbeat(None) => {
                self.clients[index].phase = Phase::In
            }
            GroupReply::Join(JoinReply {
                error: Some(error),
                member_id,
                ..
            }) => {
                if error == ErrorCode::MemberIdRequired {
                    self.clients[index].member_id = member_id;
                }
                self.failed(index, error);
            }
            GroupReply::Sync(SyncReply {
                error: Some(error), ..
            })
            | GroupReply::Heartbeat(Some(error))
            | GroupReply::Refused(error) => {
                self.failed(index, error);
            }
            other => panic!("{other:?}"),
        }
    }

    fn failed(&mut self, index: usize, error: ErrorCode) {
        let client = &mut self.clients[index];
        client.phase = Phase::Out;
        match error {
            ErrorCode::UnknownMemberId => client.member_id = "".into(),
            ErrorCode::FencedInstanceId | ErrorCode::GroupMaxSizeReached => client.alive = false,
            ErrorCode::MemberIdRequired
            | ErrorCode::RebalanceInProgress
            | ErrorCode::IllegalGeneration
            | ErrorCode::NotCoordinator => {}
            other => panic!("a client that plays by the protocol got {other}"),
        }
    }

    fn send_join(&mut self, index: usize) {
        let uuid = Uuid::from_u128(self.random.random());
        let client = &self.clients[index];
        let topics = [["topic"], ["other"]][usize::from(client.subscription % 2)];
        let mut protocols = vec![protocol("range", &topics), protocol("sticky", &topics)];
        if client.subscription >= 2 {
            protocols.reverse();
        }
        let request = JoinGroup {
            group_id: client.group.into(),
            member_id: client.member_id.clone(),
            group_instance_id: client.instance_id.clone(),
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: client.session_timeout_ms,
            rebalance_timeout_ms: 30_000,
            protocol_type: "consumer".into(),
            protocols,
            reason: None,
            api_version: client.api_version,
            member_uuid: uuid,
        };
        let group = client.group;
        let token = self.cx.send(GroupRequest::Join(request));
        self.sent.insert(token, Sent::Join { group });
        self.clients[index].phase = Phase::Joining(token);
    }

    fn joined(&mut self, index: usize, reply: JoinReply) {
        let client = &mut self.clients[index];
        client.member_id = reply.member_id;
        client.generation_id = reply.generation_id;
        let leads = reply.leader == client.member_id && !reply.skip_assignment;
        // One partition each, by place in the leader's list.
        let assignments = reply
            .members
            .iter()
            .zip(0..)
            .map(|(member, partition): (_, i32)| {
                let partition = if leads {
                    Bytes::from(partition.to_string())
                } else {
                    Bytes::new()
                };
                (member.member_id.clone(), partition)
            });
        let request = SyncGroup {
            group_id: client.group.into(),
            generation_id: client.generation_id,
            member_id: client.member_id.clone(),
            group_instance_id: client.instance_id.clone(),
            protocol_type: None,
            protocol_name: None,
            assignments: assignments.collect(),
        };
        let slot = match &client.instance_id {
            Some(instance_id) => Name::from(&**instance_id),
            None => Name::from(&*client.member_id),
        };
        let sent = Sent::Sync {
            group: client.group,
            generation_id: client.generation_id,
            slot,
        };
        let token = self.cx.send(GroupRequest::Sync(request));
        self.sent.insert(token, sent);
        self.clients[index].phase = Phase::Syncing(token);
    }

    fn beat(&mut self, index: usize) {
        let client = &self.clients[index];
        let request = Heartbeat {
            group_id: client.group.into(),
            generation_id: client.generation_id,
            member_id: client.member_id.clone(),
            group_instance_id: client.instance_id.clone(),
        };
        self.clients[index].phase = Phase::Beating(self.cx.send(GroupRequest::Heartbeat(request)));
    }

    /// Commits, perhaps with a generation or a member id that is long gone.
    fn commit(&mut self, index: usize) {
        self.last_offset += 1;
        let client = &self.clients[index];
        let request = CommitOffsets {
            group_id: client.group.into(),
            generation_id_or_member_epoch: client.generation_id,
            member_id: client.member_id.clone(),
            group_instance_id: client.instance_id.clone(),
            retention_time_ms: None,
            topics: vec![commit_topic("topic", self.last_offset)],
            api_version: 9,
        };
        let (group, generation_id, offset) = (client.group, client.generation_id, self.last_offset);
        let token = self.cx.send(GroupRequest::CommitOffsets(request));
        self.sent.insert(
            token,
            Sent::Commit {
                group,
                generation_id,
                offset,
            },
        );
    }

    fn live(&self, group: &str) -> Option<&super::super::classic::ClassicGroup> {
        self.cx.shard.groups.get(group)?.as_classic()
    }

    fn fetch(&mut self) {
        let group = GROUPS[self.random.random_range(0..2)];
        let topic = FetchTopic {
            name: "topic".into(),
            topic_id: Uuid::nil(),
            partition_indexes: vec![0],
        };
        let groups = vec![FetchGroup {
            member_id: None,
            member_epoch: -1,
            group_id: group.into(),
            topics: Some(vec![topic]),
        }];
        let require_stable = self.random.random_bool(0.5);
        let token = self.cx.send(GroupRequest::FetchOffsets(FetchOffsets {
            groups,
            require_stable,
            allowance: Allowance::unlimited(),
        }));
        self.sent.insert(token, Sent::Fetch { group });
    }

    /// The client's process starts anew: it has forgotten its id, and a static one will replace itself.
    fn restart(&mut self, index: usize) {
        let subscription = self.random.random_range(0..4);
        let client = &mut self.clients[index];
        *client = Client {
            group: client.group,
            instance_id: client.instance_id.clone(),
            member_id: "".into(),
            generation_id: -1,
            phase: Phase::Out,
            alive: true,
            subscription,
            ..*client
        };
    }

    fn leave(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.alive = false;
        let member = LeavingMember {
            member_id: client.member_id.clone(),
            group_instance_id: client.instance_id.clone(),
            reason: None,
        };
        let request = LeaveGroup {
            group_id: client.group.into(),
            members: vec![member],
        };
        self.cx.send(GroupRequest::Leave(request));
    }

    /// The client gives up waiting and asks again.
    fn repeat(&mut self, index: usize) {
        match self.clients[index].phase {
            Phase::Joining(_) => self.send_join(index),
            Phase::Syncing(_) => self.clients[index].phase = Phase::Out,
            _ => {}
        }
    }

    fn meddle(&mut self) {
        let group: GroupId = GROUPS[self.random.random_range(0..2)].into();
        let producer_id = self.random.random_range(0..3);
        let request = match self.random.random_range(0..6) {
            0 => GroupRequest::DeleteGroups(DeleteGroups {
                group_ids: vec![group],
            }),
            1 => GroupRequest::DescribeGroups(DescribeGroups {
                group_ids: vec![group],
                api_version: 6,
                allowance: Allowance::unlimited(),
            }),
            2 => GroupRequest::ListGroups(ListGroups::default()),
            3 => GroupRequest::DeleteOffsets(DeleteOffsets {
                group_id: group,
                topics: vec![("topic".into(), vec![0])],
            }),
            4 => GroupRequest::CommitTxnOffsets(CommitTxnOffsets {
                group_id: group,
                producer_id,
                producer_epoch: 0,
                generation_id: -1,
                member_id: "".into(),
                group_instance_id: None,
                topics: vec![commit_topic("transactional", self.last_offset)],
                api_version: 6,
            }),
            _ => {
                let commit = self.random.random_bool(0.5);
                return self.cx.end_txn(producer_id, commit);
            }
        };
        self.cx.send(request);
    }

    fn advance(&mut self, by_ms: i64) {
        self.cx.advance(by_ms);
    }

    /// What was in flight is lost. Generations that had no assignment yet will be numbered again.
    fn crash(&mut self) {
        self.check();
        self.cx.crash();
        for group in GROUPS {
            let generation = self
                .live(group)
                .map_or(0, |group| group.metadata().generation_id);
            self.promises
                .leaders
                .retain(|(of, number), _| *of != group || *number <= generation);
            self.promises.generations.insert(group, generation);
            let promised = self.promises.offsets.get(group).copied();
            assert_eq!(
                self.live_offset(group),
                promised,
                "{group} lost what was committed"
            );
        }
    }

    fn live_offset(&self, group: &str) -> Option<i64> {
        self.cx
            .shard
            .snapshot()
            .iter()
            .find_map(|record| offset_of(record, group).flatten())
    }

    /// Holds what has become visible against what was promised before.
    fn check(&mut self) {
        for visible in std::mem::take(&mut self.cx.visible) {
            match visible {
                Visible::Record(record) => self.check_record(&record),
                Visible::Reply(token, reply) => {
                    if let Some(sent) = self.sent.remove(&token) {
                        self.check_reply(sent, reply);
                    }
                }
            }
        }
    }

    fn check_record(&mut self, record: &GroupRecord) {
        let promises = &mut self.promises;
        for group in GROUPS {
            match offset_of(record, group) {
                Some(Some(offset)) => _ = promises.offsets.insert(group, offset),
                Some(None) => _ = promises.offsets.remove(group),
                None => {}
            }
            match record {
                GroupRecord::Group {
                    group_id,
                    value: Some(metadata),
                } if **group_id == *group => {
                    promises.generations.insert(group, metadata.generation_id);
                }
                // A deleted group counts its generations from the beginning.
                GroupRecord::Group {
                    group_id,
                    value: None,
                } if **group_id == *group => {
                    promises.leaders.retain(|(of, _), _| *of != group);
                    promises.owners.retain(|(of, _, _), _| *of != group);
                    promises.generations.remove(group);
                }
                _ => {}
            }
        }
    }

    fn check_reply(&mut self, sent: Sent, reply: GroupReply) {
        let promises = &mut self.promises;
        match (sent, reply) {
            (Sent::Join { group }, GroupReply::Join(reply)) if reply.error.is_none() => {
                promises.generations.insert(group, reply.generation_id);
                if reply.leader == reply.member_id && !reply.skip_assignment {
                    assert!(
                        !reply.members.is_empty(),
                        "a leader does not see its members"
                    );
                    let generation = (group, reply.generation_id);
                    let leader = promises
                        .leaders
                        .entry(generation)
                        .or_insert_with(|| reply.member_id.clone());
                    assert_eq!(*leader, reply.member_id, "a generation has two leaders");
                }
            }
            (
                Sent::Sync {
                    group,
                    generation_id,
                    slot,
                },
                GroupReply::Sync(reply),
            ) if !reply.assignment.is_empty() => {
                let partition = (group, generation_id, reply.assignment);
                let owner = promises
                    .owners
                    .entry(partition)
                    .or_insert_with(|| slot.clone());
                assert_eq!(*owner, slot, "a partition has two owners in one generation");
            }
            (
                Sent::Commit {
                    group,
                    generation_id,
                    offset,
                },
                GroupReply::CommitOffsets(topics),
            ) if topics[0].partitions[0].error.is_none() => {
                assert_eq!(
                    promises.offsets.get(group),
                    Some(&offset),
                    "a commit is not in the log"
                );
                let current = promises.generations.get(group).copied();
                let current = if generation_id == -1 {
                    Some(-1)
                } else {
                    current
                };
                assert_eq!(
                    current,
                    Some(generation_id),
                    "a commit of an old generation was accepted"
                );
            }
            (Sent::Fetch { group }, GroupReply::FetchOffsets(groups)) => {
                if let Some(topic) = groups[0].topics.first() {
                    let fetched =
                        Some(topic.partitions[0].committed_offset).filter(|&offset| offset != -1);
                    assert_eq!(
                        fetched,
                        promises.offsets.get(group).copied(),
                        "a fetch is not what is durable"
                    );
                }
            }
            _ => {}
        }
    }

    /// Nothing goes wrong any more: all that live find together, and nobody waits for ever.
    fn settle(&mut self) {
        self.cx.hold = false;
        self.cx.flush(usize::MAX);
        let patience_ms = self.cx.now_ms + 500_000;
        let mut rounds_together = 0;
        while rounds_together < 3 || !self.cx.parked().is_empty() {
            for index in 0..self.clients.len() {
                // Up to the point where the client waits for others, or for time.
                for _ in 0..4 {
                    self.play(index);
                }
                self.check();
            }
            rounds_together = if self.all_together() {
                rounds_together + 1
            } else {
                0
            };
            assert!(
                self.cx.now_ms < patience_ms,
                "does not settle: {:?} wait, clients {:?}",
                self.cx.parked(),
                self.clients
            );
            self.advance(4_000);
        }
    }

    fn all_together(&mut self) -> bool {
        let stable = |client: &Client| matches!(client.phase, Phase::In | Phase::Beating(_));
        GROUPS.iter().all(|&group| {
            let alive: Vec<&Client> = self
                .clients
                .iter()
                .filter(|client| client.alive && client.group == group)
                .collect();
            let Some(live) = self.live(group) else {
                return alive.is_empty();
            };
            let metadata = live.metadata();
            let in_step =
                |client: &&Client| stable(client) && client.generation_id == metadata.generation_id;
            alive.iter().all(in_step) && metadata.members.len() == alive.len()
        })
    }
}

/// The offset a record sets for the group's `topic-0`, `Some(None)` if it removes it.
fn offset_of(record: &GroupRecord, group: &str) -> Option<Option<i64>> {
    match record {
        GroupRecord::Offset { key, value } if *key.group_id == *group && &*key.topic == "topic" => {
            Some(value.as_ref().map(|value| value.offset))
        }
        _ => None,
    }
}

#[test]
fn whatever_happens_the_promises_of_the_protocol_hold() {
    let seeds = match number_from_env("GROUP_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from_env("GROUP_SCHEDULES").unwrap_or(3_000),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| Simulation::new(seed).run());
        if let Err(panic) = outcome {
            println!("repeat with GROUP_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
