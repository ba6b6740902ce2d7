//! Refuses request bodies that would make the decoder allocate what they claim and not what they hold.
//!
//! The decoder reserves room for as many elements as an array's count says, before it has seen one of them. A
//! count of two billion in a body of four bytes then aborts the process, which nothing can catch. So every body is
//! walked first, against its shape (`shapes/`), without allocating: what the walk accepts is complete, holds every
//! element that it counts, and nothing after them.

pub(crate) mod field;
pub(crate) mod shapes;

use crate::api_spec::ApiSpec;
use field::{Field, Kind, Shape};

/// Most tagged fields in one struct. Kafka's own definitions stay below ten.
pub const MAX_TAGGED_FIELDS: u32 = 64;

/// Most strings and structs in arrays, and tagged fields, in one request, all arrays together.
///
/// Three bytes on the wire can become half a kilobyte in memory, so a frame of 100 MiB could otherwise still ask
/// for gigabytes. A request that names every partition of a very large broker stays below.
pub const MAX_ELEMENTS: usize = 1 << 18;

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
    #[error("body ends early")]
    TooShort,
    #[error("{0} bytes left over")]
    TrailingBytes(usize),
    #[error("null where null is not allowed")]
    Null,
    #[error("negative length {0}")]
    NegativeLength(i32),
    #[error("length {0} beyond the end of the body")]
    Length(usize),
    #[error("{count} elements cannot fit in {remaining} bytes")]
    Count { count: usize, remaining: usize },
    #[error("more than {MAX_ELEMENTS} elements in one request")]
    TooManyElements,
    #[error("{0} tagged fields, more than {MAX_TAGGED_FIELDS}")]
    TooManyTaggedFields(u32),
    #[error("tagged field {tag} does not fill its {size} bytes")]
    TaggedFieldSize { tag: u32, size: usize },
    #[error("variable-length integer longer than five bytes or 32 bits")]
    Varint,
    #[error("presence marker {0}, neither 1 nor -1")]
    PresenceMarker(i8),
}

/// Walks `body` as a request of `spec`'s API in `version`.
///
/// `Ok` promises that the decoder will find every element that any count in `body` announces. Strings are not
/// checked for UTF-8: that is the decoder's matter.
///
/// # Errors
/// The first violation, with its place.
pub fn check(spec: &ApiSpec, version: i16, body: &[u8]) -> Result<(), GuardError> {
    let mut walk = Walk {
        body,
        position: 0,
        version,
        flexible: spec.is_flexible(version),
        elements: 0,
        field: "body",
    };
    walk.request(spec).map_err(|violation| GuardError {
        api: spec.name,
        version,
        position: walk.position,
        field: walk.field,
        violation,
    })
}

/// A position in a body. `body` ends where the innermost enclosing tagged field ends.
struct Walk<'a> {
    body: &'a [u8],
    position: usize,
    version: i16,
    flexible: bool,
    elements: usize,
    field: &'static str,
}

impl Walk<'_> {
    fn request(&mut self, spec: &ApiSpec) -> Result<(), Violation> {
        if !spec.has(self.version) {
            return Err(Violation::Version {
                min: spec.min_version,
                max: spec.max_version,
            });
        }
        self.structure(spec.shape)?;
        match self.remaining() {
            0 => Ok(()),
            left => {
                self.field = "body";
                Err(Violation::TrailingBytes(left))
            }
        }
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

    /// The tagged-field section that ends every struct of a flexible version (KIP-482). The decoder reads a tag it
    /// knows by its type and not by its size, so the two must agree.
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
            match shape
                .iter()
                .find(|field| field.tag == Some(tag) && field.is_in(self.version))
            {
                None => self.skip(size)?,
                Some(field) => {
                    let whole = self.body;
                    self.body = &whole[..self.position + size];
                    self.value(field)?;
                    if self.remaining() != 0 {
                        return Err(Violation::TaggedFieldSize { tag, size });
                    }
                    self.body = whole;
                }
            }
        }
        Ok(())
    }

    fn string(&mut self, nullable: bool) -> Result<(), Violation> {
        let length = if self.flexible {
            self.compact_length(nullable)?
        } else {
            signed_length(i32::from(i16::from_be_bytes(self.take()?)), nullable)?
        };
        self.skip(length.unwrap_or(0))
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
            signed_length(i32::from_be_bytes(self.take()?), nullable)
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

    /// A nullable struct is preceded by one byte: 1 present, -1 null.
    fn is_present(&mut self) -> Result<bool, Violation> {
        match i8::from_be_bytes(self.take()?) {
            1 => Ok(true),
            -1 => Ok(false),
            marker => Err(Violation::PresenceMarker(marker)),
        }
    }

    fn varint(&mut self) -> Result<u32, Violation> {
        let [first] = self.take()?;
        if first < 0x80 {
            return Ok(u32::from(first));
        }
        let mut value = u32::from(first & 0x7f);
        for shift in [7, 14, 21, 28] {
            let [byte] = self.take()?;
            if shift == 28 && byte > 0x0f {
                return Err(Violation::Varint);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Violation::Varint)
    }

    fn spend(&mut self, elements: usize) -> Result<(), Violation> {
        self.elements += elements;
        if self.elements > MAX_ELEMENTS {
            Err(Violation::TooManyElements)
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

fn signed_length(length: i32, nullable: bool) -> Result<Option<usize>, Violation> {
    match length {
        -1 if nullable => Ok(None),
        -1 => Err(Violation::Null),
        ..-1 => Err(Violation::NegativeLength(length)),
        0.. => Ok(Some(length as usize)),
    }
}

#[cfg(test)]
mod tests;
