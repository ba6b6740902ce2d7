//! DescribeDelegationToken (key 41), versions 1-3 (KIP-48).
//!
//! Nobody logs in yet, and whoever has not logged in may not ask for tokens: DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, as
//! Kafka answers on a PLAINTEXT listener.

use kafka_protocol::messages::{DescribeDelegationTokenRequest, DescribeDelegationTokenResponse};
use protocol_shim::ErrorCode;

use crate::context::RequestContext;

pub(crate) async fn handle(
    _ctx: &RequestContext,
    _request: DescribeDelegationTokenRequest,
) -> DescribeDelegationTokenResponse {
    DescribeDelegationTokenResponse::default()
        .with_error_code(ErrorCode::DelegationTokenRequestNotAllowed.into())
}
