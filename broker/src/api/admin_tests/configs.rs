//! DescribeConfigs, AlterConfigs and IncrementalAlterConfigs.

use super::*;

async fn describe(
    broker: &Arc<Broker>,
    resource_type: i8,
    resource: &str,
    keys: Option<&[&str]>,
) -> DescribeConfigsResult {
    let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(resource))
        .with_configuration_keys(keys);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(true);
    let mut response = describe_configs::handle(&at(broker, 4), request.clone())
        .await
        .expect("paid");
    for version in versions(32) {
        let old = request.clone().with_include_documentation(version >= 3);
        let response = describe_configs::handle(&at(broker, version), old)
            .await
            .expect("paid");
        encodes(&response, version);
    }
    response.results.remove(0)
}

fn entry<'a>(result: &'a DescribeConfigsResult, key: &str) -> &'a DescribeConfigsResourceResult {
    let found = result.configs.iter().find(|config| *config.name == *key);
    found.unwrap_or_else(|| panic!("{key} is reported"))
}

/// Name, value and source of each synonym.
fn synonyms(entry: &DescribeConfigsResourceResult) -> Vec<(&str, &str, i8)> {
    let all = entry.synonyms.iter();
    all.map(|synonym| {
        let value = synonym.value.as_deref().unwrap_or("null");
        (synonym.name.as_str(), value, synonym.source)
    })
    .collect()
}

pub(super) async fn set(
    broker: &Arc<Broker>,
    resource_type: i8,
    resource: &str,
    key: &str,
    value: &str,
) {
    let config = incremental::AlterableConfig::default()
        .with_name(text(key))
        .with_value(Some(text(value)));
    let resource = incremental::AlterConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(resource))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    for version in versions(44) {
        let ctx = at(broker, version);
        let response = incremental_alter_configs::handle(&ctx, request.clone()).await;
        encodes(&response, version);
        assert_eq!(response.responses[0].error_code, NONE);
    }
}

#[tokio::test]
async fn every_topic_key_is_reported_with_value_type_source_synonyms_and_documentation() {
    let broker = broker_with(&[("t", 1)]).await;
    set(&broker, 4, "1", "log.retention.ms", "5000").await;
    set(&broker, 4, "", "log.retention.ms", "6000").await;
    set(&broker, 2, "t", "retention.ms", "700000").await;
    let result = describe(&broker, 2, "t", None).await;
    assert_eq!(result.error_code, NONE);
    for key in [
        "segment.bytes",
        "segment.ms",
        "segment.jitter.ms",
        "segment.index.bytes",
        "flush.messages",
        "flush.ms",
        "retention.bytes",
        "retention.ms",
        "max.message.bytes",
        "index.interval.bytes",
        "delete.retention.ms",
        "min.compaction.lag.ms",
        "max.compaction.lag.ms",
        "file.delete.delay.ms",
        "min.cleanable.dirty.ratio",
        "cleanup.policy",
        "unclean.leader.election.enable",
        "min.insync.replicas",
        "compression.type",
        "compression.gzip.level",
        "compression.lz4.level",
        "compression.zstd.level",
        "preallocate",
        "message.timestamp.type",
        "message.timestamp.before.max.ms",
        "message.timestamp.after.max.ms",
        "leader.replication.throttled.replicas",
        "follower.replication.throttled.replicas",
        "remote.storage.enable",
        "local.retention.ms",
        "local.retention.bytes",
        "remote.log.copy.disable",
        "remote.log.delete.on.disable",
        "ottla.durability",
    ] {
        let entry = entry(&result, key);
        assert!(entry.value.is_some(), "{key} has a value");
        assert!(
            entry
                .documentation
                .as_deref()
                .is_some_and(|text| !text.is_empty())
        );
        assert!(!entry.read_only && !entry.is_sensitive);
    }
    let retention = entry(&result, "retention.ms");
    assert_eq!(retention.value.as_deref(), Some("700000"));
    assert_eq!((retention.config_source, retention.config_type), (1, 5));
    assert_eq!(
        synonyms(retention),
        [
            ("retention.ms", "700000", 1),
            ("log.retention.ms", "5000", 2),
            ("log.retention.ms", "6000", 3),
            ("log.retention.hours", "168", 5),
        ]
    );
    let segment = entry(&result, "segment.bytes");
    assert_eq!(synonyms(segment), [("log.segment.bytes", "1073741824", 5)]);
    assert_eq!((segment.config_source, segment.config_type), (5, 3));
}

#[tokio::test]
async fn only_the_keys_that_are_asked_for_are_reported() {
    let broker = broker_with(&[("t", 1)]).await;
    for (keys, expected) in [
        (Some(&["retention.ms", "nope"][..]), 1),
        (Some(&[][..]), 38),
        (None, 38),
    ] {
        let result = describe(&broker, 2, "t", keys).await;
        assert_eq!(result.configs.len(), expected);
    }
}

#[tokio::test]
async fn a_brokers_settings_tell_what_was_set_and_what_can_be_changed() {
    let broker = broker("log.retention.minutes=7").await;
    set(&broker, 4, "", "message.max.bytes", "100000").await;
    set(&broker, 4, "1", "my.plugin.secret", "x").await;
    let result = describe(&broker, 4, "1", None).await;
    let row = |key: &str| {
        let entry = entry(&result, key);
        let value = entry.value.as_deref().unwrap_or("null").to_owned();
        (value, entry.config_source, entry.read_only)
    };
    assert_eq!(row("message.max.bytes"), ("100000".to_owned(), 3, false));
    assert_eq!(row("log.retention.minutes"), ("7".to_owned(), 4, true));
    assert_eq!(row("log.retention.ms"), ("null".to_owned(), 5, false));
    assert_eq!(row("node.id"), ("1".to_owned(), 5, true));
    assert!(entry(&result, "ssl.key.password").is_sensitive);
    let secret = entry(&result, "my.plugin.secret");
    assert_eq!((secret.value.as_ref(), secret.is_sensitive), (None, true));

    // Kafka sets it for all brokers when a cluster is made (KIP-966).
    assert_eq!(row("min.insync.replicas"), ("1".to_owned(), 3, false));

    let all_brokers = describe(&broker, 4, "", None).await;
    let names = all_brokers
        .configs
        .iter()
        .map(|config| config.name.as_str());
    let names: Vec<&str> = names.collect();
    assert_eq!(names, ["message.max.bytes", "min.insync.replicas"]);
}

#[tokio::test]
async fn settings_of_what_does_not_exist_are_an_error() {
    let broker = broker("").await;
    for (resource_type, resource, expected) in [
        (2, "nope", ErrorCode::UnknownTopicOrPartition),
        (2, "a b", ErrorCode::InvalidTopicException),
        (4, "9", ErrorCode::InvalidRequest),
        (4, "x", ErrorCode::InvalidRequest),
        (8, "", ErrorCode::InvalidRequest),
        (16, "", ErrorCode::InvalidRequest),
        (32, "", ErrorCode::InvalidRequest),
        (0, "u", ErrorCode::InvalidRequest),
        (3, "u", ErrorCode::InvalidRequest),
    ] {
        let result = describe(&broker, resource_type, resource, None).await;
        assert_eq!(result.error_code, expected as i16, "{resource}");
        assert!(result.error_message.is_some());
    }
}

#[tokio::test]
async fn groups_client_metrics_and_the_root_logger_have_settings() {
    let broker = broker("group.consumer.session.timeout.ms=46000").await;
    let unset = describe(&broker, 32, "g", None).await;
    let timeout = entry(&unset, "consumer.session.timeout.ms");
    assert_eq!(timeout.value.as_deref(), Some("46000"));
    assert_eq!(timeout.config_source, 4, "the broker's file");
    let interval = entry(&unset, "consumer.heartbeat.interval.ms");
    assert_eq!(interval.config_source, 5);

    set(&broker, 32, "g", "consumer.session.timeout.ms", "50000").await;
    let result = describe(&broker, 32, "g", None).await;
    let timeout = entry(&result, "consumer.session.timeout.ms");
    assert_eq!(timeout.value.as_deref(), Some("50000"));
    assert_eq!(timeout.config_source, 8);

    set(&broker, 16, "cm", "interval.ms", "1000").await;
    let result = describe(&broker, 16, "cm", None).await;
    assert_eq!(entry(&result, "interval.ms").config_source, 7);

    let result = describe(&broker, 8, "1", None).await;
    assert_eq!(entry(&result, "root").config_source, 6);
}

#[tokio::test]
async fn alter_configs_replaces_in_every_version() {
    for version in versions(33) {
        let broker = broker_with(&[("t", 1)]).await;
        set(&broker, 2, "t", "segment.ms", "6").await;
        let config = AlterableConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text("5")));
        let resource = |resource_type, resource: &str| {
            AlterConfigsResource::default()
                .with_resource_type(resource_type)
                .with_resource_name(text(resource))
                .with_configs(vec![config.clone()])
        };
        let request = AlterConfigsRequest::default().with_resources(vec![
            resource(2, "t"),
            resource(2, "nope"),
            resource(99, "x"),
        ]);
        let response = alter_configs::handle(&at(&broker, version), request).await;
        encodes(&response, version);
        let codes: Vec<i16> = response
            .responses
            .iter()
            .map(|one| one.error_code)
            .collect();
        let unknown = ErrorCode::UnknownTopicOrPartition as i16;
        assert_eq!(codes, [NONE, unknown, ErrorCode::InvalidRequest as i16]);
        let image = broker.metadata.image();
        let topic = image.topic("t").expect("there");
        assert_eq!(topic.overrides.keys().collect::<Vec<_>>(), ["retention.ms"]);
        let partition = broker
            .partitions
            .get(topic.topic_id.into(), 0)
            .await
            .expect("open");
        let settings = partition.settings.load();
        assert_eq!(settings.config.log.retention_ms, 5, "in use at once");
    }
}

#[tokio::test]
async fn a_resource_that_a_request_repeats_is_not_changed() {
    let broker = broker_with(&[("t", 1)]).await;
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("t"));
    let request = AlterConfigsRequest::default().with_resources(vec![resource.clone(), resource]);
    let response = alter_configs::handle(&at(&broker, 2), request).await;
    for one in response.responses {
        assert_eq!(one.error_code, ErrorCode::InvalidRequest as i16);
    }
}

#[tokio::test]
async fn settings_that_are_asked_for_again_and_again_are_refused_and_those_of_many_topics_are_not()
{
    let names: Vec<String> = (0..300).map(|number| format!("t{number}")).collect();
    let topics: Vec<(&str, i32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let broker = broker_with(&topics).await;
    let ask = |names: Vec<&str>| {
        let resources = names.into_iter().map(|name| {
            DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(name))
        });
        DescribeConfigsRequest::default()
            .with_resources(resources.collect())
            .with_include_synonyms(true)
            .with_include_documentation(true)
    };
    let all = topics.iter().map(|(name, _)| *name).collect();
    let described = describe_configs::handle(&at(&broker, 4), ask(all)).await;
    assert_eq!(described.expect("paid").results.len(), 300);
    let again = describe_configs::handle(&at(&broker, 4), ask(vec!["t0"; 5000])).await;
    assert!(again.is_err());
}
