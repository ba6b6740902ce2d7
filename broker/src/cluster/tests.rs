//! Three brokers in one process, over a database and logs in memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use coordinators::machine::EndTxn;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::MetadataResponse;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AlterPartitionReassignmentsRequest, BrokerId,
    DescribeClusterRequest, FetchRequest, InitProducerIdRequest, ProduceRequest, TopicName,
    fetch_request::{FetchPartition, FetchTopic},
};
use kafka_protocol::protocol::StrBytes;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use protocol_shim::ErrorCode;
use protocol_shim::access;
use protocol_shim::header::RequestHeader;
use protocol_shim::newer::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use storage::env::clock::Clock;
use storage::log::{AppendOrigin, BoxFuture, LogStore, Next, TopicPartition};
use storage::memory;
use storage::object::database::{
    Brokers as _, Call, DEFAULT_GROUPS, Endpoint, Fate, Faults, LiveBroker, MemoryDatabase,
    Registration,
};
use storage::object::{self, ObjectConfig};
use storage::record::{BatchBuilder, ValidatedBatch};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::Cluster;
use super::membership::{LEASE, LISTED_AFTER, Membership};
use crate::acl::{Acl, AclOperation, PatternKind, Permission, ResourceKind};
use crate::api;
use crate::broker::Broker;
use crate::config::{BrokerConfig, HostPort, Properties};
use crate::context::RequestContext;
use crate::metadata::{
    AlterConfig, ConfigChange, MetaProperties, MetadataError, NewAcls, NewPartitions, NewTopic,
    Operation, Placement, ResourceType, TopicRef,
};
use crate::server;

/// The database's clock is the test's.
#[derive(Debug)]
struct TestClock(Instant);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        i64::try_from(self.monotonic_ms()).expect("short")
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).expect("short")
    }
}

/// The way from one broker to the database.
#[derive(Default)]
struct Cable {
    is_cut: AtomicBool,
    /// Nothing comes through that says what has been changed.
    hides_metadata: AtomicBool,
}

impl Faults for Cable {
    fn before(&self, call: Call) -> BoxFuture<'_, Fate> {
        let is_hidden = call == Call::LoadMetadata && self.hides_metadata.load(Ordering::Relaxed);
        Box::pin(std::future::ready(
            match is_hidden || self.is_cut.load(Ordering::Relaxed) {
                true => Fate::Refused,
                false => Fate::Answered,
            },
        ))
    }
}

/// Every answer of the database to a change is lost, one time of two.
#[derive(Default)]
struct LosesAnswers {
    is_odd: AtomicBool,
}

impl Faults for LosesAnswers {
    fn before(&self, call: Call) -> BoxFuture<'_, Fate> {
        let is_lost =
            call == Call::AppendMetadata && !self.is_odd.fetch_xor(true, Ordering::Relaxed);
        Box::pin(std::future::ready(match is_lost {
            true => Fate::AnswerLost,
            false => Fate::Answered,
        }))
    }
}

struct Stores {
    database: MemoryDatabase,
    logs: Arc<dyn LogStore>,
}

impl Stores {
    fn new() -> Self {
        let clock = Arc::new(TestClock(Instant::now()));
        Self {
            database: MemoryDatabase::new(clock, DEFAULT_GROUPS),
            logs: memory::open(),
        }
    }

    /// A broker that serves, and the way from it to the database.
    async fn broker(&self, id: i32, rack: Option<&str>) -> (Arc<Broker>, Arc<Cable>) {
        let cable = Arc::new(Cable::default());
        let faults = Arc::clone(&cable);
        (self.broker_with(id, rack, faults).await, cable)
    }

    async fn broker_with(
        &self,
        id: i32,
        rack: Option<&str>,
        faults: Arc<dyn Faults>,
    ) -> Arc<Broker> {
        let database = Arc::new(self.database.with_faults(faults));
        let registration = Registration {
            broker_id: Some(id),
            incarnation: Uuid::new_v4(),
            replaces: None,
            rack: rack.map(str::to_owned),
            endpoints: vec![Endpoint {
                listener: "PLAINTEXT".to_owned(),
                host: format!("broker-{id}.example"),
                port: 9092,
            }],
            lease: LEASE,
        };
        let members = Membership::join(Arc::clone(&database) as _, registration).await;
        let members = members.expect("joined");
        let properties: Properties = [
            ("node.id", id.to_string()),
            ("num.partitions", "8".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        let config = BrokerConfig::from_properties(properties).expect("valid").0;
        let identity = MetaProperties {
            cluster_id: storage::kafka_uuid(members.cluster_id()),
            ..MetaProperties::random(id)
        };
        let cluster = Cluster { database, members };
        let broker = server::assemble_in(
            Some(cluster.clone()),
            config,
            &identity,
            Arc::clone(&self.logs),
        );
        let broker = broker.await.expect("assembled");
        let metadata = &broker.metadata;
        let serving = cluster.members.serve(metadata.version(), metadata.vital());
        serving.await;
        broker
    }

    /// The engine of a cluster.
    async fn objects(
        &self,
        id: i32,
        objects: &Arc<InMemory>,
        faults: Arc<dyn Faults>,
    ) -> Arc<dyn LogStore> {
        let registration = Registration {
            broker_id: Some(id),
            incarnation: Uuid::new_v4(),
            replaces: None,
            rack: None,
            endpoints: Vec::new(),
            lease: Duration::from_secs(1 << 20),
        };
        let registered = self.database.register(&registration).await;
        // It keeps its value when nobody can change it.
        let (_, fence) = watch::channel(Some(registered.expect("free").fence));
        let database = Arc::new(self.database.with_faults(faults));
        let config = ObjectConfig::new(database, Arc::clone(objects) as _, DEFAULT_GROUPS, fence);
        object::open(config).expect("opened")
    }

    async fn three(&self) -> [(Arc<Broker>, Arc<Cable>); 3] {
        let racks = [Some("a"), Some("b"), Some("c")];
        let [one, two, three] = racks;
        let brokers = [
            self.broker(1, one).await,
            self.broker(2, two).await,
            self.broker(3, three).await,
        ];
        for (broker, _) in &brokers {
            until(|| ids(broker) == [1, 2, 3]).await;
        }
        brokers
    }
}

/// Whom a broker takes for being there.
fn ids(broker: &Broker) -> Vec<i32> {
    broker.cluster.now().broker_ids().collect()
}

/// Waits for something that is bound to happen.
async fn until(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), waiting)
        .await
        .expect("it happens within a minute");
}

fn members(broker: &Broker) -> &Membership {
    broker.members.as_deref().expect("of a cluster")
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        placement: Placement::Counts {
            partitions,
            replication_factor: 1,
        },
        configs: Vec::new(),
    }
}

async fn create(broker: &Broker, name: &str) -> Result<Uuid, MetadataError> {
    let mut made = broker
        .metadata
        .create_topics(vec![topic(name, 4)], false)
        .await;
    made.remove(0).map(|topic| topic.topic_id)
}

fn at(broker: &Arc<Broker>, api_version: i16, client_id: &str) -> RequestContext {
    let advertised = HostPort {
        host: format!("broker-{}.example", broker.config.node_id),
        port: 9092,
    };
    RequestContext::of_stranger(broker, advertised, api_version, Some(client_id))
}

async fn metadata(broker: &Arc<Broker>, client_id: &str, name: &str) -> MetadataResponse {
    let name = TopicName(StrBytes::from_string(name.to_owned()));
    let asked = MetadataRequestTopic::default().with_name(Some(name));
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    let answer = api::metadata::handle(&at(broker, 12, client_id), request).await;
    answer.expect("paid for")
}

#[tokio::test(start_paused = true)]
async fn a_topic_made_at_one_broker_is_there_at_the_next_when_the_answer_has_left() {
    let brokers = Stores::new().three().await;
    for round in 0..12 {
        let name = format!("topic-{round}");
        let (maker, _) = &brokers[round % 3];
        let began = Instant::now();
        let topic_id = create(maker, &name).await.expect("made");
        for (broker, _) in &brokers {
            let image = broker.metadata.image();
            let found = image.topic(&name).map(|topic| topic.topic_id);
            assert_eq!(found, Some(topic_id), "{name} at {}", broker.config.node_id);
        }
        assert!(began.elapsed() < Duration::from_millis(500));
        let deleted = maker
            .metadata
            .delete_topics(vec![TopicRef::Name(name.clone())])
            .await;
        assert!(deleted[0].is_ok());
        for (broker, _) in &brokers {
            assert!(broker.metadata.image().topic(&name).is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_made_before_a_broker_came_is_there_when_it_serves() {
    let stores = Stores::new();
    let (first, _) = stores.broker(1, None).await;
    for round in 2..6 {
        let name = format!("before-{round}");
        let (made, joined) = tokio::join!(create(&first, &name), stores.broker(round, None));
        let image = joined.0.metadata.image();
        assert_eq!(
            image.topic(&name).map(|topic| topic.topic_id),
            made.ok(),
            "its answer has left, or the broker had not come yet"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_stops_in_order_is_out_of_the_view_at_once() {
    let [(one, _), (two, _), (three, _)] = Stores::new().three().await;
    let began = Instant::now();
    members(&three).retire().await;
    until(|| ids(&one) == [1, 2] && ids(&two) == [1, 2]).await;
    assert!(began.elapsed() < Duration::from_millis(600));
    // It may still write what is under way, and nobody waits for it.
    assert!(members(&three).fence().borrow().is_some());
    create(&three, "late").await.expect("made");
    members(&three).leave().await;
    assert_eq!(*members(&three).fence().borrow(), None);
    create(&one, "later").await.expect("made");
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_killed_is_out_of_the_view_when_its_lease_has_ended() {
    let [(one, _), (two, _), (three, _)] = Stores::new().three().await;
    let began = Instant::now();
    members(&three).die();
    // Nobody can know yet that it does not follow.
    create(&one, "meanwhile").await.expect("made");
    assert!(began.elapsed() <= LEASE + Duration::from_secs(1));
    until(|| ids(&one) == [1, 2] && ids(&two) == [1, 2]).await;
    let took = began.elapsed();
    assert!(
        took > LEASE / 2 && took < LEASE + Duration::from_secs(1),
        "{took:?}"
    );
    let began = Instant::now();
    create(&two, "after").await.expect("made");
    assert!(began.elapsed() < Duration::from_millis(500));
}

/// Who leads something by what a broker says, and whom it lists.
fn told_by(broker: &Arc<Broker>) -> (BTreeSet<i32>, BTreeSet<i32>) {
    let members = broker.cluster.now();
    let listener = at(broker, 12, "client").session.listener.clone();
    (
        members.broker_ids().collect(),
        members.brokers(&listener).map(|broker| broker.id).collect(),
    )
}

/// A client asks now this broker, now that one. librdkafka takes a partition for one that does not exist, if another broker
/// names a leader that the last one asked does not list.
#[tokio::test(start_paused = true)]
async fn who_leads_for_one_broker_is_listed_by_all_also_while_brokers_come_and_go() {
    let stores = Stores::new();
    let one = stores.broker(1, None).await.0;
    // The brokers do not look at the same moments.
    sleep(Duration::from_millis(70)).await;
    let two = stores.broker(2, None).await.0;
    let asked = [one, two];
    let began = Instant::now();
    let watched = async {
        let mut told = Vec::new();
        loop {
            let now = asked.iter().map(told_by).collect::<Vec<_>>();
            told.push(now);
            let last = told.len() - 1;
            // What was told is known to a client for a while.
            for earlier in &told[last.saturating_sub(20)..] {
                for (leaders, _) in earlier {
                    for (_, listed) in &told[last] {
                        assert!(
                            leaders.is_subset(listed),
                            "{leaders:?} lead, {listed:?} are listed after {:?}",
                            began.elapsed()
                        );
                    }
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let come_and_go = async {
        for round in 0..8 {
            sleep(Duration::from_millis(1010 + 30 * round)).await;
            let (three, _) = stores.broker(3, None).await;
            sleep(Duration::from_secs(1)).await;
            if round % 2 == 0 {
                members(&three).retire().await;
                members(&three).leave().await;
            } else {
                members(&three).die();
                sleep(LEASE).await;
            }
        }
    };
    tokio::select! {
        () = watched => {}
        () = come_and_go => {}
    }
    sleep(LISTED_AFTER).await;
    for broker in &asked {
        let both = BTreeSet::from([1, 2]);
        assert_eq!(told_by(broker), (both.clone(), both), "for a moment only");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_was_taken_for_dead_registers_again_and_follows_what_it_has_missed() {
    let [(one, _), (two, _), (three, cable)] = Stores::new().three().await;
    let before = members(&three).fence().borrow().expect("registered");
    cable.is_cut.store(true, Ordering::Relaxed);
    until(|| ids(&one) == [1, 2]).await;
    until(|| members(&three).fence().borrow().is_none()).await;
    create(&two, "missed").await.expect("made");
    let refused = create(&three, "unreachable").await;
    assert!(
        matches!(refused, Err(MetadataError::Storage(_))),
        "{refused:?}"
    );
    cable.is_cut.store(false, Ordering::Relaxed);
    until(|| ids(&one) == [1, 2, 3] && ids(&three) == [1, 2, 3]).await;
    let after = members(&three).fence().borrow().expect("registered");
    assert!(after.broker_epoch > before.broker_epoch);
    until(|| three.metadata.image().topic("missed").is_some()).await;
    create(&three, "reachable").await.expect("made");
    assert!(one.metadata.image().topic("reachable").is_some());
    assert!(one.metadata.image().topic("unreachable").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_registers_again_serves_when_it_has_followed_what_it_has_missed() {
    let [(one, _), (two, _), (three, cable)] = Stores::new().three().await;
    let before = members(&three).fence().borrow().expect("registered");
    cable.is_cut.store(true, Ordering::Relaxed);
    until(|| ids(&one) == [1, 2]).await;
    until(|| members(&three).fence().borrow().is_none()).await;
    create(&two, "missed").await.expect("made");
    cable.hides_metadata.store(true, Ordering::Relaxed);
    cable.is_cut.store(false, Ordering::Relaxed);
    until(|| {
        let fence = *members(&three).fence().borrow();
        fence.is_some_and(|fence| fence.broker_epoch > before.broker_epoch)
    })
    .await;
    // Its lease is renewed all the time, and nobody is sent there, nor does it take itself for one who serves.
    for _ in 0..100 {
        sleep(LEASE / 30).await;
        assert!(three.metadata.image().topic("missed").is_none());
        for broker in [&one, &two, &three] {
            assert_eq!(ids(broker), [1, 2]);
        }
    }
    // What is changed now waits for it.
    let began = Instant::now();
    let (made, ()) = tokio::join!(create(&one, "meanwhile"), async {
        sleep(LEASE / 2).await;
        cable.hides_metadata.store(false, Ordering::Relaxed);
    });
    made.expect("made");
    assert!(began.elapsed() >= LEASE / 2 && began.elapsed() < LEASE);
    assert!(three.metadata.image().topic("meanwhile").is_some());
    assert!(three.metadata.image().topic("missed").is_some());
    until(|| ids(&one) == [1, 2, 3] && ids(&three) == [1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn who_has_changed_something_waits_for_brokers_that_have_come_since_the_last_look() {
    let stores = Stores::new();
    let (one, _) = stores.broker(1, None).await;
    let cable = Arc::new(Cable::default());
    let asks_to_be_waited_for = async {
        let is_told = |told: Vec<LiveBroker>| told.len() == 2 && told[1].seen_metadata != 0;
        while !is_told(stores.database.brokers().await.expect("answered")) {
            sleep(Duration::from_millis(1)).await;
        }
        // The first has not looked since.
        cable.hides_metadata.store(true, Ordering::Relaxed);
        let began = Instant::now();
        let (made, ()) = tokio::join!(create(&one, "new"), async {
            sleep(LEASE / 2).await;
            cable.hides_metadata.store(false, Ordering::Relaxed);
        });
        made.expect("made");
        assert!(began.elapsed() >= LEASE / 2, "{:?}", began.elapsed());
    };
    let faults = Arc::clone(&cable);
    tokio::join!(asks_to_be_waited_for, stores.broker_with(2, None, faults));
}

#[tokio::test(start_paused = true)]
async fn changes_at_three_brokers_at_once_lose_nothing_and_double_nothing() {
    let stores = Stores::new();
    let brokers = stores.three().await;
    let lossy = stores
        .broker_with(4, None, Arc::new(LosesAnswers::default()))
        .await;
    let brokers = brokers.map(|(broker, _)| broker).into_iter().chain([lossy]);
    let brokers: Vec<Arc<Broker>> = brokers.collect();
    let changes = brokers.iter().map(async |broker| {
        let id = broker.config.node_id;
        let mut producer_ids = Vec::new();
        let mut won = 0;
        for round in 0..8 {
            create(broker, &format!("own-{id}-{round}"))
                .await
                .expect("made");
            match create(broker, &format!("shared-{round}")).await {
                Ok(_) => won += 1,
                Err(MetadataError::TopicExists(_)) => {}
                Err(other) => panic!("{other}"),
            }
            let acl = acl(&format!("User:{id}-{round}"));
            let made = broker.metadata.create_acls(NewAcls(vec![acl])).await;
            made.expect("made");
            let alter = AlterConfig {
                resource_type: ResourceType::Topic,
                resource_name: format!("own-{id}-{round}"),
                change: ConfigChange::Incremental(vec![(
                    "retention.ms".to_owned(),
                    Operation::Set,
                    Some(format!("{}", 1000 * id + round)),
                )]),
            };
            let altered = broker.metadata.alter_configs(vec![alter], false).await;
            altered
                .into_iter()
                .for_each(|altered| altered.expect("altered"));
            producer_ids.push(
                broker
                    .metadata
                    .allocate_producer_ids(1000)
                    .await
                    .expect("some"),
            );
            producer_ids.push(broker.metadata.new_producer_id().await.expect("one"));
        }
        (won, producer_ids)
    });
    let mut won = 0;
    let mut producer_ids = Vec::new();
    for (winner, ids) in futures_in_turn(changes).await {
        won += winner;
        producer_ids.extend(ids);
    }
    assert_eq!(won, 8, "of those who make a topic of one name one does");
    let different: BTreeSet<i64> = producer_ids.iter().copied().collect();
    assert_eq!(different.len(), producer_ids.len(), "{producer_ids:?}");
    let first = brokers[0].metadata.image();
    assert_eq!(first.topic_count(), 4 * 8 + 8);
    for broker in &brokers {
        until(|| *broker.metadata.image() == *first).await;
        for round in 0..8 {
            let id = broker.config.node_id;
            let name = format!("own-{id}-{round}");
            let set = first.overrides(ResourceType::Topic, &name);
            let expected = format!("{}", 1000 * id + round);
            assert_eq!(set.get("retention.ms"), Some(&expected));
        }
    }
    assert_eq!(first.acls().iter().count(), 4 * 8);
}

/// Runs all at once.
async fn futures_in_turn<T: Send + 'static, F: Future<Output = T>>(
    futures: impl Iterator<Item = F>,
) -> Vec<T> {
    let mut running: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in running.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        match done.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

fn acl(principal: &str) -> Acl {
    Acl {
        resource: ResourceKind::Topic,
        pattern: PatternKind::Literal,
        name: "topic".into(),
        principal: principal.into(),
        host: "*".into(),
        operation: AclOperation::Read,
        permission: Permission::Allow,
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_one_broker_writes_is_followed_by_those_that_were_behind() {
    let stores = Stores::new();
    let [(one, _), (two, _), (three, cable)] = stores.three().await;
    create(&one, "kept").await.expect("made");
    cable.is_cut.store(true, Ordering::Relaxed);
    until(|| ids(&one) == [1, 2]).await;
    for round in 0..5 {
        let name = format!("large-{round}");
        let new = vec![topic(&name, 3000)];
        let made = one.metadata.create_topics(new, false).await;
        made[0].as_ref().expect("made");
        let gone = vec![TopicRef::Name(name)];
        two.metadata.delete_topics(gone).await[0]
            .as_ref()
            .expect("deleted");
    }
    let records = async || {
        use storage::object::database::MetadataTable as _;
        stores.database.load(0).await.expect("loaded")
    };
    assert!(
        records().await.from_version > 1000,
        "what came first was forgotten"
    );
    cable.is_cut.store(false, Ordering::Relaxed);
    until(|| *three.metadata.image() == *one.metadata.image()).await;
    assert!(three.metadata.image().topic("kept").is_some());
    let (fourth, _) = stores.broker(4, None).await;
    assert_eq!(*fourth.metadata.image(), *one.metadata.image());
    create(&three, "after").await.expect("made");
    assert!(fourth.metadata.image().topic("after").is_some());
}

#[tokio::test(start_paused = true)]
async fn every_broker_tells_the_same_of_leaders_replicas_and_coordinators() {
    let brokers = Stores::new().three().await;
    create(&brokers[0].0, "topic").await.expect("made");
    let mut told = Vec::new();
    for (broker, _) in &brokers {
        let answer = metadata(broker, "", "topic").await;
        let hosts = answer.brokers.iter();
        let hosts =
            hosts.map(|broker| (broker.node_id, broker.host.to_string(), broker.rack.clone()));
        let partitions = answer.topics[0].partitions.clone();
        for partition in &partitions {
            let mut replicas = partition.replica_nodes.clone();
            assert_eq!(replicas[0], partition.leader_id);
            replicas.sort_unstable();
            assert_eq!(replicas, [1, 2, 3].map(BrokerId), "one in each rack");
        }
        let request = DescribeClusterRequest::default().with_endpoint_type(1);
        let described = api::describe_cluster::handle(&at(broker, 2, ""), request).await;
        assert_eq!(described.brokers.len(), 3);
        let mut coordinators = Vec::new();
        for (key_type, key) in [(0, "group"), (0, "other"), (1, "transactional-id")] {
            let request = FindCoordinatorRequest::default()
                .with_key_type(key_type)
                .with_coordinator_keys(vec![StrBytes::from_static_str(key)]);
            let found = api::find_coordinator::handle(&at(broker, 4, ""), request).await;
            let found = found.expect("paid for").coordinators.remove(0);
            assert_eq!(found.error_code, ErrorCode::None as i16, "{found:?}");
            coordinators.push((found.node_id, found.host.to_string()));
        }
        told.push((
            hosts.collect::<Vec<_>>(),
            partitions,
            coordinators,
            answer.controller_id,
            described.controller_id,
            described.cluster_id.to_string(),
        ));
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_where_it_is_is_told_of_the_leaders_there() {
    let brokers = Stores::new().three().await;
    create(&brokers[0].0, "topic").await.expect("made");
    for (rack, leader) in [("a", 1), ("b", 2), ("c", 3)] {
        for client_id in [format!("rack={rack}"), format!("orders, rack={rack}")] {
            let answer = metadata(&brokers[0].0, &client_id, "topic").await;
            let mut partitions = answer.topics[0].partitions.iter();
            assert!(partitions.all(|partition| partition.leader_id == BrokerId(leader)));
        }
    }
    let nowhere = metadata(&brokers[0].0, "rack=", "topic").await;
    let elsewhere = metadata(&brokers[0].0, "rack=z", "topic").await;
    let plain = metadata(&brokers[0].0, "orders", "topic").await;
    assert_eq!(nowhere.topics, plain.topics);
    assert_eq!(elsewhere.topics, plain.topics);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_sent_to_the_replica_in_its_rack_which_serves_it() {
    let brokers = Stores::new().three().await;
    create(&brokers[0].0, "topic").await.expect("made");
    for (broker, _) in &brokers {
        let own = broker.config.node_id;
        for (rack, leader) in [("a", 1), ("b", 2), ("c", 3), ("z", own), ("", own)] {
            let request = FetchRequest::default()
                .with_rack_id(StrBytes::from_static_str(rack))
                .with_max_bytes(1000)
                .with_topics(vec![
                    FetchTopic::default()
                        .with_topic(TopicName(StrBytes::from_static_str("topic")))
                        .with_partitions(vec![
                            FetchPartition::default()
                                .with_partition_max_bytes(1000)
                                .with_current_leader_epoch(-1)
                                .with_last_fetched_epoch(-1),
                        ]),
                ]);
            let request = request.with_session_epoch(-1).with_replica_id(BrokerId(-1));
            let answer = api::fetch::handle(&at(broker, 12, ""), request).await;
            let answer = answer.expect("paid for");
            let partition = &answer.topics[0].partitions[0];
            assert_eq!(partition.error_code, ErrorCode::None);
            let expected = if leader == own { -1 } else { leader };
            assert_eq!(
                partition.preferred_read_replica, expected,
                "{rack} at {own}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn assignments_name_brokers_that_have_registered_whether_they_are_there_or_not() {
    let [(one, _), (two, _), (three, _)] = Stores::new().three().await;
    members(&three).die();
    until(|| ids(&one) == [1, 2] && ids(&two) == [1, 2]).await;
    let assigned = async |name: &str, assignments: &[&[i32]]| {
        let assignments = (0..).zip(assignments.iter().map(|brokers| brokers.to_vec()));
        let new = NewTopic {
            placement: Placement::Manual(assignments.collect()),
            ..NewTopic::with_defaults(name)
        };
        one.metadata.create_topics(vec![new], false).await.remove(0)
    };
    let nobody =
        "The manual partition assignment includes broker 9, but no such broker is registered.";
    let uneven = "The manual partition assignment includes a partition with 1 replica(s), \
                  but this is not consistent with previous partitions, which have 2 replica(s).";
    for (assignments, expected) in [
        (&[&[9][..]][..], nobody),
        (&[&[1, 2], &[2, 9]], nobody),
        (&[&[1, 2], &[1]], uneven),
    ] {
        let error = assigned("refused", assignments).await.expect_err("refused");
        assert_eq!(error.code(), ErrorCode::InvalidReplicaAssignment);
        assert_eq!(error.to_string(), expected);
    }
    let made = assigned("made", &[&[1, 3], &[3, 2]]).await.expect("made");
    assert_eq!(made.partition_count, 2);
    let grow = async |assignments: &[&[i32]]| {
        let assignments = assignments.iter().map(|brokers| brokers.to_vec());
        let grown = NewPartitions {
            name: "made".to_owned(),
            count: 4,
            assignments: Some(assignments.collect()),
        };
        let grown = two.metadata.create_partitions(vec![grown], false).await;
        grown.into_iter().next().expect("an outcome")
    };
    let error = grow(&[&[1], &[9]]).await.expect_err("refused");
    assert_eq!(error.code(), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(error.to_string(), nobody);
    grow(&[&[3], &[1]]).await.expect("grown");
}

#[tokio::test(start_paused = true)]
async fn who_creates_a_topic_is_told_in_how_many_racks_it_is() {
    let brokers = Stores::new().three().await;
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("topic")))
        .with_num_partitions(4)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    let answer = api::create_topics::handle(&at(&brokers[0].0, 7, ""), request).await;
    let created = &answer.topics[0];
    let counts = (created.num_partitions, created.replication_factor);
    assert_eq!((created.error_code, counts), (0, (4, 3)));
    let told = metadata(&brokers[1].0, "", "topic").await;
    let replicas = &told.topics[0].partitions[0].replica_nodes;
    assert_eq!(replicas.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_partition_is_not_moved_and_the_reason_is_true() {
    let [(one, _), (two, _), (three, _)] = Stores::new().three().await;
    let topic_id = create(&one, "topic").await.expect("made");
    let there = one.cluster.now().replicas_for(topic_id, 0).to_vec();
    let ask = async |replicas: Option<&[i32]>, may_change_count: bool| {
        let replicas = replicas.map(|ids| ids.iter().copied().map(BrokerId).collect());
        let partition = ReassignablePartition::default().with_replicas(replicas);
        let topic = ReassignableTopic::default()
            .with_name(TopicName(StrBytes::from_static_str("topic")))
            .with_partitions(vec![partition]);
        let request = AlterPartitionReassignmentsRequest::default()
            .with_topics(vec![topic])
            .with_allow_replication_factor_change(may_change_count);
        let answer = api::alter_partition_reassignments::handle(&at(&two, 1, ""), request).await;
        let answer = answer.expect("paid for");
        assert_eq!(answer.error_code, 0);
        let told = &answer.responses[0].partitions[0];
        let why = told.error_message.as_deref().unwrap_or_default().to_owned();
        (ErrorCode::from_code(told.error_code).expect("known"), why)
    };
    let invalid = |why: &str| (ErrorCode::InvalidReplicaAssignment, why.to_owned());
    assert_eq!(
        ask(Some(&there), true).await,
        (ErrorCode::None, String::new())
    );
    let stays = format!(
        "topic-0 is on the brokers {there:?}, of which the first leads, and cannot be moved: \
         where partitions are follows from which brokers and racks there are."
    );
    let others: Vec<i32> = there.iter().rev().copied().collect();
    assert_eq!(ask(Some(&others), true).await, invalid(&stays));
    assert_eq!(ask(Some(&there[..1]), true).await, invalid(&stays));
    let factor = "The replication factor is changed from 3 to 1".to_owned();
    assert_eq!(
        ask(Some(&there[..1]), false).await,
        (ErrorCode::InvalidReplicationFactor, factor)
    );
    let nobody =
        "The manual partition assignment includes broker 9, but no such broker is registered.";
    assert_eq!(ask(Some(&[9]), true).await, invalid(nobody));
    // A broker that is away is one all the same.
    members(&three).die();
    until(|| ids(&two) == [1, 2]).await;
    let there = two.cluster.now().replicas_for(topic_id, 0).to_vec();
    let (_, why) = ask(Some(&[1, 2, 3]), true).await;
    assert!(
        why.starts_with(&format!("topic-0 is on the brokers {there:?}, ")),
        "{why}"
    );
}

/// Counts how often it is asked where log groups end.
#[derive(Default)]
struct CountsHeads(AtomicUsize);

impl Faults for CountsHeads {
    fn before(&self, call: Call) -> BoxFuture<'_, Fate> {
        if call == Call::Heads {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        // A question takes its time.
        Box::pin(async {
            sleep(Duration::from_millis(1)).await;
            Fate::Answered
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_about_many_partitions_asks_the_database_a_few_times() {
    const PARTITIONS: i32 = 200;
    let mut stores = Stores::new();
    let way = Arc::new(CountsHeads::default());
    let objects = Arc::new(InMemory::new());
    stores.logs = stores.objects(9, &objects, Arc::clone(&way) as _).await;
    let (broker, _) = stores.broker(1, None).await;
    let made = broker
        .metadata
        .create_topics(vec![topic("topic", PARTITIONS)], false);
    made.await.remove(0).expect("made");
    let name = || TopicName(StrBytes::from_static_str("topic"));
    let list = async || {
        let partition = |index| {
            ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_timestamp(-1)
        };
        let topic = ListOffsetsTopic::default()
            .with_name(name())
            .with_partitions((0..PARTITIONS).map(partition).collect());
        let request = ListOffsetsRequest::default().with_topics(vec![topic]);
        let answer = api::list_offsets::handle(&at(&broker, 7, ""), request).await;
        let partitions = &answer.topics[0].partitions;
        partitions
            .iter()
            .map(|told| (told.error_code, told.offset))
            .collect::<Vec<_>>()
    };
    let fetch = async |last_fetched_epoch| {
        let partition = |index| {
            FetchPartition::default()
                .with_partition(index)
                .with_fetch_offset(7)
                .with_partition_max_bytes(1000)
                .with_current_leader_epoch(-1)
                .with_last_fetched_epoch(last_fetched_epoch)
        };
        let topic = FetchTopic::default()
            .with_topic(name())
            .with_partitions((0..PARTITIONS).map(partition).collect());
        let request = FetchRequest::default()
            .with_max_bytes(1000)
            .with_session_epoch(-1)
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![topic]);
        let answer = api::fetch::handle(&at(&broker, 12, ""), request).await;
        let answer = answer.expect("paid for");
        let partitions = answer.topics[0].partitions.iter();
        partitions
            .map(|told| {
                let diverging = told.diverging_epoch.as_ref();
                let diverging = diverging.map(|parts| (parts.epoch, parts.end_offset));
                (told.error_code, diverging)
            })
            .collect::<Vec<_>>()
    };
    // Each group is read when it is first used.
    list().await;
    let all = PARTITIONS as usize;
    let before = way.0.load(Ordering::Relaxed);
    assert_eq!(list().await, vec![(0, 0); all]);
    let listed = way.0.load(Ordering::Relaxed);
    assert!(listed - before < all / 4, "{} questions", listed - before);
    let out_of_range = ErrorCode::OffsetOutOfRange;
    assert_eq!(fetch(-1).await, vec![(out_of_range, None); all]);
    let fetched = way.0.load(Ordering::Relaxed);
    assert!(fetched - listed < all / 4, "{} questions", fetched - listed);

    // Who says what epoch it has read is told where that ends (KIP-595), as on one machine.
    let ctx = at(&broker, 12, "");
    let view = ctx.view();
    let id = view.topic("topic", access::Operation::Read);
    let id = id.expect("made").id();
    let found = view.partitions(vec![Ok((id, 3))]).await.remove(0);
    let log = &found.expect("led").log;
    let mut batch = BatchBuilder::new();
    batch.append(1000, None, Some(b"value"), &[]);
    let batch = ValidatedBatch::trusted(batch.build().expect("a batch")).expect("valid");
    let permit = log.reserve(100, AppendOrigin::CLIENT).await.expect("room");
    let pending = log.submit(permit, batch, AppendOrigin::CLIENT, Next::Append);
    pending.expect("taken").await.expect("durable");
    assert_eq!(fetch(0).await[3], (ErrorCode::None, Some((0, 1))));
}

type Hook = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Something happens each time that a broker asks where log groups end, or commits.
#[derive(Default)]
struct Hooked(Mutex<Option<Hook>>);

impl Faults for Hooked {
    fn before(&self, call: Call) -> BoxFuture<'_, Fate> {
        let hook = match call {
            Call::Heads | Call::AppendIf => self.0.lock().clone(),
            _ => None,
        };
        Box::pin(async move {
            if let Some(hook) = hook {
                hook().await;
            }
            Fate::Answered
        })
    }
}

/// Another broker writes to the log while the transaction's coordinator is asked, and the guard of the verification is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_log_another_broker_has_written_to_since_it_was_verified_is_to_be_sent_again()
{
    let mut stores = Stores::new();
    let (way, objects) = (Arc::new(Hooked::default()), Arc::new(InMemory::new()));
    stores.logs = stores.objects(9, &objects, Arc::clone(&way) as _).await;
    let elsewhere = stores.objects(8, &objects, Arc::<Cable>::default()).await;
    let (broker, _) = stores.broker(1, None).await;
    let topic_id = create(&broker, "topic").await.expect("made");

    let id = || StrBytes::from_static_str("transactional-id");
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(id().into()))
        .with_transaction_timeout_ms(60_000);
    let mut answer = api::init_producer_id::handle(&at(&broker, 5, ""), init.clone()).await;
    while answer.error_code != 0 || answer.producer_epoch < 1 {
        answer = api::init_producer_id::handle(&at(&broker, 5, ""), init.clone()).await;
    }
    let (producer_id, producer_epoch) = (answer.producer_id, answer.producer_epoch);
    let add = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id().into())
        .with_v3_and_below_producer_id(producer_id)
        .with_v3_and_below_producer_epoch(producer_epoch)
        .with_v3_and_below_topics(vec![
            AddPartitionsToTxnTopic::default()
                .with_name(TopicName(StrBytes::from_static_str("topic")))
                .with_partitions(vec![0]),
        ]);
    let added = api::add_partitions_to_txn::handle(&at(&broker, 3, ""), add).await;
    let added = &added.expect("paid for").results_by_topic_v3_and_below[0];
    assert_eq!(added.results_by_partition[0].partition_error_code, 0);

    let produce = async |partition, api_version| {
        let mut batch = BatchBuilder::new()
            .producer(producer_id.0, producer_epoch, 0)
            .transactional();
        batch.append(1_000, None, Some(b"value"), &[]);
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(batch.build().expect("a batch")));
        let topic = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_static_str("topic")))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(id().into()))
            .with_acks(-1)
            .with_timeout_ms(60_000)
            .with_topic_data(vec![topic]);
        let header = RequestHeader {
            api_key: 0,
            api_version,
            correlation_id: 0,
            client_id: None,
        };
        let started = api::produce::start(&at(&broker, api_version, ""), &header, request).await;
        let answer = started.expect("answered").expect("acks").answer().await;
        answer.responses[0].partition_responses[0].error_code
    };
    // Below 12 the coordinator is asked whether the partition was added, from then on to add it.
    for (partition, api_version, told) in [
        (0, 11, ErrorCode::NotEnoughReplicas),
        (1, 12, ErrorCode::ConcurrentTransactions),
    ] {
        let ctx = at(&broker, 12, "");
        let view = ctx.view();
        let topic = view.topic("topic", access::Operation::Write);
        let found = view.partitions(vec![Ok((topic.expect("made").id(), partition))]);
        let here = Arc::clone(&found.await.remove(0).expect("led").log);
        let there = elsewhere.open_log(
            TopicPartition {
                topic: "topic".into(),
                topic_id,
                partition,
            },
            Arc::default(),
        );
        let there = there.expect("opened");
        there.current_offsets().await.expect("read");
        let runtime = broker.groups.runtime().clone();
        // Of a transaction before: one of its own would end it.
        let end = EndTxn {
            producer_id: producer_id.0,
            producer_epoch: producer_epoch - 1,
            coordinator_epoch: 0,
            commit: false,
        };
        let hook: Hook = Arc::new(move || {
            let (here, there, runtime) = (Arc::clone(&here), Arc::clone(&there), runtime.clone());
            Box::pin(async move {
                let marker = runtime.append_marker(&*there, end, 0).await;
                let marker = marker.expect("let in").await.expect("durable");
                until(|| here.offsets().high_watermark > marker.base_offset).await;
            })
        });
        *way.0.lock() = Some(hook);
        assert_eq!(produce(partition, api_version).await, told as i16);
        *way.0.lock() = None;
        assert_eq!(produce(partition, api_version).await, 0, "sent again");
    }
}
