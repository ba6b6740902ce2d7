//! AlterPartitionReassignments (key 45), versions 0-1 (KIP-455; KIP-860).
//!
//! A partition is on the one broker, where it stays: to ask for that is no error and changes nothing. Any other place is
//! INVALID_REPLICA_ASSIGNMENT. Nothing is ever under way, so that nothing can be cancelled (NO_REASSIGNMENT_IN_PROGRESS).

use kafka_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;

use super::wire;
use crate::authorizer::denial;
use crate::client_text::client_text;
use crate::cluster::view::ClusterView;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;
use crate::view::Topic;

/// What the answer for one partition or topic takes, as a struct and encoded, its text included, and without its name.
const RESULT_BYTES: usize = 768;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: AlterPartitionReassignmentsRequest,
) -> Result<AlterPartitionReassignmentsResponse, Unaffordable> {
    let asked = request.topics.iter();
    let asked = asked.map(|topic| 1 + topic.partitions.len());
    ctx.pay(asked.sum::<usize>() * RESULT_BYTES + ctx.request_bytes)
        .await?;
    let view = ctx.view();
    let responses = request.topics.into_iter().map(|asked| {
        let topic = view.topic_of_cluster(&asked.name, Operation::Alter).ok();
        let partitions = asked.partitions.iter().map(|partition| {
            let answer = ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index);
            match check(view.cluster(), topic, &asked.name, partition) {
                Ok(()) => answer.with_error_message(None),
                Err((error, message)) => answer
                    .with_error_code(error.into())
                    .with_error_message(Some(message)),
            }
        });
        ReassignableTopicResponse::default()
            .with_partitions(partitions.collect())
            .with_name(asked.name)
    });
    let response = AlterPartitionReassignmentsResponse::default()
        .with_error_message(None)
        .with_responses(responses.collect());
    Ok(match ctx.api_version {
        0 => response,
        _ => response.with_allow_replication_factor_change(request.allow_replication_factor_change),
    })
}

/// Whether a partition may be where it is wanted; if not, why, in Kafka's words. Of a long name each tells a part.
fn check(
    cluster: &ClusterView,
    topic: Option<Topic<'_>>,
    name: &str,
    wanted: &ReassignablePartition,
) -> Result<(), (ErrorCode, StrBytes)> {
    let name = client_text(name);
    let unknown = |message: String| {
        let message = format!("Unable to find {message}");
        (ErrorCode::UnknownTopicOrPartition, wire(&message))
    };
    let invalid = |message: String| {
        let message = format!("The manual partition assignment includes {message}");
        (ErrorCode::InvalidReplicaAssignment, wire(&message))
    };
    let topic = topic.ok_or_else(|| unknown(format!("a topic named {name}.")))?;
    if !topic.has_partition(wanted.partition_index) {
        let index = wanted.partition_index;
        return Err(unknown(format!("partition {name}:{index}.")));
    }
    let Some(replicas) = &wanted.replicas else {
        let message = "No partition reassignment is in progress.";
        let message = StrBytes::from_static_str(message);
        return Err((ErrorCode::NoReassignmentInProgress, message));
    };
    let exists = |id: &BrokerId| cluster.broker_ids().any(|known| known == id.0);
    match replicas.as_slice() {
        [] => Err(invalid("an empty replica list.".to_owned())),
        [only] if exists(only) => Ok(()),
        [first, ..] => Err(invalid(match replicas.iter().find(|id| !exists(id)) {
            Some(id) => format!("broker {}, but no such broker is registered.", id.0),
            None => format!("the broker {} more than once.", first.0),
        })),
    }
}

/// For a client that may not alter the cluster.
pub(crate) fn refused(
    _ctx: &RequestContext,
    request: &AlterPartitionReassignmentsRequest,
    error: ErrorCode,
) -> AlterPartitionReassignmentsResponse {
    let message = || Some(StrBytes::from_static_str(denial(error)));
    let responses = request.topics.iter().map(|asked| {
        let partitions = asked.partitions.iter().map(|partition| {
            ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error.into())
                .with_error_message(message())
        });
        ReassignableTopicResponse::default()
            .with_name(asked.name.clone())
            .with_partitions(partitions.collect())
    });
    AlterPartitionReassignmentsResponse::default()
        .with_error_code(error.into())
        .with_error_message(message())
        .with_responses(responses.collect())
}
