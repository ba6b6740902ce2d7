//! AlterClientQuotas and DescribeClientQuotas, and how clients above their quotas are throttled.

use anyhow::{Result, ensure};
use compat_tests::java::KafkaTools;
use compat_tests::records::batch;
use compat_tests::scenario::{Talk, string, topic_name};
use compat_tests::toolchain::available;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AlterClientQuotasRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClientQuotasRequest, FetchRequest, ProduceRequest,
};

/// Types and names; without a name the default.
type Entity<'a> = &'a [(&'a str, Option<&'a str>)];
/// Keys and values; without a value the key is taken back.
type Ops<'a> = &'a [(&'a str, Option<f64>)];

fn entry(entity: Entity<'_>, ops: Ops<'_>) -> EntryData {
    let parts = entity.iter().map(|(kind, name)| {
        EntityData::default()
            .with_entity_type(string(kind))
            .with_entity_name(name.map(string))
    });
    let ops = ops.iter().map(|(key, value)| {
        OpData::default()
            .with_key(string(key))
            .with_value(value.unwrap_or_default())
            .with_remove(value.is_none())
    });
    EntryData::default()
        .with_entity(parts.collect())
        .with_ops(ops.collect())
}

fn alteration(entries: Vec<EntryData>) -> AlterClientQuotasRequest {
    AlterClientQuotasRequest::default().with_entries(entries)
}

const ANN: Entity<'_> = &[("user", Some("ann"))];
const ANYBODY: Entity<'_> = &[("user", None)];
const ANNS_APP: Entity<'_> = &[("user", Some("ann")), ("client-id", Some("app"))];
const ANYBODYS_APP: Entity<'_> = &[("user", None), ("client-id", Some("app"))];
const ANY_APP: Entity<'_> = &[("client-id", None)];
const HOST: Entity<'_> = &[("ip", Some("192.0.2.7"))];
const ANY_HOST: Entity<'_> = &[("ip", None)];
const RATE: Ops<'_> = &[("producer_byte_rate", Some(1_048_576.0))];
const CONNECTIONS: Ops<'_> = &[("connection_creation_rate", Some(1000.0))];

/// Every way to be wrong, and what is right.
const CHANGES: &[(&str, Entity<'_>, Ops<'_>)] = &[
    ("a user", ANN, RATE),
    ("the same again", ANN, RATE),
    (
        "the default user",
        ANYBODY,
        &[("request_percentage", Some(75.5))],
    ),
    (
        "a user and a client",
        ANNS_APP,
        &[
            ("consumer_byte_rate", Some(1e9)),
            ("controller_mutation_rate", Some(1000.0)),
        ],
    ),
    ("the default user and a client", ANYBODYS_APP, RATE),
    ("the default client", ANY_APP, RATE),
    ("an address", HOST, CONNECTIONS),
    ("the default address", ANY_HOST, CONNECTIONS),
    ("nothing", ANN, &[]),
    (
        "what is not set taken back",
        ANN,
        &[("consumer_byte_rate", None)],
    ),
    ("what nobody knows taken back", ANN, &[("no_such", None)]),
    ("no entity", &[], RATE),
    ("another type", &[("planet", Some("x"))], RATE),
    ("an empty name", &[("user", Some(""))], RATE),
    ("an empty client", &[("client-id", Some(""))], RATE),
    ("an empty address", &[("ip", Some(""))], CONNECTIONS),
    (
        "a type twice",
        &[("user", Some("x")), ("user", Some("y"))],
        RATE,
    ),
    (
        "a user and an address",
        &[("user", Some("x")), ("ip", None)],
        RATE,
    ),
    ("no address", &[("ip", Some("no such host"))], CONNECTIONS),
    ("a rate of an address", HOST, RATE),
    ("connections of a user", ANN, CONNECTIONS),
    ("another key", ANN, &[("no_such", Some(1.0))]),
    ("zero", ANN, &[("producer_byte_rate", Some(0.0))]),
    ("less", ANN, &[("request_percentage", Some(-0.5))]),
    (
        "a fraction of a byte",
        ANN,
        &[("producer_byte_rate", Some(1.5))],
    ),
    (
        "a small fraction",
        ANN,
        &[("producer_byte_rate", Some(5.000_000_1))],
    ),
    (
        "a fraction of a connection",
        HOST,
        &[("connection_creation_rate", Some(0.5))],
    ),
    ("too many bytes", ANN, &[("producer_byte_rate", Some(1e19))]),
    (
        "too many connections",
        HOST,
        &[("connection_creation_rate", Some(2_147_483_648.0))],
    ),
    (
        "no end",
        ANN,
        &[("producer_byte_rate", Some(f64::INFINITY))],
    ),
    (
        "a right one and a wrong one",
        ANN,
        &[("consumer_byte_rate", Some(9.0)), ("no_such", Some(1.0))],
    ),
    (
        "a key twice",
        ANN,
        &[
            ("consumer_byte_rate", Some(9.0)),
            ("consumer_byte_rate", Some(8.0)),
        ],
    ),
];

/// Alters, and writes down what is answered in an order of its own; of texts for people, whether there is one.
fn alter(
    talk: &mut Talk<'_>,
    what: &str,
    version: i16,
    request: &AlterClientQuotasRequest,
) -> Result<()> {
    let mut told = talk.quietly(version, request)?;
    for entry in &mut told.entries {
        entry
            .entity
            .sort_by_key(|part| part.entity_type.to_string());
        entry.error_message = entry.error_message.take().map(|_| string("a text"));
    }
    told.entries
        .sort_by_key(|entry| format!("{:?}", entry.entity));
    talk.fact(&format!("alter v{version} {what}"), format!("{told:?}"));
    Ok(())
}

fn describe(talk: &mut Talk<'_>, version: i16, when: &str) -> Result<()> {
    let component = |(kind, match_type, name): &(&str, i8, Option<&str>)| {
        ComponentData::default()
            .with_entity_type(string(kind))
            .with_match_type(*match_type)
            .with_match(name.map(string))
    };
    for (what, components) in [
        ("all", &[][..]),
        ("ann", &[("user", 0, Some("ann"))]),
        ("nobody", &[("user", 0, Some("nobody"))]),
        ("the default user", &[("user", 1, None)]),
        ("any user", &[("user", 2, None)]),
        (
            "any user with any client",
            &[("user", 2, None), ("client-id", 2, None)],
        ),
        (
            "any user with app",
            &[("user", 2, None), ("client-id", 0, Some("app"))],
        ),
        ("the default client", &[("client-id", 1, None)]),
        ("any client", &[("client-id", 2, None)]),
        ("any address", &[("ip", 2, None)]),
        ("an address", &[("ip", 0, Some("192.0.2.7"))]),
    ] {
        for strict in [false, true] {
            let request = DescribeClientQuotasRequest::default()
                .with_components(components.iter().map(component).collect())
                .with_strict(strict);
            let what = format!("{what}{}, {when}", if strict { " strictly" } else { "" });
            let mut told = talk.quietly(version, &request)?;
            // Entities, their parts and their quotas are in no order.
            for entry in told.entries.iter_mut().flatten() {
                entry
                    .entity
                    .sort_by_key(|part| part.entity_type.to_string());
                entry.values.sort_by_key(|value| value.key.to_string());
            }
            if let Some(entries) = &mut told.entries {
                entries.sort_by_key(|entry| format!("{:?}", entry.entity));
            }
            talk.fact(&format!("describe v{version} {what}"), format!("{told:?}"));
        }
    }
    Ok(())
}

/// Waits until Kafka's broker knows what its controller has done.
fn settle(talk: &mut Talk<'_>, count: usize) -> Result<()> {
    talk.settle("the quotas", |talk| {
        let described = talk.quietly(1, &DescribeClientQuotasRequest::default())?;
        Ok(described.entries.map_or(0, |entries| entries.len()) == count)
    })
}

pub fn alter_and_describe(talk: &mut Talk<'_>) -> Result<()> {
    for version in 0..=1 {
        for (what, entity, ops) in CHANGES {
            let validate = alteration(vec![entry(entity, ops)]).with_validate_only(true);
            alter(talk, &format!("{what}, only asked"), version, &validate)?;
        }
        describe(talk, version, "nothing changed")?;
        for (what, entity, ops) in CHANGES {
            alter(talk, what, version, &alteration(vec![entry(entity, ops)]))?;
        }
        alter(talk, "none", version, &alteration(vec![]))?;
        // Each succeeds or fails by itself.
        let several = vec![entry(ANN, &[("no_such", Some(1.0))]), entry(ANYBODY, RATE)];
        alter(talk, "several", version, &alteration(several))?;
        let bob: Entity<'_> = &[("user", Some("bob"))];
        let again = vec![
            entry(bob, RATE),
            entry(bob, &[("producer_byte_rate", Some(7.0))]),
        ];
        alter(talk, "one again", version, &alteration(again))?;
        settle(talk, 9)?;
        describe(talk, version, "changed")?;
        let keys = [
            "producer_byte_rate",
            "consumer_byte_rate",
            "request_percentage",
            "controller_mutation_rate",
        ];
        let none: Vec<_> = keys.iter().map(|key| (*key, None)).collect();
        // Of a type that was named twice the last name counts.
        let y: Entity<'_> = &[("user", Some("y"))];
        for entity in [ANN, ANYBODY, ANNS_APP, ANYBODYS_APP, ANY_APP, bob, y] {
            alter(
                talk,
                "taken back",
                version,
                &alteration(vec![entry(entity, &none)]),
            )?;
        }
        for entity in [HOST, ANY_HOST] {
            let none = [("connection_creation_rate", None)];
            alter(
                talk,
                "taken back",
                version,
                &alteration(vec![entry(entity, &none)]),
            )?;
        }
        settle(talk, 0)?;
    }
    Ok(())
}

/// What a quota of a client id does to a client that calls itself so.
fn limit(talk: &mut Talk<'_>, client_id: &str, key: &str, value: Option<f64>) -> Result<()> {
    let entity = [("client-id", Some(client_id))];
    let altered = talk.quietly(1, &alteration(vec![entry(&entity, &[(key, value)])]))?;
    ensure!(altered.entries[0].error_code == 0, "{altered:?}");
    settle(talk, usize::from(value.is_some()))
}

/// `as expected` if that is no more than a fifth longer, and as long as `part` of it.
fn held(throttle_time_ms: i32, expected_ms: f64, part: f64) -> String {
    let ms = f64::from(throttle_time_ms);
    match ms >= expected_ms * part && ms <= expected_ms * 1.2 {
        true => "as expected".to_owned(),
        false => format!("{ms} ms, expected {expected_ms}"),
    }
}

fn producing(topic: &str, bytes: usize, acks: i16) -> Result<ProduceRequest> {
    let data =
        PartitionProduceData::default().with_records(Some(batch(&[&vec![b'x'; bytes]])?.freeze()));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![data]);
    Ok(ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic]))
}

fn fetching(topic: &str, session: (i32, i32)) -> FetchRequest {
    // The first batch: Kafka also gives as much of the second as there is room for.
    let partition = FetchPartition::default().with_partition_max_bytes(910_000);
    let topic = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_id(session.0)
        .with_session_epoch(session.1)
        .with_topics(vec![topic])
}

pub fn throttle(talk: &mut Talk<'_>) -> Result<()> {
    const RATE: f64 = 100_000.0;
    talk.create_topic("throttled", 1)?;
    let mut client = talk.client("produce-quota")?;
    limit(talk, "produce-quota", "producer_byte_rate", Some(RATE))?;
    // Ten seconds count from the start.
    let first = client.call(9, &producing("throttled", 900_000, 1)?)?;
    talk.fact(
        "throttle of a producer below its quota",
        first.throttle_time_ms.to_string(),
    );
    let second = client.call(9, &producing("throttled", 160_000, 1)?)?;
    talk.fact(
        "throttle of a producer",
        held(second.throttle_time_ms, 600.0, 0.8),
    );
    let started = std::time::Instant::now();
    client.call(
        2,
        &protocol_shim::newer::api_versions::ApiVersionsRequest::default(),
    )?;
    let waited_ms = i32::try_from(started.elapsed().as_millis())?;
    talk.fact(
        "what the producer waits",
        held(waited_ms, f64::from(second.throttle_time_ms), 0.8),
    );
    limit(talk, "produce-quota", "producer_byte_rate", None)?;

    let mut client = talk.client("fetch-quota")?;
    limit(talk, "fetch-quota", "consumer_byte_rate", Some(RATE))?;
    let size = |response: &kafka_protocol::messages::FetchResponse| {
        let partitions = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions);
        let records = partitions.filter_map(|partition| partition.records.as_ref());
        records.map(bytes::Bytes::len).sum::<usize>()
    };
    let first = client.call(12, &fetching("throttled", (0, 0)))?;
    talk.fact("records of the first fetch", (size(&first) > 0).to_string());
    talk.fact(
        "throttle of the first fetch",
        first.throttle_time_ms.to_string(),
    );
    let second = client.call(12, &fetching("throttled", (first.session_id, 1)))?;
    talk.fact("records of a throttled fetch", size(&second).to_string());
    talk.fact(
        "throttle of a fetch",
        held(second.throttle_time_ms, 8000.0, 0.8),
    );
    let same = second.session_id == first.session_id;
    talk.fact("session of a throttled fetch", same.to_string());
    limit(talk, "fetch-quota", "consumer_byte_rate", None)?;
    mutations(talk)
}

fn mutations(talk: &mut Talk<'_>) -> Result<()> {
    let mut client = talk.client("mutation-quota")?;
    limit(
        talk,
        "mutation-quota",
        "controller_mutation_rate",
        Some(5.0),
    )?;
    let create = |names: &[(&str, i32)]| {
        let topics = names.iter().map(|(name, partitions)| {
            CreatableTopic::default()
                .with_name(topic_name(name))
                .with_num_partitions(*partitions)
                .with_replication_factor(1)
        });
        CreateTopicsRequest::default()
            .with_topics(topics.collect())
            .with_timeout_ms(10_000)
    };
    // 55 at once, and five more each second. What the change itself takes is part of the wait.
    let created = client.call(7, &create(&[("mutated-a", 60), ("mutated-b", 1)]))?;
    let mut errors: Vec<_> = created
        .topics
        .iter()
        .map(|topic| (topic.name.to_string(), topic.error_code))
        .collect();
    errors.sort();
    talk.fact("two topics", format!("{errors:?}"));
    talk.fact(
        "throttle of two topics",
        held(created.throttle_time_ms, 1000.0, 0.5),
    );
    let old = client.call(5, &create(&[("mutated-c", 5)]))?;
    talk.fact("an older client", old.topics[0].error_code.to_string());
    talk.fact(
        "throttle of an older client",
        held(old.throttle_time_ms, 1000.0, 0.5),
    );
    let delete = DeleteTopicsRequest::default()
        .with_topic_names(vec![topic_name("mutated-a")])
        .with_timeout_ms(10_000);
    let deleted = client.call(5, &delete)?;
    talk.fact("a deletion", deleted.responses[0].error_code.to_string());
    talk.fact("its throttle", (deleted.throttle_time_ms > 0).to_string());
    let grown = CreatePartitionsTopic::default()
        .with_name(topic_name("mutated-c"))
        .with_count(6)
        .with_assignments(None);
    let grow = CreatePartitionsRequest::default()
        .with_topics(vec![grown])
        .with_timeout_ms(10_000);
    let grown = client.call(3, &grow)?;
    talk.fact("a growth", grown.results[0].error_code.to_string());
    talk.fact("its throttle", (grown.throttle_time_ms > 0).to_string());
    limit(talk, "mutation-quota", "controller_mutation_rate", None)
}

#[test]
fn the_windows_in_the_tests_of_quotas_are_those_of_kafkas_classes() -> Result<()> {
    const WINDOWS: &str = include_str!("../../../broker/src/quota/kafka_windows.txt");
    let Some(tools) = available(KafkaTools::new())? else {
        return Ok(());
    };
    let said = tools.run("QuotaWindows", &[])?;
    assert!(said == WINDOWS, "broker/src/quota/kafka_windows.txt");
    Ok(())
}
