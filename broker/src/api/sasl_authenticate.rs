//! SaslAuthenticate (key 36), versions 0-2 (KIP-152, KIP-368).
//!
//! As [`sasl_handshake`](super::sasl_handshake): what comes here is ILLEGAL_SASL_STATE.

use kafka_protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use crate::context::RequestContext;

pub(crate) async fn handle(
    _ctx: &RequestContext,
    _request: SaslAuthenticateRequest,
) -> SaslAuthenticateResponse {
    let message = "SaslAuthenticate request received after successful authentication";
    SaslAuthenticateResponse::default()
        .with_error_code(ErrorCode::IllegalSaslState.into())
        .with_error_message(Some(StrBytes::from_static_str(message)))
}
