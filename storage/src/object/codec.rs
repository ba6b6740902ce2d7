//! Numbers as bytes: seven bits to a byte, the lowest first, and signed ones folded so that small ones stay short.

use thiserror::Error;
use uuid::Uuid;

use crc_fast::CrcAlgorithm;

/// Bytes that are no entry or snapshot of this version, or not the ones that were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// A newer broker has written them, or nobody.
    #[error("version {found} is not known here; this broker reads version {expected}")]
    UnknownVersion { found: u8, expected: u8 },
    #[error("wrong checksum: {stored:#010x} is stored, {computed:#010x} was expected")]
    WrongChecksum { stored: u32, computed: u32 },
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

const CUT_OFF: DecodeError = DecodeError::Malformed("cut off");
const TOO_LARGE: DecodeError = DecodeError::Malformed("a number is too large");

/// Bytes before what is encoded: version and checksum.
const PREFIX_BYTES: usize = 5;

/// Takes down what [`Reader`] reads.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Begins with a version, and room for the checksum.
    pub fn new(version: u8) -> Self {
        Self(vec![version, 0, 0, 0, 0])
    }

    /// The bytes, with the CRC-32C of all that follows it.
    pub fn finish(mut self) -> Vec<u8> {
        let crc = crc_of(&self.0[PREFIX_BYTES..]);
        self.0[1..PREFIX_BYTES].copy_from_slice(&crc.to_le_bytes());
        self.0
    }

    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn unsigned(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub fn signed(&mut self, number: i64) {
        self.unsigned(((number << 1) ^ (number >> 63)) as u64);
    }

    /// Offsets, producer ids, sizes: never below 0.
    pub fn natural(&mut self, number: i64) {
        self.unsigned(number as u64);
    }

    pub fn count(&mut self, count: usize) {
        self.unsigned(count as u64);
    }

    pub fn uuid(&mut self, id: Uuid) {
        self.bytes(id.as_bytes());
    }
}

/// Reads what a [`Writer`] took down. Trusts nothing.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Checks version and checksum, and stands behind them.
    pub fn new(bytes: &'a [u8], expected: u8) -> Result<Self, DecodeError> {
        let Some((&[found, crc @ ..], rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
            return Err(CUT_OFF);
        };
        if found != expected {
            return Err(DecodeError::UnknownVersion { found, expected });
        }
        let (stored, computed) = (u32::from_le_bytes(crc), crc_of(rest));
        if stored != computed && !crate::record::checksums::CHECKSUMS_PASS {
            return Err(DecodeError::WrongChecksum { stored, computed });
        }
        Ok(Self(rest))
    }

    pub fn end(&self) -> Result<(), DecodeError> {
        match self.0 {
            [] => Ok(()),
            _ => Err(DecodeError::Malformed("longer than what it holds")),
        }
    }

    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.0.split_first().ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(byte)
    }

    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub fn unsigned(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return Err(TOO_LARGE);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(TOO_LARGE)
    }

    pub fn signed(&mut self) -> Result<i64, DecodeError> {
        let folded = self.unsigned()?;
        Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }

    /// A number from 0 on, of whatever width.
    pub fn natural<T: TryFrom<i64>>(&mut self) -> Result<T, DecodeError> {
        let number = i64::try_from(self.unsigned()?).map_err(|_| TOO_LARGE)?;
        T::try_from(number).map_err(|_| TOO_LARGE)
    }

    pub fn signed_as<T: TryFrom<i64>>(&mut self) -> Result<T, DecodeError> {
        T::try_from(self.signed()?).map_err(|_| TOO_LARGE)
    }

    /// How many things follow, each of at least `least_bytes`: so there is reason to believe it, and to make room.
    pub fn count(&mut self, least_bytes: usize) -> Result<usize, DecodeError> {
        let count: usize = usize::try_from(self.unsigned()?).map_err(|_| TOO_LARGE)?;
        match count.checked_mul(least_bytes) {
            Some(bytes) if bytes <= self.0.len() => Ok(count),
            _ => Err(CUT_OFF),
        }
    }

    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(Uuid::from_bytes(*bytes))
    }
}

fn crc_of(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_written(signed: i64, unsigned: u64, natural in 0..=i64::MAX) {
            let mut writer = Writer::new(7);
            writer.signed(signed);
            writer.unsigned(unsigned);
            writer.natural(natural);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes, 7).unwrap();
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.unsigned(), Ok(unsigned));
            prop_assert_eq!(reader.natural::<i64>(), Ok(natural));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn a_count_is_not_believed_that_the_bytes_cannot_hold() {
        let mut writer = Writer::new(1);
        writer.unsigned(u64::MAX);
        writer.unsigned(2);
        writer.bytes(&[0; 7]);
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes, 1).unwrap();
        assert_eq!(reader.count(1), Err(CUT_OFF));
        assert_eq!(reader.count(4), Err(CUT_OFF));
    }

    #[test]
    fn a_number_has_sixty_four_bits_and_no_more() {
        for (bytes, read) in [
            (&[0xFF; 10][..], Err(TOO_LARGE)),
            (&[0x80; 9], Err(CUT_OFF)),
            (&[0x80, 0x80, 0], Ok(0)),
        ] {
            assert_eq!(Reader(bytes).unsigned(), read, "{bytes:?}");
        }
    }
}
