//! DescribeUserScramCredentials (key 50), version 0 (KIP-554).
//!
//! Tells which mechanisms users have credentials for, and with how many iterations; nothing else of them. Asked for no user in
//! particular, it tells of all. A user that is named and not there is RESOURCE_NOT_FOUND, one that is named twice
//! DUPLICATE_RESOURCE, once, as Kafka's `ScramImage` answers.

#![expect(
    clippy::disallowed_methods,
    reason = "who may describe the cluster may see its users"
)]

use indexmap::IndexMap;
use kafka_protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use kafka_protocol::messages::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use super::wire;
use crate::authorizer::denial;
use crate::context::RequestContext;
use crate::metadata::ScramCredentials;
use crate::net::account::Unaffordable;

/// What one answer takes, as a struct and encoded, without its name.
const RESULT_BYTES: usize = 320;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DescribeUserScramCredentialsRequest,
) -> Result<DescribeUserScramCredentialsResponse, Unaffordable> {
    let view = ctx.view();
    let users = view.whole_metadata().image.scram();
    let named = request.users.unwrap_or_default();
    if named.is_empty() {
        let name_bytes: usize = users.users().map(|(user, _)| 2 * user.len()).sum();
        let bytes = users.user_count() * RESULT_BYTES + name_bytes;
        ctx.pay_for_all(bytes).await?;
        let results = users.users().map(|(user, has)| described(wire(user), has));
        return Ok(DescribeUserScramCredentialsResponse::default().with_results(results.collect()));
    }
    ctx.pay(named.len() * RESULT_BYTES + 2 * ctx.request_bytes)
        .await?;
    let mut times: IndexMap<StrBytes, usize> = IndexMap::new();
    for user in named {
        *times.entry(user.name).or_default() += 1;
    }
    let results = times.into_iter().map(|(user, times)| {
        let has = users.credentials(&user);
        let (error, message) = match has {
            _ if times > 1 => (
                ErrorCode::DuplicateResource,
                "Cannot describe SCRAM credentials for the same user twice in a single request",
            ),
            Some(has) => return described(user, has),
            None => (
                ErrorCode::ResourceNotFound,
                "Attempt to describe a user credential that does not exist",
            ),
        };
        DescribeUserScramCredentialsResult::default()
            .with_error_code(error.into())
            .with_error_message(Some(StrBytes::from_string(format!("{message}: {user}"))))
            .with_user(user)
    });
    Ok(DescribeUserScramCredentialsResponse::default().with_results(results.collect()))
}

fn described(user: StrBytes, has: &ScramCredentials) -> DescribeUserScramCredentialsResult {
    let infos = has.iter().map(|(mechanism, credential)| {
        CredentialInfo::default()
            .with_mechanism(*mechanism as i8)
            .with_iterations(credential.iterations)
    });
    DescribeUserScramCredentialsResult::default()
        .with_user(user)
        .with_credential_infos(infos.collect())
}

/// For a client that may not describe the cluster. As in Kafka, the users are counted and not named.
pub(crate) fn refused(
    _ctx: &RequestContext,
    request: &DescribeUserScramCredentialsRequest,
    error: ErrorCode,
) -> DescribeUserScramCredentialsResponse {
    let message = Some(StrBytes::from_static_str(denial(error)));
    let refused = DescribeUserScramCredentialsResult::default()
        .with_error_code(error.into())
        .with_error_message(message.clone());
    let users_count = request.users.as_ref().map_or(0, Vec::len);
    DescribeUserScramCredentialsResponse::default()
        .with_error_code(error.into())
        .with_error_message(message)
        .with_results(vec![refused; users_count])
}
