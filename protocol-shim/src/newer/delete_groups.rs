//! DeleteGroups (key 42), versions 0-3.

use super::prelude::*;

structure! {
    DeleteGroupsRequest {
        groups_names / with_groups_names: Vec<GroupId> [..];
    }
}

request!(42, DeleteGroupsRequest => DeleteGroupsResponse);

structure! {
    DeleteGroupsResponse {
        throttle_time_ms / with_throttle_time_ms: i32 [..];
        results / with_results: Vec<DeletableGroupResult> [..];
    }
}

structure! {
    DeletableGroupResult {
        group_id / with_group_id: GroupId [..];
        error_code / with_error_code: i16 [..];
        error_message / with_error_message: Option<StrBytes> [3.., ignorable];
    }
}

response!(42, DeleteGroupsResponse);
