//! ExpireDelegationToken (key 40), versions 1-2 (KIP-48).
//!
//! A token ends `expiry_time_period_ms` from now on, or is removed at once, if that is negative: also one that has expired. The
//! token is named by its secret. Its owner and its renewers may do this. Who has logged in with it stays for as long as was
//! said then.

use kafka_protocol::messages::{ExpireDelegationTokenRequest, ExpireDelegationTokenResponse};
use protocol_shim::ErrorCode;

use crate::context::RequestContext;
use crate::metadata::{TokenChange, TokenWish};

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: ExpireDelegationTokenRequest,
) -> ExpireDelegationTokenResponse {
    let wish = match request.expiry_time_period_ms {
        in_ms @ 0.. => TokenWish::Expire { in_ms },
        _ => TokenWish::Remove,
    };
    let (error, expires_at_ms) = change(ctx, &request.hmac, wish).await;
    ExpireDelegationTokenResponse::default()
        .with_error_code(error.into())
        .with_expiry_timestamp_ms(expires_at_ms)
}

/// Changes the token with a secret. Says when it holds no longer, where it was changed.
pub(super) async fn change(
    ctx: &RequestContext,
    secret: &[u8],
    what: TokenWish,
) -> (ErrorCode, i64) {
    let view = ctx.view();
    if !view.may_ask_for_tokens() {
        return (ErrorCode::DelegationTokenRequestNotAllowed, -1);
    }
    let tokens = ctx.delegation();
    if !tokens.is_on() {
        return (ErrorCode::DelegationTokenAuthDisabled, 0);
    }
    let Some(id) = tokens.id_of(secret) else {
        return (ErrorCode::DelegationTokenNotFound, 0);
    };
    let change = TokenChange {
        id,
        by: ctx.session.principal.to_string(),
        now_ms: ctx.clock().wall_ms(),
        what,
    };
    match view.metadata().change_token(change).await {
        Ok(expires_at_ms) => (ErrorCode::None, expires_at_ms),
        Err(error) => (error, 0),
    }
}
