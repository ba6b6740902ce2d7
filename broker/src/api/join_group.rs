//! JoinGroup (key 11), versions 0-9.
//!
//! Enters the classic rebalance protocol; answered when the join phase of the group ends. A new member
//! is given its id first (v4, KIP-394); static members keep theirs (v5, KIP-345); the leader of an
//! unchanged group may skip the assignment (v9, KIP-814). See [`coordinators::group`].

use coordinators::group::{JoinGroup, JoinReply, Protocol};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;
use uuid::Uuid;

use super::{PART_BYTES, owned, owned_bytes, reason, wire};
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: JoinGroupRequest,
) -> Result<JoinGroupResponse, Unaffordable> {
    let view = ctx.view();
    let group = view.group(&request.group_id, Operation::Read);
    let call = |group_id| JoinGroup {
        group_id,
        member_id: owned(&request.member_id),
        group_instance_id: request.group_instance_id.as_ref().map(owned),
        client_id: ctx.client_id.clone(),
        client_host: format!("/{}", ctx.session.peer_addr.ip()).into(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if ctx.api_version == 0 {
            -1
        } else {
            request.rebalance_timeout_ms
        },
        protocol_type: owned(&request.protocol_type),
        protocols: request
            .protocols
            .iter()
            .map(|protocol| Protocol {
                name: owned(&protocol.name),
                metadata: owned_bytes(&protocol.metadata),
            })
            .collect(),
        reason: request.reason.as_ref().map(reason),
        api_version: ctx.api_version,
        member_uuid: Uuid::new_v4(),
    };
    match view.groups().call(group, call).await {
        Ok(reply) => {
            let members = reply
                .members
                .iter()
                .map(|member| PART_BYTES + 2 * member.member_id.len() + member.metadata.len());
            // The leader's answer tells of the whole group, once.
            ctx.pay_for_all(members.sum()).await?;
            Ok(response(ctx, reply))
        }
        Err(error) => Ok(refusal(ctx, request.member_id, error)),
    }
}

fn response(ctx: &RequestContext, reply: JoinReply) -> JoinGroupResponse {
    let protocol_name = reply
        .protocol_name
        .as_deref()
        .filter(|_| reply.error.is_none());
    let protocol_name = protocol_name.map(wire);
    JoinGroupResponse::default()
        .with_error_code(reply.error.unwrap_or_default().into())
        .with_generation_id(reply.generation_id)
        .with_protocol_type(reply.protocol_type.as_deref().map(wire))
        // The name may be null from v7 on.
        .with_protocol_name(if ctx.api_version < 7 {
            Some(protocol_name.unwrap_or_default())
        } else {
            protocol_name
        })
        .with_leader(wire(&reply.leader))
        .with_skip_assignment(ctx.api_version >= 9 && reply.skip_assignment)
        .with_member_id(wire(&reply.member_id))
        .with_members(
            reply
                .members
                .iter()
                .map(|member| {
                    JoinGroupResponseMember::default()
                        .with_member_id(wire(&member.member_id))
                        .with_group_instance_id(
                            member
                                .group_instance_id
                                .as_deref()
                                .filter(|_| ctx.api_version >= 5)
                                .map(wire),
                        )
                        .with_metadata(member.metadata.clone())
                })
                .collect(),
        )
}

fn refusal(ctx: &RequestContext, member_id: StrBytes, error: ErrorCode) -> JoinGroupResponse {
    let member_id = match error {
        // As in Kafka.
        ErrorCode::GroupAuthorizationFailed => StrBytes::default(),
        _ => member_id,
    };
    JoinGroupResponse::default()
        .with_error_code(error.into())
        .with_generation_id(-1)
        .with_protocol_name((ctx.api_version < 7).then(StrBytes::default))
        .with_member_id(member_id)
}
