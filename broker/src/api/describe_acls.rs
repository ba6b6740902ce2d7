//! DescribeAcls (key 29), versions 1-3.
//!
//! There is no authorizer yet, so there are no ACLs to tell: SECURITY_DISABLED, as Kafka without one answers.

use kafka_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use crate::authorizer::denial;
use crate::context::RequestContext;

pub(crate) async fn handle(
    _ctx: &RequestContext,
    _request: DescribeAclsRequest,
) -> DescribeAclsResponse {
    DescribeAclsResponse::default()
        .with_error_code(ErrorCode::SecurityDisabled.into())
        .with_error_message(Some(StrBytes::from_static_str(
            "No Authorizer is configured on the broker",
        )))
}

/// For a client that may not describe the cluster.
pub(crate) fn refused(
    _ctx: &RequestContext,
    _request: &DescribeAclsRequest,
    error: ErrorCode,
) -> DescribeAclsResponse {
    DescribeAclsResponse::default()
        .with_error_code(error.into())
        .with_error_message(Some(StrBytes::from_static_str(denial(error))))
}
