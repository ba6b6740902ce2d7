//! DeleteGroups (key 42), versions 0-2.
//!
//! Deletes empty groups with all their offsets; NON_EMPTY_GROUP and GROUP_ID_NOT_FOUND else. A group that is named
//! several times is answered once.

use coordinators::group::{DeleteGroups, GroupId};
use indexmap::IndexSet;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use protocol_shim::access::Operation;

use super::{PART_BYTES, owned, wire};
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DeleteGroupsRequest,
) -> Result<DeleteGroupsResponse, Unaffordable> {
    ctx.pay(PART_BYTES * request.groups_names.len()).await?;
    let ids: IndexSet<GroupId> = request.groups_names.iter().map(|id| owned(id)).collect();
    let view = ctx.view();
    let groups = ids.iter().map(|id| (view.group(id, Operation::Delete), ()));
    let call = |groups: Vec<(GroupId, ())>, _| DeleteGroups {
        group_ids: groups.into_iter().map(|(id, ())| id).collect(),
    };
    let outcomes = view.groups().call_all(groups.collect(), call).await;
    let results = ids.iter().zip(outcomes).map(|(id, outcome)| {
        let error = outcome.map_or_else(Some, |deleted| deleted.error);
        DeletableGroupResult::default()
            .with_group_id(wire(id).into())
            .with_error_code(error.unwrap_or_default().into())
    });
    Ok(DeleteGroupsResponse::default().with_results(results.collect()))
}
