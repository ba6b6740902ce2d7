//! What the answers to one request may take in memory.

use protocol_shim::ErrorCode;

/// What the answers to one request may still take in memory.
///
/// A request may name one group thousands of times, or one large group after the other, and each mention has an answer. So
/// answers are counted before they are made, or while they still share with the group what they tell. The first answer that
/// does not fit ends them all: then counting, too, takes time for the request and not for what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    whole_bytes: usize,
    left_bytes: usize,
}

impl Allowance {
    pub fn new(bytes: usize) -> Self {
        Self {
            whole_bytes: bytes,
            left_bytes: bytes,
        }
    }

    /// No limit. For callers that are no clients.
    pub fn unlimited() -> Self {
        Self::new(usize::MAX)
    }

    /// Spends what one answer takes.
    ///
    /// # Errors
    /// COORDINATOR_LOAD_IN_PROGRESS if it does not fit beside those before it: clients ask once more for what was refused so.
    /// UNKNOWN_SERVER_ERROR if it would not fit alone either.
    pub fn spend(&mut self, bytes: usize) -> Result<(), ErrorCode> {
        if let Some(left_bytes) = self.left_bytes.checked_sub(bytes) {
            self.left_bytes = left_bytes;
            return Ok(());
        }
        let error = match bytes > self.whole_bytes {
            true => ErrorCode::UnknownServerError,
            false => ErrorCode::CoordinatorLoadInProgress,
        };
        self.left_bytes = 0;
        Err(error)
    }

    /// Says at once if an answer that takes this much or more will not fit. Spends nothing yet.
    ///
    /// # Errors
    /// As [`spend`](Self::spend).
    pub fn expect_at_least(&mut self, bytes: usize) -> Result<(), ErrorCode> {
        match self.left_bytes {
            0 => Err(ErrorCode::CoordinatorLoadInProgress),
            left_bytes if bytes <= left_bytes => Ok(()),
            _ => self.spend(bytes),
        }
    }
}

/// A part of an answer that knows roughly what it takes: as a reply, as a wire struct, and encoded.
pub trait Priced {
    fn price_bytes(&self) -> usize;
}

/// What a struct takes besides its text, as a reply and on the wire. The tests compare it with the structs.
pub(crate) const STRUCT_BYTES: usize = 256;

/// What a text takes that is shared in the reply, copied into the wire struct, and encoded from there.
pub(crate) fn text_bytes(text: &str) -> usize {
    2 * text.len()
}
