//! `ottla consume`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use clap::Args;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest};
use protocol_shim::ErrorCode;
use serde_json::{Value, json};
use storage::record::batch::verify_crc;
use storage::record::{BatchError, Header, Record, RecordSet, batches};
use tokio::time::Instant;

use crate::cluster::{Cluster, LATEST, Partition, by_topic, topic};
use crate::failure::{Result, check, failed};
use crate::group_member::GroupMember;
use crate::page::{self, Output};
use crate::position::{Position, SYNTAX};
use crate::progress::progress;

/// How long a broker waits for a record that is not there yet.
const WAIT_MS: i32 = 500;
const FETCH_BYTES: i32 = 16 << 20;
const PARTITION_BYTES: i32 = 1 << 20;
/// What a batch may open to.
const OPEN_BYTES: usize = 128 << 20;
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Read records
///
/// Reads from the beginning to the end that it finds, unless it is told otherwise.
#[derive(Args, Debug)]
pub(crate) struct Consume {
    pub(crate) topic: String,
    /// Read these partitions alone; repeat it for several
    #[arg(long, short, conflicts_with = "group")]
    pub(crate) partition: Vec<i32>,
    /// Begin here; with --group where it has no offset yet. @TIME is in ms, or as in @2026-01-01T00:00:00Z
    #[arg(long, value_name = SYNTAX, default_value = "earliest")]
    pub(crate) from: Position,
    /// Read as a member of this group (its classic protocol), and commit what was written out
    #[arg(long, short)]
    pub(crate) group: Option<String>,
    /// End after so many records
    #[arg(long, short = 'n', value_name = "RECORDS")]
    pub(crate) count: Option<u64>,
    /// Wait for more at the end
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// What is written of a record, with {topic}, {partition}, {offset}, {timestamp}, {key}, {value}, {headers}, \n and \t
    #[arg(long, value_name = "FORMAT", default_value = "{value}\\n")]
    pub(crate) format: Format,
}

/// Further wishes, of Kafka's console consumer.
#[derive(Default)]
pub(crate) struct Limits {
    /// Ends when nothing has come for so long.
    pub(crate) idle: Option<Duration>,
}

impl Consume {
    pub(crate) async fn run(self, cluster: &mut Cluster, output: Output) -> Result<()> {
        self.read(cluster, output, &Limits::default())
            .await
            .map(|_| ())
    }

    /// Reads, and says how many records it was.
    pub(crate) async fn read(
        &self,
        cluster: &mut Cluster,
        output: Output,
        limits: &Limits,
    ) -> Result<u64> {
        let stop = stop_at_ctrl_c();
        let mut reader = Reader {
            consume: self,
            output,
            bar: progress(self.count.unwrap_or(0), "records"),
            written: 0,
        };
        if self.count.is_none() || !page::stdout_is_elsewhere() {
            reader
                .bar
                .set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        let read = match &self.group {
            None => reader.alone(cluster, limits, &stop).await,
            Some(group) => reader.as_member(cluster, group, limits, &stop).await,
        };
        reader.bar.finish_and_clear();
        read.map(|()| reader.written)
    }
}

/// Ctrl-C ends a reader in order: it commits and leaves its group. The second one ends it at once.
fn stop_at_ctrl_c() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        }
    });
    stop
}

struct Reader<'a> {
    consume: &'a Consume,
    output: Output,
    bar: indicatif::ProgressBar,
    written: u64,
}

impl Reader<'_> {
    async fn alone(
        &mut self,
        cluster: &mut Cluster,
        limits: &Limits,
        stop: &AtomicBool,
    ) -> Result<()> {
        let name = &self.consume.topic;
        let there = cluster.leaders(std::slice::from_ref(name), false).await?;
        let wanted = &self.consume.partition;
        let partitions: Vec<Partition> = match wanted.is_empty() {
            true => there.into_keys().collect(),
            false => wanted.iter().map(|index| (name.clone(), *index)).collect(),
        };
        let mut positions = self.consume.from.find(cluster, &partitions).await?;
        let ends = self.ends(cluster, &partitions).await?;
        let mut last_came = Instant::now();
        while !self.is_done(&positions, ends.as_ref()) && !stop.load(Ordering::Relaxed) {
            if self.fetch(cluster, &mut positions, ends.as_ref()).await? {
                last_came = Instant::now();
            } else if limits.idle.is_some_and(|idle| last_came.elapsed() >= idle) {
                break;
            }
        }
        Ok(())
    }

    async fn as_member(
        &mut self,
        cluster: &mut Cluster,
        group: &str,
        limits: &Limits,
        stop: &AtomicBool,
    ) -> Result<()> {
        let mut member = GroupMember::new(group, &self.consume.topic);
        let mut last_came = Instant::now();
        let read = 'joined: loop {
            let partitions = member.join(cluster).await?;
            let committed = crate::groups::committed(cluster, group).await?;
            let fresh: Vec<Partition> = partitions
                .iter()
                .filter(|partition| !committed.contains_key(*partition))
                .cloned()
                .collect();
            let mut positions = match fresh.is_empty() {
                true => BTreeMap::new(),
                false => self.consume.from.find(cluster, &fresh).await?,
            };
            let known = committed.into_iter();
            positions.extend(known.filter(|(partition, _)| partitions.contains(partition)));
            let ends = self.ends(cluster, &partitions).await?;
            loop {
                if self.is_done(&positions, ends.as_ref()) || stop.load(Ordering::Relaxed) {
                    break 'joined Ok(());
                }
                if self.fetch(cluster, &mut positions, ends.as_ref()).await? {
                    last_came = Instant::now();
                    crate::groups::commit(cluster, group, member.membership(), &positions).await?;
                } else if limits.idle.is_some_and(|idle| last_came.elapsed() >= idle) {
                    break 'joined Ok(());
                }
                if !member.is_still_in(cluster).await? {
                    continue 'joined;
                }
            }
        };
        member.leave(cluster).await?;
        read
    }

    /// Where to stop; `None`: never.
    async fn ends(
        &self,
        cluster: &mut Cluster,
        partitions: &[Partition],
    ) -> Result<Option<BTreeMap<Partition, i64>>> {
        if self.consume.follow {
            return Ok(None);
        }
        let wanted = partitions.iter().cloned();
        let wanted = wanted.map(|partition| (partition, LATEST)).collect();
        cluster.offsets(&wanted).await.map(Some)
    }

    fn is_done(
        &self,
        positions: &BTreeMap<Partition, i64>,
        ends: Option<&BTreeMap<Partition, i64>>,
    ) -> bool {
        let has_enough = self
            .consume
            .count
            .is_some_and(|count| self.written >= count);
        let at_end = |ends: &BTreeMap<Partition, i64>| {
            let mut positions = positions.iter();
            positions.all(|(partition, at)| ends.get(partition).is_none_or(|end| at >= end))
        };
        has_enough || ends.is_some_and(at_end)
    }

    /// Reads once from each leader and writes out what has come; whether that was anything.
    async fn fetch(
        &mut self,
        cluster: &mut Cluster,
        positions: &mut BTreeMap<Partition, i64>,
        ends: Option<&BTreeMap<Partition, i64>>,
    ) -> Result<bool> {
        let is_behind = |(partition, at): &(&Partition, &i64)| {
            ends.is_none_or(|ends| ends.get(*partition).is_none_or(|end| *at < end))
        };
        let behind = positions.iter().filter(is_behind);
        let behind: BTreeMap<_, _> = behind
            .map(|(partition, at)| (partition.clone(), *at))
            .collect();
        let mut has_come = false;
        if behind.is_empty() {
            // A member without partitions: others read them all.
            tokio::time::sleep(Duration::from_millis(WAIT_MS as u64)).await;
        }
        for (leader, partitions) in cluster.by_leader(behind).await? {
            let topics = by_topic(partitions).into_iter().map(|(name, partitions)| {
                let partition = |(index, offset)| {
                    FetchPartition::default()
                        .with_partition(index)
                        .with_fetch_offset(offset)
                        .with_partition_max_bytes(PARTITION_BYTES)
                };
                FetchTopic::default()
                    .with_topic(topic(&name))
                    .with_partitions(partitions.into_iter().map(partition).collect())
            });
            let request = FetchRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_max_wait_ms(WAIT_MS)
                .with_min_bytes(1)
                .with_max_bytes(FETCH_BYTES)
                // Without a session.
                .with_session_epoch(-1)
                .with_topics(topics.collect());
            let answer = cluster.broker(leader).await?.call(request).await?;
            check("read", answer.error_code, None)?;
            for topic in answer.responses {
                for data in topic.partitions {
                    let partition = (topic.topic.to_string(), data.partition_index);
                    if is_moving(data.error_code) {
                        tokio::time::sleep(POLL_INTERVAL).await;
                        continue;
                    }
                    let what = format!("read {}-{}", partition.0, partition.1);
                    check(&what, data.error_code, None)?;
                    let Some(at) = positions.get_mut(&partition) else {
                        return Err(failed(format!("{what}: nobody has asked for it")));
                    };
                    let before = *at;
                    self.write_out(&partition, at, data.records.unwrap_or_default())?;
                    has_come |= *at > before;
                }
            }
        }
        Ok(has_come)
    }

    /// Writes the records from `at` on, and moves it behind the last one that was written.
    fn write_out(&mut self, partition: &Partition, at: &mut i64, records: Bytes) -> Result<()> {
        let told = |what: &str| failed(format!("{}-{}: {what}", partition.0, partition.1));
        for batch in batches(&records) {
            let batch = match batch {
                Ok(batch) => batch,
                // The answer was full.
                Err(BatchError::Truncated { .. }) => break,
                Err(error) => return Err(told(&error.to_string())),
            };
            verify_crc(batch.bytes).map_err(|error| told(&error.to_string()))?;
            if !batch.header.is_control() {
                let whole = records.slice_ref(batch.bytes);
                let set = RecordSet::open(&whole, OPEN_BYTES);
                let set = set.map_err(|error| told(&error.to_string()))?;
                let mut text = Vec::new();
                for record in &set {
                    let record = record.map_err(|error| told(&error.to_string()))?;
                    if record.offset < *at {
                        continue;
                    }
                    if self
                        .consume
                        .count
                        .is_some_and(|count| self.written >= count)
                    {
                        page::print(&text);
                        return Ok(());
                    }
                    match self.output.json {
                        true => put_json(&mut text, partition, &record),
                        false => self.consume.format.put(&mut text, partition, &record),
                    }
                    self.written += 1;
                    *at = record.offset + 1;
                }
                page::print(&text);
            }
            *at = (*at).max(batch.header.next_offset());
            self.bar.set_position(self.written);
        }
        Ok(())
    }
}

/// The next look at the metadata finds the new leader.
fn is_moving(code: i16) -> bool {
    let moving = [
        ErrorCode::NotLeaderOrFollower,
        ErrorCode::FencedLeaderEpoch,
        ErrorCode::UnknownLeaderEpoch,
    ];
    moving.into_iter().any(|error| error as i16 == code)
}

/// What is written of a record.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    pieces: Vec<Piece>,
    /// What stands for no key and no value.
    pub(crate) null: &'static [u8],
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    Headers,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let known = [
                ("{topic}", Piece::Topic),
                ("{partition}", Piece::Partition),
                ("{offset}", Piece::Offset),
                ("{timestamp}", Piece::Timestamp),
                ("{key}", Piece::Key),
                ("{value}", Piece::Value),
                ("{headers}", Piece::Headers),
                ("\\n", Piece::Text(b"\n".to_vec())),
                ("\\t", Piece::Text(b"\t".to_vec())),
                ("\\\\", Piece::Text(b"\\".to_vec())),
            ];
            let found = known
                .into_iter()
                .find_map(|(name, piece)| Some((rest.strip_prefix(name)?, piece)));
            if let Some((behind, piece)) = found {
                pieces.push(piece);
                rest = behind;
                continue;
            }
            let (character, behind) = rest.split_at(first.len_utf8());
            pieces.push(Piece::Text(character.as_bytes().to_vec()));
            rest = behind;
        }
        Ok(Self { pieces, null: b"" })
    }
}

impl Format {
    fn put(&self, text: &mut Vec<u8>, (topic, index): &Partition, record: &Record<'_>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(piece) => text.extend_from_slice(piece),
                Piece::Topic => text.extend_from_slice(topic.as_bytes()),
                Piece::Partition => text.extend_from_slice(index.to_string().as_bytes()),
                Piece::Offset => text.extend_from_slice(record.offset.to_string().as_bytes()),
                Piece::Timestamp => text.extend_from_slice(record.timestamp.to_string().as_bytes()),
                Piece::Key => text.extend_from_slice(record.key.unwrap_or(self.null)),
                Piece::Value => text.extend_from_slice(record.value.unwrap_or(self.null)),
                Piece::Headers => {
                    for (number, header) in record.headers.enumerate() {
                        if number > 0 {
                            text.push(b',');
                        }
                        text.extend_from_slice(header.key);
                        text.push(b':');
                        text.extend_from_slice(header.value.unwrap_or(self.null));
                    }
                }
            }
        }
    }
}

/// One line of JSON.
fn put_json(text: &mut Vec<u8>, (topic, index): &Partition, record: &Record<'_>) {
    let header =
        |header: Header<'_>| json!({"key": bytes(Some(header.key)), "value": bytes(header.value)});
    let line = json!({
        "topic": topic,
        "partition": index,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": bytes(record.key),
        "value": bytes(record.value),
        "headers": record.headers.map(header).collect::<Vec<_>>(),
    });
    text.extend_from_slice(line.to_string().as_bytes());
    text.push(b'\n');
}

/// Text where it is text.
fn bytes(bytes: Option<&[u8]>) -> Value {
    match bytes.map(std::str::from_utf8) {
        None => Value::Null,
        Some(Ok(text)) => json!(text),
        Some(Err(_)) => json!({ "base64": BASE64.encode(bytes.unwrap_or_default()) }),
    }
}
