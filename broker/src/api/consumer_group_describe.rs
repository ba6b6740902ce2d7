//! ConsumerGroupDescribe (key 69), versions 0-1.
//!
//! State, epochs and members of groups of the consumer protocol (KIP-848); any other group is
//! GROUP_ID_NOT_FOUND. v1 says which protocol a member uses (KIP-1099).
//!
//! Deviation: when the answer has become too large, the groups that are left are COORDINATOR_LOAD_IN_PROGRESS.

use coordinators::group::{
    DescribeConsumerGroups, DescribedConsumer, DescribedConsumerGroup, GroupId, NamedPartitions,
};
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;

use super::{PART_BYTES, owned, pay_for_described, wire};
use crate::authorizer::{Authorized, Resource};
use crate::context::RequestContext;
use crate::metadata::operations::OPERATIONS_OMITTED;
use crate::net::account::Unaffordable;
use crate::view::View;

/// Kafka's words.
const HIDDEN_TOPICS: &str =
    "The group has described topic(s) that the client is not authorized to describe.";

/// A member that still uses the classic protocol.
const CLASSIC_MEMBER: i8 = 0;
/// A member that uses the consumer protocol.
const CONSUMER_MEMBER: i8 = 1;
/// What versions without a member type have in its place.
const UNKNOWN_MEMBER: i8 = -1;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: ConsumerGroupDescribeRequest,
) -> Result<ConsumerGroupDescribeResponse, Unaffordable> {
    ctx.pay(PART_BYTES * request.group_ids.len()).await?;
    let ids: Vec<GroupId> = request.group_ids.iter().map(|id| owned(id)).collect();
    let view = ctx.view();
    // No member could have joined a group without a name.
    let is_valid = |group: Authorized<GroupId>| match group.is_valid() {
        true => Ok(group),
        false => Err(ErrorCode::InvalidGroupId),
    };
    let groups = ids.iter().map(|id| {
        let group = view.group(id, Operation::Describe);
        (group.and_then(is_valid), ())
    });
    let call = |groups: Vec<(GroupId, ())>, allowance| DescribeConsumerGroups {
        group_ids: groups.into_iter().map(|(id, ())| id).collect(),
        allowance,
    };
    let described = view.groups().call_all(groups.collect(), call).await;
    pay_for_described(ctx, &described).await?;
    let groups = ids
        .into_iter()
        .zip(described)
        .map(|(id, outcome)| match outcome {
            Ok(group) => describe(ctx, &view, group, request.include_authorized_operations),
            Err(error) => failed(&id, error),
        });
    Ok(ConsumerGroupDescribeResponse::default().with_groups(groups.collect()))
}

fn failed(group_id: &str, error: ErrorCode) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(wire(group_id).into())
        .with_error_code(error.into())
        .with_authorized_operations(OPERATIONS_OMITTED)
}

fn describe(
    ctx: &RequestContext,
    view: &View<'_>,
    group: DescribedConsumerGroup,
    include_operations: bool,
) -> DescribedGroup {
    if let Some(refusal) = group.refusal {
        let message = Some(refusal.message).filter(|text| !text.is_empty());
        return failed(&group.group_id, refusal.error)
            .with_error_message(message.as_deref().map(wire));
    }
    let is_hidden = |topic: &NamedPartitions| {
        !view.allows(Operation::Describe, Resource::Topic(&topic.topic_name))
    };
    let mut assigned = group
        .members
        .iter()
        .flat_map(|member| member.assignment.iter().chain(&member.target_assignment));
    if assigned.any(is_hidden) {
        return failed(&group.group_id, ErrorCode::TopicAuthorizationFailed)
            .with_error_message(Some(StrBytes::from_static_str(HIDDEN_TOPICS)));
    }
    let operations = match include_operations {
        true => view.group_operations(&group.group_id),
        false => OPERATIONS_OMITTED,
    };
    let members = group
        .members
        .into_iter()
        .map(|member| self::member(ctx, member));
    DescribedGroup::default()
        .with_group_id(wire(&group.group_id).into())
        .with_group_state(StrBytes::from_static_str(group.state))
        .with_group_epoch(group.group_epoch)
        .with_assignment_epoch(group.assignment_epoch)
        .with_assignor_name(StrBytes::from_static_str(group.assignor))
        .with_members(members.collect())
        .with_authorized_operations(operations)
}

fn member(ctx: &RequestContext, member: DescribedConsumer) -> Member {
    let names = member.subscribed_topic_names.iter();
    Member::default()
        .with_member_id(wire(&member.member_id))
        .with_instance_id(member.instance_id.as_deref().map(wire))
        .with_rack_id(member.rack_id.as_deref().map(wire))
        .with_member_epoch(member.member_epoch)
        .with_client_id(wire(&member.client_id))
        .with_client_host(wire(&member.client_host))
        .with_subscribed_topic_names(names.map(|name| wire(name).into()).collect())
        .with_subscribed_topic_regex(member.subscribed_topic_regex.as_deref().map(wire))
        .with_assignment(assignment(member.assignment))
        .with_target_assignment(assignment(member.target_assignment))
        .with_member_type(match member.is_classic {
            _ if ctx.api_version < 1 => UNKNOWN_MEMBER,
            true => CLASSIC_MEMBER,
            false => CONSUMER_MEMBER,
        })
}

fn assignment(topics: Vec<NamedPartitions>) -> Assignment {
    let topics = topics.into_iter().map(|topic| {
        TopicPartitions::default()
            .with_topic_id(topic.topic_id)
            .with_topic_name(wire(&topic.topic_name).into())
            .with_partitions(topic.partitions)
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
