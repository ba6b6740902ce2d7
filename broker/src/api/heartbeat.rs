//! Heartbeat (key 12), versions 0-4.
//!
//! Keeps a classic member alive and tells it of a rebalance. See [`coordinators::group`].

use coordinators::group::Heartbeat;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::owned;
use crate::context::RequestContext;

pub(crate) async fn handle(ctx: &RequestContext, request: HeartbeatRequest) -> HeartbeatResponse {
    let call = Heartbeat {
        group_id: owned(&request.group_id),
        generation_id: request.generation_id,
        member_id: owned(&request.member_id),
        group_instance_id: request.group_instance_id.as_ref().map(owned),
    };
    let error = ctx
        .broker
        .groups
        .call(&request.group_id, call)
        .await
        .unwrap_or_else(Some);
    HeartbeatResponse::default().with_error_code(error.unwrap_or_default().into())
}
