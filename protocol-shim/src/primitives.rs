//! Kafka's primitive types as bytes, for everything that is coded by hand: headers, Fetch responses, records of metadata
//! and groups.
//!
//! What is read may come from anybody. Nothing here reads past the end, and nothing allocates.

/// Why bytes are no number of a variable length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadVarint {
    #[error("the bytes end before the number does")]
    Short,
    #[error("the number has more than 32 bits")]
    TooLong,
}

/// Takes `N` bytes; `None` if there are fewer.
#[inline]
pub fn take_array<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*bytes)
}

/// Takes `length` bytes; `None` if there are fewer.
#[inline]
pub fn take<'a>(input: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (bytes, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(bytes)
}

/// Takes an unsigned varint (KIP-482): seven bits in each byte, the lowest first.
///
/// # Errors
/// See [`BadVarint`].
#[inline]
pub fn take_uvarint(input: &mut &[u8]) -> Result<u32, BadVarint> {
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28] {
        let [byte] = take_array(input).ok_or(BadVarint::Short)?;
        if shift == 28 && byte > 0x0f {
            break;
        }
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(BadVarint::TooLong)
}

/// Appends an unsigned varint (KIP-482).
#[inline]
pub fn put_uvarint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_that_was_written_is_read_again_and_what_follows_is_left(value: u32, rest: Vec<u8>) {
            let mut bytes = Vec::new();
            put_uvarint(&mut bytes, value);
            let length = bytes.len();
            bytes.extend(&rest);
            let mut input = &bytes[..];
            prop_assert_eq!(take_uvarint(&mut input), Ok(value));
            prop_assert_eq!(input, &rest[..]);
            for cut in 0..length {
                prop_assert_eq!(take_uvarint(&mut &bytes[..cut]), Err(BadVarint::Short));
            }
        }
    }

    #[test]
    fn a_number_of_more_than_32_bits_is_refused() {
        let largest = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(take_uvarint(&mut &largest[..]), Ok(u32::MAX));
        for last in 0x10..=0xff {
            let too_long = [0xff, 0xff, 0xff, 0xff, last, 0];
            assert_eq!(take_uvarint(&mut &too_long[..]), Err(BadVarint::TooLong));
        }
    }

    #[test]
    fn nothing_is_taken_where_there_is_too_little() {
        let mut input = &[1, 2, 3][..];
        assert_eq!(take_array::<4>(&mut input), None);
        assert_eq!(take(&mut input, 4), None);
        assert_eq!(input, [1, 2, 3]);
        assert_eq!(take(&mut input, 2), Some(&[1, 2][..]));
        assert_eq!(take_array(&mut input), Some([3]));
    }
}
