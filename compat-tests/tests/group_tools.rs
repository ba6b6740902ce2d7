//! The tools that administer groups: whatever they are asked to do, they say and do the same with Ottla as with Kafka.
//!
//! Kafka's `kafka-consumer-groups` in all its forms and its Java `Admin`, `kafka-configs` with quotas and a producer that is held
//! to one, then the admin clients of confluent-kafka and kafka-python. Each program works on groups of the classic and, where its client has it, of the consumer protocol,
//! with members and without, and writes a transcript in which what no two runs have in common has a name. Both brokers
//! get the same programs at the same time; an answer that is not Kafka's fails.
//!
//! Needs Java and Maven, for Kafka's jars; skipped where they are not.

use anyhow::{Result, ensure};
use bytes::Bytes;
use compat_tests::java::KafkaTools;
use compat_tests::python::Python;
use compat_tests::tool_answers::{Tool, both, same_answers};
use compat_tests::{BrokerKind, BrokerProcess, RawClient, available};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{JoinGroupRequest, SyncGroupRequest};
use kafka_protocol::protocol::StrBytes;

/// What both brokers are started with: groups settle fast, in several partitions, and records of 2020 are not deleted.
const CONFIG: &[(&str, &str)] = &[
    ("offsets.topic.num.partitions", "3"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.consumer.min.heartbeat.interval.ms", "200"),
    ("group.consumer.heartbeat.interval.ms", "200"),
    ("group.consumer.assignment.interval.ms", "0"),
    ("log.initial.task.delay.ms", "3600000"),
    // A client that has just begun is held to its quota soon.
    ("quota.window.num", "2"),
];

/// Every one of them leaves no group behind.
const TOOLS: &[(&str, Tool)] = &[
    ("kafka-consumer-groups and Admin", || {
        Ok(KafkaTools::new()?.command("GroupTools", &[]))
    }),
    ("kafka-configs with quotas", || {
        Ok(KafkaTools::new()?.command("QuotaTools", &[]))
    }),
    ("confluent-kafka 2.16.1", || {
        Ok(Python::with("confluent-kafka", "2.16.1")?.command("group_admin.py", &[]))
    }),
    ("kafka-python 3.0.12", || {
        Ok(Python::with("kafka-python", "3.0.12")?.command("group_admin.py", &[]))
    }),
];

#[test]
fn every_group_tool_says_and_does_the_same_as_with_kafka() -> Result<()> {
    let (kafka, ottla) = both(
        || BrokerProcess::start_as(BrokerKind::Kafka, CONFIG, &[]),
        || BrokerProcess::start_as(BrokerKind::Ottla, CONFIG, &[]),
    );
    let Some(kafka) = available(kafka)? else {
        return Ok(());
    };
    let mut ottla = ottla?;
    join_workers(&kafka)?;
    join_workers(&ottla)?;

    let compared = same_answers(TOOLS, &kafka, &ottla);
    ottla.terminate()?;
    compared
}

/// Makes a group that is none of consumers, as Kafka Connect's workers do, with a member that says nothing any more.
fn join_workers(broker: &BrokerProcess) -> Result<()> {
    let string = StrBytes::from_static_str;
    let mut client = RawClient::connect(broker.address())?.to_coordinator("workers")?;
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(string("sessioned"))
        .with_metadata(Bytes::from_static(b"a worker"));
    let join = JoinGroupRequest::default()
        .with_group_id(string("workers").into())
        .with_session_timeout_ms(300_000)
        .with_rebalance_timeout_ms(300_000)
        .with_protocol_type(string("connect"))
        .with_protocols(vec![protocol]);
    // Version 3 is the last one in which a member gets its id without asking twice.
    let joined = client.call(3, &join)?;
    ensure!(joined.error_code == 0, "error {}", joined.error_code);
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from_static(b"its work"));
    let sync = SyncGroupRequest::default()
        .with_group_id(string("workers").into())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id)
        .with_assignments(vec![assignment]);
    let synced = client.call(3, &sync)?;
    ensure!(synced.error_code == 0, "error {}", synced.error_code);
    Ok(())
}
