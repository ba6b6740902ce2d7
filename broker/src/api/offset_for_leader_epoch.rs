//! OffsetForLeaderEpoch (key 23), versions 2-4.
//!
//! Where an epoch of the log ends: how a consumer finds out that the log it read was cut (KIP-320).

use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;

use crate::authorizer::Resource;
use crate::context::RequestContext;
use crate::partition::registry::{Partition, check_leader_epoch};

/// Kafka's `UNDEFINED_EPOCH` and `UNDEFINED_EPOCH_OFFSET`.
const UNDEFINED: (i32, i64) = (-1, -1);

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let view = ctx.view();
    let is_broker = view.shows(Operation::ClusterAction, Resource::Cluster);
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let known = match is_broker {
            true => view.topic_of_cluster(&topic.topic, Operation::ClusterAction),
            false => view.topic(&topic.topic, Operation::Describe),
        };
        let topic_id = known.map(|topic| topic.id());
        let partitions = topic.partitions.iter();
        wanted.extend(partitions.map(|asked| Ok((topic_id?, asked.partition))));
    }
    let found = view.partitions(wanted).await;
    // A consumer that has read what another broker has acknowledged would take an earlier end for a log that was cut.
    view.catch_up_with(&found).await;
    let mut found = found.into_iter();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (asked, found) in topic.partitions.iter().zip(found.by_ref()) {
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            partitions.push(match found.and_then(|partition| end(&partition, asked)) {
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

fn end(partition: &Partition, asked: &OffsetForLeaderPartition) -> Result<(i32, i64), ErrorCode> {
    check_leader_epoch(&*partition.log, asked.current_leader_epoch)?;
    let found = partition.log.end_offset_for_epoch(asked.leader_epoch);
    Ok(found.unwrap_or(UNDEFINED))
}
