//! The records of a batch.
//!
//! | field of a record | encoding |
//! |---|---|
//! | length: bytes that follow | zigzag varint |
//! | attributes, unused | 1 byte |
//! | timestamp delta to the base timestamp | zigzag varlong |
//! | offset delta to the base offset | zigzag varint |
//! | key length, -1 for none; key | zigzag varint; bytes |
//! | value length, -1 for none; value | zigzag varint; bytes |
//! | headers count | zigzag varint |
//! | each header: key length, key, value length (-1 for none), value | as above |
//!
//! Counts and lengths are the sender's word: none is used before it has been held against the bytes that are there.

use bytes::Bytes;
use thiserror::Error;

use super::batch::{BATCH_HEADER_BYTES, BatchError, BatchHeader, TimestampType};
use super::compression::{CompressionError, CompressionType, decompress};

/// Why the records of a batch cannot be read.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The batch itself is not whole.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The records do not decompress, or to more than allowed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// The header states a negative number of records.
    #[error("invalid record count {0}")]
    InvalidCount(i32),
    /// Record number `index` is not a record.
    #[error("invalid record at index {index}: {reason}")]
    InvalidRecord { index: i32, reason: &'static str },
    /// Bytes are left after the stated number of records.
    #[error("{0} bytes remain after the last record")]
    TrailingBytes(usize),
}

/// One record, borrowed from the uncompressed records of its batch.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    pub offset: i64,
    /// In ms; the batch's max timestamp if the broker set the time.
    pub timestamp: i64,
    /// Distance to the batch's base offset, as the record states it.
    pub offset_delta: i32,
    /// Bytes of the record, its length field included.
    pub size_bytes: usize,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// One header of a record. Keys are UTF-8 by convention, not by check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// The headers of one record in their order, duplicates included; an iterator that copies cheaply.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.count = self.count.checked_sub(1)?;
        // Checked when the record was read, so this ends by count.
        read_header(&mut self.bytes).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// The uncompressed records of one batch, owned.
#[derive(Debug, Clone)]
pub struct RecordSet {
    header: BatchHeader,
    records: Bytes,
}

impl RecordSet {
    /// Opens `batch`, exactly one batch: shares its bytes if it is not compressed, else decompresses it.
    ///
    /// The CRC is not checked. Keys and values can be kept without a copy: `set.bytes().slice_ref(key)`.
    ///
    /// # Errors
    /// A batch that is not whole, or that does not decompress to at most `limit_bytes`.
    pub fn open(batch: &Bytes, limit_bytes: usize) -> Result<Self, RecordError> {
        let header = BatchHeader::parse(batch)?;
        let records = record_bytes(&header, batch)?;
        let records = match header.compression()? {
            CompressionType::None => batch.slice_ref(records),
            // Without records there is no stream either, not even an empty one.
            _ if header.records_count == 0 => Bytes::new(),
            codec => decompress(codec, records, limit_bytes)?.into(),
        };
        Ok(Self { header, records })
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The uncompressed records, one after the other.
    pub fn bytes(&self) -> &Bytes {
        &self.records
    }

    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter::new(&self.header, &self.records)
    }
}

impl<'a> IntoIterator for &'a RecordSet {
    type Item = Result<Record<'a>, RecordError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// The (possibly compressed) records of `batch`, which must hold the whole batch that `header` describes.
///
/// # Errors
/// `BatchError::Truncated`.
pub fn record_bytes<'a>(header: &BatchHeader, batch: &'a [u8]) -> Result<&'a [u8], BatchError> {
    let size_bytes = header.size_bytes();
    batch
        .get(BATCH_HEADER_BYTES..size_bytes)
        .ok_or(BatchError::Truncated {
            needed_bytes: size_bytes,
            available_bytes: batch.len(),
        })
}

/// Iterator over uncompressed records. Yields at most one error, as the last item.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    base_offset: i64,
    base_timestamp: i64,
    log_append_time: Option<i64>,
    count: i32,
    index: i32,
    rest: &'a [u8],
}

impl<'a> RecordIter<'a> {
    /// Reads `records`, the uncompressed records of the batch with `header`.
    pub fn new(header: &BatchHeader, records: &'a [u8]) -> Self {
        Self {
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            log_append_time: (header.timestamp_type() == TimestampType::LogAppendTime)
                .then_some(header.max_timestamp),
            count: header.records_count,
            index: 0,
            rest: records,
        }
    }

    #[inline]
    fn read(&mut self) -> Result<Record<'a>, &'static str> {
        let before = self.rest.len();
        let length = read_varint(&mut self.rest)?;
        let length = usize::try_from(length).map_err(|_| "negative record length")?;
        let mut body = take(&mut self.rest, length)?;
        let body = &mut body;
        let _attributes = take(body, 1)?;
        let timestamp_delta = read_varlong(body)?;
        let offset_delta = read_varint(body)?;
        let key = read_nullable(body)?;
        let value = read_nullable(body)?;
        let header_count =
            usize::try_from(read_varint(body)?).map_err(|_| "negative header count")?;
        if header_count > body.len() {
            return Err("more headers than bytes");
        }
        let headers = Headers {
            count: header_count,
            bytes: body,
        };
        for _ in 0..header_count {
            read_header(body)?;
        }
        if !body.is_empty() {
            return Err("record is longer than its fields");
        }
        Ok(Record {
            offset: self.base_offset.wrapping_add(i64::from(offset_delta)),
            timestamp: self
                .log_append_time
                .unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
            offset_delta,
            size_bytes: before - self.rest.len(),
            key,
            value,
            headers,
        })
    }

    #[cold]
    fn end(&mut self) -> Option<Result<Record<'a>, RecordError>> {
        let trailing_bytes = std::mem::take(&mut self.rest).len();
        let (count, index) = (self.count, self.index);
        self.count = 0;
        self.index = 0;
        if count < 0 {
            return Some(Err(RecordError::InvalidCount(count)));
        }
        // A batch without records is what compaction leaves behind; Kafka does not look inside either.
        (index > 0 && trailing_bytes > 0).then_some(Err(RecordError::TrailingBytes(trailing_bytes)))
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            return self.end();
        }
        let index = self.index;
        match self.read() {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(reason) => {
                self.rest = &[];
                self.count = 0;
                self.index = 0;
                Some(Err(RecordError::InvalidRecord { index, reason }))
            }
        }
    }
}

fn read_header<'a>(bytes: &mut &'a [u8]) -> Result<Header<'a>, &'static str> {
    let key = read_nullable(bytes)?.ok_or("negative header key length")?;
    let value = read_nullable(bytes)?;
    Ok(Header { key, value })
}

/// Any negative length is null, as in Kafka.
fn read_nullable<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    match usize::try_from(read_varint(bytes)?) {
        Ok(length) => take(bytes, length).map(Some),
        Err(_) => Ok(None),
    }
}

#[inline]
fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], &'static str> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or("record is cut off")?;
    *bytes = rest;
    Ok(taken)
}

/// A zigzag varint of at most 5 bytes; bits beyond 32 are dropped, as in Kafka's ByteUtils.
#[inline]
fn read_varint(bytes: &mut &[u8]) -> Result<i32, &'static str> {
    let value = read_unsigned(bytes, 5)? as u32;
    Ok((value >> 1) as i32 ^ -((value & 1) as i32))
}

#[inline]
fn read_varlong(bytes: &mut &[u8]) -> Result<i64, &'static str> {
    let value = read_unsigned(bytes, 10)?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

#[inline]
fn read_unsigned(bytes: &mut &[u8], max_bytes: usize) -> Result<u64, &'static str> {
    // Nearly every varint in a record has one byte.
    if let Some((&first, rest)) = bytes.split_first()
        && first < 0x80
    {
        *bytes = rest;
        return Ok(u64::from(first));
    }
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(max_bytes).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return Ok(value);
        }
    }
    Err(if bytes.len() < max_bytes {
        "record is cut off"
    } else {
        "varint is too long"
    })
}
