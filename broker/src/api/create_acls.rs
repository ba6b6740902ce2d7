//! CreateAcls (key 30), versions 1-3.
//!
//! There is no authorizer yet: each creation is refused with SECURITY_DISABLED, as Kafka without one does.

use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::{CreateAclsRequest, CreateAclsResponse};
use protocol_shim::ErrorCode;

use super::NO_AUTHORIZER;
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
