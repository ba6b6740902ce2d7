//! ListPartitionReassignments (key 46), version 0 (KIP-455).
//!
//! No partition has to be carried from one broker to another: nothing is ever under way.

use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use crate::authorizer::denial;
use crate::context::RequestContext;

pub(crate) async fn handle(
    _ctx: &RequestContext,
    _request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default().with_error_message(None)
}

/// For a client that may not describe the cluster. As in Kafka, what it asked for is told again.
pub(crate) fn refused(
    _ctx: &RequestContext,
    request: &ListPartitionReassignmentsRequest,
    error: ErrorCode,
) -> ListPartitionReassignmentsResponse {
    let asked = request.topics.iter().flatten();
    let topics = asked.map(|asked| {
        let partitions = asked.partition_indexes.iter();
        let partitions = partitions
            .map(|index| OngoingPartitionReassignment::default().with_partition_index(*index));
        OngoingTopicReassignment::default()
            .with_name(asked.name.clone())
            .with_partitions(partitions.collect())
    });
    ListPartitionReassignmentsResponse::default()
        .with_error_code(error.into())
        .with_error_message(Some(StrBytes::from_static_str(denial(error))))
        .with_topics(topics.collect())
}
