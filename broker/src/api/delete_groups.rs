//! DeleteGroups (key 42), versions 0-3.
//!
//! Deletes empty groups with all their offsets; NON_EMPTY_GROUP and GROUP_ID_NOT_FOUND else. A group that is named
//! several times is answered once. v3 has room for an error's text, which Kafka uses for groups of streams alone.

use coordinators::group::{DeleteGroups, GroupId};
use indexmap::IndexSet;
use protocol_shim::access::Operation;
use protocol_shim::newer::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};

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
