//! How a member gets from what it has to its target, one heartbeat at a time.
//!
//! ```text
//!                       has to give something up
//!       Stable ---------------------------------------> UnrevokedPartitions
//!         ^  \                                            |            |
//!         |   \ target has partitions of others           | given up   | given up, target has
//!         |    v                                          |            | partitions of others
//!         +-- UnreleasedPartitions <----------------------+------------+
//!          all of them are free
//! ```
//!
//! A member takes the target's epoch only when it has given up what it must not keep. What it gets, it gets at that epoch.
//! Kafka's `CurrentAssignmentBuilder` is the model.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::group::assignor::spec::Partitions;
use crate::group::record::consumer_member::{Assigned, CurrentAssignment, MemberState};

/// What a member says that it has. `None` if it does not say.
pub(super) type Owned = Option<Vec<(Uuid, Vec<i32>)>>;

/// A member's target, and what stands in its way.
pub(super) struct Reconciliation<'a, F, S> {
    pub(super) target_epoch: i32,
    pub(super) target: &'a Partitions,
    /// Whether the member subscribes to a topic now. Of other topics it gets nothing, whatever the target says.
    pub(super) is_subscribed: S,
    pub(super) owned: &'a Owned,
    /// Whether another member still has the partition.
    pub(super) is_taken: F,
}

impl<F: Fn(Uuid, i32) -> bool, S: Fn(Uuid) -> bool> Reconciliation<'_, F, S> {
    /// The member's next step. Equal to `current` if there is none yet.
    pub(super) fn next(&self, current: &CurrentAssignment) -> CurrentAssignment {
        match current.state {
            MemberState::Stable if current.member_epoch == self.target_epoch => {
                self.drop_unsubscribed(current)
            }
            MemberState::UnrevokedPartitions if self.still_owns(&current.pending_revocation) => {
                self.drop_unsubscribed(current)
            }
            _ => self.advance(current),
        }
    }

    fn still_owns(&self, partitions: &Assigned) -> bool {
        let Some(owned) = self.owned else {
            return true;
        };
        owned.iter().any(|(topic_id, indexes)| {
            let asked_back = partitions.get(topic_id);
            asked_back.is_some_and(|asked| indexes.iter().any(|index| asked.contains_key(index)))
        })
    }

    /// Takes away the topics that the member no longer subscribes to. Changes nothing else.
    fn drop_unsubscribed(&self, current: &CurrentAssignment) -> CurrentAssignment {
        let (assigned, dropped): (Assigned, Assigned) = current
            .assigned
            .clone()
            .into_iter()
            .partition(|(topic_id, _)| (self.is_subscribed)(*topic_id));
        if dropped.is_empty() {
            return current.clone();
        }
        let mut pending_revocation = current.pending_revocation.clone();
        for (topic_id, partitions) in dropped {
            pending_revocation
                .entry(topic_id)
                .or_default()
                .extend(partitions);
        }
        if self.still_owns(&pending_revocation) {
            return CurrentAssignment {
                previous_member_epoch: current.member_epoch,
                state: MemberState::UnrevokedPartitions,
                assigned,
                pending_revocation,
                ..*current
            };
        }
        CurrentAssignment {
            previous_member_epoch: current.member_epoch,
            assigned,
            ..current.clone()
        }
    }

    fn advance(&self, current: &CurrentAssignment) -> CurrentAssignment {
        let none = BTreeSet::new();
        let target_of = |topic_id: &Uuid| {
            self.target
                .get(topic_id)
                .filter(|_| (self.is_subscribed)(*topic_id))
                .unwrap_or(&none)
        };
        let is_assigned = |topic_id: &Uuid, index: &i32| {
            let assigned = current.assigned.get(topic_id);
            assigned.is_some_and(|assigned| assigned.contains_key(index))
        };
        // What the member is still to give up is its own, not somebody else's.
        let is_own = |topic_id: &Uuid, index: &i32| {
            let pending = current.pending_revocation.get(topic_id);
            pending.is_some_and(|pending| pending.contains_key(index))
        };

        let mut assigned = Assigned::new();
        let mut to_revoke = Assigned::new();
        for (topic_id, partitions) in &current.assigned {
            let target = target_of(topic_id);
            let (keep, revoke): (BTreeMap<i32, i32>, BTreeMap<i32, i32>) = partitions
                .iter()
                .partition(|(index, _)| target.contains(index));
            if !keep.is_empty() {
                assigned.insert(*topic_id, keep);
            }
            if !revoke.is_empty() {
                to_revoke.insert(*topic_id, revoke);
            }
        }
        if !to_revoke.is_empty() && self.still_owns(&to_revoke) {
            return CurrentAssignment {
                previous_member_epoch: current.member_epoch,
                state: MemberState::UnrevokedPartitions,
                assigned,
                pending_revocation: to_revoke,
                ..*current
            };
        }

        let mut waits = false;
        for topic_id in self.target.keys() {
            for &index in target_of(topic_id)
                .iter()
                .filter(|index| !is_assigned(topic_id, index))
            {
                if (self.is_taken)(*topic_id, index) && !is_own(topic_id, &index) {
                    waits = true;
                } else {
                    assigned
                        .entry(*topic_id)
                        .or_default()
                        .insert(index, self.target_epoch);
                }
            }
        }
        CurrentAssignment {
            member_epoch: self.target_epoch,
            previous_member_epoch: current.member_epoch,
            state: if waits {
                MemberState::UnreleasedPartitions
            } else {
                MemberState::Stable
            },
            assigned,
            pending_revocation: Assigned::new(),
        }
    }
}
