//! Request and response headers.
//!
//! Read by hand: the decoder's own entry point panics on less than four bytes.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::api_spec;
use crate::guard::MAX_TAGGED_FIELDS;
use crate::primitives::{BadVarint, take, take_array, take_uvarint};
use crate::text;

/// The header that every request starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    pub api_key: i16,
    /// As the client sent it: perhaps not one that the broker serves.
    pub api_version: i16,
    /// Returned as it is in the response.
    pub correlation_id: i32,
    /// A copy, so that it does not keep the frame alive. Text that is not UTF-8 is replaced, as Kafka does.
    pub client_id: Option<Arc<str>>,
}

/// A frame does not start with a request header. The connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("request header ends early")]
    TooShort,
    /// Whether its header is v1 or v2 is not known, so there is nothing to answer.
    #[error("unknown API key {0}")]
    UnknownApi(i16),
    #[error("request header has malformed tagged fields")]
    TaggedFields,
}

/// Takes the header off a frame (without length prefix) and leaves the body.
///
/// Does not ask whether API and version are served.
///
/// # Errors
/// When the frame is too short, or of an API that no broker listener has.
pub fn parse_request_header(frame: &mut Bytes) -> Result<RequestHeader, HeaderError> {
    let mut input: &[u8] = frame;
    let header = read_request_header(&mut input)?;
    frame.advance(frame.len() - input.len());
    Ok(header)
}

fn read_request_header(input: &mut &[u8]) -> Result<RequestHeader, HeaderError> {
    let api_key = read_i16(input)?;
    let api_version = read_i16(input)?;
    let correlation_id = i32::from_be_bytes(read(input)?);
    let spec = api_spec::spec(api_key).ok_or(HeaderError::UnknownApi(api_key))?;
    // The client id keeps its i16 length in header v2 too: so an old broker can read it (KIP-511).
    // Every negative length is null, as Kafka reads it.
    let client_id = match usize::try_from(read_i16(input)?) {
        Ok(length_bytes) => Some(Arc::from(text::decode(split(input, length_bytes)?))),
        Err(_) => None,
    };
    if spec.request_header_version(api_version) >= 2 {
        skip_tagged_fields(input)?;
    }
    Ok(RequestHeader {
        api_key,
        api_version,
        correlation_id,
        client_id,
    })
}

fn skip_tagged_fields(input: &mut &[u8]) -> Result<(), HeaderError> {
    let count = read_varint(input)?;
    if count > MAX_TAGGED_FIELDS {
        return Err(HeaderError::TaggedFields);
    }
    for _ in 0..count {
        let _tag = read_varint(input)?;
        let size = read_varint(input)?;
        split(input, size as usize)?;
    }
    Ok(())
}

fn read_varint(input: &mut &[u8]) -> Result<u32, HeaderError> {
    take_uvarint(input).map_err(|error| match error {
        BadVarint::Short => HeaderError::TooShort,
        BadVarint::TooLong => HeaderError::TaggedFields,
    })
}

fn read_i16(input: &mut &[u8]) -> Result<i16, HeaderError> {
    Ok(i16::from_be_bytes(read(input)?))
}

fn read<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], HeaderError> {
    take_array(input).ok_or(HeaderError::TooShort)
}

fn split<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], HeaderError> {
    take(input, length).ok_or(HeaderError::TooShort)
}

/// Appends a response header: the correlation id, in v1 followed by no tagged fields.
pub(crate) fn put_response_header(out: &mut Vec<u8>, header_version: i16, correlation_id: i32) {
    out.extend_from_slice(&correlation_id.to_be_bytes());
    if header_version >= 1 {
        out.push(0);
    }
}

#[cfg(test)]
mod tests;
