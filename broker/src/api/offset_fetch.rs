//! OffsetFetch (key 9), versions 1-9.
//!
//! Committed offsets of one group (to v7) or several (from v8, KIP-709); all of a group's when no topics
//! are named (from v2). `require_stable` (v7, KIP-447) refuses offsets with an open transaction.
//! An offset of an earlier topic of the same name is not found. A group or partition that is named several times is
//! answered each time. See [`coordinators::group`].
//!
//! Deviation: when the answer has become too large, the groups that are left are COORDINATOR_LOAD_IN_PROGRESS.

use coordinators::group::{
    FetchGroup, FetchOffsets, FetchTopic, FetchedGroup, FetchedPartition, GroupId,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;
use uuid::Uuid;

use super::{PART_BYTES, owned, pay_for_groups, wire};
use crate::context::RequestContext;
use crate::metadata::MetadataImage;
use crate::net::account::Unaffordable;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: OffsetFetchRequest,
) -> Result<OffsetFetchResponse, Unaffordable> {
    ctx.pay(PART_BYTES * request.groups.len()).await?;
    let image = ctx.broker.metadata.image();
    let require_stable = request.require_stable;
    if ctx.api_version >= 8 {
        let groups = request.groups.into_iter().map(|group| FetchGroup {
            group_id: owned(&group.group_id),
            member_id: group.member_id.as_ref().map(owned),
            member_epoch: group.member_epoch,
            topics: group.topics.map(|topics| {
                let topics = topics.into_iter();
                topics
                    .map(|topic| fetch_topic(&image, &topic.name, topic.partition_indexes))
                    .collect()
            }),
        });
        let fetched = fetch(ctx, groups.collect(), require_stable).await?;
        return Ok(OffsetFetchResponse::default()
            .with_groups(fetched.into_iter().map(group_response).collect()));
    }

    // What is to be answered for each partition, should the group be refused.
    let asked = match ctx.api_version {
        ..2 => {
            let topics = request.topics.iter().flatten();
            let partitions = topics.clone().map(|topic| topic.partition_indexes.len());
            ctx.pay(PART_BYTES * (topics.count() + partitions.sum::<usize>()))
                .await?;
            request.topics.clone()
        }
        _ => None,
    };
    let group = FetchGroup {
        group_id: owned(&request.group_id),
        member_id: None,
        member_epoch: -1,
        topics: request.topics.map(|topics| {
            let topics = topics.into_iter();
            topics
                .map(|topic| fetch_topic(&image, &topic.name, topic.partition_indexes))
                .collect()
        }),
    };
    let mut fetched = fetch(ctx, vec![group], require_stable).await?;
    Ok(match fetched.pop() {
        Some(group) => single_response(ctx, group, asked),
        None => {
            OffsetFetchResponse::default().with_error_code(ErrorCode::UnknownServerError.into())
        }
    })
}

/// Asks every shard that owns one of `groups`; answers each of them, in their order.
async fn fetch(
    ctx: &RequestContext,
    groups: Vec<FetchGroup>,
    require_stable: bool,
) -> Result<Vec<FetchedGroup>, Unaffordable> {
    let ids: Vec<GroupId> = groups.iter().map(|group| group.group_id.clone()).collect();
    let fetched = ctx
        .broker
        .groups
        .call_all(
            groups,
            |group| &group.group_id,
            |groups, allowance| FetchOffsets {
                groups,
                require_stable,
                allowance,
            },
        )
        .await;
    pay_for_groups(ctx, &fetched).await?;
    let fetched = ids.into_iter().zip(fetched);
    Ok(fetched
        .map(|(id, outcome)| outcome.unwrap_or_else(|error| FetchedGroup::failed(id, error)))
        .collect())
}

fn fetch_topic(image: &MetadataImage, name: &StrBytes, partition_indexes: Vec<i32>) -> FetchTopic {
    FetchTopic {
        name: owned(name),
        topic_id: image
            .topic(name)
            .map_or(Uuid::nil(), |topic| topic.topic_id),
        partition_indexes,
    }
}

fn group_response(group: FetchedGroup) -> OffsetFetchResponseGroup {
    let topics = group.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|p| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(p.partition_index)
                .with_committed_offset(p.committed_offset)
                .with_committed_leader_epoch(p.committed_leader_epoch)
                .with_metadata(Some(wire(&p.metadata)))
                .with_error_code(p.error.unwrap_or_default().into())
        });
        OffsetFetchResponseTopics::default()
            .with_name(wire(&topic.name).into())
            .with_partitions(partitions.collect())
    });
    OffsetFetchResponseGroup::default()
        .with_group_id(wire(&group.group_id).into())
        .with_error_code(group.error.unwrap_or_default().into())
        .with_topics(topics.collect())
}

/// Up to v7 there is one group; before v2 its error is repeated for every partition that was asked for.
fn single_response(
    ctx: &RequestContext,
    group: FetchedGroup,
    asked: Option<Vec<OffsetFetchRequestTopic>>,
) -> OffsetFetchResponse {
    let refused = group.error.filter(|_| ctx.api_version < 2);
    let topics = match refused {
        Some(error) => asked
            .unwrap_or_default()
            .into_iter()
            .map(|topic| {
                let partitions = topic.partition_indexes.into_iter().map(|partition_index| {
                    OffsetFetchResponsePartition::default()
                        .with_partition_index(partition_index)
                        .with_committed_offset(-1)
                        .with_metadata(Some(StrBytes::default()))
                        .with_error_code(error.into())
                });
                topic_response(topic.name.0, partitions.collect())
            })
            .collect(),
        None => group
            .topics
            .into_iter()
            .map(|topic| {
                let partitions = topic.partitions.iter().map(|p| partition_response(ctx, p));
                topic_response(wire(&topic.name), partitions.collect())
            })
            .collect(),
    };
    let response = OffsetFetchResponse::default().with_topics(topics);
    if ctx.api_version < 2 {
        response
    } else {
        response.with_error_code(group.error.unwrap_or_default().into())
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
        .with_error_code(p.error.unwrap_or_default().into())
}
