//! GetTelemetrySubscriptions (key 71), version 0 (KIP-714): what a client should report of itself, and how often.
//!
//! A client without an id gets one. Served with `ottla.client.metrics=true` alone, as Kafka serves it where there is somebody to
//! take the reports.

use kafka_protocol::messages::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
};

use crate::client_metrics::{CODECS, ClientMetrics};
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

/// What the answer takes for each metric, as a struct and encoded, without its name.
const METRIC_BYTES: usize = 64;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: GetTelemetrySubscriptionsRequest,
) -> Result<GetTelemetrySubscriptionsResponse, Unaffordable> {
    let instance_id = match request.client_instance_id {
        id if id.is_nil() => ClientMetrics::new_instance_id(),
        id => id,
    };
    let client_metrics = ctx.client_metrics();
    let client = ctx.reporting_client(instance_id);
    let wanted = match client_metrics.wanted(&client, ctx.clock().steady_ms()) {
        Ok(wanted) => wanted,
        Err(error) => {
            return Ok(GetTelemetrySubscriptionsResponse::default().with_error_code(error.into()));
        }
    };
    let metrics = wanted.metrics.iter();
    let bytes = metrics.map(|metric| METRIC_BYTES + metric.len());
    ctx.pay_for_all(bytes.sum()).await?;
    let max_bytes = i32::try_from(client_metrics.max_bytes).unwrap_or(i32::MAX);
    Ok(GetTelemetrySubscriptionsResponse::default()
        .with_client_instance_id(instance_id)
        .with_subscription_id(wanted.subscription_id)
        .with_accepted_compression_types(CODECS.map(|codec| codec as i8).to_vec())
        .with_push_interval_ms(wanted.push_interval_ms)
        .with_telemetry_max_bytes(max_bytes)
        .with_delta_temporality(true)
        .with_requested_metrics(wanted.metrics))
}
