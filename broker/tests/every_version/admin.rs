//! Topics, partitions, configs and the cluster.

use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::incremental_alter_configs_request as incremental;
use kafka_protocol::messages::{
    AlterConfigsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};
use protocol_shim::newer::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};
use uuid::Uuid;

use super::Case;
use super::support::{string, topic_name};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

pub async fn create_topics(case: &mut Case) {
    let by_count = |name, partitions| {
        CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
    };
    let compacted = CreatableTopicConfig::default()
        .with_name(string("cleanup.policy"))
        .with_value(Some(string("compact")));
    let by_hand = CreatableReplicaAssignment::default().with_broker_ids(vec![1.into()]);
    let mut request = CreateTopicsRequest::default()
        .with_timeout_ms(1000)
        .with_topics(vec![
            by_count("first", 2).with_configs(vec![compacted]),
            by_count("by-hand", -1)
                .with_replication_factor(-1)
                .with_assignments(vec![by_hand]),
            by_count("topic", 1),
            by_count("not valid", 1),
            by_count("too-few", 0),
            by_count("twice", 1),
            by_count("twice", 1),
        ]);
    if case.version >= 4 {
        request
            .topics
            .push(by_count("defaults", -1).with_replication_factor(-1));
    }
    for validate_only in [true, false] {
        request.validate_only = validate_only;
        let response = case.client.call(case.version, request.clone()).await;
        let error_of = |name: &str| {
            let topic = response
                .topics
                .iter()
                .find(|topic| &**topic.name == name)
                .unwrap();
            topic.error_code
        };
        assert_eq!(error_of("first"), 0);
        assert!(
            response
                .topics
                .iter()
                .all(|topic| { topic.error_message.is_none() == (topic.error_code == 0) })
        );
        assert_eq!(error_of("by-hand"), 0);
        assert_eq!(error_of("topic"), 36);
        assert_eq!(error_of("not valid"), 17);
        assert_eq!(error_of("too-few"), 37);
        assert_eq!(error_of("twice"), 42);
        assert_eq!(response.topics.len(), request.topics.len() - 1);
        let first = response
            .topics
            .iter()
            .find(|topic| &**topic.name == "first")
            .unwrap();
        if case.version >= 5 {
            let configs = first.configs.as_ref().unwrap();
            let policy = configs
                .iter()
                .find(|config| &*config.name == "cleanup.policy")
                .unwrap();
            assert_eq!(policy.value.as_deref(), Some("compact"));
            assert_eq!((first.num_partitions, first.replication_factor), (2, 1));
        }
    }
    let request = CreateTopicsRequest::default();
    assert!(
        case.client
            .call(case.version, request)
            .await
            .topics
            .is_empty()
    );
}

pub async fn delete_topics(case: &mut Case) {
    let mut request = DeleteTopicsRequest::default().with_timeout_ms(1000);
    if case.version < 6 {
        request.topic_names = ["topic", "unknown", "other", "other"]
            .map(topic_name)
            .to_vec();
        let response = case.client.call(case.version, request).await;
        let mut errors: Vec<_> = response
            .responses
            .iter()
            .map(|topic| (topic.name.clone().unwrap().to_string(), topic.error_code))
            .collect();
        errors.sort();
        assert_eq!(
            errors[1..],
            [("topic".to_owned(), 0), ("unknown".to_owned(), 3)]
        );
    } else {
        let by_name = |name| DeleteTopicState::default().with_name(Some(topic_name(name)));
        let by_id = |id| {
            DeleteTopicState::default()
                .with_name(None)
                .with_topic_id(id)
        };
        request.topics = vec![
            by_id(case.topic_id),
            by_id(Uuid::from_u128(7)),
            by_name("other"),
            by_name("unknown"),
        ];
        let response = case.client.call(case.version, request).await;
        let mut errors: Vec<_> = response
            .responses
            .iter()
            .map(|topic| topic.error_code)
            .collect();
        errors.sort_unstable();
        assert_eq!(errors, [0, 0, 3, 100]);
    }
    let request = DeleteTopicsRequest::default();
    assert!(
        case.client
            .call(case.version, request)
            .await
            .responses
            .is_empty()
    );
}

pub async fn delete_records(case: &mut Case) {
    let partition = |index, offset| {
        DeleteRecordsPartition::default()
            .with_partition_index(index)
            .with_offset(offset)
    };
    let topic = |name, partitions| {
        DeleteRecordsTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions)
    };
    let partitions = vec![
        partition(0, 1),
        partition(1, -1),
        partition(2, 99),
        partition(9, 0),
    ];
    let request = DeleteRecordsRequest::default()
        .with_timeout_ms(1000)
        .with_topics(vec![
            topic("topic", partitions),
            topic("unknown", vec![partition(0, 0)]),
        ]);
    let response = case.client.call(case.version, request).await;
    let partitions = &response
        .topics
        .iter()
        .find(|topic| &**topic.name == "topic")
        .unwrap()
        .partitions;
    let outcomes: Vec<_> = partitions
        .iter()
        .map(|p| (p.error_code, p.low_watermark))
        .collect();
    assert_eq!(outcomes, [(0, 1), (0, 2), (1, -1), (3, -1)]);
    let unknown = response
        .topics
        .iter()
        .find(|topic| &**topic.name == "unknown")
        .unwrap();
    assert_eq!(unknown.partitions[0].error_code, 3);
}

pub async fn create_partitions(case: &mut Case) {
    let grow = |name, count| {
        CreatePartitionsTopic::default()
            .with_name(topic_name(name))
            .with_count(count)
            .with_assignments(None)
    };
    let by_hand = CreatePartitionsAssignment::default().with_broker_ids(vec![1.into()]);
    let mut request = CreatePartitionsRequest::default()
        .with_timeout_ms(1000)
        .with_topics(vec![
            grow("topic", 5),
            grow("other", 2).with_assignments(Some(vec![by_hand])),
            grow("unknown", 2),
        ]);
    for validate_only in [true, false] {
        request.validate_only = validate_only;
        let response = case.client.call(case.version, request.clone()).await;
        let mut errors: Vec<_> = response
            .results
            .iter()
            .map(|topic| (topic.name.to_string(), topic.error_code))
            .collect();
        errors.sort();
        let expected = [("other", 0), ("topic", 0), ("unknown", 3)];
        assert_eq!(
            errors,
            expected.map(|(name, error)| (name.to_owned(), error))
        );
    }
    let response = case.client.call(case.version, request).await;
    assert!(
        response.results.iter().all(|topic| topic.error_code != 0),
        "they have grown"
    );
}

pub async fn describe_configs(case: &mut Case) {
    let resource = |resource_type, name| {
        DescribeConfigsResource::default()
            .with_resource_type(resource_type)
            .with_resource_name(string(name))
            .with_configuration_keys(None)
    };
    let one_key =
        resource(TOPIC, "topic").with_configuration_keys(Some(vec![string("segment.bytes")]));
    let none = resource(TOPIC, "topic").with_configuration_keys(Some(vec![]));
    let mut request = DescribeConfigsRequest::default().with_resources(vec![
        resource(TOPIC, "topic"),
        one_key,
        none,
        resource(BROKER, "1"),
        resource(BROKER, ""),
        resource(BROKER_LOGGER, "1"),
        resource(CLIENT_METRICS, "metrics"),
        resource(GROUP, "group"),
        resource(TOPIC, "unknown"),
        resource(BROKER, "9"),
        resource(99, "what"),
    ]);
    for everything in [false, true] {
        request.include_synonyms = everything;
        request.include_documentation = everything && case.version >= 3;
        let response = case.client.call(case.version, request.clone()).await;
        let errors: Vec<_> = response
            .results
            .iter()
            .map(|resource| resource.error_code)
            .collect();
        assert_eq!(errors, [0, 0, 0, 0, 0, 0, 0, 0, 3, 42, 42]);
        assert_eq!(response.results[1].configs.len(), 1);
        let segment = &response.results[1].configs[0];
        assert_eq!(segment.value.as_deref(), Some("1073741824"));
        assert_eq!(segment.config_type, if case.version >= 3 { 3 } else { 0 });
        assert_eq!(segment.synonyms.is_empty(), !everything);
        if case.version >= 3 {
            assert_eq!(segment.documentation.is_some(), everything);
        }
    }
}

pub async fn alter_configs(case: &mut Case) {
    let resource = |resource_type, name, key, value| {
        let config = AlterableConfig::default()
            .with_name(string(key))
            .with_value(Some(string(value)));
        AlterConfigsResource::default()
            .with_resource_type(resource_type)
            .with_resource_name(string(name))
            .with_configs(vec![config])
    };
    let mut request = AlterConfigsRequest::default().with_resources(vec![
        resource(TOPIC, "topic", "retention.ms", "1000"),
        resource(TOPIC, "other", "retention.ms", "never"),
        resource(TOPIC, "unknown", "retention.ms", "1000"),
        resource(99, "what", "retention.ms", "1000"),
    ]);
    for validate_only in [true, false] {
        request.validate_only = validate_only;
        let response = case.client.call(case.version, request.clone()).await;
        let errors: Vec<_> = response
            .responses
            .iter()
            .map(|resource| resource.error_code)
            .collect();
        assert_eq!(errors, [0, 40, 3, 42]);
    }
}

pub async fn incremental_alter_configs(case: &mut Case) {
    let resource = |resource_type, name, key, operation, value: Option<&'static str>| {
        let config = incremental::AlterableConfig::default()
            .with_name(string(key))
            .with_config_operation(operation)
            .with_value(value.map(string));
        incremental::AlterConfigsResource::default()
            .with_resource_type(resource_type)
            .with_resource_name(string(name))
            .with_configs(vec![config])
    };
    let mut request = IncrementalAlterConfigsRequest::default().with_resources(vec![
        resource(TOPIC, "topic", "retention.ms", 0, Some("1000")),
        resource(TOPIC, "other", "retention.ms", 1, None),
        resource(TOPIC, "unknown", "retention.ms", 0, Some("1000")),
        resource(BROKER, "1", "log.retention.ms", 0, Some("soon")),
        resource(99, "what", "retention.ms", 0, Some("1000")),
    ]);
    for validate_only in [true, false] {
        request.validate_only = validate_only;
        let response = case.client.call(case.version, request.clone()).await;
        let errors: Vec<_> = response
            .responses
            .iter()
            .map(|resource| resource.error_code)
            .collect();
        assert_eq!(errors, [0, 0, 3, 42, 42]);
    }
}

pub async fn list_config_resources(case: &mut Case) {
    let request = ListConfigResourcesRequest::default();
    let response = case.client.call(case.version, request.clone()).await;
    assert_eq!(response.error_code, 0);
    if case.version >= 1 {
        let topics = case
            .client
            .call(case.version, request.with_resource_types(vec![TOPIC]))
            .await;
        assert!(
            topics
                .config_resources
                .iter()
                .any(|resource| &*resource.resource_name == "topic")
        );
    }
}

pub async fn describe_topic_partitions(case: &mut Case) {
    let named = |name| TopicRequest::default().with_name(topic_name(name));
    let mut request = DescribeTopicPartitionsRequest::default()
        .with_response_partition_limit(2)
        .with_topics(vec![named("topic"), named("other"), named("unknown")]);
    let response = case.client.call(case.version, request.clone()).await;
    let names: Vec<_> = response
        .topics
        .iter()
        .map(|t| (t.name.clone().unwrap().to_string(), t.partitions.len()))
        .collect();
    assert_eq!(names, [("other".to_owned(), 1), ("topic".to_owned(), 1)]);
    let cursor = response.next_cursor.unwrap();
    assert_eq!((&**cursor.topic_name, cursor.partition_index), ("topic", 1));
    let cursor = Cursor::default()
        .with_topic_name(cursor.topic_name)
        .with_partition_index(cursor.partition_index);
    request.cursor = Some(cursor);
    let mut elsewhere = request.clone();
    elsewhere.topics.truncate(0);
    elsewhere.topics.push(named("other"));
    let refused = case.client.call(case.version, elsewhere).await;
    assert_eq!(
        refused.topics[0].error_code, 42,
        "the cursor is not on a topic asked for"
    );
    request.response_partition_limit = 2000;
    let response = case.client.call(case.version, request).await;
    let errors: Vec<_> = response
        .topics
        .iter()
        .map(|t| (t.error_code, t.partitions.len()))
        .collect();
    assert_eq!(errors, [(0, 2), (3, 0)]);
    assert!(response.next_cursor.is_none());
}

pub async fn describe_cluster(case: &mut Case) {
    let mut request =
        DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
    let response = case.client.call(case.version, request.clone()).await;
    assert_eq!(
        (response.error_code, &*response.cluster_id),
        (0, "the-cluster")
    );
    assert_eq!(&*response.brokers[0].host, "broker.example");
    if case.version >= 1 {
        request.endpoint_type = 2;
        assert_ne!(case.client.call(case.version, request).await.error_code, 0);
    }
}

pub async fn describe_log_dirs(case: &mut Case) {
    let response = case
        .client
        .call(
            case.version,
            DescribeLogDirsRequest::default().with_topics(None),
        )
        .await;
    assert_eq!(response.results[0].topics.len(), 3);
    let topic = |name| {
        DescribableLogDirTopic::default()
            .with_topic(topic_name(name))
            .with_partitions(vec![0, 9])
    };
    let request =
        DescribeLogDirsRequest::default().with_topics(Some(vec![topic("topic"), topic("unknown")]));
    let response = case.client.call(case.version, request).await;
    assert_eq!(response.results[0].topics.len(), 1);
    assert_eq!(response.results[0].topics[0].partitions.len(), 1);
    assert!(response.results[0].topics[0].partitions[0].partition_size > 0);
}
