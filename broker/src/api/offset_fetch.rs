//! OffsetFetch (key 9), versions 1-9.
//!
//! Committed offsets of one group (to v7) or several (from v8, KIP-709); all of a group's when no topics
//! are named (from v2). `require_stable` (v7, KIP-447) refuses offsets with an open transaction.
//! An offset of an earlier topic of the same name is not found. See [`crate::group`].

use std::collections::HashMap;

use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{owned, wire};
use crate::context::RequestContext;
use crate::group::{
    FetchGroup, FetchOffsets, FetchTopic, FetchedGroup, FetchedPartition, GroupError, Id,
};
use crate::metadata::MetadataImage;

pub async fn handle(ctx: &RequestContext, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let image = ctx.broker.metadata.image();
    if ctx.api_version >= 8 {
        let groups = request
            .groups
            .iter()
            .map(|group| FetchGroup {
                group_id: owned(&group.group_id),
                member_id: group.member_id.as_ref().map(owned),
                member_epoch: group.member_epoch,
                topics: group.topics.as_ref().map(|topics| {
                    topics
                        .iter()
                        .map(|t| fetch_topic(&image, &t.name, &t.partition_indexes))
                        .collect()
                }),
            })
            .collect();
        let groups = fetch(ctx, groups, request.require_stable).await;
        return OffsetFetchResponse::default()
            .with_groups(groups.iter().map(group_response).collect());
    }

    let group = FetchGroup {
        group_id: owned(&request.group_id),
        member_id: None,
        member_epoch: -1,
        topics: request.topics.as_ref().map(|topics| {
            topics
                .iter()
                .map(|t| fetch_topic(&image, &t.name, &t.partition_indexes))
                .collect()
        }),
    };
    let fetched = fetch(ctx, vec![group], request.require_stable).await;
    match fetched.first() {
        Some(group) => single_response(ctx, group, request.topics.is_some().then_some(&request)),
        None => {
            OffsetFetchResponse::default().with_error_code(GroupError::UnknownServerError.code())
        }
    }
}

/// Asks every shard that owns one of `groups`; answers in their order.
async fn fetch(
    ctx: &RequestContext,
    groups: Vec<FetchGroup>,
    require_stable: bool,
) -> Vec<FetchedGroup> {
    let ids: Vec<Id> = groups.iter().map(|group| group.group_id.clone()).collect();
    let mut wanted: HashMap<Id, FetchGroup> = groups
        .into_iter()
        .map(|group| (group.group_id.clone(), group))
        .collect();
    let replies = ctx
        .broker
        .group_calls(&ids, |ids| FetchOffsets {
            groups: ids.iter().filter_map(|id| wanted.remove(id)).collect(),
            require_stable,
        })
        .await;
    let mut fetched: HashMap<Id, FetchedGroup> = HashMap::new();
    for (asked, reply) in replies {
        match reply {
            Ok(groups) => fetched.extend(
                groups
                    .into_iter()
                    .map(|group| (group.group_id.clone(), group)),
            ),
            Err(error) => {
                fetched.extend(asked.into_iter().map(|id| (id.clone(), failed(id, error))))
            }
        }
    }
    ids.iter()
        .filter_map(|id| fetched.get(id).cloned())
        .collect()
}

fn failed(group_id: Id, error: GroupError) -> FetchedGroup {
    FetchedGroup {
        group_id,
        error: Some(error),
        topics: Vec::new(),
    }
}

fn fetch_topic(image: &MetadataImage, name: &StrBytes, partition_indexes: &[i32]) -> FetchTopic {
    FetchTopic {
        name: owned(name),
        topic_id: image
            .topic(name)
            .map_or(Uuid::nil(), |topic| topic.topic_id),
        partition_indexes: partition_indexes.to_vec(),
    }
}

fn group_response(group: &FetchedGroup) -> OffsetFetchResponseGroup {
    OffsetFetchResponseGroup::default()
        .with_group_id(wire(&group.group_id).into())
        .with_error_code(GroupError::code_of(group.error))
        .with_topics(
            group
                .topics
                .iter()
                .map(|topic| {
                    OffsetFetchResponseTopics::default()
                        .with_name(wire(&topic.name).into())
                        .with_partitions(
                            topic
                                .partitions
                                .iter()
                                .map(|p| {
                                    OffsetFetchResponsePartitions::default()
                                        .with_partition_index(p.partition_index)
                                        .with_committed_offset(p.committed_offset)
                                        .with_committed_leader_epoch(p.committed_leader_epoch)
                                        .with_metadata(Some(wire(&p.metadata)))
                                        .with_error_code(GroupError::code_of(p.error))
                                })
                                .collect(),
                        )
                })
                .collect(),
        )
}

/// Up to v7 there is one group; before v2 its error is repeated for every partition that was asked for.
fn single_response(
    ctx: &RequestContext,
    group: &FetchedGroup,
    asked: Option<&OffsetFetchRequest>,
) -> OffsetFetchResponse {
    if let (Some(error), Some(request)) = (group.error, asked.filter(|_| ctx.api_version < 2)) {
        let topics = request.topics.iter().flatten().map(|topic| {
            let partitions =
                topic
                    .partition_indexes
                    .iter()
                    .map(|partition_index| FetchedPartition {
                        partition_index: *partition_index,
                        committed_offset: -1,
                        committed_leader_epoch: -1,
                        metadata: "".into(),
                        error: Some(error),
                    });
            topic_response(
                topic.name.0.clone(),
                partitions.map(|p| partition_response(ctx, &p)).collect(),
            )
        });
        return OffsetFetchResponse::default().with_topics(topics.collect());
    }
    let topics = group.topics.iter().map(|topic| {
        let partitions = topic
            .partitions
            .iter()
            .map(|p| partition_response(ctx, p))
            .collect();
        topic_response(wire(&topic.name), partitions)
    });
    let response = OffsetFetchResponse::default().with_topics(topics.collect());
    if ctx.api_version < 2 {
        response
    } else {
        response.with_error_code(GroupError::code_of(group.error))
    }
}

fn topic_response(
    name: StrBytes,
    partitions: Vec<OffsetFetchResponsePartition>,
) -> OffsetFetchResponseTopic {
    OffsetFetchResponseTopic::default()
        .with_name(name.into())
        .with_partitions(partitions)
}

fn partition_response(ctx: &RequestContext, p: &FetchedPartition) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition::default()
        .with_partition_index(p.partition_index)
        .with_committed_offset(p.committed_offset)
        .with_committed_leader_epoch(if ctx.api_version >= 5 {
            p.committed_leader_epoch
        } else {
            -1
        })
        .with_metadata(Some(wire(&p.metadata)))
        .with_error_code(GroupError::code_of(p.error))
}
