//! What producers send that is not what it should be, and what must not be deleted.

#![allow(clippy::unwrap_used)]

extern crate ottla as broker;

mod support;

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::{CreateTopicsRequest, DeleteRecordsRequest, TransactionalId};
use protocol_shim::newer::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use storage::record::batch::compute_crc;
use storage::record::{BatchBuilder, CompressionType};
use support::{
    Client, batch, batch_at, connect, produce, start_broker, start_broker_with, string, topic_name,
};

async fn create(client: &mut Client, name: &'static str, key: &'static str, value: &'static str) {
    let config = CreatableTopicConfig::default()
        .with_name(string(key))
        .with_value(Some(string(value)));
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(3)
        .with_replication_factor(1)
        .with_configs(vec![config]);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(1000);
    let response = client.call(7, request).await;
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
}

/// The first offset of a partition (-2), or the one behind its last record (-1).
async fn offset(client: &mut Client, topic: &'static str, partition: i32, which: i64) -> i64 {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(which);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    let response = client.call(5, request).await;
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
    response.topics[0].partitions[0].offset
}

/// The batch with `bytes` written at `at`, and a CRC that agrees.
fn changed(batch: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut changed = batch.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = compute_crc(&changed);
    changed[17..21].copy_from_slice(&crc.to_be_bytes());
    changed.into()
}

fn keyed(codec: CompressionType, value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new().compression(codec);
    builder.append(1_700_000_000_000, Some(b"key"), Some(value), &[]);
    builder.append(1_700_000_000_000, Some(b"other"), Some(value), &[]);
    builder.build().unwrap()
}

fn of_a_transaction() -> Bytes {
    let mut builder = BatchBuilder::new().producer(77, 0, 0).transactional();
    builder.append(1_700_000_000_000, Some(b"key"), Some(b"value"), &[]);
    builder.build().unwrap()
}

fn errors(response: &kafka_protocol::messages::ProduceResponse) -> Vec<i16> {
    let partitions = response.responses[0].partition_responses.iter();
    partitions.map(|partition| partition.error_code).collect()
}

#[tokio::test]
async fn nothing_of_a_transaction_that_nobody_has_begun_is_stored_whatever_the_request_says() {
    let of_nobody = of_a_transaction();
    let without_producer = changed(&of_nobody, 43, &(-1_i64).to_be_bytes());
    let as_marker = changed(&of_nobody, 21, &[0, 0x30]);
    for records in [of_nobody, without_producer, as_marker] {
        let broker = start_broker().await;
        let mut client = connect(&broker);
        client.create_topic("topic", 3).await;
        let wanted = || produce("topic", vec![(1, batch(&["good"])), (0, records.clone())]);
        let mut appended = 0;
        for version in 3..=12 {
            let response = client.call(version, wanted()).await;
            assert_eq!(errors(&response), [53, 53], "v{version}");
            let response = client.call(version, wanted().with_acks(7)).await;
            assert_eq!(errors(&response), [53, 53], "v{version}, before the acks");
            let mut doomed = connect(&broker);
            doomed.send(version, wanted().with_acks(0)).await;
            assert!(doomed.next_frame().await.is_none(), "v{version}, acks=0");
            assert_eq!(offset(&mut client, "topic", 1, -1).await, appended);

            let id = Some(TransactionalId(string("some id")));
            let with_id = wanted().with_transactional_id(id);
            let response = client.call(version, with_id).await;
            assert_eq!(errors(&response), [0, 49], "v{version}, with an id");
            appended += 1;
            assert_eq!(offset(&mut client, "topic", 1, -1).await, appended);
            assert_eq!(offset(&mut client, "topic", 0, -1).await, 0);
        }
    }
}

#[tokio::test]
async fn records_are_deleted_only_where_the_cleanup_policy_says_delete() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    for (name, policy, deleted) in [
        ("compact", "compact", false),
        ("both", "compact,delete", true),
        ("turned", "delete,compact", true),
        ("plain", "delete", true),
    ] {
        create(&mut client, name, "cleanup.policy", policy).await;
        let records = keyed(CompressionType::None, b"value");
        let response = client.call(9, produce(name, vec![(0, records)])).await;
        assert_eq!(errors(&response), [0]);
        for asked in [-2, 99, 1, -1] {
            let partition = DeleteRecordsPartition::default().with_offset(asked);
            let topic = DeleteRecordsTopic::default()
                .with_name(topic_name(name))
                .with_partitions(vec![partition]);
            let request = DeleteRecordsRequest::default()
                .with_timeout_ms(1000)
                .with_topics(vec![topic]);
            let response = client.call(2, request).await;
            let answer = &response.topics[0].partitions[0];
            let expected = match (deleted, asked) {
                (false, _) => (44, -1),
                (true, -2 | 99) => (1, -1),
                (true, 1) => (0, 1),
                (true, _) => (0, 2),
            };
            let found = (answer.error_code, answer.low_watermark);
            assert_eq!(found, expected, "{policy}: {asked}");
        }
        let start = offset(&mut client, name, 0, -2).await;
        assert_eq!(start, if deleted { 2 } else { 0 }, "{policy}");
    }
}

#[tokio::test]
async fn a_compressed_batch_that_does_not_open_is_refused_unless_nobody_here_has_to_open_it() {
    let whole = keyed(CompressionType::Gzip, &[b'v'; 500]);
    let broken = changed(&whole, whole.len() - 20, &[0xaa; 10]);
    for (properties, of_plain) in [
        (&[][..], 87),
        (&[("ottla.record.validation", "full")], 87),
        (&[("ottla.record.validation", "compacted")], 0),
    ] {
        let broker = start_broker_with(properties).await;
        let mut client = connect(&broker);
        create(&mut client, "plain", "cleanup.policy", "delete").await;
        create(&mut client, "compact", "cleanup.policy", "compact").await;
        create(&mut client, "lz4", "compression.type", "lz4").await;
        for (name, expected) in [("plain", of_plain), ("compact", 87), ("lz4", 87)] {
            let batches = vec![(0, whole.clone()), (1, broken.clone()), (2, whole.clone())];
            let response = client.call(9, produce(name, batches)).await;
            let expected = [0, expected, 0];
            assert_eq!(errors(&response), expected, "{name}, {properties:?}");
        }
    }
}

/// The time stored with the newest record of partition 0, found by it.
async fn newest_timestamp(client: &mut Client, topic: &'static str) -> i64 {
    let partition = ListOffsetsPartition::default().with_timestamp(-3);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    let response = client.call(7, request).await;
    response.topics[0].partitions[0].timestamp
}

#[tokio::test]
async fn a_step_of_the_wall_clock_counts_for_the_next_record_in_both_directions() {
    const HOUR_MS: i64 = 3_600_000;
    for step_ms in [2 * HOUR_MS, -2 * HOUR_MS, 48 * HOUR_MS, -48 * HOUR_MS] {
        let broker = start_broker().await;
        let mut client = connect(&broker);
        create(
            &mut client,
            "created",
            "message.timestamp.type",
            "CreateTime",
        )
        .await;
        create(
            &mut client,
            "appended",
            "message.timestamp.type",
            "LogAppendTime",
        )
        .await;
        let before_ms = broker.clock.wall_ms();
        for topic in ["created", "appended"] {
            let request = produce(topic, vec![(0, batch_at(&["before"], before_ms))]);
            assert_eq!(errors(&client.call(9, request).await), [0], "{topic}");
        }
        broker.clock.step_wall(step_ms);

        // An hour ahead of the clock is the most that message.timestamp.after.max.ms lets in.
        for (ahead_ms, expected) in [
            (0, 0),
            (HOUR_MS / 2, 0),
            (2 * HOUR_MS, 32),
            (-2 * HOUR_MS, 0),
        ] {
            let at_ms = broker.clock.wall_ms() + ahead_ms;
            let request = produce("created", vec![(0, batch_at(&["after"], at_ms))]);
            let response = client.call(9, request).await;
            assert_eq!(errors(&response), [expected], "{step_ms}: {ahead_ms} ahead");
            let told = response.responses[0].partition_responses[0].log_append_time_ms;
            assert_eq!(told, -1, "{step_ms}: {ahead_ms} ahead");
        }
        // What was now before the step is the past, or a future that is too far.
        let request = produce("created", vec![(0, batch_at(&["late"], before_ms))]);
        let expected = if step_ms > 0 { 0 } else { 32 };
        assert_eq!(
            errors(&client.call(9, request).await),
            [expected],
            "{step_ms}"
        );

        let from_ms = broker.clock.wall_ms();
        let request = produce("appended", vec![(0, batch_at(&["after"], before_ms))]);
        let response = client.call(9, request).await;
        assert_eq!(errors(&response), [0], "{step_ms}");
        let told = response.responses[0].partition_responses[0].log_append_time_ms;
        let to_ms = broker.clock.wall_ms();
        assert!(
            (from_ms..=to_ms).contains(&told),
            "{step_ms}: {told} of {from_ms}..={to_ms}"
        );
        let newest = newest_timestamp(&mut client, "appended").await;
        match step_ms > 0 {
            true => assert_eq!(newest, told, "{step_ms}"),
            // That of the record before the step.
            false => assert!(newest >= before_ms && newest > told, "{step_ms}: {newest}"),
        }
    }
}

#[tokio::test]
async fn what_is_named_again_is_answered_once_as_by_kafka() {
    let broker = start_broker().await;
    let mut client = connect(&broker);
    client.create_topic("topic", 2).await;
    // Of batches the last one counts, whether the partition or the topic is named again.
    let mut request = produce("topic", vec![(0, batch(&["lost"])), (1, batch(&["a"]))]);
    let again = produce("topic", vec![(0, batch(&["b", "c"]))]);
    request.topic_data.extend(again.topic_data);
    let response = client.call(9, request).await;
    assert_eq!(response.responses.len(), 1);
    assert_eq!(errors(&response), [0, 0]);
    assert_eq!(offset(&mut client, "topic", 0, -1).await, 2);
    assert_eq!(offset(&mut client, "topic", 1, -1).await, 1);

    let places = |indexes: &[i32]| {
        let partitions = indexes.iter().map(|index| {
            ListOffsetsPartition::default()
                .with_partition_index(*index)
                .with_timestamp(-1)
        });
        ListOffsetsTopic::default()
            .with_name(topic_name("topic"))
            .with_partitions(partitions.collect())
    };
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![places(&[0, 1]), places(&[0, 9])]);
    let response = client.call(5, request).await;
    let answers = response.topics[0].partitions.iter();
    let answers = answers.map(|answer| (answer.partition_index, answer.error_code, answer.offset));
    assert_eq!(response.topics.len(), 1);
    assert_eq!(
        answers.collect::<Vec<_>>(),
        [(0, 42, -1), (1, 0, 1), (9, 3, -1)]
    );

    let deletion = |offsets: &[i64]| {
        let partitions = offsets
            .iter()
            .map(|offset| DeleteRecordsPartition::default().with_offset(*offset));
        DeleteRecordsTopic::default()
            .with_name(topic_name("topic"))
            .with_partitions(partitions.collect())
    };
    let request = DeleteRecordsRequest::default()
        .with_timeout_ms(1000)
        .with_topics(vec![deletion(&[2, 99]), deletion(&[1])]);
    let response = client.call(2, request).await;
    assert_eq!(response.topics.len(), 1);
    let answers = response.topics[0].partitions.iter();
    let answers = answers.map(|answer| (answer.error_code, answer.low_watermark));
    assert_eq!(answers.collect::<Vec<_>>(), [(0, 1)]);
}
