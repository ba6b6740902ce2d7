//! CreateDelegationToken (key 38), versions 1-3 (KIP-48, KIP-373).
//!
//! Gives its client a token of its own, or since version 3 of somebody else's, for whom it may (CREATE_TOKENS on the user). The
//! secret of it is told here, and to those who may describe it.
//!
//! Deviations: an owner whose type is missing or has a colon is INVALID_PRINCIPAL_TYPE; Kafka has an internal error, or makes
//! a token for somebody else. A name that no answer can hold is INVALID_REQUEST. What the tokens of
//! one requester and of all take is bounded; what is above that is POLICY_VIOLATION.

use bytes::Bytes;
use kafka_protocol::messages::{CreateDelegationTokenRequest, CreateDelegationTokenResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use super::wire;
use crate::context::RequestContext;
use crate::metadata::{NewToken, new_token_id};
use crate::net::account::Unaffordable;

/// Longer strings are in no answer. Names that clients log in with may be.
const MAX_NAME_BYTES: usize = i16::MAX as usize;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: CreateDelegationTokenRequest,
) -> Result<CreateDelegationTokenResponse, Unaffordable> {
    ctx.pay(2 * ctx.request_bytes).await?;
    let requester = ctx.session.principal.to_string();
    let name = request.owner_principal_name.as_deref().unwrap_or_default();
    let (owner, has_type) = match (request.owner_principal_type.as_deref(), name) {
        (_, "") => (requester.clone(), true),
        (kind, name) => {
            let kind = kind.unwrap_or_default();
            let has_type = !kind.is_empty() && !kind.contains(':');
            (format!("{kind}:{name}"), has_type)
        }
    };
    let told = answer(ctx.api_version, &owner, &requester);
    // As in Kafka, times are -1 where the client is refused before anything else is looked at.
    let refused = |error: ErrorCode| {
        let mut told = told.clone().with_error_code(error.into());
        told.issue_timestamp_ms = -1;
        told.expiry_timestamp_ms = -1;
        told.max_timestamp_ms = -1;
        Ok(told)
    };
    let view = ctx.view();
    if !view.may_ask_for_tokens() {
        return refused(ErrorCode::DelegationTokenRequestNotAllowed);
    }
    let tokens = ctx.delegation();
    let lifetime_ms = match request.max_lifetime_ms {
        wanted @ 1.. => wanted.min(tokens.max_lifetime_ms),
        _ => tokens.max_lifetime_ms,
    };
    let renewers = request.renewers.iter();
    let new = view.new_token(NewToken {
        id: new_token_id(),
        owner,
        requester: requester.clone(),
        renewers: renewers
            .map(|renewer| format!("{}:{}", renewer.principal_type, renewer.principal_name))
            .collect(),
        now_ms: ctx.clock().wall_ms(),
        lifetime_ms,
        period_ms: tokens.expiry_time_ms,
    });
    let new = match new {
        Ok(new) => new,
        Err(error) => return refused(error),
    };
    let mut kinds = request.renewers.iter().map(|one| &*one.principal_type);
    if !has_type || !kinds.all(|kind| kind == "User") {
        return refused(ErrorCode::InvalidPrincipalType);
    }
    if requester.len() > MAX_NAME_BYTES {
        return refused(ErrorCode::InvalidRequest);
    }
    let Some(secret) = tokens.secret(&new.id) else {
        return Ok(told.with_error_code(ErrorCode::DelegationTokenAuthDisabled.into()));
    };
    Ok(match view.metadata().create_token(new).await {
        Ok(token) => told
            .with_issue_timestamp_ms(token.issued_at_ms)
            .with_expiry_timestamp_ms(token.expires_at_ms)
            .with_max_timestamp_ms(token.max_at_ms)
            .with_token_id(wire(&token.id))
            .with_hmac(Bytes::copy_from_slice(secret.expose())),
        Err(error) => told.with_error_code(error.into()),
    })
}

fn answer(version: i16, owner: &str, requester: &str) -> CreateDelegationTokenResponse {
    let (owner_kind, owner_name) = parts(owner);
    let mut answer = CreateDelegationTokenResponse::default()
        .with_principal_type(owner_kind)
        .with_principal_name(owner_name);
    if version >= 3 {
        let (kind, name) = parts(requester);
        answer.token_requester_principal_type = kind;
        answer.token_requester_principal_name = name;
    }
    answer
}

/// Type and name of a principal.
pub(super) fn parts(principal: &str) -> (StrBytes, StrBytes) {
    let (kind, name) = principal.split_once(':').unwrap_or(("", principal));
    (wire(kind), wire(name))
}
