//! DescribeDelegationToken (key 41), versions 1-3 (KIP-48).
//!
//! A client that has not logged in may not ask for tokens, and nobody can log in yet. The answer is
//! DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, as Kafka's on a PLAINTEXT listener.

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
