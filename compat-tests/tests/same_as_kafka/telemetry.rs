//! What clients report of themselves (KIP-714), and for how long a broker knows who they are.

use anyhow::{Result, ensure};
use bytes::Bytes;
use compat_tests::RawClient;
use compat_tests::scenario::{Talk, string};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    GetTelemetrySubscriptionsRequest, IncrementalAlterConfigsRequest, PushTelemetryRequest,
};
use protocol_shim::ErrorCode;
use storage::record::compression::{Compression, CompressionType, compress};
use uuid::Uuid;

const CLIENT_METRICS: i8 = 16;
/// `telemetry.max.bytes`
const MAX_BYTES: usize = 1 << 20;
/// Longer than a scenario takes.
const INTERVAL_MS: [&str; 2] = ["200000", "300000"];

/// Has every client report, and waits until it is told so.
fn subscribe(talk: &mut Talk<'_>, interval_ms: &str) -> Result<()> {
    let config = |(key, value): (&str, &str)| {
        AlterableConfig::default()
            .with_name(string(key))
            .with_value(Some(string(value)))
    };
    let configs = [("metrics", "org.apache."), ("interval.ms", interval_ms)];
    let resource = AlterConfigsResource::default()
        .with_resource_type(CLIENT_METRICS)
        .with_resource_name(string("everybody"))
        .with_configs(configs.map(config).to_vec());
    let alter = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let altered = talk.quietly(1, &alter)?;
    ensure!(altered.responses[0].error_code == 0, "{altered:?}");
    let interval_ms: i32 = interval_ms.parse()?;
    talk.settle("the subscription", |talk| {
        let told = talk.quietly(0, &asking(Uuid::nil()))?;
        Ok(told.push_interval_ms == interval_ms)
    })
}

fn asking(id: Uuid) -> GetTelemetrySubscriptionsRequest {
    GetTelemetrySubscriptionsRequest::default().with_client_instance_id(id)
}

/// A client, as all of its connections know it.
#[derive(Clone, Copy)]
struct Instance {
    id: Uuid,
    subscription_id: i32,
}

impl Instance {
    /// A client that asks for the first time.
    fn comes(over: &mut RawClient) -> Result<Self> {
        let told = over.call(0, &asking(Uuid::nil()))?;
        ensure!(told.error_code == 0, "{told:?}");
        Ok(Self {
            id: told.client_instance_id,
            subscription_id: told.subscription_id,
        })
    }

    fn asks(self, over: &mut RawClient) -> Result<String> {
        Ok(name(over.call(0, &asking(self.id))?.error_code))
    }

    fn pushing(self, terminating: bool) -> PushTelemetryRequest {
        PushTelemetryRequest::default()
            .with_client_instance_id(self.id)
            .with_subscription_id(self.subscription_id)
            .with_terminating(terminating)
    }

    fn pushes(self, over: &mut RawClient, terminating: bool) -> Result<String> {
        Ok(name(over.call(0, &self.pushing(terminating))?.error_code))
    }
}

fn name(code: i16) -> String {
    let known = ErrorCode::ALL.iter().find(|known| **known as i16 == code);
    known.map_or_else(|| code.to_string(), |known| known.name().to_owned())
}

pub fn reports(talk: &mut Talk<'_>) -> Result<()> {
    subscribe(talk, INTERVAL_MS[0])?;
    let told = talk.ask("nobody yet", 0, &asking(Uuid::nil()))?;
    talk.ask("too early", 0, &asking(told.client_instance_id))?;
    talk.ask("a reserved id", 0, &asking(Uuid::from_u128(1)))?;
    let instance = Instance {
        id: told.client_instance_id,
        subscription_id: told.subscription_id,
    };
    let report = instance
        .pushing(false)
        .with_metrics(Bytes::from_static(b"\x0a\x00"));
    for reserved in [0, 1] {
        let request = report
            .clone()
            .with_client_instance_id(Uuid::from_u128(reserved));
        talk.ask("a reserved id", 0, &request)?;
    }
    let other = report
        .clone()
        .with_subscription_id(told.subscription_id ^ 1);
    talk.ask("another subscription", 0, &other)?;
    talk.ask("that was told to ask", 0, &asking(instance.id))?;
    talk.ask("too early", 0, &report)?;
    talk.ask("the end", 0, &report.clone().with_terminating(true))?;
    talk.ask("after the end", 0, &report.clone().with_terminating(true))?;

    let stranger = report.clone().with_client_instance_id(Uuid::new_v4());
    talk.ask("a stranger under another subscription", 0, &stranger)?;
    for codec in [-1, 5] {
        let mut client = talk.client("packed")?;
        let request = Instance::comes(&mut client)?.pushing(false);
        talk.ask("an unknown codec", 0, &request.with_compression_type(codec))?;
    }
    let zstd = Compression::from(CompressionType::Zstd);
    for opened_bytes in [MAX_BYTES, MAX_BYTES + 1] {
        let mut client = talk.client("packed")?;
        let request = Instance::comes(&mut client)?.pushing(false);
        let request = request.with_compression_type(CompressionType::Zstd as i8);
        let metrics = Bytes::from(compress(zstd, &vec![0; opened_bytes])?);
        let what = format!("{opened_bytes} bytes when opened");
        talk.ask(&what, 0, &request.with_metrics(metrics))?;
    }
    let mut client = talk.client("packed")?;
    let request = Instance::comes(&mut client)?.pushing(false);
    talk.ask(
        "too large",
        0,
        &request.with_metrics(Bytes::from(vec![0; MAX_BYTES + 1])),
    )?;
    let mut client = talk.client("packed")?;
    let request = Instance::comes(&mut client)?.pushing(false);
    let request = request.with_compression_type(CompressionType::Gzip as i8);
    talk.ask(
        "no gzip",
        0,
        &request.with_metrics(Bytes::from_static(b"no gzip")),
    )?;
    Ok(())
}

/// A client is known until the connection ends over which it came first, or came first under other terms.
pub fn connections(talk: &mut Talk<'_>) -> Result<()> {
    subscribe(talk, INTERVAL_MS[0])?;
    let connect = |talk: &Talk<'_>| talk.client("reports");
    let forgets = |talk: &mut Talk<'_>, over: &mut RawClient, instance: Instance| {
        talk.settle("a client to be forgotten", |_| {
            Ok(instance.asks(over)? == "NONE")
        })
    };
    let (mut first, mut second) = (connect(talk)?, connect(talk)?);

    let asked = Instance::comes(&mut first)?;
    talk.fact("asks over the same", asked.asks(&mut first)?);
    talk.fact("asks over another", asked.asks(&mut second)?);
    drop(first);
    forgets(talk, &mut second, asked)?;
    talk.fact("asks over what it came over anew", asked.asks(&mut second)?);

    let mut first = connect(talk)?;
    let ended = Instance::comes(&mut first)?;
    talk.fact("ends", ended.pushes(&mut first, true)?);
    talk.fact("pushes after its end", ended.pushes(&mut second, false)?);
    drop(first);
    talk.settle("a client to be forgotten", |_| {
        Ok(ended.pushes(&mut second, false)? == "NONE")
    })?;
    talk.fact("pushes after its return", ended.pushes(&mut second, false)?);

    // Others may use the connection, too: of them the last that came over it is forgotten.
    let mut first = connect(talk)?;
    let (earlier, later) = (Instance::comes(&mut first)?, Instance::comes(&mut first)?);
    drop(first);
    forgets(talk, &mut second, later)?;
    talk.fact("asks who came earlier", earlier.asks(&mut second)?);

    // Who only uses it is not.
    let (mut first, mut third) = (connect(talk)?, connect(talk)?);
    let stays = Instance::comes(&mut first)?;
    let leaves = Instance::comes(&mut third)?;
    talk.fact("asks over a third", stays.asks(&mut third)?);
    drop(third);
    forgets(talk, &mut second, leaves)?;
    talk.fact("asks when the third is closed", stays.asks(&mut first)?);

    // A change of what is wanted has a client come over another connection, and it leaves with either.
    for leaves_first in [true, false] {
        let (mut first, mut third) = (connect(talk)?, connect(talk)?);
        let moves = Instance::comes(&mut first)?;
        subscribe(talk, INTERVAL_MS[usize::from(leaves_first)])?;
        talk.fact("asks after a change", moves.asks(&mut third)?);
        talk.fact("asks too early", moves.asks(&mut third)?);
        drop(match leaves_first {
            true => first,
            false => third,
        });
        forgets(talk, &mut second, moves)?;
    }
    Ok(())
}
