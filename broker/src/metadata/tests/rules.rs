//! What is accepted and what is refused, and in which words.

use protocol_shim::ErrorCode;
use uuid::Uuid;

use super::super::quotas::plan::MAX_ENTITIES;
use super::*;

fn manual(name: &str, assignments: &[(i32, &[i32])]) -> NewTopic {
    let assignments = assignments
        .iter()
        .map(|(partition, replicas)| (*partition, replicas.to_vec()));
    NewTopic {
        placement: Placement::Manual(assignments.collect()),
        ..NewTopic::with_defaults(name)
    }
}

fn replicated(name: &str, replication_factor: i16) -> NewTopic {
    NewTopic {
        placement: Placement::Counts {
            partitions: 1,
            replication_factor,
        },
        ..NewTopic::with_defaults(name)
    }
}

async fn refused(metadata: &Metadata, topic: NewTopic) -> (ErrorCode, String) {
    let error = create(metadata, topic).await.expect_err("refused");
    (error.code(), error.to_string())
}

#[test]
fn a_topic_name_has_up_to_249_letters_digits_dots_underscores_and_hyphens() {
    for name in ["a", "A-1_b.c", "...", "_", &"x".repeat(249)] {
        assert_eq!(validate_topic_name(name), Ok(()), "{name}");
    }
    let long = "x".repeat(250);
    for (name, expected) in [
        ("", "the empty string is not allowed"),
        (".", "'.' is not allowed"),
        ("..", "'..' is not allowed"),
        (long.as_str(), "is longer than the max allowed length 249"),
        (
            "a b",
            "'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        ),
        ("ä", "contains one or more characters"),
        ("a/b", "contains one or more characters"),
        ("a\0", "contains one or more characters"),
    ] {
        let error = validate_topic_name(name).expect_err(name);
        assert_eq!(error.code(), ErrorCode::InvalidTopicException);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn minus_one_means_the_brokers_defaults() {
    let metadata = in_memory("num.partitions=7").await;
    let created = create(&metadata, NewTopic::with_defaults("a")).await;
    assert_eq!(created.expect("created").partition_count, 7);
}

#[tokio::test]
async fn a_topic_that_exists_is_not_created_again() {
    let metadata = in_memory("").await;
    let first = create(&metadata, topic("a", 1)).await.expect("created");
    assert_eq!(
        refused(&metadata, topic("a", 5)).await,
        (
            ErrorCode::TopicAlreadyExists,
            "Topic 'a' already exists.".to_owned()
        )
    );
    assert_eq!(metadata.image().topic("a"), Some(&first));
}

#[tokio::test]
async fn names_that_metrics_cannot_tell_apart_collide() {
    let metadata = in_memory("").await;
    let created = create(&metadata, topic("a.b", 1)).await.expect("created");
    assert_eq!(
        refused(&metadata, topic("a_b", 1)).await,
        (
            ErrorCode::InvalidTopicException,
            "Topic 'a_b' collides with existing topic: a.b".to_owned()
        )
    );
    let gone = vec![TopicRef::Id(created.topic_id)];
    metadata
        .delete_topics(gone)
        .await
        .remove(0)
        .expect("deleted");
    create(&metadata, topic("a_b", 1))
        .await
        .expect("free again");
}

#[tokio::test]
async fn the_metadata_logs_own_name_is_prohibited() {
    let metadata = in_memory("").await;
    let (code, message) = refused(&metadata, topic(CLUSTER_METADATA_TOPIC, 1)).await;
    assert_eq!(code, ErrorCode::InvalidRequest);
    assert_eq!(
        message,
        "Creation of internal topic __cluster_metadata is prohibited."
    );
}

#[tokio::test]
async fn a_topic_has_at_least_one_partition() {
    let metadata = in_memory("").await;
    for partitions in [0, -2, i32::MIN] {
        let (code, message) = refused(&metadata, topic("a", partitions)).await;
        assert_eq!(code, ErrorCode::InvalidPartitions);
        assert_eq!(
            message,
            "Number of partitions was set to an invalid non-positive value."
        );
    }
}

#[tokio::test]
async fn more_partitions_than_one_append_can_hold_are_refused() {
    let metadata = in_memory("").await;
    for partitions in [200_000, i32::MAX] {
        let (code, _) = refused(&metadata, topic("a", partitions)).await;
        assert_eq!(code, ErrorCode::PolicyViolation);
    }
    assert_eq!(metadata.image().topic_count(), 0);
}

#[tokio::test]
async fn a_single_node_stores_one_copy() {
    let metadata = in_memory("").await;
    for factor in [-1, 1] {
        let name = format!("ok{factor}");
        create(&metadata, replicated(&name, factor))
            .await
            .expect("accepted");
    }
    let (code, message) = refused(&metadata, replicated("a", 2)).await;
    assert_eq!(code, ErrorCode::InvalidReplicationFactor);
    assert!(message.starts_with("Unable to replicate the partition 2 time(s)"));
    for factor in [0, -2] {
        let (code, message) = refused(&metadata, replicated("a", factor)).await;
        assert_eq!(code, ErrorCode::InvalidReplicationFactor);
        assert_eq!(
            message,
            "Replication factor must be larger than 0, or -1 to use the default value."
        );
    }
}

#[tokio::test]
async fn any_replication_factor_is_accepted_on_request() {
    let metadata = in_memory("ottla.accept.any.replication.factor=true").await;
    create(&metadata, replicated("a", 3))
        .await
        .expect("accepted");
    let created = create(&metadata, manual("b", &[(0, &[1, 2, 3])])).await;
    assert_eq!(created.expect("accepted").partition_count, 1);
}

#[tokio::test]
async fn manual_assignments_name_this_broker_for_consecutive_partitions() {
    let metadata = in_memory("").await;
    let created = create(&metadata, manual("ok", &[(1, &[1]), (0, &[1])])).await;
    assert_eq!(created.expect("accepted").partition_count, 2);
    let gap = "partitions should be a consecutive 0-based integer sequence";
    for (assignments, expected) in [
        (&[(0, &[1][..]), (2, &[1])][..], gap),
        (&[(1, &[1])], gap),
        (
            &[(0, &[1]), (0, &[1])],
            "Found multiple manual partition assignments for partition 0",
        ),
        (&[(-1, &[1])], gap),
        (
            &[(0, &[7])],
            "The manual partition assignment includes broker 7, but no such broker is registered.",
        ),
        (
            &[(0, &[1, 1])],
            "The manual partition assignment includes the broker 1 more than once.",
        ),
        (
            &[(0, &[])],
            "The manual partition assignment includes an empty replica list.",
        ),
    ] {
        assert_eq!(
            refused(&metadata, manual("a", assignments)).await,
            (ErrorCode::InvalidReplicaAssignment, expected.to_owned())
        );
    }
}

#[tokio::test]
async fn a_setting_that_is_wrong_or_null_keeps_a_topic_from_being_created() {
    let metadata = in_memory("").await;
    for (value, expected) in [
        (
            Some("x"),
            "Invalid value x for configuration retention.ms: Not a number of type LONG",
        ),
        (
            None,
            "Null value not supported for topic configs: retention.ms",
        ),
    ] {
        let configs = vec![("retention.ms".to_owned(), value.map(str::to_owned))];
        let wrong = NewTopic {
            configs,
            ..topic("a", 1)
        };
        assert_eq!(
            refused(&metadata, wrong).await,
            (ErrorCode::InvalidConfig, expected.to_owned())
        );
    }
    assert_eq!(metadata.image().topic_count(), 0);
}

#[tokio::test]
async fn a_name_that_a_request_repeats_is_refused_and_the_others_are_created() {
    let metadata = in_memory("").await;
    let outcomes = metadata
        .create_topics(vec![topic("a", 1), topic("b", 1), topic("a", 2)], false)
        .await;
    let codes: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().err().map(MetadataError::code))
        .collect();
    let refused = Some(ErrorCode::InvalidRequest);
    assert_eq!(codes, [refused, None, refused]);
    assert!(metadata.image().topic("a").is_none());
}

#[tokio::test]
async fn validating_only_changes_nothing_and_tells_the_same() {
    let metadata = in_memory("").await;
    create(&metadata, topic("a", 1)).await.expect("created");
    let before = metadata.image();
    let wanted = vec![topic("b", 2), topic("a", 1)];
    let outcomes = metadata.create_topics(wanted, true).await;
    assert_eq!(outcomes[0].as_ref().expect("valid").partition_count, 2);
    assert!(outcomes[1].is_err());
    let grown = NewPartitions {
        name: "a".to_owned(),
        count: 9,
        assignments: None,
    };
    assert_eq!(
        metadata.create_partitions(vec![grown], true).await,
        [Ok(())]
    );
    assert_eq!(*metadata.image(), *before);
}

#[tokio::test]
async fn a_topic_only_grows() {
    let metadata = in_memory("").await;
    create(&metadata, topic("a", 2)).await.expect("created");
    let grow = async |name: &str, count, assignments: Option<&[&[i32]]>| {
        let request = NewPartitions {
            name: name.to_owned(),
            count,
            assignments: assignments.map(|all| all.iter().map(|one| one.to_vec()).collect()),
        };
        let outcome = metadata.create_partitions(vec![request], false).await;
        outcome[0]
            .clone()
            .map_err(|error| (error.code(), error.to_string()))
    };
    let refused = |code, message: &str| Err((code, message.to_owned()));
    assert_eq!(
        grow("a", 2, None).await,
        refused(
            ErrorCode::InvalidPartitions,
            "Topic already has 2 partition(s)."
        )
    );
    for count in [1, 0, -1] {
        let message =
            format!("The topic a currently has 2 partition(s); {count} would not be an increase.");
        assert_eq!(
            grow("a", count, None).await,
            refused(ErrorCode::InvalidPartitions, &message)
        );
    }
    assert_eq!(
        grow("nope", 2, None).await,
        refused(
            ErrorCode::UnknownTopicOrPartition,
            "This server does not host this topic-partition."
        )
    );
    assert_eq!(
        grow("a", 4, Some(&[&[1]])).await,
        refused(
            ErrorCode::InvalidReplicaAssignment,
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."
        )
    );
    assert_eq!(
        grow("a", 3, Some(&[&[9]])).await,
        refused(
            ErrorCode::InvalidReplicaAssignment,
            "The manual partition assignment includes broker 9, but no such broker is registered."
        )
    );
    assert_eq!(grow("a", 4, Some(&[&[1], &[1]])).await, Ok(()));
    assert_eq!(grow("a", 5, None).await, Ok(()));
    let image = metadata.image();
    assert_eq!(image.topic("a").expect("there").partition_count, 5);
}

#[tokio::test]
async fn internal_topics_do_not_grow_and_come_back_empty_when_they_were_deleted() {
    let metadata = in_memory("offsets.topic.num.partitions=3").await;
    let offsets = metadata
        .ensure_internal_topic("__consumer_offsets")
        .await
        .expect("created");
    assert!(offsets.is_internal());
    assert_eq!(offsets.partition_count, 3);
    let in_force = metadata.published().topic_configs.of(&offsets);
    assert!(in_force.log.compact && !in_force.log.delete);
    assert_eq!(in_force.log.segment_bytes, 100 << 20);

    let name = "__consumer_offsets".to_owned();
    let grown = NewPartitions {
        name: name.clone(),
        count: 4,
        assignments: None,
    };
    let grown = metadata.create_partitions(vec![grown], false).await;
    let code = Some(ErrorCode::InvalidRequest);
    assert_eq!(grown[0].as_ref().err().map(MetadataError::code), code);
    let again = metadata.ensure_internal_topic("__consumer_offsets").await;
    assert_eq!(again.expect("there"), offsets);
    let deleted = metadata.delete_topics(vec![TopicRef::Name(name)]).await;
    assert!(deleted[0].is_ok());
    let again = metadata.ensure_internal_topic("__consumer_offsets").await;
    let again = again.expect("created again");
    assert_ne!(again.topic_id, offsets.topic_id);
    assert_eq!(again.partition_count, 3);
}

/// The answers are those of Kafka 4.4.0 with the same settings.
#[tokio::test]
async fn settings_of_a_group_are_checked_with_each_other_and_with_the_brokers() {
    let lines =
        "group.consumer.min.session.timeout.ms=1000\ngroup.share.min.session.timeout.ms=1000";
    let metadata = in_memory(lines).await;
    let refusal = async |configs: &[(&str, &str)]| {
        let set = configs.iter();
        let set = set.map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())));
        let alter = AlterConfig {
            resource_type: ResourceType::Group,
            resource_name: "g".to_owned(),
            change: ConfigChange::Replace(set.collect()),
        };
        let mut outcomes = metadata.alter_configs(vec![alter], true).await;
        outcomes
            .pop()
            .expect("one")
            .err()
            .map(|error| error.to_string())
    };
    for valid in [
        &[("consumer.session.timeout.ms", "45000")][..],
        &[("consumer.session.timeout.ms", "5001")],
        &[("consumer.heartbeat.interval.ms", "15000")],
        &[("share.auto.offset.reset", "by_duration:P1D")],
        &[("streams.num.standby.replicas", "2")],
        &[("streams.rack.aware.assignment.tags", "a,b")],
        &[("streams.assignor.name", "sticky")],
        &[("errors.deadletterqueue.topic.name", "dead")],
    ] {
        assert_eq!(refusal(valid).await, None, "{valid:?}");
    }
    for (invalid, why) in [
        // Not longer than a heartbeat takes, which is the broker's where the group does not say.
        (
            &[("consumer.session.timeout.ms", "5000")][..],
            "greater than consumer.heartbeat",
        ),
        (
            &[("share.session.timeout.ms", "5000")],
            "greater than share.heartbeat",
        ),
        (
            &[
                ("consumer.session.timeout.ms", "9000"),
                ("consumer.heartbeat.interval.ms", "9000"),
            ],
            "greater than consumer.heartbeat",
        ),
        (
            &[("consumer.session.timeout.ms", "999")],
            "in the range 1000 to 60000",
        ),
        (
            &[("consumer.assignment.interval.ms", "15001")],
            "in the range 0 to 15000",
        ),
        (
            &[("share.delivery.count.limit", "99")],
            "in the range 2 to 10",
        ),
        (
            &[("streams.num.standby.replicas", "3")],
            "less than or equal to 2",
        ),
        (
            &[("share.auto.offset.reset", "by_duration:-PT1H")],
            "Invalid value",
        ),
        (&[("share.auto.offset.reset", "none")], "Invalid value"),
        (
            &[("streams.rack.aware.assignment.tags", "a, a")],
            "duplicate tag keys",
        ),
        (
            &[("streams.assignor.name", "uniform")],
            "not a registered task assignor",
        ),
        (
            &[("errors.deadletterqueue.topic.name", "__x")],
            "must not start with",
        ),
        (
            &[("consumer.no.such.key", "1")],
            "Unknown group config name",
        ),
    ] {
        let refused = refusal(invalid).await.unwrap_or_default();
        assert!(refused.contains(why), "{invalid:?}: {refused}");
    }
}

#[tokio::test]
async fn a_topic_is_deleted_by_name_or_by_id() {
    let metadata = in_memory("").await;
    let a = create(&metadata, topic("a", 1)).await.expect("created");
    let b = create(&metadata, topic("b", 1)).await.expect("created");
    let outcomes = metadata
        .delete_topics(vec![
            TopicRef::Name("a".to_owned()),
            TopicRef::Id(a.topic_id),
            TopicRef::Id(b.topic_id),
            TopicRef::Name("nope".to_owned()),
            TopicRef::Id(Uuid::from_u128(9)),
        ])
        .await;
    let codes: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().err().map(MetadataError::code))
        .collect();
    assert_eq!(
        codes,
        [
            None,
            Some(ErrorCode::UnknownTopicId),
            None,
            Some(ErrorCode::UnknownTopicOrPartition),
            Some(ErrorCode::UnknownTopicId),
        ]
    );
    assert_eq!(metadata.image().topic_count(), 0);
    let again = create(&metadata, topic("a", 1)).await.expect("created");
    assert_ne!(again.topic_id, a.topic_id, "another incarnation");
}

#[tokio::test]
async fn nothing_is_deleted_when_deletion_is_disabled() {
    let metadata = in_memory("delete.topic.enable=false").await;
    create(&metadata, topic("a", 1)).await.expect("created");
    let outcomes = metadata
        .delete_topics(vec![TopicRef::Name("a".to_owned())])
        .await;
    assert_eq!(outcomes, [Err(MetadataError::TopicDeletionDisabled)]);
}

async fn alter(
    metadata: &Metadata,
    resource_type: ResourceType,
    name: &str,
    changes: &[(&str, Operation, &str)],
) -> Result<(), (ErrorCode, String)> {
    let changes = changes.iter().map(|(key, operation, value)| {
        let value = (*operation != Operation::Delete).then(|| (*value).to_owned());
        ((*key).to_owned(), *operation, value)
    });
    let alter = AlterConfig {
        resource_type,
        resource_name: name.to_owned(),
        change: ConfigChange::Incremental(changes.collect()),
    };
    let outcome = metadata.alter_configs(vec![alter], false).await.remove(0);
    outcome.map_err(|error| (error.code(), error.to_string()))
}

#[tokio::test]
async fn a_list_is_appended_to_and_subtracted_from_starting_at_its_default() {
    let metadata = in_memory("").await;
    create(&metadata, topic("a", 1)).await.expect("created");
    let policy = || {
        let image = metadata.image();
        let topic = image.topic("a").expect("there");
        topic.overrides.get("cleanup.policy").cloned()
    };
    for (operation, value, expected) in [
        (Operation::Append, "compact", Some("delete,compact")),
        (Operation::Append, "compact", Some("delete,compact")),
        (Operation::Subtract, "delete", Some("compact")),
        (Operation::Set, "delete", Some("delete")),
        (Operation::Delete, "", None),
    ] {
        let change = [("cleanup.policy", operation, value)];
        let altered = alter(&metadata, ResourceType::Topic, "a", &change).await;
        assert_eq!(altered, Ok(()));
        assert_eq!(policy().as_deref(), expected);
    }
    let change = [("retention.ms", Operation::Append, "5")];
    assert_eq!(
        alter(&metadata, ResourceType::Topic, "a", &change).await,
        Err((
            ErrorCode::InvalidConfig,
            "Can't APPEND to key retention.ms because its type is not LIST.".to_owned()
        ))
    );
}

#[tokio::test]
async fn wrong_changes_of_settings_are_refused_in_kafkas_words() {
    use ErrorCode::{InvalidConfig, InvalidRequest, UnknownTopicOrPartition};
    use ResourceType::{Broker, BrokerLogger, ClientMetrics, Group, Topic};
    let metadata = in_memory("").await;
    create(&metadata, topic("t", 1)).await.expect("created");
    for (kind, name, key, value, code, message) in [
        (
            Topic,
            "t",
            "retention.ms",
            "abc",
            InvalidConfig,
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (
            Topic,
            "t",
            "nope",
            "5",
            InvalidConfig,
            "Unknown topic config name: nope",
        ),
        (
            Topic,
            "nope",
            "retention.ms",
            "5",
            UnknownTopicOrPartition,
            "The topic 'nope' does not exist.",
        ),
        (
            Topic,
            "",
            "retention.ms",
            "5",
            InvalidRequest,
            "Default topic resources are not allowed.",
        ),
        (
            Broker,
            "1",
            "log.segment.bytes",
            "x",
            InvalidRequest,
            "Invalid value x for configuration log.segment.bytes: Not a number of type INT",
        ),
        (
            Broker,
            "",
            "num.partitions",
            "3",
            InvalidRequest,
            "Cannot update these configs dynamically: [num.partitions]",
        ),
        (
            Broker,
            "",
            "ssl.keystore.location",
            "/x",
            InvalidRequest,
            "These security configs can be dynamically updated only per-listener using the listener prefix: [ssl.keystore.location]",
        ),
        (
            Broker,
            "9",
            "log.retention.ms",
            "5",
            InvalidRequest,
            "Unexpected broker id, expected 1 or empty string, but received 9",
        ),
        (
            BrokerLogger,
            "1",
            "org.apache.kafka",
            "DEBUG",
            InvalidConfig,
            "Logger org.apache.kafka does not exist!",
        ),
        (
            Group,
            "g",
            "consumer.session.timeout.ms",
            "5",
            InvalidConfig,
            "consumer.session.timeout.ms must be in the range 45000 to 60000 inclusive.",
        ),
        (
            Group,
            "g",
            "consumer.heartbeat.interval.ms",
            "15001",
            InvalidConfig,
            "consumer.heartbeat.interval.ms must be in the range 5000 to 15000 inclusive.",
        ),
        (
            Group,
            "g",
            "foo",
            "5",
            InvalidConfig,
            "Unknown group config name: foo",
        ),
        (
            Group,
            "",
            "consumer.session.timeout.ms",
            "50000",
            InvalidRequest,
            "Default group resources are not allowed.",
        ),
        (
            ClientMetrics,
            "cm",
            "interval.ms",
            "1",
            InvalidRequest,
            "Invalid value 1 for interval.ms, interval must be between 100 and 3600000 (1 hour)",
        ),
        (
            ClientMetrics,
            "cm",
            "foo",
            "1",
            InvalidRequest,
            "Unknown client metrics configuration: foo",
        ),
        (
            ClientMetrics,
            "cm",
            "match",
            "zz=x",
            InvalidConfig,
            "Illegal client matching pattern: zz=x",
        ),
    ] {
        let change = [(key, Operation::Set, value)];
        assert_eq!(
            alter(&metadata, kind, name, &change).await,
            Err((code, message.to_owned())),
            "{kind:?} {name} {key}={value}"
        );
    }
}

#[tokio::test]
async fn a_brokers_setting_becomes_its_topics_default_at_once() {
    let metadata = in_memory("").await;
    create(&metadata, topic("plain", 1)).await.expect("created");
    let own = NewTopic {
        configs: vec![("retention.ms".to_owned(), Some("77".to_owned()))],
        ..topic("own", 1)
    };
    create(&metadata, own).await.expect("created");
    let retention_ms = |name: &str| {
        let image = metadata.image();
        let topic = image.topic(name).expect("there");
        metadata
            .published()
            .topic_configs
            .of(topic)
            .log
            .retention_ms
    };
    for (broker, operation, value, expected) in [
        ("", Operation::Set, "20", 20),
        ("1", Operation::Set, "10", 10),
        ("1", Operation::Delete, "", 20),
        ("", Operation::Delete, "", 604_800_000),
    ] {
        let change = [("log.retention.ms", operation, value)];
        let altered = alter(&metadata, ResourceType::Broker, broker, &change).await;
        assert_eq!(altered, Ok(()));
        assert_eq!(retention_ms("plain"), expected);
        assert_eq!(retention_ms("own"), 77);
    }
}

#[tokio::test]
async fn replacing_all_settings_takes_back_those_that_are_not_named() {
    let metadata = in_memory("").await;
    create(&metadata, topic("a", 1)).await.expect("created");
    let replace = async |configs: &[(&str, Option<&str>)]| {
        let configs = configs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)));
        let alter = AlterConfig {
            resource_type: ResourceType::Topic,
            resource_name: "a".to_owned(),
            change: ConfigChange::Replace(configs.collect()),
        };
        metadata.alter_configs(vec![alter], false).await.remove(0)
    };
    replace(&[("retention.ms", Some("5")), ("segment.ms", Some("6"))])
        .await
        .expect("set");
    replace(&[("retention.ms", Some("7"))]).await.expect("set");
    let image = metadata.image();
    let overrides = &image.topic("a").expect("there").overrides;
    assert_eq!(overrides.len(), 1);
    assert_eq!(overrides.get("retention.ms").map(String::as_str), Some("7"));
    for wrong in [
        &[("retention.ms", None)][..],
        &[("retention.ms", Some("1")), ("retention.ms", Some("2"))],
    ] {
        let error = replace(wrong).await.expect_err("refused");
        assert_eq!(error.code(), ErrorCode::InvalidRequest);
    }
}

#[tokio::test]
async fn so_many_entities_may_have_quotas_and_those_that_have_may_change_them() {
    let metadata = in_memory("").await;
    let quota = |number: usize, value| AlterQuotas {
        entity: [("user".to_owned(), Some(number.to_string()))].into(),
        changes: vec![("producer_byte_rate".to_owned(), value)],
    };
    let mut numbers = 0..MAX_ENTITIES;
    while !numbers.is_empty() {
        let some = numbers.by_ref().take(20_000);
        let alters = some.map(|number| quota(number, Some(1.0))).collect();
        let altered = metadata.alter_quotas(alters, false).await;
        assert!(altered.iter().all(Result::is_ok));
    }
    let one = async |number, value| {
        let altered = metadata.alter_quotas(vec![quota(number, value)], false);
        altered.await.remove(0)
    };
    let refused = one(MAX_ENTITIES, Some(1.0))
        .await
        .expect_err("one too many");
    assert_eq!(refused.code(), ErrorCode::PolicyViolation);
    assert_eq!(one(7, Some(2.0)).await, Ok(()));
    assert_eq!(one(8, None).await, Ok(()));
    assert_eq!(one(MAX_ENTITIES, Some(1.0)).await, Ok(()));
}
