//! IncrementalAlterConfigs (key 44), versions 0-1 (KIP-339): sets, deletes, appends to and subtracts from
//! single settings of a resource.
//!
//! Topics, brokers (KIP-226), groups (KIP-848), client metrics (KIP-714) and broker loggers (KIP-412), which are of this
//! process alone (`log_levels.rs`). Each resource succeeds or fails by itself.

use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, IncrementalAlterConfigsRequest,
};
use kafka_protocol::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::alter_configs::alter;
use crate::context::RequestContext;
use crate::metadata::{ConfigChange, MetadataError, Operation, ResourceType};

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let resources = request.resources.iter().map(|resource| {
        (
            resource.resource_type,
            &resource.resource_name,
            change(resource),
        )
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
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn change(resource: &AlterConfigsResource) -> Result<ConfigChange, MetadataError> {
    let configs = resource.configs.iter().map(|config| {
        let operation = match config.config_operation {
            0 => Operation::Set,
            1 => Operation::Delete,
            2 => Operation::Append,
            3 => Operation::Subtract,
            other => {
                let kind = ResourceType::from_wire(resource.resource_type);
                return Err(MetadataError::InvalidRequest(match kind {
                    Some(ResourceType::BrokerLogger) => format!(
                        "Unknown operation type {other} is not allowed for the BROKER_LOGGER resource"
                    ),
                    _ => format!("Unknown config operation type {other}"),
                }));
            }
        };
        let value = config.value.as_ref().map(|value| value.to_string());
        Ok((config.name.to_string(), operation, value))
    });
    Ok(ConfigChange::Incremental(
        configs.collect::<Result<_, _>>()?,
    ))
}
