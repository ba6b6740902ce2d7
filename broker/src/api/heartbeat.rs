//! Heartbeat (key 12), versions 0-4.
//!
//! Keeps a classic member alive and tells it of a rebalance. See [`coordinators::group`].

use coordinators::group::Heartbeat;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use protocol_shim::access::Operation;

use super::owned;
use crate::context::RequestContext;

pub(crate) async fn handle(ctx: &RequestContext, request: HeartbeatRequest) -> HeartbeatResponse {
    let view = ctx.view();
    let group = view.group(&request.group_id, Operation::Read);
    let call = |group_id| Heartbeat {
        group_id,
        generation_id: request.generation_id,
        member_id: owned(&request.member_id),
        group_instance_id: request.group_instance_id.as_ref().map(owned),
    };
    let called = view.groups().call(group, call).await;
    let error = called.unwrap_or_else(Some);
    HeartbeatResponse::default().with_error_code(error.unwrap_or_default().into())
}
