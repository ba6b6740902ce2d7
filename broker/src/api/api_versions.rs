//! ApiVersions (key 18), versions 0-5.
//!
//! Announces what is served and nothing else. A version that is not served is answered in version 0
//! with UNSUPPORTED_VERSION before this handler is reached (KIP-511). From v3 the client must name
//! itself in a sane way, else INVALID_REQUEST; it is told of the features that work, each at the one level that is both
//! supported and finalized (KIP-584). From v5 it may say
//! which cluster and broker it means: if that is somebody else, REBOOTSTRAP_REQUIRED (KIP-1242).

use kafka_protocol::protocol::StrBytes;
use protocol_shim::error_code::ErrorCode;
use protocol_shim::newer::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};

use super::{advertised, is_switched_on};
use crate::context::RequestContext;
use crate::features::FEATURES;
use crate::net::session::ClientSoftware;

/// The client does not say which broker it means.
const NO_NODE: i32 = -1;

/// Longer than any client's name or version.
const SOFTWARE_NAME_CHARS: usize = 100;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: ApiVersionsRequest,
) -> ApiVersionsResponse {
    if let Err(error) = check(ctx, &request) {
        return ApiVersionsResponse::default().with_error_code(error.into());
    }
    if ctx.api_version >= 3 {
        // Said once; a client that says something else later is still the same.
        let _ = ctx.session.software.set(ClientSoftware {
            name: cut(&request.client_software_name),
            version: cut(&request.client_software_version),
        });
    }
    let api_keys = advertised()
        .filter(|spec| is_switched_on(spec, ctx.config()))
        .map(|spec| {
            ApiVersion::default()
                .with_api_key(spec.api_key)
                .with_min_version(spec.advertised_min_version)
                .with_max_version(spec.max_version)
        })
        .collect();
    let response = ApiVersionsResponse::default().with_api_keys(api_keys);
    if ctx.api_version < 3 {
        return response;
    }
    // Clients look again when it has grown.
    let epoch = ctx.view().metadata().version().borrow().unwrap_or(-1);
    response
        .with_finalized_features_epoch(epoch)
        .with_supported_features(
            FEATURES
                .iter()
                .map(|(name, level)| {
                    SupportedFeatureKey::default()
                        .with_name(StrBytes::from_static_str(name))
                        .with_min_version(*level)
                        .with_max_version(*level)
                })
                .collect(),
        )
        .with_finalized_features(
            FEATURES
                .iter()
                .map(|(name, level)| {
                    FinalizedFeatureKey::default()
                        .with_name(StrBytes::from_static_str(name))
                        .with_min_version_level(*level)
                        .with_max_version_level(*level)
                })
                .collect(),
        )
}

/// Whether the client says who it is, and means this broker. Fields that its version does not have pass.
fn check(ctx: &RequestContext, request: &ApiVersionsRequest) -> Result<(), ErrorCode> {
    let named = [
        &request.client_software_name,
        &request.client_software_version,
    ];
    if ctx.api_version >= 3 && !named.into_iter().all(|name| is_valid_software_name(name)) {
        return Err(ErrorCode::InvalidRequest);
    }
    let view = ctx.view();
    match (request.cluster_id.as_deref(), request.node_id) {
        (None, NO_NODE) => Ok(()),
        (None, _) | (Some(_), NO_NODE) => Err(ErrorCode::InvalidRequest),
        (Some(cluster_id), node_id) => {
            match cluster_id == view.cluster_id() && node_id == view.cluster().me() {
                true => Ok(()),
                false => Err(ErrorCode::RebootstrapRequired),
            }
        }
    }
}

/// What is kept of a name for as long as the connection lasts. A valid one is ASCII.
fn cut(name: &str) -> String {
    name.chars().take(SOFTWARE_NAME_CHARS).collect()
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`, as Kafka's `ApiVersionsRequest`.
fn is_valid_software_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let ends_well = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    ends_well(bytes.first())
        && ends_well(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}
