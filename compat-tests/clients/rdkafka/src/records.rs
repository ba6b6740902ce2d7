//! Records in every shape, positions, transactions.

use anyhow::{Context as _, Result, ensure};
use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage, Timestamp};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use crate::kit::*;

pub async fn try_all() {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        capability(&format!("produce {codec}"), async move {
            with(100, &[("compression.type", codec)]).await
        })
        .await;
    }
    capability(
        "produce idempotent",
        with(50, &[("enable.idempotence", "true")]),
    )
    .await;
    for acks in ["0", "1"] {
        capability(&format!("produce acks={acks}"), with_acks(acks)).await;
    }
    capability("produce to a topic that is created by it", created_by_it()).await;
    shapes().await;
    positions().await;
    transactions().await;
}

/// Sends so many records and reads them back.
async fn with(count: i64, settings: Settings<'_>) -> Result<()> {
    let topic = new_topic("sent", 1, &[]).await?;
    produce(&topic, (0..count).map(|number| plain(1, number)), settings).await?;
    let found = read_all(&topic, usize::try_from(count)?, &[]).await?;
    for (message, number) in found.iter().zip(0..) {
        let record = plain(1, number);
        ensure!(
            message.payload() == record.value.as_deref() && message.key() == record.key.as_deref(),
            "{message:?}"
        );
    }
    Ok(())
}

async fn with_acks(acks: &str) -> Result<()> {
    let topic = new_topic("acks", 1, &[]).await?;
    produce(&topic, [plain(1, 0)], &[]).await?;
    produce(
        &topic,
        (0..10).map(|number| plain(1, number)),
        &[("acks", acks)],
    )
    .await?;
    read_all(&topic, 11, &[]).await.map(|_| ())
}

async fn created_by_it() -> Result<()> {
    let topic = unique("automatic");
    produce(
        &topic,
        [Record {
            partition: None,
            ..plain(1, 0)
        }],
        &[],
    )
    .await?;
    read_all(&topic, 1, &[]).await.map(|_| ())
}

/// A record of which only the value counts.
fn of(key: Option<&str>, value: Option<&str>) -> Record {
    let bytes = |text: &str| text.as_bytes().to_vec();
    Record {
        partition: Some(0),
        key: key.map(bytes),
        value: value.map(bytes),
        ..Record::default()
    }
}

async fn shapes() {
    capability("headers", async {
        let topic = new_topic("headers", 1, &[]).await?;
        let expected: [(&str, Option<&[u8]>); 4] = [
            ("a", Some(b"1")),
            ("a", Some(b"2")),
            ("null", None),
            ("empty", Some(b"")),
        ];
        let mut headers = OwnedHeaders::new();
        for (key, value) in expected {
            headers = headers.insert(Header { key, value });
        }
        produce(
            &topic,
            [Record {
                headers: Some(headers),
                ..plain(1, 0)
            }],
            &[],
        )
        .await?;
        let found = read_all(&topic, 1, &[]).await?;
        let headers = found[0].headers().context("no headers")?;
        let headers: Vec<_> = headers
            .iter()
            .map(|header| (header.key, header.value))
            .collect();
        ensure!(headers == expected, "{headers:?}");
        Ok(())
    })
    .await;
    capability("tombstones", async {
        let topic = new_topic("tombstones", 1, &[("cleanup.policy", "compact")]).await?;
        produce(
            &topic,
            [
                of(Some("k"), Some("v")),
                of(Some("k"), None),
                of(Some("k"), Some("")),
            ],
            &[],
        )
        .await?;
        let found = read_all(&topic, 3, &[]).await?;
        let values: Vec<_> = found.iter().map(|message| message.payload()).collect();
        ensure!(values == [Some(&b"v"[..]), None, Some(b"")], "{values:?}");
        Ok(())
    })
    .await;
    capability("empty and null keys", async {
        let topic = new_topic("keys", 1, &[]).await?;
        produce(&topic, [of(None, Some("a")), of(Some(""), Some("b"))], &[]).await?;
        let found = read_all(&topic, 2, &[]).await?;
        ensure!(
            (found[0].key(), found[1].key()) == (None, Some(&b""[..])),
            "{found:?}"
        );
        Ok(())
    })
    .await;
    capability("large messages", async {
        let topic = new_topic("large", 1, &[("max.message.bytes", "5000000")]).await?;
        let value: Vec<u8> = (0..=255).cycle().take(4 << 20).collect();
        let record = Record {
            value: Some(value.clone()),
            ..plain(1, 0)
        };
        produce(&topic, [record], &[("message.max.bytes", "5000000")]).await?;
        ensure!(
            read_all(&topic, 1, &[]).await?[0].payload() == Some(&value[..]),
            "another value"
        );
        Ok(())
    })
    .await;
    capability("a message that is too large is refused", async {
        let topic = new_topic("large", 1, &[("max.message.bytes", "1000")]).await?;
        let refused = produce(&topic, [of(None, Some(&"v".repeat(2000)))], &[]).await;
        ensure!(
            refused
                == Err(KafkaError::MessageProduction(
                    RDKafkaErrorCode::MessageSizeTooLarge
                )),
            "{refused:?}"
        );
        Ok(())
    })
    .await;
    for (of, kind) in [
        ("of the producer", "CreateTime"),
        ("of the log", "LogAppendTime"),
    ] {
        capability(&format!("timestamps: {of}"), async move {
            let topic = new_topic("timestamps", 1, &[("message.timestamp.type", kind)]).await?;
            produce(
                &topic,
                [Record {
                    timestamp_ms: Some(now_ms()),
                    ..plain(1, 0)
                }],
                &[],
            )
            .await?;
            let found = read_all(&topic, 1, &[]).await?[0].timestamp();
            let is_right = match found {
                Timestamp::CreateTime(time) => kind == "CreateTime" && time == now_ms(),
                Timestamp::LogAppendTime(time) => kind == "LogAppendTime" && time > now_ms(),
                Timestamp::NotAvailable => false,
            };
            ensure!(is_right, "{found:?}");
            Ok(())
        })
        .await;
    }
}

async fn positions() {
    capability("seek", async {
        let consumer = consumer_of(&unique("seek"), &[])?;
        consumer.assign(&list(&[(0, Offset::Beginning)]))?;
        take(&consumer, 10).await?;
        consumer.seek(topic(), 0, Offset::Offset(7), TIMEOUT)?;
        ensure!(
            offsets(&take(&consumer, 3).await?) == [7, 8, 9],
            "other offsets"
        );
        Ok(())
    })
    .await;
    capability("seek to the beginning and the end", async {
        let consumer = consumer_of(&unique("seek"), &[])?;
        consumer.assign(&list(&[(0, Offset::Beginning)]))?;
        take(&consumer, 10).await?;
        consumer.seek_partitions(list(&[(0, Offset::Beginning)]), TIMEOUT)?;
        ensure!(
            offsets(&take(&consumer, 1).await?) == [0],
            "not the beginning"
        );
        consumer.assign(&list(&[(0, Offset::OffsetTail(2))]))?;
        ensure!(offsets(&take(&consumer, 2).await?) == [8, 9], "not the end");
        Ok(())
    })
    .await;
    capability("pause and resume", async {
        let consumer = consumer_of(&unique("pause"), &[])?;
        consumer.assign(&list(&[(0, Offset::Beginning), (1, Offset::Beginning)]))?;
        let second = list(&[(1, Offset::Invalid)]);
        for partition in [0, 1] {
            if partition == 0 {
                consumer.pause(&second)?;
            } else {
                consumer.resume(&second)?;
            }
            let found = take(&consumer, 10).await?;
            ensure!(
                found.iter().all(|message| message.partition() == partition),
                "{found:?}"
            );
        }
        Ok(())
    })
    .await;
    capability("offsets for times", async {
        let consumer = consumer_of(&unique("times"), &[])?;
        let times = list(&[
            (0, Offset::Offset(now_ms() + 5)),
            (1, Offset::Offset(now_ms() + 1_000_000)),
        ]);
        let found = consumer.offsets_for_times(times, TIMEOUT)?;
        ensure!(
            found == list(&[(0, Offset::Offset(3)), (1, Offset::End)]),
            "{found:?}"
        );
        Ok(())
    })
    .await;
}

fn transactional() -> Result<FutureProducer> {
    named(&unique("transaction"), "60000")
}

fn named(id: &str, timeout_ms: &str) -> Result<FutureProducer> {
    let settings = [
        ("transactional.id", id),
        ("transaction.timeout.ms", timeout_ms),
    ];
    let producer = producer(&settings)?;
    producer.init_transactions(std::time::Duration::from_secs(10))?;
    Ok(producer)
}

async fn begin(producer: &FutureProducer, topic: &str, value: &str) -> Result<()> {
    producer.begin_transaction()?;
    send(producer, topic, value).await
}

async fn send(producer: &FutureProducer, topic: &str, value: &str) -> Result<()> {
    let record = FutureRecord::<str, str>::to(topic).payload(value);
    let sent = producer.send(record, TIMEOUT).await;
    sent.map_err(|(error, _)| error)?;
    Ok(())
}

/// The values of so many records of partition 0, in order.
async fn read_committed(topic: &str, count: usize) -> Result<Vec<String>> {
    let found = read_all(topic, count, &[("isolation.level", "read_committed")]).await?;
    let values = found.iter().map(|message| value_of(message, ""));
    Ok(values.collect())
}

fn value_of(message: &OwnedMessage, prefix: &str) -> String {
    let value = message.payload().unwrap_or_default();
    format!("{prefix}{}", String::from_utf8_lossy(value))
}

async fn in_transaction(producer: &FutureProducer, topic: &str, value: &str) -> Result<()> {
    begin(producer, topic, value).await?;
    if value == "aborted" {
        producer.abort_transaction(TIMEOUT)?;
    } else {
        producer.commit_transaction(TIMEOUT)?;
    }
    Ok(())
}

async fn read_process_write() -> Result<()> {
    let topic = new_topic("transaction", 1, &[]).await?;
    let (group, producer) = (unique("group"), transactional()?);
    let consumer = consumer_of(&group, &[])?;
    consumer.subscribe(&[crate::kit::topic()])?;
    let messages = take(&consumer, 20).await?;
    let metadata = consumer.group_metadata().context("it is a member")?;
    for (prefix, offset) in [
        ("aborted ", Offset::Invalid),
        ("committed ", Offset::Offset(10)),
    ] {
        producer.begin_transaction()?;
        for message in &messages {
            send(&producer, &topic, &value_of(message, prefix)).await?;
        }
        producer.send_offsets_to_transaction(&consumer.position()?, &metadata, TIMEOUT)?;
        if prefix == "aborted " {
            producer.abort_transaction(TIMEOUT)?;
        } else {
            producer.commit_transaction(TIMEOUT)?;
        }
        for partition in [0, 1] {
            let found = committed(&group, partition)?;
            ensure!(found == offset, "{prefix}: {found:?}");
        }
    }
    let copies = messages
        .iter()
        .map(|message| value_of(message, "committed "));
    let found = read_committed(&topic, 20).await?;
    ensure!(copies.eq(found.iter().cloned()), "{found:?}");
    Ok(())
}

async fn transactions() {
    for (name, values) in [
        ("committed", &["committed"][..]),
        ("aborted", &["aborted", "committed"]),
    ] {
        capability(&format!("transaction {name}"), async move {
            let (topic, producer) = (new_topic("transaction", 1, &[]).await?, transactional()?);
            for value in values {
                in_transaction(&producer, &topic, value).await?;
            }
            let found = read_committed(&topic, 1).await?;
            ensure!(found == ["committed"], "{found:?}");
            Ok(())
        })
        .await;
    }
    capability("transaction read-process-write", read_process_write()).await;
    capability("transaction of a zombie refused", async {
        let (id, topic) = (
            unique("transaction"),
            new_topic("transaction", 1, &[]).await?,
        );
        let zombie = named(&id, "60000")?;
        begin(&zombie, &topic, "zombie").await?;
        in_transaction(&named(&id, "60000")?, &topic, "committed").await?;
        let refused = zombie.commit_transaction(TIMEOUT);
        ensure!(refused.is_err(), "committed");
        let found = read_committed(&topic, 1).await?;
        ensure!(found == ["committed"], "{found:?}");
        Ok(())
    })
    .await;
    capability("transaction timed out", async {
        let topic = new_topic("transaction", 1, &[]).await?;
        let late = named(&unique("transaction"), "1000")?;
        begin(&late, &topic, "late").await?;
        send(&producer(&[])?, &topic, "behind it").await?;
        let found = read_committed(&topic, 1).await?;
        ensure!(found == ["behind it"], "{found:?}");
        let refused = late.commit_transaction(TIMEOUT);
        ensure!(refused.is_err(), "committed");
        Ok(())
    })
    .await;
    capability("transaction with offsets", async {
        let (group, producer) = (unique("group"), transactional()?);
        let consumer = reading(&group, &[]).await?;
        let metadata = consumer.group_metadata().context("it is a member")?;
        producer.begin_transaction()?;
        producer.send_offsets_to_transaction(
            &list(&[(0, Offset::Offset(5))]),
            &metadata,
            TIMEOUT,
        )?;
        producer.commit_transaction(TIMEOUT)?;
        ensure!(committed(&group, 0)? == Offset::Offset(5), "not committed");
        Ok(())
    })
    .await;
}
