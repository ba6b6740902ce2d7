//! How a value lies on the wire, by its type.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use kafka_protocol::messages::{BrokerId, GroupId, ProducerId, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
use uuid::Uuid;

use crate::primitives::put_uvarint;

/// The version of a message that is coded, and whether it has compact lengths and tagged fields (KIP-482).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) version: i16,
    pub(crate) flexible: bool,
}

/// A value of a message.
pub(crate) trait Wire: Sized {
    /// Takes it.
    ///
    /// # Errors
    /// What is there is no such value, or ends early.
    fn read<B: ByteBuf>(input: &mut B, form: Form) -> Result<Self>;

    /// Appends it.
    ///
    /// # Errors
    /// The version does not have it, or it is too long.
    fn write<B: ByteBufMut>(&self, out: &mut B, form: Form) -> Result<()>;

    /// How many bytes [`Wire::write`] appends.
    ///
    /// # Errors
    /// Those of [`Wire::write`].
    fn width(&self, form: Form) -> Result<usize>;
}

macro_rules! numbers {
    ($($type:ty, $inner:ty, $get:ident, $put:ident;)*) => {
        $(impl Wire for $type {
            fn read<B: ByteBuf>(input: &mut B, _form: Form) -> Result<Self> {
                Ok(input.$get()?.into())
            }

            fn write<B: ByteBufMut>(&self, out: &mut B, _form: Form) -> Result<()> {
                out.$put((*self).into());
                Ok(())
            }

            fn width(&self, _form: Form) -> Result<usize> {
                Ok(size_of::<$inner>())
            }
        })*
    };
}

numbers! {
    i8, i8, try_get_i8, put_i8;
    i16, i16, try_get_i16, put_i16;
    i32, i32, try_get_i32, put_i32;
    i64, i64, try_get_i64, put_i64;
    BrokerId, i32, try_get_i32, put_i32;
    ProducerId, i64, try_get_i64, put_i64;
}

impl Wire for bool {
    fn read<B: ByteBuf>(input: &mut B, _form: Form) -> Result<Self> {
        Ok(input.try_get_u8()? != 0)
    }

    fn write<B: ByteBufMut>(&self, out: &mut B, _form: Form) -> Result<()> {
        out.put_u8(u8::from(*self));
        Ok(())
    }

    fn width(&self, _form: Form) -> Result<usize> {
        Ok(1)
    }
}

impl Wire for Uuid {
    fn read<B: ByteBuf>(input: &mut B, _form: Form) -> Result<Self> {
        Ok(Self::from_u128(input.try_get_u128()?))
    }

    fn write<B: ByteBufMut>(&self, out: &mut B, _form: Form) -> Result<()> {
        out.put_slice(self.as_bytes());
        Ok(())
    }

    fn width(&self, _form: Form) -> Result<usize> {
        Ok(size_of::<Self>())
    }
}

impl Wire for Option<StrBytes> {
    fn read<B: ByteBuf>(input: &mut B, form: Form) -> Result<Self> {
        let length = match form.flexible {
            true => read_compact(input)?,
            false => read_signed(i32::from(input.try_get_i16()?))?,
        };
        let text = length.map(|length| input.try_get_bytes(length));
        Ok(text.transpose()?.map(StrBytes::from_utf8).transpose()?)
    }

    fn write<B: ByteBufMut>(&self, out: &mut B, form: Form) -> Result<()> {
        write_text(out, self.as_deref(), form)
    }

    fn width(&self, form: Form) -> Result<usize> {
        text_width(self.as_deref(), form)
    }
}

macro_rules! text {
    ($($type:ty)*) => {
        $(impl Wire for $type {
            fn read<B: ByteBuf>(input: &mut B, form: Form) -> Result<Self> {
                let text = <Option<StrBytes>>::read(input, form)?;
                text.map(Self::from).context(NULL)
            }

            fn write<B: ByteBufMut>(&self, out: &mut B, form: Form) -> Result<()> {
                write_text(out, Some(self), form)
            }

            fn width(&self, form: Form) -> Result<usize> {
                text_width(Some(self), form)
            }
        })*
    };
}

text! { StrBytes GroupId TopicName TransactionalId }

fn write_text<B: ByteBufMut>(out: &mut B, text: Option<&str>, form: Form) -> Result<()> {
    match (text, form.flexible) {
        (None, true) => write_uvarint(out, 0),
        (None, false) => out.put_i16(-1),
        (Some(text), true) => write_uvarint(out, length32(text.len())? + 1),
        (Some(text), false) => out.put_i16(i16::try_from(text.len())?),
    }
    out.put_slice(text.unwrap_or_default().as_bytes());
    Ok(())
}

fn text_width(text: Option<&str>, form: Form) -> Result<usize> {
    let length = text.map_or(0, str::len);
    let prefix = match (text, form.flexible) {
        (_, false) => 2,
        (None, true) => 1,
        (Some(_), true) => uvarint_width(length32(length)? + 1),
    };
    Ok(prefix + length)
}

impl<T: Wire> Wire for Option<Vec<T>> {
    fn read<B: ByteBuf>(input: &mut B, form: Form) -> Result<Self> {
        let count = match form.flexible {
            true => read_compact(input)?,
            false => read_signed(input.try_get_i32()?)?,
        };
        let Some(count) = count else {
            return Ok(None);
        };
        // The guard has seen all elements of a request; nobody has seen those of a response.
        let mut elements = Vec::with_capacity(count.min(input.remaining()));
        for _ in 0..count {
            elements.push(T::read(input, form)?);
        }
        Ok(Some(elements))
    }

    fn write<B: ByteBufMut>(&self, out: &mut B, form: Form) -> Result<()> {
        match self {
            None if form.flexible => write_uvarint(out, 0),
            None => out.put_i32(-1),
            Some(elements) => elements.write(out, form)?,
        }
        Ok(())
    }

    fn width(&self, form: Form) -> Result<usize> {
        match self {
            None => Ok(if form.flexible { 1 } else { 4 }),
            Some(elements) => elements.width(form),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn read<B: ByteBuf>(input: &mut B, form: Form) -> Result<Self> {
        let elements = <Option<Self>>::read(input, form)?;
        elements.context(NULL)
    }

    fn write<B: ByteBufMut>(&self, out: &mut B, form: Form) -> Result<()> {
        let count = length32(self.len())?;
        match form.flexible {
            true => write_uvarint(out, count + 1),
            false => out.put_u32(count),
        }
        self.iter().try_for_each(|element| element.write(out, form))
    }

    fn width(&self, form: Form) -> Result<usize> {
        let count = length32(self.len())?;
        let prefix = match form.flexible {
            true => uvarint_width(count + 1),
            false => 4,
        };
        let widths = self.iter().map(|element| element.width(form));
        Ok(prefix + widths.sum::<Result<usize>>()?)
    }
}

const NULL: &str = "null where null is not allowed";

/// A length of 32 bits, or of 16 made longer. Below zero only null is one.
fn read_signed(length: i32) -> Result<Option<usize>> {
    ensure!(length >= -1, "length {length}");
    Ok(usize::try_from(length).ok())
}

/// A compact length: one more than the length, 0 is null.
fn read_compact<B: ByteBuf>(input: &mut B) -> Result<Option<usize>> {
    Ok((read_uvarint(input)? as usize).checked_sub(1))
}

pub(crate) fn read_uvarint<B: ByteBuf>(input: &mut B) -> Result<u32> {
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = input.try_get_u8()?;
        ensure!(shift < 28 || byte <= 0x0f, "number of more than 32 bits");
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    Ok(value)
}

pub(crate) fn write_uvarint<B: ByteBufMut>(out: &mut B, value: u32) {
    let mut bytes = Vec::with_capacity(5);
    put_uvarint(&mut bytes, value);
    out.put_slice(&bytes);
}

/// Bytes of a number as [`write_uvarint`] writes it.
pub(crate) fn uvarint_width(value: u32) -> usize {
    let bits = 32 - value.leading_zeros();
    bits.div_ceil(7).max(1) as usize
}

/// A length as the wire has it: below 2 GiB.
pub(crate) fn length32(length: usize) -> Result<u32> {
    Ok(u32::try_from(i32::try_from(length)?)?)
}

/// Unknown tagged fields that a decoder has kept, and what they take on the wire.
pub(crate) fn tagged_width(tag: u32, payload: &Bytes) -> Result<usize> {
    let length = payload.len();
    Ok(uvarint_width(tag) + uvarint_width(length32(length)?) + length)
}
