//! Kafka's primitive types in the flexible encoding (KIP-482), as metadata records have them.

use protocol_shim::primitives;
pub use protocol_shim::primitives::put_uvarint;
use uuid::Uuid;

/// Kafka's limit of a replica set is far below; a count beyond is damage.
const MAX_REPLICAS: u32 = 1024;

/// The bytes do not hold what they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata record is damaged")]
pub struct Damaged;

/// A field of a record.
pub trait Field: Sized {
    fn put(&self, out: &mut Vec<u8>);

    /// # Errors
    /// The input does not begin with such a field.
    fn read(input: &mut Input<'_>) -> Result<Self, Damaged>;

    /// How much of it is text, whose length nobody knows before.
    fn text_bytes(&self) -> usize {
        0
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {
        $(impl Field for $integer {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
                Ok(Self::from_be_bytes(input.array()?))
            }
        })*
    };
}

integers!(i8, i16, i32, i64);

impl Field for f64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        Ok(Self::from_be_bytes(input.array()?))
    }
}

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        Ok(input.array::<1>()? != [0])
    }
}

impl Field for Uuid {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        Ok(Self::from_bytes(input.array()?))
    }
}

impl Field for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(out, self.len());
        out.extend_from_slice(self.as_bytes());
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        Option::read(input)?.ok_or(Damaged)
    }

    fn text_bytes(&self) -> usize {
        self.len()
    }
}

impl Field for Option<String> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Some(text) => text.put(out),
            None => put_uvarint(out, 0),
        }
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let Some(length) = input.uvarint()?.checked_sub(1) else {
            return Ok(None);
        };
        let bytes = input.take(length as usize)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Damaged)?;
        Ok(Some(text.to_owned()))
    }

    fn text_bytes(&self) -> usize {
        self.as_ref().map_or(0, String::len)
    }
}

/// Numbers of brokers.
impl Field for Vec<i32> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(out, self.len());
        self.iter().for_each(|broker| broker.put(out));
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let count = input.uvarint()?.checked_sub(1).ok_or(Damaged)?;
        if count > MAX_REPLICAS {
            return Err(Damaged);
        }
        (0..count).map(|_| input.read()).collect()
    }
}

/// Names. Each takes a byte at least, so damage makes no list that is longer than the input.
impl Field for Vec<String> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(out, self.len());
        self.iter().for_each(|name| name.put(out));
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let count = input.uvarint()?.checked_sub(1).ok_or(Damaged)?;
        (0..count).map(|_| input.read()).collect()
    }

    fn text_bytes(&self) -> usize {
        self.iter().map(|name| size_of::<Self>() + name.len()).sum()
    }
}

/// Bytes that are no text.
impl Field for Vec<u8> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(out, self.len());
        out.extend_from_slice(self);
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let length = input.uvarint()?.checked_sub(1).ok_or(Damaged)?;
        Ok(input.take(length as usize)?.to_vec())
    }

    fn text_bytes(&self) -> usize {
        self.len()
    }
}

/// Compact lengths are one more than what they count; 0 is null.
pub(super) fn put_length(out: &mut Vec<u8>, length: usize) {
    put_uvarint(out, u32::try_from(length + 1).unwrap_or(u32::MAX));
}

/// Reads fields one after the other: never past the end, and it allocates no more than the bytes hold.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// # Errors
    /// There is no such field.
    pub(crate) fn read<F: Field>(&mut self) -> Result<F, Damaged> {
        F::read(self)
    }

    /// # Errors
    /// There are not so many bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        primitives::take(&mut self.0, count).ok_or(Damaged)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        primitives::take_array(&mut self.0).ok_or(Damaged)
    }

    /// # Errors
    /// There is no number of 32 bits.
    pub(crate) fn uvarint(&mut self) -> Result<u32, Damaged> {
        primitives::take_uvarint(&mut self.0).map_err(|_| Damaged)
    }
}
