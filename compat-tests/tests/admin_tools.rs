//! Every tool of Kafka that talks to a broker and has no suite of its own, in its usual forms: it says the same with Ottla as
//! with Kafka, or the difference stands in [`TABLE`] with its reason.
//!
//! The tools run within one process for each broker (`clients/java/AdminTools.java`). `kafka-consumer-groups`, `kafka-transactions`,
//! `kafka-acls` with an authorizer and quotas have suites of their own. `kafka-replica-verification` compares replicas for
//! ever, and there is one.
//!
//! Needs Java and Maven, for Kafka's jars; skipped where they are not.

use anyhow::Result;
use compat_tests::java::KafkaTools;
use compat_tests::scenario::comparison::Deliberate;
use compat_tests::tool_answers::{both, same_answers_but};
use compat_tests::{BrokerKind, BrokerProcess, available};

/// What both brokers are started with.
const CONFIG: &[(&str, &str)] = &[
    ("offsets.topic.num.partitions", "3"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("log.initial.task.delay.ms", "3600000"),
];

/// What tools are meant to say differently: what they were asked, what they say with Kafka, and with Ottla.
#[rustfmt::skip] // a table
static TABLE: &[Deliberate] = &[
    Deliberate::new("$ kafka-topics --create --topic wide *", "*are registered or some brokers have all their log directories cordoned.*", "*are registered.*",
        "there is one directory, which nobody takes out of use"),
    Deliberate::new("$ kafka-configs --describe --entity-type topics --entity-name orders --all", "*", "*ottla.durability=*",
        "a topic config of our own"),
    Deliberate::new("$ kafka-configs --describe --entity-type groups --entity-name readers --all", "*streams.assignor.name=sticky*", "*streams.assignor.name=null*",
        "there are no streams groups to assign"),
    Deliberate::new("$ kafka-metadata-quorum describe --status", "*CONTROLLER://*", "*PLAINTEXT://BROKER*",
        "one listener, no controller's"),
    Deliberate::new("$ kafka-metadata-quorum remove-controller *", "*VoterNotFoundException*", "*The node does not support REMOVE_RAFT_VOTER*",
        "the quorum is the broker itself and stays so"),
    Deliberate::new("$ kafka-broker-api-versions", "*", "*UNSUPPORTED*",
        "an API that is not served is not announced"),
    Deliberate::new("$ kafka-features describe", "*", "*",
        "a feature works at one level; one that does not work is not told of"),
    Deliberate::new("$ kafka-features upgrade --feature group.version=2*", "*Local controller 1 only supports versions 0-1*", "*This broker has it at level 1, and at no other.*",
        "a feature works at one level"),
    Deliberate::new("$ kafka-features downgrade --metadata 3.9", "*", "*This broker has it at level 33, and at no other.*",
        "a feature works at one level"),
    Deliberate::new("$ kafka-features downgrade --feature metadata.version=5", "*", "*This broker has it at level 33, and at no other.*",
        "a feature works at one level"),
    Deliberate::new("$ kafka-features upgrade --release-version 4.4", "*share.version was upgraded to 2.*", "*does not support this feature*",
        "there are no share groups, no streams groups and no second voter"),
    Deliberate::new("$ kafka-share-groups --describe --group *", "*", "*The node does not support SHARE_GROUP_DESCRIBE*",
        "there are no share groups"),
    Deliberate::new("$ kafka-streams-groups --describe --group *", "*", "*The node does not support STREAMS_GROUP_DESCRIBE*",
        "there are no streams groups"),
];

/// What is meant of several brokers besides.
#[rustfmt::skip] // a table
static OF_SEVERAL: &[Deliberate] = &[
    Deliberate::new("$ kafka-topics --create --topic wide --replication-factor 3", "*cannot be reached*", "Created topic wide.",
        "a replication factor is taken and not kept"),
    Deliberate::new("$ kafka-configs --describe --entity-type brokers", "*", "*", "there are more of them"),
    Deliberate::new("$ kafka-configs --describe --entity-type topics --entity-name orders", "*throttled.replicas=0:1 *", "*throttled.replicas=0:1,0:2,0:3 *",
        "a throttle of each replica"),
    Deliberate::new("$ kafka-reassign-partitions --execute *", "*Failed to alter dir for orders-0-1*", "*Failed to alter dir for orders-0-*",
        "any of the brokers"),
    Deliberate::new("$ kafka-reassign-partitions --execute --reassignment-json-file HERE/here.json", "*", "*", "any of the brokers"),
    Deliberate::new("$ kafka-topics --describe --at-min-isr-partitions", "*", "*", "more brokers have a partition than have to be in step"),
    Deliberate::new("$ kafka-reassign-partitions --verify *", "*", "*", "the first of those that have a partition is its leader, whoever was named first"),
    Deliberate::new("$ kafka-reassign-partitions --cancel *", "*on broker 1*", "*on brokers 1*", "there are more of them"),
    Deliberate::new("$ kafka-log-dirs --describe*", "*", "*", "each broker tells of the partitions, and the object store has no size"),
    Deliberate::new("$ kafka-cluster list-endpoints*", "*", "*rack-3*", "each broker has its line"),
];

#[test]
fn every_admin_tool_says_the_same_as_with_kafka_or_its_difference_is_meant() -> Result<()> {
    let (kafka, ottla) = both(
        || BrokerProcess::start_as(BrokerKind::Kafka, CONFIG, &[]),
        || BrokerProcess::start_as(BrokerKind::Ottla, CONFIG, &[]),
    );
    let Some(kafka) = available(kafka)? else {
        return Ok(());
    };
    let mut ottla = ottla?;
    let tools = || Ok(KafkaTools::new()?.command("AdminTools", &[]));
    let compared = same_answers_but(
        (TABLE, OF_SEVERAL),
        &[("Kafka's tools", tools)],
        &kafka,
        &ottla,
    );
    ottla.terminate()?;
    compared
}
