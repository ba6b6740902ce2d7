//! What OffsetCommit and TxnOffsetCommit have in common: the topics that offsets are committed for.

use std::collections::VecDeque;
use std::sync::Arc;

use coordinators::group::{CommitPartition, CommitTopic, PartitionResult, TopicResult};
use indexmap::IndexMap;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;
use protocol_shim::newer::offset_commit::OffsetCommitRequestTopic;
use uuid::Uuid;

use super::PART_BYTES;
use crate::view::{Topic, View};

/// Of an outcome, and encoded.
const PARTITION_BYTES: usize = size_of::<PartitionResult>() + 8;

/// What the answers take for topics with so many partitions each, besides the structs of the response.
pub(super) fn price_bytes(
    partition_counts: impl ExactSizeIterator<Item = usize>,
    struct_bytes: usize,
) -> usize {
    let topics_bytes = PART_BYTES * partition_counts.len();
    topics_bytes + (struct_bytes + PARTITION_BYTES) * partition_counts.sum::<usize>()
}

/// The topics that a client names, by their names or by their ids.
pub(super) fn known_topics<'v>(
    view: &'v View<'_>,
    asked: &[OffsetCommitRequestTopic],
    by_id: bool,
) -> Vec<Result<Topic<'v>, ErrorCode>> {
    let topics = asked.iter().map(|topic| match by_id {
        false => view.topic(&topic.name, Operation::Read),
        true => view.topic_by_id(topic.topic_id, Operation::Read),
    });
    topics.collect()
}

/// What is to be committed: nothing of what does not exist.
pub(super) fn commit_topics(
    asked: &[OffsetCommitRequestTopic],
    known: &[Result<Topic<'_>, ErrorCode>],
) -> Vec<CommitTopic> {
    let topics = asked.iter().zip(known);
    topics
        .filter_map(|(asked, topic)| Some(commit_topic(asked, (*topic).ok()?)))
        .filter(|topic| !topic.partitions.is_empty())
        .collect()
}

/// As in Kafka: one answer for each mention of a topic. But when something does not exist, one for each topic, and what does
/// not exist comes first.
pub(super) fn answers(
    asked: &[OffsetCommitRequestTopic],
    known: &[Result<Topic<'_>, ErrorCode>],
    results: Result<Vec<TopicResult>, ErrorCode>,
) -> Vec<OffsetCommitResponseTopic> {
    // In the order of the request, without the partitions that do not exist.
    let mut results = results.map(|topics| {
        let partitions = topics.into_iter().flat_map(|topic| topic.partitions);
        partitions.collect::<VecDeque<PartitionResult>>()
    });
    let mut error_of = |topic: &Result<Topic<'_>, ErrorCode>, exists: bool| match &mut results {
        _ if !exists => {
            let missing = topic.as_ref().err().copied();
            missing.unwrap_or(ErrorCode::UnknownTopicOrPartition)
        }
        Err(error) => *error,
        Ok(results) => results
            .pop_front()
            .map_or(ErrorCode::UnknownServerError, |result| {
                result.error.unwrap_or_default()
            }),
    };
    let exists = |topic: &Result<Topic<'_>, ErrorCode>, index: i32| {
        topic.is_ok_and(|topic| topic.has_partition(index))
    };
    let asked = || asked.iter().zip(known);
    let all_exist = asked().all(|(asked, topic)| {
        let mut partitions = asked.partitions.iter();
        topic.is_ok() && partitions.all(|partition| exists(topic, partition.partition_index))
    });
    let passes: &[bool] = if all_exist { &[true] } else { &[false, true] };
    let mut answers: IndexMap<(usize, &TopicName, Uuid), Vec<OffsetCommitResponsePartition>> =
        IndexMap::new();
    for &existing in passes {
        for (place, (asked, topic)) in asked().enumerate() {
            let indexes = asked.partitions.iter().map(|asked| asked.partition_index);
            let mut indexes = indexes
                .filter(|index| exists(topic, *index) == existing)
                .peekable();
            if topic.is_ok() != existing && indexes.peek().is_none() {
                continue;
            }
            let mention = if all_exist { place } else { 0 };
            let named = (mention, &asked.name, asked.topic_id);
            let answers = answers.entry(named).or_default();
            answers.extend(indexes.map(|index| {
                OffsetCommitResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(error_of(topic, existing).into())
            }));
        }
    }
    let topics = answers
        .into_iter()
        .map(|((_, name, topic_id), partitions)| {
            OffsetCommitResponseTopic::default()
                .with_name(name.clone())
                .with_topic_id(topic_id)
                .with_partitions(partitions)
        });
    topics.collect()
}

/// The whole request is refused.
pub(super) fn refused(
    asked: Vec<OffsetCommitRequestTopic>,
    error: ErrorCode,
) -> Vec<OffsetCommitResponseTopic> {
    let topics = asked.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error.into())
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    topics.collect()
}

/// What is asked of a topic, without the partitions that do not exist.
fn commit_topic(asked: &OffsetCommitRequestTopic, topic: Topic<'_>) -> CommitTopic {
    let existing = asked.partitions.iter();
    let existing = existing.filter(|partition| topic.has_partition(partition.partition_index));
    CommitTopic {
        name: Arc::clone(&topic.name),
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
