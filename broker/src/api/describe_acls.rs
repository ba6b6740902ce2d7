//! DescribeAcls (key 29), versions 1-3.
//!
//! The entries that a filter means, by resource. Without an authorizer SECURITY_DISABLED.
//!
//! Deviations: resources come in the order of their names. Kafka closes the connection over a code 0 in a filter; here it is
//! INVALID_REQUEST.

#![expect(
    clippy::disallowed_methods,
    reason = "the client may describe the cluster"
)]

use kafka_protocol::messages::describe_acls_response::{AclDescription, DescribeAclsResource};
use kafka_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use super::acl_filter::filter;
use super::{PART_BYTES, wire};
use crate::acl::{Acl, Matches};
use crate::authorizer::denial;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DescribeAclsRequest,
) -> Result<DescribeAclsResponse, Unaffordable> {
    let view = ctx.view();
    if !view.has_authorizer() {
        let message = StrBytes::from_static_str("No Authorizer is configured on the broker");
        return Ok(failed(ErrorCode::SecurityDisabled, message));
    }
    let codes = [
        request.resource_type_filter,
        request.pattern_type_filter,
        request.operation,
        request.permission_type,
    ];
    if codes.contains(&0) {
        let message = StrBytes::from_static_str("DescribeAclsRequest contains UNKNOWN elements");
        return Ok(failed(ErrorCode::InvalidRequest, message));
    }
    let filter = filter((
        request.resource_type_filter,
        &request.resource_name_filter,
        request.pattern_type_filter,
        &request.principal_filter,
        &request.host_filter,
        request.operation,
        request.permission_type,
    ));
    // Of what nobody knows there are no entries.
    let meant = Matches::of(filter.ok().map(|filter| (0, filter)));
    let mut resources: Vec<DescribeAclsResource> = Vec::new();
    let mut tab = ctx.tab();
    for (_, acl) in view.whole_metadata().image.acls().iter() {
        if meant.of_entry(acl).next().is_none() {
            continue;
        }
        tab.add_for_all(PART_BYTES + 2 * acl.text_bytes()).await?;
        match resources.last_mut().filter(|last| is_on(acl, last)) {
            Some(last) => last.acls.push(description(acl)),
            None => resources.push(
                DescribeAclsResource::default()
                    .with_resource_type(acl.resource.code())
                    .with_resource_name(wire(&acl.name))
                    .with_pattern_type(acl.pattern.code())
                    .with_acls(vec![description(acl)]),
            ),
        }
    }
    Ok(DescribeAclsResponse::default().with_resources(resources))
}

fn is_on(acl: &Acl, resource: &DescribeAclsResource) -> bool {
    acl.resource.code() == resource.resource_type
        && acl.pattern.code() == resource.pattern_type
        && *acl.name == *resource.resource_name
}

fn description(acl: &Acl) -> AclDescription {
    AclDescription::default()
        .with_principal(wire(&acl.principal))
        .with_host(wire(&acl.host))
        .with_operation(acl.operation.code())
        .with_permission_type(acl.permission.code())
}

fn failed(error: ErrorCode, message: StrBytes) -> DescribeAclsResponse {
    DescribeAclsResponse::default()
        .with_error_code(error.into())
        .with_error_message(Some(message))
}

/// For a client that may not describe the cluster.
pub(crate) fn refused(
    _ctx: &RequestContext,
    _request: &DescribeAclsRequest,
    error: ErrorCode,
) -> DescribeAclsResponse {
    failed(error, StrBytes::from_static_str(denial(error)))
}
