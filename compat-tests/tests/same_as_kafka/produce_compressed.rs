//! Compressed batches that are not what they say: which of them Kafka takes, and what it answers to the others.

use anyhow::Result;
use bytes::Bytes;
use compat_tests::records::position;
use compat_tests::scenario::{Talk, topic_name};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use storage::record::batch::BATCH_HEADER_BYTES;
use storage::record::builder::BatchBuilder;
use storage::record::compression::{CompressionType, compress};

use super::produce::{patched, request};

const VERSION: i16 = 9;
const T: i64 = 1_700_000_000_000;
/// Where the length of a batch stands, and what it does not count.
const BATCH_LENGTH: usize = 8;
const LOG_OVERHEAD_BYTES: usize = 12;

/// A batch that announces `count` records, over whatever stands for them.
fn batch(codec: CompressionType, count: i32, stream: &[u8]) -> Result<Bytes> {
    let mut builder = BatchBuilder::new();
    builder.append(T, Some(b"key"), Some(b"value"), &[]);
    let header = builder.build()?.slice(..BATCH_HEADER_BYTES);
    let bytes = Bytes::from([&header[..], stream].concat());
    let length = i32::try_from(bytes.len() - LOG_OVERHEAD_BYTES)?;
    let bytes = patched(&bytes, BATCH_LENGTH, &length.to_be_bytes());
    let codec = i16::from(codec.id());
    let bytes = patched(&bytes, position::ATTRIBUTES, &codec.to_be_bytes());
    let bytes = patched(&bytes, position::RECORD_COUNT, &count.to_be_bytes());
    Ok(patched(&bytes, 23, &(count - 1).to_be_bytes()))
}

fn zigzag(bytes: &mut Vec<u8>, number: i64) {
    let mut number = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while number > 127 {
        bytes.push((number & 127) as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// What a record states about itself, where it is not what it is.
#[derive(Clone, Copy, Default)]
struct Odd {
    offset_delta: Option<i64>,
    /// Added to the length that is stated.
    longer: i64,
    headers: Option<i64>,
    null_header_key: bool,
    no_key: bool,
    too_new: bool,
    attributes: u8,
}

fn record(delta: i64, odd: Odd) -> Vec<u8> {
    let mut body = vec![odd.attributes];
    zigzag(&mut body, if odd.too_new { 1 << 42 } else { delta });
    zigzag(&mut body, odd.offset_delta.unwrap_or(delta));
    if odd.no_key {
        zigzag(&mut body, -1);
    } else {
        zigzag(&mut body, 3);
        body.extend_from_slice(b"key");
    }
    zigzag(&mut body, 40);
    body.extend_from_slice(&[b'v'; 40]);
    zigzag(
        &mut body,
        odd.headers.unwrap_or(i64::from(odd.null_header_key)),
    );
    if odd.null_header_key {
        zigzag(&mut body, -1);
        zigzag(&mut body, 1);
        body.push(b'x');
    }
    let mut record = Vec::new();
    zigzag(&mut record, body.len() as i64 + odd.longer);
    record.extend_from_slice(&body);
    record
}

fn two(first: Odd, second: Odd) -> Vec<u8> {
    [record(0, first), record(1, second)].concat()
}

/// Name, announced count and stream of everything that is sent in one codec.
fn cases(codec: CompressionType) -> Result<Vec<(String, i32, Vec<u8>)>> {
    let pack = |records: &[u8]| compress(codec.into(), records);
    let plain = Odd::default();
    let whole = pack(&two(plain, plain))?;
    let both = [pack(&record(0, plain))?, pack(&record(1, plain))?].concat();
    let behind = |tail: &[u8]| [&whole[..], tail].concat();
    let mut last_changed = whole.clone();
    if let Some(last) = last_changed.last_mut() {
        *last ^= 1;
    }
    let odd = |odd: Odd| pack(&two(plain, odd));
    let cases = vec![
        ("whole", 2, whole.clone()),
        ("another codec", 2, b"there is no such stream".to_vec()),
        ("nothing", 2, Vec::new()),
        ("an empty stream", 2, pack(b"")?),
        ("half of it", 2, whole[..whole.len() / 2].to_vec()),
        (
            "the last byte missing",
            2,
            whole[..whole.len() - 1].to_vec(),
        ),
        ("nine bytes missing", 2, whole[..whole.len() - 9].to_vec()),
        ("the last byte changed", 2, last_changed),
        ("two streams", 2, both.clone()),
        ("two streams for one", 2, behind(&whole)),
        (
            "two streams, the second cut off",
            2,
            both[..both.len() - 9].to_vec(),
        ),
        (
            "the beginning of a second stream behind",
            2,
            behind(&whole[..whole.len() / 2]),
        ),
        ("three announced", 3, whole.clone()),
        ("one announced", 1, whole.clone()),
        (
            "renumbered",
            2,
            odd(Odd {
                offset_delta: Some(7),
                ..plain
            })?,
        ),
        (
            "numbered alike",
            2,
            odd(Odd {
                offset_delta: Some(0),
                ..plain
            })?,
        ),
        (
            "a negative offset",
            2,
            odd(Odd {
                offset_delta: Some(-1),
                ..plain
            })?,
        ),
        (
            "a record longer than it is",
            2,
            odd(Odd { longer: 1, ..plain })?,
        ),
        (
            "a record shorter than it is",
            2,
            odd(Odd {
                longer: -1,
                ..plain
            })?,
        ),
        (
            "a record of negative length",
            2,
            odd(Odd {
                longer: -1000,
                ..plain
            })?,
        ),
        (
            "a header without a key",
            2,
            odd(Odd {
                null_header_key: true,
                ..plain
            })?,
        ),
        (
            "a negative number of headers",
            2,
            odd(Odd {
                headers: Some(-1),
                ..plain
            })?,
        ),
        (
            "more headers than bytes",
            2,
            odd(Odd {
                headers: Some(1 << 30),
                ..plain
            })?,
        ),
        (
            "too new",
            2,
            odd(Odd {
                too_new: true,
                ..plain
            })?,
        ),
        (
            "without a key",
            2,
            odd(Odd {
                no_key: true,
                ..plain
            })?,
        ),
        (
            "an inner attribute",
            2,
            odd(Odd {
                attributes: 1,
                ..plain
            })?,
        ),
    ];
    let mut cases: Vec<_> = cases
        .into_iter()
        .map(|(name, count, stream)| (name.to_owned(), count, stream))
        .collect();
    for tail in [1, 3, 4, 8, 30] {
        cases.push((format!("{tail} zeros behind"), 2, behind(&vec![0; tail])));
        cases.push((format!("{tail} bytes behind"), 2, behind(&vec![0xee; tail])));
    }
    Ok(cases)
}

pub fn streams(talk: &mut Talk<'_>) -> Result<()> {
    for codec in &CompressionType::ALL[1..] {
        let cases = cases(*codec)?;
        for (kind, config) in [
            ("plain", None),
            ("compacted", Some(("cleanup.policy", "compact"))),
            ("recompressed", Some(("compression.type", "uncompressed"))),
        ] {
            let name = format!("compressed-{codec}-{kind}");
            let configs = config.map(|(key, value)| super::topics::config(key, Some(value)));
            let topic = CreatableTopic::default()
                .with_name(topic_name(&name))
                .with_num_partitions(i32::try_from(cases.len())?)
                .with_replication_factor(1)
                .with_configs(configs.into_iter().collect());
            let id = talk.create(topic)?;
            for (partition, (what, count, stream)) in (0..).zip(&cases) {
                let records = batch(*codec, *count, stream)?;
                let request = request(VERSION, (&name, id), &[(partition, records)]);
                talk.ask(&format!("{codec}, {kind}: {what}"), VERSION, &request)?;
            }
        }
    }
    Ok(())
}
