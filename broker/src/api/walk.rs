//! For tests of what holds for every API: asks each of them, in each version, for the same things.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};

use protocol_shim::any_message;
use protocol_shim::api_spec::ApiSpec;
use protocol_shim::sample::{self, Values};
use storage::log::LogStore;
use storage::memory;

use crate::broker::Broker;
use crate::config::{BrokerConfig, HostPort};
use crate::context::RequestContext;
use crate::dispatch;
use crate::metadata::MetaProperties;
use crate::net::session::{ClientListener, Session};
use crate::response::{Pending, RequestError};
use crate::server;

const CORRELATION_ID: i32 = 77;

/// A broker over logs in memory, with one partition for groups.
pub(super) async fn broker() -> Arc<Broker> {
    broker_on(memory::open()).await
}

/// A broker that finds these logs.
pub(super) async fn broker_on(logs: Arc<dyn LogStore>) -> Arc<Broker> {
    broker_with(&[], logs).await
}

/// A broker with more settings.
pub(super) async fn broker_with(settings: &[(&str, &str)], logs: Arc<dyn LogStore>) -> Arc<Broker> {
    let properties = [
        ("ottla.client.metrics", "true"),
        ("offsets.topic.num.partitions", "1"),
        ("transaction.state.log.num.partitions", "1"),
    ];
    let properties = properties.iter().chain(settings);
    let properties = properties.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let config = BrokerConfig::from_properties(properties.collect());
    let identity = MetaProperties {
        cluster_id: "test-cluster".to_owned(),
        ..MetaProperties::random(1)
    };
    let config = config.expect("valid").0;
    let assembled = server::assemble(config, &identity, logs).await;
    assembled.expect("broker")
}

/// A request of this version.
pub(super) fn at(broker: &Arc<Broker>, api_version: i16) -> RequestContext {
    RequestContext::of_stranger(broker, advertised(), api_version, None)
}

pub(super) fn session() -> Session {
    let peer_addr = (Ipv4Addr::LOCALHOST, 50_000).into();
    Session::anonymous(peer_addr, ClientListener::plaintext(advertised()))
}

fn advertised() -> HostPort {
    HostPort {
        host: "broker.example".to_owned(),
        port: 9092,
    }
}

/// Asks with a request in which every array has one element. The answer is the text of the decoded response; `None`: none
/// was wanted.
pub(super) async fn ask(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    spec: &ApiSpec,
    version: i16,
    values: &dyn Values,
) -> Result<Option<String>, RequestError> {
    let no_array_is_long = usize::MAX;
    let body = sample::body(spec, version, no_array_is_long, 1, values);
    ask_with(broker, session, spec, version, body).await
}

/// Asks with a request of this body.
pub(super) async fn ask_with(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    spec: &ApiSpec,
    version: i16,
    body: Vec<u8>,
) -> Result<Option<String>, RequestError> {
    let mut frame = Vec::new();
    frame.extend(spec.api_key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(CORRELATION_ID.to_be_bytes());
    frame.extend((-1_i16).to_be_bytes());
    if spec.is_flexible(version) {
        frame.push(0);
    }
    frame.extend(body);
    let pending = dispatch::dispatch(broker, session, frame.into(), Instant::now()).await?;
    let answer = match pending {
        Pending::Ready(answer) => answer,
        Pending::Later(answer) => answer.await?,
        Pending::NoResponse => return Ok(None),
    };
    session.account.settle();
    let mut body = Bytes::from(answer.to_vec());
    let header_bytes = 8 + usize::from(spec.response_header_version(version) == 1);
    body.advance(header_bytes);
    let response =
        any_message::decode_response(spec.api_key, version, &mut body).expect("a response");
    assert!(!body.has_remaining(), "{} v{version}", spec.name);
    Ok(Some(format!("{response:?}")))
}

/// Sensible values, by the field's name.
pub(super) struct Plain;

impl Values for Plain {
    fn text(&self, field: &str, _position: usize) -> String {
        match field {
            "group_id" | "groups" | "groups_names" | "group_ids" | "coordinator_keys" | "key" => {
                "group"
            }
            _ => "topic",
        }
        .to_owned()
    }

    fn number(&self, field: &str, _position: usize) -> i64 {
        match field {
            "timestamp"
            | "replica_id"
            | "generation_id"
            | "producer_id"
            | "producer_epoch"
            | "acks"
            | "leader_epoch"
            | "current_leader_epoch"
            | "generation_id_or_member_epoch"
            | "member_epoch" => -1,
            "resource_type" => 2,
            "endpoint_type" | "replication_factor" | "num_partitions" => 1,
            "max_bytes" | "partition_max_bytes" => 1 << 20,
            "session_timeout_ms" | "rebalance_timeout_ms" | "timeout_ms" => 10_000,
            "response_partition_limit" => 2_000,
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

mod throttle_time {
    use super::*;
    use crate::api::advertised;
    use crate::metadata::AlterQuotas;

    /// The first version whose response has the field, where that is not the first one that is served; from Kafka's
    /// message definitions.
    const SINCE: [(&str, i16); 12] = [
        ("ApiVersions", 1),
        ("DescribeGroups", 1),
        ("FindCoordinator", 1),
        ("Heartbeat", 1),
        ("JoinGroup", 2),
        ("LeaveGroup", 1),
        ("ListGroups", 1),
        ("ListOffsets", 2),
        ("Metadata", 3),
        ("OffsetCommit", 3),
        ("OffsetFetch", 3),
        ("SyncGroup", 1),
    ];
    /// Their responses have no such field.
    const NEVER: [&str; 4] = [
        "DescribeQuorum",
        "SaslAuthenticate",
        "SaslHandshake",
        "WriteTxnMarkers",
    ];

    /// Nobody may use more than a millionth of a thread. Whoever is above that has to wait for a second.
    async fn limit_to_nothing(broker: &Broker) {
        let everybody = AlterQuotas {
            entity: [("user".to_owned(), None)].into(),
            changes: vec![("request_percentage".to_owned(), Some(1e-6))],
        };
        let altered = broker.metadata.alter_quotas(vec![everybody], false).await;
        assert_eq!(altered, [Ok(())]);
    }

    #[tokio::test(start_paused = true)]
    async fn every_answer_says_for_how_long_its_client_is_throttled_where_its_version_can() {
        for throttle_time_ms in [0, 1000] {
            for spec in advertised() {
                for version in spec.min_version..=spec.max_version {
                    let since = SINCE.iter().find(|(name, _)| *name == spec.name);
                    let since = since.map_or(0, |(_, since)| *since);
                    let has_field = version >= since && !NEVER.contains(&spec.name);
                    let session = Arc::new(session());
                    let broker = broker().await;
                    if throttle_time_ms > 0 {
                        limit_to_nothing(&broker).await;
                    }
                    let answer = ask(&broker, &session, spec, version, &Plain).await;
                    let answer = answer.expect("answered").expect("an answer");
                    let said = format!("throttle_time_ms: {throttle_time_ms},");
                    let what = format!("{} v{version}: {}", spec.name, answer);
                    let says = answer.contains(&said);
                    // What a version cannot say is read as the default.
                    assert_eq!(
                        says,
                        has_field || (throttle_time_ms == 0 && !NEVER.contains(&spec.name)),
                        "{what}"
                    );
                }
            }
        }
    }
}

mod elsewhere {
    use uuid::Uuid;

    use super::*;
    use crate::api::advertised;
    use crate::metadata::{CLUSTER_METADATA_TOPIC, NewTopic, Placement};

    /// What is asked of a partition's leader, and of the coordinator of a group or a transactional id.
    const OF_LEADERS: [&str; 7] = [
        "Produce",
        "Fetch",
        "ListOffsets",
        "OffsetForLeaderEpoch",
        "DeleteRecords",
        "DescribeProducers",
        "WriteTxnMarkers",
    ];
    const OF_COORDINATORS: [&str; 17] = [
        "InitProducerId",
        "AddPartitionsToTxn",
        "AddOffsetsToTxn",
        "EndTxn",
        "DescribeTransactions",
        "JoinGroup",
        "SyncGroup",
        "Heartbeat",
        "LeaveGroup",
        "OffsetCommit",
        "TxnOffsetCommit",
        "OffsetFetch",
        "OffsetDelete",
        "DescribeGroups",
        "DeleteGroups",
        "ConsumerGroupHeartbeat",
        "ConsumerGroupDescribe",
    ];
    const NOT_LEADER_OR_FOLLOWER: &str = "error_code: 6,";
    const NOT_COORDINATOR: &str = "error_code: 16,";

    struct OfTopic(&'static str, Uuid);

    impl Values for OfTopic {
        fn text(&self, field: &str, position: usize) -> String {
            match (field, Plain.text(field, position).as_str()) {
                ("server_assignor", _) => "uniform".to_owned(),
                (_, "topic") => self.0.to_owned(),
                (_, other) => other.to_owned(),
            }
        }

        fn number(&self, field: &str, position: usize) -> i64 {
            match field {
                // A session would forget the partition at once.
                "session_epoch" => -1,
                "transaction_timeout_ms" => 10_000,
                _ => Plain.number(field, position),
            }
        }

        fn uuid(&self, _field: &str, _position: usize) -> [u8; 16] {
            *self.1.as_bytes()
        }

        fn bytes(&self, field: &str) -> Vec<u8> {
            Plain.bytes(field)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_leads_and_coordinates_nothing_sends_its_clients_to_the_one_that_does() {
        for spec in advertised() {
            for version in spec.min_version..=spec.max_version {
                let broker = broker().await;
                broker.cluster.lead(7);
                let new = NewTopic {
                    name: "topic".to_owned(),
                    placement: Placement::Counts {
                        partitions: 1,
                        replication_factor: 1,
                    },
                    configs: Vec::new(),
                };
                let created = broker
                    .metadata
                    .create_topics(vec![new], false)
                    .await
                    .remove(0);
                let name = match spec.name {
                    "DescribeQuorum" => CLUSTER_METADATA_TOPIC,
                    _ => "topic",
                };
                let values = OfTopic(name, created.expect("made").topic_id);
                let answer = ask(&broker, &Arc::new(session()), spec, version, &values).await;
                let answer = answer.expect("answered").expect("an answer");
                let what = format!("{} v{version}: {answer}", spec.name);
                let says = |text: &str| answer.contains(text);
                assert_eq!(
                    says(NOT_LEADER_OR_FOLLOWER),
                    OF_LEADERS.contains(&spec.name),
                    "{what}"
                );
                assert_eq!(
                    says(NOT_COORDINATOR),
                    OF_COORDINATORS.contains(&spec.name),
                    "{what}"
                );
                for field in ["leader_id: ", "controller_id: "] {
                    let told = answer.split(field).skip(1);
                    let told = told.filter(|id| !id.starts_with("-1,"));
                    assert!({ told }.all(|id| id.starts_with("7,")), "{what}");
                }
                match spec.name {
                    "Metadata" | "DescribeCluster" => assert!(says("_id: 7,"), "{what}"),
                    "FindCoordinator" => assert!(says("node_id: 7,"), "{what}"),
                    "DescribeTopicPartitions" => assert!(says("leader_id: 7,"), "{what}"),
                    _ => {}
                }
            }
        }
    }
}
