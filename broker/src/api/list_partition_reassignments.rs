//! ListPartitionReassignments (key 46), version 0 (KIP-455).
//!
//! A partition of a single broker is where it stays: nothing is ever under way.

use kafka_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use crate::context::RequestContext;

pub(crate) async fn handle(
    _ctx: &RequestContext,
    _request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default().with_error_message(None)
}
