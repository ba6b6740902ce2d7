//! ListConfigResources (key 74), versions 0-1 (KIP-1142): the names of everything that can have settings.
//!
//! v0 was ListClientMetricsResources (KIP-714) and lists these only. v1 lists the types that are asked for, all
//! without any; a type that cannot be listed is UNSUPPORTED_VERSION. Groups are listed when they have settings.

#![expect(
    clippy::disallowed_methods,
    reason = "the client may describe the configuration of the cluster"
)]

use kafka_protocol::messages::list_config_resources_request::ListConfigResourcesRequest;
use kafka_protocol::messages::list_config_resources_response::{
    ConfigResource, ListConfigResourcesResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use crate::context::RequestContext;
use crate::metadata::ResourceType;
use crate::view::View;

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
    let view = ctx.view();
    let with_type = ctx.api_version > 0;
    let resources = asked.into_iter().flat_map(|kind| {
        let names = names(&view, kind).into_iter();
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

/// For a client that may not describe the cluster's configuration.
pub(crate) fn refused(
    _ctx: &RequestContext,
    _request: &ListConfigResourcesRequest,
    error: ErrorCode,
) -> ListConfigResourcesResponse {
    ListConfigResourcesResponse::default().with_error_code(error.into())
}

fn names(view: &View<'_>, kind: ResourceType) -> Vec<String> {
    let image = &view.whole_metadata().image;
    match kind {
        ResourceType::Topic => image.topics().map(|topic| topic.name.to_string()).collect(),
        ResourceType::Broker | ResourceType::BrokerLogger => {
            let brokers = view.cluster().broker_ids();
            brokers.map(|id| id.to_string()).collect()
        }
        ResourceType::Group | ResourceType::ClientMetrics => {
            image.configured(kind).map(str::to_owned).collect()
        }
    }
}
