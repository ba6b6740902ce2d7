//! The admin APIs through their handlers, on a broker in memory.

mod configs;
mod dynamic;
mod limits;

use std::sync::Arc;

use bytes::BytesMut;
use kafka_protocol::messages::alter_configs_request::{
    AlterConfigsRequest, AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use kafka_protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use kafka_protocol::messages::describe_cluster_request::DescribeClusterRequest;
use kafka_protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::describe_topic_partitions_request::{
    Cursor, DescribeTopicPartitionsRequest, TopicRequest,
};
use kafka_protocol::messages::incremental_alter_configs_request::{
    self as incremental, IncrementalAlterConfigsRequest,
};
use kafka_protocol::messages::list_config_resources_request::ListConfigResourcesRequest;
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::{MetadataResponse, MetadataResponseTopic};
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use protocol_shim::ErrorCode;
use protocol_shim::newer::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};
use storage::memory;
use uuid::Uuid;

use super::*;
use crate::broker::Broker;
use crate::config::HostPort;
use crate::config::{BrokerConfig, Properties};
use crate::context::RequestContext;
use crate::metadata::MetaProperties;
use crate::server;

const NONE: i16 = ErrorCode::None as i16;

async fn broker(lines: &str) -> Arc<Broker> {
    broker_on(lines, memory::open()).await
}

async fn broker_on(lines: &str, logs: Arc<dyn storage::log::LogStore>) -> Arc<Broker> {
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    let properties: Properties = pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let config = BrokerConfig::from_properties(properties).expect("valid").0;
    let identity = MetaProperties {
        cluster_id: "test-cluster".to_owned(),
        ..MetaProperties::random(1)
    };
    let assembled = server::assemble(config, &identity, logs).await;
    assembled.expect("broker")
}

fn at(broker: &Arc<Broker>, api_version: i16) -> RequestContext {
    let advertised = HostPort {
        host: "broker.example".to_owned(),
        port: 9092,
    };
    RequestContext::of_stranger(broker, advertised, api_version, Some("test"))
}

fn text(value: &str) -> StrBytes {
    wire(value)
}

fn name(value: &str) -> TopicName {
    TopicName(wire(value))
}

fn versions(api_key: i16) -> std::ops::RangeInclusive<i16> {
    let spec = advertised().find(|spec| spec.api_key == api_key);
    let spec = spec.expect("served");
    spec.min_version..=spec.max_version
}

/// A response must say nothing that its version has no field for.
fn encodes(response: &impl Encodable, version: i16) {
    let mut bytes = BytesMut::new();
    let encoded = response.encode(&mut bytes, version);
    encoded.unwrap_or_else(|error| panic!("version {version}: {error}"));
}

fn creatable(topic: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
}

async fn create(broker: &Arc<Broker>, topics: Vec<CreatableTopic>) -> Vec<(String, i16)> {
    let request = CreateTopicsRequest::default().with_topics(topics);
    let response = create_topics::handle(&at(broker, 7), request).await;
    let results = response.topics.into_iter();
    results
        .map(|topic| (topic.name.to_string(), topic.error_code))
        .collect()
}

async fn broker_with(topics: &[(&str, i32)]) -> Arc<Broker> {
    let broker = broker("").await;
    let topics = topics.iter().map(|(name, count)| creatable(name, *count));
    for (_, error) in create(&broker, topics.collect()).await {
        assert_eq!(error, NONE);
    }
    broker
}

fn asked(topics: &[&str]) -> MetadataRequest {
    let topics = topics
        .iter()
        .map(|topic| MetadataRequestTopic::default().with_name(Some(name(topic))));
    MetadataRequest::default().with_topics(Some(topics.collect()))
}

async fn metadata_at(
    broker: &Arc<Broker>,
    version: i16,
    request: MetadataRequest,
) -> MetadataResponse {
    let response = metadata::handle(&at(broker, version), request)
        .await
        .expect("paid");
    encodes(&response, version);
    response
}

fn names(topics: &[MetadataResponseTopic]) -> Vec<&str> {
    let names = topics.iter();
    names
        .map(|topic| topic.name.as_ref().map_or("", |name| name.as_str()))
        .collect()
}

#[tokio::test]
async fn metadata_answers_in_every_version_with_one_broker_that_leads_everything() {
    let broker = broker_with(&[("a", 2)]).await;
    for version in versions(3) {
        let request = asked(&["a"])
            .with_include_topic_authorized_operations(version >= 8)
            .with_include_cluster_authorized_operations((8..=10).contains(&version));
        let response = metadata_at(&broker, version, request).await;
        let [node] = response.brokers.as_slice() else {
            panic!("one broker");
        };
        assert_eq!((node.node_id, node.port), (BrokerId(1), 9092));
        assert_eq!(node.host.as_str(), "broker.example");
        assert_eq!(response.cluster_id.as_deref(), Some("test-cluster"));
        assert_eq!(response.controller_id, BrokerId(1));
        let [topic] = response.topics.as_slice() else {
            panic!("one topic");
        };
        assert_eq!(topic.error_code, NONE);
        assert!(!topic.is_internal);
        for (index, partition) in topic.partitions.iter().enumerate() {
            assert_eq!(partition.partition_index, index as i32);
            assert_eq!(partition.leader_id, BrokerId(1));
            assert_eq!(partition.replica_nodes, [BrokerId(1)]);
            assert_eq!(partition.isr_nodes, [BrokerId(1)]);
            assert_eq!(partition.leader_epoch, 0);
        }
        let operations = topic.topic_authorized_operations;
        assert_eq!(operations != i32::MIN, version >= 8);
    }
}

#[tokio::test]
async fn no_topics_means_all_in_version_0_and_none_after_it() {
    let broker = broker_with(&[("b", 1), ("a", 1)]).await;
    for version in versions(3) {
        let empty = metadata_at(&broker, version, asked(&[])).await;
        let expected: &[&str] = if version == 0 { &["a", "b"] } else { &[] };
        assert_eq!(names(&empty.topics), expected);
        if version > 0 {
            let null = MetadataRequest::default().with_topics(None);
            let all = metadata_at(&broker, version, null).await;
            assert_eq!(names(&all.topics), ["a", "b"]);
        }
    }
}

#[tokio::test]
async fn a_topic_is_created_when_client_and_broker_allow_it_and_is_there_in_the_answer() {
    for (config, client_allows, expected) in [
        ("num.partitions=3", true, ErrorCode::None),
        ("", false, ErrorCode::UnknownTopicOrPartition),
        (
            "auto.create.topics.enable=false",
            true,
            ErrorCode::UnknownTopicOrPartition,
        ),
    ] {
        let broker = broker(config).await;
        let request = asked(&["a", "a"]).with_allow_auto_topic_creation(client_allows);
        let response = metadata_at(&broker, 12, request).await;
        let [topic] = response.topics.as_slice() else {
            panic!("a repeated topic is answered once");
        };
        assert_eq!(topic.error_code, expected as i16);
        let created = broker.metadata.image().topic("a").cloned();
        assert_eq!(created.is_some(), expected == ErrorCode::None);
        if let Some(created) = created {
            assert_eq!(topic.topic_id, created.topic_id);
            assert_eq!(topic.partitions.len(), 3);
            assert!(
                broker
                    .partitions
                    .get(created.topic_id.into(), 2)
                    .await
                    .is_some()
            );
        }
    }
}

#[tokio::test]
async fn a_name_that_no_topic_can_have_is_an_invalid_topic() {
    let broker = broker("").await;
    for allowed in [true, false] {
        let request = asked(&["a b"]).with_allow_auto_topic_creation(allowed);
        let response = metadata_at(&broker, 12, request).await;
        let expected = ErrorCode::InvalidTopicException as i16;
        assert_eq!(response.topics[0].error_code, expected);
    }
    assert_eq!(broker.metadata.image().topic_count(), 0);
}

#[tokio::test]
async fn topics_are_asked_for_by_id_from_version_12() {
    let broker = broker_with(&[("a", 1)]).await;
    let id = broker.metadata.image().topic("a").expect("there").topic_id;
    let by_id = |id| {
        let topic = MetadataRequestTopic::default()
            .with_topic_id(id)
            .with_name(None);
        MetadataRequest::default().with_topics(Some(vec![topic]))
    };
    for version in [12, 13] {
        let found = metadata_at(&broker, version, by_id(id)).await;
        assert_eq!(names(&found.topics), ["a"]);
        let unknown = metadata_at(&broker, version, by_id(Uuid::from_u128(5))).await;
        assert_eq!(
            unknown.topics[0].error_code,
            ErrorCode::UnknownTopicId as i16
        );
        assert_eq!(unknown.topics[0].topic_id, Uuid::from_u128(5));
    }
    for version in [10, 11] {
        let refused = metadata_at(&broker, version, by_id(id)).await;
        let expected = ErrorCode::InvalidRequest as i16;
        assert_eq!(refused.topics[0].error_code, expected);
    }
}

#[tokio::test]
async fn the_offsets_topic_is_internal_and_has_its_own_number_of_partitions() {
    let broker = broker("offsets.topic.num.partitions=4").await;
    let response = metadata_at(&broker, 12, asked(&["__consumer_offsets"])).await;
    assert!(response.topics[0].is_internal);
    assert_eq!(response.topics[0].partitions.len(), 4);
}

#[tokio::test]
async fn topics_are_created_in_every_version() {
    for version in versions(19) {
        let broker = broker("").await;
        let retention = CreatableTopicConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text("5000")));
        let wanted = creatable("a", 2).with_configs(vec![retention]);
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]);
        let response = create_topics::handle(&at(&broker, version), request).await;
        encodes(&response, version);
        let [topic] = response.topics.as_slice() else {
            panic!("one topic");
        };
        assert_eq!(topic.error_code, NONE);
        let image = broker.metadata.image();
        let created = image.topic("a").expect("created");
        let in_force = broker.metadata.published().topic_configs.of(created);
        assert_eq!(in_force.log.retention_ms, 5000);
        if version >= 5 {
            assert_eq!((topic.num_partitions, topic.replication_factor), (2, 1));
            let configs = topic.configs.as_ref().expect("configs");
            let retention = configs
                .iter()
                .find(|config| *config.name == *"retention.ms");
            let retention = retention.expect("reported");
            assert_eq!(retention.value.as_deref(), Some("5000"));
            assert_eq!(retention.config_source, 1);
        }
        if version >= 7 {
            assert_eq!(topic.topic_id, created.topic_id);
        }
    }
}

#[tokio::test]
async fn a_topic_that_a_request_repeats_fails_once_and_the_others_are_created() {
    let broker = broker("").await;
    let topics = ["a", "b", "a"].map(|name| creatable(name, 1)).to_vec();
    let mut outcomes = create(&broker, topics).await;
    outcomes.sort();
    let refused = ErrorCode::InvalidRequest as i16;
    assert_eq!(
        outcomes,
        [("a".to_owned(), refused), ("b".to_owned(), NONE)]
    );
}

#[tokio::test]
async fn a_manual_assignment_does_not_go_with_numbers() {
    let broker = broker("").await;
    let assignment = CreatableReplicaAssignment::default()
        .with_partition_index(0)
        .with_broker_ids(vec![BrokerId(1)]);
    let with = |name: &str, partitions, factor| {
        creatable(name, partitions)
            .with_replication_factor(factor)
            .with_assignments(vec![assignment.clone()])
    };
    let outcomes = create(
        &broker,
        vec![with("ok", -1, -1), with("a", 1, -1), with("b", -1, 1)],
    )
    .await;
    for (name, error) in outcomes {
        let expected = match name.as_str() {
            "ok" => ErrorCode::None,
            _ => ErrorCode::InvalidRequest,
        };
        assert_eq!(error, expected as i16, "{name}");
    }
}

#[tokio::test]
async fn topics_are_deleted_by_name_and_from_version_6_by_id() {
    for version in versions(20) {
        let broker = broker_with(&[("a", 1), ("b", 1)]).await;
        let b = broker.metadata.image().topic("b").expect("there").topic_id;
        let request = if version < 6 {
            DeleteTopicsRequest::default().with_topic_names(vec![name("a"), name("nope")])
        } else {
            let by_id = |id| {
                DeleteTopicState::default()
                    .with_name(None)
                    .with_topic_id(id)
            };
            let by_name = |topic| DeleteTopicState::default().with_name(Some(name(topic)));
            let unknown = by_id(Uuid::from_u128(9));
            DeleteTopicsRequest::default().with_topics(vec![
                by_name("a"),
                by_name("nope"),
                by_id(b),
                unknown,
            ])
        };
        let response = delete_topics::handle(&at(&broker, version), request).await;
        encodes(&response, version);
        let codes: Vec<i16> = response
            .responses
            .iter()
            .map(|topic| topic.error_code)
            .collect();
        let unknown = ErrorCode::UnknownTopicOrPartition as i16;
        if version < 6 {
            assert_eq!(codes, [NONE, unknown]);
        } else {
            let unknown_id = ErrorCode::UnknownTopicId as i16;
            assert_eq!(codes, [NONE, unknown, NONE, unknown_id]);
            assert_eq!(response.responses[2].name, Some(name("b")));
        }
        assert!(broker.metadata.image().topic("a").is_none());
    }
}

#[tokio::test]
async fn a_deletion_names_a_topic_once_and_in_one_way() {
    let broker = broker_with(&[("a", 1)]).await;
    let id = broker.metadata.image().topic("a").expect("there").topic_id;
    let state = |topic: Option<&str>, id| {
        DeleteTopicState::default()
            .with_name(topic.map(name))
            .with_topic_id(id)
    };
    let request = DeleteTopicsRequest::default().with_topics(vec![
        state(Some("a"), Uuid::nil()),
        state(Some("a"), Uuid::nil()),
        state(Some("a"), id),
        state(None, Uuid::nil()),
    ]);
    let response = delete_topics::handle(&at(&broker, 6), request).await;
    let messages: Vec<&str> = response
        .responses
        .iter()
        .map(|topic| topic.error_message.as_deref().unwrap_or("none"))
        .collect();
    assert_eq!(
        messages,
        [
            "Duplicate topic name.",
            "You may not specify both topic name and topic id.",
            "Neither topic name nor id were specified.",
        ]
    );
    assert!(broker.metadata.image().topic("a").is_some());
}

#[tokio::test]
async fn disabled_deletion_has_its_own_error_from_version_3() {
    let broker = broker("delete.topic.enable=false").await;
    create(&broker, vec![creatable("a", 1)]).await;
    for version in versions(20).filter(|version| *version < 6) {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![name("a")]);
        let response = delete_topics::handle(&at(&broker, version), request).await;
        let expected = match version {
            ..3 => ErrorCode::InvalidRequest,
            _ => ErrorCode::TopicDeletionDisabled,
        };
        assert_eq!(response.responses[0].error_code, expected as i16);
    }
}

#[tokio::test]
async fn a_topic_grows_in_every_version_and_its_new_logs_are_open() {
    for version in versions(37) {
        let broker = broker_with(&[("a", 1)]).await;
        let grow = |name: &str, count| {
            CreatePartitionsTopic::default()
                .with_name(TopicName(wire(name)))
                .with_count(count)
                .with_assignments(None)
        };
        let request =
            CreatePartitionsRequest::default().with_topics(vec![grow("a", 3), grow("nope", 3)]);
        let response = create_partitions::handle(&at(&broker, version), request).await;
        encodes(&response, version);
        let codes: Vec<i16> = response
            .results
            .iter()
            .map(|topic| topic.error_code)
            .collect();
        assert_eq!(codes, [NONE, ErrorCode::UnknownTopicOrPartition as i16]);
        let image = broker.metadata.image();
        let topic = image.topic("a").expect("there");
        assert_eq!(topic.partition_count, 3);
        assert!(
            broker
                .partitions
                .get(topic.topic_id.into(), 2)
                .await
                .is_some()
        );
    }
}

#[tokio::test]
async fn the_cluster_is_described_in_every_version() {
    let broker = broker("broker.rack=r1").await;
    for version in versions(60) {
        let request =
            DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        let response = describe_cluster::handle(&at(&broker, version), request).await;
        encodes(&response, version);
        assert_eq!(response.error_code, NONE);
        assert_eq!(response.cluster_id.as_str(), "test-cluster");
        assert_eq!(response.brokers[0].rack.as_deref(), Some("r1"));
        assert_ne!(response.cluster_authorized_operations, i32::MIN);
    }
    for (endpoint_type, expected) in [
        (2, ErrorCode::MismatchedEndpointType),
        (9, ErrorCode::UnsupportedEndpointType),
    ] {
        let request = DescribeClusterRequest::default().with_endpoint_type(endpoint_type);
        let response = describe_cluster::handle(&at(&broker, 1), request).await;
        encodes(&response, 1);
        assert_eq!(response.error_code, expected as i16);
    }
}

#[tokio::test]
async fn config_resources_are_listed_by_type() {
    let broker = broker_with(&[("t", 1)]).await;
    configs::set(&broker, 32, "g", "consumer.session.timeout.ms", "50000").await;
    configs::set(&broker, 16, "cm", "interval.ms", "1000").await;
    let list = async |version, types: &[i8]| {
        let request = ListConfigResourcesRequest::default().with_resource_types(types.to_vec());
        let response = list_config_resources::handle(&at(&broker, version), request).await;
        encodes(&response, version);
        let resources = response.config_resources.iter();
        let names: Vec<String> = resources
            .map(|resource| format!("{}:{}", resource.resource_type, resource.resource_name))
            .collect();
        (response.error_code, names.join(" "))
    };
    let listed = |names: &str| (NONE, names.to_owned());
    assert_eq!(list(1, &[]).await, listed("2:t 4:1 8:1 16:cm 32:g"));
    assert_eq!(list(1, &[2, 32]).await, listed("2:t 32:g"));
    let unsupported = ErrorCode::UnsupportedVersion as i16;
    assert_eq!(list(1, &[2, 77]).await, (unsupported, String::new()));
    let (error, only_client_metrics) = list(0, &[]).await;
    assert_eq!(error, NONE);
    assert!(only_client_metrics.ends_with(":cm") && !only_client_metrics.contains(' '));
}

#[tokio::test]
async fn pages_of_topic_partitions_are_complete_and_in_order() {
    let broker = broker_with(&[("a", 3), ("b", 1), ("c", 5)]).await;
    for (topics, limit) in [
        (&[][..], 1),
        (&[], 2),
        (&["c", "a", "b"], 3),
        (&[], 4),
        (&[], 100),
    ] {
        let mut seen = Vec::new();
        let mut cursor: Option<Cursor> = None;
        loop {
            let topics = topics
                .iter()
                .map(|topic| TopicRequest::default().with_name(name(topic)));
            let request = DescribeTopicPartitionsRequest::default()
                .with_topics(topics.collect())
                .with_response_partition_limit(limit)
                .with_cursor(cursor);
            let response = describe_topic_partitions::handle(&at(&broker, 0), request)
                .await
                .expect("paid");
            encodes(&response, 0);
            let mut in_page = 0;
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let name = topic.name.as_ref().expect("name").to_string();
                    seen.push((name, partition.partition_index));
                    in_page += 1;
                }
            }
            assert!(in_page <= limit);
            let Some(next) = response.next_cursor else {
                break;
            };
            cursor = Some(
                Cursor::default()
                    .with_topic_name(next.topic_name)
                    .with_partition_index(next.partition_index),
            );
        }
        let all = [("a", 3), ("b", 1), ("c", 5)];
        let all = all
            .iter()
            .flat_map(|(name, count)| (0..*count).map(|p| ((*name).to_owned(), p)));
        assert_eq!(seen, all.collect::<Vec<_>>(), "limit {limit}");
    }
}

#[tokio::test]
async fn topic_partitions_of_unknown_topics_are_errors() {
    let broker = broker_with(&[("a", 1)]).await;
    let topics = ["a", "nope", "a b"].map(|topic| TopicRequest::default().with_name(name(topic)));
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(topics.to_vec())
        .with_response_partition_limit(2000);
    let response = describe_topic_partitions::handle(&at(&broker, 0), request)
        .await
        .expect("paid");
    let outcomes: Vec<_> = response
        .topics
        .iter()
        .map(|topic| {
            (
                topic.name.as_ref().expect("name").to_string(),
                topic.error_code,
            )
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            ("a".to_owned(), NONE),
            ("a b".to_owned(), ErrorCode::InvalidTopicException as i16),
            ("nope".to_owned(), ErrorCode::UnknownTopicOrPartition as i16),
        ]
    );
}

#[tokio::test]
async fn what_is_named_again_and_again_is_answered_once() {
    let broker = broker_with(&[("a", 2)]).await;
    let id = broker.metadata.image().topic("a").expect("a").topic_id;
    // With an id the name does not count.
    let named = (0..100).map(|number| {
        MetadataRequestTopic::default()
            .with_topic_id(id)
            .with_name(Some(name(&format!("n{number}"))))
    });
    let request = MetadataRequest::default().with_topics(Some(named.collect()));
    let response = metadata_at(&broker, 12, request).await;
    assert_eq!(names(&response.topics), ["a"]);

    let named = DescribableLogDirTopic::default()
        .with_topic(name("a"))
        .with_partitions(vec![1, 1, 0, 1]);
    let request = DescribeLogDirsRequest::default().with_topics(Some(vec![named; 100]));
    let response = describe_log_dirs::handle(&at(&broker, 4), request).await;
    let topics = &response.expect("paid").results[0].topics;
    assert_eq!((topics.len(), topics[0].partitions.len()), (1, 2));
}

#[tokio::test]
async fn log_dirs_are_described_in_every_version() {
    let broker = broker_with(&[("a", 2)]).await;
    for version in versions(35) {
        let all = DescribeLogDirsRequest::default().with_topics(None);
        let response = describe_log_dirs::handle(&at(&broker, version), all)
            .await
            .expect("paid");
        encodes(&response, version);
        let [dir] = response.results.as_slice() else {
            panic!("one directory");
        };
        assert!(dir.log_dir.starts_with('/'));
        assert_eq!(dir.topics[0].partitions.len(), 2);

        let some = DescribableLogDirTopic::default()
            .with_topic(name("a"))
            .with_partitions(vec![1, 7]);
        let none = DescribableLogDirTopic::default().with_topic(name("nope"));
        let request = DescribeLogDirsRequest::default().with_topics(Some(vec![some, none]));
        let response = describe_log_dirs::handle(&at(&broker, version), request)
            .await
            .expect("paid");
        let topics = &response.results[0].topics;
        assert_eq!((topics.len(), topics[0].partitions.len()), (1, 1));
    }
}
