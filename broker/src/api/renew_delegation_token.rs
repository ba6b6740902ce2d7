//! RenewDelegationToken (key 39), versions 1-2 (KIP-48).
//!
//! A token holds for `renew_period_ms` from now on, and not for longer than `delegation.token.expiry.time.ms`, nor beyond its
//! end. The token is named by its secret. Its owner and its renewers may do this.

use kafka_protocol::messages::{RenewDelegationTokenRequest, RenewDelegationTokenResponse};

use super::expire_delegation_token::change;
use crate::context::RequestContext;
use crate::metadata::TokenWish;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: RenewDelegationTokenRequest,
) -> RenewDelegationTokenResponse {
    let longest_ms = ctx.delegation().expiry_time_ms;
    let for_ms = match request.renew_period_ms {
        wanted @ 1.. => wanted.min(longest_ms),
        _ => longest_ms,
    };
    let (error, expires_at_ms) = change(ctx, &request.hmac, TokenWish::Renew { for_ms }).await;
    RenewDelegationTokenResponse::default()
        .with_error_code(error.into())
        .with_expiry_timestamp_ms(expires_at_ms)
}
