//! DescribeDelegationToken (key 41), versions 1-3 (KIP-48).
//!
//! Tells of the tokens of some principals, or of all, with their secrets. A client sees those that it owns, may renew or has
//! asked for, and others with DESCRIBE on the token or DESCRIBE_TOKENS on its owner.

use std::collections::HashSet;

use bytes::Bytes;
use kafka_protocol::messages::describe_delegation_token_response::{
    DescribedDelegationToken, DescribedDelegationTokenRenewer,
};
use kafka_protocol::messages::{DescribeDelegationTokenRequest, DescribeDelegationTokenResponse};
use protocol_shim::ErrorCode;

use super::create_delegation_token::parts;
use super::wire;
use crate::context::RequestContext;
use crate::metadata::DelegationToken;
use crate::net::account::Unaffordable;

/// What one token takes, as a struct and encoded, besides its names.
const TOKEN_BYTES: usize = 768;
/// What one renewer takes besides its name.
const RENEWER_BYTES: usize = 160;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DescribeDelegationTokenRequest,
) -> Result<DescribeDelegationTokenResponse, Unaffordable> {
    let refused = |error: ErrorCode| {
        Ok(DescribeDelegationTokenResponse::default().with_error_code(error.into()))
    };
    let view = ctx.view();
    if !view.may_ask_for_tokens() {
        return refused(ErrorCode::DelegationTokenRequestNotAllowed);
    }
    if !ctx.delegation().is_on() {
        return refused(ErrorCode::DelegationTokenAuthDisabled);
    }
    let owners = request.owners.map(|owners| {
        let owners = owners.iter();
        let owners = owners.map(|one| format!("{}:{}", one.principal_type, one.principal_name));
        owners.collect::<HashSet<String>>()
    });
    let is_wanted = |token: &DelegationToken| {
        let renewers = token.renewers.iter().map(String::as_str);
        let mut concerned = renewers.chain([&*token.owner, &*token.requester]);
        owners
            .as_ref()
            .is_none_or(|owners| concerned.any(|principal| owners.contains(principal)))
    };
    let mut response = DescribeDelegationTokenResponse::default();
    if owners.as_ref().is_some_and(HashSet::is_empty) {
        return Ok(response);
    }
    let mut tab = ctx.tab();
    for token in view.tokens(is_wanted) {
        let Some(secret) = ctx.delegation().secret(&token.id) else {
            continue;
        };
        let renewers_bytes = token.renewers.len() * RENEWER_BYTES;
        tab.add_for_all(TOKEN_BYTES + renewers_bytes + 2 * token.size_bytes())
            .await?;
        response
            .tokens
            .push(described(ctx.api_version, token, secret.expose()));
    }
    Ok(response)
}

fn described(version: i16, token: &DelegationToken, secret: &[u8]) -> DescribedDelegationToken {
    let (owner_kind, owner_name) = parts(&token.owner);
    let renewers = token.renewers.iter().map(|renewer| {
        let (kind, name) = parts(renewer);
        DescribedDelegationTokenRenewer::default()
            .with_principal_type(kind)
            .with_principal_name(name)
    });
    let mut told = DescribedDelegationToken::default()
        .with_principal_type(owner_kind)
        .with_principal_name(owner_name)
        .with_issue_timestamp(token.issued_at_ms)
        .with_expiry_timestamp(token.expires_at_ms)
        .with_max_timestamp(token.max_at_ms)
        .with_token_id(wire(&token.id))
        .with_hmac(Bytes::copy_from_slice(secret))
        .with_renewers(renewers.collect());
    if version >= 3 {
        let (kind, name) = parts(&token.requester);
        told.token_requester_principal_type = kind;
        told.token_requester_principal_name = name;
    }
    told
}
