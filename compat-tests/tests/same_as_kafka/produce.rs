//! Produce and InitProducerId.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use compat_tests::records::{position, seal};
use compat_tests::scenario::{Talk, string, topic_name};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    FindCoordinatorRequest, InitProducerIdRequest, ProduceRequest, ProduceResponse,
};
use storage::record::builder::BatchBuilder;
use storage::record::compression::CompressionType;
use uuid::Uuid;

pub const VERSIONS: std::ops::RangeInclusive<i16> = 3..=13;
const UNKNOWN_ID: Uuid = Uuid::from_u128(0x1234_5678_0000_4000_8000_0000_0000_0001);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Byte positions of a batch's header that [`position`] does not have.
const BATCH_LENGTH: usize = 8;
const LAST_OFFSET_DELTA: usize = 23;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;

/// One batch whose records have the given timestamps.
pub fn batch(timestamps: &[i64]) -> Result<Bytes> {
    filled(BatchBuilder::new(), timestamps)
}

fn filled(mut builder: BatchBuilder, timestamps: &[i64]) -> Result<Bytes> {
    for timestamp in timestamps {
        builder.append(*timestamp, Some(b"key"), Some(b"value"), &[]);
    }
    Ok(builder.build()?)
}

pub fn sequenced(
    producer_id: i64,
    epoch: i16,
    base_sequence: i32,
    records: usize,
) -> Result<Bytes> {
    let builder = BatchBuilder::new().producer(producer_id, epoch, base_sequence);
    filled(builder, &vec![1_700_000_000_000; records])
}

/// Writes `bytes` at `position` and makes the CRC right again.
pub fn patched(batch: &Bytes, position: usize, bytes: &[u8]) -> Bytes {
    let mut patched = batch.to_vec();
    patched[position..position + bytes.len()].copy_from_slice(bytes);
    seal(&mut patched);
    patched.into()
}

/// A wish to write to partitions of one topic, by name or by id as the version wants it.
pub fn request(version: i16, topic: (&str, Uuid), batches: &[(i32, Bytes)]) -> ProduceRequest {
    let partitions = batches.iter().map(|(index, records)| {
        PartitionProduceData::default()
            .with_index(*index)
            .with_records(Some(records.clone()))
    });
    let data = TopicProduceData::default().with_partition_data(partitions.collect());
    let data = if version >= 13 {
        data.with_topic_id(topic.1)
    } else {
        data.with_name(topic_name(topic.0))
    };
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![data])
}

/// Stores a batch, as a preparation.
pub fn store(talk: &mut Talk<'_>, topic: &str, partition: i32, records: Bytes) -> Result<()> {
    let request = request(9, (topic, Uuid::nil()), &[(partition, records)]);
    let response = talk.quietly(9, &request)?;
    let error = response.responses[0].partition_responses[0].error_code;
    ensure!(error == 0, "cannot store a batch: {response:?}");
    Ok(())
}

pub fn errors_of_requests(talk: &mut Talk<'_>) -> Result<()> {
    let one = batch(&[1_700_000_000_000])?;
    for version in VERSIONS {
        let name = format!("produce-{version}");
        let topic = (name.as_str(), talk.create_topic(&name, 2)?);
        let unknown = ("produce-unknown", UNKNOWN_ID);
        let mut ask = |what: &str, request: ProduceRequest| talk.ask(what, version, &request);
        ask("one batch", request(version, topic, &[(0, one.clone())]))?;
        ask(
            "two partitions",
            request(version, topic, &[(1, one.clone()), (0, one.clone())]),
        )?;
        ask(
            "unknown partition",
            request(version, topic, &[(7, one.clone()), (0, one.clone())]),
        )?;
        ask(
            "negative partition",
            request(version, topic, &[(-1, one.clone())]),
        )?;
        ask(
            "unknown topic",
            request(version, unknown, &[(0, one.clone())]),
        )?;
        ask(
            "acks 1",
            request(version, topic, &[(0, one.clone())]).with_acks(1),
        )?;
        ask(
            "acks 2",
            request(version, topic, &[(0, one.clone())]).with_acks(2),
        )?;
        ask(
            "acks -2",
            request(version, topic, &[(0, one.clone())]).with_acks(-2),
        )?;
        ask(
            "no timeout",
            request(version, topic, &[(0, one.clone())])
                .with_acks(1)
                .with_timeout_ms(0),
        )?;
        ask("nothing", request(version, topic, &[]))?;
        ask(
            "no topics",
            ProduceRequest::default()
                .with_acks(-1)
                .with_timeout_ms(1000),
        )?;
        let two_topics = |a: ProduceRequest, b: ProduceRequest| {
            let topics = a.topic_data.into_iter().chain(b.topic_data).collect();
            ProduceRequest::default()
                .with_acks(-1)
                .with_timeout_ms(1000)
                .with_topic_data(topics)
        };
        let good = request(version, topic, &[(0, one.clone())]);
        let bad = request(version, unknown, &[(0, one.clone())]);
        ask("known and unknown", two_topics(bad, good))?;
        if version < 13 {
            ask(
                "internal topic",
                request(
                    version,
                    ("__consumer_offsets", Uuid::nil()),
                    &[(0, one.clone())],
                ),
            )?;
            ask(
                "invalid name",
                request(version, ("not valid", Uuid::nil()), &[(0, one.clone())]),
            )?;
        }
        talk.ask_or_close(
            "acks 0 unknown topic",
            version,
            &request(version, unknown, &[(0, one.clone())]).with_acks(0),
        )
        .or_else(|_| anyhow::Ok(()))?;
    }
    Ok(())
}

pub fn invalid_batches(talk: &mut Talk<'_>) -> Result<()> {
    let good = batch(&[1_700_000_000_000, 1_700_000_000_005])?;
    let compressed = |codec: CompressionType| {
        filled(
            BatchBuilder::new().compression(codec),
            &[1_700_000_000_000; 3],
        )
    };
    for version in [3, 6, 7, 8, 9, 12] {
        let name = format!("invalid-{version}");
        let topic = (name.as_str(), talk.create_topic(&name, 1)?);
        let small = format!("small-{version}");
        let configs = vec![super::topics::config("max.message.bytes", Some("100"))];
        let small_topic = CreatableTopic::default()
            .with_name(topic_name(&small))
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(configs);
        let small_id = talk.create(small_topic)?;
        let compacted = format!("compacted-{version}");
        let configs = vec![super::topics::config("cleanup.policy", Some("compact"))];
        let compacted_topic = CreatableTopic::default()
            .with_name(topic_name(&compacted))
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(configs);
        let compacted_id = talk.create(compacted_topic)?;

        let other = format!("invalid-codec-{version}");
        let other = (other.as_str(), talk.create_topic(&other, 1)?);
        let not_gzip = patched(&good, position::ATTRIBUTES, &1_i16.to_be_bytes());
        let records = request(version, other, &[(0, not_gzip)]);
        talk.ask("codec that it is not", version, &records)?;

        let mut to = |what: &str, topic: (&str, Uuid), records: Bytes| -> Result<ProduceResponse> {
            talk.ask(what, version, &request(version, topic, &[(0, records)]))
        };
        let mut ask = |what: &str, records: Bytes| to(what, topic, records).map(|_| ());
        ask("good", good.clone())?;
        ask(
            "two batches in one",
            [good.clone(), good.clone()].concat().into(),
        )?;
        ask("empty", Bytes::new())?;
        ask("cut off", good.slice(..good.len() - 1))?;
        ask("half a header", good.slice(..20))?;
        ask("something behind", [&good[..], b"xx"].concat().into())?;
        let mut flipped = good.to_vec();
        *flipped.last_mut().context("not empty")? ^= 1;
        ask("wrong crc", flipped.into())?;
        ask(
            "wrong length",
            patched(&good, BATCH_LENGTH, &20_i32.to_be_bytes()),
        )?;
        ask(
            "negative length",
            patched(&good, BATCH_LENGTH, &(-5_i32).to_be_bytes()),
        )?;
        for magic in [0_u8, 1, 3, 255] {
            ask(
                &format!("magic {magic}"),
                patched(&good, position::MAGIC, &[magic]),
            )?;
        }
        ask(
            "more records than there are",
            patched(&good, position::RECORD_COUNT, &3_i32.to_be_bytes()),
        )?;
        let fewer = patched(&good, position::RECORD_COUNT, &1_i32.to_be_bytes());
        ask("fewer records than there are", fewer.clone())?;
        ask(
            "fewer records, and offsets for it",
            patched(&fewer, LAST_OFFSET_DELTA, &0_i32.to_be_bytes()),
        )?;
        ask(
            "no records",
            patched(&good, position::RECORD_COUNT, &0_i32.to_be_bytes()),
        )?;
        ask(
            "negative records",
            patched(&good, position::RECORD_COUNT, &(-1_i32).to_be_bytes()),
        )?;
        ask(
            "wrong last offset",
            patched(&good, LAST_OFFSET_DELTA, &9_i32.to_be_bytes()),
        )?;
        ask("base offset set", {
            let mut moved = good.to_vec();
            moved[..8].copy_from_slice(&77_i64.to_be_bytes());
            moved.into()
        })?;
        ask(
            "wrong max timestamp",
            patched(&good, MAX_TIMESTAMP, &1_i64.to_be_bytes()),
        )?;
        ask(
            "negative base timestamp",
            patched(&good, BASE_TIMESTAMP, &(-1_i64).to_be_bytes()),
        )?;
        ask(
            "unknown codec",
            patched(&good, position::ATTRIBUTES, &7_i16.to_be_bytes()),
        )?;
        ask(
            "append time claimed",
            patched(&good, position::ATTRIBUTES, &8_i16.to_be_bytes()),
        )?;
        ask(
            "control batch",
            patched(&good, position::ATTRIBUTES, &0x20_i16.to_be_bytes()),
        )?;
        ask(
            "transactional without an id",
            patched(&good, position::ATTRIBUTES, &0x10_i16.to_be_bytes()),
        )?;
        ask(
            "unknown attribute",
            patched(&good, position::ATTRIBUTES, &0x100_i16.to_be_bytes()),
        )?;
        for codec in [
            CompressionType::Gzip,
            CompressionType::Snappy,
            CompressionType::Lz4,
            CompressionType::Zstd,
        ] {
            ask(&format!("{codec:?}"), compressed(codec)?)?;
        }
        to("small enough", (&small, small_id), batch(&[1])?)?;
        to("too large", (&small, small_id), batch(&[1; 9])?)?;
        let mut keyless = BatchBuilder::new();
        keyless.append(1_700_000_000_000, Some(b"key"), Some(b"value"), &[]);
        keyless.append(1_700_000_000_000, None, Some(b"value"), &[]);
        to(
            "without a key",
            (&compacted, compacted_id),
            keyless.build()?,
        )?;
        to("with a key", (&compacted, compacted_id), good.clone())?;
    }
    Ok(())
}

/// Waits until producer ids are given.
fn wait_for_producer_ids(talk: &mut Talk<'_>) -> Result<()> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000);
    talk.settle("a producer id", |talk| {
        Ok(talk.quietly(4, &request)?.error_code == 0)
    })
}

fn new_producer(talk: &mut Talk<'_>) -> Result<i64> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000);
    Ok(talk.ask("a new producer", 4, &request)?.producer_id.0)
}

pub fn idempotent(talk: &mut Talk<'_>) -> Result<()> {
    wait_for_producer_ids(talk)?;
    for version in [3, 5, 9, 13] {
        let name = format!("idempotent-{version}");
        let topic = (name.as_str(), talk.create_topic(&name, 2)?);
        let producer = new_producer(talk)?;
        let other = new_producer(talk)?;
        let mut ask = |what: &str, records: Bytes| -> Result<()> {
            talk.ask(what, version, &request(version, topic, &[(0, records)]))
                .map(|_| ())
        };
        ask("does not begin at 0", sequenced(other, 0, 5, 1)?)?;
        ask("first", sequenced(producer, 0, 0, 2)?)?;
        ask("again", sequenced(producer, 0, 0, 2)?)?;
        ask("next", sequenced(producer, 0, 2, 3)?)?;
        ask("the first once more", sequenced(producer, 0, 0, 2)?)?;
        ask("a gap", sequenced(producer, 0, 9, 1)?)?;
        ask("a part of what was sent", sequenced(producer, 0, 2, 2)?)?;
        ask("over two batches", sequenced(producer, 0, 0, 5)?)?;
        for sequence in 5..10 {
            ask(
                &format!("sequence {sequence}"),
                sequenced(producer, 0, sequence, 1)?,
            )?;
        }
        ask("too old to be remembered", sequenced(producer, 0, 0, 2)?)?;
        ask("the oldest remembered", sequenced(producer, 0, 5, 1)?)?;
        ask("new epoch, not from 0", sequenced(producer, 1, 10, 1)?)?;
        ask("new epoch", sequenced(producer, 1, 0, 1)?)?;
        ask("old epoch", sequenced(producer, 0, 10, 1)?)?;
        ask("old epoch, duplicate", sequenced(producer, 0, 9, 1)?)?;
        ask("epoch skipped", sequenced(producer, 9, 0, 1)?)?;
        ask("negative epoch", sequenced(producer, -1, 0, 1)?)?;
        ask("negative sequence", sequenced(producer, 9, -1, 1)?)?;
        ask(
            "two batches of one producer",
            [sequenced(producer, 9, 1, 1)?, sequenced(producer, 9, 2, 1)?]
                .concat()
                .into(),
        )?;
        ask("a producer nobody knows", sequenced(987_654_321, 0, 0, 1)?)?;
        ask("the same, later", sequenced(987_654_322, 3, 8, 1)?)?;
        ask(
            "almost at the last sequence",
            sequenced(producer, 10, i32::MAX, 1)?,
        )?;
        talk.ask(
            "another partition",
            version,
            &request(version, topic, &[(1, sequenced(producer, 9, 4, 1)?)]),
        )?;
    }
    Ok(())
}

/// Batches of transactions that nobody has begun.
pub fn transactional(talk: &mut Talk<'_>) -> Result<()> {
    wait_for_producer_ids(talk)?;
    let good = batch(&[1_700_000_000_000])?;
    let of = |producer_id| -> Result<Bytes> {
        let sequenced = sequenced(producer_id, 0, 0, 1)?;
        Ok(patched(
            &sequenced,
            position::ATTRIBUTES,
            &0x10_i16.to_be_bytes(),
        ))
    };
    // What has no producer is stored by Kafka, in a transaction that nothing can end.
    let nobodys = patched(&good, position::ATTRIBUTES, &0x10_i16.to_be_bytes());
    let mut damaged = of(77)?.to_vec();
    *damaged.last_mut().context("not empty")? ^= 1;
    for version in [3, 7, 8, 9, 11, 12, 13] {
        let name = format!("transactional-{version}");
        let topic = (name.as_str(), talk.create_topic(&name, 4)?);
        let to = |batches: &[(i32, Bytes)]| request(version, topic, batches);
        let without_id = [
            ("one", to(&[(0, of(77)?)])),
            ("beside another", to(&[(0, of(77)?), (1, good.clone())])),
            ("behind another", to(&[(1, good.clone()), (0, of(77)?)])),
            ("nobody's", to(&[(0, nobodys.clone())])),
            ("damaged", to(&[(0, damaged.clone().into())])),
            ("acks 7", to(&[(0, of(77)?)]).with_acks(7)),
            ("unknown partition", to(&[(9, of(77)?)])),
            ("two producers", to(&[(0, of(77)?), (1, of(78)?)])),
        ];
        for (what, request) in without_id {
            talk.ask(&format!("without an id: {what}"), version, &request)?;
        }
        let nothing = to(&[(0, of(77)?)]).with_acks(0);
        talk.ask_or_close("without an id: acks 0", version, &nothing)
            .or_else(|_| anyhow::Ok(()))?;
        // The coordinator of transactions makes its topic when it is first asked.
        let id =
            |request: ProduceRequest| request.with_transactional_id(Some(string("nobody").into()));
        let find = FindCoordinatorRequest::default()
            .with_key(string("nobody"))
            .with_key_type(1);
        if talk.is_kafka() {
            talk.settle("the coordinator of transactions", |talk| {
                Ok(talk.quietly(3, &find)?.error_code == 0)
            })?;
            let probe = id(to(&[(3, of(77)?)]));
            talk.settle("an answer of the coordinator", |talk| {
                let answer = talk.quietly(version, &probe)?;
                let error = answer.responses[0].partition_responses[0].error_code;
                // NOT_ENOUGH_REPLICAS, and what a coordinator says until it is ready.
                Ok(![14, 15, 16, 19, 51].contains(&error))
            })?;
        }
        let with_id = [
            ("one", id(to(&[(0, of(77)?)]))),
            ("beside another", id(to(&[(0, of(77)?), (1, good.clone())]))),
            ("not transactional", id(to(&[(2, good.clone())]))),
            ("unknown partition", id(to(&[(9, of(77)?)]))),
        ];
        for (what, request) in with_id {
            talk.ask(&format!("with an id: {what}"), version, &request)?;
        }
    }
    Ok(())
}

pub fn timestamps(talk: &mut Talk<'_>) -> Result<()> {
    let now_ms = i64::try_from(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)?
            .as_millis(),
    )?;
    for version in [3, 8, 9] {
        let make =
            |talk: &mut Talk<'_>, name: &str, configs: &[(&str, &str)]| -> Result<(String, Uuid)> {
                let name = format!("timestamps-{name}-{version}");
                let configs = configs
                    .iter()
                    .map(|(key, value)| super::topics::config(key, Some(value)));
                let topic = CreatableTopic::default()
                    .with_name(topic_name(&name))
                    .with_num_partitions(1)
                    .with_replication_factor(1)
                    .with_configs(configs.collect());
                let id = talk.create(topic)?;
                Ok((name, id))
            };
        let plain = make(talk, "plain", &[])?;
        let past = make(
            talk,
            "past",
            &[("message.timestamp.before.max.ms", "3600000")],
        )?;
        let append = make(
            talk,
            "append",
            &[("message.timestamp.type", "LogAppendTime")],
        )?;
        let mut ask = |what: &str, topic: &(String, Uuid), timestamps: &[i64]| -> Result<()> {
            let request = request(version, (&topic.0, topic.1), &[(0, batch(timestamps)?)]);
            talk.ask(what, version, &request).map(|_| ())
        };
        ask("now", &plain, &[now_ms])?;
        ask("old", &plain, &[1])?;
        ask("none", &plain, &[-1])?;
        ask("too new", &plain, &[now_ms + DAY_MS])?;
        ask(
            "one too new",
            &plain,
            &[now_ms, now_ms + DAY_MS, now_ms + DAY_MS],
        )?;
        ask("too old", &past, &[now_ms - DAY_MS])?;
        ask(
            "two too old",
            &past,
            &[now_ms, now_ms - DAY_MS, now_ms - DAY_MS],
        )?;
        ask("none, where old ones are refused", &past, &[-1])?;
        ask("by the broker", &append, &[1])?;
        ask("by the broker, too new", &append, &[now_ms + DAY_MS])?;
    }
    Ok(())
}

pub fn init_producer_id(talk: &mut Talk<'_>) -> Result<()> {
    wait_for_producer_ids(talk)?;
    for version in 0..=5 {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000);
        talk.ask("idempotent", version, &request)?;
        talk.ask("another", version, &request)?;
        talk.ask(
            "no timeout",
            version,
            &request.clone().with_transaction_timeout_ms(0),
        )?;
        talk.ask(
            "negative timeout",
            version,
            &request.clone().with_transaction_timeout_ms(-1),
        )?;
        let empty = request
            .clone()
            .with_transactional_id(Some(string("").into()));
        talk.ask("empty transactional id", version, &empty)?;
        if version >= 3 {
            let known = request
                .clone()
                .with_producer_id(5.into())
                .with_producer_epoch(3);
            talk.ask("with an id already", version, &known)?;
            talk.ask(
                "with half an id",
                version,
                &request.clone().with_producer_id(5.into()),
            )?;
            talk.ask(
                "with an epoch only",
                version,
                &request.clone().with_producer_epoch(3),
            )?;
        }
    }
    Ok(())
}

/// Partitions and topics that are named again, and what was appended.
pub fn repeated(talk: &mut Talk<'_>) -> Result<()> {
    let [one, two] = [
        batch(&[1_700_000_000_000])?,
        batch(&[1_700_000_000_000; 2])?,
    ];
    for version in VERSIONS {
        for (at, (what, topics)) in [
            ("one twice", &[&[(0, &one), (0, &two), (1, &one)][..]][..]),
            (
                "one twice, around another",
                &[&[(0, &two), (1, &one), (0, &one)]],
            ),
            ("unknown twice", &[&[(7, &one), (7, &two), (0, &one)]]),
            ("topic twice", &[&[(0, &one)], &[(1, &one)]]),
            (
                "topic twice, and a partition",
                &[&[(0, &two), (1, &one)], &[(0, &one)]],
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("produce-twice-{version}-{at}");
            let topic = (name.as_str(), talk.create_topic(&name, 2)?);
            let mut all = ProduceRequest::default()
                .with_acks(-1)
                .with_timeout_ms(10_000);
            for batches in topics {
                let batches: Vec<_> = batches
                    .iter()
                    .map(|(index, records)| (*index, (*records).clone()))
                    .collect();
                all.topic_data
                    .append(&mut request(version, topic, &batches).topic_data);
            }
            talk.ask(what, version, &all)?;
            super::list_offsets::ask_ends(
                talk,
                &format!("the ends after {what}, v{version}"),
                &name,
            )?;
        }
    }
    Ok(())
}
