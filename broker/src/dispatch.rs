//! From a frame to the API that answers it: one table, one match.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Encodable;
use protocol_shim::api_spec::{self, Unsupported};
use protocol_shim::decode::{self, DecodeError};
use protocol_shim::encode::{self, EncodeError, ResponseFrame};
use protocol_shim::header::{self, HeaderError, RequestHeader};

use crate::api;
use crate::broker::Broker;
use crate::context::{ConnectionInfo, RequestContext};
use crate::net::account::Unaffordable;

/// A response in its place in the connection's order.
pub enum Pending {
    Ready(ResponseFrame),
    /// Stage 2: waits for the outcome, then encodes it. An error closes the connection.
    Later(Pin<Box<dyn Future<Output = Result<ResponseFrame, RequestError>> + Send>>),
    /// Produce with acks=0.
    NoResponse,
}

impl Pending {
    pub fn later(
        response: impl Future<Output = Result<ResponseFrame, RequestError>> + Send + 'static,
    ) -> Self {
        Self::Later(Box::pin(response))
    }
}

/// A request that gets no response: the connection is closed, as Kafka does.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// How Kafka tells a producer that waits for no answer.
    #[error("produce with acks=0 failed: {0}")]
    UnacknowledgedProduce(String),
    #[error(transparent)]
    Unaffordable(#[from] Unaffordable),
    /// The broker's own mistake.
    #[error("cannot encode a response: {0}")]
    Encode(#[from] EncodeError),
}

/// Stage 1 of a request: decodes it and starts it. Called in the order of a connection's requests.
///
/// Only Produce does more than decode here; everything else runs when its turn to be answered
/// comes, one after the other, as on a Kafka connection.
///
/// # Errors
/// When nothing sensible can be answered; the connection must be closed.
pub async fn dispatch(
    broker: &Arc<Broker>,
    connection: &Arc<ConnectionInfo>,
    mut frame: Bytes,
) -> Result<Pending, RequestError> {
    let request_bytes = frame.len();
    let header = header::parse_request_header(&mut frame)?;
    let body = frame;
    let key = match api_spec::served(header.api_key, header.api_version) {
        Ok(spec) => ApiKey::try_from(spec.api_key),
        Err(Unsupported::Version { .. }) if header.api_key == api_spec::API_VERSIONS => {
            let response = decode::api_versions_fallback();
            return Ok(Pending::Ready(encode(0, &header, &response)?));
        }
        Err(unsupported) => return Err(unsupported.into()),
    };
    let ctx = RequestContext {
        broker: Arc::clone(broker),
        connection: Arc::clone(connection),
        api_version: header.api_version,
        client_id: header.client_id.clone().unwrap_or_default(),
        request_bytes,
    };

    // With `?`: the handler may refuse to answer.
    macro_rules! answer {
        ($api:ident $($or_refuse:tt)?) => {{
            let request = decode::decode_request(header.api_key, header.api_version, body)?;
            Ok(Pending::later(async move {
                let response = api::$api::handle(&ctx, request).await$($or_refuse)?;
                encode(header.api_version, &header, &response)
            }))
        }};
    }

    match key {
        Ok(ApiKey::Produce) => api::produce::start(ctx, header, body).await,
        Ok(ApiKey::Fetch) => api::fetch::start(ctx, header, body),
        Ok(ApiKey::ApiVersions) => answer!(api_versions),
        Ok(ApiKey::ListOffsets) => answer!(list_offsets),
        Ok(ApiKey::Metadata) => answer!(metadata),
        Ok(ApiKey::OffsetForLeaderEpoch) => answer!(offset_for_leader_epoch),
        Ok(ApiKey::InitProducerId) => answer!(init_producer_id),
        Ok(ApiKey::DeleteRecords) => answer!(delete_records),
        Ok(ApiKey::FindCoordinator) => answer!(find_coordinator),
        Ok(ApiKey::JoinGroup) => answer!(join_group),
        Ok(ApiKey::SyncGroup) => answer!(sync_group),
        Ok(ApiKey::Heartbeat) => answer!(heartbeat),
        Ok(ApiKey::LeaveGroup) => answer!(leave_group),
        Ok(ApiKey::ConsumerGroupHeartbeat) => answer!(consumer_group_heartbeat),
        Ok(ApiKey::ConsumerGroupDescribe) => answer!(consumer_group_describe),
        Ok(ApiKey::OffsetCommit) => answer!(offset_commit),
        Ok(ApiKey::OffsetFetch) => answer!(offset_fetch),
        Ok(ApiKey::OffsetDelete) => answer!(offset_delete),
        Ok(ApiKey::DescribeGroups) => answer!(describe_groups),
        Ok(ApiKey::ListGroups) => answer!(list_groups),
        Ok(ApiKey::DeleteGroups) => answer!(delete_groups),
        Ok(ApiKey::CreateTopics) => answer!(create_topics),
        Ok(ApiKey::DeleteTopics) => answer!(delete_topics),
        Ok(ApiKey::CreatePartitions) => answer!(create_partitions),
        Ok(ApiKey::DescribeConfigs) => answer!(describe_configs),
        Ok(ApiKey::AlterConfigs) => answer!(alter_configs),
        Ok(ApiKey::IncrementalAlterConfigs) => answer!(incremental_alter_configs),
        Ok(ApiKey::ListConfigResources) => answer!(list_config_resources),
        Ok(ApiKey::DescribeCluster) => answer!(describe_cluster),
        Ok(ApiKey::DescribeTopicPartitions) => answer!(describe_topic_partitions),
        Ok(ApiKey::DescribeLogDirs) => answer!(describe_log_dirs),
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
    }
}

/// Encodes a response in `version`.
///
/// # Errors
/// The broker's own mistake; the connection must be closed.
pub fn encode(
    version: i16,
    header: &RequestHeader,
    response: &impl Encodable,
) -> Result<ResponseFrame, RequestError> {
    let (key, correlation_id) = (header.api_key, header.correlation_id);
    Ok(encode::encode_response(
        key,
        version,
        correlation_id,
        response,
    )?)
}
