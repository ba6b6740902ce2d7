//! OffsetForLeaderEpoch (key 23), versions 2-4.
//!
//! Where an epoch of the log ends: how a consumer finds out that the log it read was cut (KIP-320).

use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use protocol_shim::error_code::ErrorCode;

use crate::context::RequestContext;
use crate::partition::registry::check_leader_epoch;

/// Kafka's `UNDEFINED_EPOCH` and `UNDEFINED_EPOCH_OFFSET`.
const UNDEFINED: (i32, i64) = (-1, -1);

pub async fn handle(
    ctx: &RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let image = ctx.broker.metadata.image();
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let topic_id = image.topic(&topic.topic).map(|topic| topic.topic_id);
            let partitions = topic
                .partitions
                .iter()
                .map(|asked| {
                    let answer = EpochEndOffset::default().with_partition(asked.partition);
                    let found = topic_id
                        .and_then(|id| ctx.broker.partitions.get(id, asked.partition))
                        .ok_or(ErrorCode::UnknownTopicOrPartition)
                        .and_then(|partition| {
                            check_leader_epoch(&*partition.log, asked.current_leader_epoch)?;
                            Ok(partition.log.end_offset_for_epoch(asked.leader_epoch))
                        });
                    match found {
                        Ok(found) => {
                            let (epoch, end_offset) = found.unwrap_or(UNDEFINED);
                            answer.with_leader_epoch(epoch).with_end_offset(end_offset)
                        }
                        Err(error) => answer.with_error_code(error.into()),
                    }
                })
                .collect();
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic)
                .with_partitions(partitions)
        })
        .collect();
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}
