//! LeaveGroup (key 13), versions 0-5.
//!
//! Takes members out of a classic group at once. Several, and static ones by their instance id, from
//! v3 (KIP-345); before, the response's error is the one member's. See [`coordinators::group`].

use coordinators::group::{LeaveGroup, LeavingMember};
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use protocol_shim::access::Operation;

use super::{PART_BYTES, owned, reason, wire};
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: LeaveGroupRequest,
) -> Result<LeaveGroupResponse, Unaffordable> {
    ctx.pay(PART_BYTES * request.members.len()).await?;
    let members = if ctx.api_version < 3 {
        vec![LeavingMember {
            member_id: owned(&request.member_id),
            group_instance_id: None,
            reason: None,
        }]
    } else {
        request
            .members
            .iter()
            .map(|member| LeavingMember {
                member_id: owned(&member.member_id),
                group_instance_id: member.group_instance_id.as_ref().map(owned),
                reason: member.reason.as_ref().map(reason),
            })
            .collect()
    };
    let view = ctx.view();
    let group = view.group(&request.group_id, Operation::Read);
    let call = |group_id| LeaveGroup { group_id, members };
    let reply = match view.groups().call(group, call).await {
        Ok(reply) => reply,
        Err(error) => return Ok(LeaveGroupResponse::default().with_error_code(error.into())),
    };
    if ctx.api_version < 3 {
        let error = reply
            .error
            .or(reply.members.first().and_then(|member| member.error));
        return Ok(LeaveGroupResponse::default().with_error_code(error.unwrap_or_default().into()));
    }
    Ok(LeaveGroupResponse::default()
        .with_error_code(reply.error.unwrap_or_default().into())
        .with_members(
            reply
                .members
                .iter()
                .map(|member| {
                    MemberResponse::default()
                        .with_member_id(wire(&member.member_id))
                        .with_group_instance_id(member.group_instance_id.as_deref().map(wire))
                        .with_error_code(member.error.unwrap_or_default().into())
                })
                .collect(),
        ))
}
