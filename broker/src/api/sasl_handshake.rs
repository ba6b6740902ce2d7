//! SaslHandshake (key 17), versions 0-1.
//!
//! Log-ins are dealt with before requests are: see [`conversation`](crate::security::sasl::conversation). What comes here is
//! asked on a listener without log-in, or after it, and ILLEGAL_SASL_STATE.

use kafka_protocol::messages::{SaslHandshakeRequest, SaslHandshakeResponse};
use protocol_shim::ErrorCode;

use crate::context::RequestContext;

pub(crate) async fn handle(
    _ctx: &RequestContext,
    _request: SaslHandshakeRequest,
) -> SaslHandshakeResponse {
    SaslHandshakeResponse::default().with_error_code(ErrorCode::IllegalSaslState.into())
}
