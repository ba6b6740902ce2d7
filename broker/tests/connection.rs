//! What a connection promises, whatever is asked over it.

#![allow(clippy::unwrap_used)]

extern crate ottla as broker;

mod support;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use broker::server::{Server, StartError};
use broker::testing;
use bytes::{Buf, Bytes};
use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, DescribeUserScramCredentialsRequest, FetchRequest,
    FetchResponse, HeartbeatRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
    ProduceRequest,
};
use kafka_protocol::protocol::Decodable;
use protocol_shim::newer::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use protocol_shim::newer::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use storage::record::batches;
use tokio::net::TcpStream;
use tokio::time::Instant;

use support::{
    Client, batch, connect, connect_watched, connection_bytes, group_id, produce, start_broker,
    start_broker_with, start_on, string, topic_name, try_start_on,
};

const FETCH: i16 = 12;
const PRODUCE: i16 = 9;
const LIST_OFFSETS: i16 = 7;
const METADATA: i16 = 9;
const API_VERSIONS: i16 = 2;

/// Asks for partitions of `topic` from offsets, and waits for at least one byte.
fn fetch(topic: &'static str, partitions: &[(i32, i64)], max_wait: Duration) -> FetchRequest {
    let partitions = partitions.iter().map(|(partition, offset)| {
        FetchPartition::default()
            .with_partition(*partition)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(1 << 20)
    });
    let topic = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(partitions.collect());
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(max_wait.as_millis() as i32)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Bytes of records that each partition of the response gives.
fn sizes(response: &FetchResponse) -> Vec<usize> {
    let partitions = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions);
    partitions
        .map(|p| p.records.as_ref().map_or(0, Bytes::len))
        .collect()
}

async fn latest_offset(client: &mut Client, topic: &'static str) -> i64 {
    let partition = ListOffsetsPartition::default().with_timestamp(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    client.call(LIST_OFFSETS, request).await.topics[0].partitions[0].offset
}

/// Thousands of clients wait at a time. What few of them ever need goes into a box, or each of them has room for it.
#[tokio::test]
async fn a_connection_that_waits_is_small() {
    let broker = start_broker().await;
    let bytes = connection_bytes(&broker);
    assert!(bytes <= 6 << 10, "{bytes} bytes");
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_their_order_however_long_one_takes() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    client.create_topic("topic", 1).await;
    let patient = fetch("topic", &[(0, 0)], Duration::from_secs(30));
    let started = Instant::now();
    let long_poll = client.send(FETCH, patient).await;
    let metadata = client
        .send(METADATA, MetadataRequest::default().with_topics(None))
        .await;
    let heartbeat = HeartbeatRequest::default().with_group_id(group_id("group"));
    let heartbeat = client.send(0, heartbeat).await;
    let versions = client
        .send(API_VERSIONS, ApiVersionsRequest::default())
        .await;

    assert_eq!(sizes(&client.answer(long_poll).await), [0]);
    assert_eq!(started.elapsed().as_secs(), 30);
    assert_eq!(client.answer(metadata).await.topics.len(), 1);
    assert_eq!(client.answer(heartbeat).await.error_code, 25);
    assert_eq!(client.answer(versions).await.error_code, 0);
}

#[tokio::test]
async fn more_requests_than_are_looked_at_at_once_are_answered_all_the_same() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    let mut asked = Vec::new();
    for _ in 0..500 {
        asked.push(
            client
                .send(API_VERSIONS, ApiVersionsRequest::default())
                .await,
        );
    }
    for request in asked {
        assert_eq!(client.answer(request).await.error_code, 0);
    }
}

#[tokio::test]
async fn large_requests_that_follow_each_other_closely_are_all_read() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    client.create_topic("topic", 3).await;
    // What is left of one read is more of the next frame than is trusted to come.
    let value = "x".repeat(900_000);
    let mut asked = Vec::new();
    client.hold();
    for _ in 0..8 {
        let batches = (0..3).map(|partition| (partition, batch(&[&value])));
        let request = produce("topic", batches.collect());
        asked.push(client.send(PRODUCE, request).await);
    }
    client.release().await;
    for (request, base_offset) in asked.into_iter().zip(0..) {
        let response = client.answer(request).await;
        for partition in &response.responses[0].partition_responses {
            assert_eq!(
                (partition.error_code, partition.base_offset),
                (0, base_offset)
            );
        }
    }
}

#[tokio::test]
async fn batches_of_one_connection_are_appended_in_the_order_of_its_requests() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    client.create_topic("topic", 1).await;
    let mut asked = Vec::new();
    for _ in 0..50 {
        asked.push(
            client
                .send(PRODUCE, produce("topic", vec![(0, batch(&["a", "b"]))]))
                .await,
        );
    }
    for (request, base_offset) in asked.into_iter().zip((0..).step_by(2)) {
        let response = client.answer(request).await;
        assert_eq!(
            response.responses[0].partition_responses[0].base_offset,
            base_offset
        );
    }
}

fn unacknowledged(topic: &'static str) -> ProduceRequest {
    produce(topic, vec![(0, batch(&["a"]))]).with_acks(0)
}

#[tokio::test]
async fn produce_with_acks_0_has_no_response_and_is_done_before_the_next_request() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    client.create_topic("topic", 1).await;
    client.send(PRODUCE, unacknowledged("topic")).await;
    client.send(PRODUCE, unacknowledged("topic")).await;
    assert_eq!(latest_offset(&mut client, "topic").await, 2);
}

#[tokio::test]
async fn produce_with_acks_0_that_fails_closes_the_connection_after_what_was_asked_before() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    let versions = client
        .send(API_VERSIONS, ApiVersionsRequest::default())
        .await;
    client.send(PRODUCE, unacknowledged("unknown")).await;
    assert_eq!(client.answer(versions).await.error_code, 0);
    assert_eq!(client.next_frame().await, None);
}

/// What no client may send: bytes that follow the length prefix, and why.
fn malformed_frames() -> Vec<(&'static str, Vec<u8>)> {
    // Key, version, correlation id, null client id.
    let header = |key: i16, version: i16| {
        let mut bytes = [key.to_be_bytes(), version.to_be_bytes()].concat();
        bytes.extend_from_slice(&[0, 0, 0, 99, 0xff, 0xff]);
        bytes
    };
    let request = |key, version, body: &[u8]| [header(key, version), body.to_vec()].concat();
    vec![
        ("an empty frame", vec![]),
        ("half a header", header(3, 1)[..5].to_vec()),
        ("an unknown API", header(1000, 0)),
        ("an API that brokers do not serve to clients", header(4, 0)),
        ("a version that is too old", header(1, 0)),
        ("a version that is too new", header(3, 99)),
        (
            "a body that ends early",
            request(3, 1, &[0, 0, 0, 1, 0, 9, b'x']),
        ),
        (
            "null where it is not allowed",
            request(3, 0, &[0xff, 0xff, 0xff, 0xff]),
        ),
        (
            "a count that nobody could mean",
            request(3, 1, &[0x7f, 0xff, 0xff, 0xff]),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_malformed_frame_closes_the_connection_after_what_was_asked_before() {
    let broker = start_broker().await;
    connect(&broker).create_topic("topic", 1).await;
    for (what, frame) in malformed_frames() {
        let mut client = connect(&broker);
        let patient = fetch("topic", &[(0, 0)], Duration::from_secs(3));
        let long_poll = client.send(FETCH, patient).await;
        client.send_frame(&frame).await;
        assert_eq!(sizes(&client.answer(long_poll).await), [0], "{what}");
        assert_eq!(client.next_frame().await, None, "{what}");
    }
}

#[tokio::test]
async fn a_length_that_no_frame_may_have_closes_the_connection_before_the_frame_is_read() {
    let broker = start_broker_with(&[("socket.request.max.bytes", "1000")]).await;
    for length in [-1, i32::MIN, 1001, i32::MAX] {
        let mut client = connect(&broker);
        let versions = client
            .send(API_VERSIONS, ApiVersionsRequest::default())
            .await;
        client.send_bytes(&length.to_be_bytes()).await;
        assert_eq!(client.answer(versions).await.error_code, 0);
        assert_eq!(client.next_frame().await, None, "a frame of {length} bytes");
    }
}

#[tokio::test]
async fn a_request_that_arrives_byte_by_byte_is_answered() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    // ApiVersions v0: a header without client id, no body.
    for byte in [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 42, 0xff, 0xff] {
        client.send_bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    let mut frame = client.next_frame().await.unwrap();
    assert_eq!(frame.get_i32(), 42);
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0_with_the_known_range() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    let asked = client
        .send_body(18, 77, 2, b"whatever the future brings")
        .await;
    let mut frame = client.next_frame().await.unwrap();
    assert_eq!(frame.get_i32(), asked);
    let response = ApiVersionsResponse::decode(&mut frame, 0).unwrap();
    assert_eq!(response.error_code, 35);
    let range: Vec<_> = response
        .api_keys
        .iter()
        .map(|api| (api.api_key, api.min_version, api.max_version))
        .collect();
    assert_eq!(range, [(18, 0, 5)]);
    assert!(!frame.has_remaining());
    // The client asks again on the same connection.
    let response = client
        .call(API_VERSIONS, ApiVersionsRequest::default())
        .await;
    assert_eq!(response.error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_is_woken_at_once_by_a_produce_on_another_connection() {
    let broker = start_broker().await;
    let mut consumer = connect(&broker);
    let mut producer = connect(&broker);
    producer.create_topic("topic", 2).await;
    let started = Instant::now();
    let patient = fetch("topic", &[(0, 0), (1, 0)], Duration::from_secs(300));
    let long_poll = consumer.send(FETCH, patient).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let records = batch(&["a"]);
    producer
        .call(PRODUCE, produce("topic", vec![(1, records.clone())]))
        .await;
    let response = consumer.answer(long_poll).await;
    assert_eq!(sizes(&response), [0, records.len()]);
    assert_eq!(started.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_waits_until_min_bytes_are_there_over_all_partitions() {
    let broker = start_broker().await;
    let mut consumer = connect(&broker);
    let mut producer = connect(&broker);
    producer.create_topic("topic", 2).await;
    let records = batch(&["a"]);
    let started = Instant::now();
    let request = fetch("topic", &[(0, 0), (1, 0)], Duration::from_secs(300))
        .with_min_bytes(2 * records.len() as i32);
    let long_poll = consumer.send(FETCH, request).await;
    for partition in [0, 1] {
        tokio::time::sleep(Duration::from_secs(10)).await;
        producer
            .call(
                PRODUCE,
                produce("topic", vec![(partition, records.clone())]),
            )
            .await;
    }
    assert_eq!(sizes(&consumer.answer(long_poll).await), [records.len(); 2]);
    assert_eq!(started.elapsed().as_secs(), 20);
}

/// From memory a fetch has all that it asks for. From the disk, as after a restart or a restore, it has less: a megabyte of one
/// segment. The rest comes with the next fetches, and none of them waits for what is there.
#[tokio::test]
async fn a_fetch_that_is_given_less_than_there_is_does_not_wait_for_more() {
    const BATCHES: i64 = 12;
    let data = tempfile::tempdir().unwrap();
    let records = batch(&[&"x".repeat(300_000)]);
    let size = records.len();
    let running = start_on(data.path()).await;
    let mut client = connect(&running.broker);
    client.create_topic("topic", 1).await;
    for _ in 0..BATCHES {
        let request = produce("topic", vec![(0, records.clone())]);
        client.call(PRODUCE, request).await;
    }
    let mut all = fetch("topic", &[(0, 0)], Duration::from_secs(3600)).with_max_bytes(i32::MAX);
    all.topics[0].partitions[0].partition_max_bytes = i32::MAX;
    let from_memory = client.call(FETCH, all.clone()).await;
    assert_eq!(sizes(&from_memory), [BATCHES as usize * size]);
    drop(client);
    running.shutdown().await.unwrap();

    let running = start_on(data.path()).await;
    let mut client = connect(&running.broker);
    let (mut next_offset, mut fetches) = (0, 0);
    while next_offset < BATCHES {
        let left = (BATCHES - next_offset) as usize * size;
        all.topics[0].partitions[0].fetch_offset = next_offset;
        let patient = all.clone().with_min_bytes(left as i32);
        let answered = tokio::time::timeout(Duration::from_secs(600), client.call(FETCH, patient));
        let read = sizes(&answered.await.expect("at once"))[0];
        assert!(
            read > 0 && read <= left && read.is_multiple_of(size),
            "{read}"
        );
        next_offset += (read / size) as i64;
        fetches += 1;
    }
    assert!(fetches > 1, "the first one was given everything");
    drop(client);
    running.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_does_not_wait_where_an_error_is_known() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    client.create_topic("topic", 2).await;
    let started = Instant::now();
    for (partition, offset, error) in [(1, 5, 1), (7, 0, 3)] {
        let request = fetch(
            "topic",
            &[(0, 0), (partition, offset)],
            Duration::from_secs(300),
        );
        let response = client.call(FETCH, request).await;
        assert_eq!(response.responses[0].partitions[1].error_code, error);
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn max_bytes_bounds_a_fetch_over_all_partitions_and_gives_the_first_batch_whole() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    let size = fill_six_partitions(&mut client).await;
    check_fetch_limits(&mut client, size).await;
}

#[tokio::test]
async fn max_bytes_bounds_a_fetch_from_the_disk_in_the_same_way() {
    let data = tempfile::tempdir().unwrap();
    let first = start_on(data.path()).await;
    let mut client = Client::new(TcpStream::connect(first.addresses()[0]).await.unwrap());
    let size = fill_six_partitions(&mut client).await;
    first.shutdown().await.unwrap();
    // Nothing is in memory after a start.
    let second = start_on(data.path()).await;
    let mut client = Client::new(TcpStream::connect(second.addresses()[0]).await.unwrap());
    check_fetch_limits(&mut client, size).await;
    second.shutdown().await.unwrap();
}

/// Two batches for each partition of `topic`; returns the size of one.
async fn fill_six_partitions(client: &mut Client) -> usize {
    client.create_topic("topic", 6).await;
    let records = batch(&["a", "b", "c"]);
    let size = records.len();
    for _ in 0..2 {
        let batches = (0..6).map(|partition| (partition, records.clone()));
        client
            .call(PRODUCE, produce("topic", batches.collect()))
            .await;
    }
    size
}

async fn check_fetch_limits(client: &mut Client, size: usize) {
    // max_bytes, partition_max_bytes, and what each partition gives.
    let expected = [
        (12 * size, 2 * size, [2, 2, 2, 2, 2, 2]),
        (12 * size, size, [1, 1, 1, 1, 1, 1]),
        (11 * size, 2 * size, [2, 2, 2, 2, 2, 1]),
        (7 * size, 2 * size, [2, 2, 2, 1, 0, 0]),
        (7 * size, 7 * size, [2, 2, 2, 1, 0, 0]),
        (2 * size, size, [1, 1, 0, 0, 0, 0]),
        (size, 2 * size, [1, 0, 0, 0, 0, 0]),
        (1, 1, [1, 0, 0, 0, 0, 0]),
        (12 * size, 1, [1, 0, 0, 0, 0, 0]),
        (1, 12 * size, [1, 0, 0, 0, 0, 0]),
    ];
    for (max_bytes, partition_max_bytes, batches) in expected {
        let partitions = [0, 1, 2, 3, 4, 5].map(|partition| (partition, 0));
        let mut request = fetch("topic", &partitions, Duration::ZERO);
        request.max_bytes = max_bytes as i32;
        for partition in &mut request.topics[0].partitions {
            partition.partition_max_bytes = partition_max_bytes as i32;
        }
        let response = client.call(FETCH, request).await;
        assert_eq!(
            sizes(&response),
            batches.map(|count| count * size),
            "{max_bytes}, {partition_max_bytes}"
        );
    }
    // The first with data is not the first that is asked for, and the limits differ.
    let mut request = fetch("topic", &[(3, 6), (1, 0), (2, 0), (0, 0)], Duration::ZERO);
    request.max_bytes = (size + 2) as i32;
    let limits = [size, 1, 2 * size, 1].map(|bytes| bytes as i32);
    for (partition, limit) in request.topics[0].partitions.iter_mut().zip(limits) {
        partition.partition_max_bytes = limit;
    }
    let response = client.call(FETCH, request).await;
    assert_eq!(sizes(&response), [0, size, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_silent_for_connections_max_idle_ms_is_closed() {
    let broker = start_broker_with(&[("connections.max.idle.ms", "60000")]).await;
    let mut client = connect(&broker);
    let started = Instant::now();
    assert_eq!(client.next_frame().await, None);
    assert_eq!(started.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_during_a_long_poll_leaves_nothing_behind() {
    let broker = start_broker().await;
    let (mut client, serving) = connect_watched(&broker);
    client.create_topic("topic", 1).await;
    let patient = fetch("topic", &[(0, 0)], Duration::from_secs(300));
    client.send(FETCH, patient).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let left = Instant::now();
    drop(client);
    serving.await.unwrap();
    assert_eq!(left.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_shutdown_answers_a_long_poll_at_once_and_closes_the_connection() {
    let data = tempfile::tempdir().unwrap();
    let running = start_on(data.path()).await;
    let address = running.addresses()[0];

    let mut client = Client::new(TcpStream::connect(address).await.unwrap());
    client.create_topic("topic", 1).await;
    // All three arrive at once: when the first is answered, the broker has the others.
    client.hold();
    let before = client
        .send(API_VERSIONS, ApiVersionsRequest::default())
        .await;
    let patient = fetch("topic", &[(0, 0)], Duration::from_secs(300));
    let long_poll = client.send(FETCH, patient).await;
    let behind = client
        .send(API_VERSIONS, ApiVersionsRequest::default())
        .await;
    client.release().await;
    assert_eq!(client.answer(before).await.error_code, 0);
    let mut idle = Client::new(TcpStream::connect(address).await.unwrap());
    idle.call(API_VERSIONS, ApiVersionsRequest::default()).await;

    let shutdown = tokio::spawn(running.shutdown());
    assert_eq!(sizes(&client.answer(long_poll).await), [0]);
    assert_eq!(client.answer(behind).await.error_code, 0);
    assert_eq!(client.next_frame().await, None);
    assert_eq!(idle.next_frame().await, None);
    let stopped = tokio::time::timeout(Duration::from_secs(60), shutdown).await;
    stopped.unwrap().unwrap().unwrap();
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the port is closed"
    );
}

/// The topics that a client of `bootstrap` sees, and how many partitions they have.
async fn topics_of(bootstrap: &str) -> Vec<(String, usize)> {
    let mut client = Client::new(TcpStream::connect(bootstrap).await.unwrap());
    let everything = MetadataRequest::default().with_topics(None);
    let response = client.call(METADATA, everything).await;
    let topics = response.topics.into_iter();
    let told = topics.map(|topic| (topic.name.unwrap().to_string(), topic.partitions.len()));
    told.collect()
}

#[tokio::test]
async fn a_process_may_have_two_brokers_that_share_nothing() {
    let ours = testing::Broker::start([("num.partitions", "3")]).unwrap();
    let theirs = testing::Broker::start([("num.partitions", "4")]).unwrap();
    assert_ne!(ours.bootstrap(), theirs.bootstrap());
    let mut client = Client::new(TcpStream::connect(ours.bootstrap()).await.unwrap());
    client.create_topic("ours", -1).await;
    let mut client = Client::new(TcpStream::connect(theirs.bootstrap()).await.unwrap());
    client.create_topic("theirs", -1).await;
    assert_eq!(topics_of(ours.bootstrap()).await, [("ours".to_owned(), 3)]);
    assert_eq!(
        topics_of(theirs.bootstrap()).await,
        [("theirs".to_owned(), 4)]
    );

    // One that stops, or is forgotten, gives its port back and leaves the other alone.
    let (stopped, forgotten) = (ours.bootstrap().to_owned(), theirs.bootstrap().to_owned());
    ours.stop().unwrap();
    TcpStream::connect(stopped).await.unwrap_err();
    assert_eq!(topics_of(&forgotten).await, [("theirs".to_owned(), 4)]);
    drop(theirs);
    TcpStream::connect(forgotten).await.unwrap_err();
}

#[test]
fn a_broker_for_tests_needs_no_runtime_and_says_why_it_does_not_start() {
    let broker = testing::Broker::start([("listeners", "PLAINTEXT://localhost:0")]).unwrap();
    let in_use = format!("PLAINTEXT://{}", broker.bootstrap());
    let error = testing::Broker::start([("listeners", in_use)])
        .err()
        .unwrap();
    assert!(matches!(error, testing::Error::Start(_)), "{error}");
    let error = testing::Broker::start([("num.partitions", "many")])
        .err()
        .unwrap();
    assert!(matches!(error, testing::Error::Config(_)), "{error}");
    broker.stop().unwrap();
}

/// What each release has left of a broker that was killed, kept as it was: `broker/tests/directories/RELEASE`. A later release
/// has to start on each of them, the last one at least.
///
/// A release adds its own before it is made: `cargo test -p ottla --test connection -- --ignored leave_a_directory`. What is
/// there already stays as it is.
const DIRECTORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/directories");
/// The length of the first region of the write-ahead log. Zeros at the end of one are not kept.
const REGION_BYTES: u64 = 4 << 20;

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy_dir(&entry.path(), &target),
            kind if kind.is_file() => drop(std::fs::copy(entry.path(), target).unwrap()),
            _ => {}
        }
    }
}

fn regions(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("wal")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_region = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "wal");
    paths.filter(is_region).collect()
}

#[tokio::test]
#[ignore = "adds a directory to the tree"]
async fn leave_a_directory() {
    let data = tempfile::tempdir().unwrap();
    let running = start_on(data.path()).await;
    let mut client = Client::new(TcpStream::connect(running.addresses()[0]).await.unwrap());
    client.create_topic("topic", 1).await;
    for values in [["a", "b"], ["c", "d"]] {
        let request = produce("topic", vec![(0, batch(&values))]);
        client.call(PRODUCE, request).await;
        // It takes a checkpoint. So the first batch is in its segment, and the other one in the write-ahead log.
        let (logs, elsewhere) = (
            Arc::clone(&running.broker.logs),
            tempfile::tempdir().unwrap(),
        );
        let work = move || {
            logs.snapshot(elsewhere.path(), &mut |_| ControlFlow::Break(()))
                .is_err()
        };
        if values == ["a", "b"] {
            assert!(
                tokio::task::spawn_blocking(work).await.unwrap(),
                "it is broken off"
            );
        }
    }
    commit(&mut client, 3).await;
    // Level 2 of the metadata.
    client.call(0, a_user()).await;
    let kept = Path::new(DIRECTORIES).join(env!("CARGO_PKG_VERSION"));
    assert!(!kept.exists(), "{} is there already", kept.display());
    copy_dir(data.path(), &kept);
    for region in regions(&kept) {
        let bytes = std::fs::read(&region).unwrap();
        let end = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        assert!(end as u64 <= REGION_BYTES);
        std::fs::write(&region, &bytes[..end.next_multiple_of(4096)]).unwrap();
    }
}

#[tokio::test]
async fn what_earlier_releases_have_left_is_read() {
    let mut releases = 0;
    for entry in std::fs::read_dir(DIRECTORIES).unwrap() {
        let kept = entry.unwrap().path();
        let data = tempfile::tempdir().unwrap();
        copy_dir(&kept, data.path());
        for region in regions(data.path()) {
            let file = std::fs::File::options().write(true).open(region).unwrap();
            if file.metadata().unwrap().len() > 0 {
                file.set_len(REGION_BYTES).unwrap();
            }
        }
        // Once more after an orderly stop: then it is all of this release's making.
        for is_recovered in [true, false] {
            let running = start_on(data.path()).await;
            let report = running.broker.logs.recovery_report();
            assert_eq!(
                report.replayed_batches > 0,
                is_recovered,
                "{}",
                kept.display()
            );
            let mut client = Client::new(TcpStream::connect(running.addresses()[0]).await.unwrap());
            let request = fetch("topic", &[(0, 0)], Duration::ZERO);
            let fetched = client.call(FETCH, request).await;
            let records = fetched.responses[0].partitions[0].records.clone().unwrap();
            let offsets: Vec<_> = batches(&records)
                .map(|batch| batch.unwrap().header)
                .map(|header| (header.base_offset, header.last_offset()))
                .collect();
            assert_eq!(offsets, [(0, 1), (2, 3)], "{}", kept.display());
            assert_eq!(committed(&mut client).await, 3);
            let users = DescribeUserScramCredentialsRequest::default();
            let users = client.call(0, users).await.results;
            assert_eq!(users.len(), 1);
            drop(client);
            running.shutdown().await.unwrap();
        }
        releases += 1;
    }
    assert!(releases > 0);
}

/// The logs were open already. Left to themselves they would say that the directory has failed.
#[tokio::test]
async fn a_start_that_is_refused_closes_its_directory_in_order() {
    let data = tempfile::tempdir().unwrap();
    let running = start_on(data.path()).await;
    running.shutdown().await.unwrap();
    let in_order = data.path().join(".kafka_cleanshutdown");
    assert!(in_order.exists());
    let another = testing::config(data.path(), [("node.id", "2")]).unwrap();
    let refused = Server::start(another).await.err().expect("refused");
    assert!(matches!(refused, StartError::Identity(_)), "{refused}");
    assert!(in_order.exists());
}

/// Another release has left something that this one does not know.
#[tokio::test]
async fn a_later_format_is_refused_with_the_release_that_reads_it() {
    let data = tempfile::tempdir().unwrap();
    let running = start_on(data.path()).await;
    // As a kill would leave it.
    let left = tempfile::tempdir().unwrap();
    copy_dir(data.path(), left.path());
    running.shutdown().await.unwrap();
    std::fs::write(left.path().join("ottla-release"), "99.9.0\n").unwrap();
    for name in ["checkpoint-a", "checkpoint-b"] {
        let path = left.path().join("wal").join(name);
        let Ok(mut bytes) = std::fs::read(&path) else {
            continue;
        };
        bytes[4..6].copy_from_slice(&2_u16.to_le_bytes());
        let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[..44]);
        bytes[44..48].copy_from_slice(&(sum as u32).to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
    }
    let refused = try_start_on(left.path())
        .await
        .err()
        .expect("refused")
        .to_string();
    assert!(refused.contains("format 2"), "{refused}");
    assert!(refused.contains("start it with Ottla 99.9.0"), "{refused}");
}

async fn commit(client: &mut Client, offset: i64) {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name("topic"))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id("group"))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let answer = client.call(8, request).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

async fn committed(client: &mut Client) -> i64 {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(topic_name("topic"))
        .with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default()
        .with_group_id(group_id("group"))
        .with_topics(Some(vec![topic]));
    client.call(7, request).await.topics[0].partitions[0].committed_offset
}

fn a_user() -> AlterUserScramCredentialsRequest {
    let upsertion = ScramCredentialUpsertion::default()
        .with_name(string("ann"))
        .with_mechanism(1)
        .with_iterations(4096)
        .with_salt(Bytes::from_static(b"salt"))
        .with_salted_password(Bytes::from_static(&[7; 32]));
    AlterUserScramCredentialsRequest::default().with_upsertions(vec![upsertion])
}
