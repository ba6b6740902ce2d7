//! DescribeCluster (key 60), versions 0-2 (KIP-700).
//!
//! v1 (KIP-919) says whether brokers or controllers are meant: controllers are not to be had on a broker's
//! port (MISMATCHED_ENDPOINT_TYPE). v2 can include fenced brokers; one that is not there is not known.

use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::describe_cluster_request::DescribeClusterRequest;
use kafka_protocol::messages::describe_cluster_response::{
    DescribeClusterBroker, DescribeClusterResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use super::wire;
use crate::context::RequestContext;
use crate::metadata::operations::OPERATIONS_OMITTED;

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
    let view = ctx.view();
    let brokers = view.cluster().brokers(&ctx.session.listener);
    let brokers = brokers.map(|broker| {
        DescribeClusterBroker::default()
            .with_broker_id(BrokerId(broker.id))
            .with_host(wire(broker.host))
            .with_port(i32::from(broker.port))
            .with_rack(broker.rack.map(wire))
    });
    DescribeClusterResponse::default()
        .with_cluster_id(wire(view.cluster_id()))
        .with_controller_id(BrokerId(view.cluster().controller()))
        .with_brokers(brokers.collect())
        .with_cluster_authorized_operations(if request.include_cluster_authorized_operations {
            view.cluster_operations()
        } else {
            OPERATIONS_OMITTED
        })
}
