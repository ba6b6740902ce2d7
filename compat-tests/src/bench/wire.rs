//! Reads the responses that a benchmark sees by the thousand, without decoding what it does not need.
//!
//! Written by hand because the generator shares the machine with the broker: a general decoder would
//! allocate for every partition, and what the generator burns the broker does not get.

use anyhow::{Context as _, Result, ensure};

/// Produce requests are sent in this version: the last that means no transactions.
pub const PRODUCE_VERSION: i16 = 11;
/// Those of transactions are sent in this version: the last whose topics have names instead of ids. The response is the same.
pub const TRANSACTIONAL_PRODUCE_VERSION: i16 = 12;
/// Fetch requests are sent in this version: the last whose topics have names instead of ids.
pub const FETCH_VERSION: i16 = 12;

/// What a broker says about one partition of a Produce request.
#[derive(Debug, PartialEq, Eq)]
pub struct ProducedPartition {
    pub index: i32,
    pub error_code: i16,
    pub base_offset: i64,
}

/// What a broker says about one partition of a Fetch request.
#[derive(Debug)]
pub struct FetchedPartition<'a> {
    pub topic: &'a [u8],
    pub index: i32,
    pub error_code: i16,
    pub records: &'a [u8],
}

/// Hands every partition of a Produce response (without its length) to `each`.
///
/// # Errors
/// It is not one, or `each` fails.
pub fn read_produce_response(
    frame: &[u8],
    mut each: impl FnMut(ProducedPartition) -> Result<()>,
) -> Result<()> {
    let mut cursor = Cursor(frame);
    cursor.skip(4)?; // the correlation id
    cursor.tagged_fields()?;
    for _ in 0..cursor.array_len()? {
        cursor.compact_bytes()?; // the topic's name
        for _ in 0..cursor.array_len()? {
            let index = cursor.i32()?;
            let error_code = cursor.i16()?;
            let base_offset = cursor.i64()?;
            cursor.skip(8 + 8)?; // the append time and the log's start
            for _ in 0..cursor.array_len()? {
                cursor.skip(4)?; // a bad record's index
                cursor.compact_bytes()?;
                cursor.tagged_fields()?;
            }
            cursor.compact_bytes()?; // the error's message
            cursor.tagged_fields()?;
            each(ProducedPartition {
                index,
                error_code,
                base_offset,
            })?;
        }
        cursor.tagged_fields()?;
    }
    cursor.skip(4)?; // the throttle time
    cursor.tagged_fields()?;
    cursor.finish()
}

/// Hands every partition of a Fetch response (without its length) to `each`.
///
/// # Errors
/// It is not one, it carries an error of its own, or `each` fails.
pub fn read_fetch_response<'a>(
    frame: &'a [u8],
    mut each: impl FnMut(FetchedPartition<'a>) -> Result<()>,
) -> Result<()> {
    let mut cursor = Cursor(frame);
    cursor.skip(4)?; // the correlation id
    cursor.tagged_fields()?;
    cursor.skip(4)?; // the throttle time
    let error_code = cursor.i16()?;
    ensure!(error_code == 0, "the fetch failed with error {error_code}");
    cursor.skip(4)?; // the session's id
    for _ in 0..cursor.array_len()? {
        let topic = cursor.compact_bytes()?;
        for _ in 0..cursor.array_len()? {
            let index = cursor.i32()?;
            let error_code = cursor.i16()?;
            cursor.skip(8 + 8 + 8)?; // high watermark, last stable offset, the log's start
            for _ in 0..cursor.array_len()? {
                cursor.skip(8 + 8)?; // an aborted transaction
                cursor.tagged_fields()?;
            }
            cursor.skip(4)?; // the preferred replica
            let records = cursor.compact_bytes()?;
            cursor.tagged_fields()?;
            each(FetchedPartition {
                topic,
                index,
                error_code,
                records,
            })?;
        }
        cursor.tagged_fields()?;
    }
    cursor.tagged_fields()?;
    cursor.finish()
}

/// What is left of a message.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .context("the response ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .context("the response ends too early")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn skip(&mut self, count: usize) -> Result<()> {
        self.take(count).map(|_| ())
    }

    fn i16(&mut self) -> Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn uvarint(&mut self) -> Result<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        anyhow::bail!("a varint of more than five bytes")
    }

    /// Null counts as empty.
    fn array_len(&mut self) -> Result<usize> {
        Ok(self.uvarint()?.saturating_sub(1))
    }

    /// Null counts as empty.
    fn compact_bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.array_len()?;
        self.take(len)
    }

    fn tagged_fields(&mut self) -> Result<()> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let len = self.uvarint()?;
            self.skip(len)?;
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        ensure!(
            self.0.is_empty(),
            "{} bytes behind the response",
            self.0.len()
        );
        Ok(())
    }
}
