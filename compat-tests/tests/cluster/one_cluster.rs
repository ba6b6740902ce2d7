//! What one broker has acknowledged the next one knows, also in the moment before it would have heard of it by itself.

use anyhow::{Result, ensure};
use compat_tests::cluster::Cluster;
use compat_tests::records::{batch, create_topic, position, produce, seal};
use compat_tests::{RawClient, available};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DescribeProducersRequest, OffsetForLeaderEpochRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

const PRODUCER_ID: i64 = 4711;
/// So often each question is the first that a broker hears after the append.
const ROUNDS: i32 = 24;

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("orders"))
}

/// What a consumer asks that has read up to `end`: was the log cut?
fn is_whole(client: &mut RawClient, end: i64) -> Result<()> {
    let partition = OffsetForLeaderPartition::default()
        .with_current_leader_epoch(-1)
        .with_leader_epoch(0);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(topic())
        .with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    let told = client.call(4, &request)?.topics[0].partitions[0].clone();
    ensure!(
        (told.error_code, told.end_offset) == (0, end),
        "end {end}: {told:?}"
    );
    Ok(())
}

fn is_deleted(client: &mut RawClient, end: i64) -> Result<()> {
    let partition = DeleteRecordsPartition::default().with_offset(end);
    let topic = DeleteRecordsTopic::default()
        .with_name(topic())
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default()
        .with_timeout_ms(10_000)
        .with_topics(vec![topic]);
    let told = client.call(2, &request)?.topics[0].partitions[0].clone();
    ensure!(
        (told.error_code, told.low_watermark) == (0, end),
        "end {end}: {told:?}"
    );
    Ok(())
}

fn is_told_of_the_producer(client: &mut RawClient, end: i64) -> Result<()> {
    let topic = TopicRequest::default()
        .with_name(topic())
        .with_partition_indexes(vec![0]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let told = client.call(0, &request)?.topics[0].partitions[0].clone();
    let producers = told.active_producers.iter();
    let sequences: Vec<i64> = producers
        .map(|producer| i64::from(producer.last_sequence))
        .collect();
    ensure!(sequences == [end - 1], "end {end}: {told:?}");
    Ok(())
}

#[test]
fn what_one_broker_has_acknowledged_the_next_one_knows() -> Result<()> {
    let Some(cluster) = available(Cluster::start(&[]))? else {
        return Ok(());
    };
    cluster.wait_for_brokers(0, &[1, 2, 3])?;
    let brokers = cluster.brokers.iter();
    let clients = brokers.map(|broker| RawClient::connect(broker.address()));
    let mut clients = clients.collect::<Result<Vec<_>>>()?;
    create_topic(&mut clients[0], &topic(), 1)?;
    let questions = [is_whole, is_deleted, is_told_of_the_producer];
    for round in 0..ROUNDS {
        let mut records = batch(&[b"record"])?;
        let mut put =
            |at: usize, bytes: &[u8]| records[at..at + bytes.len()].copy_from_slice(bytes);
        put(position::PRODUCER_ID, &PRODUCER_ID.to_be_bytes());
        put(position::PRODUCER_EPOCH, &0_i16.to_be_bytes());
        put(position::SEQUENCE, &round.to_be_bytes());
        seal(&mut records);
        let turn = usize::try_from(round)?;
        // All of them serve the partition, each for the clients of its rack.
        let (error, offset) = produce(&mut clients[turn % 3], &topic(), 0, records.freeze())?;
        ensure!((error, offset) == (0, i64::from(round)), "{error} {offset}");
        for other in 1..3 {
            let ask = questions[(turn / 3 + other) % 3];
            ask(&mut clients[(turn + other) % 3], offset + 1)?;
        }
    }
    Ok(())
}
