//! CreateTopics, DeleteTopics, CreatePartitions and DescribeTopicPartitions.

use anyhow::Result;
use compat_tests::scenario::{Talk, string, topic_name};
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeTopicPartitionsRequest,
};
use uuid::Uuid;

const UNKNOWN_ID: Uuid = Uuid::from_u128(0x1234_5678_0000_4000_8000_0000_0000_0001);

/// A config and its value.
type Setting<'a> = (&'a str, Option<&'a str>);

fn topic(name: &str, partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replication_factor)
}

fn by_hand(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = assignments.iter().map(|(partition, brokers)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*partition)
            .with_broker_ids(brokers.iter().map(|broker| BrokerId(*broker)).collect())
    });
    topic(name, -1, -1).with_assignments(assignments.collect())
}

pub fn config(name: &str, value: Option<&str>) -> CreatableTopicConfig {
    CreatableTopicConfig::default()
        .with_name(string(name))
        .with_value(value.map(string))
}

fn with_configs(name: &str, configs: &[Setting<'_>]) -> CreatableTopic {
    topic(name, 1, 1).with_configs(
        configs
            .iter()
            .map(|(name, value)| config(name, *value))
            .collect(),
    )
}

pub fn create(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("create-existing", 1)?;
    talk.create_topic("create.colliding_name", 1)?;
    for version in 2..=7 {
        let mut create =
            |what: &str, validate_only: bool, topics: Vec<CreatableTopic>| -> Result<()> {
                let request = CreateTopicsRequest::default()
                    .with_timeout_ms(10_000)
                    .with_validate_only(validate_only)
                    .with_topics(topics);
                let response = talk.ask(what, version, &request)?;
                for topic in response.topics {
                    if topic.error_code == 0 && !validate_only {
                        talk.name(
                            &topic.topic_id.to_string(),
                            &format!("id of {}", &**topic.name),
                        );
                    }
                }
                Ok(())
            };
        let name = |name: &str| format!("create-{name}-{version}");
        create("none", false, vec![])?;
        create("valid", true, vec![topic(&name("a"), 3, 1)])?;
        create("one", false, vec![topic(&name("a"), 3, 1)])?;
        create("again", false, vec![topic(&name("a"), 3, 1)])?;
        create(
            "existing, validated",
            true,
            vec![topic("create-existing", 3, 1)],
        )?;
        create(
            "several",
            false,
            vec![
                topic(&name("b"), 1, 1),
                topic("create-existing", 1, 1),
                topic(&name("c"), 2, 1),
            ],
        )?;
        create(
            "twice",
            false,
            vec![topic(&name("d"), 1, 1), topic(&name("d"), 2, 1)],
        )?;
        let too_long = "x".repeat(250);
        for invalid in ["", ".", "..", "not valid", "a/b", "ü", &too_long] {
            create(
                &format!("name {invalid:.10}"),
                false,
                vec![topic(invalid, 1, 1)],
            )?;
        }
        create(
            "colliding",
            false,
            vec![topic("create_colliding.name", 1, 1)],
        )?;
        create(
            "colliding in one request",
            false,
            vec![topic("x.y", 1, 1), topic("x_y", 1, 1)],
        )?;
        create("internal", false, vec![topic("__consumer_offsets", 1, 1)])?;
        for partitions in [0, -2] {
            create(
                &format!("{partitions} partitions"),
                false,
                vec![topic(&name("e"), partitions, 1)],
            )?;
        }
        for factor in [0, -2, 2] {
            create(
                &format!("replication factor {factor}"),
                false,
                vec![topic(&name("e"), 1, factor)],
            )?;
        }
        if version >= 4 {
            create("defaults", false, vec![topic(&name("f"), -1, -1)])?;
        }
        create(
            "by hand",
            false,
            vec![by_hand(&name("g"), &[(0, &[1]), (1, &[1])])],
        )?;
        create(
            "by hand, unordered",
            false,
            vec![by_hand(&name("g2"), &[(1, &[1]), (0, &[1])])],
        )?;
        create(
            "by hand with a gap",
            false,
            vec![by_hand(&name("h"), &[(0, &[1]), (2, &[1])])],
        )?;
        create(
            "by hand twice the same",
            false,
            vec![by_hand(&name("h"), &[(0, &[1]), (0, &[1])])],
        )?;
        create(
            "by hand not from 0",
            false,
            vec![by_hand(&name("h"), &[(1, &[1])])],
        )?;
        create(
            "by hand negative",
            false,
            vec![by_hand(&name("h"), &[(-1, &[1]), (0, &[1])])],
        )?;
        create(
            "by hand unknown broker",
            false,
            vec![by_hand(&name("h"), &[(0, &[7])])],
        )?;
        create(
            "by hand no broker",
            false,
            vec![by_hand(&name("h"), &[(0, &[])])],
        )?;
        create(
            "by hand a broker twice",
            false,
            vec![by_hand(&name("h"), &[(0, &[1, 1])])],
        )?;
        create(
            "by hand uneven",
            false,
            vec![by_hand(&name("h"), &[(0, &[1]), (1, &[1, 7])])],
        )?;
        let mut both = by_hand(&name("h"), &[(0, &[1])]);
        both.num_partitions = 1;
        create("by hand and by count", false, vec![both.clone()])?;
        both.num_partitions = -1;
        both.replication_factor = 1;
        create("by hand and by factor", false, vec![both])?;
        let good: &[Setting<'_>] = &[
            ("retention.ms", Some("1000")),
            ("cleanup.policy", Some("compact,delete")),
        ];
        create("configs", false, vec![with_configs(&name("i"), good)])?;
        let bad: &[(&str, &[Setting<'_>])] = &[
            ("unknown", &[("no.such.config", Some("1"))]),
            ("not a number", &[("retention.ms", Some("soon"))]),
            ("below its minimum", &[("segment.bytes", Some("1"))]),
            ("not of the list", &[("cleanup.policy", Some("shred"))]),
            ("empty list", &[("cleanup.policy", Some(""))]),
            ("not a boolean", &[("preallocate", Some("yes"))]),
            ("null", &[("retention.ms", None)]),
            ("too large", &[("segment.bytes", Some("99999999999"))]),
            ("blanks", &[("retention.ms", Some(" 1000 "))]),
            (
                "twice",
                &[("retention.ms", Some("1")), ("retention.ms", Some("2"))],
            ),
            (
                "local above total",
                &[
                    ("retention.ms", Some("10")),
                    ("local.retention.ms", Some("20")),
                ],
            ),
            (
                "lags crossed",
                &[
                    ("min.compaction.lag.ms", Some("10")),
                    ("max.compaction.lag.ms", Some("5")),
                ],
            ),
            ("compression", &[("compression.type", Some("brotli"))]),
            ("level", &[("compression.gzip.level", Some("11"))]),
            ("remote", &[("remote.storage.enable", Some("true"))]),
            (
                "timestamp type",
                &[("message.timestamp.type", Some("Whatever"))],
            ),
            ("in sync", &[("min.insync.replicas", Some("0"))]),
            (
                "throttled",
                &[("leader.replication.throttled.replicas", Some("a:b"))],
            ),
        ];
        for (what, configs) in bad {
            create(
                &format!("config {what}"),
                true,
                vec![with_configs(&name("j"), configs)],
            )?;
        }
    }
    Ok(())
}

pub fn delete(talk: &mut Talk<'_>) -> Result<()> {
    for version in 1..=6 {
        let name = |name: &str| format!("delete-{name}-{version}");
        let mut ids = Vec::new();
        for topic in ["a", "b", "c", "d", "e", "f"] {
            ids.push(talk.create_topic(&name(topic), 1)?);
        }
        let named = |name: String| DeleteTopicState::default().with_name(Some(topic_name(&name)));
        let by_id = |id: Uuid| {
            DeleteTopicState::default()
                .with_name(None)
                .with_topic_id(id)
        };
        let mut ask = |what: &str, topics: Vec<DeleteTopicState>| -> Result<()> {
            let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
            let request = if version >= 6 {
                request.with_topics(topics)
            } else {
                let names = topics.into_iter().filter_map(|topic| topic.name);
                request.with_topic_names(names.collect())
            };
            talk.ask(what, version, &request).map(|_| ())
        };
        ask("none", vec![])?;
        ask("one", vec![named(name("a"))])?;
        ask("again", vec![named(name("a"))])?;
        ask(
            "known and unknown",
            vec![named(name("b")), named("delete-unknown".into())],
        )?;
        ask(
            "twice",
            vec![
                named(name("c")),
                named(name("c")),
                named("delete-unknown".into()),
            ],
        )?;
        ask(
            "names that no topic may have",
            vec![named(String::new()), named("not valid".into())],
        )?;
        if version >= 6 {
            ask("by id", vec![by_id(ids[3])])?;
            ask("by unknown id", vec![by_id(UNKNOWN_ID)])?;
            ask("by id twice", vec![by_id(ids[4]), by_id(ids[4])])?;
            ask("neither", vec![by_id(Uuid::nil())])?;
            ask("both", vec![named(name("e")).with_topic_id(ids[4])])?;
            ask("by id and by name", vec![named(name("f")), by_id(ids[5])])?;
        }
    }
    Ok(())
}

pub fn grow(talk: &mut Talk<'_>) -> Result<()> {
    for version in 0..=3 {
        let name = format!("grow-{version}");
        talk.create_topic(&name, 2)?;
        talk.create_topic(&format!("{name}-b"), 1)?;
        let to = |name: &str, count| {
            CreatePartitionsTopic::default()
                .with_name(topic_name(name))
                .with_count(count)
                .with_assignments(None)
        };
        let on = |brokers: &[&[i32]]| {
            let assignment = |brokers: &&[i32]| {
                CreatePartitionsAssignment::default()
                    .with_broker_ids(brokers.iter().map(|broker| BrokerId(*broker)).collect())
            };
            Some(brokers.iter().map(assignment).collect::<Vec<_>>())
        };
        let mut ask =
            |what: &str, validate_only: bool, topics: Vec<CreatePartitionsTopic>| -> Result<()> {
                let request = CreatePartitionsRequest::default()
                    .with_timeout_ms(10_000)
                    .with_validate_only(validate_only)
                    .with_topics(topics);
                talk.ask(what, version, &request).map(|_| ())
            };
        ask("none", false, vec![])?;
        ask("validated", true, vec![to(&name, 3)])?;
        ask("one more", false, vec![to(&name, 3)])?;
        ask("as many", false, vec![to(&name, 3)])?;
        ask("fewer", false, vec![to(&name, 1)])?;
        ask("zero", false, vec![to(&name, 0)])?;
        ask("negative", false, vec![to(&name, -1)])?;
        ask(
            "unknown",
            false,
            vec![to("grow-unknown", 3), to(&format!("{name}-b"), 2)],
        )?;
        ask("twice", false, vec![to(&name, 5), to(&name, 6)])?;
        ask("invalid name", false, vec![to("not valid", 5)])?;
        ask(
            "by hand",
            false,
            vec![to(&name, 5).with_assignments(on(&[&[1], &[1]]))],
        )?;
        ask(
            "too few by hand",
            false,
            vec![to(&name, 8).with_assignments(on(&[&[1]]))],
        )?;
        ask(
            "too many by hand",
            false,
            vec![to(&name, 6).with_assignments(on(&[&[1], &[1]]))],
        )?;
        ask(
            "unknown broker",
            false,
            vec![to(&name, 6).with_assignments(on(&[&[7]]))],
        )?;
        ask(
            "no broker",
            false,
            vec![to(&name, 6).with_assignments(on(&[&[]]))],
        )?;
        ask(
            "a broker twice",
            false,
            vec![to(&name, 6).with_assignments(on(&[&[1, 1]]))],
        )?;
        ask(
            "empty list by hand",
            false,
            vec![to(&name, 6).with_assignments(on(&[]))],
        )?;
    }
    Ok(())
}

pub fn describe_partitions(talk: &mut Talk<'_>) -> Result<()> {
    for (name, partitions) in [("page-a", 2), ("page-b", 3), ("page-c", 1)] {
        talk.create_topic(name, partitions)?;
    }
    let mut ask =
        |what: &str, names: &[&str], limit: i32, cursor: Option<(&str, i32)>| -> Result<()> {
            let topics = names
                .iter()
                .map(|name| TopicRequest::default().with_name(topic_name(name)));
            let cursor = cursor.map(|(name, partition)| {
                Cursor::default()
                    .with_topic_name(topic_name(name))
                    .with_partition_index(partition)
            });
            let request = DescribeTopicPartitionsRequest::default()
                .with_topics(topics.collect())
                .with_response_partition_limit(limit)
                .with_cursor(cursor);
            talk.ask_or_close(what, 0, &request)
        };
    let all = &["page-c", "page-a", "page-b"];
    ask("by name", all, 2000, None)?;
    ask("one twice", &["page-a", "page-a"], 2000, None)?;
    for limit in 0..=7 {
        ask(&format!("first {limit}"), all, limit, None)?;
    }
    ask("from a topic", all, 2000, Some(("page-b", 0)))?;
    ask("from a partition", all, 2000, Some(("page-b", 2)))?;
    ask("from behind a topic's end", all, 2000, Some(("page-b", 9)))?;
    ask("from between two topics", all, 2000, Some(("page-aa", 1)))?;
    ask("from behind all", all, 2000, Some(("page-z", 0)))?;
    ask("from a negative partition", all, 2000, Some(("page-b", -1)))?;
    ask("unknown", &["page-a", "page-unknown"], 2000, None)?;
    ask("unknown, limited", &["page-a", "page-unknown"], 2, None)?;
    ask("invalid", &["not valid", "page-a"], 2000, None)?;
    ask(
        "unknown from a cursor",
        &["page-unknown", "page-a"],
        2000,
        Some(("page-b", 0)),
    )?;
    ask("negative limit", &["page-a"], -1, None)?;
    Ok(())
}
