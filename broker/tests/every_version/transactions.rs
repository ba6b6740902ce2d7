//! Transactions.

use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest,
    TransactionalId,
};
use protocol_shim::newer::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};

use super::Case;
use super::support::{group_id, string, topic_name};

const ADD_PARTITIONS_OF_PRODUCERS: i16 = 3;

fn id() -> TransactionalId {
    TransactionalId(string("id"))
}

/// A transactional producer's id. Its epoch is 0.
async fn producer(case: &mut Case) -> i64 {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id()))
        .with_transaction_timeout_ms(60_000);
    let response = case.client.call(1, request).await;
    assert_eq!((response.error_code, response.producer_epoch), (0, 0));
    response.producer_id.0
}

fn topic(name: &'static str, partitions: &[i32]) -> AddPartitionsToTxnTopic {
    AddPartitionsToTxnTopic::default()
        .with_name(topic_name(name))
        .with_partitions(partitions.to_vec())
}

/// A request of a producer for its own transaction.
fn add(producer_id: i64, topics: Vec<AddPartitionsToTxnTopic>) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id())
        .with_v3_and_below_producer_id(producer_id.into())
        .with_v3_and_below_topics(topics)
}

pub async fn add_partitions(case: &mut Case) {
    let producer_id = producer(case).await;
    if case.version > ADD_PARTITIONS_OF_PRODUCERS {
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(id())
            .with_producer_id(producer_id.into())
            .with_topics(vec![topic("topic", &[0, 2])]);
        for (verify_only, error) in [(true, 120), (false, 0), (true, 0)] {
            let transaction = transaction.clone().with_verify_only(verify_only);
            let request = AddPartitionsToTxnRequest::default().with_transactions(vec![transaction]);
            let response = case.client.call(case.version, request).await;
            let result = &response.results_by_transaction[0].topic_results[0];
            let results = result.results_by_partition.iter();
            assert!({ results }.all(|result| result.partition_error_code == error));
        }
        return;
    }
    for (topics, errors) in [
        (vec![topic("topic", &[0, 2])], vec![0, 0]),
        (
            vec![topic("topic", &[0, 9]), topic("unknown", &[0])],
            vec![55, 3, 3],
        ),
    ] {
        let response = case
            .client
            .call(case.version, add(producer_id, topics))
            .await;
        let topics = response.results_by_topic_v3_and_below.iter();
        let results = topics.flat_map(|topic| &topic.results_by_partition);
        let told: Vec<i16> = results.map(|result| result.partition_error_code).collect();
        assert_eq!(told, errors);
    }
}

pub async fn add_offsets(case: &mut Case) {
    let producer_id = producer(case).await;
    for (producer_id, error) in [(producer_id, 0), (producer_id + 1, 49)] {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(id())
            .with_producer_id(producer_id.into())
            .with_group_id(group_id("group"));
        let response = case.client.call(case.version, request).await;
        assert_eq!(response.error_code, error);
    }
}

pub async fn end(case: &mut Case) {
    let producer_id = producer(case).await;
    let request = add(producer_id, vec![topic("topic", &[1])]);
    case.client.call(ADD_PARTITIONS_OF_PRODUCERS, request).await;
    let request = EndTxnRequest::default()
        .with_transactional_id(id())
        .with_producer_id(producer_id.into())
        .with_committed(true);
    for error in [0, 0] {
        let response = case.client.call(case.version, request.clone()).await;
        assert_eq!(response.error_code, error);
        let epoch = if case.version >= 5 { 1 } else { -1 };
        assert_eq!(response.producer_epoch, epoch);
    }
    let other = request.with_producer_id((producer_id + 1).into());
    assert_eq!(case.client.call(case.version, other).await.error_code, 49);
}

pub async fn commit_offsets(case: &mut Case) {
    let producer_id = producer(case).await;
    if case.version < 5 {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(id())
            .with_producer_id(producer_id.into())
            .with_group_id(group_id("group"));
        assert_eq!(case.client.call(3, request).await.error_code, 0);
    }
    let partitions = [0, 9].map(|index| {
        TxnOffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(1)
            .with_committed_metadata(None)
    });
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(topic_name("topic"))
        .with_topic_id(case.topic_id)
        .with_partitions(partitions.to_vec());
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(id())
        .with_group_id(group_id("group"))
        .with_producer_id(producer_id.into())
        .with_topics(vec![topic]);
    let response = case.client.call(case.version, request.clone()).await;
    let told = response.topics[0].partitions.iter();
    let mut told: Vec<(i32, i16)> = told
        .map(|partition| (partition.partition_index, partition.error_code))
        .collect();
    told.sort_unstable();
    assert_eq!(told, [(0, 0), (9, 3)]);
    let nothing = request.with_topics(Vec::new());
    assert_eq!(case.client.call(case.version, nothing).await.topics, []);
}
