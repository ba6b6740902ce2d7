//! What metrics want to know of all groups, a part at a time: nobody else waits for long.

use std::ops::Bound;

use crate::group::reply::{AssignedTopics, GroupsSurveyed, SurveyedGroup};
use crate::group::request::{SurveyGroups, SurveyPlace};
use crate::group::shard::GroupShard;

impl GroupShard {
    /// Groups in the order of their ids, each with the offsets that it has committed. What does not fit is left to the next
    /// survey; a group may go on there.
    pub(super) fn survey(&self, request: &SurveyGroups) -> GroupsSurveyed {
        let mut left = request.rows_max.max(1);
        let mut groups = Vec::new();
        let place = request.from.as_ref();
        let from = place.map_or(Bound::Unbounded, |place| Bound::Included(&*place.group_id));
        let range = self.groups.range::<str, _>((from, Bound::Unbounded));
        for (group_id, group) in range {
            // The group that was not finished may be gone.
            let told = place.filter(|place| place.is_told && place.group_id == *group_id);
            let goes_on = told.is_some();
            if left == 0 {
                let next = SurveyPlace {
                    group_id: group_id.clone(),
                    is_told: false,
                    after: None,
                };
                return GroupsSurveyed {
                    groups,
                    next: Some(next),
                };
            }
            let mut assigned = AssignedTopics::default();
            if !goes_on {
                left -= 1;
                if request.with_assignments {
                    left = left.saturating_sub(group.member_count());
                    assigned = group.assigned(&*self.catalog);
                }
            }
            let mut after = told.and_then(|place| place.after.clone());
            let mut more = self
                .offsets
                .committed_after(group_id, after.clone())
                .peekable();
            let (mut offsets, mut commits) = (Vec::new(), 0);
            while left > 0
                && let Some((topic, partition, offset, count)) = more.next()
            {
                offsets.push((topic.clone(), partition, offset));
                commits += count;
                left -= 1;
            }
            let all_fit = more.peek().is_none();
            if let Some((topic, partition, _)) = offsets.last() {
                after = Some((topic.clone(), *partition));
            }
            groups.push(SurveyedGroup {
                group_id: group_id.clone(),
                goes_on,
                group_type: group.type_name(),
                state: group.state_name(),
                protocol_type: group.protocol_type(),
                protocol_name: group.stable_protocol(),
                member_count: group.member_count(),
                assigned,
                offsets,
                commits,
            });
            if !all_fit {
                let next = SurveyPlace {
                    group_id: group_id.clone(),
                    is_told: true,
                    after,
                };
                return GroupsSurveyed {
                    groups,
                    next: Some(next),
                };
            }
        }
        GroupsSurveyed { groups, next: None }
    }
}
