//! OffsetDelete (key 47), version 0 (KIP-496).
//!
//! Removes committed offsets of topics that the group does not subscribe to. See [`coordinators::group`].

use coordinators::group::{DeleteOffsets, PartitionResult};
use indexmap::IndexMap;
use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;

use super::{PART_BYTES, owned};
use crate::context::RequestContext;
use crate::net::account::Unaffordable;
use crate::view::Topic;

/// Of an outcome, and encoded.
const PARTITION_BYTES: usize = size_of::<PartitionResult>() + 8;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: OffsetDeleteRequest,
) -> Result<OffsetDeleteResponse, Unaffordable> {
    let partitions = request.topics.iter().map(|topic| topic.partitions.len());
    let partition_bytes = size_of::<OffsetDeleteResponsePartition>() + PARTITION_BYTES;
    ctx.pay(PART_BYTES * request.topics.len() + partition_bytes * partitions.sum::<usize>())
        .await?;
    let view = ctx.view();
    let group = view.group(&request.group_id, Operation::Delete);
    let known: Vec<Result<Topic<'_>, ErrorCode>> = request
        .topics
        .iter()
        .map(|topic| view.topic(&topic.name, Operation::Read))
        .collect();
    let asked = || request.topics.iter().zip(&known);
    let exists = |topic: &Result<Topic<'_>, ErrorCode>, partition: i32| {
        topic.is_ok_and(|topic| topic.has_partition(partition))
    };
    let existing = |(asked, topic): (&OffsetDeleteRequestTopic, _)| {
        let partitions = asked.partitions.iter().map(|p| p.partition_index);
        let partitions = partitions.filter(|partition| exists(topic, *partition));
        (owned(&asked.name), partitions.collect())
    };
    let call = |group_id| DeleteOffsets {
        group_id,
        topics: asked().map(existing).collect(),
    };
    let reply = match view.groups().call(group, call).await {
        Ok(reply) => reply,
        Err(error) => return Ok(OffsetDeleteResponse::default().with_error_code(error.into())),
    };
    if reply.error.is_some() {
        return Ok(
            OffsetDeleteResponse::default().with_error_code(reply.error.unwrap_or_default().into())
        );
    }
    // As in Kafka, a topic is answered once: first what does not exist, then the others, in the order of the request.
    let mut answers: IndexMap<StrBytes, Vec<OffsetDeleteResponsePartition>> = IndexMap::new();
    let mut results = reply.topics.iter().flat_map(|topic| &topic.partitions);
    for existing in [false, true] {
        for (asked, topic) in asked() {
            let partitions = asked.partitions.iter().map(|p| p.partition_index);
            let mut partitions = partitions
                .filter(|partition| exists(topic, *partition) == existing)
                .peekable();
            if !existing && partitions.peek().is_none() {
                continue;
            }
            let answers = answers.entry(asked.name.0.clone()).or_default();
            answers.extend(partitions.map(|partition_index| {
                let error_code = match existing {
                    true => results
                        .next()
                        .map_or(ErrorCode::UnknownServerError.into(), |result| {
                            result.error.unwrap_or_default().into()
                        }),
                    false => {
                        let missing = topic.as_ref().err().copied();
                        missing.unwrap_or(ErrorCode::UnknownTopicOrPartition).into()
                    }
                };
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(partition_index)
                    .with_error_code(error_code)
            }));
        }
    }
    let topics = answers.into_iter().map(|(name, partitions)| {
        OffsetDeleteResponseTopic::default()
            .with_name(name.into())
            .with_partitions(partitions)
    });
    Ok(OffsetDeleteResponse::default().with_topics(topics.collect()))
}
