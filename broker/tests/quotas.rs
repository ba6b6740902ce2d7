//! What becomes of clients that do more than their quotas allow. Time is paused: what is waited for is exact.

#![allow(clippy::unwrap_used)]

extern crate ottla as broker;

mod support;

use std::sync::Arc;
use std::time::Duration;

use broker::broker::Broker;
use bytes::Bytes;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    FetchRequest, FetchResponse, MetadataRequest, ProduceRequest,
};
use protocol_shim::ErrorCode;
use protocol_shim::newer::api_versions::ApiVersionsRequest;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use support::{
    Client, batch, connect, connect_as, produce, start_broker, start_broker_with, start_on, string,
    topic_name,
};

const PRODUCE: i16 = 9;
const FETCH: i16 = 12;
const API_VERSIONS: i16 = 2;
const THROTTLED: i16 = ErrorCode::ThrottlingQuotaExceeded as i16;

type Entity = &'static [(&'static str, Option<&'static str>)];
const ANN: Entity = &[("user", Some("ann"))];
const ANYBODY: Entity = &[("user", None)];

/// Sets a quota, or takes it back.
async fn limit(client: &mut Client, entity: Entity, key: &'static str, value: Option<f64>) {
    let parts = entity.iter().map(|(kind, name)| {
        EntityData::default()
            .with_entity_type(string(kind))
            .with_entity_name(name.map(string))
    });
    let op = OpData::default()
        .with_key(string(key))
        .with_value(value.unwrap_or_default())
        .with_remove(value.is_none());
    let entry = EntryData::default()
        .with_entity(parts.collect())
        .with_ops(vec![op]);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    let response = client.call(1, request).await;
    assert_eq!(response.entries[0].error_code, 0, "{response:?}");
}

/// A broker with `topic`, on which ann may do so much.
async fn broker_that_limits_ann(key: &'static str, value: f64) -> Arc<Broker> {
    let broker = start_broker().await;
    let mut admin = connect(&broker);
    admin.create_topic("topic", 1).await;
    limit(&mut admin, ANN, key, Some(value)).await;
    broker
}

/// A Produce request of `topic` with a value of so many bytes.
fn of_bytes(bytes: usize) -> ProduceRequest {
    produce("topic", vec![(0, batch(&["x".repeat(bytes).as_str()]))])
}

/// How long the first request of a client takes of a quota of `per_second`: ten seconds count from the start.
fn delay_ms(frame_bytes: usize, per_second: f64) -> i32 {
    let rate = frame_bytes as f64 / 10.0;
    ((rate - per_second) / per_second * 10_000.0).round() as i32
}

/// Sends a request, and says how many bytes of it count.
async fn send_counted(
    client: &mut Client,
    request: ProduceRequest,
) -> (support::Asked<ProduceRequest>, usize) {
    client.hold();
    let asked = client.send(PRODUCE, request).await;
    let bytes = client.take_held();
    client.send_bytes(&bytes).await;
    (asked, bytes.len() - 4)
}

async fn is_read_again(client: &mut Client) {
    let versions = client.call(API_VERSIONS, ApiVersionsRequest::default());
    assert_eq!(versions.await.error_code, 0);
}

/// How many batches of one record there are.
async fn written(broker: &Arc<Broker>) -> i64 {
    let mut reader = connect(broker);
    let request = fetch(-1, -1, 0);
    let response = reader.call(FETCH, request).await;
    response.responses[0].partitions[0].high_watermark
}

#[tokio::test(start_paused = true)]
async fn a_producer_above_its_quota_is_answered_at_once_and_not_read_for_as_long_as_it_is_told() {
    let broker = broker_that_limits_ann("producer_byte_rate", 100.0).await;
    let mut ann = connect_as(&broker, "ann", "app");
    let mut bob = connect_as(&broker, "bob", "app");
    let started = Instant::now();
    let (asked, bytes) = send_counted(&mut ann, of_bytes(4000)).await;
    let told = ann.answer(asked).await;
    assert_eq!(told.responses[0].partition_responses[0].error_code, 0);
    assert_eq!(told.throttle_time_ms, delay_ms(bytes, 100.0));
    assert_eq!(started.elapsed(), Duration::ZERO);
    for _ in 0..3 {
        let others = bob.call(PRODUCE, of_bytes(4000)).await;
        assert_eq!(others.throttle_time_ms, 0);
    }
    assert_eq!(started.elapsed(), Duration::ZERO, "others do not wait");
    is_read_again(&mut ann).await;
    assert_eq!(started.elapsed().as_millis() as i32, told.throttle_time_ms);
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_waits_for_no_answer_is_not_read_either() {
    let broker = broker_that_limits_ann("producer_byte_rate", 100.0).await;
    let mut ann = connect_as(&broker, "ann", "app");
    let started = Instant::now();
    let (_, bytes) = send_counted(&mut ann, of_bytes(4000).with_acks(0)).await;
    is_read_again(&mut ann).await;
    assert_eq!(started.elapsed().as_millis() as i32, delay_ms(bytes, 100.0));
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_there_already_wait_with_the_connection() {
    let broker = broker_that_limits_ann("producer_byte_rate", 100.0).await;
    let mut ann = connect_as(&broker, "ann", "app");
    ann.hold();
    let first = ann.send(PRODUCE, of_bytes(4000)).await;
    let second = ann.send(PRODUCE, of_bytes(10)).await;
    ann.release().await;
    let told = ann.answer(first).await;
    let wait = Duration::from_millis(told.throttle_time_ms as u64);
    let started = Instant::now();
    tokio::time::sleep(wait - Duration::from_millis(1)).await;
    assert_eq!(written(&broker).await, 1);
    ann.answer(second).await;
    assert_eq!(started.elapsed(), wait);
    assert_eq!(written(&broker).await, 2);
}

#[tokio::test(start_paused = true)]
async fn all_connections_of_a_user_share_its_quota_and_a_reconnect_begins_no_new_one() {
    let broker = broker_that_limits_ann("producer_byte_rate", 100.0).await;
    let mut first = connect_as(&broker, "ann", "one");
    assert!(first.call(PRODUCE, of_bytes(4000)).await.throttle_time_ms > 0);
    drop(first);
    let mut second = connect_as(&broker, "ann", "two");
    let told = second.call(PRODUCE, of_bytes(10)).await.throttle_time_ms;
    assert!(told > delay_ms(4000, 100.0), "{told}");
    // A quota of the user and one client id is another one.
    let entity: Entity = &[("user", Some("ann")), ("client-id", Some("three"))];
    limit(
        &mut connect(&broker),
        entity,
        "producer_byte_rate",
        Some(1000.0),
    )
    .await;
    let mut third = connect_as(&broker, "ann", "three");
    assert_eq!(
        third.call(PRODUCE, of_bytes(4000)).await.throttle_time_ms,
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_quota_counts_from_the_next_request_on_and_no_longer_when_it_is_gone() {
    let broker = start_broker().await;
    let mut admin = connect(&broker);
    admin.create_topic("topic", 1).await;
    let mut ann = connect_as(&broker, "ann", "app");
    assert_eq!(ann.call(PRODUCE, of_bytes(4000)).await.throttle_time_ms, 0);
    limit(&mut admin, ANYBODY, "producer_byte_rate", Some(100.0)).await;
    assert!(ann.call(PRODUCE, of_bytes(4000)).await.throttle_time_ms > 0);
    limit(&mut admin, ANYBODY, "producer_byte_rate", None).await;
    assert_eq!(ann.call(PRODUCE, of_bytes(4000)).await.throttle_time_ms, 0);
}

fn fetch(session_id: i32, epoch: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(topic_name("topic"))
        .with_partitions(vec![partition]);
    let (session_id, epoch) = if session_id < 0 {
        (0, -1)
    } else {
        (session_id, epoch)
    };
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_id(session_id)
        .with_session_epoch(epoch)
        .with_topics(vec![topic])
}

fn records(response: &FetchResponse) -> usize {
    let topics = response.responses.iter();
    let partitions = topics.flat_map(|topic| &topic.partitions);
    partitions
        .map(|partition| partition.records.as_ref().map_or(0, Bytes::len))
        .sum()
}

#[tokio::test(start_paused = true)]
async fn a_consumer_above_its_quota_is_answered_without_records_and_goes_on_where_it_was() {
    let broker = broker_that_limits_ann("consumer_byte_rate", 100.0).await;
    let mut producer = connect(&broker);
    let size = batch(&["x".repeat(200).as_str()]).len();
    for _ in 0..10 {
        producer.call(PRODUCE, of_bytes(200)).await;
    }
    let mut ann = connect_as(&broker, "ann", "app");
    // What ten seconds of the quota hold, however much is there.
    let first = ann.call(FETCH, fetch(0, 0, 0)).await;
    let at_once = 1000 / size;
    assert_eq!(
        (records(&first), first.throttle_time_ms),
        (at_once * size, 0)
    );
    assert_ne!(first.session_id, 0);
    let started = Instant::now();
    let second = ann
        .call(FETCH, fetch(first.session_id, 1, at_once as i64))
        .await;
    assert!(second.throttle_time_ms > 0);
    assert_eq!((records(&second), second.responses.len()), (0, 0));
    assert_eq!(second.session_id, first.session_id);
    assert_eq!(started.elapsed(), Duration::ZERO);
    // What was not sent does not count: the next ones are due soon.
    let mut epoch = 2;
    let third = loop {
        // The session knows what is wanted.
        let next = fetch(first.session_id, epoch, 0).with_topics(Vec::new());
        let next = ann.call(FETCH, next).await;
        if records(&next) > 0 {
            break next;
        }
        epoch += 1;
        assert!(epoch < 10, "it gets something at last");
    };
    let base_offset = &third.responses[0].partitions[0].records.as_ref().unwrap()[..8];
    assert_eq!(base_offset, (at_once as i64).to_be_bytes());
    let waited = started.elapsed();
    assert!(
        waited > Duration::from_secs(8) && waited < Duration::from_secs(30),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_would_begin_a_session_and_has_to_wait_begins_none() {
    let broker = broker_that_limits_ann("consumer_byte_rate", 1.0).await;
    connect(&broker).call(PRODUCE, of_bytes(200)).await;
    let mut ann = connect_as(&broker, "ann", "app");
    let told = ann.call(FETCH, fetch(0, 0, 0)).await;
    assert!(told.throttle_time_ms > 0);
    assert_eq!((told.session_id, told.responses.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_more_of_a_thread_than_it_may_waits_a_second_at_most() {
    let broker = broker_that_limits_ann("request_percentage", 1e-6).await;
    let mut ann = connect_as(&broker, "ann", "app");
    let started = Instant::now();
    for seconds in 0..3 {
        let asked = ann.call(API_VERSIONS, ApiVersionsRequest::default()).await;
        assert_eq!(asked.throttle_time_ms, 1000);
        assert_eq!(started.elapsed(), Duration::from_secs(seconds));
    }
    // Nobody waits for the answer, so the time is not the client's.
    ann.send(PRODUCE, of_bytes(10).with_acks(0)).await;
    ann.send(PRODUCE, of_bytes(10).with_acks(0)).await;
    is_read_again(&mut ann).await;
    assert_eq!(started.elapsed(), Duration::from_secs(3));
    let mut bob = connect_as(&broker, "bob", "app");
    let asked = bob.call(API_VERSIONS, ApiVersionsRequest::default()).await;
    assert_eq!(asked.throttle_time_ms, 0);
}

fn create(names: &[(&'static str, i32)]) -> CreateTopicsRequest {
    let topics = names.iter().map(|(name, partitions)| {
        CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(*partitions)
            .with_replication_factor(1)
    });
    CreateTopicsRequest::default()
        .with_topics(topics.collect())
        .with_timeout_ms(1000)
}

#[tokio::test(start_paused = true)]
async fn changes_of_partitions_above_the_quota_are_refused_or_for_older_clients_waited_for() {
    let broker = broker_that_limits_ann("controller_mutation_rate", 1.0).await;
    let mut ann = connect_as(&broker, "ann", "app");
    let started = Instant::now();
    // The bucket holds eleven, and may be overdrawn by what empties it.
    let created = ann.call(7, create(&[("a", 10), ("b", 5), ("c", 1)])).await;
    let errors: Vec<_> = created
        .topics
        .iter()
        .map(|topic| topic.error_code)
        .collect();
    assert_eq!(
        (errors, created.throttle_time_ms),
        (vec![0, 0, THROTTLED], 4000)
    );
    assert_eq!(started.elapsed(), Duration::ZERO);
    is_read_again(&mut ann).await;
    assert_eq!(started.elapsed(), Duration::from_secs(4));

    // Nothing is left, and nothing is owed: one more may be taken.
    let grown = CreatePartitionsTopic::default()
        .with_name(topic_name("a"))
        .with_count(15)
        .with_assignments(None);
    let grow = || {
        CreatePartitionsRequest::default()
            .with_topics(vec![grown.clone()])
            .with_timeout_ms(1000)
    };
    let told = ann.call(3, grow()).await;
    assert_eq!((told.results[0].error_code, told.throttle_time_ms), (0, 0));
    let delete = || DeleteTopicsRequest::default().with_topic_names(vec![topic_name("b")]);
    let told = ann.call(5, delete()).await;
    assert_eq!(
        (told.responses[0].error_code, told.throttle_time_ms),
        (THROTTLED, 5000)
    );
    // Older clients are let, and wait longer.
    let told = ann.call(4, delete()).await;
    assert_eq!(
        (told.responses[0].error_code, told.throttle_time_ms),
        (0, 5000)
    );
    let told = ann.call(5, create(&[("d", 2)])).await;
    assert_eq!(
        (told.topics[0].error_code, told.throttle_time_ms),
        (0, 2000)
    );
    let told = ann.call(2, grow()).await;
    assert_eq!(told.results[0].error_code, 37, "as many as there are");
    assert_eq!(told.throttle_time_ms, 0);
}

#[tokio::test(start_paused = true)]
async fn topics_that_are_created_on_the_way_count_too() {
    let broker = broker_that_limits_ann("controller_mutation_rate", 0.1).await;
    let mut ann = connect_as(&broker, "ann", "app");
    let ask = |names: &[&'static str]| {
        let topics = names
            .iter()
            .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
        MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(true)
    };
    let told = ann.call(9, ask(&["a", "b", "c"])).await;
    let errors: Vec<_> = told.topics.iter().map(|topic| topic.error_code).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition as i16;
    assert_eq!(errors, [0, 0, unknown], "1.1 at once");
    let mut bob = connect_as(&broker, "bob", "app");
    let told = bob.call(9, ask(&["c"])).await;
    assert_eq!(told.topics[0].error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_read_is_closed_when_it_has_been_silent_for_too_long() {
    let broker = start_broker_with(&[("connections.max.idle.ms", "60000")]).await;
    let mut admin = connect(&broker);
    admin.create_topic("topic", 1).await;
    limit(&mut admin, ANYBODY, "producer_byte_rate", Some(1.0)).await;
    let mut ann = connect_as(&broker, "ann", "app");
    let started = Instant::now();
    let told = ann.call(PRODUCE, of_bytes(4000)).await.throttle_time_ms;
    assert!(told > 60_000);
    assert_eq!(ann.next_frame().await, None);
    assert_eq!(started.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn a_shutdown_waits_for_nobody_who_has_to_wait() {
    let data = tempfile::tempdir().unwrap();
    let server = start_on(data.path()).await;
    let mut client = Client::new(TcpStream::connect(server.addresses()[0]).await.unwrap());
    client.create_topic("topic", 1).await;
    limit(&mut client, ANYBODY, "producer_byte_rate", Some(1.0)).await;
    let told = client.call(PRODUCE, of_bytes(4000)).await.throttle_time_ms;
    assert!(told > 60_000);
    let started = std::time::Instant::now();
    server.shutdown().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(client.next_frame().await, None);
}

#[tokio::test]
async fn connections_of_an_address_beyond_its_quota_are_closed_after_a_while() {
    let data = tempfile::tempdir().unwrap();
    let server = start_on(data.path()).await;
    let address = server.addresses()[0];
    let mut admin = Client::new(TcpStream::connect(address).await.unwrap());
    let entity: Entity = &[("ip", Some("127.0.0.1"))];
    limit(&mut admin, entity, "connection_creation_rate", Some(1.0)).await;
    for _ in 0..10 {
        let mut served = Client::new(TcpStream::connect(address).await.unwrap());
        is_read_again(&mut served).await;
    }
    let started = std::time::Instant::now();
    let mut refused = TcpStream::connect(address).await.unwrap();
    assert_eq!(refused.read(&mut [0]).await.unwrap(), 0, "closed");
    let waited = started.elapsed();
    assert!(waited > Duration::from_millis(500), "{waited:?}");
    limit(&mut admin, entity, "connection_creation_rate", None).await;
    let mut served = Client::new(TcpStream::connect(address).await.unwrap());
    is_read_again(&mut served).await;
    server.shutdown().await.unwrap();
}
