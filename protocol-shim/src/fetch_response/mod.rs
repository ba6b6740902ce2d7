//! The response of Fetch, encoded without copying a record.
//!
//! The struct of `kafka-protocol` wants the records of a partition in one buffer and copies it. Here they are slices of
//! write-ahead-log chunks and segments, which go to the socket as they are.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api_spec::{self, FETCH};
use crate::encode::{EncodeError, FrameBuilder, Response, ResponseFrame, USUAL_BYTES};
use crate::error_code::ErrorCode;
use crate::primitives::put_uvarint;

/// A Fetch response. Fields that a version does not have are left out of it.
#[derive(Debug, Clone, Default)]
pub struct FetchResponse {
    pub throttle_time_ms: i32,
    /// Of the whole response, since version 7: fetch session errors.
    pub error_code: ErrorCode,
    /// Since version 7; 0 outside of a session.
    pub session_id: i32,
    pub topics: Vec<FetchTopic>,
    /// Since version 16, tagged (KIP-951): where the `current_leader`s are.
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Debug, Clone, Default)]
pub struct FetchTopic {
    /// Up to version 12.
    pub topic: StrBytes,
    /// Since version 13.
    pub topic_id: Uuid,
    pub partitions: Vec<FetchPartition>,
}

/// The default is an answer without an error and without records.
#[derive(Debug, Clone)]
pub struct FetchPartition {
    pub partition_index: i32,
    pub error_code: ErrorCode,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    /// Since version 5.
    pub log_start_offset: i64,
    /// Since version 12, tagged.
    pub diverging_epoch: Option<EpochEndOffset>,
    /// Since version 12, tagged.
    pub current_leader: Option<LeaderIdAndEpoch>,
    /// Since version 12, tagged.
    pub snapshot_id: Option<SnapshotId>,
    /// `None` unless the client reads committed records only.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// Since version 11; -1 is none.
    pub preferred_read_replica: i32,
    /// Whole record batches, in order, cut anywhere.
    pub records: Vec<Bytes>,
}

impl Default for FetchPartition {
    fn default() -> Self {
        Self {
            partition_index: 0,
            error_code: ErrorCode::None,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            snapshot_id: None,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEndOffset {
    pub epoch: i32,
    pub end_offset: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderIdAndEpoch {
    pub leader_id: i32,
    pub leader_epoch: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotId {
    pub end_offset: i64,
    pub epoch: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: StrBytes,
    pub port: i32,
    pub rack: Option<StrBytes>,
}

/// Encodes a Fetch response, with length prefix and header. The records are shared, not copied.
///
/// # Errors
/// When Fetch does not have the version, a string is too long for it, or the frame is 2 GiB or more.
pub fn encode_fetch_response(
    version: i16,
    correlation_id: i32,
    response: &FetchResponse,
) -> Result<ResponseFrame, EncodeError> {
    let spec = api_spec::spec(FETCH).ok_or(EncodeError::UnknownApi(FETCH))?;
    let frame = FrameBuilder::new(FETCH, version, correlation_id, USUAL_BYTES)?;
    if !spec.has(version) {
        return Err(frame.unencodable("version not supported"));
    }
    let mut encoder = Encoder {
        frame,
        version,
        flexible: spec.is_flexible(version),
    };
    encoder.response(response)?;
    encoder.frame.finish()
}

impl Response for FetchResponse {
    /// Shares the records, and does not copy them. `api_key` is Fetch's.
    fn to_frame(
        &self,
        _api_key: i16,
        version: i16,
        correlation_id: i32,
    ) -> Result<ResponseFrame, EncodeError> {
        encode_fetch_response(version, correlation_id, self)
    }

    fn first_error(&self) -> ErrorCode {
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        let mut errors = partitions.map(|partition| partition.error_code);
        match self.error_code {
            ErrorCode::None => errors.find(|error| error.is_error()),
            error => Some(error),
        }
        .unwrap_or(ErrorCode::None)
    }
}

struct Encoder {
    frame: FrameBuilder,
    version: i16,
    flexible: bool,
}

impl Encoder {
    fn response(&mut self, response: &FetchResponse) -> Result<(), EncodeError> {
        self.int32(response.throttle_time_ms);
        if self.version >= 7 {
            self.int16(response.error_code.into());
            self.int32(response.session_id);
        }
        self.length(response.topics.len())?;
        for topic in &response.topics {
            self.topic(topic)?;
        }
        if self.version >= 16 && !response.node_endpoints.is_empty() {
            self.varint(1);
            self.tagged(0, |payload| {
                payload.node_endpoints(&response.node_endpoints)
            })?;
        } else {
            self.no_tagged_fields();
        }
        Ok(())
    }

    fn topic(&mut self, topic: &FetchTopic) -> Result<(), EncodeError> {
        if self.version >= 13 {
            self.frame
                .inline
                .extend_from_slice(topic.topic_id.as_bytes());
        } else {
            self.string(&topic.topic)?;
        }
        self.length(topic.partitions.len())?;
        for partition in &topic.partitions {
            self.partition(partition)?;
        }
        self.no_tagged_fields();
        Ok(())
    }

    fn partition(&mut self, partition: &FetchPartition) -> Result<(), EncodeError> {
        self.int32(partition.partition_index);
        self.int16(partition.error_code.into());
        self.int64(partition.high_watermark);
        self.int64(partition.last_stable_offset);
        if self.version >= 5 {
            self.int64(partition.log_start_offset);
        }
        self.aborted_transactions(partition.aborted_transactions.as_deref())?;
        if self.version >= 11 {
            self.int32(partition.preferred_read_replica);
        }
        self.length(partition.records.iter().map(Bytes::len).sum())?;
        for slice in &partition.records {
            self.frame.share(slice.clone());
        }
        if self.flexible {
            self.partition_tagged_fields(partition)?;
        }
        Ok(())
    }

    fn aborted_transactions(
        &mut self,
        aborted: Option<&[AbortedTransaction]>,
    ) -> Result<(), EncodeError> {
        let Some(aborted) = aborted else {
            self.null_array();
            return Ok(());
        };
        self.length(aborted.len())?;
        for transaction in aborted {
            self.int64(transaction.producer_id);
            self.int64(transaction.first_offset);
            self.no_tagged_fields();
        }
        Ok(())
    }

    fn partition_tagged_fields(&mut self, partition: &FetchPartition) -> Result<(), EncodeError> {
        let FetchPartition {
            diverging_epoch,
            current_leader,
            snapshot_id,
            ..
        } = partition;
        let present = [
            diverging_epoch.is_some(),
            current_leader.is_some(),
            snapshot_id.is_some(),
        ];
        self.varint(present.into_iter().map(u32::from).sum());
        if let Some(diverging) = diverging_epoch {
            self.tagged(0, |payload| {
                payload.int32(diverging.epoch);
                payload.int64(diverging.end_offset);
                payload.no_tagged_fields();
                Ok(())
            })?;
        }
        if let Some(leader) = current_leader {
            self.tagged(1, |payload| {
                payload.int32(leader.leader_id);
                payload.int32(leader.leader_epoch);
                payload.no_tagged_fields();
                Ok(())
            })?;
        }
        if let Some(snapshot) = snapshot_id {
            self.tagged(2, |payload| {
                payload.int64(snapshot.end_offset);
                payload.int32(snapshot.epoch);
                payload.no_tagged_fields();
                Ok(())
            })?;
        }
        Ok(())
    }

    fn node_endpoints(&mut self, endpoints: &[NodeEndpoint]) -> Result<(), EncodeError> {
        self.length(endpoints.len())?;
        for endpoint in endpoints {
            self.int32(endpoint.node_id);
            self.string(&endpoint.host)?;
            self.int32(endpoint.port);
            match &endpoint.rack {
                Some(rack) => self.string(rack)?,
                None => self.varint(0),
            }
            self.no_tagged_fields();
        }
        Ok(())
    }

    /// Writes a tagged field. Its size precedes it, so the payload is written first and moved back by the size's
    /// width: payloads are rare and short.
    fn tagged(
        &mut self,
        tag: u32,
        payload: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.varint(tag);
        let start = self.frame.inline.len();
        payload(self)?;
        let payload = self.frame.inline.split_off(start);
        self.varint(self.frame.checked(payload.len())?);
        self.frame.inline.extend_from_slice(&payload);
        Ok(())
    }

    fn string(&mut self, value: &str) -> Result<(), EncodeError> {
        if self.flexible {
            self.length(value.len())?;
        } else {
            let length = i16::try_from(value.len())
                .map_err(|_| self.frame.unencodable("string is longer than 32767 bytes"))?;
            self.int16(length);
        }
        self.frame.inline.extend_from_slice(value.as_bytes());
        Ok(())
    }

    /// The length of bytes or an array that is not null.
    fn length(&mut self, length: usize) -> Result<(), EncodeError> {
        let length = self.frame.checked(length)?;
        if self.flexible {
            self.varint(length + 1);
        } else {
            self.frame.inline.extend_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    fn null_array(&mut self) {
        if self.flexible {
            self.varint(0)
        } else {
            self.int32(-1)
        }
    }

    fn no_tagged_fields(&mut self) {
        if self.flexible {
            self.frame.inline.push(0);
        }
    }

    fn varint(&mut self, value: u32) {
        put_uvarint(&mut self.frame.inline, value);
    }

    fn int16(&mut self, value: i16) {
        self.frame.inline.extend_from_slice(&value.to_be_bytes());
    }

    fn int32(&mut self, value: i32) {
        self.frame.inline.extend_from_slice(&value.to_be_bytes());
    }

    fn int64(&mut self, value: i64) {
        self.frame.inline.extend_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
