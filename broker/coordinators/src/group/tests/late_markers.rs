//! Markers that others put into the log, and of which a shard learns after it has gone on writing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    super::*,
    context::{TestCatalog, at, commit_topic},
};
use crate::machine::{EndTxn, Machine, Moment, Producer, Token, Write};
use crate::seed::number_from_env;

/// What stands in the log.
enum Logged {
    Write(Box<Write<GroupRecord>>),
    Marker(EndTxn),
}

/// A write on its way, with the number of markers of its producer that were known to whoever let it in.
struct InFlight {
    write: Write<GroupRecord>,
    markers: usize,
}

/// A shard, its log, and others who end transactions in it.
struct World {
    shard: GroupShard,
    now: Moment<dyn Catalog>,
    log: Vec<Logged>,
    /// What the shard knows of the log.
    followed: usize,
    in_flight: VecDeque<InFlight>,
    /// In the log, by producer.
    markers: BTreeMap<i64, usize>,
    refused: usize,
}

impl World {
    fn new() -> Self {
        let topics: Arc<dyn Catalog> = Arc::new(TestCatalog::default());
        let now = at(0, &topics);
        let mut shard = GroupShard::new(GroupConfig::default());
        shard.loaded(&now);
        Self {
            shard,
            now,
            log: Vec::new(),
            followed: 0,
            in_flight: VecDeque::new(),
            markers: BTreeMap::new(),
            refused: 0,
        }
    }

    fn handle(&mut self, request: GroupRequest) {
        let effects = self.shard.handle(&self.now, Token(0), request);
        for write in effects.writes {
            let producer = producer_of(&write);
            let markers = producer.map_or(0, |producer| self.marker_count(producer.id));
            self.in_flight.push_back(InFlight { write, markers });
        }
    }

    fn marker_count(&self, producer_id: i64) -> usize {
        self.markers.get(&producer_id).copied().unwrap_or_default()
    }

    /// Somebody else ends a transaction.
    fn end(&mut self, producer_id: i64, commit: bool) {
        *self.markers.entry(producer_id).or_default() += 1;
        self.log.push(Logged::Marker(EndTxn {
            producer_id,
            producer_epoch: 0,
            coordinator_epoch: 0,
            commit,
        }));
    }

    /// The shard reads on.
    fn follow(&mut self) {
        for logged in &self.log[self.followed..] {
            match logged {
                Logged::Marker(end) => self.shard.replay_marker(*end),
                Logged::Write(_) => panic!("nobody else writes"),
            }
        }
        self.followed = self.log.len();
    }

    /// The log takes the oldest write, or refuses it since its transaction has ended.
    fn land(&mut self) {
        let Some(InFlight { write, markers }) = self.in_flight.pop_front() else {
            return self.follow();
        };
        let producer = producer_of(&write);
        if let Some(producer) = producer
            && self.marker_count(producer.id) > markers
        {
            self.refused += 1;
            return self.shard.settled(producer, false);
        }
        self.follow();
        if let Some(producer) = producer {
            self.shard.settled(producer, true);
        }
        self.log.push(Logged::Write(Box::new(write)));
        self.followed += 1;
    }

    fn replayed(&self) -> GroupShard {
        let mut shard = GroupShard::new(GroupConfig::default());
        for logged in &self.log {
            let write = match logged {
                Logged::Marker(end) => {
                    shard.replay_marker(*end);
                    continue;
                }
                Logged::Write(write) => write,
            };
            let records = match &**write {
                Write::Plain(records) | Write::Transactional { records, .. } => records,
                Write::Joint { .. } => panic!("a group ends no transaction"),
            };
            let producer = producer_of(write);
            for record in records {
                let (key, value) = GroupShard::encode(record).expect("it has bytes");
                let replayed = shard.replay(producer, &key, value.as_deref());
                replayed.expect("a record of a group");
            }
        }
        shard
    }
}

fn producer_of(write: &Write<GroupRecord>) -> Option<Producer> {
    match write {
        Write::Transactional { producer, .. } => Some(*producer),
        _ => None,
    }
}

fn commit_in(producer_id: i64, group: &str, topic: &str, offset: i64) -> GroupRequest {
    GroupRequest::CommitTxnOffsets(CommitTxnOffsets {
        group_id: group.into(),
        producer_id,
        producer_epoch: 0,
        generation_id: -1,
        member_id: "".into(),
        group_instance_id: None,
        topics: vec![commit_topic(topic, offset)],
        api_version: 6,
    })
}

fn commit(group: &str, topic: &str, offset: i64) -> GroupRequest {
    GroupRequest::CommitOffsets(CommitOffsets {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        member_id: "".into(),
        group_instance_id: None,
        retention_time_ms: None,
        topics: vec![commit_topic(topic, offset)],
        api_version: 9,
    })
}

fn fetch(group: &str) -> FetchOffsets {
    FetchOffsets {
        groups: vec![FetchGroup {
            group_id: group.into(),
            member_id: None,
            member_epoch: -1,
            topics: None,
        }],
        require_stable: true,
        allowance: crate::allowance::Allowance::unlimited(),
    }
}

#[test]
fn whenever_a_shard_learns_of_markers_it_comes_to_what_its_log_says() {
    let schedules = number_from_env("LATE_MARKER_SCHEDULES").unwrap_or(400);
    let seeds = match number_from_env("LATE_MARKER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..schedules,
    };
    let mut refused = 0;
    for seed in seeds {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        for offset in 0..80 {
            let group = ["g", "h"][random.random_range(0..2)];
            let topic = ["a", "b"][random.random_range(0..2)];
            let producer_id = random.random_range(0..3);
            match random.random_range(0..12) {
                0..4 => world.handle(commit_in(producer_id, group, topic, offset)),
                4..6 => world.handle(commit(group, topic, offset)),
                6 => world.handle(GroupRequest::DeleteOffsets(DeleteOffsets {
                    group_id: group.into(),
                    topics: vec![(topic.into(), vec![0])],
                })),
                7 if random.random_bool(0.2) => {
                    world.handle(GroupRequest::DeleteGroups(DeleteGroups {
                        group_ids: vec![group.into()],
                    }));
                }
                8..10 => world.end(producer_id, random.random_bool(0.7)),
                _ => world.land(),
            }
            world.shard.check();
        }
        while !world.in_flight.is_empty() {
            world.land();
        }
        world.follow();
        let told = (world.shard.snapshot(), world.replayed().snapshot());
        assert_eq!(told.0, told.1, "LATE_MARKER_SEED={seed}");
        refused += world.refused;
    }
    assert!(refused > 0, "no marker came before a write");
}

#[test]
fn an_offset_that_is_on_its_way_into_the_log_is_unstable_and_a_refused_one_never_was() {
    let mut world = World::new();
    world.handle(commit("g", "a", 1));
    world.land();
    world.handle(commit_in(1, "g", "a", 2));
    assert!(
        world
            .shard
            .depends_on_markers(&GroupRequest::FetchOffsets(fetch("g")))
    );
    let fetched = world.shard.fetch_offsets(fetch("g"));
    let error = fetched[0].topics[0].partitions[0].error;
    assert_eq!(error, Some(protocol_shim::ErrorCode::UnstableOffsetCommit));
    world.end(1, true);
    world.land();
    world.follow();
    assert_eq!(world.refused, 1);
    assert!(
        !world
            .shard
            .depends_on_markers(&GroupRequest::FetchOffsets(fetch("g")))
    );
    let fetched = world.shard.fetch_offsets(fetch("g"));
    assert_eq!(fetched[0].topics[0].partitions[0].committed_offset, 1);
}
