//! ListGroups (key 16), versions 0-5.
//!
//! All groups, filtered by state (v4, KIP-518) and by type (v5, KIP-848).

#![expect(
    clippy::disallowed_methods,
    reason = "leaves out what the client may not describe"
)]

use coordinators::group::ListGroups;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;

use super::{PART_BYTES, wire};
use crate::authorizer::Resource;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: ListGroupsRequest,
) -> Result<ListGroupsResponse, Unaffordable> {
    let call = ListGroups::filtered(
        request.states_filter.iter().map(|state| state.as_str()),
        request.types_filter.iter().map(|kind| kind.as_str()),
    );
    let view = ctx.view();
    let may_describe_all = view.shows(Operation::Describe, Resource::Cluster);
    let may_describe = |group_id: &str| {
        may_describe_all || view.shows(Operation::Describe, Resource::Group(group_id))
    };
    let mut groups = Vec::new();
    // Before the first group is asked for there are no shards, and no groups.
    let Ok(shards) = view.groups().shards() else {
        return Ok(ListGroupsResponse::default());
    };
    for shard in 0..shards.count() {
        let listed = match shards.call_shard(shard, call).await {
            Ok(reply) => reply.error.map_or(Ok(reply.groups), Err),
            Err(error) => Err(error),
        };
        match listed {
            Ok(mut listed) => {
                listed.retain(|group| may_describe(&group.group_id));
                let names = listed.iter().map(|group| 2 * group.group_id.len());
                ctx.pay_for_all(PART_BYTES * listed.len() + names.sum::<usize>())
                    .await?;
                groups.extend(listed.iter().map(|group| {
                    ListedGroup::default()
                        .with_group_id(wire(&group.group_id).into())
                        .with_protocol_type(wire(&group.protocol_type))
                        .with_group_state(state(ctx, group.state))
                        .with_group_type(kind(ctx, group.group_type))
                }));
            }
            // Another broker has it, and is asked as well.
            Err(ErrorCode::NotCoordinator) => {}
            Err(error) => return Ok(ListGroupsResponse::default().with_error_code(error.into())),
        }
    }
    Ok(ListGroupsResponse::default().with_groups(groups))
}

fn state(ctx: &RequestContext, state: &'static str) -> StrBytes {
    StrBytes::from_static_str(if ctx.api_version >= 4 { state } else { "" })
}

fn kind(ctx: &RequestContext, kind: &'static str) -> StrBytes {
    StrBytes::from_static_str(if ctx.api_version >= 5 { kind } else { "" })
}
