//! OffsetFetch (key 9), versions 1-9.
//!
//! Committed offsets of one group (to v7) or several (from v8, KIP-709); all of a group's when no topics
//! are named (from v2). `require_stable` (v7, KIP-447) refuses offsets with an open transaction.
//! An offset of an earlier topic of the same name is not found. A group or partition that is named several times is
//! answered each time. See [`coordinators::group`].
//!
//! Deviation: when the answer has become too large, the groups that are left are COORDINATOR_LOAD_IN_PROGRESS.

use coordinators::group::{
    FetchGroup, FetchOffsets, FetchTopic, FetchedGroup, FetchedPartition, FetchedTopic, GroupId,
    MemberId,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;
use uuid::Uuid;

use super::{PART_BYTES, owned, pay_for_groups, wire};
use crate::authorizer::Resource;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;
use crate::view::View;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: OffsetFetchRequest,
) -> Result<OffsetFetchResponse, Unaffordable> {
    ctx.pay(PART_BYTES * request.groups.len()).await?;
    let view = ctx.view();
    let require_stable = request.require_stable;
    if ctx.api_version >= 8 {
        let groups = request.groups.into_iter().map(|group| Asked {
            group_id: owned(&group.group_id),
            member_id: group.member_id.as_ref().map(owned),
            member_epoch: group.member_epoch,
            topics: group.topics.map(|topics| {
                let topics = topics.into_iter();
                let topics = topics.map(|topic| (topic.name.0, topic.partition_indexes));
                topics.collect()
            }),
        });
        let fetched = fetch(ctx, &view, groups.collect(), require_stable).await?;
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
    let group = Asked {
        group_id: owned(&request.group_id),
        member_id: None,
        member_epoch: -1,
        topics: request.topics.map(|topics| {
            let topics = topics.into_iter();
            let topics = topics.map(|topic| (topic.name.0, topic.partition_indexes));
            topics.collect()
        }),
    };
    let mut fetched = fetch(ctx, &view, vec![group], require_stable).await?;
    Ok(match fetched.pop() {
        Some(group) => single_response(ctx, group, asked),
        None => {
            OffsetFetchResponse::default().with_error_code(ErrorCode::UnknownServerError.into())
        }
    })
}

/// What is asked of one group.
struct Asked {
    group_id: GroupId,
    member_id: Option<MemberId>,
    member_epoch: i32,
    /// Names and partitions; `None` for all that there are.
    topics: Option<Vec<(StrBytes, Vec<i32>)>>,
}

/// Asks every shard that owns one of `groups`; answers each of them, in their order. Topics that the client may not describe
/// are refused where it names them, and left out where it asks for all.
async fn fetch(
    ctx: &RequestContext,
    view: &View<'_>,
    groups: Vec<Asked>,
    require_stable: bool,
) -> Result<Vec<FetchedGroup>, Unaffordable> {
    let mut denied = Vec::with_capacity(groups.len());
    let mut ids = Vec::with_capacity(groups.len());
    let mut items = Vec::with_capacity(groups.len());
    for asked in groups {
        let mut denied_topics = Vec::new();
        let names_topics = asked.topics.is_some();
        let topics = asked.topics.map(|topics| {
            let topics = topics.into_iter();
            let topics = topics.filter_map(|(name, partition_indexes)| {
                let known = view.topic(&name, Operation::Describe);
                if let Err(ErrorCode::TopicAuthorizationFailed) = known {
                    denied_topics.push(denied_topic(&name, partition_indexes));
                    return None;
                }
                Some(FetchTopic {
                    name: owned(&name),
                    topic_id: known.map_or(Uuid::nil(), |topic| topic.topic_id),
                    partition_indexes,
                })
            });
            topics.collect()
        });
        let group = view.group(&asked.group_id, Operation::Describe);
        ids.push(asked.group_id);
        denied.push(names_topics.then_some(denied_topics));
        items.push((group, (asked.member_id, asked.member_epoch, topics)));
    }
    let call = |groups: Vec<(GroupId, _)>, allowance| {
        let groups = groups.into_iter();
        let groups = groups.map(|(group_id, (member_id, member_epoch, topics))| FetchGroup {
            group_id,
            member_id,
            member_epoch,
            topics,
        });
        FetchOffsets {
            groups: groups.collect(),
            require_stable,
            allowance,
        }
    };
    let fetched = view.groups().call_all(items, call).await;
    pay_for_groups(ctx, &fetched).await?;
    let refused = denied.iter().flatten().flatten();
    let refused = refused.map(|topic| PART_BYTES * (1 + topic.partitions.len()));
    ctx.pay(refused.sum()).await?;
    let fetched = ids.into_iter().zip(fetched).zip(denied);
    let fetched = fetched.map(|((id, outcome), denied)| {
        let mut group = outcome.unwrap_or_else(|error| FetchedGroup::failed(id, error));
        match denied {
            Some(denied) if group.error.is_none() => group.topics.extend(denied),
            Some(_) => {}
            None => group
                .topics
                .retain(|topic| view.allows(Operation::Describe, Resource::Topic(&topic.name))),
        }
        group
    });
    Ok(fetched.collect())
}

fn denied_topic(name: &StrBytes, partition_indexes: Vec<i32>) -> FetchedTopic {
    let partitions = partition_indexes.into_iter();
    let partitions = partitions.map(|partition_index| FetchedPartition {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: "".into(),
        error: Some(ErrorCode::TopicAuthorizationFailed),
    });
    FetchedTopic {
        name: owned(name),
        topic_id: Uuid::nil(),
        partitions: partitions.collect(),
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
