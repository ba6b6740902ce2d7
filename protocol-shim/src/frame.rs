//! Length prefixes: a request or response is preceded by its length as a big-endian i32.

/// Width of the length prefix.
pub const LENGTH_BYTES: usize = 4;

/// A length prefix that no frame may have. The connection cannot go on: nothing says where the next frame starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame length {0} is negative")]
    Negative(i32),
    /// The cap is `socket.request.max.bytes`, or `sasl.server.max.receive.size` before authentication.
    #[error("frame of {length_bytes} bytes is larger than the {max_bytes} allowed")]
    TooLarge {
        length_bytes: usize,
        max_bytes: usize,
    },
}

/// The length of the frame that follows `prefix`, at most `max_bytes`. The prefix itself does not count.
///
/// # Errors
/// When the length is negative or above `max_bytes`. Nothing may be allocated for the frame before this is `Ok`.
pub fn frame_length(prefix: [u8; LENGTH_BYTES], max_bytes: usize) -> Result<usize, FrameError> {
    let length = i32::from_be_bytes(prefix);
    let length_bytes = usize::try_from(length).map_err(|_| FrameError::Negative(length))?;
    if length_bytes > max_bytes {
        return Err(FrameError::TooLarge {
            length_bytes,
            max_bytes,
        });
    }
    Ok(length_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_up_to_the_cap_is_accepted() {
        assert_eq!(frame_length([0, 0, 0, 0], 0), Ok(0));
        assert_eq!(frame_length([0, 0, 1, 0], 256), Ok(256));
        assert_eq!(
            frame_length([0x7f, 0xff, 0xff, 0xff], i32::MAX as usize),
            Ok(i32::MAX as usize)
        );
    }

    #[test]
    fn a_length_above_the_cap_is_refused_and_the_error_names_both() {
        let error = frame_length([0, 0, 1, 1], 256).unwrap_err();
        assert_eq!(
            error,
            FrameError::TooLarge {
                length_bytes: 257,
                max_bytes: 256
            }
        );
        assert_eq!(
            error.to_string(),
            "frame of 257 bytes is larger than the 256 allowed"
        );
    }

    #[test]
    fn a_negative_length_is_refused_whatever_the_cap() {
        assert_eq!(
            frame_length([0xff; 4], usize::MAX),
            Err(FrameError::Negative(-1))
        );
        assert_eq!(
            frame_length([0x80, 0, 0, 0], usize::MAX),
            Err(FrameError::Negative(i32::MIN))
        );
    }
}
