//! Builds record batches: what coordinators, metadata, compaction and tests write.

use bytes::Bytes;
use thiserror::Error;

use super::batch::{
    self, BATCH_HEADER_BYTES, BatchHeader, LOG_OVERHEAD_BYTES, MAGIC_V2, NO_PARTITION_LEADER_EPOCH,
    NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, TimestampType,
};
use super::compression::{Compression, CompressionError, CompressionType, compress};
use super::iter::Header;

/// Why a batch cannot be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The format counts the bytes of a batch in 32 bits.
    #[error("record batch of {0} bytes is too large for the format")]
    TooLarge(usize),
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// Collects records into one batch of magic 2.
///
/// ```
/// use storage::record::{BatchBuilder, BatchHeader};
///
/// let mut builder = BatchBuilder::new();
/// builder.append(1_700_000_000_000, Some(b"key"), Some(b"value"), &[]);
/// let batch = builder.build()?;
/// assert_eq!(BatchHeader::parse(&batch)?.records_count, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    compression: Compression,
    timestamp_type: TimestampType,
    transactional: bool,
    control: bool,
    delete_horizon_ms: Option<i64>,
    base_offset: i64,
    partition_leader_epoch: i32,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    last_offset_delta: Option<i32>,
    first_timestamp: Option<i64>,
    max_timestamp: i64,
    next_offset_delta: i32,
    records_count: i32,
    /// The header's place, then the records.
    buffer: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty, uncompressed batch at offset 0 with the producer's timestamps and no producer id.
    pub fn new() -> Self {
        Self {
            compression: Compression::default(),
            timestamp_type: TimestampType::CreateTime,
            transactional: false,
            control: false,
            delete_horizon_ms: None,
            base_offset: 0,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            last_offset_delta: None,
            first_timestamp: None,
            max_timestamp: NO_TIMESTAMP,
            next_offset_delta: 0,
            records_count: 0,
            buffer: vec![0; BATCH_HEADER_BYTES],
        }
    }

    /// A batch that takes over everything but the records of `header`: for rewriting what was read.
    ///
    /// Last offset and max timestamp stay those of `header`, which sequence numbers and time lookups rely on.
    pub fn like(header: &BatchHeader) -> Self {
        let mut builder = Self::new();
        builder.compression = header.compression().unwrap_or_default().into();
        builder.timestamp_type = header.timestamp_type();
        builder.transactional = header.is_transactional();
        builder.control = header.is_control();
        builder.delete_horizon_ms = header.delete_horizon_ms();
        builder.base_offset = header.base_offset;
        builder.partition_leader_epoch = header.partition_leader_epoch;
        builder.producer_id = header.producer_id;
        builder.producer_epoch = header.producer_epoch;
        builder.base_sequence = header.base_sequence;
        builder.last_offset_delta = Some(header.last_offset_delta);
        builder.max_timestamp = header.max_timestamp;
        builder
    }

    pub fn compression(mut self, compression: impl Into<Compression>) -> Self {
        self.compression = compression.into();
        self
    }

    /// Idempotent producer: sequence numbers count up from `base_sequence`.
    pub fn producer(mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Self {
        self.producer_id = producer_id;
        self.producer_epoch = producer_epoch;
        self.base_sequence = base_sequence;
        self
    }

    pub fn transactional(mut self) -> Self {
        self.transactional = true;
        self
    }

    /// Marks the records as the broker's own (see [`control`](super::control)).
    pub fn control(mut self) -> Self {
        self.control = true;
        self
    }

    pub fn base_offset(mut self, base_offset: i64) -> Self {
        self.base_offset = base_offset;
        self
    }

    pub fn partition_leader_epoch(mut self, leader_epoch: i32) -> Self {
        self.partition_leader_epoch = leader_epoch;
        self
    }

    /// Every record carries the broker's `now_ms` instead of its own timestamp.
    #[cfg(test)]
    pub(crate) fn log_append_time(mut self, now_ms: i64) -> Self {
        self.timestamp_type = TimestampType::LogAppendTime;
        self.max_timestamp = now_ms;
        self
    }

    /// When compaction may drop this batch's tombstones and markers (KIP-534). Set it before the first record.
    pub(crate) fn delete_horizon_ms(mut self, delete_horizon_ms: i64) -> Self {
        self.delete_horizon_ms = Some(delete_horizon_ms);
        self
    }

    /// Lets the batch end at an offset whose record is gone.
    #[cfg(test)]
    pub(crate) fn last_offset_delta(mut self, last_offset_delta: i32) -> Self {
        self.last_offset_delta = Some(last_offset_delta);
        self
    }

    /// Appends a record at the next offset.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) {
        self.append_at(
            self.next_offset_delta,
            timestamp,
            key,
            value,
            headers.iter().copied(),
        );
    }

    /// Appends a record at `offset_delta` past the base offset; deltas must rise.
    pub(crate) fn append_at<'h>(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = Header<'h>> + Clone,
    ) {
        let first_timestamp = *self.first_timestamp.get_or_insert(timestamp);
        let base_timestamp = self.delete_horizon_ms.unwrap_or(first_timestamp);
        let timestamp_delta = timestamp.wrapping_sub(base_timestamp);

        let header_bytes: usize = headers
            .clone()
            .map(|header| nullable_bytes(Some(header.key)) + nullable_bytes(header.value))
            .sum();
        let body_bytes = 1
            + varint_bytes(zigzag(timestamp_delta))
            + varint_bytes(zigzag(offset_delta.into()))
            + nullable_bytes(key)
            + nullable_bytes(value)
            + varint_bytes(zigzag(headers.len() as i64))
            + header_bytes;
        self.buffer.reserve(body_bytes + 10);
        put_varint(&mut self.buffer, body_bytes as i64);
        self.buffer.push(0);
        put_varint(&mut self.buffer, timestamp_delta);
        put_varint(&mut self.buffer, offset_delta.into());
        put_nullable(&mut self.buffer, key);
        put_nullable(&mut self.buffer, value);
        put_varint(&mut self.buffer, headers.len() as i64);
        for header in headers {
            put_nullable(&mut self.buffer, Some(header.key));
            put_nullable(&mut self.buffer, header.value);
        }

        if self.timestamp_type == TimestampType::CreateTime {
            self.max_timestamp = self.max_timestamp.max(timestamp);
        }
        self.next_offset_delta = offset_delta.saturating_add(1);
        self.records_count = self.records_count.saturating_add(1);
    }

    /// Records appended so far.
    pub fn records_count(&self) -> usize {
        self.records_count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.records_count == 0
    }

    /// Bytes of the batch so far, before compression.
    pub fn size_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Finishes the batch.
    ///
    /// # Errors
    /// `TooLarge` past 2 GiB; `Compression` if the encoder fails.
    pub fn build(mut self) -> Result<Bytes, BuildError> {
        // Kafka writes no compressed stream for a batch without records.
        let mut codec = self.compression.compression_type;
        if self.records_count == 0 {
            codec = CompressionType::None;
        }
        if codec != CompressionType::None {
            let compressed = compress(self.compression, &self.buffer[BATCH_HEADER_BYTES..])?;
            self.buffer.truncate(BATCH_HEADER_BYTES);
            self.buffer.extend_from_slice(&compressed);
        }
        let batch_length = i32::try_from(self.buffer.len() - LOG_OVERHEAD_BYTES)
            .map_err(|_| BuildError::TooLarge(self.buffer.len()))?;
        let header = BatchHeader {
            base_offset: self.base_offset,
            batch_length,
            partition_leader_epoch: self.partition_leader_epoch,
            magic: MAGIC_V2,
            crc: 0,
            attributes: batch::attributes(
                codec,
                self.timestamp_type,
                self.transactional,
                self.control,
                self.delete_horizon_ms.is_some(),
            ),
            last_offset_delta: self
                .last_offset_delta
                .unwrap_or(self.next_offset_delta.saturating_sub(1))
                .max(0),
            base_timestamp: self
                .delete_horizon_ms
                .or(self.first_timestamp)
                .unwrap_or(NO_TIMESTAMP),
            max_timestamp: self.max_timestamp,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            records_count: self.records_count,
        };
        batch::write_header(&mut self.buffer, &header);
        Ok(self.buffer.into())
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Zigzag varint; for values of 32 bits the same bytes as a varlong.
fn put_varint(buffer: &mut Vec<u8>, value: i64) {
    let mut value = zigzag(value);
    while value >= 0x80 {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => varint_bytes(zigzag(bytes.len() as i64)) + bytes.len(),
        None => 1,
    }
}

fn put_nullable(buffer: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_varint(buffer, bytes.len() as i64);
            buffer.extend_from_slice(bytes);
        }
        None => put_varint(buffer, -1),
    }
}
