//! OffsetDelete (key 47), version 0 (KIP-496).
//!
//! Removes committed offsets of topics that the group does not subscribe to. See [`crate::group`].

use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use protocol_shim::error_code::ErrorCode;

use super::owned;
use crate::context::RequestContext;
use crate::group::{DeleteOffsets, GroupError, PartitionResult};

pub async fn handle(ctx: &RequestContext, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let image = ctx.broker.metadata.image();
    let (known, unknown): (Vec<_>, Vec<_>) = request
        .topics
        .iter()
        .partition(|topic| image.topic(&topic.name).is_some());
    let call = DeleteOffsets {
        group_id: owned(&request.group_id),
        topics: known
            .iter()
            .map(|topic| {
                let partitions = topic.partitions.iter().map(|p| p.partition_index).collect();
                (owned(&topic.name), partitions)
            })
            .collect(),
    };
    let reply = match ctx.broker.group_call(&request.group_id, call).await {
        Ok(reply) => reply,
        Err(error) => return OffsetDeleteResponse::default().with_error_code(error.code()),
    };
    if reply.error.is_some() {
        return OffsetDeleteResponse::default().with_error_code(GroupError::code_of(reply.error));
    }
    let deleted = known.into_iter().zip(&reply.topics).map(|(topic, result)| {
        let answer = |p: &PartitionResult| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(GroupError::code_of(p.error))
        };
        OffsetDeleteResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(result.partitions.iter().map(answer).collect())
    });
    let missing = unknown.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(ErrorCode::UnknownTopicOrPartition.into())
        });
        OffsetDeleteResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetDeleteResponse::default().with_topics(deleted.chain(missing).collect())
}
