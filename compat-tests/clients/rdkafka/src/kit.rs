//! What the programs share: how a capability is told, and topics, records and consumers as a user makes them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

pub const TIMEOUT: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(60);

pub type Settings<'a> = &'a [(&'a str, &'a str)];

struct Shared {
    bootstrap: String,
    admin: AdminClient<DefaultClientContext>,
    now_ms: i64,
    topic: String,
}

static SHARED: OnceLock<Shared> = OnceLock::new();

fn shared() -> &'static Shared {
    SHARED.get().expect("the program has begun")
}

pub fn admin() -> &'static AdminClient<DefaultClientContext> {
    &shared().admin
}

/// How many brokers there are.
pub fn broker_count() -> usize {
    shared().bootstrap.split(',').count()
}

/// The name of a topic of 2 partitions with 10 records each, one every millisecond from [`now_ms`] on, in turn.
pub fn topic() -> &'static str {
    &shared().topic
}

/// A minute ago: old records are deleted.
pub fn now_ms() -> i64 {
    shared().now_ms
}

/// Reads the command line and has the topic ready.
pub async fn begin() -> Result<()> {
    let bootstrap = std::env::args()
        .nth(1)
        .context("usage: compat-tests-rdkafka BOOTSTRAP")?;
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let begun = SHARED.set(Shared {
        admin: ClientConfig::new()
            .set("bootstrap.servers", &bootstrap)
            .create()?,
        bootstrap,
        now_ms: i64::try_from(since_1970.as_millis())? - 60_000,
        topic: unique("rdkafka"),
    });
    ensure!(begun.is_ok(), "begun twice");
    create(topic(), 2, &[]).await?;
    let record = |number: i64| Record {
        timestamp_ms: Some(now_ms() + number),
        ..plain(2, number)
    };
    Ok(produce(topic(), (0..20).map(record), &[]).await?)
}

/// Runs the body and writes a line of JSON: where it gives an error, panics, or does not come back, the capability has failed.
///
/// CAPABILITY=text in the environment: only those whose names begin so.
pub async fn capability(name: &str, body: impl Future<Output = Result<()>> + 'static) {
    if !name.starts_with(&std::env::var("CAPABILITY").unwrap_or_default()) {
        return;
    }
    let began = Instant::now();
    let outcome = match tokio::time::timeout(LIMIT, tokio::task::spawn_local(body)).await {
        Err(_) => Err(format!("no answer in {LIMIT:?}")),
        Ok(Err(panic)) => Err(panic.to_string()),
        Ok(Ok(result)) => result.map_err(|error| format!("{error:#}")),
    };
    eprintln!("{:6.2} s {name}", began.elapsed().as_secs_f64());
    let ok = outcome.is_ok();
    println!(
        "{}",
        serde_json::json!({"capability": name, "ok": ok, "error": outcome.err()})
    );
}

/// A name that no other program takes that uses the same broker.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{name}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Asks again until it is so.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !condition().await? {
        ensure!(began.elapsed() < TIMEOUT, "not in {TIMEOUT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

pub fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(TIMEOUT))
        .operation_timeout(Some(TIMEOUT))
}

pub async fn new_topic(name: &str, partitions: i32, configs: Settings<'_>) -> Result<String> {
    let made = unique(name);
    create(&made, partitions, configs).await?;
    Ok(made)
}

pub async fn create(name: &str, partitions: i32, configs: Settings<'_>) -> Result<()> {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in configs {
        topic = topic.set(key, value);
    }
    let created = admin().create_topics([&topic], &options()).await?;
    ensure!(created == [Ok(name.to_owned())], "{created:?}");
    until("the topic has leaders", async || {
        Ok(leaders(name)? == usize::try_from(partitions)?)
    })
    .await
}

/// How many partitions have a leader.
pub fn leaders(topic: &str) -> Result<usize> {
    let found = admin().inner().fetch_metadata(Some(topic), TIMEOUT)?;
    let partitions = found.topics()[0].partitions();
    Ok(partitions
        .iter()
        .filter(|partition| partition.leader() >= 0)
        .count())
}

#[derive(Clone, Default)]
pub struct Record {
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Option<OwnedHeaders>,
    pub timestamp_ms: Option<i64>,
}

pub fn plain(partitions: i32, number: i64) -> Record {
    Record {
        partition: i32::try_from(number).ok().map(|number| number % partitions),
        key: Some(format!("key-{number}").into_bytes()),
        value: Some(format!("value-{number}").repeat(10).into_bytes()),
        ..Record::default()
    }
}

pub fn producer(settings: Settings<'_>) -> Result<FutureProducer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &shared().bootstrap)
        .set("linger.ms", "5");
    config.extend(
        settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    Ok(config.create()?)
}

/// Sends the records and waits until all are delivered.
pub async fn produce(
    topic: &str,
    records: impl IntoIterator<Item = Record>,
    settings: Settings<'_>,
) -> Result<(), KafkaError> {
    let producer = producer(settings).expect("the settings are right");
    let mut sent = Vec::new();
    for record in records {
        let record = FutureRecord {
            topic,
            partition: record.partition,
            payload: record.value.as_deref(),
            key: record.key.as_deref(),
            timestamp: record.timestamp_ms,
            headers: record.headers,
        };
        sent.push(producer.send_result(record).map_err(|(error, _)| error)?);
    }
    producer.flush(TIMEOUT)?;
    for delivery in sent {
        delivery
            .await
            .expect("it is told before the producer ends")
            .map_err(|(error, _)| error)?;
    }
    Ok(())
}

pub fn consumer_of(group: &str, settings: Settings<'_>) -> Result<StreamConsumer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &shared().bootstrap)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "50");
    // It is the broker's to say with KIP-848.
    if !settings.contains(&("group.protocol", "consumer")) {
        config.set("heartbeat.interval.ms", "300");
    }
    config.extend(
        settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    Ok(config.create()?)
}

/// As many messages.
pub async fn take(consumer: &StreamConsumer, count: usize) -> Result<Vec<OwnedMessage>> {
    let mut messages = Vec::new();
    let all = async {
        while messages.len() < count {
            messages.push(consumer.recv().await?.detach());
        }
        Ok::<_, KafkaError>(())
    };
    match tokio::time::timeout(TIMEOUT, all).await {
        Ok(taken) => taken?,
        Err(_) => bail!("{} of {count} in {TIMEOUT:?}", messages.len()),
    }
    Ok(messages)
}

pub fn list(partitions: &[(i32, Offset)]) -> TopicPartitionList {
    list_of(topic(), partitions)
}

pub fn list_of(topic: &str, partitions: &[(i32, Offset)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in partitions {
        list.add_partition_offset(topic, *partition, *offset)
            .expect("an offset that there is");
    }
    list
}

/// Reads so many records from partition 0 and 1 (where there are two) of a topic, in order within each.
pub async fn read_all(
    topic: &str,
    count: usize,
    settings: Settings<'_>,
) -> Result<Vec<OwnedMessage>> {
    let consumer = consumer_of(&unique("reader"), settings)?;
    let partitions = i32::try_from(leaders(topic)?)?;
    let all: Vec<_> = (0..partitions)
        .map(|partition| (partition, Offset::Beginning))
        .collect();
    consumer.assign(&list_of(topic, &all))?;
    take(&consumer, count).await
}

pub fn offsets(messages: &[OwnedMessage]) -> Vec<i64> {
    messages.iter().map(OwnedMessage::offset).collect()
}

/// A member of the group that has read all of [`topic`].
pub async fn reading(group: &str, settings: Settings<'_>) -> Result<StreamConsumer> {
    let consumer = consumer_of(group, settings)?;
    consumer.subscribe(&[topic()])?;
    take(&consumer, 20).await?;
    Ok(consumer)
}

/// The committed offset of a partition of [`topic`].
pub fn committed(group: &str, partition: i32) -> Result<Offset> {
    let consumer = consumer_of(group, &[])?;
    let found = consumer.committed_offsets(list(&[(partition, Offset::Invalid)]), TIMEOUT)?;
    let found = found
        .find_partition(topic(), partition)
        .context("the partition is told")?;
    found.error()?;
    Ok(found.offset())
}
