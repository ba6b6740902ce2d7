//! Requests and answers as frames, taken apart and put together again.

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, Request};
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
};

use crate::records::{position, seal};

/// The request, with its header.
pub(super) fn request<R: Request>(version: i16, frame: &[u8]) -> Result<(RequestHeader, R)> {
    let mut frame = Bytes::copy_from_slice(frame);
    let header = RequestHeader::decode(&mut frame, R::header_version(version))?;
    Ok((header, R::decode(&mut frame, version)?))
}

/// The frame of a request.
pub(super) fn of_request<R: Request>(
    version: i16,
    header: &RequestHeader,
    request: &R,
) -> Result<Vec<u8>> {
    let mut frame = BytesMut::new();
    header.encode(&mut frame, R::header_version(version))?;
    request.encode(&mut frame, version)?;
    Ok(frame.to_vec())
}

/// The frame of the answer to a request.
pub(super) fn of_answer<R: Request>(
    version: i16,
    correlation: i32,
    answer: &R::Response,
) -> Result<Vec<u8>> {
    use kafka_protocol::protocol::HeaderVersion as _;
    let mut frame = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut frame, R::Response::header_version(version))?;
    answer.encode(&mut frame, version)?;
    Ok(frame.to_vec())
}

/// An answer that `change` has changed.
pub(super) fn changed<R: Request>(
    version: i16,
    frame: &[u8],
    change: impl FnOnce(&mut R::Response) -> Result<()>,
) -> Result<Vec<u8>> {
    use kafka_protocol::protocol::HeaderVersion as _;
    let mut frame = Bytes::copy_from_slice(frame);
    let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version))?;
    let mut answer = R::Response::decode(&mut frame, version)?;
    change(&mut answer)?;
    of_answer::<R>(version, header.correlation_id, &answer)
}

/// The batch's first offset.
pub(super) fn base_offset(batch: &[u8]) -> i64 {
    let bytes = batch.first_chunk().copied().unwrap_or_default();
    i64::from_be_bytes(bytes)
}

/// Whether the batch holds a transaction's marker, not data.
pub(super) fn is_control(batch: &[u8]) -> bool {
    const CONTROL: u8 = 1 << 5;
    batch
        .get(position::ATTRIBUTES + 1)
        .is_some_and(|low| low & CONTROL != 0)
}

/// The batch without its records, as compaction leaves it: its offsets are taken, and nothing is there.
pub(super) fn emptied(batch: &[u8]) -> Vec<u8> {
    let mut empty = batch[..position::RECORD_COUNT].to_vec();
    empty.extend_from_slice(&0_i32.to_be_bytes());
    let length = i32::try_from(empty.len() - position::BEHIND_LENGTH).unwrap_or_default();
    empty[position::LENGTH..position::BEHIND_LENGTH].copy_from_slice(&length.to_be_bytes());
    seal(&mut empty);
    empty
}

/// The batch with its records changed.
pub(super) fn rewritten(batch: &[u8], change: impl FnOnce(&mut Vec<Record>)) -> Result<Bytes> {
    let mut decoded = RecordBatchDecoder::decode(&mut Bytes::copy_from_slice(batch))?;
    change(&mut decoded.records);
    let mut encoded = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut encoded, &decoded.records, &options)
        .context("the records fit")?;
    Ok(encoded.freeze())
}
