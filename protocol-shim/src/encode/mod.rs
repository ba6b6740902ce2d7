//! Typed responses to bytes.

use std::fmt::Debug;

use bytes::Bytes;
use kafka_protocol::protocol::Encodable;

use crate::api_spec;
use crate::error_code::ErrorCode;
use crate::first_error::FirstError;
use crate::frame::LENGTH_BYTES;
use crate::header::put_response_header;

/// A correlation id and, in flexible versions, no tagged fields.
const MAX_HEADER_BYTES: usize = 5;
/// What a Fetch response takes besides records, in most cases.
pub(crate) const USUAL_BYTES: usize = 256;

/// A response cannot be encoded: a mistake of the broker, not of the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("unknown API key {0}")]
    UnknownApi(i16),
    /// Most often a field that the version does not have is set to something else than its default.
    #[error("{api} v{version}: {reason}")]
    Unencodable {
        api: &'static str,
        version: i16,
        reason: String,
    },
    #[error("{api} v{version}: {length_bytes} bytes do not fit in a frame")]
    TooLarge {
        api: &'static str,
        version: i16,
        length_bytes: usize,
    },
}

/// One response as it goes on the wire, length prefix included: parts to be written one after the other, by one
/// vectored write if possible.
#[derive(Debug, Clone, Default)]
pub struct ResponseFrame {
    /// Length prefix, header and the body up to the first shared part.
    head: Bytes,
    /// Shared and inline parts after it. Most responses have none.
    tail: Vec<Bytes>,
    len: usize,
}

impl ResponseFrame {
    /// Bytes with their length and nothing else: a token of SASL outside of Kafka's requests.
    pub fn raw(bytes: &[u8]) -> Self {
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        let head: Bytes = [&length.to_be_bytes()[..], bytes].concat().into();
        Self {
            len: head.len(),
            head,
            tail: Vec::new(),
        }
    }

    /// The parts in the order of writing. None is empty.
    pub fn parts(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.head).chain(&self.tail)
    }

    /// The parts, to be kept or consumed by a writer.
    pub fn into_parts(self) -> impl Iterator<Item = Bytes> {
        std::iter::once(self.head).chain(self.tail)
    }

    /// Bytes on the wire, length prefix included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: even an empty response has a length and a correlation id.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All parts copied into one buffer. For tests and small responses.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.len);
        self.parts().for_each(|part| whole.extend_from_slice(part));
        whole
    }
}

/// A response that can go on the wire.
pub trait Response {
    /// Encodes it, with length prefix and header.
    ///
    /// # Errors
    /// When the version does not have a field that is set, or nobody has the version.
    fn to_frame(
        &self,
        api_key: i16,
        version: i16,
        correlation_id: i32,
    ) -> Result<ResponseFrame, EncodeError>;

    /// The first error that it tells, or none. It costs as much as a line in the log, for which it is meant.
    fn first_error(&self) -> ErrorCode;
}

impl<R: Encodable + Debug> Response for R {
    fn to_frame(
        &self,
        api_key: i16,
        version: i16,
        correlation_id: i32,
    ) -> Result<ResponseFrame, EncodeError> {
        encode_response(api_key, version, correlation_id, self)
    }

    fn first_error(&self) -> ErrorCode {
        FirstError::of(self)
    }
}

/// Encodes `response`, with length prefix and header, into one part.
///
/// # Errors
/// When the version does not have a field that is set, or the crate does not have the version.
pub fn encode_response<R: Encodable>(
    api_key: i16,
    version: i16,
    correlation_id: i32,
    response: &R,
) -> Result<ResponseFrame, EncodeError> {
    // With room for all of it: a buffer that grows holds a large response twice.
    let body_bytes = response.compute_size(version);
    let room = body_bytes.as_ref().copied().unwrap_or(0);
    let mut frame = FrameBuilder::new(api_key, version, correlation_id, room)?;
    body_bytes.map_err(|error| frame.unencodable(error))?;
    // Into a Vec: the same encoder takes four times as long into BytesMut.
    response
        .encode(&mut frame.inline, version)
        .map_err(|error| frame.unencodable(error))?;
    frame.finish()
}

/// Collects a frame: bytes of its own in one buffer, cut where shared bytes go between them.
pub(crate) struct FrameBuilder {
    api: &'static str,
    version: i16,
    pub(crate) inline: Vec<u8>,
    /// Shared bytes, each with its place in `inline`.
    shared: Vec<(usize, Bytes)>,
}

impl FrameBuilder {
    /// Starts a frame: its length, to be filled in, and the response header. There is room for a body of `body_bytes`.
    pub(crate) fn new(
        api_key: i16,
        version: i16,
        correlation_id: i32,
        body_bytes: usize,
    ) -> Result<Self, EncodeError> {
        let spec = api_spec::spec(api_key).ok_or(EncodeError::UnknownApi(api_key))?;
        let mut inline = Vec::with_capacity(LENGTH_BYTES + MAX_HEADER_BYTES + body_bytes);
        inline.extend_from_slice(&[0; LENGTH_BYTES]);
        put_response_header(
            &mut inline,
            spec.response_header_version(version),
            correlation_id,
        );
        Ok(Self {
            api: spec.name,
            version,
            inline,
            shared: Vec::new(),
        })
    }

    /// Puts `bytes` next, without copying them.
    pub(crate) fn share(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.shared.push((self.inline.len(), bytes));
        }
    }

    /// `length` as the wire has it: below 2 GiB.
    pub(crate) fn checked(&self, length: usize) -> Result<u32, EncodeError> {
        match i32::try_from(length) {
            Ok(_) => Ok(length as u32),
            Err(_) => Err(EncodeError::TooLarge {
                api: self.api,
                version: self.version,
                length_bytes: length,
            }),
        }
    }

    pub(crate) fn unencodable(&self, reason: impl ToString) -> EncodeError {
        EncodeError::Unencodable {
            api: self.api,
            version: self.version,
            reason: reason.to_string(),
        }
    }

    /// Writes the length prefix.
    pub(crate) fn finish(mut self) -> Result<ResponseFrame, EncodeError> {
        let len = self.inline.len()
            + self
                .shared
                .iter()
                .map(|(_, bytes)| bytes.len())
                .sum::<usize>();
        let length_bytes = len - LENGTH_BYTES;
        let prefix = self.checked(length_bytes)?;
        self.inline[..LENGTH_BYTES].copy_from_slice(&prefix.to_be_bytes());

        let mut inline = Bytes::from(self.inline);
        let Some(&(first_cut, _)) = self.shared.first() else {
            return Ok(ResponseFrame {
                head: inline,
                tail: Vec::new(),
                len,
            });
        };
        let head = inline.split_to(first_cut);
        let mut tail = Vec::with_capacity(2 * self.shared.len());
        let mut cut = first_cut;
        for (next_cut, bytes) in self.shared {
            if next_cut > cut {
                tail.push(inline.split_to(next_cut - cut));
                cut = next_cut;
            }
            tail.push(bytes);
        }
        if !inline.is_empty() {
            tail.push(inline);
        }
        Ok(ResponseFrame { head, tail, len })
    }
}

#[cfg(test)]
mod tests;
