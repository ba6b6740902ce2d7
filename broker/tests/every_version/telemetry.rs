//! What clients report of themselves.

use bytes::Bytes;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
    IncrementalAlterConfigsRequest, PushTelemetryRequest,
};
use protocol_shim::ErrorCode as E;
use storage::record::compression::{Compression, CompressionType, compress};
use uuid::Uuid;

use super::Case;
use super::support::{connect_watched, string};

/// Long enough for no second to pass.
const OFTEN_MS: i32 = 200_000;

async fn subscribe(case: &mut Case, name: &'static str, settings: &[(&'static str, &'static str)]) {
    let configs = settings.iter().map(|(key, value)| {
        AlterableConfig::default()
            .with_name(string(key))
            .with_value(Some(string(value)))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(16)
        .with_resource_name(string(name))
        .with_configs(configs.collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let response = case.client.call(1, request).await;
    assert_eq!(
        response.responses[0].error_code, 0,
        "{:?}",
        response.responses
    );
}

async fn get(case: &mut Case, id: Uuid) -> GetTelemetrySubscriptionsResponse {
    let request = GetTelemetrySubscriptionsRequest::default().with_client_instance_id(id);
    case.client.call(0, request).await
}

async fn pushed(case: &mut Case, request: &PushTelemetryRequest) -> i16 {
    case.client.call(0, request.clone()).await.error_code
}

fn metrics(told: &GetTelemetrySubscriptionsResponse) -> Vec<&str> {
    told.requested_metrics.iter().map(|name| &**name).collect()
}

pub async fn subscriptions(case: &mut Case) {
    let nothing = get(case, Uuid::nil()).await;
    assert_eq!(nothing.error_code, 0);
    assert!(!nothing.client_instance_id.is_nil());
    assert_eq!(
        (nothing.push_interval_ms, nothing.telemetry_max_bytes),
        (300_000, 1 << 20)
    );
    assert_eq!(nothing.accepted_compression_types, [4, 3, 1, 2]);
    assert!(nothing.delta_temporality);
    assert_eq!(metrics(&nothing), [""; 0]);
    let again = get(case, nothing.client_instance_id).await;
    assert_eq!(again.error_code, E::ThrottlingQuotaExceeded as i16);

    subscribe(
        case,
        "all",
        &[("metrics", "b.,a."), ("interval.ms", "2000")],
    )
    .await;
    subscribe(
        case,
        "some",
        &[
            ("metrics", "c.,a."),
            ("interval.ms", "1000"),
            ("match", "client_id=nobody"),
        ],
    )
    .await;
    // Whoever asked before is told of the change at once.
    let told = get(case, nothing.client_instance_id).await;
    assert_eq!((told.error_code, told.push_interval_ms), (0, 2000));
    assert_eq!(told.client_instance_id, nothing.client_instance_id);
    assert_eq!(metrics(&told), ["a.", "b."]);
    assert_ne!(told.subscription_id, nothing.subscription_id);

    subscribe(case, "some", &[("match", "client_source_port=[0-9]+")]).await;
    let told = get(case, nothing.client_instance_id).await;
    assert_eq!((told.error_code, told.push_interval_ms), (0, 1000));
    assert_eq!(metrics(&told), ["a.", "b.", "c."]);
    subscribe(case, "some", &[("metrics", "c.,*")]).await;
    let told = get(case, Uuid::nil()).await;
    assert_eq!(metrics(&told), ["*"]);
}

pub async fn push(case: &mut Case) {
    subscribe(case, "all", &[("metrics", "*"), ("interval.ms", "200000")]).await;
    let told = get(case, Uuid::nil()).await;
    assert_eq!(told.push_interval_ms, OFTEN_MS);
    let report = vec![7; 1 << 20];
    let packed = |codec| Bytes::from(compress(Compression::from(codec), &report).unwrap());
    let push = |compression_type: i8, metrics: Bytes| {
        PushTelemetryRequest::default()
            .with_client_instance_id(told.client_instance_id)
            .with_subscription_id(told.subscription_id)
            .with_compression_type(compression_type)
            .with_metrics(metrics)
    };
    let plain = Bytes::from(report.clone());
    let unknown = push(0, plain.clone()).with_subscription_id(told.subscription_id ^ 1);
    assert_eq!(
        pushed(case, &unknown).await,
        E::UnknownSubscriptionId as i16
    );
    // It may ask again at once, and then push.
    let again = get(case, told.client_instance_id).await;
    assert_eq!(
        (again.error_code, again.subscription_id),
        (0, told.subscription_id)
    );
    let early = push(0, plain.clone());
    assert_eq!(
        pushed(case, &early).await,
        E::ThrottlingQuotaExceeded as i16
    );

    for reserved in [0, 1] {
        let request = push(0, plain.clone()).with_client_instance_id(Uuid::from_u128(reserved));
        assert_eq!(pushed(case, &request).await, E::InvalidRequest as i16);
    }
    // A client of its own for each.
    let mut longer = report.clone();
    longer.push(7);
    let too_large = Compression::from(CompressionType::Zstd);
    let too_large = Bytes::from(compress(too_large, &longer).unwrap());
    let cases = [
        (0, plain.clone(), E::None),
        (0, Bytes::new(), E::None),
        (0, Bytes::from(longer), E::TelemetryTooLarge),
        (1, packed(CompressionType::Gzip), E::None),
        (2, packed(CompressionType::Snappy), E::None),
        (3, packed(CompressionType::Lz4), E::None),
        (4, packed(CompressionType::Zstd), E::None),
        (4, too_large, E::InvalidRecord),
        (1, Bytes::from_static(b"not gzip"), E::InvalidRecord),
        (5, plain.clone(), E::UnsupportedCompressionType),
        (-1, plain, E::UnsupportedCompressionType),
    ];
    for (compression_type, metrics, expected) in cases {
        let told = get(case, Uuid::nil()).await;
        let request = push(compression_type, metrics)
            .with_client_instance_id(told.client_instance_id)
            .with_subscription_id(told.subscription_id);
        let what = format!("codec {compression_type}, {} bytes", request.metrics.len());
        assert_eq!(pushed(case, &request).await, expected as i16, "{what}");
        // The end is told when it comes, and only once.
        let end = request
            .with_terminating(true)
            .with_compression_type(0)
            .with_metrics(Bytes::new());
        assert_eq!(pushed(case, &end).await, 0, "{what}");
        assert_eq!(pushed(case, &end).await, E::InvalidRequest as i16, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_known_while_the_connection_is_open_over_which_it_came() {
    let mut case = Case::new(0, &[]).await;
    let (mut client, served) = connect_watched(&case.broker);
    let told = client
        .call(0, GetTelemetrySubscriptionsRequest::default())
        .await;
    let id = told.client_instance_id;
    let early = E::ThrottlingQuotaExceeded as i16;
    assert_eq!(get(&mut case, id).await.error_code, early);
    drop(client);
    served.await.unwrap();
    assert_eq!(get(&mut case, id).await.error_code, 0);
    assert_eq!(get(&mut case, id).await.error_code, early, "it came anew");
}
