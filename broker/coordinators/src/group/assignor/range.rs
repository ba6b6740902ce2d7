//! The `range` assignor: neighbouring partitions to each member, the same runs in topics of the same size.

use std::collections::BTreeMap;

use crate::group::assignor::spec::{Partitions, Spec};
use crate::group::id::MemberId;

/// Members with an instance id come first, in the order of their instance ids. The others follow in the order of their
/// member ids. So a static member that comes back under a new id gets the same runs.
pub(super) fn assign(spec: &Spec<'_>) -> BTreeMap<MemberId, Partitions> {
    let mut order: Vec<&MemberId> = spec.members.keys().collect();
    order.sort_by_key(|id| {
        let instance_id = spec.members[*id].instance_id;
        (instance_id.is_none(), instance_id, *id)
    });
    let mut assignment: Vec<Partitions> = vec![Partitions::new(); order.len()];
    for pool in spec.pools(&order) {
        for topic_id in pool.topics {
            let partition_count = usize::try_from(spec.partition_counts[&topic_id]).unwrap_or(0);
            let quota = partition_count / pool.subscribers.len();
            let with_one_more = partition_count % pool.subscribers.len();
            let mut partitions = 0..;
            for (position, &member) in pool.subscribers.iter().enumerate() {
                let count = quota + usize::from(position < with_one_more);
                if count == 0 {
                    break;
                }
                let run = partitions.by_ref().take(count).collect();
                assignment[member].insert(topic_id, run);
            }
        }
    }
    order.into_iter().cloned().zip(assignment).collect()
}
