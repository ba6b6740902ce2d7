//! One client never stops the others: what it leaves unfinished, does not read, or breaks is its own affair.

#![allow(clippy::unwrap_used)]

extern crate ottla as broker;

mod support;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use broker::config::BrokerConfig;
use broker::server::Server;
use bytes::BufMut;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    FetchRequest, IncrementalAlterConfigsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::newer::api_versions::ApiVersionsRequest;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use support::{
    Client, batch, connect, connect_stream, connect_watched, produce, start_broker,
    start_broker_with, topic_name,
};

const MIB: usize = 1 << 20;
const API_VERSIONS: i16 = 2;
const METADATA: i16 = 9;
const PRODUCE: i16 = 9;
const FETCH: i16 = 12;
/// Where clients of the tests come from, and where they do not.
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

async fn api_versions(client: &mut Client) {
    let answer = client.call(API_VERSIONS, ApiVersionsRequest::default());
    assert_eq!(answer.await.error_code, 0);
}

async fn produce_one(client: &mut Client, value: &str) -> i16 {
    let request = produce("t", vec![(0, batch(&[value]))]);
    let response = client.call(PRODUCE, request).await;
    response.responses[0].partition_responses[0].error_code
}

/// Asks for all that is in partition 0 of `t`, from the start.
fn everything() -> FetchRequest {
    let partition = FetchPartition::default().with_partition_max_bytes(i32::MAX);
    let topic = FetchTopic::default()
        .with_topic(topic_name("t"))
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_bytes(i32::MAX)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// A topic `t` with so many records of 1 MB.
async fn fill(client: &mut Client, megabytes: usize) {
    client.create_topic("t", 1).await;
    let value = "x".repeat(1_000_000);
    for _ in 0..megabytes {
        assert_eq!(produce_one(client, &value).await, 0);
    }
}

/// A frame of `length` bytes of which so many come.
async fn begin_frame(client: &mut Client, length: usize, come: usize) {
    client.send_bytes(&(length as i32).to_be_bytes()).await;
    client.send_bytes(&vec![0; come]).await;
}

#[tokio::test(start_paused = true)]
async fn unfinished_frames_keep_nobody_waiting_and_end_with_their_connections() {
    let budget = [("queued.max.request.bytes", "16777216")];
    let broker = start_broker_with(&budget).await;
    let mut old = connect(&broker);
    old.create_topic("t", 1).await;
    let started = Instant::now();
    let mut unfinished = Vec::new();
    for _ in 0..7 {
        let mut client = connect(&broker);
        begin_frame(&mut client, 6 * MIB, 5 * MIB).await;
        unfinished.push(client);
    }
    for _ in 0..3 {
        let mut new = connect(&broker);
        for client in [&mut old, &mut new] {
            api_versions(client).await;
            assert_eq!(produce_one(client, "v").await, 0);
            // As large as producers send them.
            assert_eq!(produce_one(client, &"v".repeat(1_000_000)).await, 0);
        }
    }
    assert_eq!(started.elapsed(), Duration::ZERO, "nobody has waited");
    for client in &mut unfinished {
        assert_eq!(client.next_frame().await, None);
    }
    assert!(
        started.elapsed() < Duration::from_secs(200),
        "all are closed in turn"
    );
    drop(unfinished);
    assert_eq!(produce_one(&mut old, "v").await, 0);
    assert_eq!(broker.request_budget.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_large_frame_that_comes_slowly_but_steadily_is_answered() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    client.create_topic("t", 1).await;
    client.hold();
    let value = "x".repeat(1_000_000);
    let asked = client
        .send(PRODUCE, produce("t", vec![(0, batch(&[&value]))]))
        .await;
    for piece in client.take_held().chunks(20_000) {
        client.send_bytes(piece).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let response = client.answer(asked).await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn small_requests_that_are_not_answered_yet_take_a_bounded_amount_uncounted() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    client.create_topic("t", 1).await;
    // A long poll holds up the answers of what comes behind it.
    let mut patient = everything().with_max_wait_ms(300_000).with_min_bytes(1);
    patient.topics[0].partitions[0].partition_max_bytes = 1;
    client.send(FETCH, patient).await;
    let value = "x".repeat(60_000);
    for _ in 0..40 {
        client
            .send(PRODUCE, produce("u", vec![(0, batch(&[&value]))]))
            .await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used_bytes = broker.request_budget.used_bytes();
    assert!(used_bytes > 20 * value.len(), "{used_bytes} bytes");
    drop(client);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(broker.request_budget.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_nobody_reads_is_copied_within_the_budget_and_ends_with_the_idle_time() {
    let broker = start_broker_with(&[("connections.max.idle.ms", "60000")]).await;
    let (mut client, serving) = connect_watched(&broker);
    fill(&mut client, 20).await;
    let started = Instant::now();
    client.send(FETCH, everything()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(broker.response_budget.used_bytes(), 0, "slices of the log");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let copied_bytes = broker.response_budget.used_bytes();
    assert!(copied_bytes > 10 * MIB, "{copied_bytes} bytes");
    serving.await.unwrap();
    assert!(started.elapsed().as_secs() <= 61);
    assert_eq!(broker.response_budget.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_is_not_idle_and_gets_everything() {
    let broker = start_broker_with(&[("connections.max.idle.ms", "10000")]).await;
    let mut client = connect(&broker);
    fill(&mut client, 20).await;
    let asked = client.send(FETCH, everything()).await;
    client.read_slowly(64 << 10, Duration::from_millis(500));
    let started = Instant::now();
    let response = client.answer(asked).await;
    let records = response.responses[0].partitions[0].records.as_ref();
    assert!(records.unwrap().len() > 20_000_000);
    assert!(started.elapsed() > Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_while_others_wait_for_the_memory_loses_the_connection() {
    let broker = start_broker().await;
    let (mut client, serving) = connect_watched(&broker);
    fill(&mut client, 20).await;
    client.send(FETCH, everything()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!serving.is_finished(), "nobody needs the memory");
    let total = broker.response_budget.total_bytes();
    let mut halves = [1, 2].map(|last| broker.response_budget.share([198, 51, 100, last].into()));
    let [first, second] = &mut halves;
    first.grow(total / 2).await;
    // The first that finds too little overdraws the budget; it is the next one that waits.
    second.grow(total / 2).await;
    let mut third = broker.response_budget.share(ELSEWHERE);
    let started = Instant::now();
    tokio::select! {
        () = third.grow(MIB) => {}
        ended = serving => {
            ended.unwrap();
            drop(halves);
            third.grow(MIB).await;
        }
    }
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_waits_holds_no_memory_of_the_log() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    fill(&mut client, 3).await;
    let patient = everything().with_max_wait_ms(1000).with_min_bytes(i32::MAX);
    let started = Instant::now();
    let response = client.call(FETCH, patient).await;
    assert_eq!(started.elapsed().as_secs(), 1);
    let records = response.responses[0].partitions[0].records.as_ref();
    assert!(
        records.unwrap().len() > 3_000_000,
        "what there is at the end"
    );
}

/// A connection that panics after so many bytes.
struct Explosive {
    bytes: std::io::Cursor<Vec<u8>>,
}

impl AsyncRead for Explosive {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.bytes).poll_read(cx, buffer);
        assert!(buffer.filled().len() > before, "on purpose");
        read
    }
}

impl AsyncWrite for Explosive {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_panic_in_one_connection_ends_that_connection_only_and_gives_back_what_it_held() {
    let broker = start_broker().await;
    let mut other = connect(&broker);
    other.create_topic("t", 1).await;
    let mut bytes = Vec::new();
    bytes.put_i32(50 * MIB as i32);
    bytes.put_bytes(0, 5 * MIB);
    let bytes = std::io::Cursor::new(bytes);
    let ended = connect_stream(&broker, Explosive { bytes }).await;
    assert!(ended.unwrap_err().is_panic());
    assert_eq!(broker.request_budget.used_bytes(), 0);
    assert_eq!(produce_one(&mut other, "v").await, 0);
    assert_eq!(broker.metadata.vital().failure(), None);
}

#[tokio::test]
async fn a_panic_in_a_task_of_the_brokers_own_is_a_failure_of_the_broker() {
    let (_data, running) = start_on_ports().await;
    let task = async { panic!("on purpose") };
    running.broker.metadata.vital().spawn("a test", task);
    let failure = timeout(Duration::from_secs(60), running.failed()).await;
    assert!(failure.unwrap().to_string().contains("a test panicked"));
    running.shutdown().await.unwrap();
}

async fn start_on_ports() -> (tempfile::TempDir, Server) {
    let data = tempfile::tempdir().unwrap();
    let running = Server::start(config_on_ports(&data)).await.unwrap();
    (data, running)
}

fn config_on_ports(data: &tempfile::TempDir) -> BrokerConfig {
    let properties = [
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("log.dirs", data.path().to_str().unwrap()),
    ];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let (config, _) = BrokerConfig::from_properties(properties.into()).unwrap();
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_clients_do_the_broker_stops() {
    let (_data, running) = start_on_ports().await;
    let address = running.addresses()[0];
    let connect = async || TcpStream::connect(address).await.unwrap();
    let mut filler = Client::new(connect().await);
    fill(&mut filler, 20).await;
    let mut held = Vec::new();
    // Does not read a response.
    let mut client = Client::new(connect().await);
    client.send(FETCH, everything()).await;
    held.push(client);
    // Asks more than is looked at at once, behind a long poll, and does not read.
    let mut client = Client::new(connect().await);
    let patient = everything()
        .with_max_wait_ms(600_000)
        .with_min_bytes(i32::MAX);
    client.send(FETCH, patient).await;
    for _ in 0..200 {
        client.send(FETCH, everything()).await;
    }
    held.push(client);
    // Leaves a frame unfinished, a large one and a small one.
    for (length, come) in [(50 * MIB, 3 * MIB), (1000, 10)] {
        let mut client = Client::new(connect().await);
        begin_frame(&mut client, length, come).await;
        held.push(client);
    }
    // Is silent.
    let mut silent = connect().await;
    silent.write_all(&[0]).await.unwrap();
    let broker = Arc::downgrade(&running.broker);
    let stopped = timeout(Duration::from_secs(30), running.shutdown()).await;
    stopped.expect("it stops").expect("in order");
    assert_eq!(broker.strong_count(), 0, "nothing of it is left");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_names_many_things_waits_for_memory_and_one_of_few_does_not() {
    let broker = start_broker().await;
    let total = broker.element_budget.total_bytes();
    let mut halves = [1, 2].map(|last| broker.element_budget.share([198, 51, 100, last].into()));
    for half in &mut halves {
        half.grow(total / 2).await;
    }
    // The budget can be overdrawn once.
    let mut overdraft = broker.element_budget.share(ELSEWHERE);
    overdraft.grow(MIB).await;
    let names = |count: usize| {
        let names = (0..count).map(|number| StrBytes::from_string(format!("t{number}")));
        let topics =
            names.map(|name| MetadataRequestTopic::default().with_name(Some(TopicName(name))));
        MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(false)
    };
    let mut client = connect(&broker);
    let few = client.call(METADATA, names(10)).await;
    assert_eq!(few.topics.len(), 10);
    let asked = client.send(METADATA, names(5000)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    drop(halves);
    let started = Instant::now();
    assert_eq!(client.answer(asked).await.topics.len(), 5000);
    assert_eq!(started.elapsed(), Duration::ZERO);
    client.call(METADATA, names(0)).await;
    drop(overdraft);
    assert_eq!(broker.element_budget.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_everything_is_paid_for_before_it_is_made() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    client.create_topic("t", 5000).await;
    let total = broker.response_budget.total_bytes();
    let mut halves = [1, 2].map(|last| broker.response_budget.share([198, 51, 100, last].into()));
    for half in &mut halves {
        half.grow(total / 2).await;
    }
    let mut overdraft = broker.response_budget.share(ELSEWHERE);
    overdraft.grow(MIB).await;
    let everything = || MetadataRequest::default().with_topics(None);
    let asked = client.send(METADATA, everything()).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    drop(halves);
    let started = Instant::now();
    assert_eq!(client.answer(asked).await.topics[0].partitions.len(), 5000);
    assert_eq!(
        started.elapsed(),
        Duration::ZERO,
        "it was made when it was paid"
    );
    // Nobody gives anything back in time: the connection is closed rather than kept waiting for ever.
    let mut whole = broker.response_budget.share(ELSEWHERE);
    whole.grow(total / 2).await;
    let mut other = broker.response_budget.share([198, 51, 100, 9].into());
    other.grow(total / 2).await;
    let (mut refused, _) = connect_watched(&broker);
    refused.send(METADATA, everything()).await;
    let started = Instant::now();
    assert_eq!(refused.next_frame().await, None);
    assert_eq!(started.elapsed().as_secs(), 30);
    api_versions(&mut client).await;
}

/// Sets a key of all brokers.
async fn set(client: &mut Client, key: &str, value: &str) {
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_string(key.to_owned()))
        .with_value(Some(StrBytes::from_string(value.to_owned())));
    let broker = AlterConfigsResource::default()
        .with_resource_type(4)
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![broker]);
    let answer = client.call(1, request).await;
    assert_eq!(
        answer.responses[0].error_code, 0,
        "{key}={value}: {answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_connections_that_change_count_for_new_ones_and_after_a_restart() {
    let (data, running) = start_on_ports().await;
    let address = running.addresses()[0];
    // Whether one more is served, which ends then; those before it may be on their way out.
    let is_served = async |wanted: bool| {
        for _ in 0..1_000 {
            let mut client = Client::new(TcpStream::connect(address).await.unwrap());
            let sent = client
                .try_send(API_VERSIONS, ApiVersionsRequest::default())
                .await;
            if (sent && client.next_frame().await.is_some()) == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("a connection is not what is wanted: {wanted}");
    };
    let mut first = Client::new(TcpStream::connect(address).await.unwrap());
    let mut second = Client::new(TcpStream::connect(address).await.unwrap());
    for client in [&mut first, &mut second] {
        api_versions(client).await;
    }
    is_served(true).await;
    for (key, refusing, open) in [
        ("max.connections.per.ip", "2", "2147483647"),
        ("max.connections.per.ip.overrides", "127.0.0.1:2", ""),
        (
            "max.connections.per.ip.overrides",
            "localhost:1",
            "127.0.0.1:50",
        ),
    ] {
        set(&mut first, key, refusing).await;
        is_served(false).await;
        // Those that there are stay.
        api_versions(&mut second).await;
        set(&mut first, key, open).await;
        is_served(true).await;
    }
    // Beyond the limit of all a connection is not closed: it waits for another to end, or for a higher limit.
    set(&mut first, "max.connections", "2").await;
    let waiting = async || {
        let mut client = Client::new(TcpStream::connect(address).await.unwrap());
        let request = ApiVersionsRequest::default();
        assert!(client.try_send(API_VERSIONS, request).await);
        let answer = tokio::time::timeout(Duration::from_millis(100), client.next_frame());
        assert!(answer.await.is_err(), "neither an answer nor an end");
        client
    };
    let mut third = waiting().await;
    api_versions(&mut second).await;
    drop(second);
    assert!(third.next_frame().await.is_some());
    let mut fourth = waiting().await;
    set(&mut first, "max.connections", "2147483647").await;
    assert!(fourth.next_frame().await.is_some());
    is_served(true).await;
    set(
        &mut first,
        "max.connections.per.ip.overrides",
        "127.0.0.1:0",
    )
    .await;
    // One that waits does not hold up the end.
    set(&mut first, "max.connections", "1").await;
    let _waits = TcpStream::connect(address).await.unwrap();
    running.shutdown().await.unwrap();
    let running = Server::start(config_on_ports(&data)).await.unwrap();
    let stream = TcpStream::connect(running.addresses()[0]).await.unwrap();
    let mut refused = Client::new(stream);
    let sent = refused
        .try_send(API_VERSIONS, ApiVersionsRequest::default())
        .await;
    assert!(!sent || refused.next_frame().await.is_none());
    running.shutdown().await.unwrap();
}
