//! Several brokers over the same logs, among which shards move: with views that differ, writes that hang, and claims that
//! cross each other.
//!
//! `MOVES_SEED=n` repeats one schedule, `MOVES_SCHEDULES=n` runs so many.

use std::collections::BTreeMap;
use std::time::Duration;

use coordinators::group::{CommitTopic, CommitTxnOffsets};
use coordinators::machine::{EndTxn, Partition as InTransaction, Producer};
use coordinators::txn::{Adding, TRANSACTIONS_TOPIC, TransactionConfig, TransactionalId};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::groups::{commit, error_of};
use super::*;
use crate::authorizer::Authorized;
use crate::cluster::view::{Members, Node};
use crate::coordinator::txn::{TransactionCoordinator, Transactions};

/// One broker, with its own view of who there is.
struct Peer {
    view: Arc<ClusterView>,
    groups: GroupCoordinator,
    transactions: TransactionCoordinator,
    /// Of the groups.
    logs: Vec<Arc<TestLog>>,
}

struct World {
    peers: Vec<Peer>,
    _stop: watch::Sender<bool>,
}

fn node(id: i32) -> Node {
    Node {
        id,
        rack: None,
        endpoints: BTreeMap::new(),
    }
}

impl Peer {
    async fn new(
        id: i32,
        store: Arc<dyn storage::log::LogStore>,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let partitions = Arc::new(PartitionRegistry::new(RecordValidation::Full));
        let observer = {
            let (logs, partitions) = (Arc::clone(&store), Arc::clone(&partitions));
            move |old: &Published, new: &Published| partitions.follow(&*logs, old, new)
        };
        let mut properties = Properties::new();
        for topic in ["offsets.topic", "transaction.state.log"] {
            properties.insert(format!("{topic}.num.partitions"), "2".to_owned());
        }
        let config = BrokerConfig::from_properties(properties).expect("valid").0;
        let log = store.open_log(metadata_log_id(), Arc::new(metadata_log_config()));
        let log = Box::new(MetadataLog::new(log.expect("open")));
        let metadata = Metadata::open(log, "c", Arc::new(config), Arc::new(observer)).await;
        let metadata = metadata.expect("open");
        for topic in [OFFSETS_TOPIC, TRANSACTIONS_TOPIC] {
            metadata
                .ensure_internal_topic(topic)
                .await
                .expect("created");
        }
        let view = Arc::new(ClusterView::of(Members::new(id, vec![node(0)], 64)));
        let runtime = Runtime {
            metadata: metadata.clone(),
            clock: Clock::new(),
            cluster: Arc::clone(&view),
            is_alone: false,
            logs: store,
            partitions: Arc::clone(&partitions),
            stats: Arc::default(),
            shutdown,
        };
        let image = metadata.image();
        let topic = image.topic(OFFSETS_TOPIC).expect("created");
        let logs = (0..topic.partition_count).map(|partition| {
            let found = partitions.known(topic.topic_id, partition);
            TestLog::over(Arc::clone(&found.expect("open").log))
        });
        let logs: Vec<_> = logs.collect();
        let of_groups = Groups::new(GroupConfig::default(), Arc::default());
        let groups = GroupCoordinator::new(of_groups, runtime.clone());
        let as_logs = logs
            .iter()
            .map(|log| Arc::clone(log) as Arc<dyn PartitionLog>);
        let started = groups.start(topic.topic_id, as_logs.collect());
        started.await.expect("started");
        let of_transactions = Transactions::new(TransactionConfig::default(), metadata);
        let transactions = TransactionCoordinator::new(of_transactions, runtime);
        transactions.load().await.expect("started");
        Self {
            view,
            groups,
            transactions,
            logs,
        }
    }

    /// From now on it believes that these are all the brokers.
    fn sees(&self, ids: &[i32]) {
        let nodes = ids.iter().map(|id| node(*id)).collect();
        self.view.follow(nodes, Vec::new(), 64);
    }

    async fn call<C: GroupCall>(&self, group: &str, request: C) -> Result<C::Reply, ErrorCode> {
        let shards = self.groups.shards().expect("started");
        shards.call(group, request).await
    }

    async fn commit(&self, group: &str, offset: i64) -> Result<(), ErrorCode> {
        let mut request = commit(group, 1, 0);
        request.topics[0].partitions[0].committed_offset = offset;
        match error_of(self.call(group, request).await)? {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// The stable committed offset; -1 if there is none.
    async fn fetch(&self, group: &str) -> Result<i64, ErrorCode> {
        let request = FetchOffsets {
            groups: vec![FetchGroup {
                group_id: group.into(),
                member_id: None,
                member_epoch: -1,
                topics: Some(vec![FetchTopic {
                    name: "topic".into(),
                    topic_id: Uuid::nil(),
                    partition_indexes: vec![0],
                }]),
            }],
            require_stable: true,
            allowance: Allowance::unlimited(),
        };
        let fetched = self.call(group, request).await?;
        let partition = &fetched[0].topics[0].partitions[0];
        match partition.error {
            None => Ok(partition.committed_offset),
            Some(error) => Err(error),
        }
    }
}

impl World {
    async fn new(brokers: usize) -> Self {
        let (stop, shutdown) = watch::channel(false);
        let mut peers = Vec::new();
        for (id, store) in (0..).zip(storage::memory::open_shared(brokers)) {
            peers.push(Peer::new(id, store, shutdown.clone()).await);
        }
        Self { peers, _stop: stop }
    }

    /// All of them see that this one leads everything.
    fn led_by(&self, id: i32) {
        for peer in &self.peers {
            peer.view.lead(id);
        }
    }
}

/// Whether a client looks for the coordinator anew, or waits for it.
fn may_pass(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::ConcurrentTransactions
            | ErrorCode::UnstableOffsetCommit
    )
}

/// Asks until there is an answer that is one.
async fn until_answered<T>(ask: impl AsyncFn() -> Result<T, ErrorCode>) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(may_pass(error), "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn joins(member_id: &str) -> JoinGroup {
    JoinGroup {
        group_id: "g".into(),
        member_id: member_id.into(),
        group_instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol {
            name: "range".into(),
            metadata: vec![0, 0, 0, 0, 0, 0].into(),
        }],
        reason: None,
        api_version: 3,
        member_uuid: Uuid::new_v4(),
    }
}

fn beats(joined: &JoinReply) -> Heartbeat {
    Heartbeat {
        group_id: "g".into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
    }
}

/// The only member of a group that is settled.
async fn settled(peer: &Peer) -> JoinReply {
    let joined = until_answered(async || peer.call("g", joins("")).await).await;
    assert_eq!(joined.error, None);
    let sync = SyncGroup {
        group_id: "g".into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![(joined.member_id.clone(), vec![1].into())],
    };
    let synced = peer.call("g", sync).await.expect("answered");
    assert_eq!(synced.error, None);
    joined
}

#[tokio::test(start_paused = true)]
async fn a_group_survives_any_number_of_moves_with_its_member_generation_and_offsets() {
    let world = World::new(3).await;
    let joined = settled(&world.peers[0]).await;
    for round in 1..20 {
        let (from, to) = ((round - 1) % 3, round % 3);
        let commits = async || {
            let mut request = commit("g", 1, 0);
            request.member_id = joined.member_id.clone();
            request.generation_id_or_member_epoch = joined.generation_id;
            request.topics[0].partitions[0].committed_offset = round as i64;
            error_of(world.peers[from].call("g", request).await)
        };
        assert_eq!(until_answered(commits).await, None);
        let began = tokio::time::Instant::now();
        world.led_by(to as i32);
        let beat = until_answered(async || world.peers[to].call("g", beats(&joined)).await).await;
        assert_eq!(beat, None, "round {round}");
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_eq!(world.peers[to].fetch("g").await, Ok(round as i64));
        let elsewhere = world.peers[from].fetch("g").await;
        assert_eq!(elsewhere, Err(ErrorCode::NotCoordinator));
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_parked_is_told_at_once_that_the_shard_has_moved() {
    let world = World::new(2).await;
    let peer = &world.peers[0];
    let joined = settled(peer).await;
    let shards = peer.groups.shards().expect("started");
    let mut names = (0..).map(|number| format!("other-{number}"));
    let neighbour = names.find(|name| shards.shard_of(name) == shards.shard_of("g"));
    let neighbour = neighbour.expect("some share the shard");
    let log = &peer.logs[shards.shard_of("g")];
    let moved = async {
        let rebalances = Ok(Some(ErrorCode::RebalanceInProgress));
        while peer.call("g", beats(&joined)).await != rebalances {
            tokio::task::yield_now().await;
        }
        *log.holds.lock() = true;
        log.until_in_flight(1).await;
        world.led_by(1);
    };
    let late = async {
        while !*log.holds.lock() {
            tokio::task::yield_now().await;
        }
        peer.commit(&neighbour, 1).await
    };
    let told = async {
        let told = peer.call("g", joins("")).await;
        let in_flight = log.in_flight.lock().len();
        assert_eq!(in_flight, 1, "it does not wait for what is on its way");
        log.release().await;
        told.map(|joined| joined.error)
    };
    let (told, late, ()) = tokio::join!(told, late, moved);
    assert_eq!(told, Ok(Some(ErrorCode::NotCoordinator)));
    assert_eq!(late, Err(ErrorCode::NotCoordinator));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_has_slept_answers_and_writes_nothing_after_another_has_claimed() {
    let world = World::new(2).await;
    let [sleeps, claims] = &world.peers[..] else {
        panic!("two brokers")
    };
    until_answered(async || sleeps.commit("g", 1).await).await;
    for log in &sleeps.logs {
        *log.holds.lock() = true;
    }
    let late = sleeps.commit("g", 2);
    let meanwhile = async {
        while sleeps
            .logs
            .iter()
            .all(|log| log.in_flight.lock().is_empty())
        {
            tokio::task::yield_now().await;
        }
        claims.sees(&[1]);
        until_answered(async || claims.commit("g", 3).await).await;
        // It wakes, and still believes that the shard is its own.
        for log in &sleeps.logs {
            log.release().await;
        }
    };
    let (late, ()) = tokio::join!(late, meanwhile);
    assert_eq!(late, Err(ErrorCode::NotCoordinator));
    assert_eq!(claims.fetch("g").await, Ok(3));

    // The same without a write that could fail.
    sleeps.sees(&[1]);
    world.led_by(0);
    assert_eq!(until_answered(async || sleeps.fetch("g").await).await, 3);
    claims.sees(&[1]);
    until_answered(async || claims.commit("g", 4).await).await;
    assert_eq!(sleeps.fetch("g").await, Err(ErrorCode::NotCoordinator));
    assert_eq!(claims.fetch("g").await, Ok(4));
}

#[tokio::test(start_paused = true)]
async fn while_a_shard_is_loaded_its_clients_are_told_so() {
    let world = World::new(2).await;
    until_answered(async || world.peers[0].commit("g", 1).await).await;
    let to = &world.peers[1];
    to.logs.iter().for_each(|log| log.stall(true));
    world.led_by(1);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(
        to.fetch("g").await,
        Err(ErrorCode::CoordinatorLoadInProgress)
    );
    assert_eq!(
        world.peers[0].fetch("g").await,
        Err(ErrorCode::NotCoordinator)
    );
    to.logs.iter().for_each(|log| log.stall(false));
    assert_eq!(until_answered(async || to.fetch("g").await).await, 1);
}

#[tokio::test(start_paused = true)]
async fn two_brokers_that_both_think_a_shard_their_own_leave_each_other_time_to_serve() {
    let world = World::new(2).await;
    world.peers[0].sees(&[0]);
    world.peers[1].sees(&[1]);
    let began = tokio::time::Instant::now();
    for offset in 1..100 {
        let peer = &world.peers[offset as usize % 2];
        until_answered(async || peer.commit("g", offset).await).await;
    }
    let elapsed = began.elapsed();
    let claims = world.peers[0].logs[0]
        .leader_epoch()
        .max(world.peers[0].logs[1].leader_epoch());
    assert!(claims < 110, "{claims} claims");
    assert!(elapsed < Duration::from_secs(1_000), "{elapsed:?}");
    world.led_by(0);
    assert_eq!(
        until_answered(async || world.peers[0].fetch("g").await).await,
        99
    );
}

/// Any broker, as a client finds it that has heard of the last move or has not.
fn any<'a>(world: &'a World, random: &Mutex<StdRng>) -> &'a Peer {
    &world.peers[random.lock().random_range(0..world.peers.len())]
}

/// Commits one offset after the other, and looks whether it is there.
async fn commits(world: &World, group: &str, random: &Mutex<StdRng>) {
    for offset in 0..15 {
        until_answered(async || any(world, random).commit(group, offset).await).await;
        let fetched = until_answered(async || any(world, random).fetch(group).await).await;
        assert_eq!(fetched, offset, "{group}");
    }
}

/// Commits offsets in transactions, some of which it aborts.
async fn transacts(world: &World, id: &str, group: &str, random: &Mutex<StdRng>) {
    let named = || Authorized::internal(TransactionalId::from(id), "a test");
    let init = async || {
        let transactions = &any(world, random).transactions;
        transactions.init_producer(named(), 60_000, None).await
    };
    let mut producer = until_answered(init).await;
    let mut committed = -1;
    for offset in 0..12 {
        let sent = async || send(world, id, group, producer, offset, random).await;
        until_answered(sent).await;
        let commit = random.lock().random_bool(0.7);
        let end = async || {
            let transactions = &any(world, random).transactions;
            transactions.end(named(), producer, commit, 2).await
        };
        producer = until_answered(end).await;
        if commit {
            committed = offset;
        }
        let fetched = until_answered(async || any(world, random).fetch(group).await).await;
        assert_eq!(
            fetched, committed,
            "{group} after {offset}, commit {commit}"
        );
    }
}

async fn send(
    world: &World,
    id: &str,
    group: &str,
    producer: Producer,
    offset: i64,
    random: &Mutex<StdRng>,
) -> Result<(), ErrorCode> {
    let join = async |partition| {
        let id = Authorized::internal(TransactionalId::from(id), "a test");
        let transactions = &any(world, random).transactions;
        let added = transactions.add_partitions(id, producer, vec![partition], Adding::Add);
        added.await.pop().expect("an answer")
    };
    let mut topics = commit(group, 1, 0).topics;
    topics[0].partitions[0].committed_offset = offset;
    let call = |group_id| commit_in(producer, group_id, topics);
    let group = Authorized::internal(GroupId::from(group), "a test");
    let groups = &any(world, random).groups;
    let committed = groups
        .commit_within(group, producer, true, join, call)
        .await;
    match error_of(committed)? {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

fn commit_in(producer: Producer, group_id: GroupId, topics: Vec<CommitTopic>) -> CommitTxnOffsets {
    CommitTxnOffsets {
        group_id,
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        generation_id: -1,
        member_id: "".into(),
        group_instance_id: None,
        topics,
        api_version: 6,
    }
}

/// The coordinator of the transaction before writes its marker while that of this one is asked.
#[tokio::test(start_paused = true)]
async fn offsets_whose_log_another_broker_has_written_to_since_it_was_asked_are_to_be_sent_again() {
    let world = World::new(2).await;
    world.led_by(0);
    let [here, elsewhere] = &world.peers[..] else {
        panic!("two brokers");
    };
    let producer = Producer { id: 9, epoch: 1 };
    let end = EndTxn {
        producer_id: producer.id,
        producer_epoch: producer.epoch - 1,
        coordinator_epoch: 0,
        commit: false,
    };
    let sent = async |is_overtaken| {
        let join = async |partition: InTransaction| {
            if is_overtaken {
                let index = usize::try_from(partition.index).expect("small");
                let runtime = elsewhere.groups.runtime();
                let marker = runtime.append_marker(&*elsewhere.logs[index], end, 0);
                marker.await?.await.expect("durable");
                let read = here.logs[index].current_offsets().await;
                read.expect("read");
            }
            Ok(())
        };
        let call = |group_id| commit_in(producer, group_id, commit("g", 1, 0).topics);
        let group = Authorized::internal(GroupId::from("g"), "a test");
        let groups = &here.groups;
        error_of(
            groups
                .commit_within(group, producer, true, join, call)
                .await,
        )
    };
    // The shard has to be loaded before.
    until_answered(async || here.commit("g", 1).await).await;
    let told = sent(true).await;
    assert_eq!(told, Err(ErrorCode::CoordinatorLoadInProgress));
    assert_eq!(sent(false).await, Ok(None), "sent again");
}

/// Brokers come and go, hear of it at different times, and sleep now and then.
async fn moves(world: &World, random: &Mutex<StdRng>) {
    loop {
        let (peer, ids, pause_ms, sleeps) = {
            let mut random = random.lock();
            let peer = random.random_range(0..world.peers.len());
            let mut ids: Vec<i32> = (0..3).filter(|_| random.random_bool(0.6)).collect();
            if ids.is_empty() {
                ids.push(peer as i32);
            }
            let pause_ms = random.random_range(1..400);
            (peer, ids, pause_ms, random.random_bool(0.2))
        };
        if sleeps {
            let logs = &world.peers[peer].logs;
            logs.iter().for_each(|log| *log.holds.lock() = true);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            for log in logs {
                log.release().await;
            }
        } else {
            // Some hear of it now, the others perhaps never.
            for peer in &world.peers {
                if random.lock().random_bool(0.7) {
                    peer.sees(&ids);
                }
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_moves_when_what_was_committed_stays_and_what_was_aborted_never_was() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number("MOVES_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MOVES_SCHEDULES").unwrap_or(12),
    };
    for seed in seeds {
        eprintln!("MOVES_SEED={seed}");
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        let world = World::new(3).await;
        let clients = async {
            tokio::join!(
                commits(&world, "a", &random),
                commits(&world, "b", &random),
                transacts(&world, "x", "c", &random),
                transacts(&world, "y", "d", &random),
            )
        };
        tokio::select! {
            _ = clients => {}
            () = moves(&world, &random) => {}
            () = tokio::time::sleep(Duration::from_secs(3_600)) => panic!("nobody gets on"),
        }
        // Whoever leads in the end finds the same in the logs.
        for last in [0, 1, 2] {
            for peer in &world.peers {
                for log in &peer.logs {
                    log.release().await;
                }
            }
            world.led_by(last);
            let peer = &world.peers[last as usize];
            for group in ["a", "b"] {
                let fetched = until_answered(async || peer.fetch(group).await).await;
                assert_eq!(fetched, 14, "{group}");
            }
            for group in ["c", "d"] {
                until_answered(async || peer.fetch(group).await).await;
            }
        }
    }
}
