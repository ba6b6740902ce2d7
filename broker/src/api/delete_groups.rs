//! DeleteGroups (key 42), versions 0-2.
//!
//! Deletes empty groups with all their offsets; NON_EMPTY_GROUP and GROUP_ID_NOT_FOUND else.

use std::collections::HashMap;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::{owned, wire};
use crate::context::RequestContext;
use crate::group::{DeleteGroups, GroupError, Id};

pub async fn handle(ctx: &RequestContext, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let ids: Vec<Id> = request.groups_names.iter().map(|id| owned(id)).collect();
    let mut outcomes: HashMap<Id, Option<GroupError>> = HashMap::new();
    for (asked, reply) in ctx
        .broker
        .group_calls(&ids, |group_ids| DeleteGroups { group_ids })
        .await
    {
        match reply {
            Ok(deleted) => outcomes.extend(
                deleted
                    .into_iter()
                    .map(|group| (group.group_id, group.error)),
            ),
            Err(error) => outcomes.extend(asked.into_iter().map(|id| (id, Some(error)))),
        }
    }
    let results = ids
        .iter()
        .map(|id| {
            let error = outcomes
                .get(id)
                .copied()
                .unwrap_or(Some(GroupError::UnknownServerError));
            DeletableGroupResult::default()
                .with_group_id(wire(id).into())
                .with_error_code(GroupError::code_of(error))
        })
        .collect();
    DeleteGroupsResponse::default().with_results(results)
}
