//! Record batches: built once, patched for every request, and checked when they come back.
//!
//! The checks are written here and not taken from the broker's own crates, so that a bug there cannot
//! hide itself.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use storage::record::{BatchBuilder, CompressionType};

/// Bytes before the records of a batch of magic 2.
pub const HEADER_BYTES: usize = 61;
const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const ATTRIBUTES_AT: usize = 21;
const TRANSACTIONAL: u8 = 0x10;
const LAST_OFFSET_DELTA_AT: usize = 23;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const RECORDS_COUNT_AT: usize = 57;

/// What every batch of a load looks like.
#[derive(Clone, Copy, Debug)]
pub struct BatchShape {
    pub records_count: i32,
    /// Bytes of each record's value.
    pub record_bytes: usize,
    pub compression: CompressionType,
}

impl BatchShape {
    /// As many uncompressed records of 1 KiB as a producer puts into `batch.size` bytes, but at least one.
    pub const fn kib_records(batch_bytes: usize) -> Self {
        // A record of 1 KiB has 9 bytes around its value at most.
        let records_count = batch_bytes.saturating_sub(HEADER_BYTES) / (1024 + 9);
        Self {
            records_count: if records_count == 0 {
                1
            } else {
                records_count as i32
            },
            record_bytes: 1024,
            compression: CompressionType::None,
        }
    }

    /// Builds the batch that all others are copies of; the values compress to about a third.
    ///
    /// # Errors
    /// The codec fails.
    pub fn build(&self, now_ms: i64) -> Result<Bytes> {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut builder = BatchBuilder::new().compression(self.compression);
        for _ in 0..self.records_count {
            let mut value = Vec::with_capacity(self.record_bytes + 12);
            while value.len() < self.record_bytes {
                // xorshift64: four bytes of noise, then eight that repeat.
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                value.extend_from_slice(&random.to_le_bytes()[..4]);
                value.extend_from_slice(b"ottlaott");
            }
            value.truncate(self.record_bytes);
            builder.append(now_ms, None, Some(&value), &[]);
        }
        Ok(builder.build()?)
    }
}

/// Who produces a batch, as the broker knows it from InitProducerId.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

/// Makes a batch one of a transaction. Its CRC is right again when it is patched.
pub fn make_transactional(batch: &mut [u8]) {
    batch[ATTRIBUTES_AT + 1] |= TRANSACTIONAL;
}

/// Makes a copy of a batch the one that follows in its partition, and its CRC right again.
pub fn patch(batch: &mut [u8], producer: Producer, base_sequence: i32) {
    batch[PRODUCER_ID_AT..PRODUCER_ID_AT + 8].copy_from_slice(&producer.id.to_be_bytes());
    batch[PRODUCER_EPOCH_AT..PRODUCER_EPOCH_AT + 2].copy_from_slice(&producer.epoch.to_be_bytes());
    batch[BASE_SEQUENCE_AT..BASE_SEQUENCE_AT + 4].copy_from_slice(&base_sequence.to_be_bytes());
    let crc = crc(batch);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// What the header of a fetched batch says.
#[derive(Clone, Copy, Debug)]
pub struct FetchedBatch {
    pub base_offset: i64,
    pub records_count: i32,
    pub producer_id: i64,
    pub base_sequence: i32,
    pub size_bytes: usize,
}

/// Walks the whole batches of a fetched partition and checks each one's CRC; a batch that the byte limit
/// cut off at the end is left out, as every client does.
///
/// # Errors
/// A batch is damaged, or `each` fails.
pub fn check_batches(
    mut records: &[u8],
    mut each: impl FnMut(FetchedBatch) -> Result<()>,
) -> Result<()> {
    while records.len() >= HEADER_BYTES {
        let length =
            usize::try_from(read_i32(records, LENGTH_AT)).context("a negative batch length")?;
        let size_bytes = LENGTH_AT + 4 + length;
        ensure!(size_bytes >= HEADER_BYTES, "a batch of {size_bytes} bytes");
        let Some((batch, rest)) = records.split_at_checked(size_bytes) else {
            break;
        };
        records = rest;

        let header = FetchedBatch {
            base_offset: read_i64(batch, 0),
            records_count: read_i32(batch, RECORDS_COUNT_AT),
            producer_id: read_i64(batch, PRODUCER_ID_AT),
            base_sequence: read_i32(batch, BASE_SEQUENCE_AT),
            size_bytes,
        };
        ensure!(
            batch[MAGIC_AT] == 2,
            "magic {} at offset {}",
            batch[MAGIC_AT],
            header.base_offset
        );
        let stored_crc = read_i32(batch, CRC_AT) as u32;
        ensure!(
            crc(batch) == stored_crc,
            "wrong CRC at offset {}",
            header.base_offset
        );
        ensure!(
            read_i32(batch, LAST_OFFSET_DELTA_AT) == header.records_count - 1,
            "a gap inside the batch at offset {}",
            header.base_offset
        );
        each(header)?;
    }
    Ok(())
}

fn crc(batch: &[u8]) -> u32 {
    // CRC-32C has 32 bits; the crate's result type fits its widest checksum.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &batch[CRC_FROM..]) as u32
}

fn read_i32(batch: &[u8], at: usize) -> i32 {
    batch[at..]
        .first_chunk()
        .map_or(0, |bytes| i32::from_be_bytes(*bytes))
}

fn read_i64(batch: &[u8], at: usize) -> i64 {
    batch[at..]
        .first_chunk()
        .map_or(0, |bytes| i64::from_be_bytes(*bytes))
}
