//! What is true of a classic group after every step.

use std::collections::BTreeMap;

use crate::group::classic::{ClassicGroup, State, count_protocols};
use crate::group::context::TimerKey;

impl ClassicGroup {
    /// Panics unless the group's books agree with its members and everything that waits has a deadline.
    pub(crate) fn check(&self, has_deadline: impl Fn(&TimerKey) -> bool) {
        let id = &self.id;
        let members = || self.members.iter();
        let awaiting_join = members()
            .filter(|(_, member)| member.awaiting_join.is_some())
            .count();
        assert_eq!(self.awaiting_join_count, awaiting_join, "{id}");
        let mut support = BTreeMap::new();
        members().for_each(|(_, member)| count_protocols(&mut support, &member.protocols));
        assert_eq!(self.protocol_support, support, "{id}");
        let static_members: BTreeMap<_, _> = members()
            .filter_map(|(id, member)| Some((member.group_instance_id.clone()?, id.clone())))
            .collect();
        assert_eq!(self.static_members, static_members, "{id}");
        match &self.leader {
            Some(leader) => assert!(self.members.contains_key(leader), "{id}"),
            None => assert!(self.members.is_empty(), "{id}"),
        }
        assert!(
            self.pending_sync
                .iter()
                .all(|member_id| self.members.contains_key(member_id)),
            "{id}"
        );
        assert!(
            self.pending_join
                .iter()
                .all(|member_id| !self.members.contains_key(member_id)),
            "{id}"
        );

        let preparing = self.state == State::PreparingRebalance;
        let completing = self.state == State::CompletingRebalance;
        assert!(
            self.state != State::Empty || self.members.is_empty(),
            "{id}"
        );
        assert!(
            preparing || awaiting_join == 0,
            "{id}: a join waits for nothing"
        );
        assert!(preparing || self.initial_rebalance.is_none(), "{id}");
        let awaiting_sync = members().any(|(_, member)| member.awaiting_sync.is_some());
        assert!(
            completing || !awaiting_sync,
            "{id}: a sync waits for nothing"
        );

        assert_eq!(has_deadline(&TimerKey::Join(id.clone())), preparing, "{id}");
        let sync_deadline = has_deadline(&TimerKey::Sync(id.clone()));
        assert_eq!(sync_deadline, !self.pending_sync.is_empty(), "{id}");
        for (member_id, member) in &self.members {
            let session = has_deadline(&self.session_key(member_id));
            assert!(
                session || member.is_waiting_for_group(),
                "{id}: {member_id} lives for ever"
            );
        }
        for member_id in &self.pending_join {
            assert!(
                has_deadline(&self.session_key(member_id)),
                "{id}: {member_id} is pending for ever"
            );
        }
    }

    /// Whether the group has a use for this deadline.
    pub(crate) fn has_use_for(&self, key: &TimerKey) -> bool {
        match key {
            TimerKey::Expiry | TimerKey::Rebalance(..) => false,
            TimerKey::Join(_) => self.state == State::PreparingRebalance,
            TimerKey::Sync(_) => !self.pending_sync.is_empty(),
            TimerKey::Session(_, member_id) => {
                self.members.contains_key(member_id) || self.pending_join.contains(member_id)
            }
        }
    }
}
