//! The 61-byte header of a record batch, and what may be changed in it.
//!
//! | at | bytes | field | covered by the CRC |
//! |---|---|---|---|
//! | 0 | 8 | base offset | no |
//! | 8 | 4 | batch length: bytes after this field | no |
//! | 12 | 4 | partition leader epoch | no |
//! | 16 | 1 | magic: 2 | no |
//! | 17 | 4 | CRC-32C of everything from 21 on | - |
//! | 21 | 2 | attributes: 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon | yes |
//! | 23 | 4 | last offset delta | yes |
//! | 27 | 8 | base timestamp, or the delete horizon if bit 6 is set (KIP-534) | yes |
//! | 35 | 8 | max timestamp | yes |
//! | 43 | 8 | producer id | yes |
//! | 51 | 2 | producer epoch | yes |
//! | 53 | 4 | base sequence | yes |
//! | 57 | 4 | records count | yes |

use crc_fast::CrcAlgorithm;
use thiserror::Error;

use super::compression::CompressionType;

/// Bytes of the header of a batch of magic 2, before its records.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Bytes of base offset and batch length, which the batch length does not count.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// The only record batch format written since Kafka 0.11, and the only one since Kafka 4.0 (KIP-724).
pub(crate) const MAGIC_V2: i8 = 2;

pub const NO_PRODUCER_ID: i64 = -1;
pub const NO_PRODUCER_EPOCH: i16 = -1;
pub const NO_SEQUENCE: i32 = -1;
pub(crate) const NO_TIMESTAMP: i64 = -1;
pub const NO_PARTITION_LEADER_EPOCH: i32 = -1;

const BATCH_LENGTH_AT: usize = 8;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const RECORDS_COUNT_AT: usize = 57;

const CODEC_MASK: i16 = 0x07;
const TIMESTAMP_TYPE_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
const DELETE_HORIZON_BIT: i16 = 0x40;

/// What makes bytes something other than one whole, intact record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("record batch of {needed_bytes} bytes is cut off after {available_bytes}")]
    Truncated {
        needed_bytes: usize,
        available_bytes: usize,
    },
    /// The length field cannot hold a header.
    #[error("record batch length {batch_length} is smaller than its header")]
    InvalidLength { batch_length: i32 },
    /// Not the record format this broker stores.
    #[error("record batch has magic {0}, only magic 2 is supported")]
    UnsupportedMagic(i8),
    /// The attributes name a codec that does not exist.
    #[error("record batch names unknown compression type {0}")]
    UnknownCompression(u8),
    /// The bytes are not those that were checksummed.
    #[error("record batch is corrupt (stored crc = {stored}, computed crc = {computed})")]
    CrcMismatch { stored: u32, computed: u32 },
}

/// Who set the timestamps of a batch: the producer, or the broker on append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

/// The parsed header of one batch; a copy, so it does not follow later changes of the bytes.
///
/// Only length and magic have been checked. Counts, deltas and timestamps are the sender's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes after this field, so 12 fewer than [`size_bytes`](Self::size_bytes).
    pub batch_length: i32,
    pub partition_leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub records_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which need not hold the records.
    ///
    /// # Errors
    /// `Truncated` below 61 bytes, `UnsupportedMagic`, or `InvalidLength` if the length leaves no room for the header.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        // The magic byte says how to read the rest: look at it first, so that a short message of an
        // old format is refused for its format.
        let magic = match bytes.get(MAGIC_AT) {
            Some(&magic) => magic as i8,
            None => return Err(truncated(BATCH_HEADER_BYTES, bytes.len())),
        };
        if magic != MAGIC_V2 {
            return Err(BatchError::UnsupportedMagic(magic));
        }
        let Some(header) = bytes.first_chunk::<BATCH_HEADER_BYTES>() else {
            return Err(truncated(BATCH_HEADER_BYTES, bytes.len()));
        };
        let batch_length = i32::from_be_bytes(field(header, BATCH_LENGTH_AT));
        if batch_length < (BATCH_HEADER_BYTES - LOG_OVERHEAD_BYTES) as i32 {
            return Err(BatchError::InvalidLength { batch_length });
        }
        Ok(Self {
            base_offset: i64::from_be_bytes(field(header, 0)),
            batch_length,
            partition_leader_epoch: i32::from_be_bytes(field(header, LEADER_EPOCH_AT)),
            magic,
            crc: u32::from_be_bytes(field(header, CRC_AT)),
            attributes: i16::from_be_bytes(field(header, ATTRIBUTES_AT)),
            last_offset_delta: i32::from_be_bytes(field(header, LAST_OFFSET_DELTA_AT)),
            base_timestamp: i64::from_be_bytes(field(header, BASE_TIMESTAMP_AT)),
            max_timestamp: i64::from_be_bytes(field(header, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(field(header, PRODUCER_ID_AT)),
            producer_epoch: i16::from_be_bytes(field(header, PRODUCER_EPOCH_AT)),
            base_sequence: i32::from_be_bytes(field(header, BASE_SEQUENCE_AT)),
            records_count: i32::from_be_bytes(field(header, RECORDS_COUNT_AT)),
        })
    }

    /// Bytes of the whole batch, header and length field included.
    pub fn size_bytes(&self) -> usize {
        LOG_OVERHEAD_BYTES + usize::try_from(self.batch_length).unwrap_or(0)
    }

    /// Offset of the last record, even if compaction has removed it.
    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .wrapping_add(i64::from(self.last_offset_delta))
    }

    /// Offset that follows the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// Sequence number of the last record; `NO_SEQUENCE` without a base sequence.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            NO_SEQUENCE
        } else {
            increment_sequence(self.base_sequence, self.last_offset_delta)
        }
    }

    /// The codec of the records.
    ///
    /// # Errors
    /// `UnknownCompression` for ids 5 to 7.
    pub fn compression(&self) -> Result<CompressionType, BatchError> {
        let id = (self.attributes & CODEC_MASK) as u8;
        CompressionType::from_id(id).ok_or(BatchError::UnknownCompression(id))
    }

    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & TIMESTAMP_TYPE_BIT == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether the records are the broker's own, such as transaction markers, and hidden from applications.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    pub(crate) fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// When compaction may drop the tombstones and markers of this batch, in ms (KIP-534).
    pub(crate) fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON_BIT != 0).then_some(self.base_timestamp)
    }
}

/// `sequence + increment` in Kafka's sequence space, where 0 follows `i32::MAX`.
pub(crate) fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    if sequence > i32::MAX.wrapping_sub(increment) {
        increment
            .wrapping_sub(i32::MAX.wrapping_sub(sequence))
            .wrapping_sub(1)
    } else {
        sequence.wrapping_add(increment)
    }
}

/// `sequence - decrement` in Kafka's sequence space, where 0 follows `i32::MAX`.
pub(crate) fn decrement_sequence(sequence: i32, decrement: i32) -> i32 {
    if sequence < decrement {
        i32::MAX
            .wrapping_sub(decrement.wrapping_sub(sequence))
            .wrapping_add(1)
    } else {
        sequence.wrapping_sub(decrement)
    }
}

/// The attributes field for the given properties.
pub(crate) fn attributes(
    compression: CompressionType,
    timestamp_type: TimestampType,
    transactional: bool,
    control: bool,
    delete_horizon: bool,
) -> i16 {
    let mut attributes = i16::from(compression.id());
    if timestamp_type == TimestampType::LogAppendTime {
        attributes |= TIMESTAMP_TYPE_BIT;
    }
    if transactional {
        attributes |= TRANSACTIONAL_BIT;
    }
    if control {
        attributes |= CONTROL_BIT;
    }
    if delete_horizon {
        attributes |= DELETE_HORIZON_BIT;
    }
    attributes
}

/// Writes `header` over the first 61 bytes of `batch` and computes the CRC of the whole slice.
///
/// Length, magic and CRC are taken from the slice, not from `header`.
pub(super) fn write_header(batch: &mut [u8], header: &BatchHeader) {
    let batch_length = (batch.len() - LOG_OVERHEAD_BYTES) as i32;
    put(batch, 0, &header.base_offset.to_be_bytes());
    put(batch, BATCH_LENGTH_AT, &batch_length.to_be_bytes());
    put(
        batch,
        LEADER_EPOCH_AT,
        &header.partition_leader_epoch.to_be_bytes(),
    );
    put(batch, MAGIC_AT, &MAGIC_V2.to_be_bytes());
    put(batch, ATTRIBUTES_AT, &header.attributes.to_be_bytes());
    put(
        batch,
        LAST_OFFSET_DELTA_AT,
        &header.last_offset_delta.to_be_bytes(),
    );
    put(
        batch,
        BASE_TIMESTAMP_AT,
        &header.base_timestamp.to_be_bytes(),
    );
    put(batch, MAX_TIMESTAMP_AT, &header.max_timestamp.to_be_bytes());
    put(batch, PRODUCER_ID_AT, &header.producer_id.to_be_bytes());
    put(
        batch,
        PRODUCER_EPOCH_AT,
        &header.producer_epoch.to_be_bytes(),
    );
    put(batch, BASE_SEQUENCE_AT, &header.base_sequence.to_be_bytes());
    put(batch, RECORDS_COUNT_AT, &header.records_count.to_be_bytes());
    put_crc(batch);
}

/// CRC-32C over what the CRC of a batch covers; `batch` is exactly one batch.
pub fn compute_crc(batch: &[u8]) -> u32 {
    let covered = batch.get(ATTRIBUTES_AT..).unwrap_or_default();
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, covered) as u32
}

/// Checks the CRC of `batch`, exactly one batch as received or read.
///
/// # Errors
/// `CrcMismatch`, or `Truncated` if there is no CRC field.
pub fn verify_crc(batch: &[u8]) -> Result<(), BatchError> {
    let Some(&stored) = batch.get(CRC_AT..).and_then(|rest| rest.first_chunk()) else {
        return Err(truncated(BATCH_HEADER_BYTES, batch.len()));
    };
    let (stored, computed) = (u32::from_be_bytes(stored), compute_crc(batch));
    if stored == computed || crate::record::checksums::CHECKSUMS_PASS {
        Ok(())
    } else {
        Err(BatchError::CrcMismatch { stored, computed })
    }
}

/// Sets base offset and leader epoch in a batch that starts at `batch[0]`; neither is covered by the CRC.
///
/// # Errors
/// `Truncated` if there is no whole header.
pub(crate) fn set_offset_and_epoch(
    batch: &mut [u8],
    base_offset: i64,
    leader_epoch: i32,
) -> Result<(), BatchError> {
    if batch.len() < BATCH_HEADER_BYTES {
        return Err(truncated(BATCH_HEADER_BYTES, batch.len()));
    }
    put(batch, 0, &base_offset.to_be_bytes());
    put(batch, LEADER_EPOCH_AT, &leader_epoch.to_be_bytes());
    Ok(())
}

/// Sets timestamp type and max timestamp of exactly one batch and recomputes its CRC if either changed.
///
/// The timestamps of its records stay as they are. Where the broker's time counts, readers take the batch's max timestamp
/// for every record.
///
/// # Errors
/// `Truncated` if there is no whole header.
pub(crate) fn set_max_timestamp(
    batch: &mut [u8],
    timestamp_type: TimestampType,
    max_timestamp: i64,
) -> Result<(), BatchError> {
    let Some(header) = batch.first_chunk::<BATCH_HEADER_BYTES>() else {
        return Err(truncated(BATCH_HEADER_BYTES, batch.len()));
    };
    let old_attributes = i16::from_be_bytes(field(header, ATTRIBUTES_AT));
    let old_max_timestamp = i64::from_be_bytes(field(header, MAX_TIMESTAMP_AT));
    let attributes = match timestamp_type {
        TimestampType::CreateTime => old_attributes & !TIMESTAMP_TYPE_BIT,
        TimestampType::LogAppendTime => old_attributes | TIMESTAMP_TYPE_BIT,
    };
    if attributes != old_attributes || max_timestamp != old_max_timestamp {
        put(batch, ATTRIBUTES_AT, &attributes.to_be_bytes());
        put(batch, MAX_TIMESTAMP_AT, &max_timestamp.to_be_bytes());
        put_crc(batch);
    }
    Ok(())
}

/// One batch inside a larger slice.
#[derive(Debug, Clone, Copy)]
pub struct BatchRef<'a> {
    pub header: BatchHeader,
    /// Exactly the bytes of this batch.
    pub bytes: &'a [u8],
    /// Where the batch starts in the slice, in bytes.
    pub position: usize,
}

/// The consecutive batches of `bytes`.
///
/// Ends after the last byte, or with one error at the first thing that is not a whole batch. CRCs are not checked.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { bytes, position: 0 }
}

/// Iterator of [`batches`].
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Batches<'_> {
    /// Where the next batch starts; after an error, where the batch that failed starts.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchRef<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let found = BatchHeader::parse(self.bytes).and_then(|header| {
            let size_bytes = header.size_bytes();
            match self.bytes.split_at_checked(size_bytes) {
                Some((bytes, rest)) => Ok((header, bytes, rest)),
                None => Err(truncated(size_bytes, self.bytes.len())),
            }
        });
        match found {
            Ok((header, bytes, rest)) => {
                let position = self.position;
                self.position += bytes.len();
                self.bytes = rest;
                Some(Ok(BatchRef {
                    header,
                    bytes,
                    position,
                }))
            }
            Err(error) => {
                self.bytes = &[];
                Some(Err(error))
            }
        }
    }
}

fn truncated(needed_bytes: usize, available_bytes: usize) -> BatchError {
    BatchError::Truncated {
        needed_bytes,
        available_bytes,
    }
}

/// The `N` bytes at `at`, which is a constant inside the header.
fn field<const N: usize>(header: &[u8; BATCH_HEADER_BYTES], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&header[at..at + N]);
    value
}

fn put(batch: &mut [u8], at: usize, value: &[u8]) {
    batch[at..at + value.len()].copy_from_slice(value);
}

fn put_crc(batch: &mut [u8]) {
    let crc = compute_crc(batch);
    put(batch, CRC_AT, &crc.to_be_bytes());
}
