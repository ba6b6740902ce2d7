//! One file per API key.
//!
//! Each has `pub async fn handle(ctx: &RequestContext, request: …Request) -> …Response` and opens
//! with its key, versions, behaviour, KIPs and deviations. Wire structs stop here.

pub mod alter_configs;
pub mod api_versions;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_acls;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_acls;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_delegation_token;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod describe_transactions;
pub mod describe_user_scram_credentials;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod list_transactions;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;

#[cfg(test)]
mod admin_tests;

use std::sync::Arc;

use bytes::Bytes;
use coordinators::group::{GroupError, Priced};
use kafka_protocol::protocol::StrBytes;

use crate::context::RequestContext;
use crate::net::account::Unaffordable;

/// Why nothing can be done about ACLs; in Kafka's words.
const NO_AUTHORIZER: StrBytes = StrBytes::from_static_str("No Authorizer is configured.");

/// A name that outlives its request, copied so that it does not pin the request's frame.
fn owned(name: &StrBytes) -> Arc<str> {
    Arc::from(name.as_str())
}

/// Bytes that outlive their request, copied for the same reason.
fn owned_bytes(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// What one part of an answer takes, as a struct and encoded, besides what it tells: a group, a member, a partition.
const PART_BYTES: usize = 256;

/// Pays for the answers to a request that names groups, which may be one group again and again.
async fn pay_for_groups<R: Priced>(
    ctx: &RequestContext,
    outcomes: &[Result<R, GroupError>],
) -> Result<(), Unaffordable> {
    let prices = outcomes.iter().flatten().map(Priced::price_bytes);
    ctx.pay(prices.sum()).await
}

/// A client's reason (KIP-800), as much of it as Kafka keeps.
fn reason(text: &StrBytes) -> Box<str> {
    const MAX_CHARS: usize = 255;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => text[..end].into(),
        None => text.as_str().into(),
    }
}

/// A name on its way out.
fn wire(name: &str) -> StrBytes {
    StrBytes::from_string(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_kept_to_255_characters_whatever_their_width() {
        let kept = |text: &str| reason(&StrBytes::from_string(text.to_owned())).len();
        assert_eq!(kept("short"), 5);
        assert_eq!(kept(&"x".repeat(255)), 255);
        assert_eq!(kept(&"x".repeat(20_000)), 255);
        assert_eq!(kept(&"€".repeat(20_000)), 3 * 255);
    }
}
