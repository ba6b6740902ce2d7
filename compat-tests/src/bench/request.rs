//! Request frames that are encoded once; what differs from one to the next is patched in place.

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, ProduceRequest, RequestHeader, TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Encodable, Request, StrBytes};

use super::batch::{self, Producer};
use super::wire::{FETCH_VERSION, PRODUCE_VERSION, TRANSACTIONAL_PRODUCE_VERSION};

/// Longer than clients have it: a broker that stalls is to show that in its latencies, not to end the run.
const REQUEST_TIMEOUT_MS: i32 = 120_000;
/// A number that occurs in no request by chance; marks the fields to be patched.
const MARK: i64 = 0x5eed_0ff5_e7ab_0000;

/// Encodes a whole frame: length, header, body.
///
/// # Errors
/// The request cannot be expressed in that version.
pub fn frame<R: Request>(version: i16, request: &R) -> Result<Vec<u8>> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("bench")));
    let mut content = BytesMut::new();
    header.encode(&mut content, R::header_version(version))?;
    request.encode(&mut content, version)?;
    let mut frame = Vec::with_capacity(4 + content.len());
    frame.extend_from_slice(&i32::try_from(content.len())?.to_be_bytes());
    frame.extend_from_slice(&content);
    Ok(frame)
}

/// A topic's name as requests carry it.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A Produce request, acks=all, with one batch for each of some partitions of one topic.
pub struct ProduceTemplate {
    frame: Vec<u8>,
    batch_bytes: usize,
    batches_at: Vec<usize>,
}

impl ProduceTemplate {
    /// Encodes a request with `batches_count` copies of `batch`.
    ///
    /// # Errors
    /// It does not encode.
    pub fn new(topic: &str, batch: &Bytes, batches_count: usize) -> Result<Self> {
        Self::of(topic, batch, batches_count, PRODUCE_VERSION, None)
    }

    /// The same in a transaction, whose partitions the request adds (KIP-890).
    ///
    /// # Errors
    /// It does not encode.
    pub fn transactional(
        topic: &str,
        batch: &Bytes,
        batches_count: usize,
        transactional_id: &str,
    ) -> Result<Self> {
        let mut batch = BytesMut::from(&batch[..]);
        batch::make_transactional(&mut batch);
        let version = TRANSACTIONAL_PRODUCE_VERSION;
        let id = Some(transactional_id);
        Self::of(topic, &batch.freeze(), batches_count, version, id)
    }

    fn of(
        topic: &str,
        batch: &Bytes,
        batches_count: usize,
        version: i16,
        transactional_id: Option<&str>,
    ) -> Result<Self> {
        let transactional_id =
            transactional_id.map(|id| TransactionalId(StrBytes::from_string(id.to_owned())));
        let marks = (MARK..).take(batches_count);
        let partition = |mark: i64| {
            let mut batch = BytesMut::from(&batch[..]);
            batch[..8].copy_from_slice(&mark.to_be_bytes());
            PartitionProduceData::default().with_records(Some(batch.freeze()))
        };
        let topic = TopicProduceData::default()
            .with_name(topic_name(topic))
            .with_partition_data(marks.clone().map(partition).collect());
        let request = ProduceRequest::default()
            .with_transactional_id(transactional_id)
            .with_acks(-1)
            .with_timeout_ms(REQUEST_TIMEOUT_MS)
            .with_topic_data(vec![topic]);
        let mut frame = frame(version, &request)?;
        let batches_at = marks
            .map(|mark| find(&frame, mark))
            .collect::<Result<Vec<usize>>>()?;
        for at in &batches_at {
            frame[*at..at + 8].fill(0);
        }
        Ok(Self {
            frame,
            batch_bytes: batch.len(),
            batches_at,
        })
    }

    /// How many partitions one request writes to.
    pub fn batches_count(&self) -> usize {
        self.batches_at.len()
    }

    /// Bytes of one batch.
    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    /// Addresses the `slot`th batch.
    pub fn set(&mut self, slot: usize, partition: i32, producer: Producer, base_sequence: i32) {
        let at = self.batches_at[slot];
        // Before the batch stand its length, as a varint of length + 1, and before that the index.
        let length_bytes =
            (usize::BITS - (self.batch_bytes + 1).leading_zeros()).div_ceil(7) as usize;
        let index_at = at - length_bytes - 4;
        self.frame[index_at..index_at + 4].copy_from_slice(&partition.to_be_bytes());
        batch::patch(
            &mut self.frame[at..at + self.batch_bytes],
            producer,
            base_sequence,
        );
    }

    /// The frame as it is to be sent.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }
}

/// How much a consumer asks for and how long it waits: the defaults of Java's consumer.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
        }
    }
}

/// A Fetch request for some partitions of one topic.
pub struct FetchTemplate {
    frame: Vec<u8>,
    offsets_at: Vec<usize>,
}

impl FetchTemplate {
    /// Encodes the request; every offset is 0.
    ///
    /// # Errors
    /// It does not encode.
    pub fn new(topic: &str, partitions: &[i32], limits: FetchLimits) -> Result<Self> {
        let marks = (MARK..).take(partitions.len());
        let partition = |(partition, mark): (&i32, i64)| {
            FetchPartition::default()
                .with_partition(*partition)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(mark)
                .with_partition_max_bytes(limits.partition_max_bytes)
        };
        let topic = FetchTopic::default()
            .with_topic(topic_name(topic))
            .with_partitions(
                partitions
                    .iter()
                    .zip(marks.clone())
                    .map(partition)
                    .collect(),
            );
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(limits.max_wait_ms)
            .with_min_bytes(limits.min_bytes)
            .with_max_bytes(limits.max_bytes)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let frame = frame(FETCH_VERSION, &request)?;
        let offsets_at = marks
            .map(|mark| find(&frame, mark))
            .collect::<Result<Vec<usize>>>()?;
        let mut template = Self { frame, offsets_at };
        for slot in 0..partitions.len() {
            template.set(slot, 0);
        }
        Ok(template)
    }

    /// Asks for the `slot`th partition from `offset` on.
    pub fn set(&mut self, slot: usize, offset: i64) {
        let at = self.offsets_at[slot];
        self.frame[at..at + 8].copy_from_slice(&offset.to_be_bytes());
    }

    /// The frame as it is to be sent.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }
}

fn find(frame: &[u8], mark: i64) -> Result<usize> {
    let mark = mark.to_be_bytes();
    frame
        .windows(mark.len())
        .position(|window| window == mark)
        .context("a mark that was just encoded")
}
