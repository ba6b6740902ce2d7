//! Every API in every version, asked for what is denied.

use anyhow::{Context as _, Result, ensure};
use broker::api::advertised;
use bytes::{Buf as _, Bytes};
use compat_tests::scenario::Exchange;
use compat_tests::scenario::tree::{Tree, values};
use compat_tests::{BrokerProcess, RawClient};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{CreateAclsRequest, CreateTopicsRequest, DeleteTopicsRequest};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::any_message;
use protocol_shim::api_spec::{self, ApiSpec};
use protocol_shim::sample::{self, Values};

/// Those that have a test of their own, log in, or tell of the broker itself.
const LEFT_OUT: &[&str] = &[
    "ApiVersions",
    "SaslHandshake",
    "SaslAuthenticate",
    "CreateAcls",
    "DeleteAcls",
    "DescribeAcls",
    "DescribeCluster",
    "DescribeDelegationToken",
];

/// A denied name for every field that names something.
struct Denied;

impl Values for Denied {
    fn text(&self, field: &str, _position: usize) -> String {
        match field {
            "member_id" | "protocol_type" | "rack_id" => "x",
            _ => "denied",
        }
        .to_owned()
    }

    fn number(&self, field: &str, _position: usize) -> i64 {
        match field {
            "resource_type" => 2,
            "replica_id"
            | "producer_id"
            | "producer_epoch"
            | "leader_epoch"
            | "timestamp"
            | "current_leader_epoch"
            | "generation_id"
            | "acks" => -1,
            "max_bytes" | "partition_max_bytes" => 1 << 20,
            "session_timeout_ms" | "rebalance_timeout_ms" | "timeout_ms" => 10_000,
            "num_partitions" | "replication_factor" | "endpoint_type" => 1,
            "count" => 3,
            "response_partition_limit" => 100,
            "session_epoch" => -1,
            _ => 0,
        }
    }

    fn uuid(&self, _field: &str, _position: usize) -> [u8; 16] {
        [7; 16]
    }

    fn bytes(&self, _field: &str) -> Vec<u8> {
        Vec::new()
    }
}

fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Names that begin with "denied" are denied, whatever they are; of the cluster only what a broker's peers need is not. Topics
/// that begin with "shown" may be known and not deleted, those that begin with "hidden" the other way round.
fn deny(client: &mut RawClient) -> Result<()> {
    let entry = |resource: i8, pattern: i8, name: &str, operation: i8, permission: i8| {
        AclCreation::default()
            .with_resource_type(resource)
            .with_resource_name(string(name))
            .with_resource_pattern_type(pattern)
            .with_principal(string("User:ANONYMOUS"))
            .with_host(string("*"))
            .with_operation(operation)
            .with_permission_type(permission)
    };
    let creations = vec![
        entry(4, 3, "kafka-cluster", 9, 3),
        entry(2, 4, "denied", 2, 2),
        entry(3, 4, "denied", 2, 2),
        entry(5, 4, "denied", 2, 2),
        entry(2, 4, "shown", 8, 3),
        entry(2, 4, "hidden", 6, 3),
        entry(2, 4, "hidden", 8, 2),
    ];
    let request = CreateAclsRequest::default().with_creations(creations);
    let made = client.call(3, &request)?;
    ensure!(
        made.results.iter().all(|result| result.error_code == 0),
        "{made:?}"
    );
    Ok(())
}

pub fn every_api(broker: &BrokerProcess) -> Result<Vec<Exchange>> {
    let mut client = RawClient::connect(broker.address())?;
    let topics = ["denied", "shown", "hidden"].map(|name| {
        CreatableTopic::default()
            .with_name(string(name).into())
            .with_num_partitions(1)
            .with_replication_factor(1)
    });
    let topics = CreateTopicsRequest::default()
        .with_timeout_ms(10_000)
        .with_topics(topics.to_vec());
    let made = client.call(5, &topics)?;
    ensure!(
        made.topics.iter().all(|topic| topic.error_code == 0),
        "{made:?}"
    );
    deny(&mut client)?;
    // What Kafka has written down its authorizer learns a moment later.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let spec = api_spec::spec(3).context("Metadata")?;
    while !ask(&mut client, spec, 9)?.is_some_and(|answer| answer.contains("error_code: 29")) {
        ensure!(std::time::Instant::now() < deadline, "nothing is denied");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut notes = Vec::new();
    for spec in advertised().filter(|spec| !LEFT_OUT.contains(&spec.name)) {
        for version in spec.min_version.max(spec.advertised_min_version)..=spec.max_version {
            let label = format!("{} v{version} denied", spec.name);
            let answer = ask(&mut client, spec, version).with_context(|| label.clone())?;
            let values = match answer {
                Some(text) => {
                    let mut values = values(&Tree::parse(&text)?);
                    values.retain(|(place, _)| !is_of_broker(place));
                    values
                }
                None => {
                    client = RawClient::connect(broker.address())?;
                    vec![("answer".to_owned(), "closed".to_owned())]
                }
            };
            notes.push(Exchange { label, values });
        }
    }
    notes.extend(deletions(&mut client)?);
    Ok(notes)
}

/// Who may delete a topic by its name is told whether it is there if he may know; and who may not know may not delete.
fn deletions(client: &mut RawClient) -> Result<Vec<Exchange>> {
    let mut notes = Vec::new();
    for name in ["shown", "shown and absent", "hidden", "hidden and absent"] {
        let request = DeleteTopicsRequest::default()
            .with_timeout_ms(10_000)
            .with_topic_names(vec![string(name).into()]);
        let answer = client.call(5, &request)?;
        notes.push(Exchange {
            label: format!("DeleteTopics v5 of {name}"),
            values: values(&Tree::parse(&format!("{answer:?}"))?),
        });
    }
    Ok(notes)
}

/// Who the brokers are, and of which cluster, is not denied to anybody.
fn is_of_broker(place: &str) -> bool {
    place.starts_with("brokers") || ["cluster_id", "controller_id"].contains(&place)
}

/// The text of the answer; `None`: the connection was closed.
fn ask(client: &mut RawClient, spec: &ApiSpec, version: i16) -> Result<Option<String>> {
    let body = sample::body(spec, version, usize::MAX, 1, &Denied);
    let header_version = if spec.is_flexible(version) { 2 } else { 1 };
    let frame = client.frame(spec.api_key, version, header_version, &body)?;
    client.send(&frame)?;
    let Some(answer) = client.receive()? else {
        return Ok(None);
    };
    let mut body = Bytes::from(answer.to_vec());
    body.advance(4 + usize::from(spec.response_header_version(version) == 1));
    let response = any_message::decode_response(spec.api_key, version, &mut body)?;
    Ok(Some(format!("{response:?}")))
}
