//! Access control entries: what Ottla decides, answers and keeps, beside Kafka's own authorizer.
//!
//! Needs Java and Maven, for Kafka's jars; what needs them is skipped where they are not.

mod decisions;
mod denied;
mod entries;
mod kept;

use anyhow::Result;
use compat_tests::java::KafkaTools;
use compat_tests::scenario::Exchange;
use compat_tests::scenario::comparison::{Deliberate, differences, judge_of};
use compat_tests::tool_answers::{Tool, both, same_answers};
use compat_tests::{BrokerKind, BrokerProcess, RawClient, available};

/// Everybody is User:ANONYMOUS, and may do what no entry is about.
const CONFIG: &[(&str, &str)] = &[
    (
        "authorizer.class.name",
        "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    ),
    ("allow.everyone.if.no.acl.found", "true"),
    ("super.users", "User:admin;User:CN=other"),
    ("offsets.topic.num.partitions", "1"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    // Ottla answers the two APIs of KIP-714 where it is told to, Kafka always.
    ("ottla.client.metrics", "true"),
];

const TOOLS: &[(&str, Tool)] = &[("kafka-acls", || {
    Ok(KafkaTools::new()?.command("AclTools", &[]))
})];

type Scenario = fn(&BrokerProcess) -> Result<Vec<Exchange>>;

/// The last one leaves entries behind.
const SCENARIOS: &[(&str, Scenario)] = &[
    ("entries", entries::create_describe_delete),
    ("denied", denied::every_api),
];

/// Every difference that is meant.
#[rustfmt::skip] // a table: one row per difference
static DELIBERATE: &[Deliberate] = &[
    Deliberate::new("entries: * code 0*", "*closed*", "*",
        "a code that means nothing is an error of the request; Kafka closes the connection"),
    Deliberate::new("entries: 30 v* * any: answer", "*error_code: -1*", "*error_code: 42*",
        "the entry is at fault, not the server"),
    Deliberate::new("entries: 30 v* pattern match: answer", "*error_code: -1*", "*error_code: 42*",
        "the entry is at fault, not the server"),
    Deliberate::new("entries: 30 v* no range: answer", "*error_code: 42*Invalid CIDR notation*", "*error_code: 42*Invalid CIDR notation*",
        "Kafka tells what its parser says"),
    Deliberate::new("denied: Fetch v* *.aborted_transactions", "(absent)", "None", "null and an empty list mean the same"),
    Deliberate::new("denied: Fetch v* *.aborted_transactions.(order)", "", "(absent)", "null and an empty list mean the same"),
    Deliberate::new("denied: Metadata v1* topics[denied].topic_id", "07070707*", "00000000*",
        "before its time an id is not looked at"),
    Deliberate::new("denied: AddPartitionsToTxn v*", "16", "49", "the log of transactions is there when somebody asks for it"),
    Deliberate::new("denied: GetTelemetrySubscriptions v0 denied: subscription_id", "*", "*", "a checksum of what only its broker knows"),
    Deliberate::new("denied: CreatePartitions v*error_message", "None", "*", "every error has a text"),
    Deliberate::new("denied: DescribeClientQuotas v*error_message", "None", "*", "every error has a text"),
    Deliberate::new("denied: DescribeUserScramCredentials v*error_message", "None", "*", "every error has a text"),
];

#[test]
fn tools_and_requests_are_answered_as_by_kafka_with_its_authorizer() -> Result<()> {
    let (kafka, ottla) = both(
        || BrokerProcess::start_as(BrokerKind::Kafka, CONFIG, &[]),
        || BrokerProcess::start_as(BrokerKind::Ottla, CONFIG, &[]),
    );
    let Some(kafka) = available(kafka)? else {
        return Ok(());
    };
    let ottla = ottla?;
    same_answers(TOOLS, &kafka, &ottla)?;
    for broker in [&kafka, &ottla] {
        RawClient::connect(broker.address())?.to_coordinator("any group")?;
    }
    let mut found = Vec::new();
    for (name, scenario) in SCENARIOS {
        let (by_kafka, by_ottla) = both(|| scenario(&kafka), || scenario(&ottla));
        found.extend(differences(name, &by_kafka?, &by_ottla?)?);
    }
    let verdict = judge_of(ottla.count(), found, DELIBERATE, &[]);
    for difference in &verdict.unexpected {
        println!("{difference}");
    }
    assert!(
        verdict.unexpected.is_empty(),
        "unexpected differences, see above"
    );
    assert!(
        verdict.outdated.is_empty(),
        "no difference any more: {:?}",
        verdict.outdated
    );
    Ok(())
}
