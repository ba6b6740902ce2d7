//! What a leader checks before it appends a client's records to one partition.
//!
//! The rules and their order are those of ProduceRequest.validateRecords, UnifiedLog.analyzeAndValidateRecords and
//! LogValidator in Kafka 4. A batch that passes keeps its bytes: what the broker has to change (offset, leader
//! epoch, timestamps) is written into the copy that the append makes anyway. Only `compression.type` and wrong offset
//! deltas make a batch be built anew.
//!
//! Where this differs from Kafka:
//! * Without `validate_all_records` the records of a compressed batch are looked at only if something can depend on
//!   them: a compacted topic, limits on timestamps that the header does not settle, or recompression.
//! * A batch may only decompress to [`ValidateConfig::max_decompressed_bytes`]; Kafka reads on for as long as it takes.
//! * Records whose offset deltas do not count up from 0 are renumbered in uncompressed batches, too; in compressed
//!   ones that keep their codec they are INVALID_RECORD, where Kafka answers UNKNOWN_SERVER_ERROR.
//! * The length that a record of a compressed batch states must be its own; Kafka looks only at its fields.
//! * An unknown codec is UNSUPPORTED_COMPRESSION_TYPE and records that do not decompress are INVALID_RECORD, where
//!   Kafka answers UNKNOWN_SERVER_ERROR.
//! * A transactional batch is refused: no transaction can be open that it belongs to, since none can be begun.
//! * A producer id needs an epoch.
//! * At most `MAX_RECORD_ERRORS` record errors are reported.

mod error;
mod validated;

use std::cell::RefCell;

use bytes::Bytes;

pub use error::{InvalidRecord, ValidateError};
use error::{corrupt, invalid, undecodable, unreadable};
pub use validated::ValidatedBatch;

use super::batch::{self, BatchHeader, LOG_OVERHEAD_BYTES, MAGIC_V2, NO_TIMESTAMP, TimestampType};
use super::builder::{BatchBuilder, BuildError};
use super::compression::{Compression, CompressionType, Decompressor};
use super::iter::{Record, RecordIter, record_bytes};

/// Record errors kept for the response; more of them help nobody and would make it larger than the request.
pub(crate) const MAX_RECORD_ERRORS: usize = 100;

/// The settings of a topic that validation depends on; names as in Kafka's topic configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidateConfig {
    /// `max.message.bytes`, for a whole batch.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`; `i64::MAX` for no limit.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// Whether `cleanup.policy` contains `compact`: every record needs a key.
    pub compacted: bool,
    /// `compression.type` and its level; `None` for `producer`.
    pub compression: Option<Compression>,
    /// Whether compressed records are always decompressed and checked one by one.
    pub validate_all_records: bool,
    /// How many bytes the records of one batch may decompress to.
    pub max_decompressed_bytes: usize,
}

impl Default for ValidateConfig {
    fn default() -> Self {
        Self {
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compacted: false,
            compression: None,
            validate_all_records: false,
            max_decompressed_bytes: 64 << 20,
        }
    }
}

/// Checks what a produce request carries for one partition.
///
/// `zstd_allowed` is false below Produce v7. `now_ms` becomes the time of the append where the topic asks for it.
/// The common case neither copies nor allocates: the result shares `records`.
///
/// # Errors
/// What to answer for this partition.
pub fn validate(
    records: &Bytes,
    config: &ValidateConfig,
    zstd_allowed: bool,
    now_ms: i64,
) -> Result<ValidatedBatch, ValidateError> {
    let mut left_bytes = usize::MAX;
    validate_within(records, config, zstd_allowed, now_ms, &mut left_bytes)
}

thread_local! {
    static DECOMPRESSOR: RefCell<Decompressor> = RefCell::default();
}

/// The same, decompressing at most `left_bytes`, from which is taken what was decompressed, in vain or not: a few
/// bytes can stand for gigabytes, and take as long.
///
/// # Errors
/// As [`validate`]; `MessageTooLarge` when `left_bytes` do not suffice.
pub fn validate_within(
    records: &Bytes,
    config: &ValidateConfig,
    zstd_allowed: bool,
    now_ms: i64,
    left_bytes: &mut usize,
) -> Result<ValidatedBatch, ValidateError> {
    let bytes = only_batch(records, zstd_allowed)?;
    let header = check_batch(&bytes, config)?;
    let source = header
        .compression()
        .map_err(|error| ValidateError::UnsupportedCompressionType(error.to_string()))?;
    let target = config.compression.unwrap_or(source.into());
    let rebuild = target.compression_type != source;

    let mut validated = ValidatedBatch {
        bytes,
        header,
        timestamp_type: config.timestamp_type,
        max_timestamp: now_ms,
    };
    if source != CompressionType::None && !rebuild && !needs_records(&header, config, now_ms) {
        if config.timestamp_type == TimestampType::CreateTime {
            validated.max_timestamp = header.max_timestamp;
        }
        return Ok(validated);
    }

    let stored = record_bytes(&header, &validated.bytes).map_err(corrupt)?;
    let mut check = |uncompressed: &[u8]| {
        let walk = check_records(&header, uncompressed, config, now_ms)?;
        if !walk.deltas_count_up && !rebuild && source != CompressionType::None {
            return Err(invalid(
                "The offsets of compressed records must count up from 0",
            ));
        }
        let rebuilt = match rebuild || !walk.deltas_count_up {
            true => Some(build_anew(&header, uncompressed, target)?),
            false => None,
        };
        Ok((walk.max_timestamp, rebuilt))
    };
    let (max_timestamp, rebuilt) = match source {
        CompressionType::None => check(stored)?,
        codec => DECOMPRESSOR.with_borrow_mut(|decompressor| {
            let limit_bytes = config.max_decompressed_bytes.min(*left_bytes);
            let checked = decompressor
                .decompress(codec, stored, limit_bytes)
                .map_err(undecodable)
                .and_then(&mut check);
            *left_bytes = left_bytes.saturating_sub(decompressor.spent_bytes());
            decompressor.release();
            checked
        })?,
    };
    if config.timestamp_type == TimestampType::CreateTime {
        validated.max_timestamp = max_timestamp;
    }
    if let Some(bytes) = rebuilt {
        validated.header = BatchHeader::parse(&bytes).map_err(corrupt)?;
        validated.bytes = bytes;
        check_size(validated.bytes.len(), config)?;
    }
    Ok(validated)
}

/// Whether the first batch of `records` says that it belongs to a transaction; nothing else of it is looked at.
pub fn is_transactional(records: &[u8]) -> bool {
    BatchHeader::parse(records)
        .is_ok_and(|header| header.size_bytes() <= records.len() && header.is_transactional())
}

/// The one batch of `records`, with a header of magic 2 that may still lie.
///
/// # Errors
/// What to answer for this partition.
pub fn only_batch(records: &Bytes, zstd_allowed: bool) -> Result<Bytes, ValidateError> {
    let Some(size_bytes) = first_batch_bytes(records)? else {
        return Err(invalid(
            "Produce requests must have at least one record batch per partition",
        ));
    };
    let bytes = records.slice(..size_bytes);
    if magic_of(&bytes) != MAGIC_V2 {
        return Err(invalid(
            "Produce requests are only allowed to contain record batches with magic version 2",
        ));
    }
    let is_zstd = BatchHeader::parse(&bytes)
        .is_ok_and(|header| header.compression() == Ok(CompressionType::Zstd));
    if is_zstd && !zstd_allowed {
        return Err(ValidateError::UnsupportedCompressionType(
            "Produce requests below version 7 are not allowed to use ZStandard compression".into(),
        ));
    }
    // Less than a batch may follow and is dropped, as Kafka drops it.
    if first_batch_bytes(&records[size_bytes..])?.is_some() {
        return Err(invalid(
            "Produce requests are only allowed to contain exactly one record batch per partition",
        ));
    }
    Ok(bytes)
}

/// Position of the magic byte, which all formats share.
const MAGIC_AT: usize = 16;
/// The smallest message of magic 0: what is smaller is not a message of any format.
const MIN_MESSAGE_BYTES: i32 = 14;

fn magic_of(bytes: &[u8]) -> i8 {
    bytes.get(MAGIC_AT).map_or(-1, |&magic| magic as i8)
}

/// Size of the batch or old message at the start of `bytes`, if it is all there.
fn first_batch_bytes(bytes: &[u8]) -> Result<Option<usize>, ValidateError> {
    let Some(&[_, _, _, _, _, _, _, _, a, b, c, d]) = bytes.first_chunk::<LOG_OVERHEAD_BYTES>()
    else {
        return Ok(None);
    };
    let length = i32::from_be_bytes([a, b, c, d]);
    if length < MIN_MESSAGE_BYTES {
        return Err(ValidateError::CorruptMessage(format!(
            "Record size {length} is less than the minimum record overhead ({MIN_MESSAGE_BYTES})"
        )));
    }
    if bytes.len() <= MAGIC_AT {
        return Ok(None);
    }
    let magic = magic_of(bytes);
    if !(0..=MAGIC_V2).contains(&magic) {
        return Err(ValidateError::CorruptMessage(format!(
            "Invalid magic found in record: {magic}"
        )));
    }
    let size_bytes = LOG_OVERHEAD_BYTES + length.unsigned_abs() as usize;
    Ok((size_bytes <= bytes.len()).then_some(size_bytes))
}

/// Everything the header settles.
fn check_batch(bytes: &Bytes, config: &ValidateConfig) -> Result<BatchHeader, ValidateError> {
    let header = BatchHeader::parse(bytes).map_err(corrupt)?;
    if header.base_offset != 0 {
        return Err(invalid(format!(
            "The baseOffset of the record batch should be 0, but it is {}",
            header.base_offset
        )));
    }
    check_size(bytes.len(), config)?;
    batch::verify_crc(bytes).map_err(corrupt)?;

    let offsets_count = i64::from(header.last_offset_delta) + 1;
    if offsets_count <= 0 {
        return Err(invalid(format!(
            "Batch has an invalid offset range: [0, {}]",
            header.last_offset_delta
        )));
    }
    if header.records_count <= 0 {
        return Err(invalid(format!(
            "Invalid reported count for record batch: {}",
            header.records_count
        )));
    }
    if offsets_count != i64::from(header.records_count) {
        return Err(invalid(format!(
            "Inconsistent batch offset range [0, {}] and count of records {}",
            header.last_offset_delta, header.records_count
        )));
    }
    if header.is_control() {
        return Err(invalid("Clients are not allowed to write control records"));
    }
    if header.has_producer_id() && (header.base_sequence < 0 || header.producer_epoch < 0) {
        return Err(invalid(format!(
            "Invalid sequence number {} or epoch {} in record batch with producerId {}",
            header.base_sequence, header.producer_epoch, header.producer_id
        )));
    }
    Ok(header)
}

fn check_size(size_bytes: usize, config: &ValidateConfig) -> Result<(), ValidateError> {
    if size_bytes > config.max_message_bytes {
        return Err(ValidateError::MessageTooLarge(format!(
            "The record batch size is {size_bytes} bytes which exceeds the maximum configured value of {}.",
            config.max_message_bytes
        )));
    }
    Ok(())
}

/// Whether the header of a compressed batch leaves a question that only its records answer.
fn needs_records(header: &BatchHeader, config: &ValidateConfig, now_ms: i64) -> bool {
    let claims_append_time = header.timestamp_type() == TimestampType::LogAppendTime;
    let timestamps_in_question = match config.timestamp_type {
        TimestampType::CreateTime => {
            config.timestamp_before_max_ms != i64::MAX
                || !timestamp_in_range(header.max_timestamp, config, now_ms)
        }
        TimestampType::LogAppendTime => false,
    };
    config.compacted || config.validate_all_records || claims_append_time || timestamps_in_question
}

#[inline]
fn timestamp_in_range(timestamp: i64, config: &ValidateConfig, now_ms: i64) -> bool {
    let age_ms = now_ms.saturating_sub(timestamp);
    age_ms <= config.timestamp_before_max_ms
        && age_ms.saturating_neg() <= config.timestamp_after_max_ms
}

struct Walk {
    max_timestamp: i64,
    deltas_count_up: bool,
}

/// Everything that needs the records: structure, keys, timestamps.
fn check_records(
    header: &BatchHeader,
    uncompressed: &[u8],
    config: &ValidateConfig,
    now_ms: i64,
) -> Result<Walk, ValidateError> {
    let mut walk = Walk {
        max_timestamp: NO_TIMESTAMP,
        deltas_count_up: true,
    };
    let mut refused = Refused::default();
    for (index, record) in (0..).zip(RecordIter::new(header, uncompressed)) {
        let record = match record {
            Ok(record) => record,
            Err(error) => return Err(unreadable(error)),
        };
        if config.compacted && record.key.is_none() {
            refused.add(index, false, || {
                "Compacted topic cannot accept message without key".into()
            });
        } else {
            check_timestamp(header, &record, index, config, now_ms, &mut refused);
        }
        walk.deltas_count_up &= record.offset_delta == index;
        walk.max_timestamp = walk.max_timestamp.max(record.timestamp);
    }
    refused.into_result()?;
    Ok(walk)
}

#[inline]
fn check_timestamp(
    header: &BatchHeader,
    record: &Record<'_>,
    index: i32,
    config: &ValidateConfig,
    now_ms: i64,
    refused: &mut Refused,
) {
    if config.timestamp_type == TimestampType::CreateTime && record.timestamp != NO_TIMESTAMP {
        if !timestamp_in_range(record.timestamp, config, now_ms) {
            refused.add(index, true, || {
                format!(
                    "Timestamp {} of message with offset {} is out of range. The timestamp should be within [{}, {}]",
                    record.timestamp,
                    record.offset,
                    now_ms.saturating_sub(config.timestamp_before_max_ms),
                    now_ms.saturating_add(config.timestamp_after_max_ms),
                )
            });
        }
    } else if header.timestamp_type() == TimestampType::LogAppendTime {
        refused.add(index, true, || {
            "Invalid timestamp type in message. Producer should not set timestamp type to LogAppendTime."
                .into()
        });
    }
}

/// The records refused so far.
#[derive(Default)]
struct Refused {
    errors: Vec<InvalidRecord>,
    count: usize,
    any_timestamp: bool,
}

impl Refused {
    #[cold]
    fn add(&mut self, batch_index: i32, timestamp: bool, message: impl FnOnce() -> String) {
        self.count += 1;
        self.any_timestamp |= timestamp;
        if self.errors.len() < MAX_RECORD_ERRORS {
            self.errors.push(InvalidRecord {
                batch_index,
                message: message(),
            });
        }
    }

    fn into_result(self) -> Result<(), ValidateError> {
        if self.count == 0 {
            Ok(())
        } else if self.any_timestamp {
            Err(ValidateError::InvalidTimestamp {
                record_errors: self.errors,
            })
        } else {
            Err(ValidateError::InvalidRecord {
                message: format!(
                    "One or more records have been rejected due to {} record errors in total: {}",
                    self.count, self.errors[0].message
                ),
                record_errors: self.errors,
            })
        }
    }
}

/// The same records, numbered from 0, in the codec `target`.
fn build_anew(
    header: &BatchHeader,
    uncompressed: &[u8],
    target: Compression,
) -> Result<Bytes, ValidateError> {
    let mut builder = BatchBuilder::like(header).compression(target);
    for (index, record) in (0..).zip(RecordIter::new(header, uncompressed)) {
        let record = record.map_err(unreadable)?;
        builder.append_at(
            index,
            record.timestamp,
            record.key,
            record.value,
            record.headers,
        );
    }
    builder.build().map_err(|error| match error {
        BuildError::TooLarge(_) => ValidateError::MessageTooLarge(error.to_string()),
        BuildError::Compression(_) => invalid(error.to_string()),
    })
}

#[cfg(test)]
mod tests;
