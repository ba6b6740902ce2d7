//! Messages of the APIs that `kafka-protocol` 0.18 does not have in the newest version of Kafka 4.4, in all their
//! versions.
//!
//! They have the names, fields and traits that the crate's have, so that nobody but an import knows where they come from.
//! When the crate has caught up with an API, its file here goes.
//!
//! | API | adds |
//! |---|---|
//! | ListOffsets 11 | a timestamp to ask for (KIP-1023); the messages are those of 10 |
//! | OffsetCommit, OffsetFetch 10 | topic ids in the place of names (KIP-848) |
//! | ApiVersions 5 | whom the client means to speak to (KIP-1242) |
//! | WriteTxnMarkers 2 | the transaction version of a marker (KIP-1228) |
//! | TxnOffsetCommit 6 | topic ids in the place of names (KIP-1319) |
//! | DescribeLogDirs 5 | whether a directory is cordoned |
//! | DeleteGroups 3 | an error's text |

pub mod api_versions;
pub mod delete_groups;
pub mod describe_log_dirs;
pub mod list_offsets;
mod message;
pub mod offset_commit;
pub mod offset_fetch;
pub mod txn_offset_commit;
mod wire;
pub mod write_txn_markers;

pub use api_versions::{ApiVersionsRequest, ApiVersionsResponse};
pub use delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
pub use describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
pub use list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
pub use offset_commit::OffsetCommitRequest;
pub use offset_fetch::OffsetFetchRequest;
pub use txn_offset_commit::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
pub use write_txn_markers::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};

/// The keys of these APIs.
#[cfg(test)]
pub(crate) const API_KEYS: [i16; 8] = [2, 8, 9, 18, 27, 28, 35, 42];

/// What the file of every API takes.
mod prelude {
    pub(super) use std::collections::BTreeMap;
    pub(super) use std::ops::RangeBounds as _;

    pub(super) use anyhow::{Result, ensure};
    pub(super) use bytes::Bytes;
    pub(super) use kafka_protocol::messages::*;
    pub(super) use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
    pub(super) use kafka_protocol::protocol::{
        Decodable, Encodable, HeaderVersion, Message, StrBytes, VersionRange,
    };
    pub(super) use uuid::Uuid;

    pub(super) use super::message::{self, Rules, request, response, structure};
    pub(super) use super::wire::{self, Form, Wire};
    pub(super) use crate::api_spec;
}

#[cfg(test)]
mod tests;
