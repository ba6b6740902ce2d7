//! UpdateFeatures (key 57), versions 0-2 (KIP-584, KIP-778).
//!
//! A feature is finalized at the one level that this broker has it at. To ask for that level changes nothing and is no error;
//! any other is INVALID_UPDATE_VERSION, for all features of the request, with the reason of the first. Validating is the same
//! (v1). A success has a row for each feature up to v1, and none from v2 on.

use std::collections::BTreeMap;

use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use super::wire;
use crate::authorizer::denial;
use crate::client_text::client_text;
use crate::context::RequestContext;
use crate::features;
use crate::net::account::Unaffordable;

/// What the answer for one feature takes, as a struct and encoded, and what it is looked for in; without its name.
const RESULT_BYTES: usize = 192;

/// Upgrade, safe downgrade, unsafe downgrade.
const UPGRADE_TYPES: std::ops::RangeInclusive<i8> = 1..=3;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: UpdateFeaturesRequest,
) -> Result<UpdateFeaturesResponse, Unaffordable> {
    ctx.pay(request.feature_updates.len() * RESULT_BYTES + ctx.request_bytes)
        .await?;
    let node_id = ctx.view().cluster().me();
    // As in Kafka, of a feature that is named twice the last one counts.
    let wanted: BTreeMap<&StrBytes, &FeatureUpdateKey> = request
        .feature_updates
        .iter()
        .map(|update| (&update.feature, update))
        .collect();
    for update in wanted.values() {
        if let Err(reason) = check(update, node_id) {
            let message = format!(
                "The update failed for all features since the following feature had an error: \
                 Invalid update version {} for feature {}. {reason}",
                update.max_version_level,
                client_text(&update.feature),
            );
            return Ok(UpdateFeaturesResponse::default()
                .with_error_code(ErrorCode::InvalidUpdateVersion.into())
                .with_error_message(Some(wire(&message))));
        }
    }
    let results = request.feature_updates.into_iter().map(|update| {
        UpdatableFeatureResult::default()
            .with_feature(update.feature)
            .with_error_message(None)
    });
    let response = UpdateFeaturesResponse::default().with_error_message(None);
    Ok(match ctx.api_version {
        ..2 => response.with_results(results.collect()),
        _ => response,
    })
}

/// Whether a feature is at the level that is wanted; if not, why it cannot be.
fn check(update: &FeatureUpdateKey, node_id: i32) -> Result<(), String> {
    if !UPGRADE_TYPES.contains(&update.upgrade_type) {
        return Err("There is no such upgrade type.".to_owned());
    }
    match features::level(&update.feature) {
        Some(level) if update.max_version_level == level => Ok(()),
        Some(level) => Err(format!(
            "This broker has it at level {level}, and at no other."
        )),
        // In Kafka's words.
        None if update.max_version_level == 0 => {
            let name = client_text(&update.feature);
            Err(format!("Feature {name} not found."))
        }
        None => Err(format!(
            "Local controller {node_id} does not support this feature."
        )),
    }
}

/// For a client that may not alter the cluster.
pub(crate) fn refused(
    _ctx: &RequestContext,
    _request: &UpdateFeaturesRequest,
    error: ErrorCode,
) -> UpdateFeaturesResponse {
    UpdateFeaturesResponse::default()
        .with_error_code(error.into())
        .with_error_message(Some(StrBytes::from_static_str(denial(error))))
}
