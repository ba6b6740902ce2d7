//! OffsetCommit (key 8), versions 2-9.
//!
//! Commits offsets durably: the response leaves when they are on stable media. Partitions that
//! do not exist get UNKNOWN_TOPIC_OR_PARTITION, the others go on. See [`coordinators::group`].

use std::collections::VecDeque;
use std::sync::Arc;

use coordinators::group::{CommitOffsets, CommitPartition, CommitTopic, PartitionResult};
use indexmap::IndexMap;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::error_code::ErrorCode;

use super::{PART_BYTES, owned};
use crate::context::RequestContext;
use crate::metadata::TopicImage;
use crate::net::account::Unaffordable;

/// Of an outcome, and encoded.
const PARTITION_BYTES: usize = size_of::<PartitionResult>() + 8;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: OffsetCommitRequest,
) -> Result<OffsetCommitResponse, Unaffordable> {
    let partitions = request.topics.iter().map(|topic| topic.partitions.len());
    let partition_bytes = size_of::<OffsetCommitResponsePartition>() + PARTITION_BYTES;
    ctx.pay(PART_BYTES * request.topics.len() + partition_bytes * partitions.sum::<usize>())
        .await?;
    let image = ctx.broker.metadata.image();
    let known: Vec<Option<&Arc<TopicImage>>> = request
        .topics
        .iter()
        .map(|topic| image.topic(&topic.name))
        .collect();
    let topics: Vec<CommitTopic> = request
        .topics
        .iter()
        .zip(&known)
        .filter_map(|(asked, topic)| Some(commit_topic(asked, (*topic)?)))
        .filter(|topic| !topic.partitions.is_empty())
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
        ctx.broker.groups.call(&request.group_id, call).await
    };
    // In the order of the request, without the partitions that do not exist.
    let mut results = results.map(|topics| {
        let partitions = topics.into_iter().flat_map(|topic| topic.partitions);
        partitions.collect::<VecDeque<PartitionResult>>()
    });
    let mut error_of = |exists: bool| match &mut results {
        _ if !exists => ErrorCode::UnknownTopicOrPartition.into(),
        Err(error) => (*error).into(),
        Ok(results) => results
            .pop_front()
            .map_or(ErrorCode::UnknownServerError.into(), |result| {
                result.error.unwrap_or_default().into()
            }),
    };

    let exists = |topic: &Option<&Arc<TopicImage>>, index: i32| {
        topic.is_some_and(|topic| topic.has_partition(index))
    };
    let all_exist = request.topics.iter().zip(&known).all(|(asked, topic)| {
        let mut partitions = asked.partitions.iter();
        topic.is_some() && partitions.all(|partition| exists(topic, partition.partition_index))
    });
    // As in Kafka: one answer for each mention of a topic; but when something does not exist, one for each topic,
    // and that comes first.
    let passes: &[bool] = if all_exist { &[true] } else { &[false, true] };
    let mut answers: IndexMap<(usize, TopicName), Vec<OffsetCommitResponsePartition>> =
        IndexMap::new();
    for &existing in passes {
        for (place, (asked, topic)) in request.topics.iter().zip(&known).enumerate() {
            let indexes = asked.partitions.iter().map(|asked| asked.partition_index);
            let mut indexes = indexes
                .filter(|index| exists(topic, *index) == existing)
                .peekable();
            if topic.is_some() != existing && indexes.peek().is_none() {
                continue;
            }
            let mention = if all_exist { place } else { 0 };
            let answers = answers.entry((mention, asked.name.clone())).or_default();
            answers.extend(indexes.map(|index| {
                OffsetCommitResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(error_of(existing))
            }));
        }
    }
    let topics = answers.into_iter().map(|((_, name), partitions)| {
        OffsetCommitResponseTopic::default()
            .with_name(name)
            .with_partitions(partitions)
    });
    Ok(OffsetCommitResponse::default().with_topics(topics.collect()))
}

/// What is asked of a topic, without the partitions that do not exist.
fn commit_topic(asked: &OffsetCommitRequestTopic, topic: &TopicImage) -> CommitTopic {
    let existing = asked.partitions.iter();
    let existing = existing.filter(|partition| topic.has_partition(partition.partition_index));
    CommitTopic {
        name: owned(&asked.name),
        topic_id: topic.topic_id,
        partitions: existing
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
