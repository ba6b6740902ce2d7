//! SyncGroup (key 14), versions 0-5.
//!
//! The leader hands in the assignment, every member gets its own; answered when the leader has sent it.
//! From v5 the protocol's type and name must be there and right (KIP-559). See [`coordinators::group`].

use coordinators::group::SyncGroup;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;

use super::{owned, owned_bytes, wire};
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: SyncGroupRequest,
) -> Result<SyncGroupResponse, Unaffordable> {
    let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if ctx.api_version >= 5 && !names_protocol {
        let error = ErrorCode::InconsistentGroupProtocol;
        return Ok(SyncGroupResponse::default().with_error_code(error.into()));
    }
    let view = ctx.view();
    let group = view.group(&request.group_id, Operation::Read);
    let call = |group_id| SyncGroup {
        group_id,
        generation_id: request.generation_id,
        member_id: owned(&request.member_id),
        group_instance_id: request.group_instance_id.as_ref().map(owned),
        protocol_type: request.protocol_type.as_ref().map(owned),
        protocol_name: request.protocol_name.as_ref().map(owned),
        assignments: request
            .assignments
            .iter()
            .map(|assignment| {
                (
                    owned(&assignment.member_id),
                    owned_bytes(&assignment.assignment),
                )
            })
            .collect(),
    };
    match view.groups().call(group, call).await {
        Ok(reply) => {
            ctx.pay_for_all(reply.assignment.len()).await?;
            Ok(SyncGroupResponse::default()
                .with_error_code(reply.error.unwrap_or_default().into())
                .with_protocol_type(reply.protocol_type.as_deref().map(wire))
                .with_protocol_name(reply.protocol_name.as_deref().map(wire))
                .with_assignment(reply.assignment))
        }
        Err(error) => Ok(SyncGroupResponse::default().with_error_code(error.into())),
    }
}
