//! AlterConfigs (key 33), versions 0-2: replaces all settings of a resource by those of the request.
//!
//! Superseded by IncrementalAlterConfigs (KIP-339); kafkajs and old tools still use it. Topics, brokers
//! (KIP-226), groups (KIP-848) and client metrics (KIP-714). Each resource succeeds or fails by itself.

use std::collections::HashMap;

use kafka_protocol::messages::alter_configs_request::AlterConfigsRequest;
use kafka_protocol::messages::alter_configs_response::{
    AlterConfigsResourceResponse, AlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;

use crate::context::RequestContext;
use crate::log_levels;
use crate::metadata::{AlterConfig, ConfigChange, MetadataError, ResourceType};
use crate::view::configured;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let resources = request.resources.iter().map(|resource| {
        let configs = resource.configs.iter().map(|config| {
            let value = config.value.as_ref().map(|value| value.to_string());
            (config.name.to_string(), value)
        });
        let change = Ok(ConfigChange::Replace(configs.collect()));
        (resource.resource_type, &resource.resource_name, change)
    });
    let outcomes = alter(ctx, resources, request.validate_only).await;
    let responses = request.resources.iter().zip(outcomes);
    let responses = responses.map(|(resource, outcome)| {
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match outcome {
            Ok(()) => response.with_error_message(None),
            Err(error) => response
                .with_error_code(error.code() as i16)
                .with_error_message(Some(StrBytes::from_string(error.to_string()))),
        }
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

/// Changes the resources that are named properly and once; outcomes are in the order of the request.
pub(super) async fn alter<'a>(
    ctx: &RequestContext,
    resources: impl Iterator<Item = (i8, &'a StrBytes, Result<ConfigChange, MetadataError>)>,
    validate_only: bool,
) -> Vec<Result<(), MetadataError>> {
    let resources: Vec<_> = resources.collect();
    let mut count: HashMap<(i8, &StrBytes), usize> = HashMap::with_capacity(resources.len());
    for (resource_type, name, _) in &resources {
        *count.entry((*resource_type, name)).or_default() += 1;
    }
    let repeated = |resource_type: i8, name| count[&(resource_type, name)] > 1;
    let invalid = |what: String| Err(MetadataError::InvalidRequest(what));
    let view = ctx.view();
    let mut alters = Vec::with_capacity(resources.len());
    let mut outcomes: Vec<Result<(), MetadataError>> = Vec::with_capacity(resources.len());
    let mut places = Vec::with_capacity(resources.len());
    let certificates = ctx.certificates();
    let mut has_certificates = false;
    for (resource_type, name, change) in &resources {
        let change = match (ResourceType::from_wire(*resource_type), change) {
            (None, _) => invalid(format!("Unknown resource type {resource_type}")),
            _ if repeated(*resource_type, name) => {
                invalid("Each resource must appear at most once.".to_owned())
            }
            (
                Some(kind @ ResourceType::BrokerLogger),
                change @ Ok(ConfigChange::Incremental(_)),
            ) => {
                let allowed = view.check(Operation::AlterConfigs, configured(kind, name));
                let changed = allowed.map_err(MetadataError::Denied);
                let changed = changed.and_then(|()| change.clone());
                outcomes.push(changed.and_then(|change| {
                    log_levels::alter(ctx.config().node_id, name, &change, validate_only)
                }));
                continue;
            }
            (Some(resource_type), change) => view
                .check(Operation::AlterConfigs, configured(resource_type, name))
                .map_err(MetadataError::Denied)
                .and_then(|()| change.clone())
                .and_then(|change| {
                    let alter = AlterConfig {
                        resource_type,
                        resource_name: name.to_string(),
                        change,
                    };
                    let authorized = view.change(Operation::AlterConfigs, alter);
                    authorized.map_err(MetadataError::Denied)
                }),
        };
        let change = match change {
            // What Kafka's rules refuse is told first.
            Ok(change) if certificates.follow(&change) => {
                let planned = view
                    .metadata()
                    .alter_configs(vec![change.clone()], true)
                    .await;
                match planned.into_iter().collect::<Result<(), _>>() {
                    Ok(()) => certificates.check(&change).await.map(|()| change),
                    Err(refused) => Err(refused),
                }
            }
            other => other,
        };
        outcomes.push(change.map(|change| {
            places.push(outcomes.len());
            has_certificates |= certificates.follow(&change);
            alters.push(change);
        }));
    }
    let altered = view.metadata().alter_configs(alters, validate_only).await;
    for (place, outcome) in places.into_iter().zip(altered) {
        outcomes[place] = outcome;
    }
    if has_certificates && !validate_only {
        certificates.reload().await;
    }
    outcomes
}
