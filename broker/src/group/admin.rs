//! DescribeGroups, ListGroups and DeleteGroups.

use super::{effects::Effects, event::*, record::GroupRecord, reply::*, shard::GroupShard};

/// From this version on clients know GROUP_ID_NOT_FOUND as an answer to a description.
const FIRST_VERSION_KNOWING_GROUP_ID_NOT_FOUND: i16 = 6;
/// What the classic protocol is called among the types of groups.
const CLASSIC: &str = "classic";

impl GroupShard {
    pub(super) fn describe_groups(&self, request: &DescribeGroups) -> Vec<DescribedGroup> {
        let describe = |group_id: &Id| match self.groups.get(group_id) {
            Some(group) => group.describe(),
            None => {
                let known = request.api_version >= FIRST_VERSION_KNOWING_GROUP_ID_NOT_FOUND;
                DescribedGroup {
                    error: known.then_some(GroupError::GroupIdNotFound),
                    error_message: known.then(|| format!("Group {group_id} not found.")),
                    state: "Dead",
                    ..DescribedGroup::named(group_id.clone())
                }
            }
        };
        request.group_ids.iter().map(describe).collect()
    }

    pub(super) fn list_groups(&self, request: &ListGroups) -> ListGroupsReply {
        let passes = |filter: &[String], name: &str| {
            filter.is_empty()
                || filter
                    .iter()
                    .any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
        };
        let groups = self.groups.iter().filter(|(_, group)| {
            passes(&request.states_filter, group.state().name())
                && passes(&request.types_filter, CLASSIC)
        });
        let groups = groups.map(|(group_id, group)| ListedGroup {
            group_id: group_id.clone(),
            protocol_type: group.protocol_type(),
            state: group.state().name(),
            group_type: CLASSIC,
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

    fn delete_group(&mut self, group_id: &Id, effects: &mut Effects) -> Result<(), GroupError> {
        let group = self
            .groups
            .get(group_id)
            .ok_or(GroupError::GroupIdNotFound)?;
        if !group.is_empty() {
            return Err(GroupError::NonEmptyGroup);
        }
        for key in self.offsets.keys_of(group_id) {
            self.append(effects, GroupRecord::Offset { key, value: None });
        }
        self.append(
            effects,
            GroupRecord::Group {
                group_id: group_id.clone(),
                value: None,
            },
        );
        Ok(())
    }
}
