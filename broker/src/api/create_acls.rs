//! CreateAcls (key 30), versions 1-3.
//!
//! Makes entries; one that is there already is no error. Each that cannot be is refused by itself, but 10,000 is what one
//! request may make. Without an authorizer SECURITY_DISABLED.
//!
//! Deviations: Kafka closes the connection over a code 0 in an entry, and answers UNKNOWN_SERVER_ERROR to all entries if one has
//! ANY or MATCH; here it is INVALID_REQUEST, as other codes are that an entry cannot have.

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::{CreateAclsRequest, CreateAclsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;

use super::{NO_AUTHORIZER, wire};
use crate::acl::{
    Acl, AclOperation, CLUSTER_NAME, PatternKind, Permission, ResourceKind, check_host,
};
use crate::authorizer::denial;
use crate::context::RequestContext;
use crate::metadata::{MetadataError, NewAcls};
use crate::net::account::Unaffordable;

/// What one entry and its answer take, as structs and encoded, besides text of the request.
const RESULT_BYTES: usize = 512;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: CreateAclsRequest,
) -> Result<CreateAclsResponse, Unaffordable> {
    let count = request.creations.len();
    // A refusal may say again what was wrong.
    ctx.pay(count * RESULT_BYTES + 3 * ctx.request_bytes)
        .await?;
    let view = ctx.view();
    if !view.has_authorizer() {
        let refused = failed(ErrorCode::SecurityDisabled, NO_AUTHORIZER);
        return Ok(CreateAclsResponse::default().with_results(vec![refused; count]));
    }
    let checked: Vec<Result<Acl, String>> = request.creations.iter().map(entry).collect();
    let new = checked.iter().flatten().cloned().collect();
    let created = match view.change(Operation::Alter, NewAcls(new)) {
        Ok(new) => view.metadata().create_acls(new).await,
        Err(error) => Err(MetadataError::Denied(error)),
    };
    let results = checked
        .into_iter()
        .map(|checked| match (checked, &created) {
            (Err(what), _) => failed(ErrorCode::InvalidRequest, StrBytes::from_string(what)),
            (Ok(_), Err(error)) => failed(error.code(), wire(&error.to_string())),
            (Ok(_), Ok(())) => AclCreationResult::default(),
        });
    Ok(CreateAclsResponse::default().with_results(results.collect()))
}

/// The entry that is asked for, or what is wrong with it; in Kafka's words and order.
fn entry(asked: &AclCreation) -> Result<Acl, String> {
    let resource = ResourceKind::from_code(asked.resource_type);
    if resource == Some(ResourceKind::Cluster) && *asked.resource_name != *CLUSTER_NAME {
        return Err(format!(
            "The only valid name for the CLUSTER resource is {CLUSTER_NAME}"
        ));
    }
    if asked.resource_name.is_empty() {
        return Err("Invalid empty resource name".to_owned());
    }
    let unknown = |code: i8| if code == 1 { "ANY" } else { "UNKNOWN" };
    let resource =
        resource.ok_or_else(|| format!("Invalid resourceType {}", unknown(asked.resource_type)))?;
    let pattern = asked.resource_pattern_type;
    let pattern = PatternKind::from_code(pattern).ok_or_else(|| {
        let name = if pattern == 2 {
            "MATCH"
        } else {
            unknown(pattern)
        };
        format!("Invalid patternType {name}")
    })?;
    let operation = AclOperation::from_code(asked.operation)
        .ok_or_else(|| format!("Invalid operation {}", unknown(asked.operation)))?;
    let permission = Permission::from_code(asked.permission_type)
        .ok_or_else(|| format!("Invalid permissionType {}", unknown(asked.permission_type)))?;
    if !asked.principal.contains(':') {
        return Err(format!(
            "Could not parse principal from `{}` (no colon is present separating the principal type from the principal name)",
            asked.principal
        ));
    }
    check_host(&asked.host)?;
    Ok(Acl {
        resource,
        pattern,
        name: (*asked.resource_name).into(),
        principal: (*asked.principal).into(),
        host: (*asked.host).into(),
        operation,
        permission,
    })
}

fn failed(error: ErrorCode, message: StrBytes) -> AclCreationResult {
    AclCreationResult::default()
        .with_error_code(error.into())
        .with_error_message(Some(message))
}

/// For a client that may not alter the cluster.
pub(crate) fn refused(
    _ctx: &RequestContext,
    request: &CreateAclsRequest,
    error: ErrorCode,
) -> CreateAclsResponse {
    let refused = failed(error, StrBytes::from_static_str(denial(error)));
    CreateAclsResponse::default().with_results(vec![refused; request.creations.len()])
}
