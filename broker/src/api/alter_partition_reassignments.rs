//! AlterPartitionReassignments (key 45), versions 0-1 (KIP-455; KIP-860).
//!
//! Where a partition is follows from which brokers there are: to ask for just those is no error and changes nothing. Any other
//! place is INVALID_REPLICA_ASSIGNMENT. Nothing is ever under way, so that nothing can be cancelled (NO_REASSIGNMENT_IN_PROGRESS).

use std::collections::BTreeSet;

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
use crate::cluster::view::Members;
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
    cluster: &Members,
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
    let exists = |id: i32| cluster.broker_ids().any(|known| known == id);
    let mut asked = BTreeSet::new();
    for &BrokerId(id) in replicas {
        if !exists(id) {
            let what = format!("broker {id}, but no such broker is registered.");
            return Err(invalid(what));
        }
        if !asked.insert(id) {
            return Err(invalid(format!("the broker {id} more than once.")));
        }
    }
    let there = cluster.replicas_for(topic.topic_id, wanted.partition_index);
    match asked {
        asked if asked.is_empty() => Err(invalid("an empty replica list.".to_owned())),
        asked if asked == BTreeSet::from_iter(there.iter().copied()) => Ok(()),
        _ => Err(invalid(format!(
            "others than the brokers {there:?}, which have the partition as long as they are there."
        ))),
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
