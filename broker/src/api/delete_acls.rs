//! DeleteAcls (key 31), versions 1-3.
//!
//! There is no authorizer yet: each filter is refused with SECURITY_DISABLED, as Kafka without one does.

use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};
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
    request: DeleteAclsRequest,
) -> Result<DeleteAclsResponse, Unaffordable> {
    let count = request.filters.len();
    ctx.pay(count * RESULT_BYTES).await?;
    let refused = DeleteAclsFilterResult::default()
        .with_error_code(ErrorCode::SecurityDisabled.into())
        .with_error_message(Some(NO_AUTHORIZER));
    Ok(DeleteAclsResponse::default().with_filter_results(vec![refused; count]))
}

/// For a client that may not alter the cluster.
pub(crate) fn refused(
    _ctx: &RequestContext,
    request: &DeleteAclsRequest,
    error: ErrorCode,
) -> DeleteAclsResponse {
    let refused = DeleteAclsFilterResult::default()
        .with_error_code(error.into())
        .with_error_message(Some(StrBytes::from_static_str(denial(error))));
    DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()])
}
