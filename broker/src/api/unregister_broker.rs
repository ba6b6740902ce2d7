//! UnregisterBroker (key 64), version 0 (KIP-631).
//!
//! Forgets a broker that will not come back. One that is there is not gone: INVALID_REQUEST. Kafka obeys, and the broker is a
//! stranger to its own cluster until it starts again. One that has gone is forgotten already.

use kafka_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use super::wire;
use crate::authorizer::denial;
use crate::context::RequestContext;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    let id = request.broker_id.0;
    let view = ctx.view();
    let is_known = view.cluster().broker_ids().any(|known| known == id);
    let (error, message) = match is_known {
        true => (
            ErrorCode::InvalidRequest,
            format!(
                "Broker ID {id} is running, so that it cannot be unregistered; stop it instead"
            ),
        ),
        false => (
            ErrorCode::BrokerIdNotRegistered,
            format!("Broker ID {id} is not currently registered"),
        ),
    };
    UnregisterBrokerResponse::default()
        .with_error_code(error.into())
        .with_error_message(Some(wire(&message)))
}

/// For a client that may not alter the cluster.
pub(crate) fn refused(
    _ctx: &RequestContext,
    _request: &UnregisterBrokerRequest,
    error: ErrorCode,
) -> UnregisterBrokerResponse {
    UnregisterBrokerResponse::default()
        .with_error_code(error.into())
        .with_error_message(Some(StrBytes::from_static_str(denial(error))))
}
