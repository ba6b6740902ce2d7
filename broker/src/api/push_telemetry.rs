//! PushTelemetry (key 72), version 0 (KIP-714): what a client reports of itself.
//!
//! It is opened, counted and thrown away. As in Kafka, one that does not open or becomes too large is INVALID_RECORD. Served
//! with `ottla.client.metrics=true` alone.

use kafka_protocol::messages::{PushTelemetryRequest, PushTelemetryResponse};
use protocol_shim::ErrorCode;

use crate::client_metrics::Report;
use crate::context::RequestContext;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: PushTelemetryRequest,
) -> PushTelemetryResponse {
    let client = ctx.reporting_client(request.client_instance_id);
    let report = Report {
        subscription_id: request.subscription_id,
        terminating: request.terminating,
        compression_type: request.compression_type,
        metrics: request.metrics,
    };
    let taken = ctx
        .client_metrics()
        .report(&client, report, ctx.clock().steady_ms());
    let error = taken.await.err().unwrap_or(ErrorCode::None);
    PushTelemetryResponse::default().with_error_code(error.into())
}
