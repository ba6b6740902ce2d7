//! AlterPartitionReassignments (key 45), versions 0-1 (KIP-455; KIP-860).
//!
//! Where a partition is follows from which brokers there are: to ask for just those, the leader first, is no error and changes
//! nothing. Any other place is INVALID_REPLICA_ASSIGNMENT. Nothing is ever under way, so that nothing can be cancelled
//! (NO_REASSIGNMENT_IN_PROGRESS).

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
use crate::context::RequestContext;
use crate::metadata::MetadataError;
use crate::net::account::Unaffordable;
use crate::view::{Topic, View};

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
    let brokers = match brokers_of(&view, &request).await {
        Ok(brokers) => brokers,
        Err(error) => {
            return Ok(AlterPartitionReassignmentsResponse::default()
                .with_error_code(error.code().into())
                .with_error_message(Some(wire(&error.to_string()))));
        }
    };
    let may_change_count = request.allow_replication_factor_change;
    let responses = request.topics.into_iter().map(|asked| {
        let topic = view.topic_of_cluster(&asked.name, Operation::Alter).ok();
        let partitions = asked.partitions.iter().map(|partition| {
            let answer = ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index);
            let there = topic.map(|topic| {
                let cluster = view.cluster();
                (
                    topic,
                    cluster.replicas_for(topic.topic_id, partition.partition_index),
                )
            });
            match check(&brokers, there, may_change_count, &asked.name, partition) {
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

/// All brokers, also those that are not there now, if the request names such.
async fn brokers_of(
    view: &View<'_>,
    request: &AlterPartitionReassignmentsRequest,
) -> Result<BTreeSet<i32>, MetadataError> {
    let there: BTreeSet<i32> = view.cluster().broker_ids().collect();
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    let mut named = partitions.flat_map(|partition| partition.replicas.iter().flatten());
    let names_others = named.any(|BrokerId(id)| !there.contains(id));
    let registered = view.metadata().registered(names_others).await?;
    Ok(registered.unwrap_or(there))
}

/// Whether a partition may be where it is wanted; if not, why, as far as Kafka has words for it in them. `there` is the topic,
/// and who has the partition. Of a long name each tells a part.
fn check(
    brokers: &BTreeSet<i32>,
    there: Option<(Topic<'_>, &[i32])>,
    may_change_count: bool,
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
    let (topic, there) = there.ok_or_else(|| unknown(format!("a topic named {name}.")))?;
    if !topic.has_partition(wanted.partition_index) {
        let index = wanted.partition_index;
        return Err(unknown(format!("partition {name}:{index}.")));
    }
    let Some(replicas) = &wanted.replicas else {
        let message = "No partition reassignment is in progress.";
        let message = StrBytes::from_static_str(message);
        return Err((ErrorCode::NoReassignmentInProgress, message));
    };
    let mut asked = BTreeSet::new();
    for &BrokerId(id) in replicas {
        if !brokers.contains(&id) {
            let what = format!("broker {id}, but no such broker is registered.");
            return Err(invalid(what));
        }
        if !asked.insert(id) {
            return Err(invalid(format!("the broker {id} more than once.")));
        }
    }
    if replicas.is_empty() {
        return Err(invalid("an empty replica list.".to_owned()));
    }
    if replicas.iter().map(|id| id.0).eq(there.iter().copied()) {
        return Ok(());
    }
    let (count, before) = (replicas.len(), there.len());
    if count != before && !may_change_count {
        let message = format!("The replication factor is changed from {before} to {count}");
        return Err((ErrorCode::InvalidReplicationFactor, wire(&message)));
    }
    let message = format!(
        "{name}-{} is on the brokers {there:?}, of which the first leads, and cannot be moved: \
         where partitions are follows from which brokers and racks there are.",
        wanted.partition_index
    );
    Err((ErrorCode::InvalidReplicaAssignment, wire(&message)))
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
