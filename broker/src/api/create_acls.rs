//! CreateAcls (key 30), versions 1-3.
//!
//! There is no authorizer yet: each creation is refused with SECURITY_DISABLED, as Kafka without one does.

use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::{CreateAclsRequest, CreateAclsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use super::NO_AUTHORIZER;
use crate::authorizer::denial;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

/// What one refusal takes, as a struct and encoded.
const RESULT_BYTES: usize = 160;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: CreateAclsRequest,
) -> Result<CreateAclsResponse, Unaffordable> {
    let count = request.creations.len();
    ctx.pay(count * RESULT_BYTES).await?;
    let refused = AclCreationResult::default()
        .with_error_code(ErrorCode::SecurityDisabled.into())
        .with_error_message(Some(NO_AUTHORIZER));
    Ok(CreateAclsResponse::default().with_results(vec![refused; count]))
}

/// For a client that may not alter the cluster.
pub(crate) fn refused(
    _ctx: &RequestContext,
    request: &CreateAclsRequest,
    error: ErrorCode,
) -> CreateAclsResponse {
    let refused = AclCreationResult::default()
        .with_error_code(error.into())
        .with_error_message(Some(StrBytes::from_static_str(denial(error))));
    CreateAclsResponse::default().with_results(vec![refused; request.creations.len()])
}
