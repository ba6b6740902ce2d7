//! From a frame to the API that answers it: one table, one match.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use protocol_shim::api_spec::{self, Unsupported};
use protocol_shim::decode;
use protocol_shim::header;

use crate::api;
use crate::broker::Broker;
use crate::context::RequestContext;
use crate::net::budget::Share;
use crate::net::session::Session;
use crate::response::{self, Pending, RequestError};

/// What an element of a request takes, decoded and in the response: topics, partitions, names.
const ELEMENT_BYTES: usize = 512;
/// A request of so few is not counted.
const FEW_ELEMENTS: usize = 256;

/// Stage 1 of a request: decodes it and starts it. Called in the order of a connection's requests.
///
/// Only Produce does more than decode here; everything else runs when its turn to be answered
/// comes, one after the other, as on a Kafka connection.
///
/// # Errors
/// When nothing sensible can be answered; the connection must be closed.
pub async fn dispatch(
    broker: &Arc<Broker>,
    session: &Arc<Session>,
    mut frame: Bytes,
    asked_at: Instant,
) -> Result<Pending, RequestError> {
    let request_bytes = frame.len();
    let header = header::parse_request_header(&mut frame)?;
    let body = frame;
    let ctx = RequestContext {
        broker: Arc::clone(broker),
        session: Arc::clone(session),
        api_version: header.api_version,
        client_id: header.client_id.clone().unwrap_or_default(),
        request_bytes,
        asked_at,
    };
    let key = match api_spec::served(header.api_key, header.api_version) {
        Ok(spec) => ApiKey::try_from(spec.api_key),
        Err(Unsupported::Version { .. }) if header.api_key == api_spec::API_VERSIONS => {
            let response = decode::api_versions_fallback();
            return Ok(Pending::Ready(response::encode_in(
                0, &ctx, &header, &response,
            )?));
        }
        Err(unsupported) => return Err(unsupported.into()),
    };

    let body = decode::check_request(header.api_key, header.api_version, &body)?;
    let elements = hold_elements(broker, session, body.element_count()).await;

    // With `?`: the handler may refuse to answer.
    macro_rules! answer {
        ($api:ident $($or_refuse:tt)?) => {{
            let request = body.decode()?;
            Ok(Pending::later(async move {
                let response = api::$api::handle(&ctx, request).await$($or_refuse)?;
                response::encode(&ctx, &header, &response)
            }))
        }};
    }

    let pending = match key {
        Ok(ApiKey::Produce) => api::produce::start(ctx, header, body).await,
        Ok(ApiKey::Fetch) => api::fetch::start(ctx, header, body),
        Ok(ApiKey::ApiVersions) => answer!(api_versions),
        Ok(ApiKey::ListOffsets) => answer!(list_offsets),
        Ok(ApiKey::Metadata) => answer!(metadata?),
        Ok(ApiKey::OffsetForLeaderEpoch) => answer!(offset_for_leader_epoch),
        Ok(ApiKey::InitProducerId) => answer!(init_producer_id),
        Ok(ApiKey::DeleteRecords) => answer!(delete_records),
        Ok(ApiKey::FindCoordinator) => answer!(find_coordinator?),
        Ok(ApiKey::JoinGroup) => answer!(join_group?),
        Ok(ApiKey::SyncGroup) => answer!(sync_group?),
        Ok(ApiKey::Heartbeat) => answer!(heartbeat),
        Ok(ApiKey::LeaveGroup) => answer!(leave_group?),
        Ok(ApiKey::ConsumerGroupHeartbeat) => answer!(consumer_group_heartbeat),
        Ok(ApiKey::ConsumerGroupDescribe) => answer!(consumer_group_describe?),
        Ok(ApiKey::OffsetCommit) => answer!(offset_commit?),
        Ok(ApiKey::OffsetFetch) => answer!(offset_fetch?),
        Ok(ApiKey::OffsetDelete) => answer!(offset_delete?),
        Ok(ApiKey::DescribeGroups) => answer!(describe_groups?),
        Ok(ApiKey::ListGroups) => answer!(list_groups?),
        Ok(ApiKey::DeleteGroups) => answer!(delete_groups?),
        Ok(ApiKey::CreateTopics) => answer!(create_topics),
        Ok(ApiKey::DeleteTopics) => answer!(delete_topics),
        Ok(ApiKey::CreatePartitions) => answer!(create_partitions),
        Ok(ApiKey::DescribeConfigs) => answer!(describe_configs?),
        Ok(ApiKey::AlterConfigs) => answer!(alter_configs),
        Ok(ApiKey::IncrementalAlterConfigs) => answer!(incremental_alter_configs),
        Ok(ApiKey::ListConfigResources) => answer!(list_config_resources),
        Ok(ApiKey::DescribeCluster) => answer!(describe_cluster),
        Ok(ApiKey::DescribeTopicPartitions) => answer!(describe_topic_partitions?),
        Ok(ApiKey::DescribeLogDirs) => answer!(describe_log_dirs?),
        Ok(ApiKey::ElectLeaders) => answer!(elect_leaders?),
        Ok(ApiKey::ListPartitionReassignments) => answer!(list_partition_reassignments),
        Ok(ApiKey::DescribeQuorum) => answer!(describe_quorum?),
        Ok(ApiKey::DescribeProducers) => answer!(describe_producers?),
        Ok(ApiKey::DescribeTransactions) => answer!(describe_transactions?),
        Ok(ApiKey::ListTransactions) => answer!(list_transactions),
        Ok(ApiKey::DescribeAcls) => answer!(describe_acls),
        Ok(ApiKey::CreateAcls) => answer!(create_acls?),
        Ok(ApiKey::DeleteAcls) => answer!(delete_acls?),
        Ok(ApiKey::DescribeDelegationToken) => answer!(describe_delegation_token),
        Ok(ApiKey::DescribeClientQuotas) => answer!(describe_client_quotas),
        Ok(ApiKey::DescribeUserScramCredentials) => answer!(describe_user_scram_credentials?),
        _ => Err(Unsupported::Api {
            api_key: header.api_key,
        }
        .into()),
    };
    Ok(match (pending?, elements) {
        (Pending::Later(response), Some(elements)) => Pending::later(async move {
            let response = response.await;
            drop(elements);
            response
        }),
        (pending, _) => pending,
    })
}

/// Waits for the memory of a request that names many things, before it is decoded.
async fn hold_elements(broker: &Broker, session: &Session, element_count: usize) -> Option<Share> {
    if element_count <= FEW_ELEMENTS {
        return None;
    }
    let mut share = broker.element_budget.share(session.peer_addr.ip());
    share.grow(element_count * ELEMENT_BYTES).await;
    Some(share)
}
