//! DescribeUserScramCredentials (key 50), version 0 (KIP-554).
//!
//! No credentials can be stored yet: asked for all, the answer is empty; a user that is named is RESOURCE_NOT_FOUND,
//! one that is named twice DUPLICATE_RESOURCE, once, as Kafka's `ScramImage` answers.

use indexmap::IndexMap;
use kafka_protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use kafka_protocol::messages::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use crate::authorizer::denial;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

/// What one answer takes, as a struct and encoded, without its name.
const RESULT_BYTES: usize = 320;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DescribeUserScramCredentialsRequest,
) -> Result<DescribeUserScramCredentialsResponse, Unaffordable> {
    let users_count = request.users.as_ref().map_or(0, Vec::len);
    ctx.pay(users_count * RESULT_BYTES + ctx.request_bytes)
        .await?;
    let mut users: IndexMap<StrBytes, ErrorCode> = IndexMap::new();
    for user in request.users.unwrap_or_default() {
        users
            .entry(user.name)
            .and_modify(|error| *error = ErrorCode::DuplicateResource)
            .or_insert(ErrorCode::ResourceNotFound);
    }
    let results = users.into_iter().map(|(user, error)| {
        let message = match error {
            ErrorCode::DuplicateResource => {
                "Cannot describe SCRAM credentials for the same user twice in a single request"
            }
            _ => "Attempt to describe a user credential that does not exist",
        };
        DescribeUserScramCredentialsResult::default()
            .with_user(user)
            .with_error_code(error.into())
            .with_error_message(Some(StrBytes::from_static_str(message)))
    });
    Ok(DescribeUserScramCredentialsResponse::default().with_results(results.collect()))
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
