//! Refuses bodies that would make the decoder allocate what they claim and not what they hold: requests, and the responses
//! that Ottla's own clients read.
//!
//! The decoder reserves room for as many elements as an array's count says, before it has seen one of them. A
//! count of two billion in a body of four bytes then aborts the process, which nothing can catch. So every body is
//! walked first, against its shape (in its row of [`api_spec`](crate::api_spec)): what the walk accepts is complete and holds every element that it
//! counts.
//!
//! Kafka reads more than the decoder does: text that is not UTF-8, null as any negative length, bytes behind the last
//! field. The walk accepts what Kafka does, and hands on what means the same to the decoder. It allocates nothing unless
//! it has to write something anew.

pub(crate) mod field;
mod response_shapes;

use std::borrow::Cow;

use bytes::Bytes;

use crate::api_spec::ApiSpec;
use crate::primitives::{BadVarint, put_uvarint, take_uvarint};
use crate::text;
use field::{Field, Kind, Shape};

/// Most tagged fields in one struct, as in Kafka 4.4. Its own definitions stay below ten.
pub const MAX_TAGGED_FIELDS: u32 = 10_000;

/// Most elements of arrays, and tagged fields, in one request, all arrays together.
///
/// Three bytes on the wire can become half a kilobyte in memory, so a frame of 100 MiB could otherwise still ask
/// for gigabytes. Kafka 4.4 allows 1,000,000 in each array. A request that names every partition of a very large broker
/// stays below.
pub const MAX_ELEMENTS: usize = 1 << 18;

/// The same of a response. A broker tells of each partition and of each replica of it, and there is one answer at a time.
pub const MAX_RESPONSE_ELEMENTS: usize = 1 << 21;

/// Longest string in bytes, as in Kafka, where a compact length could say more.
pub const MAX_STRING_BYTES: usize = i16::MAX as usize;

/// By how many bytes a request may grow where its text is replaced. Each byte that is not UTF-8 becomes three, so a frame
/// of 100 MiB would otherwise take 300 MiB more than it has paid for.
pub const MAX_GROWTH_BYTES: usize = 8 << 20;

/// A body was refused. Names the place, for the log line; the connection is to be closed or the request answered
/// with INVALID_REQUEST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{api} v{version}: {violation} in {field} at byte {position}")]
pub struct GuardError {
    pub api: &'static str,
    pub version: i16,
    /// Offset in the body of the value that was refused.
    pub position: usize,
    /// Kafka's name of the field in snake case.
    pub field: &'static str,
    pub violation: Violation,
}

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("version outside of {min}..={max}")]
    Version { min: i16, max: i16 },
    #[error("an answer that nobody here reads")]
    Unread,
    #[error("body ends early")]
    TooShort,
    #[error("null where null is not allowed")]
    Null,
    #[error("length {0} beyond the end of the body")]
    Length(usize),
    #[error("{count} elements cannot fit in {remaining} bytes")]
    Count { count: usize, remaining: usize },
    #[error("more than {max} elements in one message")]
    TooManyElements { max: usize },
    #[error("{0} tagged fields, more than {MAX_TAGGED_FIELDS}")]
    TooManyTaggedFields(u32),
    #[error("variable-length integer longer than five bytes or 32 bits")]
    Varint,
    #[error("text of {0} bytes, more than {MAX_STRING_BYTES}")]
    TextTooLong(usize),
    #[error("text that is not UTF-8 and takes {MAX_GROWTH_BYTES} bytes more when replaced")]
    Growth,
}

/// Walks `body` as a request of `spec`'s API in `version`, and gives what the decoder may read.
///
/// That is `body` up to its last field; what follows is ignored, as in Kafka. Where the decoder is stricter than Kafka it is
/// a copy in which that is put right: text that is not UTF-8 (`text.rs`), null, and what marks a struct as present.
///
/// `Ok` promises that the decoder will find every element that any count announces.
///
/// # Errors
/// The first violation, with its place.
pub fn check(spec: &ApiSpec, version: i16, body: &Bytes) -> Result<Bytes, GuardError> {
    check_and_count(spec, version, body).map(|(decodable, _)| decodable)
}

/// Checks a body, and counts the elements of its arrays and its tagged fields.
pub(crate) fn check_and_count(
    spec: &ApiSpec,
    version: i16,
    body: &Bytes,
) -> Result<(Bytes, usize), GuardError> {
    let mut walk = Walk::new(spec, version, body, MAX_ELEMENTS);
    let walked = walk.request(spec);
    walked.map_err(|violation| walk.refuse(spec, violation))?;
    let elements = walk.elements;
    Ok((walk.into_decodable(), elements))
}

/// Walks `body` as an answer of `spec`'s API in `version`, for a client, as [`check`] does for a broker.
///
/// # Errors
/// The first violation, with its place; [`Violation::Unread`] of an API whose answers nobody here reads.
pub fn check_response(spec: &ApiSpec, version: i16, body: &Bytes) -> Result<Bytes, GuardError> {
    let mut walk = Walk::new(spec, version, body, MAX_RESPONSE_ELEMENTS);
    let walked = match response_shapes::shape(spec.api_key) {
        Some(shape) => walk.structure(shape),
        None => Err(Violation::Unread),
    };
    walked.map_err(|violation| walk.refuse(spec, violation))?;
    Ok(walk.into_decodable())
}

/// A position in a body.
struct Walk<'a> {
    body: &'a Bytes,
    position: usize,
    version: i16,
    flexible: bool,
    elements: usize,
    max_elements: usize,
    field: &'static str,
    /// What replaces `body` up to `rewritten_to`. Empty as long as nothing had to be replaced.
    rewritten: Vec<u8>,
    rewritten_to: usize,
}

impl<'a> Walk<'a> {
    fn new(spec: &ApiSpec, version: i16, body: &'a Bytes, max_elements: usize) -> Self {
        Self {
            body,
            position: 0,
            version,
            flexible: spec.is_flexible(version),
            elements: 0,
            max_elements,
            field: "body",
            rewritten: Vec::new(),
            rewritten_to: 0,
        }
    }

    fn refuse(&self, spec: &ApiSpec, violation: Violation) -> GuardError {
        GuardError {
            api: spec.name,
            version: self.version,
            position: self.position,
            field: self.field,
            violation,
        }
    }

    fn request(&mut self, spec: &ApiSpec) -> Result<(), Violation> {
        if !spec.has(self.version) {
            return Err(Violation::Version {
                min: spec.min_version,
                max: spec.max_version,
            });
        }
        self.structure(spec.shape)
    }

    fn into_decodable(mut self) -> Bytes {
        if self.rewritten_to == 0 {
            return self.body.slice(..self.position);
        }
        let rest = &self.body[self.rewritten_to..self.position];
        self.rewritten.extend_from_slice(rest);
        self.rewritten.into()
    }

    /// Puts `replacement` in the place of what was walked over since `start`.
    fn replace(&mut self, start: usize, replacement: &[&[u8]]) -> Result<(), Violation> {
        let kept = &self.body[self.rewritten_to..start];
        self.rewritten.extend_from_slice(kept);
        for part in replacement {
            self.rewritten.extend_from_slice(part);
        }
        self.rewritten_to = self.position;
        if self.rewritten.len() > self.position + MAX_GROWTH_BYTES {
            return Err(Violation::Growth);
        }
        Ok(())
    }

    fn structure(&mut self, shape: Shape) -> Result<(), Violation> {
        for field in shape {
            if field.tag.is_none() && field.is_in(self.version) {
                self.value(field)?;
            }
        }
        if self.flexible {
            self.tagged_fields(shape)
        } else {
            Ok(())
        }
    }

    fn value(&mut self, field: &Field) -> Result<(), Violation> {
        self.field = field.name;
        let nullable = self.version >= field.nullable_since;
        match field.kind {
            Kind::Fixed(width) => self.skip(width),
            Kind::String => self.string(nullable),
            Kind::Bytes => {
                let length = self.length32(nullable)?.unwrap_or(0);
                self.skip(length)
            }
            Kind::Struct(members) => {
                if nullable && !self.is_present()? {
                    return Ok(());
                }
                self.structure(members)
            }
            Kind::FixedArray(width) => {
                let count = self.count(nullable, width)?;
                self.spend(count)?;
                self.skip(count * width)
            }
            Kind::StringArray => {
                let count = self.count(nullable, 1)?;
                self.spend(count)?;
                for _ in 0..count {
                    self.string(false)?;
                }
                Ok(())
            }
            Kind::StructArray(members) => {
                let count = self.count(nullable, 1)?;
                self.spend(count)?;
                for _ in 0..count {
                    self.structure(members)?;
                }
                Ok(())
            }
        }
    }

    /// The tagged-field section that ends every struct of a flexible version (KIP-482).
    ///
    /// A tag that the version has is read by its type, whatever size is told: so do the decoder and Kafka. If it comes
    /// twice, the last one counts.
    fn tagged_fields(&mut self, shape: Shape) -> Result<(), Violation> {
        let count = self.varint()?;
        if count == 0 {
            return Ok(());
        }
        self.field = "tagged_fields";
        if count > MAX_TAGGED_FIELDS {
            return Err(Violation::TooManyTaggedFields(count));
        }
        self.spend(count as usize)?;
        for _ in 0..count {
            self.field = "tagged_fields";
            let tag = self.varint()?;
            let size = self.varint()? as usize;
            if size > self.remaining() {
                return Err(Violation::Length(size));
            }
            let known = shape
                .iter()
                .find(|field| field.tag == Some(tag) && field.is_in(self.version));
            match known {
                None => self.skip(size)?,
                Some(field) => self.value(field)?,
            }
        }
        Ok(())
    }

    fn string(&mut self, nullable: bool) -> Result<(), Violation> {
        let start = self.position;
        let length = if self.flexible {
            self.compact_length(nullable)?
        } else {
            let length = i16::from_be_bytes(self.take()?);
            self.signed_length(i32::from(length), nullable, &[0xff; 2])?
        };
        let Some(length) = length else {
            return Ok(());
        };
        if length > MAX_STRING_BYTES {
            return Err(Violation::TextTooLong(length));
        }
        let bytes_start = self.position;
        self.skip(length)?;
        match text::decode(&self.body[bytes_start..self.position]) {
            Cow::Borrowed(_) => Ok(()),
            Cow::Owned(text) => self.replace_text(start, &text),
        }
    }

    /// Writes a string anew, with its length. Kafka cannot write one of more than [`MAX_STRING_BYTES`] either, be it
    /// into a response or a record.
    fn replace_text(&mut self, start: usize, text: &str) -> Result<(), Violation> {
        let length = i16::try_from(text.len()).map_err(|_| Violation::TextTooLong(text.len()))?;
        if self.flexible {
            let mut prefix = Vec::new();
            put_uvarint(&mut prefix, length as u32 + 1);
            self.replace(start, &[&prefix, text.as_bytes()])
        } else {
            self.replace(start, &[&length.to_be_bytes(), text.as_bytes()])
        }
    }

    /// The count of an array whose elements take at least `min_width` bytes each. Null counts as none.
    fn count(&mut self, nullable: bool, min_width: usize) -> Result<usize, Violation> {
        let Some(count) = self.length32(nullable)? else {
            return Ok(0);
        };
        let remaining = self.remaining();
        if count > remaining / min_width {
            return Err(Violation::Count { count, remaining });
        }
        Ok(count)
    }

    /// The length of bytes or an array; `None` is null.
    fn length32(&mut self, nullable: bool) -> Result<Option<usize>, Violation> {
        if self.flexible {
            self.compact_length(nullable)
        } else {
            let length = i32::from_be_bytes(self.take()?);
            self.signed_length(length, nullable, &[0xff; 4])
        }
    }

    /// A length. To Kafka every negative one is null; to the decoder only -1 is, which `null` stands for.
    fn signed_length(
        &mut self,
        length: i32,
        nullable: bool,
        null: &[u8],
    ) -> Result<Option<usize>, Violation> {
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if !nullable => Err(Violation::Null),
            Err(_) => {
                if length != -1 {
                    self.replace(self.position - null.len(), &[null])?;
                }
                Ok(None)
            }
        }
    }

    /// Compact lengths are one more than the length, 0 is null.
    fn compact_length(&mut self, nullable: bool) -> Result<Option<usize>, Violation> {
        match self.varint()? {
            0 if nullable => Ok(None),
            0 => Err(Violation::Null),
            length => Ok(Some(length as usize - 1)),
        }
    }

    /// A nullable struct is preceded by one byte: 1 present, -1 null. To Kafka every negative one is null and every
    /// other present.
    fn is_present(&mut self) -> Result<bool, Violation> {
        let marker = i8::from_be_bytes(self.take()?);
        let canonical: i8 = if marker < 0 { -1 } else { 1 };
        if marker != canonical {
            self.replace(self.position - 1, &[&canonical.to_be_bytes()])?;
        }
        Ok(canonical > 0)
    }

    fn varint(&mut self) -> Result<u32, Violation> {
        let mut rest = &self.body[self.position..];
        let value = take_uvarint(&mut rest);
        self.position = self.body.len() - rest.len();
        value.map_err(|error| match error {
            BadVarint::Short => Violation::TooShort,
            BadVarint::TooLong => Violation::Varint,
        })
    }

    fn spend(&mut self, elements: usize) -> Result<(), Violation> {
        self.elements += elements;
        let max = self.max_elements;
        if self.elements > max {
            Err(Violation::TooManyElements { max })
        } else {
            Ok(())
        }
    }

    fn remaining(&self) -> usize {
        self.body.len() - self.position
    }

    fn skip(&mut self, length: usize) -> Result<(), Violation> {
        if length > self.remaining() {
            return Err(if length > 16 {
                Violation::Length(length)
            } else {
                Violation::TooShort
            });
        }
        self.position += length;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let bytes = *self.body[self.position..]
            .first_chunk()
            .ok_or(Violation::TooShort)?;
        self.position += N;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
