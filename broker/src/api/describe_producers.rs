//! DescribeProducers (key 61), version 0 (KIP-664).
//!
//! What each partition knows of its idempotent producers, in the order of their ids.

use kafka_protocol::messages::describe_producers_request::DescribeProducersRequest;
use kafka_protocol::messages::describe_producers_response::{
    DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;
use storage::log::ActiveProducer;

use crate::authorizer::denial;
use crate::context::RequestContext;
use crate::metadata::validate_topic_name;
use crate::net::account::Unaffordable;

/// What the answer for one partition or topic takes, as a struct and encoded, without its name.
const PARTITION_BYTES: usize = 224;
/// What one producer takes, as a struct of the log's, as one of the response's, and encoded.
const PRODUCER_BYTES: usize = 160;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DescribeProducersRequest,
) -> Result<DescribeProducersResponse, Unaffordable> {
    let view = ctx.view();
    let asked = request
        .topics
        .iter()
        .map(|topic| 1 + topic.partition_indexes.len());
    ctx.pay(asked.sum::<usize>() * PARTITION_BYTES + ctx.request_bytes)
        .await?;
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let topic_id = view
            .topic(&topic.name, Operation::Read)
            .map(|topic| topic.id());
        let partitions = topic.partition_indexes.iter();
        wanted.extend(partitions.map(|index| Ok((topic_id?, *index))));
    }
    let found = view.partitions(wanted).await;
    // A transaction that has ended is not shown as one that hangs, whichever broker wrote its end.
    view.catch_up_with(&found).await;
    let mut found = found.into_iter();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let is_valid = validate_topic_name(&topic.name).is_ok();
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for (index, found) in topic.partition_indexes.into_iter().zip(found.by_ref()) {
            let response = PartitionResponse::default().with_partition_index(index);
            let refuse = |error: ErrorCode, message: &'static str| {
                response
                    .clone()
                    .with_error_code(error.into())
                    .with_error_message(Some(StrBytes::from_static_str(message)))
            };
            if !is_valid {
                // Without the name: it would be told once for each partition.
                let message = "the topic's name is not valid";
                partitions.push(refuse(ErrorCode::InvalidTopicException, message));
                continue;
            }
            partitions.push(match found {
                Err(error @ ErrorCode::UnknownTopicOrPartition) => {
                    refuse(error, "there is no such topic or partition")
                }
                Err(error) => refuse(error, denial(error)),
                Ok(partition) => {
                    let producers = partition.log.producers();
                    ctx.pay(producers.len() * PRODUCER_BYTES).await?;
                    response.with_active_producers(producers.iter().map(wire).collect())
                }
            });
        }
        topics.push(
            TopicResponse::default()
                .with_name(topic.name)
                .with_partitions(partitions),
        );
    }
    Ok(DescribeProducersResponse::default().with_topics(topics))
}

fn wire(producer: &ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(producer.producer_id.into())
        .with_producer_epoch(producer.producer_epoch.into())
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(producer.last_timestamp)
        .with_coordinator_epoch(producer.coordinator_epoch)
        .with_current_txn_start_offset(producer.current_txn_start_offset.unwrap_or(-1))
}
