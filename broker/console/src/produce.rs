//! `ottla produce`: each line of stdin is a record.

use std::collections::BTreeMap;
use std::io::BufRead as _;

use clap::Args;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use serde_json::json;
use storage::record::{BatchBuilder, CompressionType, Header};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use crate::cluster::{Cluster, Partition, by_topic, topic};
use crate::failure::{Result, check, failed, usage};
use crate::page::{Output, Table};

/// A batch is sent when it has as much: brokers take 1 MiB unless they are told otherwise.
const BATCH_BYTES: usize = 512 << 10;
/// Lines that are read ahead of the broker.
const LINES_AHEAD: usize = 10_000;
/// All in-sync replicas have it.
const ACKS_ALL: i16 = -1;

/// Write records: each line of stdin is one; it ends when all are acknowledged by all in-sync replicas
#[derive(Args, Debug)]
pub(crate) struct Produce {
    pub(crate) topic: String,
    /// What is before this text in a line is the key: with `:` the line is KEY:VALUE
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) key_separator: Option<String>,
    /// A header of every record; repeat it for several
    #[arg(long, short = 'H', value_name = "KEY=VALUE", value_parser = crate::parse_pair)]
    pub(crate) header: Vec<(String, String)>,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(long, short = 'z', value_name = "CODEC", default_value = "none", value_parser = parse_codec)]
    pub(crate) compression: CompressionType,
    /// Write to this partition [default: by the key as Java's producer does, else one after the other]
    #[arg(long, short)]
    pub(crate) partition: Option<i32>,
}

fn parse_codec(text: &str) -> Result<CompressionType, String> {
    let mut codecs = CompressionType::ALL.into_iter();
    codecs
        .find(|codec| codec.name() == text)
        .ok_or_else(|| "expected none, gzip, snappy, lz4 or zstd".to_owned())
}

/// What was acknowledged of a partition.
#[derive(Clone, Copy)]
struct Acknowledged {
    records: u64,
    first: i64,
    last: i64,
}

impl Produce {
    pub(crate) async fn run(self, cluster: &mut Cluster, output: Output) -> Result<()> {
        let done = self.produce(cluster).await?;
        let mut table = Table::new(&[
            "topic",
            "partition",
            "records",
            "first_offset",
            "last_offset",
        ]);
        for ((name, index), done) in done {
            table.row([
                json!(name),
                json!(index),
                json!(done.records),
                json!(done.first),
                json!(done.last),
            ]);
        }
        output.table(&table);
        Ok(())
    }

    /// The same without a word at the end.
    pub(crate) async fn run_quietly(self, cluster: &mut Cluster) -> Result<()> {
        self.produce(cluster).await.map(|_| ())
    }

    async fn produce(&self, cluster: &mut Cluster) -> Result<BTreeMap<Partition, Acknowledged>> {
        let names = [self.topic.clone()];
        let leaders = cluster.leaders(&names, true).await?;
        let count = leaders.len();
        if let Some(partition) = self.partition
            && !leaders.contains_key(&(self.topic.clone(), partition))
        {
            return Err(usage(format!(
                "--partition {partition}: topic {} has {count} partitions, counted from 0",
                self.topic
            )));
        }
        let mut lines = lines();
        let mut done = BTreeMap::new();
        let mut number: u64 = 0;
        let mut turn = 0;
        while let Some(line) = lines.recv().await {
            let first_line = number + 1;
            let mut batches: BTreeMap<i32, BatchBuilder> = BTreeMap::new();
            let mut bytes = 0;
            let mut next = Some(line);
            while let Some(line) = next {
                let line = line?;
                number += 1;
                let (key, value) = self.split(&line, number)?;
                let partition = match (self.partition, key) {
                    (Some(partition), _) => partition,
                    (None, Some(key)) => partition_of(key, count),
                    (None, None) => turn,
                };
                let builder = batches
                    .entry(partition)
                    .or_insert_with(|| BatchBuilder::new().compression(self.compression));
                let headers: Vec<Header<'_>> = self.header.iter().map(header).collect();
                builder.append(now_ms(), key, Some(value), &headers);
                bytes += line.len();
                // What has come meanwhile goes along.
                next = match bytes < BATCH_BYTES {
                    true => lines.try_recv().ok(),
                    false => None,
                };
            }
            turn = (turn + 1) % i32::try_from(count).unwrap_or(1);
            let sent = self.send(cluster, &leaders, batches, &mut done).await;
            sent.map_err(|error| {
                failed(format!(
                    "{}\nnot all of lines {first_line} to {number} were acknowledged, and none after them was sent",
                    error.text()
                ))
            })?;
        }
        Ok(done)
    }

    fn split<'a>(&self, line: &'a [u8], number: u64) -> Result<(Option<&'a [u8]>, &'a [u8])> {
        let Some(separator) = self.key_separator.as_deref() else {
            return Ok((None, line));
        };
        let mut windows = line.windows(separator.len().max(1));
        match windows.position(|window| window == separator.as_bytes()) {
            Some(at) => Ok((Some(&line[..at]), &line[at + separator.len()..])),
            None => Err(failed(format!(
                "line {number} has no {separator:?}: expected KEY{separator}VALUE"
            ))),
        }
    }

    async fn send(
        &self,
        cluster: &mut Cluster,
        leaders: &BTreeMap<Partition, i32>,
        batches: BTreeMap<i32, BatchBuilder>,
        done: &mut BTreeMap<Partition, Acknowledged>,
    ) -> Result<()> {
        let mut parted: BTreeMap<i32, Vec<(Partition, BatchBuilder)>> = BTreeMap::new();
        for (index, builder) in batches {
            let partition = (self.topic.clone(), index);
            let leader = leaders.get(&partition).copied().unwrap_or(-1);
            parted.entry(leader).or_default().push((partition, builder));
        }
        for (leader, batches) in parted {
            let counts: BTreeMap<i32, u64> = batches
                .iter()
                .map(|((_, index), builder)| (*index, builder.records_count() as u64))
                .collect();
            let mut topics = Vec::new();
            for (name, batches) in by_topic(batches) {
                let mut partitions = Vec::new();
                for (index, builder) in batches {
                    let batch = builder.build().map_err(|error| failed(error.to_string()))?;
                    partitions.push(
                        PartitionProduceData::default()
                            .with_index(index)
                            .with_records(Some(batch)),
                    );
                }
                topics.push(
                    TopicProduceData::default()
                        .with_name(topic(&name))
                        .with_partition_data(partitions),
                );
            }
            let request = ProduceRequest::default()
                .with_acks(ACKS_ALL)
                .with_timeout_ms(cluster.timeout_ms())
                .with_topic_data(topics);
            let answer = cluster.broker(leader).await?.call(request).await?;
            for topic in &answer.responses {
                for taken in &topic.partition_responses {
                    let partition = (topic.name.to_string(), taken.index);
                    let what = format!("write to {}-{}", partition.0, partition.1);
                    check(&what, taken.error_code, taken.error_message.as_ref())?;
                    let count = counts.get(&taken.index).copied().unwrap_or(0);
                    let first = taken.base_offset;
                    let all = done.entry(partition).or_insert(Acknowledged {
                        records: 0,
                        first,
                        last: first,
                    });
                    all.records += count;
                    all.last = first + count as i64 - 1;
                }
            }
        }
        Ok(())
    }
}

fn header((key, value): &(String, String)) -> Header<'_> {
    Header {
        key: key.as_bytes(),
        value: Some(value.as_bytes()),
    }
}

fn now_ms() -> i64 {
    let ms = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    i64::try_from(ms).unwrap_or(0)
}

/// The lines of stdin without their ends, from a thread of its own: a person types slowly.
fn lines() -> mpsc::Receiver<Result<Vec<u8>>> {
    let (sender, lines) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            let line = line.map_err(|error| failed(format!("stdin: {error}")));
            let line = line.map(|mut line| {
                line.pop_if(|last| *last == b'\r');
                line
            });
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// Where Java's default partitioner puts a key.
fn partition_of(key: &[u8], count: usize) -> i32 {
    let positive = murmur2(key) & 0x7fff_ffff;
    let count = u32::try_from(count).unwrap_or(1).max(1);
    i32::try_from(positive % count).unwrap_or(0)
}

/// MurmurHash2 as Kafka has it.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = word
            .iter()
            .rev()
            .fold(0, |k, byte| k << 8 | u32::from(*byte));
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest
            .iter()
            .rev()
            .fold(0, |k, byte| k << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of Kafka's `UtilsTest.testMurmur2`.
    #[test]
    fn keys_go_where_javas_producer_puts_them() {
        for (key, expected) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, expected, "{key}");
        }
    }

    fn produce(separator: Option<&str>) -> Produce {
        Produce {
            topic: "t".to_owned(),
            key_separator: separator.map(str::to_owned),
            header: Vec::new(),
            compression: CompressionType::None,
            partition: None,
        }
    }

    #[test]
    fn the_first_separator_of_a_line_ends_the_key() {
        let split = |separator, line: &'static str| {
            let produce = produce(separator);
            produce
                .split(line.as_bytes(), 1)
                .ok()
                .map(|(key, value)| (key.map(<[u8]>::to_vec), value.to_vec()))
        };
        let pair = |key: &str, value: &str| Some((Some(key.into()), value.into()));
        assert_eq!(split(None, "a:b"), Some((None, b"a:b".to_vec())));
        assert_eq!(split(Some(":"), "a:b:c"), pair("a", "b:c"));
        assert_eq!(split(Some("::"), "a:b::c"), pair("a:b", "c"));
        assert_eq!(split(Some(":"), ":"), pair("", ""));
        assert_eq!(split(Some(":"), "ab"), None);
    }
}
