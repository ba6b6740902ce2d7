//! AlterUserScramCredentials (key 51), version 0 (KIP-554).
//!
//! Passwords come salted, and what is kept of them is only good to check one. A user may be named once; each gets an answer of
//! its own, when its change is durable.

use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use super::{owned, wire};
use crate::authorizer::denial;
use crate::context::RequestContext;
use crate::metadata::{AlterScram, SaltedPassword};
use crate::net::account::Unaffordable;

/// What one answer takes, as a struct and encoded, without its name.
const RESULT_BYTES: usize = 320;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: AlterUserScramCredentialsRequest,
) -> Result<AlterUserScramCredentialsResponse, Unaffordable> {
    let deletions = request.deletions.into_iter().map(|deletion| AlterScram {
        user: owned(&deletion.name),
        mechanism: deletion.mechanism,
        new: None,
    });
    let upsertions = request.upsertions.into_iter().map(|upsertion| AlterScram {
        user: owned(&upsertion.name),
        mechanism: upsertion.mechanism,
        new: Some(SaltedPassword {
            salted_password: upsertion.salted_password.to_vec(),
            salt: upsertion.salt.to_vec(),
            iterations: upsertion.iterations,
        }),
    });
    let alters: Vec<AlterScram> = deletions.chain(upsertions).collect();
    ctx.pay(alters.len() * RESULT_BYTES + ctx.request_bytes)
        .await?;
    let users: Vec<String> = alters.iter().map(|alter| alter.user.clone()).collect();
    let results = match ctx.view().metadata().alter_scram(alters).await {
        Ok(told) => {
            let told = told.into_iter();
            told.map(|(user, outcome)| match outcome {
                Ok(()) => result(&user, ErrorCode::None, None),
                Err(refusal) => {
                    let message = StrBytes::from_static_str(refusal.message);
                    result(&user, refusal.error, Some(message))
                }
            })
            .collect()
        }
        Err(error) => {
            let message = StrBytes::from_string(error.to_string());
            let failed = |user: &str| result(user, error.code(), Some(message.clone()));
            distinct(users.iter().map(String::as_str))
                .map(failed)
                .collect()
        }
    };
    Ok(AlterUserScramCredentialsResponse::default().with_results(results))
}

/// For a client that may not alter the cluster.
pub(crate) fn refused(
    _ctx: &RequestContext,
    request: &AlterUserScramCredentialsRequest,
    error: ErrorCode,
) -> AlterUserScramCredentialsResponse {
    let deletions = request.deletions.iter().map(|deletion| &deletion.name);
    let upsertions = request.upsertions.iter().map(|upsertion| &upsertion.name);
    let message = StrBytes::from_static_str(denial(error));
    let users = distinct(deletions.chain(upsertions).map(|user| user.as_str()));
    let results = users.map(|user| result(user, error, Some(message.clone())));
    AlterUserScramCredentialsResponse::default().with_results(results.collect())
}

/// Each user once.
fn distinct<'a>(users: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    users.collect::<indexmap::IndexSet<_>>().into_iter()
}

fn result(
    user: &str,
    error: ErrorCode,
    message: Option<StrBytes>,
) -> AlterUserScramCredentialsResult {
    AlterUserScramCredentialsResult::default()
        .with_user(wire(user))
        .with_error_code(error.into())
        .with_error_message(message)
}
