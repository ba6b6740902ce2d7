//! OffsetForLeaderEpoch (key 23), versions 2-4.
//!
//! Where an epoch of the log ends: how a consumer finds out that the log it read was cut (KIP-320).

use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use protocol_shim::error_code::ErrorCode;
use uuid::Uuid;

use crate::context::RequestContext;
use crate::partition::registry::check_leader_epoch;

/// Kafka's `UNDEFINED_EPOCH` and `UNDEFINED_EPOCH_OFFSET`.
const UNDEFINED: (i32, i64) = (-1, -1);

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let image = ctx.broker.metadata.image();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let topic_id = image.topic(&topic.topic).map(|topic| topic.topic_id);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            partitions.push(match find(ctx, topic_id, asked).await {
                Ok((epoch, end_offset)) => {
                    answer.with_leader_epoch(epoch).with_end_offset(end_offset)
                }
                Err(error) => answer.with_error_code(error.into()),
            });
        }
        topics.push(
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic)
                .with_partitions(partitions),
        );
    }
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

async fn find(
    ctx: &RequestContext,
    topic_id: Option<Uuid>,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    let partitions = &ctx.broker.partitions;
    let partition = partitions.find(topic_id, asked.partition).await?;
    check_leader_epoch(&*partition.log, asked.current_leader_epoch)?;
    let found = partition.log.end_offset_for_epoch(asked.leader_epoch);
    Ok(found.unwrap_or(UNDEFINED))
}
