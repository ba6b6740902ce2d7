//! `kafka-transactions` in all its forms and `kafka-get-offsets`: they say and do the same with Ottla as with Kafka. And what
//! `kafka-dump-log` finds in the directory afterwards.
//!
//! Needs Java and Maven, for Kafka's jars; skipped where they are not.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use compat_tests::java::KafkaTools;
use compat_tests::records::{batch, create_topic, position, seal};
use compat_tests::tool_answers::{both, same_answers};
use compat_tests::{BrokerKind, BrokerProcess, RawClient, available, cluster};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{FindCoordinatorRequest, InitProducerIdRequest, ProduceRequest};
use kafka_protocol::protocol::StrBytes;
use serde_json::Value;

/// What both brokers are started with. Without verification, a transaction can hang that no coordinator knows.
const CONFIG: &[(&str, &str)] = &[
    ("offsets.topic.num.partitions", "3"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("transaction.state.log.num.partitions", "3"),
    ("transaction.partition.verification.enable", "false"),
];
const HOUR_MS: u128 = 3_600_000;

#[test]
fn every_transaction_tool_says_and_does_the_same_as_with_kafka() -> Result<()> {
    let (kafka, ottla) = both(
        || BrokerProcess::start_as(BrokerKind::Kafka, CONFIG, &[]),
        || BrokerProcess::start_as(BrokerKind::Ottla, CONFIG, &[]),
    );
    let Some(mut kafka) = available(kafka)? else {
        return Ok(());
    };
    let mut ottla = ottla?;
    hang(&kafka)?;
    hang(&ottla)?;
    let tools = || Ok(KafkaTools::new()?.command("TransactionTools", &[]));
    let compared = same_answers(&[("kafka-transactions", tools)], &kafka, &ottla);
    ottla.terminate()?;
    compared?;
    if cluster::leaves_out("dump-log") {
        return Ok(());
    }
    kafka.terminate()?;
    let (expected, found) = (Left::by(&kafka)?, Left::by(&ottla)?);
    assert!(expected.transactions.contains_key("committed"));
    assert!(!expected.aborted.is_empty());
    assert_eq!(found, expected);
    Ok(())
}

/// What `kafka-dump-log` finds of transactions in a broker's directory.
#[derive(Debug, PartialEq)]
struct Left {
    /// The last record of each transactional id, without what only this broker has given out.
    transactions: BTreeMap<String, Value>,
    /// The entries of indexes of aborted transactions, without their producers.
    aborted: Vec<String>,
}

impl Left {
    fn by(broker: &BrokerProcess) -> Result<Self> {
        let (tools, data_dir) = (KafkaTools::new()?, broker.data_dir());
        let how = ["--transaction-log-decoder", "--print-data-log"];
        let dumped = tools.dump_log(&data_dir, "__transaction_state", "log", &how)?;
        let mut transactions = BTreeMap::new();
        for line in dumped.lines() {
            let Some((_, record)) = line.split_once(" key: ") else {
                continue;
            };
            let (key, value) = record.split_once(" payload: ").context("a value")?;
            let (key, mut value): (Value, Value) =
                (serde_json::from_str(key)?, serde_json::from_str(value)?);
            let id = key["data"]["transactionalId"].as_str().context("an id")?;
            let fields = value["data"].as_object_mut().context("fields")?;
            fields
                .retain(|name, _| !name.ends_with("ProducerId") && !name.ends_with("TimestampMs"));
            fields.remove("producerId");
            transactions.insert(id.to_owned(), value);
        }
        let mut aborted = Vec::new();
        for topic in ["out", "hung"] {
            let dumped = tools.dump_log(&data_dir, topic, "txnindex", &[])?;
            let entries = dumped
                .lines()
                .filter_map(|line| line.split_once(" firstOffset: "));
            aborted.extend(entries.map(|(_, entry)| format!("{topic} {entry}")));
        }
        Ok(Self {
            transactions,
            aborted,
        })
    }
}

/// Leaves a transaction in the topic "hung" that its coordinator has never heard of, an hour old.
fn hang(broker: &BrokerProcess) -> Result<()> {
    let mut client = RawClient::connect(broker.address())?;
    client.to_coordinator("any group")?;
    let id = StrBytes::from_static_str("hanging");
    let find = FindCoordinatorRequest::default()
        .with_key(id.clone())
        .with_key_type(1);
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(id.into()))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let producer = loop {
        let found = client.call(3, &find)?;
        if found.error_code == 0 {
            let answer = RawClient::connect_to(&found)?.call(4, &init)?;
            // The coordinator loads its log, or makes it.
            if ![14, 15, 16, 51].contains(&answer.error_code) {
                break answer;
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    ensure!(producer.error_code == 0, "error {}", producer.error_code);
    create_topic(&mut client, "hung", 1)?;
    let mut records = batch(&[b"hangs"])?;
    let hour_ago = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() - HOUR_MS;
    let hour_ago = i64::try_from(hour_ago)?.to_be_bytes();
    let mut put = |at: usize, bytes: &[u8]| records[at..at + bytes.len()].copy_from_slice(bytes);
    put(position::ATTRIBUTES, &0x10_i16.to_be_bytes());
    put(position::FIRST_TIMESTAMP, &hour_ago);
    put(position::MAX_TIMESTAMP, &hour_ago);
    put(position::PRODUCER_ID, &producer.producer_id.0.to_be_bytes());
    put(
        position::PRODUCER_EPOCH,
        &producer.producer_epoch.to_be_bytes(),
    );
    put(position::SEQUENCE, &0_i32.to_be_bytes());
    seal(&mut records);
    let partition = PartitionProduceData::default().with_records(Some(records.freeze()));
    let topic = TopicProduceData::default()
        .with_name(StrBytes::from_static_str("hung").into())
        .with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_transactional_id(Some(StrBytes::from_static_str("hanging").into()))
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic]);
    loop {
        let response = client.call(9, &request)?;
        match response.responses[0].partition_responses[0].error_code {
            0 => return Ok(()),
            // Kafka tells of a topic before its partitions are led.
            3 | 6 => std::thread::sleep(std::time::Duration::from_millis(20)),
            error => anyhow::bail!("the batch is refused with {error}"),
        }
    }
}
