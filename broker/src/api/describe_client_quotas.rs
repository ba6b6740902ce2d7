//! DescribeClientQuotas (key 48), versions 0-1 (KIP-546).
//!
//! No quota can be set yet, so none matches. A filter that makes no sense is refused as Kafka's `ClientQuotasImage`
//! does: INVALID_REQUEST, or UNSUPPORTED_VERSION for a type of entity that there is not.

use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use crate::authorizer::denial;
use crate::context::RequestContext;

const ENTITY_TYPES: [&str; 3] = ["user", "client-id", "ip"];
const MATCH_EXACT: i8 = 0;
const MATCH_DEFAULT: i8 = 1;
const MATCH_SPECIFIED: i8 = 2;

pub(crate) async fn handle(
    _ctx: &RequestContext,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    match check(&request.components) {
        Ok(()) => DescribeClientQuotasResponse::default().with_entries(Some(Vec::new())),
        Err((error, message)) => failed(error, message),
    }
}

/// For a client that may not describe the cluster's configuration.
pub(crate) fn refused(
    _ctx: &RequestContext,
    _request: &DescribeClientQuotasRequest,
    error: ErrorCode,
) -> DescribeClientQuotasResponse {
    failed(error, denial(error))
}

fn failed(error: ErrorCode, message: &'static str) -> DescribeClientQuotasResponse {
    DescribeClientQuotasResponse::default()
        .with_error_code(error.into())
        .with_error_message(Some(StrBytes::from_static_str(message)))
        .with_entries(None)
}

/// Stops at the first component that is wrong: there is one type to each, so the fourth is wrong at the latest.
fn check(components: &[ComponentData]) -> Result<(), (ErrorCode, &'static str)> {
    let invalid = |message| Err((ErrorCode::InvalidRequest, message));
    let mut seen = [false; ENTITY_TYPES.len()];
    for component in components {
        let entity_type = component.entity_type.as_str();
        if entity_type.is_empty() {
            return invalid("Invalid empty entity type.");
        }
        let Some(known) = ENTITY_TYPES.iter().position(|known| *known == entity_type) else {
            return Err((ErrorCode::UnsupportedVersion, "Unsupported entity type"));
        };
        if std::mem::replace(&mut seen[known], true) {
            return invalid("An entity type cannot appear more than once in the filter.");
        }
        match (component.match_type, &component._match) {
            (MATCH_EXACT, None) => {
                return invalid(
                    "Request specified MATCH_TYPE_EXACT, but set match string to null.",
                );
            }
            (MATCH_DEFAULT, Some(_)) => {
                return invalid(
                    "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.",
                );
            }
            (MATCH_SPECIFIED, Some(_)) => {
                return invalid(
                    "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.",
                );
            }
            (MATCH_EXACT | MATCH_DEFAULT | MATCH_SPECIFIED, _) => {}
            _ => return invalid("Unknown match type"),
        }
    }
    let [user, client_id, ip] = seen;
    if ip && (user || client_id) {
        return invalid(
            "Invalid entity filter component combination. IP filter component should not be used with user or \
             clientId filter component.",
        );
    }
    Ok(())
}
