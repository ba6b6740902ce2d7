//! DescribeGroups, ListGroups and DeleteGroups.

use protocol_shim::ErrorCode;

use crate::allowance::{Allowance, Priced};
use crate::group::any::Group;
use crate::group::effects::Effects;
use crate::group::id::GroupId;
use crate::group::record::GroupRecord;
use crate::group::reply::{
    DeletedGroup, DescribedConsumerGroup, DescribedGroup, ListGroupsReply, ListedGroup, Refusal,
};
use crate::group::request::{DeleteGroups, DescribeConsumerGroups, DescribeGroups, ListGroups};
use crate::group::shard::GroupShard;

/// From this version on clients know GROUP_ID_NOT_FOUND as an answer to a description.
const FIRST_VERSION_KNOWING_GROUP_ID_NOT_FOUND: i16 = 6;

impl GroupShard {
    /// One answer for each mention of a group, in their order.
    pub(super) fn describe_groups(&self, request: &DescribeGroups) -> Vec<DescribedGroup> {
        let describe = |group_id: &GroupId| match self.groups.get(group_id) {
            Some(Group::Classic(group)) => group.describe(),
            other => {
                let why = match other {
                    Some(_) => "is not a classic group",
                    None => "not found",
                };
                let known = request.api_version >= FIRST_VERSION_KNOWING_GROUP_ID_NOT_FOUND;
                DescribedGroup {
                    error: known.then_some(ErrorCode::GroupIdNotFound),
                    error_message: known.then(|| format!("Group {group_id} {why}.")),
                    state: "Dead",
                    ..DescribedGroup::named(group_id.clone())
                }
            }
        };
        let failed = DescribedGroup::failed;
        affordable(&request.group_ids, request.allowance, describe, failed)
    }

    /// One answer for each mention of a group, in their order.
    pub(super) fn describe_consumer_groups(
        &self,
        request: &DescribeConsumerGroups,
    ) -> Vec<DescribedConsumerGroup> {
        let default_assignor = self.config.consumer_default_assignor();
        let describe = |group_id: &GroupId| {
            let group = self.groups.get(group_id);
            let described =
                group.and_then(|group| group.describe_consumer(&*self.catalog, default_assignor));
            described.unwrap_or_else(|| {
                let not_found = |why| {
                    let message = format!("Group {group_id} {why}.");
                    Refusal::new(ErrorCode::GroupIdNotFound, message)
                };
                let refusal = match group {
                    // No member could have joined it.
                    _ if !group_id.is_valid() => Refusal::new(ErrorCode::InvalidGroupId, ""),
                    Some(_) => not_found("is not a consumer group"),
                    None => not_found("not found"),
                };
                DescribedConsumerGroup {
                    refusal: Some(refusal),
                    ..DescribedConsumerGroup::named(group_id.clone())
                }
            })
        };
        let failed = DescribedConsumerGroup::failed;
        affordable(&request.group_ids, request.allowance, describe, failed)
    }

    /// The records that make the log forget a group, but not its offsets.
    pub(super) fn group_tombstones(&self, group_id: &GroupId) -> Vec<GroupRecord> {
        match self.groups.get(group_id) {
            None => Vec::new(),
            Some(Group::Classic(_)) => vec![GroupRecord::Group {
                group_id: group_id.clone(),
                value: None,
            }],
            Some(Group::Consumer(group)) => group
                .tombstones()
                .into_iter()
                .map(|record| GroupRecord::Consumer {
                    group_id: group_id.clone(),
                    record,
                })
                .collect(),
        }
    }

    pub(super) fn list_groups(&self, request: &ListGroups) -> ListGroupsReply {
        let groups = self.groups.iter().filter(|(_, group)| {
            request.states.passes(group.state_name()) && request.types.passes(group.type_name())
        });
        let groups = groups.map(|(group_id, group)| ListedGroup {
            group_id: group_id.clone(),
            protocol_type: group.protocol_type(),
            state: group.state_name(),
            group_type: group.type_name(),
        });
        ListGroupsReply {
            error: None,
            groups: groups.collect(),
        }
    }

    pub(super) fn delete_groups(
        &mut self,
        request: DeleteGroups,
        effects: &mut Effects,
    ) -> Vec<DeletedGroup> {
        let group_ids = request.group_ids.into_iter();
        group_ids
            .map(|group_id| {
                let error = self.delete_group(&group_id, effects).err();
                DeletedGroup { group_id, error }
            })
            .collect()
    }

    fn delete_group(&mut self, group_id: &GroupId, effects: &mut Effects) -> Result<(), ErrorCode> {
        let group = self
            .groups
            .get(group_id)
            .ok_or(ErrorCode::GroupIdNotFound)?;
        if !group.is_empty() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        for key in self.offsets.keys_of(group_id) {
            self.append(effects, GroupRecord::Offset { key, value: None });
        }
        for record in self.group_tombstones(group_id) {
            self.append(effects, record);
        }
        Ok(())
    }
}

/// Describes one group after the other until the answer has become too large. Then the others fail.
fn affordable<D: Priced>(
    group_ids: &[GroupId],
    mut allowance: Allowance,
    describe: impl Fn(&GroupId) -> D,
    failed: impl Fn(GroupId, ErrorCode) -> D,
) -> Vec<D> {
    let mut answer = |group_id: &GroupId| {
        allowance.expect_at_least(1)?;
        let described = describe(group_id);
        allowance.spend(described.price_bytes())?;
        Ok(described)
    };
    group_ids
        .iter()
        .map(|id| answer(id).unwrap_or_else(|error| failed(id.clone(), error)))
        .collect()
}
