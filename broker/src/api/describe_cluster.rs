//! DescribeCluster (key 60), versions 0-2 (KIP-700).
//!
//! v1 (KIP-919) says whether brokers or controllers are meant: controllers are not to be had on a broker's
//! port (MISMATCHED_ENDPOINT_TYPE). v2 can include fenced brokers; the one broker never is.

use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::describe_cluster_request::DescribeClusterRequest;
use kafka_protocol::messages::describe_cluster_response::{
    DescribeClusterBroker, DescribeClusterResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use super::wire;
use crate::context::RequestContext;
use crate::metadata::operations::{CLUSTER_OPERATIONS, OPERATIONS_OMITTED};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let refused = match request.endpoint_type {
        BROKERS => None,
        CONTROLLERS => Some((
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
        )),
        _ => Some((
            ErrorCode::UnsupportedEndpointType,
            "Unsupported endpoint type",
        )),
    };
    if let Some((error, message)) = refused {
        return DescribeClusterResponse::default()
            .with_error_code(error as i16)
            .with_error_message(Some(StrBytes::from_static_str(message)));
    }
    let image = ctx.broker.metadata.image();
    let rack = ctx.broker.config.serving.rack.as_deref().map(wire);
    let broker = DescribeClusterBroker::default()
        .with_broker_id(BrokerId(ctx.broker.config.node_id))
        .with_host(wire(&ctx.session.advertised.host))
        .with_port(i32::from(ctx.session.advertised.port))
        .with_rack(rack);
    DescribeClusterResponse::default()
        .with_cluster_id(wire(image.cluster_id()))
        .with_controller_id(BrokerId(ctx.broker.config.node_id))
        .with_brokers(vec![broker])
        .with_cluster_authorized_operations(if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            OPERATIONS_OMITTED
        })
}
