//! ListConfigResources (key 74), versions 0-1 (KIP-1142): the names of everything that can have settings.
//!
//! v0 was ListClientMetricsResources (KIP-714) and lists these only. v1 lists the types that are asked for, all
//! without any; a type that cannot be listed is UNSUPPORTED_VERSION. Groups are listed when they have settings.

use kafka_protocol::messages::list_config_resources_request::ListConfigResourcesRequest;
use kafka_protocol::messages::list_config_resources_response::{
    ConfigResource, ListConfigResourcesResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use crate::context::RequestContext;
use crate::metadata::{MetadataImage, ResourceType};

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let asked: Option<Vec<ResourceType>> = match request.resource_types.as_slice() {
        _ if ctx.api_version == 0 => Some(vec![ResourceType::ClientMetrics]),
        [] => Some(ResourceType::ALL.to_vec()),
        types => types.iter().copied().map(ResourceType::from_wire).collect(),
    };
    let Some(asked) = asked else {
        return ListConfigResourcesResponse::default()
            .with_error_code(ErrorCode::UnsupportedVersion as i16);
    };
    let image = ctx.broker.metadata.image();
    let with_type = ctx.api_version > 0;
    let resources = asked.into_iter().flat_map(|kind| {
        let names = names(ctx.broker.config.node_id, &image, kind).into_iter();
        names.map(move |name| {
            let resource =
                ConfigResource::default().with_resource_name(StrBytes::from_string(name));
            match with_type {
                true => resource.with_resource_type(kind as i8),
                false => resource,
            }
        })
    });
    ListConfigResourcesResponse::default().with_config_resources(resources.collect())
}

fn names(node_id: i32, image: &MetadataImage, kind: ResourceType) -> Vec<String> {
    match kind {
        ResourceType::Topic => image.topics().map(|topic| topic.name.to_string()).collect(),
        ResourceType::Broker | ResourceType::BrokerLogger => vec![node_id.to_string()],
        ResourceType::Group | ResourceType::ClientMetrics => {
            image.configured(kind).map(str::to_owned).collect()
        }
    }
}
