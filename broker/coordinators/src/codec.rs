//! Kafka's primitive types: read from bytes that may be anything, and written into records.

use protocol_shim::primitives::{BadVarint, put_uvarint, take, take_array, take_uvarint};
use thiserror::Error;
use uuid::Uuid;

/// Why bytes are no record, or a record has no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordError {
    #[error("the record ends in the middle of a field")]
    Truncated,
    #[error("a length or count in the record is out of range")]
    BadLength,
    #[error("a string in the record is not UTF-8")]
    BadString,
    #[error("record value version {0} is not known")]
    UnknownVersion(i16),
    #[error("transaction status {0} is not known")]
    UnknownStatus(i8),
    #[error("a string of {0} bytes does not fit a record")]
    StringTooLong(usize),
    #[error("the end of a transaction is a control batch")]
    IsMarker,
}

/// What an int16 length can say.
pub(crate) const MAX_STRING_BYTES: usize = i16::MAX as usize;

/// Reads fields off a slice. It never reads past the end and never allocates.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        take_array(&mut self.rest).ok_or(RecordError::Truncated)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        take(&mut self.rest, length).ok_or(RecordError::Truncated)
    }

    pub(crate) fn i8(&mut self) -> Result<i8, RecordError> {
        self.array().map(i8::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, RecordError> {
        self.array().map(Uuid::from_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    fn uvarint(&mut self) -> Result<u32, RecordError> {
        take_uvarint(&mut self.rest).map_err(|error| match error {
            BadVarint::Short => RecordError::Truncated,
            BadVarint::TooLong => RecordError::BadLength,
        })
    }

    /// A length of a string or bytes; `None` for null.
    fn length(&mut self, flexible: bool, wide: bool) -> Result<Option<usize>, RecordError> {
        let length = match (flexible, wide) {
            (true, _) => i64::from(self.uvarint()?) - 1,
            (false, true) => i64::from(self.i32()?),
            (false, false) => i64::from(self.i16()?),
        };
        match length {
            -1 => Ok(None),
            _ => usize::try_from(length)
                .map(Some)
                .map_err(|_| RecordError::BadLength),
        }
    }

    pub(crate) fn nullable_string_of(
        &mut self,
        flexible: bool,
    ) -> Result<Option<&'a str>, RecordError> {
        match self.length(flexible, false)? {
            None => Ok(None),
            Some(length) => std::str::from_utf8(self.take(length)?)
                .map(Some)
                .map_err(|_| RecordError::BadString),
        }
    }

    pub(crate) fn string_of(&mut self, flexible: bool) -> Result<&'a str, RecordError> {
        self.nullable_string_of(flexible)?
            .ok_or(RecordError::BadLength)
    }

    pub(crate) fn string(&mut self) -> Result<&'a str, RecordError> {
        self.string_of(false)
    }

    pub(crate) fn compact_string(&mut self) -> Result<&'a str, RecordError> {
        self.string_of(true)
    }

    pub(crate) fn nullable_bytes_of(
        &mut self,
        flexible: bool,
    ) -> Result<Option<&'a [u8]>, RecordError> {
        match self.length(flexible, true)? {
            None => Ok(None),
            Some(length) => self.take(length).map(Some),
        }
    }

    pub(crate) fn bytes_of(&mut self, flexible: bool) -> Result<&'a [u8], RecordError> {
        self.nullable_bytes_of(flexible)?
            .ok_or(RecordError::BadLength)
    }

    /// The number of elements an array claims to have.
    pub(crate) fn count_of(&mut self, flexible: bool) -> Result<usize, RecordError> {
        self.length(flexible, true)?.ok_or(RecordError::BadLength)
    }

    /// The number of elements an array claims to have. `None` for null.
    pub(crate) fn nullable_count_of(
        &mut self,
        flexible: bool,
    ) -> Result<Option<usize>, RecordError> {
        self.length(flexible, true)
    }

    /// Whether the compact array that comes next is null. It is still to be read afterwards.
    pub(crate) fn is_null_array(&self) -> Result<bool, RecordError> {
        self.rest
            .first()
            .map(|&byte| byte == 0)
            .ok_or(RecordError::Truncated)
    }

    /// Reads a compact array. Its count is only a claim of the record, so it sets no capacity.
    pub(crate) fn compact_array<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        let count = self.count_of(true)?;
        let mut elements = Vec::new();
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(elements)
    }

    /// Hands each tagged field's number and bytes to `field`.
    pub(crate) fn tagged_fields(
        &mut self,
        mut field: impl FnMut(u32, &'a [u8]) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let length = self.uvarint()?;
            field(
                tag,
                self.take(usize::try_from(length).map_err(|_| RecordError::BadLength)?)?,
            )?;
        }
        Ok(())
    }
}

/// Writes fields into a growing buffer.
#[derive(Default)]
pub(crate) struct Writer {
    buffer: Vec<u8>,
}

impl Writer {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.buffer
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn uvarint(&mut self, value: u32) {
        put_uvarint(&mut self.buffer, value);
    }

    /// An int32 length or count.
    pub(crate) fn length(&mut self, length: usize) -> Result<(), RecordError> {
        self.i32(i32::try_from(length).map_err(|_| RecordError::BadLength)?);
        Ok(())
    }

    pub(crate) fn string(&mut self, value: &str) -> Result<(), RecordError> {
        let length =
            i16::try_from(value.len()).map_err(|_| RecordError::StringTooLong(value.len()))?;
        self.i16(length);
        self.bytes(value.as_bytes());
        Ok(())
    }

    pub(crate) fn nullable_string(&mut self, value: Option<&str>) -> Result<(), RecordError> {
        match value {
            Some(value) => self.string(value),
            None => {
                self.i16(-1);
                Ok(())
            }
        }
    }

    pub(crate) fn compact_string(&mut self, value: &str) -> Result<(), RecordError> {
        let length =
            u32::try_from(value.len() + 1).map_err(|_| RecordError::StringTooLong(value.len()))?;
        self.uvarint(length);
        self.bytes(value.as_bytes());
        Ok(())
    }

    pub(crate) fn i8(&mut self, value: i8) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn nullable_compact_string(
        &mut self,
        value: Option<&str>,
    ) -> Result<(), RecordError> {
        match value {
            Some(value) => self.compact_string(value),
            None => {
                self.uvarint(0);
                Ok(())
            }
        }
    }

    /// The count of a compact array; its elements follow.
    pub(crate) fn compact_count(&mut self, count: usize) -> Result<(), RecordError> {
        self.uvarint(u32::try_from(count + 1).map_err(|_| RecordError::BadLength)?);
        Ok(())
    }

    /// The tagged fields of a struct that has at most one, with the number 0.
    pub(crate) fn tagged_field(&mut self, field: Option<Self>) -> Result<(), RecordError> {
        self.tagged_fields(&[(0, field.map(Self::finish))])
    }

    /// The tagged fields of a struct, by their numbers in ascending order. Those that are `None` are left out.
    pub(crate) fn tagged_fields(
        &mut self,
        fields: &[(u32, Option<Vec<u8>>)],
    ) -> Result<(), RecordError> {
        let present = || {
            let fields = fields.iter();
            fields.filter_map(|(tag, field)| field.as_ref().map(|field| (*tag, field)))
        };
        self.uvarint(u32::try_from(present().count()).map_err(|_| RecordError::BadLength)?);
        for (tag, field) in present() {
            self.uvarint(tag);
            self.uvarint(u32::try_from(field.len()).map_err(|_| RecordError::BadLength)?);
            self.bytes(field);
        }
        Ok(())
    }
}
