//! Requests and responses of whatever API, for tests of what holds for all of them.

use std::fmt::Debug;

use anyhow::{Result, anyhow};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::newer::{
    ApiVersionsRequest, ApiVersionsResponse, DeleteGroupsRequest, DeleteGroupsResponse,
    DescribeLogDirsRequest, DescribeLogDirsResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetCommitRequest, OffsetFetchRequest, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
    WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

/// A request or response of some API.
pub trait AnyMessage: Debug {
    /// Encodes it.
    ///
    /// # Errors
    /// The version does not have what is set in it.
    fn encode(&self, version: i16) -> Result<Bytes>;
}

impl<M: Encodable + Debug> AnyMessage for M {
    fn encode(&self, version: i16) -> Result<Bytes> {
        let mut body = BytesMut::with_capacity(self.compute_size(version)?);
        Encodable::encode(self, &mut body, version)?;
        Ok(body.freeze())
    }
}

/// A message that `kafka-protocol` finds by its API.
#[derive(Debug)]
struct OfCrate<K>(K);

impl AnyMessage for OfCrate<RequestKind> {
    fn encode(&self, version: i16) -> Result<Bytes> {
        let mut body = BytesMut::new();
        self.0.encode(&mut body, version)?;
        Ok(body.freeze())
    }
}

impl AnyMessage for OfCrate<ResponseKind> {
    fn encode(&self, version: i16) -> Result<Bytes> {
        let mut body = BytesMut::new();
        self.0.encode(&mut body, version)?;
        Ok(body.freeze())
    }
}

/// Takes the request of an API from `body`, which has passed the guard.
///
/// # Errors
/// It is none.
pub fn decode_request(api_key: i16, version: i16, body: &mut Bytes) -> Result<Box<dyn AnyMessage>> {
    Ok(match key(api_key)? {
        ApiKey::ListOffsets => Box::new(ListOffsetsRequest::decode(body, version)?),
        ApiKey::OffsetCommit => Box::new(OffsetCommitRequest::decode(body, version)?),
        ApiKey::OffsetFetch => Box::new(OffsetFetchRequest::decode(body, version)?),
        ApiKey::ApiVersions => Box::new(ApiVersionsRequest::decode(body, version)?),
        ApiKey::WriteTxnMarkers => Box::new(WriteTxnMarkersRequest::decode(body, version)?),
        ApiKey::TxnOffsetCommit => Box::new(TxnOffsetCommitRequest::decode(body, version)?),
        ApiKey::DescribeLogDirs => Box::new(DescribeLogDirsRequest::decode(body, version)?),
        ApiKey::DeleteGroups => Box::new(DeleteGroupsRequest::decode(body, version)?),
        key => Box::new(OfCrate(RequestKind::decode(key, body, version)?)),
    })
}

/// Takes the response of an API from `body`.
///
/// # Errors
/// It is none.
pub fn decode_response(
    api_key: i16,
    version: i16,
    body: &mut Bytes,
) -> Result<Box<dyn AnyMessage>> {
    Ok(match key(api_key)? {
        ApiKey::ListOffsets => Box::new(ListOffsetsResponse::decode(body, version)?),
        ApiKey::ApiVersions => Box::new(ApiVersionsResponse::decode(body, version)?),
        ApiKey::WriteTxnMarkers => Box::new(WriteTxnMarkersResponse::decode(body, version)?),
        ApiKey::TxnOffsetCommit => Box::new(TxnOffsetCommitResponse::decode(body, version)?),
        ApiKey::DescribeLogDirs => Box::new(DescribeLogDirsResponse::decode(body, version)?),
        ApiKey::DeleteGroups => Box::new(DeleteGroupsResponse::decode(body, version)?),
        key => Box::new(OfCrate(ResponseKind::decode(key, body, version)?)),
    })
}

fn key(api_key: i16) -> Result<ApiKey> {
    ApiKey::try_from(api_key).map_err(|()| anyhow!("no API has key {api_key}"))
}
