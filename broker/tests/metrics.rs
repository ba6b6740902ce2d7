//! What is told about the broker over HTTP.

#![allow(clippy::unwrap_used)]

extern crate ottla as broker;

mod support;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use broker::broker::Broker;
use broker::config::BrokerConfig;
use broker::metrics;
use broker::server::{self, Server};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, MetadataRequest, SaslAuthenticateRequest,
    SaslHandshakeRequest, fetch_request::FetchPartition, fetch_request::FetchTopic,
};
use parking_lot::{Condvar, Mutex};
use protocol_shim::newer::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use storage::local::{self, LocalConfig};
use storage::testing::hooked_fs::{HookedFs, Hooks};
use support::{batch, connect, connect_to_login, group_id, produce, string, topic_name};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Status and body of a GET.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The value of a metric, named with its labels.
fn value(text: &str, name: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
    line.parse().unwrap()
}

fn config(dir: &TempDir, more: &[(&str, &str)]) -> BrokerConfig {
    let dir = dir.path().to_str().unwrap();
    let defaults = [
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("log.dirs", dir),
        ("offsets.topic.num.partitions", "3"),
        ("ottla.wal.ring.bytes", "134217728"),
    ];
    let properties = defaults.iter().chain(more);
    let properties = properties.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    BrokerConfig::from_properties(properties.collect())
        .unwrap()
        .0
}

async fn start(dir: &TempDir) -> (Server, SocketAddr) {
    let listen = [("ottla.metrics.listen", "127.0.0.1:0")];
    let running = Server::start(config(dir, &listen)).await.unwrap();
    let address = running.metrics_addresses()[0];
    (running, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_shows_what_was_produced_fetched_and_committed() {
    let dir = TempDir::new().unwrap();
    let (running, address) = start(&dir).await;
    let mut client = connect(&running.broker);
    let topic_id = client.create_topic("t", 1).await;
    for _ in 0..3 {
        let batches = vec![(0, batch(&["a record"]))];
        client.call(9, produce("t", batches)).await;
    }
    let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic_id(topic_id)
        .with_partitions(vec![partition]);
    let fetch = FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    client.call(13, fetch).await;
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(3);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(group_id("g"))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    client.call(8, commit).await;
    // The last of them is counted when it is with the kernel, just after the client may have it.
    client.call(12, MetadataRequest::default()).await;

    let (status, text) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let is = |name: &str, expected: f64| assert_eq!(value(&text, name), expected, "{name}");
    is("ottla_requests_total{api=\"Produce\"}", 3.0);
    is("ottla_requests_total{api=\"Fetch\"}", 1.0);
    is("ottla_request_seconds_count{api=\"Produce\"}", 3.0);
    is(
        "ottla_request_seconds_bucket{le=\"+Inf\",api=\"Produce\"}",
        3.0,
    );
    is("ottla_request_errors_total{api=\"Produce\"}", 0.0);
    is("ottla_groups{type=\"classic\",state=\"Empty\"}", 1.0);
    is("ottla_late_transactions", 0.0);
    is("ottla_transaction_markers_written_total", 0.0);
    is("ottla_transaction_markers_skipped_total", 0.0);
    is("ottla_transaction_verifications_failed_total", 0.0);
    is("ottla_storage_commit_in_flight_seconds", 0.0);
    is("ottla_storage_offline", 0.0);
    is("ottla_storage_disk_full", 0.0);
    is("ottla_storage_wal_ring_max_bytes", f64::from(128 << 20));
    is("ottla_storage_recovery_replayed_bytes", 0.0);
    let above = |name: &str, least: f64| {
        let value = value(&text, name);
        assert!(value > least, "{name} {value}");
    };
    above("ottla_response_bytes_total{api=\"Fetch\"}", 3.0 * 60.0);
    above("ottla_request_bytes_total{api=\"Produce\"}", 3.0 * 60.0);
    above("ottla_storage_commit_write_seconds_count", 3.0);
    above("ottla_storage_commit_write_seconds_sum", 0.0);
    above("ottla_storage_committed_entries_total", 3.0);
    above("ottla_storage_committed_bytes_total", 3.0 * 4096.0);
    above("ottla_storage_disk_free_bytes", 0.0);
    above("process_resident_memory_bytes", 1e6);
    above("process_open_fds", 3.0);
    above("process_start_time_seconds", 1.7e9);
    above("ottla_groups_load_seconds", 0.0);

    assert_eq!(get(address, "/health").await, (200, "ok\n".to_owned()));
    assert_eq!(get(address, "/").await.0, 404);
    running.shutdown().await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "it ends too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_counts_log_ins_and_denials_and_names_nobody() {
    let dir = TempDir::new().unwrap();
    let jaas =
        "org.apache.kafka.common.security.plain.PlainLoginModule required user_ann=\"right\";";
    let more = [
        ("ottla.metrics.listen", "127.0.0.1:0"),
        ("listeners", "PLAINTEXT://127.0.0.1:0,LOGIN://127.0.0.1:0"),
        (
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,LOGIN:SASL_PLAINTEXT",
        ),
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512"),
        ("listener.name.login.plain.sasl.jaas.config", jaas),
        ("connection.failed.authentication.delay.ms", "0"),
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ),
        ("super.users", "User:ann"),
    ];
    let running = Server::start(config(&dir, &more)).await.unwrap();
    let address = running.metrics_addresses()[0];
    for (password, error) in [("right", 0), ("wrong", 58), ("wrong", 58)] {
        let (mut client, _) = connect_to_login(&running.broker, "LOGIN");
        let shaken = SaslHandshakeRequest::default().with_mechanism(string("PLAIN"));
        client.call(1, shaken).await;
        let token = format!("\0ann\0{password}").into_bytes();
        let token = SaslAuthenticateRequest::default().with_auth_bytes(token.into());
        assert_eq!(client.call(1, token).await.error_code, error);
    }
    // It names no mechanism that there is.
    let (mut client, _) = connect_to_login(&running.broker, "LOGIN");
    let shaken = SaslHandshakeRequest::default().with_mechanism(string("MALLORY"));
    assert_eq!(client.call(1, shaken).await.error_code, 33);
    // Nobody may create a topic.
    let mut nobody = connect(&running.broker);
    let topic = CreatableTopic::default().with_name(topic_name("mallory"));
    let create = CreateTopicsRequest::default().with_topics(vec![topic]);
    assert_eq!(nobody.call(5, create).await.topics[0].error_code, 29);

    let (_, text) = get(address, "/metrics").await;
    let login = |mechanism: &str, result: &str| {
        let labels = format!("listener=\"LOGIN\",mechanism=\"{mechanism}\",result=\"{result}\"");
        value(&text, &format!("ottla_authentications_total{{{labels}}}"))
    };
    assert_eq!(
        (login("PLAIN", "success"), login("PLAIN", "failure")),
        (1.0, 2.0)
    );
    assert_eq!(login("SCRAM-SHA-512", "failure"), 0.0);
    assert_eq!(
        (login("none", "success"), login("none", "failure")),
        (0.0, 1.0)
    );
    let denied = |operation: &str| {
        let name = format!("ottla_authorizations_denied_total{{operation=\"{operation}\"}}");
        value(&text, &name)
    };
    assert_eq!((denied("CREATE"), denied("WRITE")), (1.0, 0.0));
    assert!(!text.to_lowercase().contains("mallory"), "{text}");
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_no_port_is_opened() {
    let dir = TempDir::new().unwrap();
    let running = Server::start(config(&dir, &[])).await.unwrap();
    assert_eq!(running.metrics_addresses(), []);
    running.shutdown().await.unwrap();
}

#[test]
fn an_address_that_is_none_is_refused() {
    let properties = [("ottla.metrics.listen".to_owned(), "9404".to_owned())];
    let error = BrokerConfig::from_properties(properties.into()).unwrap_err();
    assert!(
        error.to_string().contains("ottla.metrics.listen"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_no_known_api_is_an_error_of_none() {
    let dir = TempDir::new().unwrap();
    let (running, address) = start(&dir).await;
    let mut client = connect(&running.broker);
    client.send_body(9999, 0, 1, &[]).await;
    assert!(client.next_frame().await.is_none());
    let (_, text) = get(address, "/metrics").await;
    assert_eq!(
        value(&text, "ottla_request_errors_total{api=\"unknown\"}"),
        1.0
    );
}

/// What happens to writes of the write-ahead log.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    /// They wait until the fault is taken away.
    Stall,
    Fail,
}

#[derive(Debug, Default)]
struct Faults {
    fault: Mutex<Fault>,
    changed: Condvar,
}

impl Faults {
    fn set(&self, fault: Fault) {
        *self.fault.lock() = fault;
        self.changed.notify_all();
    }

    fn pass(&self) -> io::Result<()> {
        let mut fault = self.fault.lock();
        while *fault == Fault::Stall {
            self.changed.wait(&mut fault);
        }
        match *fault {
            Fault::Fail => Err(io::Error::other("the disk is broken")),
            _ => Ok(()),
        }
    }
}

impl Hooks for Faults {
    fn write(&self, path: &Path) -> io::Result<()> {
        match path.extension() {
            Some(extension) if extension == "wal" => self.pass(),
            _ => Ok(()),
        }
    }
}

/// A broker on a disk with a fault, and where its metrics are.
async fn start_faulty(dir: PathBuf, faults: &Arc<Faults>) -> (Arc<Broker>, SocketAddr) {
    let logs = local::open(LocalConfig {
        fs: Arc::new(HookedFs(Arc::clone(faults))),
        wal_ring_bytes: 128 << 20,
        ..LocalConfig::new(dir)
    })
    .unwrap();
    let identity = support::the_cluster();
    let broker = server::assemble(BrokerConfig::default(), &identity, logs);
    let broker = broker.await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(metrics::http::run(Arc::clone(&broker), listener));
    (broker, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_disk_shows_while_its_write_has_not_returned() {
    let dir = TempDir::new().unwrap();
    let faults = Arc::<Faults>::default();
    let (broker, address) = start_faulty(dir.path().to_owned(), &faults).await;
    let mut client = connect(&broker);
    client.create_topic("t", 1).await;
    let in_flight = "ottla_storage_commit_in_flight_seconds";

    faults.set(Fault::Stall);
    let asked = client
        .send(9, produce("t", vec![(0, batch(&["late"]))]))
        .await;
    let mut seen = 0.0;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    // It grows from one scrape to the next.
    while seen < 0.5 {
        assert_eq!(get(address, "/health").await.0, 200, "not yet");
        assert!(tokio::time::Instant::now() < deadline, "not seen: {seen}");
        let (status, text) = get(address, "/metrics").await;
        assert_eq!(status, 200);
        let now = value(&text, in_flight);
        assert!(now >= seen, "{seen} then {now}");
        seen = now;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // After some seconds nothing is well any more.
    while get(address, "/health").await.0 == 200 {
        assert!(tokio::time::Instant::now() < deadline, "healthy for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, reason) = get(address, "/health").await;
    assert!(reason.starts_with("a commit has waited for "), "{reason}");

    faults.set(Fault::None);
    client.answer(asked).await;
    while get(address, "/health").await.0 != 200 {
        assert!(tokio::time::Instant::now() < deadline, "unhealthy for ever");
    }
    let (_, text) = get(address, "/metrics").await;
    assert_eq!(value(&text, in_flight), 0.0);
    assert!(value(&text, "ottla_storage_commit_write_seconds_sum") > 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_why_when_the_directory_is_offline() {
    let dir = TempDir::new().unwrap();
    let faults = Arc::<Faults>::default();
    let (broker, address) = start_faulty(dir.path().to_owned(), &faults).await;
    let mut client = connect(&broker);
    client.create_topic("t", 1).await;
    assert_eq!(get(address, "/health").await.0, 200);

    faults.set(Fault::Fail);
    let batches = vec![(0, batch(&["lost"]))];
    client.call(9, produce("t", batches)).await;
    let (status, reason) = get(address, "/health").await;
    assert_eq!(status, 503);
    assert!(reason.contains("the disk is broken"), "{reason}");
    let (_, text) = get(address, "/metrics").await;
    assert_eq!(value(&text, "ottla_storage_offline"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_keep_health_from_answering() {
    let dir = TempDir::new().unwrap();
    let (running, address) = start(&dir).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut half_asked = TcpStream::connect(address).await.unwrap();
    half_asked.write_all(b"GET /hea").await.unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(30), get(address, "/health"));
    assert_eq!(answered.await.unwrap(), (200, "ok\n".to_owned()));
    drop(silent);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_closed_at_once() {
    let dir = TempDir::new().unwrap();
    let (running, address) = start(&dir).await;
    // ApiVersions, and the beginning of a TLS handshake.
    for bytes in [&[0, 0, 0, 10, 0, 18][..], &[0x16, 3, 1, 2, 0, 1]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer));
        // A reset says the same.
        let _ = closed.await.unwrap();
        assert!(answer.is_empty());
    }
    assert_eq!(get(address, "/health").await.0, 200);
    running.shutdown().await.unwrap();
}
