//! Record batches and the few requests around them that raw-protocol tests need.

use anyhow::{Context as _, Result, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, FetchRequest, ListOffsetsRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use crate::RawClient;
use crate::checker::{Batch, Writing};

/// Byte positions in a record batch of format 2.
pub mod position {
    /// How many bytes there are behind it.
    pub const LENGTH: usize = 8;
    /// Where the bytes begin that the length counts.
    pub const BEHIND_LENGTH: usize = 12;
    /// The format version.
    pub const MAGIC: usize = 16;
    /// The CRC-32C of everything behind it.
    pub const CRC: usize = 17;
    /// Where the CRC's coverage begins.
    pub const ATTRIBUTES: usize = 21;
    /// How many offsets the last record is behind the first.
    pub const LAST_OFFSET_DELTA: usize = 23;
    /// The time of the first record.
    pub const FIRST_TIMESTAMP: usize = 27;
    /// The largest time of a record.
    pub const MAX_TIMESTAMP: usize = 35;
    /// Who has written it.
    pub const PRODUCER_ID: usize = 43;
    /// The producer's epoch.
    pub const PRODUCER_EPOCH: usize = 51;
    /// The sequence of the first record.
    pub const SEQUENCE: usize = 53;
    /// How many records there are.
    pub const RECORD_COUNT: usize = 57;
}

/// One uncompressed batch of format 2 that holds `values`.
///
/// # Errors
/// The encoder refuses.
pub fn batch(values: &[&[u8]]) -> Result<BytesMut> {
    let records: Vec<Record> = values
        .iter()
        .zip(0..)
        .map(|(value, number)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(number),
            // The encoder begins a new batch where the sequence does not follow on.
            sequence: NO_SEQUENCE + number,
            timestamp: 1_700_000_000_000,
            key: None,
            value: Some(Bytes::copy_from_slice(value)),
            headers: IndexMap::new(),
        })
        .collect();
    let mut encoded = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut encoded, &records, &options)?;
    Ok(encoded)
}

/// Makes the checksum fit what the batch now holds.
pub fn seal(batch: &mut [u8]) {
    let crc = crc_fast::checksum(
        crc_fast::CrcAlgorithm::Crc32Iscsi,
        &batch[position::ATTRIBUTES..],
    );
    batch[position::CRC..position::ATTRIBUTES].copy_from_slice(&(crc as u32).to_be_bytes());
}

fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// Creates a topic.
///
/// # Errors
/// The broker answers with an error code.
pub fn create_topic(client: &mut RawClient, topic: &str, partitions: i32) -> Result<()> {
    let topic = CreatableTopic::default()
        .with_name(topic_name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000);
    let response = client.call(7, &request)?;
    let result = response.topics.first().context("no topic in the answer")?;
    ensure!(
        result.error_code == 0,
        "CreateTopics: error {}",
        result.error_code
    );
    Ok(())
}

/// Produces bytes as they are, with acks=all; the error code and the base offset of the answer.
///
/// # Errors
/// There is no answer.
pub fn produce(
    client: &mut RawClient,
    topic: &str,
    partition: i32,
    records: Bytes,
) -> Result<(i16, i64)> {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic]);
    let response = client.call(9, &request)?;
    let topic = response
        .responses
        .first()
        .context("no topic in the answer")?;
    let partition = topic
        .partition_responses
        .first()
        .context("no partition in the answer")?;
    Ok((partition.error_code, partition.base_offset))
}

/// Fetches from one partition without waiting; the error code and the records of the answer.
///
/// # Errors
/// There is no answer.
pub fn fetch(
    client: &mut RawClient,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<(i16, Bytes)> {
    let wanted = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(vec![wanted]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    let response = client.call(12, &request)?;
    ensure!(
        response.error_code == 0,
        "Fetch: error {}",
        response.error_code
    );
    let topic = response
        .responses
        .first()
        .context("no topic in the answer")?;
    let partition = topic
        .partitions
        .first()
        .context("no partition in the answer")?;
    Ok((
        partition.error_code,
        partition.records.clone().unwrap_or_default(),
    ))
}

/// What the batches of one partition say of themselves, from its start up to an offset.
///
/// # Errors
/// There is no answer, or it is an error, or nothing is to be had where something should be.
pub fn stored_batches(
    client: &mut RawClient,
    topic: &str,
    partition: i32,
    end: i64,
) -> Result<Vec<Batch>> {
    let mut stored = Vec::new();
    let mut offset = 0;
    while offset < end {
        let (error, records) = fetch(client, topic, partition, offset)?;
        ensure!(error == 0, "Fetch: error {error}");
        let batches = split(&records).into_iter().map(said);
        let batches: Vec<Batch> = batches.collect::<Option<_>>().context("whole batches")?;
        let last = batches.last().context("nothing before the end")?;
        ensure!(last.last_offset >= offset, "it does not go on at {offset}");
        offset = last.last_offset + 1;
        stored.extend(batches);
    }
    Ok(stored)
}

/// Record batches, one behind the other; a part of one at the end is left out.
pub(crate) fn split(records: &[u8]) -> Vec<&[u8]> {
    let mut batches = Vec::new();
    let mut rest = records;
    while let Some(length) = rest.get(position::LENGTH..position::BEHIND_LENGTH) {
        let length = i32::from_be_bytes(length.try_into().unwrap_or_default());
        let length = usize::try_from(length).unwrap_or_default() + position::BEHIND_LENGTH;
        let Some((batch, behind)) = rest.split_at_checked(length) else {
            break;
        };
        batches.push(batch);
        rest = behind;
    }
    batches
}

/// What a batch says of itself.
fn said(batch: &[u8]) -> Option<Batch> {
    let behind = |position: usize| batch.get(position..);
    let int = |position| {
        behind(position)?
            .first_chunk()
            .copied()
            .map(i32::from_be_bytes)
    };
    let long = |position| {
        behind(position)?
            .first_chunk()
            .copied()
            .map(i64::from_be_bytes)
    };
    let short = |position| {
        behind(position)?
            .first_chunk()
            .copied()
            .map(i16::from_be_bytes)
    };
    let base_offset = long(0)?;
    Some(Batch {
        base_offset,
        last_offset: base_offset.checked_add(int(position::LAST_OFFSET_DELTA)?.into())?,
        first: Writing {
            producer_id: long(position::PRODUCER_ID)?,
            producer_epoch: short(position::PRODUCER_EPOCH)?,
            sequence: int(position::SEQUENCE)?,
        },
    })
}

/// The error code and the log end offset of one partition.
///
/// # Errors
/// There is no answer.
pub fn end_offset(client: &mut RawClient, topic: &str, partition: i32) -> Result<(i16, i64)> {
    const LATEST: i64 = -1;
    let wanted = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(LATEST);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic]);
    let response = client.call(5, &request)?;
    let topic = response.topics.first().context("no topic in the answer")?;
    let partition = topic
        .partitions
        .first()
        .context("no partition in the answer")?;
    Ok((partition.error_code, partition.offset))
}
