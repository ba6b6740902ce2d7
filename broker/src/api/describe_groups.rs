//! DescribeGroups (key 15), versions 0-6.
//!
//! State, protocol and members of groups. A group that does not exist is `Dead`, and from v6
//! GROUP_ID_NOT_FOUND (KIP-1043). From v3 on request with what the client may do (KIP-430): everything.
//!
//! Deviation: when the answer has become too large, the groups that are left are COORDINATOR_LOAD_IN_PROGRESS.

use coordinators::group::{self, DescribeGroups, GroupId};
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;

use super::{PART_BYTES, owned, pay_for_described, wire};
use crate::context::RequestContext;
use crate::metadata::operations::OPERATIONS_OMITTED;
use crate::net::account::Unaffordable;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DescribeGroupsRequest,
) -> Result<DescribeGroupsResponse, Unaffordable> {
    ctx.pay(PART_BYTES * request.groups.len()).await?;
    let ids: Vec<GroupId> = request.groups.iter().map(|id| owned(id)).collect();
    let api_version = ctx.api_version;
    let view = ctx.view();
    let groups = ids
        .iter()
        .map(|id| (view.group(id, Operation::Describe), ()));
    let call = |groups: Vec<(GroupId, ())>, allowance| DescribeGroups {
        group_ids: groups.into_iter().map(|(id, ())| id).collect(),
        api_version,
        allowance,
    };
    let described = view.groups().call_all(groups.collect(), call).await;
    pay_for_described(ctx, &described).await?;
    let groups = ids.into_iter().zip(described).map(|(id, outcome)| {
        let group = outcome.unwrap_or_else(|error| group::DescribedGroup::failed(id, error));
        let include_operations = request.include_authorized_operations && group.error.is_none();
        let operations = match include_operations {
            true => view.group_operations(&group.group_id),
            false => OPERATIONS_OMITTED,
        };
        describe(ctx, group, operations)
    });
    Ok(DescribeGroupsResponse::default().with_groups(groups.collect()))
}

fn describe(ctx: &RequestContext, group: group::DescribedGroup, operations: i32) -> DescribedGroup {
    let message = group
        .error_message
        .as_deref()
        .filter(|_| ctx.api_version >= 6)
        .map(wire);
    let members = group.members.into_iter().map(|member| {
        let instance_id = member.group_instance_id.as_deref();
        DescribedGroupMember::default()
            .with_member_id(wire(&member.member_id))
            .with_group_instance_id(instance_id.filter(|_| ctx.api_version >= 4).map(wire))
            .with_client_id(wire(&member.client_id))
            .with_client_host(wire(&member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    DescribedGroup::default()
        .with_error_code(group.error.unwrap_or_default().into())
        .with_error_message(message)
        .with_group_id(wire(&group.group_id).into())
        .with_group_state(StrBytes::from_static_str(group.state))
        .with_protocol_type(wire(&group.protocol_type))
        .with_protocol_data(wire(&group.protocol_data))
        .with_authorized_operations(operations)
        .with_members(members.collect())
}
