//! FindCoordinator (key 10), versions 0-6.
//!
//! This broker coordinates everything itself. The first question for a group creates
//! `__consumer_offsets`, as in Kafka. Several keys at once from v4 (KIP-699).
//!
//! Deviations: transactions (key type 1) and share groups (key type 2) are not served; INVALID_REQUEST
//! with a message ends such a client at once, where COORDINATOR_NOT_AVAILABLE would let it retry for ever.

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::error_code::ErrorCode;

use super::{PART_BYTES, wire};
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: FindCoordinatorRequest,
) -> Result<FindCoordinatorResponse, Unaffordable> {
    let (error, message) = match request.key_type {
        GROUP => match ctx.broker.groups.ensure_started().await {
            Ok(()) => (ErrorCode::None, None),
            Err(_) => (
                ErrorCode::CoordinatorNotAvailable,
                Some("the groups could not be loaded"),
            ),
        },
        TRANSACTION => (
            ErrorCode::InvalidRequest,
            Some("transactions are not served"),
        ),
        _ => (
            ErrorCode::InvalidRequest,
            Some("this kind of coordinator is not served"),
        ),
    };
    let message = message.map(StrBytes::from_static_str);
    let (node_id, host, port) = match error {
        ErrorCode::None => (
            ctx.broker.config.node_id,
            wire(&ctx.session.advertised.host),
            i32::from(ctx.session.advertised.port),
        ),
        _ => (-1, StrBytes::default(), -1),
    };
    if ctx.api_version < 4 {
        return Ok(FindCoordinatorResponse::default()
            .with_error_code(error.into())
            .with_error_message(message.filter(|_| ctx.api_version >= 1))
            .with_node_id(node_id.into())
            .with_host(host)
            .with_port(port));
    }
    let key_bytes = PART_BYTES + 2 * host.len();
    ctx.pay(key_bytes * request.coordinator_keys.len()).await?;
    let coordinators = request
        .coordinator_keys
        .into_iter()
        .map(|key| {
            Coordinator::default()
                .with_key(key)
                .with_error_code(error.into())
                .with_error_message(message.clone())
                .with_node_id(node_id.into())
                .with_host(host.clone())
                .with_port(port)
        })
        .collect();
    Ok(FindCoordinatorResponse::default().with_coordinators(coordinators))
}
