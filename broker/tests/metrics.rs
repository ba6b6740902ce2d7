//! What is told about the broker over HTTP.

#![allow(clippy::unwrap_used)]

extern crate ottla as broker;

mod support;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker::broker::Broker;
use broker::cluster::Cluster;
use broker::cluster::membership::{LEASE, Membership};
use broker::config::BrokerConfig;
use broker::metadata::MetaProperties;
use broker::metrics::{self, http::Http};
use broker::server::{self, Server};
use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeLogDirsRequest, FetchRequest, JoinGroupRequest, MetadataRequest,
    SaslAuthenticateRequest, SaslHandshakeRequest, SyncGroupRequest,
};
use object_store::memory::InMemory;
use parking_lot::{Condvar, Mutex};
use protocol_shim::newer::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use storage::env::clock::SystemClock;
use storage::local::{self, LocalConfig};
use storage::log::{BoxFuture, RecoveryProgress};
use storage::object::ObjectConfig;
use storage::object::database::{
    Call, DEFAULT_GROUPS, Endpoint, Fate, Faults as DatabaseFaults, MemoryDatabase, Registration,
};
use storage::testing::hooked_fs::{HookedFs, Hooks};
use support::{Client, batch, connect, connect_to_login, group_id, produce, string, topic_name};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Status and body of a GET.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    get_with(address, path, "").await
}

/// The same, with a further line in the head.
async fn get_with(address: SocketAddr, path: &str, line: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: broker\r\n{line}Connection: close\r\n\r\n");
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

/// Commits offsets of the topic `t` for a group without members.
async fn commit(client: &mut Client, group: &'static str, offsets: &[(i32, i64)]) {
    let partitions = offsets.iter().map(|(partition, offset)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(partitions.collect());
    let commit = OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let answer = client.call(8, commit).await;
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    assert!(
        partitions
            .map(|partition| partition.error_code)
            .all(|code| code == 0)
    );
}

/// Scrapes until a metric is there: what has to be looked up may come with a later scrape.
async fn value_in_time(address: SocketAddr, name: &str) -> f64 {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let (_, text) = get(address, "/metrics").await;
        if text.lines().any(|line| line.starts_with(name)) {
            return value(&text, name);
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "no {name} in\n{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_behind_by_so_many_records_and_seconds() {
    let dir = TempDir::new().unwrap();
    let (running, address) = start(&dir).await;
    let mut client = connect(&running.broker);
    client.create_topic("t", 2).await;
    let now_ms = running.broker.clock.wall_ms();
    for age_ms in [90_000, 60_000, 30_000] {
        let batches = vec![(0, support::batch_at(&["a", "b"], now_ms - age_ms))];
        client.call(9, produce("t", batches)).await;
    }
    // The name of a group is text of a client's.
    commit(&mut client, "late\"} 1\n", &[(0, 3)]).await;
    commit(&mut client, "early", &[(0, 6)]).await;
    let late =
        |name: &str| format!("{name}{{group=\"late\\\"}} 1\\n\",topic=\"t\",partition=\"0\"}}");
    let seconds = value_in_time(address, &late("ottla_group_lag_seconds")).await;
    assert!(
        (59.9..89.9).contains(&seconds),
        "of the second batch: {seconds}"
    );
    let (_, text) = get(address, "/metrics").await;
    assert_eq!(value(&text, &late("ottla_group_lag_records")), 3.0);
    assert_eq!(value(&text, &late("ottla_group_committed_offset")), 3.0);
    let early = "{group=\"early\",topic=\"t\",partition=\"0\"}";
    assert_eq!(
        value(&text, &format!("ottla_group_lag_records{early}")),
        0.0
    );
    assert_eq!(
        value(&text, &format!("ottla_group_lag_seconds{early}")),
        0.0
    );

    // It has read on.
    commit(&mut client, "late\"} 1\n", &[(0, 4)]).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while value_in_time(address, &late("ottla_group_lag_seconds")).await > 45.0 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the time of the third batch"
        );
    }
    drop(client);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_opens_no_log_and_tells_what_the_stop_has_left() {
    let dir = TempDir::new().unwrap();
    let (running, _) = start(&dir).await;
    let mut client = connect(&running.broker);
    client.create_topic("t", 1).await;
    client
        .call(9, produce("t", vec![(0, batch(&["a", "b"]))]))
        .await;
    commit(&mut client, "g", &[(0, 1)]).await;
    drop(client);
    running.shutdown().await.unwrap();

    let (running, address) = start(&dir).await;
    let labels = "{topic=\"t\",partition=\"0\"}";
    let start_offset = format!("ottla_partition_log_start_offset{labels}");
    let lag = "{group=\"g\",topic=\"t\",partition=\"0\"}";
    for _ in 0..3 {
        let (_, text) = get(address, "/metrics").await;
        assert_eq!(
            value(&text, &format!("ottla_partition_high_watermark{labels}")),
            2.0
        );
        assert_eq!(value(&text, &format!("ottla_group_lag_records{lag}")), 1.0);
        assert!(
            !text.contains(&start_offset),
            "only a log that is open knows"
        );
        assert!(
            !text.contains(&format!("ottla_group_lag_seconds{lag}")),
            "nor the time"
        );
    }
    let mut client = connect(&running.broker);
    client.call(9, produce("t", vec![(0, batch(&["c"]))])).await;
    assert_eq!(value_in_time(address, &start_offset).await, 0.0);
    assert!(value_in_time(address, &format!("ottla_group_lag_seconds{lag}")).await > 0.0);
    drop(client);
    running.shutdown().await.unwrap();
}

/// Every name in the queries of our dashboard is one of `text`: those of a cluster, or all others.
fn holds_the_dashboard(text: &str, of_a_cluster: bool) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/grafana/ottla.json");
    let dashboard = std::fs::read_to_string(path).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let mut queries = Vec::new();
    let mut left = vec![&dashboard];
    while let Some(value) = left.pop() {
        match value {
            serde_json::Value::Object(fields) => {
                let named = |name: &str| fields.get(name).and_then(serde_json::Value::as_str);
                queries.extend(named("expr").or(named("query")).map(str::to_owned));
                left.extend(fields.values());
            }
            serde_json::Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    let known: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let is_name = |part: &&str| part.starts_with("ottla_") || part.starts_with("process_");
    let is_asked = |part: &&str| part.starts_with("ottla_cluster_") == of_a_cluster;
    let mut count = 0;
    for query in &queries {
        let parts = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in parts.filter(is_name).filter(is_asked) {
            let family = ["_total", "_bucket", "_info"];
            let family = family.iter().find_map(|suffix| name.strip_suffix(suffix));
            let is_there =
                known.contains(&name) || family.is_some_and(|name| known.contains(&name));
            assert!(is_there, "{name}, of {query}, is not in\n{text}");
            count += 1;
        }
    }
    let least = if of_a_cluster { 10 } else { 30 };
    assert!(count > least, "{count} names: {queries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_too_many_partitions_the_sum_is_told() {
    let dir = TempDir::new().unwrap();
    let listen = ("ottla.metrics.listen", "127.0.0.1:0");
    let few = [listen, ("ottla.metrics.partitions.max", "4")];
    let running = Server::start(config(&dir, &few)).await.unwrap();
    let address = running.metrics_addresses()[0];
    let mut client = connect(&running.broker);
    client.create_topic("t", 5).await;
    let batches = (0..5).map(|partition| (partition, batch(&["a", "b"])));
    client.call(9, produce("t", batches.collect())).await;
    let offsets: Vec<_> = (0..5).map(|partition| (partition, 1)).collect();
    commit(&mut client, "g", &offsets).await;
    let (_, text) = get(address, "/metrics").await;
    assert_eq!(value(&text, "ottla_metrics_truncated"), 1.0);
    assert_eq!(
        value(&text, "ottla_partition_high_watermark{topic=\"t\"}"),
        10.0
    );
    let sum = "{group=\"g\",topic=\"t\",partition=\"\"}";
    assert_eq!(value(&text, &format!("ottla_group_lag_records{sum}")), 5.0);
    // More groups than rows: all together are one.
    for group in ["a", "b", "c", "d"] {
        commit(&mut client, group, &[(0, 2)]).await;
    }
    let (_, text) = get(address, "/metrics").await;
    let all = "{group=\"\",topic=\"\",partition=\"\"}";
    assert_eq!(value(&text, &format!("ottla_group_lag_records{all}")), 5.0);
    assert_eq!(value(&text, "ottla_group_members{group=\"\"}"), 0.0);
    assert_eq!(
        value(&text, "ottla_groups{type=\"classic\",state=\"Empty\"}"),
        5.0
    );
    drop(client);
    running.shutdown().await.unwrap();
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
    commit(&mut client, "g", &[(0, 3)]).await;
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
    is("ottla_topic_records_in_total{topic=\"t\"}", 3.0);
    is(
        "ottla_topic_bytes_in_total{topic=\"t\"}",
        3.0 * batch(&["a record"]).len() as f64,
    );
    is(
        "ottla_topic_bytes_out_total{topic=\"t\"}",
        3.0 * batch(&["a record"]).len() as f64,
    );
    is(
        "ottla_partition_log_start_offset{topic=\"t\",partition=\"0\"}",
        0.0,
    );
    is(
        "ottla_partition_high_watermark{topic=\"t\",partition=\"0\"}",
        3.0,
    );
    is(
        "ottla_group_committed_offset{group=\"g\",topic=\"t\",partition=\"0\"}",
        3.0,
    );
    is(
        "ottla_group_lag_records{group=\"g\",topic=\"t\",partition=\"0\"}",
        0.0,
    );
    is(
        "ottla_group_lag_seconds{group=\"g\",topic=\"t\",partition=\"0\"}",
        0.0,
    );
    is("ottla_group_members{group=\"g\"}", 0.0);
    is(
        "ottla_group_state{group=\"g\",type=\"classic\",state=\"Empty\"}",
        1.0,
    );
    is("ottla_metrics_truncated", 0.0);
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
    holds_the_dashboard(&text, false);

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
async fn no_port_is_opened_where_nobody_asked_and_names_are_not_for_everybody() {
    let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let off = [("ottla.metrics.listen", "off")];
    let with_authorizer = [("authorizer.class.name", authorizer)];
    for (more, ephemeral) in [(&off, false), (&with_authorizer, false), (&off, true)] {
        let dir = TempDir::new().unwrap();
        let mut config = config(&dir, more);
        config.ephemeral = ephemeral;
        let running = Server::start(config).await.unwrap();
        assert_eq!(running.metrics_addresses(), [], "{more:?} {ephemeral}");
        running.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usual_port_is_served_if_it_is_free_and_no_reason_to_stop_if_it_is_not() {
    // Of two brokers one cannot have it; somebody else on this machine may have it, too.
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let first = Server::start(config(&dirs[0], &[])).await.unwrap();
    let second = Server::start(config(&dirs[1], &[])).await.unwrap();
    assert_eq!(second.metrics_addresses(), []);
    match first.metrics_addresses().first() {
        Some(address) => {
            assert_eq!(address.to_string(), "127.0.0.1:9404");
            assert_eq!(get(*address, "/readyz").await.0, 200);
        }
        None => {
            let taken = TcpListener::bind(("127.0.0.1", 9404)).await.is_err();
            let taken = taken || TcpListener::bind(("::1", 9404)).await.is_err();
            assert!(taken, "a port that is free is served");
        }
    }
    for running in [first, second] {
        running.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_was_asked_for_is_an_error_if_it_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = TempDir::new().unwrap();
    let refused = Server::start(config(&dir, &[("ottla.metrics.listen", &address)])).await;
    let expected = format!("cannot listen on {address}: the port is in use");
    assert_eq!(refused.err().unwrap().to_string(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_from_before_the_recovery_until_after_the_last_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let progress = Arc::<RecoveryProgress>::default();
    let http = Arc::new(Http::of_a_start(Arc::clone(&progress), None));
    tokio::spawn(metrics::http::run(Arc::clone(&http), listener));
    let all_say = async |expected: (u16, &str)| {
        for path in ["/readyz", "/health", "/healthz"] {
            let (status, body) = get(address, path).await;
            assert_eq!((status, body.trim_end()), expected, "{path}");
        }
        assert_eq!(get(address, "/livez").await, (200, "ok\n".to_owned()));
    };
    all_say((503, "recovering 0 %")).await;
    progress.found(1000);
    progress.replayed(419);
    all_say((503, "recovering 41 %")).await;
    let scraped = get(address, "/metrics").await;
    assert_eq!(scraped, (503, "recovering 41 %\n".to_owned()));
    http.loads();
    all_say((503, "loading metadata, groups and transactions")).await;

    let dir = TempDir::new().unwrap();
    let running = Server::start(config(&dir, &[("ottla.metrics.listen", "off")]))
        .await
        .unwrap();
    http.serves(
        Arc::clone(&running.broker),
        running.listening()[0].advertised.clone(),
    );
    all_say((200, "ok")).await;
    running.shutdown().await.unwrap();
    all_say((503, "shutting down")).await;
}

/// A pipe in the place of a file stops whoever reads the file until somebody writes.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_for_its_directory_is_alive_and_not_ready() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let dir = TempDir::new().unwrap();
    let pipe = dir.path().join("meta.properties");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // No other test has this address.
    let pid = std::process::id();
    let address = format!("127.77.{}.{}:9404", (pid >> 8) & 0xff, pid & 0xff);
    let config = config(&dir, &[("ottla.metrics.listen", &address)]);
    let address: SocketAddr = address.parse().unwrap();
    // The start itself blocks the thread of the test.
    let meanwhile = tokio::spawn(async move {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "it does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let alive = get(address, "/livez").await;
        let ready = get(address, "/readyz").await;
        // Whoever waits reads an empty file, and there is none the next time.
        let gone = pipe.with_file_name("gone");
        std::fs::rename(&pipe, &gone).unwrap();
        std::fs::OpenOptions::new().write(true).open(&gone).unwrap();
        (alive, ready)
    });
    let started = Server::start(config).await;
    let (alive, ready) = meanwhile.await.unwrap();
    assert_eq!(alive.0, 200);
    assert_eq!(ready, (503, "recovering 0 %\n".to_owned()));
    if let Ok(running) = started {
        running.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_metrics_are_for_those_who_know_it_and_health_is_for_all() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "first\nnot this\n").unwrap();
    let settings = [
        ("ottla.metrics.listen", "127.0.0.1:0"),
        ("ottla.metrics.token.file", file.to_str().unwrap()),
    ];
    let running = Server::start(config(&dir, &settings)).await.unwrap();
    let address = running.metrics_addresses()[0];
    let status = async |line: &str| get_with(address, "/metrics", line).await.0;
    assert_eq!(status("Authorization: Bearer first\r\n").await, 200);
    assert_eq!(status("authorization: bearer first\r\n").await, 200);
    for wrong in [
        "",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer firs\r\n",
        "Authorization: Basic first\r\n",
        "Authorization: Bearer not this\r\n",
    ] {
        assert_eq!(status(wrong).await, 401, "{wrong}");
    }
    assert_eq!(get(address, "/readyz").await.0, 200);

    std::fs::write(&file, "second").unwrap();
    running.reload().await;
    assert_eq!(status("Authorization: Bearer first\r\n").await, 401);
    assert_eq!(status("Authorization: Bearer second\r\n").await, 200);
    std::fs::write(&file, "\n").unwrap();
    running.reload().await;
    assert_eq!(
        status("Authorization: Bearer second\r\n").await,
        200,
        "no token is worse"
    );
    running.shutdown().await.unwrap();

    let refused = Server::start(config(&dir, &settings)).await;
    let refused = refused.err().unwrap().to_string();
    assert!(
        refused.contains("expected a token in the first line"),
        "{refused}"
    );
    assert!(
        refused.starts_with("ottla.metrics.token.file: "),
        "{refused}"
    );
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
    let http = Arc::new(Http::of(Arc::clone(&broker)));
    tokio::spawn(metrics::http::run(http, listener));
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

/// A client that asks for metrics and takes nothing but the beginning of the answer.
async fn scrape_and_take_nothing(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = b"GET /metrics/kafka_exporter HTTP/1.1\r\nHost: broker\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut begun = [0; 15];
    stream.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200 OK");
    stream
}

/// The texts are larger than what the system takes for a client that does not read.
#[tokio::test]
async fn two_scrapes_are_sent_at_a_time_and_nobody_holds_a_place_for_more_than_half_a_minute() {
    static LONG_NAME: [u8; 249] = [b'a'; 249];
    let broker = support::start_broker().await;
    let name = std::str::from_utf8(&LONG_NAME).unwrap();
    connect(&broker).create_topic(name, 6_000).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let http = Arc::new(Http::of(Arc::clone(&broker)));
    tokio::spawn(metrics::http::run(http, listener));
    let (whole, text) = get(address, "/metrics/kafka_exporter").await;
    assert_eq!(whole, 200);
    assert!(text.len() > 8 << 20, "{} bytes", text.len());
    let mut slow = Vec::new();
    for _ in 0..2 {
        slow.push(scrape_and_take_nothing(address).await);
    }

    // Time passes when everybody waits.
    tokio::time::pause();
    let asked = tokio::time::Instant::now();
    let refused = get(address, "/metrics").await;
    assert_eq!(
        refused,
        (503, "other scrapes are under way\n".to_owned()),
        "a third one waits, and not for ever"
    );
    assert!(asked.elapsed() >= Duration::from_secs(5));
    assert_eq!(get(address, "/readyz").await, (200, "ok\n".to_owned()));
    tokio::time::advance(Duration::from_secs(30)).await;
    tokio::time::resume();

    for mut stream in slow {
        let mut taken = Vec::new();
        // The connection may have been reset.
        let _ = stream.read_to_end(&mut taken).await;
        assert!(taken.len() < text.len(), "it was closed in the middle");
    }
    assert_eq!(get(address, "/metrics").await.0, 200);
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

/// A topic that one group reads with a member and another one without, and a topic that is compacted.
async fn some_work(client: &mut Client) {
    client.create_topic("t", 2).await;
    let batches = vec![(0, batch(&["a", "b", "c"])), (1, batch(&["d"]))];
    client.call(9, produce("t", batches)).await;
    let compacted = CreatableTopicConfig::default()
        .with_name("cleanup.policy".into())
        .with_value(Some("compact".into()));
    let topic = CreatableTopic::default()
        .with_name(topic_name("compacted"))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(vec![compacted]);
    let create = CreateTopicsRequest::default().with_topics(vec![topic]);
    assert_eq!(client.call(7, create).await.topics[0].error_code, 0);
    commit(client, "without", &[(0, 1)]).await;

    let protocol = JoinGroupRequestProtocol::default()
        .with_name("range".into())
        // Version 0, the topic t, no user data.
        .with_metadata(Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"));
    let join = JoinGroupRequest::default()
        .with_group_id(group_id("with"))
        .with_protocol_type("consumer".into())
        .with_session_timeout_ms(300_000)
        .with_rebalance_timeout_ms(300_000)
        .with_protocols(vec![protocol]);
    let joined = client.call(3, join).await;
    assert_eq!(joined.error_code, 0, "{joined:?}");
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        // Version 0, the partitions 0 and 1 of t, no user data.
        .with_assignment(Bytes::from_static(
            b"\0\0\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x01\xff\xff\xff\xff",
        ));
    let sync = SyncGroupRequest::default()
        .with_group_id(group_id("with"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![assignment]);
    assert_eq!(client.call(2, sync).await.error_code, 0);
    let partitions = [(0, 3), (1, 0)].map(|(partition, offset)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(partitions.to_vec());
    let commit = OffsetCommitRequest::default()
        .with_group_id(group_id("with"))
        .with_generation_id_or_member_epoch(joined.generation_id)
        .with_member_id(joined.member_id)
        .with_topics(vec![topic]);
    let committed = client.call(7, commit).await;
    assert_eq!(committed.topics[0].partitions[1].error_code, 0);
    // Who looks at all logs once knows them all.
    client
        .call(1, DescribeLogDirsRequest::default().with_topics(None))
        .await;
}

fn cluster_id(dir: &Path) -> String {
    let properties = std::fs::read_to_string(dir.join("meta.properties")).unwrap();
    let mut lines = properties.lines();
    lines
        .find_map(|line| line.strip_prefix("cluster.id="))
        .unwrap()
        .to_owned()
}

/// The metrics of a text, in order, with what is another one each time left out.
fn normal(text: &str, prefix: &str, broker: &Server, dir: &Path) -> String {
    let port = broker.addresses()[0].port().to_string();
    let id = cluster_id(dir);
    let mut lines: Vec<String> = Vec::new();
    let of_broker = |line: &&str| {
        line.starts_with(prefix) && !OF_THEMSELVES.iter().any(|own| line.starts_with(own))
    };
    for line in text.lines().filter(of_broker) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let name = name.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:PORT");
        let name = name.replace(&format!("port=\"{port}\""), "port=\"PORT\"");
        let name = name.replace(&id, "ID");
        let mut labels: Vec<&str> = match name.split_once('{') {
            Some((_, labels)) => labels.trim_end_matches('}').split("\",").collect(),
            None => Vec::new(),
        };
        // One of them guesses.
        let guessed = labels.iter_mut();
        let guessed = guessed.filter(|label| label.starts_with("cluster_version="));
        guessed.for_each(|label| *label = "cluster_version=\"VERSION");
        labels.sort_unstable();
        let family = name.split('{').next().unwrap();
        let labels = labels.iter();
        let labels: Vec<_> = labels
            .map(|label| format!("{}\"", label.trim_end_matches('"')))
            .collect();
        // Batches of the broker's own may be larger in another version.
        let value = match family.ends_with("size_total_bytes") {
            true => "some".to_owned(),
            false => value.to_string(),
        };
        lines.push(format!("{family}{{{}}} {value}", labels.join(",")));
    }
    lines.sort_unstable();
    lines.join("\n") + "\n"
}

/// Name, and what its metrics begin with.
const EXPORTERS: [(&str, &str); 2] = [("kafka_exporter", "kafka_"), ("kminion", "kminion_kafka_")];

/// What they tell of themselves.
const OF_THEMSELVES: [&str; 4] = [
    "kafka_exporter_",
    "kminion_kafka_requests_",
    "kminion_kafka_sent_",
    "kminion_kafka_received_",
];

/// A program that ends with the test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn fixture(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    dir.join(format!("{name}.txt"))
}

/// What Grafana's dashboards 7589 (`kafka_exporter_overview.json` in kafka_exporter's repository) and 11285 (Strimzi's
/// `strimzi-kafka-exporter.json`) ask for, and by which labels they sum and select. Two panels of 11285 are about metrics of
/// Kafka's own, `kafka_cluster_partition_atminisr` and `_underminisr`, which no exporter has.
const DASHBOARDS: [(&str, &[&str]); 10] = [
    ("kafka_exporter_build_info", &[]),
    ("kafka_topic_partitions", &["topic"]),
    (
        "kafka_topic_partition_current_offset",
        &["topic", "partition"],
    ),
    (
        "kafka_topic_partition_oldest_offset",
        &["topic", "partition"],
    ),
    ("kafka_topic_partition_replicas", &["topic"]),
    ("kafka_topic_partition_in_sync_replica", &["topic"]),
    (
        "kafka_topic_partition_under_replicated_partition",
        &["topic"],
    ),
    ("kafka_topic_partition_leader_is_preferred", &["topic"]),
    (
        "kafka_consumergroup_current_offset",
        &["consumergroup", "topic", "partition"],
    ),
    (
        "kafka_consumergroup_lag",
        &["consumergroup", "topic", "partition"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn exporters_names_are_those_that_the_exporters_have_said() {
    let dir = TempDir::new().unwrap();
    let (running, address) = start(&dir).await;
    let mut client = connect(&running.broker);
    some_work(&mut client).await;
    for (name, prefix) in EXPORTERS {
        let (status, text) = get(address, &format!("/metrics/{name}")).await;
        assert_eq!(status, 200);
        let expected = std::fs::read_to_string(fixture(name)).unwrap();
        assert_eq!(
            normal(&text, prefix, &running, dir.path()),
            expected,
            "{name}"
        );
    }
    let (_, text) = get(address, "/metrics/kafka_exporter").await;
    for (name, labels) in DASHBOARDS {
        let of_metric = |line: &&str| line.starts_with(&format!("{name}{{"));
        let row = text.lines().find(of_metric).expect(name);
        for label in labels {
            assert!(row.contains(&format!("{label}=")), "{label} in {row}");
        }
    }
    drop(client);
    running.shutdown().await.unwrap();
}

/// Holds `/metrics/kafka_exporter` and `/metrics/kminion` against the exporters themselves, and writes what they say to the
/// fixtures. Build both with `go build` from their repositories, put them into a directory, and run
///
/// ```sh
/// EXPORTERS=DIR cargo test -p ottla --test metrics exporters -- --ignored
/// ```
#[ignore = "needs both exporters"]
#[tokio::test(flavor = "multi_thread")]
async fn exporters_say_the_same() {
    let programs = PathBuf::from(std::env::var_os("EXPORTERS").unwrap());
    let dir = TempDir::new().unwrap();
    let (running, address) = start(&dir).await;
    let broker = running.addresses()[0].to_string();
    let mut client = connect(&running.broker);
    some_work(&mut client).await;
    for (name, prefix) in EXPORTERS {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = free.local_addr().unwrap();
        drop(free);
        let mut command = std::process::Command::new(programs.join(name));
        match name {
            "kafka_exporter" => command
                .arg(format!("--kafka.server={broker}"))
                .arg(format!("--web.listen-address={listen}")),
            _ => command
                .env("KAFKA_BROKERS", &broker)
                // It counts commits only where it reads them.
                .env("MINION_CONSUMERGROUPS_SCRAPEMODE", "offsetsTopic")
                .env("EXPORTER_HOST", "127.0.0.1")
                .env("EXPORTER_PORT", listen.port().to_string()),
        };
        let _exporter = Killed(command.spawn().unwrap());
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(listen).await.is_err() {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{name} does not listen"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // kafka_exporter now and then forgets a line, another one each time.
        let mut theirs = BTreeSet::new();
        for _ in 0..5 {
            // In HTTP/1.0 it comes in one piece.
            let mut stream = TcpStream::connect(listen).await.unwrap();
            stream
                .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
                .await
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains(" 200 OK"), "{answer}");
            theirs.extend(answer.lines().map(str::to_owned));
        }
        let theirs = Vec::from_iter(theirs).join("\n");
        let (_, ours) = get(address, &format!("/metrics/{name}")).await;
        let theirs = normal(&theirs, prefix, &running, dir.path());
        std::fs::create_dir_all(fixture(name).parent().unwrap()).unwrap();
        std::fs::write(fixture(name), &theirs).unwrap();
        assert_eq!(
            normal(&ours, prefix, &running, dir.path()),
            theirs,
            "{name}"
        );
    }
    drop(client);
    running.shutdown().await.unwrap();
}

/// What befalls a broker's calls to the database.
#[derive(Default)]
struct Way {
    is_blocked: AtomicBool,
    loses_next_commit: AtomicBool,
}

impl DatabaseFaults for Way {
    fn before(&self, call: Call) -> BoxFuture<'_, Fate> {
        let is_blocked = self.is_blocked.load(Ordering::Relaxed);
        let is_lost =
            call == Call::AppendIf && self.loses_next_commit.swap(false, Ordering::Relaxed);
        Box::pin(async move {
            if is_blocked {
                std::future::pending::<()>().await;
            }
            if is_lost {
                Fate::AnswerLost
            } else {
                Fate::Answered
            }
        })
    }
}

/// A broker of a cluster whose stores are in memory, which learns of others' commits when it has to, and where its metrics are.
async fn start_in_cluster(
    stores: &(MemoryDatabase, Arc<InMemory>),
    id: i32,
    way: &Arc<Way>,
) -> (Arc<Broker>, SocketAddr) {
    let (database, objects) = stores;
    let database = Arc::new(database.with_faults(Arc::clone(way) as _));
    let registration = Registration {
        broker_id: Some(id),
        incarnation: uuid::Uuid::from_u128(id as u128),
        replaces: None,
        rack: Some(format!("rack-{id}")),
        endpoints: vec![Endpoint {
            listener: "PLAINTEXT".to_owned(),
            host: format!("broker-{id}.example"),
            port: 9092,
        }],
        lease: LEASE,
    };
    let members = Membership::join(Arc::clone(&database) as _, registration);
    let members = members.await.unwrap();
    let logs = storage::object::open(ObjectConfig {
        poll: Duration::from_secs(3600),
        ..ObjectConfig::new(
            Arc::clone(&database) as _,
            Arc::clone(objects) as _,
            members.groups(),
            members.fence(),
        )
    });
    let dir = TempDir::new().unwrap();
    let (id, rack) = (id.to_string(), format!("rack-{id}"));
    let config = config(&dir, &[("node.id", &id), ("broker.rack", &rack)]);
    let identity = MetaProperties {
        cluster_id: "the-cluster".to_owned(),
        ..MetaProperties::random(config.node_id)
    };
    let cluster = Cluster { database, members };
    let joined = Some(cluster.clone());
    let broker = server::assemble_in(joined, config, &identity, logs.unwrap()).await;
    let broker = broker.unwrap();
    let metadata = &broker.metadata;
    let serving = cluster.members.serve(metadata.version(), metadata.vital());
    serving.await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let http = Http::of(Arc::clone(&broker));
    tokio::spawn(metrics::http::run(Arc::new(http), listener));
    (broker, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_of_a_cluster_tells_of_its_stores_and_asks_neither() {
    let clock = Arc::new(SystemClock::default());
    let stores = (MemoryDatabase::new(clock, DEFAULT_GROUPS), Arc::default());
    let way = Arc::<Way>::default();
    let (one, address) = start_in_cluster(&stores, 1, &way).await;
    let (two, other_address) = start_in_cluster(&stores, 2, &Arc::default()).await;
    let (mut client, mut other) = (connect(&one), connect(&two));
    let topic_id = client.create_topic("t", 1).await;
    let large = "x".repeat(300 << 10);
    // The second knows of nothing that the first has appended meanwhile; the first hears nothing of its last commit.
    other
        .call(9, produce("t", vec![(0, batch(&["few"]))]))
        .await;
    client
        .call(9, produce("t", vec![(0, batch(&[&large]))]))
        .await;
    other
        .call(9, produce("t", vec![(0, batch(&["late"]))]))
        .await;
    way.loses_next_commit.store(true, Ordering::Relaxed);
    client
        .call(9, produce("t", vec![(0, batch(&["in doubt"]))]))
        .await;
    for client in [&mut client, &mut other] {
        // The large one, which one of them has written and the other one has to get.
        let partition = FetchPartition::default()
            .with_fetch_offset(1)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default()
            .with_topic_id(topic_id)
            .with_partitions(vec![partition]);
        let fetch = FetchRequest::default()
            .with_max_bytes(1 << 20)
            .with_topics(vec![topic]);
        let fetched = client.call(13, fetch).await;
        let records = fetched.responses[0].partitions[0].records.as_ref();
        assert!(records.unwrap().len() > 300 << 10);
    }

    let (status, text) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    let (_, other_text) = get(other_address, "/metrics").await;
    let is = |text: &str, name: &str, expected: f64| {
        let name = format!("ottla_cluster_{name}");
        assert_eq!(value(text, &name), expected, "{name}");
    };
    is(&text, "brokers", 2.0);
    is(&text, "registrations_total", 1.0);
    is(&text, "upload_seconds_count", 1.0);
    is(&text, "object_requests_total{operation=\"put\"}", 1.0);
    is(&text, "object_requests_total{operation=\"get\"}", 0.0);
    is(&text, "object_requests_total{operation=\"delete\"}", 0.0);
    is(&text, "commits_in_doubt_total", 1.0);
    is(&text, "commits_fenced_total", 0.0);
    is(&text, "unacknowledged", 0.0);
    is(&text, "unacknowledged_seconds", 0.0);
    is(&other_text, "commit_conflicts_total", 1.0);
    is(&other_text, "object_requests_total{operation=\"put\"}", 0.0);
    is(&other_text, "object_requests_total{operation=\"get\"}", 1.0);
    is(&other_text, "read_seconds_count", 1.0);
    let above = |text: &str, name: &str, least: f64| {
        let value = value(text, &format!("ottla_cluster_{name}"));
        assert!(value > least, "{name} {value}");
    };
    above(&text, "object_put_bytes_total", f64::from(300 << 10));
    above(&other_text, "object_got_bytes_total", f64::from(300 << 10));
    above(&text, "cache_bytes", f64::from(300 << 10));
    above(&text, "cache_hits_total", 0.0);
    above(&other_text, "cache_misses_total", 0.0);
    above(&text, "commit_seconds_count", 1.0);
    above(&text, "rows_total", 1.0);
    above(&text, "row_bytes_total", 60.0);
    above(&other_text, "followed_rows_total", 0.0);
    above(&text, "log_groups", 0.0);
    above(&text, "lease_seconds", 5.0);
    holds_the_dashboard(&text, true);

    // Others' names are of the cluster, too, whoever is asked.
    let controlled = "broker_count=\"2\",controller_id=\"1\",cluster_id=\"the-cluster\"";
    let replicas = "kafka_topic_partition_replicas{topic=\"t\",partition=\"0\"}";
    for address in [address, other_address] {
        let (_, text) = get(address, "/metrics/kminion").await;
        assert!(text.contains(controlled), "{text}");
        for id in [1, 2] {
            let is_controller = id == 1;
            let told = format!("rack_id=\"rack-{id}\",is_controller=\"{is_controller}\"}} 1.0");
            assert!(text.contains(&told), "{told} in {text}");
        }
        let (_, text) = get(address, "/metrics/kafka_exporter").await;
        assert_eq!(value(&text, "kafka_brokers"), 2.0);
        assert_eq!(value(&text, replicas), 2.0);
    }

    way.is_blocked.store(true, Ordering::Relaxed);
    let scraped = tokio::time::timeout(Duration::from_secs(5), get(address, "/metrics"));
    let (status, text) = scraped.await.expect("no store is asked");
    assert_eq!(status, 200);
    is(&text, "brokers", 2.0);
}
