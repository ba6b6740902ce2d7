//! From a frame to the API that answers it: one table, one match.

use std::fmt::{self, Write as _};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Encodable;
use protocol_shim::api_spec::{self, Unsupported};
use protocol_shim::decode::{self, DecodeError};
use protocol_shim::encode::{self, EncodeError, ResponseFrame};
use protocol_shim::error_code::ErrorCode;
use protocol_shim::header::{self, HeaderError, RequestHeader};
use tracing::{Level, debug};

use crate::api;
use crate::broker::Broker;
use crate::client_text::client_text;
use crate::context::{ConnectionInfo, RequestContext};
use crate::net::account::Unaffordable;
use crate::net::budget::Share;

/// What an element of a request takes, decoded and in the response: topics, partitions, names.
const ELEMENT_BYTES: usize = 512;
/// A request of so few is not counted.
const FEW_ELEMENTS: usize = 256;

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
    asked_at: Instant,
) -> Result<Pending, RequestError> {
    let request_bytes = frame.len();
    let header = header::parse_request_header(&mut frame)?;
    let body = frame;
    let ctx = RequestContext {
        broker: Arc::clone(broker),
        connection: Arc::clone(connection),
        api_version: header.api_version,
        client_id: header.client_id.clone().unwrap_or_default(),
        request_bytes,
        asked_at,
    };
    let key = match api_spec::served(header.api_key, header.api_version) {
        Ok(spec) => ApiKey::try_from(spec.api_key),
        Err(Unsupported::Version { .. }) if header.api_key == api_spec::API_VERSIONS => {
            let response = decode::api_versions_fallback();
            return Ok(Pending::Ready(encode_in(0, &ctx, &header, &response)?));
        }
        Err(unsupported) => return Err(unsupported.into()),
    };

    let body = decode::check_request(header.api_key, header.api_version, &body)?;
    let elements = hold_elements(broker, connection, body.element_count()).await;

    // With `?`: the handler may refuse to answer.
    macro_rules! answer {
        ($api:ident $($or_refuse:tt)?) => {{
            let request = body.decode()?;
            Ok(Pending::later(async move {
                let response = api::$api::handle(&ctx, request).await$($or_refuse)?;
                encode(&ctx, &header, &response)
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
async fn hold_elements(
    broker: &Broker,
    connection: &ConnectionInfo,
    element_count: usize,
) -> Option<Share> {
    if element_count <= FEW_ELEMENTS {
        return None;
    }
    let mut share = broker.element_budget.share(connection.peer_addr.ip());
    share.grow(element_count * ELEMENT_BYTES).await;
    Some(share)
}

/// Encodes the response to a request.
///
/// # Errors
/// The broker's own mistake; the connection must be closed.
pub fn encode(
    ctx: &RequestContext,
    header: &RequestHeader,
    response: &(impl Encodable + fmt::Debug),
) -> Result<ResponseFrame, RequestError> {
    encode_in(header.api_version, ctx, header, response)
}

fn encode_in(
    version: i16,
    ctx: &RequestContext,
    header: &RequestHeader,
    response: &(impl Encodable + fmt::Debug),
) -> Result<ResponseFrame, RequestError> {
    let (key, correlation_id) = (header.api_key, header.correlation_id);
    let frame = encode::encode_response(key, version, correlation_id, response)?;
    if tracing::enabled!(Level::DEBUG) {
        tell(ctx, header, FirstError::of(response), frame.len());
    }
    Ok(frame)
}

/// One line about a request that has been worked on, at level debug: what somebody's client asks, and what it is told.
pub fn tell(ctx: &RequestContext, header: &RequestHeader, error: ErrorCode, response_bytes: usize) {
    debug!(
        api = api_spec::spec(header.api_key).map_or("unknown", |spec| spec.name),
        version = header.api_version,
        client_id = %client_text(&ctx.client_id),
        peer = %ctx.connection.peer_addr,
        %error,
        ms = ctx.asked_at.elapsed().as_millis() as u64,
        request_bytes = ctx.request_bytes,
        response_bytes,
        "request"
    );
}

/// Finds the first error in the text of a response: they have it at different depths. Only for the log.
#[derive(Default)]
struct FirstError {
    /// What may be the beginning of a field with an error.
    text: String,
    seen_bytes: usize,
    found: i16,
}

/// How much of a response is looked through.
const LOOKED_THROUGH_BYTES: usize = 64 << 10;

impl FirstError {
    fn of(response: &impl fmt::Debug) -> ErrorCode {
        let mut search = Self::default();
        // It is broken off when something is found.
        let _ = write!(search, "{response:?}");
        ErrorCode::from_code(search.found).unwrap_or(ErrorCode::UnknownServerError)
    }
}

impl fmt::Write for FirstError {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        const FIELD: &str = "error_code: ";
        self.seen_bytes += piece.len();
        self.text.push_str(piece);
        while let Some(at) = self.text.find(FIELD) {
            let value = &self.text[at + FIELD.len()..];
            // Its value comes in a piece of its own, and then what ends it.
            let Some(end) = value.find([',', ' ']) else {
                break;
            };
            self.found = value[..end].parse().unwrap_or(0);
            if self.found != 0 {
                return Err(fmt::Error);
            }
            self.text.drain(..at + FIELD.len());
        }
        if !self.text.contains(FIELD) {
            let mut keep_from = self.text.len().saturating_sub(FIELD.len());
            while !self.text.is_char_boundary(keep_from) {
                keep_from += 1;
            }
            self.text.drain(..keep_from);
        }
        match self.seen_bytes < LOOKED_THROUGH_BYTES {
            true => Ok(()),
            false => Err(fmt::Error),
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_response::{
        MetadataResponsePartition, MetadataResponseTopic,
    };
    use kafka_protocol::messages::{FindCoordinatorResponse, MetadataResponse};

    use super::*;

    #[test]
    fn the_first_error_of_a_response_is_found_at_any_depth() {
        let fine = FindCoordinatorResponse::default();
        assert_eq!(FirstError::of(&fine), ErrorCode::None);
        let refused = fine.with_error_code(15);
        assert_eq!(FirstError::of(&refused), ErrorCode::CoordinatorNotAvailable);
        let partition = |error| MetadataResponsePartition::default().with_error_code(error);
        let topic = |errors: &[i16]| {
            MetadataResponseTopic::default()
                .with_partitions(errors.iter().map(|error| partition(*error)).collect())
        };
        let deep = MetadataResponse::default().with_topics(vec![topic(&[0, 0]), topic(&[0, 5, 3])]);
        assert_eq!(FirstError::of(&deep), ErrorCode::LeaderNotAvailable);
        let long = MetadataResponse::default().with_topics(vec![topic(&[0; 100_000])]);
        assert_eq!(FirstError::of(&long), ErrorCode::None);
    }
}
