//! OffsetCommit (key 8), versions 2-10.
//!
//! Commits offsets durably: the response leaves when they are on stable media. Partitions that
//! do not exist get UNKNOWN_TOPIC_OR_PARTITION, the others go on. From v10 topics are named by their ids, and one that
//! does not exist gets UNKNOWN_TOPIC_ID. See [`coordinators::group`].

use std::collections::VecDeque;
use std::sync::Arc;

use coordinators::group::{
    CommitOffsets, CommitPartition, CommitTopic, PartitionResult, TopicResult,
};
use indexmap::IndexMap;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;
use protocol_shim::newer::offset_commit::{OffsetCommitRequest, OffsetCommitRequestTopic};
use uuid::Uuid;

use super::{PART_BYTES, owned};
use crate::context::RequestContext;
use crate::net::account::Unaffordable;
use crate::view::Topic;

/// Topics are named by their ids.
const TOPIC_IDS_SINCE: i16 = 10;

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
    let view = ctx.view();
    let group = match view.group(&request.group_id, Operation::Read) {
        Ok(group) => group,
        Err(error) => return Ok(refused(request, error)),
    };
    let known: Vec<Result<Topic<'_>, ErrorCode>> = request
        .topics
        .iter()
        .map(|topic| match ctx.api_version {
            ..TOPIC_IDS_SINCE => view.topic(&topic.name, Operation::Read),
            _ => view.topic_by_id(topic.topic_id, Operation::Read),
        })
        .collect();
    let topics: Vec<CommitTopic> = request
        .topics
        .iter()
        .zip(&known)
        .filter_map(|(asked, topic)| Some(commit_topic(asked, (*topic).ok()?)))
        .filter(|topic| !topic.partitions.is_empty())
        .collect();

    let results = if topics.is_empty() {
        Ok(Vec::new())
    } else {
        let call = |group_id| CommitOffsets {
            group_id,
            generation_id_or_member_epoch: request.generation_id_or_member_epoch,
            member_id: owned(&request.member_id),
            group_instance_id: request.group_instance_id.as_ref().map(owned),
            retention_time_ms: (request.retention_time_ms != -1)
                .then_some(request.retention_time_ms),
            topics,
            api_version: ctx.api_version,
        };
        view.groups().call(Ok(group), call).await
    };
    let topics = answers(&request, &known, results);
    Ok(OffsetCommitResponse::default().with_topics(topics))
}

/// As in Kafka: one answer for each mention of a topic. But when something does not exist, one for each topic, and what does
/// not exist comes first.
fn answers(
    request: &OffsetCommitRequest,
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
    let asked = || request.topics.iter().zip(known);
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
fn refused(request: OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.into_iter().map(|topic| {
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
    OffsetCommitResponse::default().with_topics(topics.collect())
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
