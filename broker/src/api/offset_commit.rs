//! OffsetCommit (key 8), versions 2-9.
//!
//! Commits offsets durably: the response leaves when they are on stable media. Partitions of topics that
//! do not exist get UNKNOWN_TOPIC_OR_PARTITION, the others go on. See [`crate::group`].

use std::collections::VecDeque;

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::error_code::ErrorCode;
use uuid::Uuid;

use super::owned;
use crate::context::RequestContext;
use crate::group::{CommitOffsets, CommitPartition, CommitTopic, GroupError, TopicResult};

pub async fn handle(ctx: &RequestContext, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let image = ctx.broker.metadata.image();
    let known: Vec<Option<Uuid>> = request
        .topics
        .iter()
        .map(|topic| image.topic(&topic.name).map(|topic| topic.topic_id))
        .collect();
    let topics: Vec<CommitTopic> = request
        .topics
        .iter()
        .zip(&known)
        .filter_map(|(topic, id)| id.map(|topic_id| commit_topic(topic, topic_id)))
        .collect();

    let results = if topics.is_empty() {
        Ok(Vec::new())
    } else {
        let call = CommitOffsets {
            group_id: owned(&request.group_id),
            generation_id_or_member_epoch: request.generation_id_or_member_epoch,
            member_id: owned(&request.member_id),
            group_instance_id: request.group_instance_id.as_ref().map(owned),
            retention_time_ms: (request.retention_time_ms != -1)
                .then_some(request.retention_time_ms),
            topics,
            api_version: ctx.api_version,
        };
        ctx.broker.group_call(&request.group_id, call).await
    };
    let mut results: Result<VecDeque<TopicResult>, GroupError> = results.map(VecDeque::from);

    let topics = request
        .topics
        .into_iter()
        .zip(known)
        .map(|(topic, known)| {
            let partitions = match (&mut results, known) {
                (_, None) => same_error(&topic, ErrorCode::UnknownTopicOrPartition.into()),
                (Err(error), Some(_)) => same_error(&topic, error.code()),
                (Ok(results), Some(_)) => match results.pop_front() {
                    Some(result) => result
                        .partitions
                        .iter()
                        .map(|p| answer(p.partition_index, GroupError::code_of(p.error)))
                        .collect(),
                    None => same_error(&topic, ErrorCode::UnknownServerError.into()),
                },
            };
            OffsetCommitResponseTopic::default()
                .with_name(topic.name)
                .with_partitions(partitions)
        })
        .collect();
    OffsetCommitResponse::default().with_topics(topics)
}

fn commit_topic(topic: &OffsetCommitRequestTopic, topic_id: Uuid) -> CommitTopic {
    CommitTopic {
        name: owned(&topic.name),
        topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| CommitPartition {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                metadata: partition
                    .committed_metadata
                    .as_ref()
                    .map_or("", StrBytes::as_str)
                    .into(),
            })
            .collect(),
    }
}

fn same_error(
    topic: &OffsetCommitRequestTopic,
    error_code: i16,
) -> Vec<OffsetCommitResponsePartition> {
    topic
        .partitions
        .iter()
        .map(|partition| answer(partition.partition_index, error_code))
        .collect()
}

fn answer(partition_index: i32, error_code: i16) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition::default()
        .with_partition_index(partition_index)
        .with_error_code(error_code)
}
