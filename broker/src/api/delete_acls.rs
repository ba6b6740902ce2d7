//! DeleteAcls (key 31), versions 1-3.
//!
//! Deletes the entries that filters mean, and tells which they were: each filter those that it means, whether another one
//! means them, too. One request deletes 10,000 at most. Without an authorizer SECURITY_DISABLED.
//!
//! Deviations: Kafka closes the connection over a code 0 in a filter; here it is INVALID_REQUEST as other unknown codes are.

#![expect(
    clippy::disallowed_methods,
    reason = "the client may alter the cluster"
)]

use std::collections::BTreeSet;

use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::delete_acls_response::{
    DeleteAclsFilterResult, DeleteAclsMatchingAcl,
};
use kafka_protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;

use super::acl_filter::{UnknownCode, filter};
use super::{NO_AUTHORIZER, PART_BYTES, wire};
use crate::acl::{Acl, AclFilter, Matches};
use crate::authorizer::denial;
use crate::context::RequestContext;
use crate::metadata::{MAX_ACLS_PER_CHANGE, MetadataError, OldAcls};
use crate::net::account::Unaffordable;

/// What one filter and its answer take, as structs and encoded, without the entries that it means.
const RESULT_BYTES: usize = 512;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DeleteAclsRequest,
) -> Result<DeleteAclsResponse, Unaffordable> {
    let count = request.filters.len();
    ctx.pay(count * RESULT_BYTES).await?;
    let view = ctx.view();
    if !view.has_authorizer() {
        return Ok(all(count, ErrorCode::SecurityDisabled, &NO_AUTHORIZER));
    }
    let filters: Vec<_> = request.filters.iter().map(meaning).collect();
    let known = filters.iter().enumerate();
    let known = known.filter_map(|(place, filter)| Some((place, *filter.as_ref().ok()?)));
    let meant = Matches::of(known);
    let nothing = DeleteAclsFilterResult::default().with_error_message(None);
    let mut results = vec![nothing; count];
    let mut ids = BTreeSet::new();
    let mut tab = ctx.tab();
    for (id, acl) in view.whole_metadata().image.acls().iter() {
        for place in meant.of_entry(acl) {
            tab.add(PART_BYTES + 2 * acl.text_bytes()).await?;
            results[place].matching_acls.push(matching(acl));
            ids.insert(id);
        }
        if ids.len() > MAX_ACLS_PER_CHANGE {
            let message = format!(
                "Cannot remove more than {MAX_ACLS_PER_CHANGE} acls in a single delete operation."
            );
            return Ok(all(count, ErrorCode::InvalidRequest, &wire(&message)));
        }
    }
    let old = view.change(Operation::Alter, OldAcls(ids.into_iter().collect()));
    let deleted = match old {
        Ok(old) => view.metadata().delete_acls(old).await,
        Err(error) => Err(MetadataError::Denied(error)),
    };
    for (result, filter) in results.iter_mut().zip(&filters) {
        match (filter, &deleted) {
            (Err(UnknownCode::OfPattern), _) => {
                *result = failed(ErrorCode::InvalidRequest, wire("Unknown patternFilter."));
            }
            (Err(UnknownCode::OfEntry), _) => {
                *result = failed(ErrorCode::InvalidRequest, wire("Unknown entryFilter."));
            }
            (Ok(_), Err(error)) => *result = failed(error.code(), wire(&error.to_string())),
            (Ok(_), Ok(())) => {}
        }
    }
    Ok(DeleteAclsResponse::default().with_filter_results(results))
}

fn meaning(asked: &DeleteAclsFilter) -> Result<AclFilter<'_>, UnknownCode> {
    filter((
        asked.resource_type_filter,
        &asked.resource_name_filter,
        asked.pattern_type_filter,
        &asked.principal_filter,
        &asked.host_filter,
        asked.operation,
        asked.permission_type,
    ))
}

fn matching(acl: &Acl) -> DeleteAclsMatchingAcl {
    DeleteAclsMatchingAcl::default()
        .with_error_message(None)
        .with_resource_type(acl.resource.code())
        .with_resource_name(wire(&acl.name))
        .with_pattern_type(acl.pattern.code())
        .with_principal(wire(&acl.principal))
        .with_host(wire(&acl.host))
        .with_operation(acl.operation.code())
        .with_permission_type(acl.permission.code())
}

fn failed(error: ErrorCode, message: StrBytes) -> DeleteAclsFilterResult {
    DeleteAclsFilterResult::default()
        .with_error_code(error.into())
        .with_error_message(Some(message))
}

/// The same answer to each filter.
fn all(count: usize, error: ErrorCode, message: &StrBytes) -> DeleteAclsResponse {
    DeleteAclsResponse::default().with_filter_results(vec![failed(error, message.clone()); count])
}

/// For a client that may not alter the cluster.
pub(crate) fn refused(
    _ctx: &RequestContext,
    request: &DeleteAclsRequest,
    error: ErrorCode,
) -> DeleteAclsResponse {
    let message = StrBytes::from_static_str(denial(error));
    all(request.filters.len(), error, &message)
}
