//! OffsetFetch (key 9), versions 1-10.
//!
//! Committed offsets of one group (to v7) or several (from v8, KIP-709); all of a group's when no topics
//! are named (from v2). `require_stable` (v7, KIP-447) refuses offsets with an open transaction.
//! An offset of an earlier topic of the same name is not found. A group or partition that is named several times is
//! answered each time. From v10 topics are named by their ids, and one that does not exist gets UNKNOWN_TOPIC_ID. See
//! [`coordinators::group`].
//!
//! Deviation: when the answer has become too large, the groups that are left are COORDINATOR_LOAD_IN_PROGRESS.

use std::sync::Arc;

use coordinators::group::{
    FetchGroup, FetchOffsets, FetchTopic, FetchedGroup, FetchedPartition, FetchedTopic, GroupId,
    MemberId,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;
use protocol_shim::newer::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use uuid::Uuid;

use super::{PART_BYTES, owned, pay_for_described, wire};
use crate::context::RequestContext;
use crate::net::account::Unaffordable;
use crate::view::View;

/// Topics are named by their ids.
const TOPIC_IDS_SINCE: i16 = 10;

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
                let topics = topics.map(|topic| AskedTopic {
                    name: topic.name,
                    topic_id: topic.topic_id,
                    partition_indexes: topic.partition_indexes,
                });
                topics.collect()
            }),
        });
        let fetched = fetch(ctx, &view, groups.collect(), require_stable).await?;
        let groups = fetched.into_iter();
        let groups = groups.map(|group| group_response(ctx, group));
        return Ok(OffsetFetchResponse::default().with_groups(groups.collect()));
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
            let topics = topics.map(|topic| AskedTopic {
                name: topic.name,
                topic_id: Uuid::nil(),
                partition_indexes: topic.partition_indexes,
            });
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
    /// `None` for all that there are.
    topics: Option<Vec<AskedTopic>>,
}

/// A topic, by its name or, in the versions that have ids, by its id.
struct AskedTopic {
    name: TopicName,
    topic_id: Uuid,
    partition_indexes: Vec<i32>,
}

impl AskedTopic {
    /// What to ask the group for.
    ///
    /// # Errors
    /// What to tell the client, which may not describe the topic or names it by an id that no topic has.
    fn find(self, ctx: &RequestContext, view: &View<'_>) -> Result<FetchTopic, FetchedTopic> {
        let by_id = ctx.api_version >= TOPIC_IDS_SINCE;
        let known = match by_id {
            true => view.topic_by_id(self.topic_id, Operation::Describe),
            false => view.topic(&self.name, Operation::Describe),
        };
        match known {
            Ok(topic) => Ok(FetchTopic {
                name: Arc::clone(&topic.name),
                topic_id: topic.topic_id,
                partition_indexes: self.partition_indexes,
            }),
            // The group may remember a topic that is gone.
            Err(ErrorCode::UnknownTopicOrPartition) => Ok(FetchTopic {
                name: owned(&self.name),
                topic_id: Uuid::nil(),
                partition_indexes: self.partition_indexes,
            }),
            Err(error) => Err(self.refused(error)),
        }
    }

    fn refused(self, error: ErrorCode) -> FetchedTopic {
        let partitions = self.partition_indexes.into_iter();
        let partitions = partitions.map(|partition_index| FetchedPartition {
            partition_index,
            committed_offset: -1,
            committed_leader_epoch: -1,
            metadata: "".into(),
            error: Some(error),
        });
        FetchedTopic {
            name: owned(&self.name),
            topic_id: self.topic_id,
            partitions: partitions.collect(),
        }
    }
}

/// Asks every shard that owns one of `groups`; answers each of them, in their order. Topics that the client may not describe
/// are refused where it names them, and left out where it asks for all.
async fn fetch(
    ctx: &RequestContext,
    view: &View<'_>,
    groups: Vec<Asked>,
    require_stable: bool,
) -> Result<Vec<FetchedGroup>, Unaffordable> {
    let mut refused = Vec::with_capacity(groups.len());
    let mut ids = Vec::with_capacity(groups.len());
    let mut items = Vec::with_capacity(groups.len());
    for asked in groups {
        let mut refused_topics = Vec::new();
        let names_topics = asked.topics.is_some();
        let topics = asked.topics.map(|topics| {
            let found = topics.into_iter().map(|topic| topic.find(ctx, view));
            let found = found
                .filter_map(|found| found.map_err(|refused| refused_topics.push(refused)).ok());
            found.collect()
        });
        let group = view.group(&asked.group_id, Operation::Describe);
        ids.push(asked.group_id);
        refused.push(names_topics.then_some(refused_topics));
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
    pay_for_described(ctx, &fetched).await?;
    let prices = refused.iter().flatten().flatten();
    let prices = prices.map(|topic| PART_BYTES * (1 + topic.partitions.len()));
    ctx.pay(prices.sum()).await?;
    let fetched = ids.into_iter().zip(fetched).zip(refused);
    let fetched = fetched.map(|((id, outcome), refused)| {
        let mut group = outcome.unwrap_or_else(|error| FetchedGroup::failed(id, error));
        match refused {
            Some(refused) if group.error.is_none() => group.topics.extend(refused),
            Some(_) => {}
            None => group.topics.retain_mut(|topic| may_tell(ctx, view, topic)),
        }
        group
    });
    Ok(fetched.collect())
}

/// Whether a topic belongs into the answer to a client that asks for all. Groups remember names: where ids are told, it is
/// that of the topic which has the name now, and a topic that is gone has none.
fn may_tell(ctx: &RequestContext, view: &View<'_>, fetched: &mut FetchedTopic) -> bool {
    match view.topic(&fetched.name, Operation::Describe) {
        Ok(topic) => {
            fetched.topic_id = topic.topic_id;
            true
        }
        Err(ErrorCode::UnknownTopicOrPartition) => ctx.api_version < TOPIC_IDS_SINCE,
        Err(_) => false,
    }
}

fn group_response(ctx: &RequestContext, group: FetchedGroup) -> OffsetFetchResponseGroup {
    let topics = group.topics.into_iter().map(|topic| {
        let named = OffsetFetchResponseTopics::default();
        let named = match ctx.api_version {
            ..TOPIC_IDS_SINCE => named.with_name(wire(&topic.name).into()),
            _ => named.with_topic_id(topic.topic_id),
        };
        let partitions = topic.partitions.into_iter().map(|p| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(p.partition_index)
                .with_committed_offset(p.committed_offset)
                .with_committed_leader_epoch(p.committed_leader_epoch)
                .with_metadata(Some(wire(&p.metadata)))
                .with_error_code(p.error.unwrap_or_default().into())
        });
        named.with_partitions(partitions.collect())
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
