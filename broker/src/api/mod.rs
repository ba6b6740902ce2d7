//! One file per API key.
//!
//! Each has `pub async fn handle(ctx: &RequestContext, request: …Request) -> …Response` and opens
//! with its key, versions, behaviour, KIPs and deviations. Wire structs stop here.

pub mod api_versions;
pub mod delete_groups;
pub mod delete_records;
pub mod describe_groups;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

/// A name that outlives its request, copied so that it does not pin the request's frame.
fn owned(name: &StrBytes) -> Arc<str> {
    Arc::from(name.as_str())
}

/// Bytes that outlive their request, copied for the same reason.
fn owned_bytes(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// A name on its way out.
fn wire(name: &str) -> StrBytes {
    StrBytes::from_string(name.to_owned())
}
