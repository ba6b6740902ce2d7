//! What is true of a consumer group after every step.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::group::consumer::{ConsumerGroup, partitions_of};
use crate::group::context::TimerKey;
use crate::group::id::{MemberId, Name};

impl ConsumerGroup {
    /// Panics unless the group's books agree with each other and with its deadlines.
    pub(crate) fn check(&self, has_deadline: impl Fn(&TimerKey) -> bool) {
        assert!(
            self.target_epoch.epoch <= self.epoch.epoch,
            "a target from the future"
        );
        if self.members.is_empty() {
            assert_eq!(
                self.target_epoch.epoch, self.epoch.epoch,
                "an empty group has nothing to compute"
            );
        }
        if let Some(question) = &self.awaited {
            let awaited = self.target_epoch.epoch + 1..=self.epoch.epoch;
            assert!(
                awaited.contains(&question.epoch),
                "nobody needs {question:?}"
            );
        }
        let mut names: BTreeMap<Name, usize> = BTreeMap::new();
        for name in self
            .members
            .values()
            .flat_map(|member| &member.subscription.topic_names)
        {
            *names.entry(name.clone()).or_default() += 1;
        }
        assert_eq!(names, self.topic_counts);
        let mut owners: BTreeMap<(Uuid, i32), MemberId> = BTreeMap::new();
        for (member_id, member) in &self.members {
            let current = &member.current;
            assert!(
                current.member_epoch <= self.target_epoch.epoch,
                "{member_id} is ahead of the target"
            );
            for partition in partitions_of(current) {
                let other = owners.insert(partition, member_id.clone());
                assert_eq!(
                    other, None,
                    "{partition:?} has another owner besides {member_id}"
                );
            }
            for since_epoch in current
                .assigned
                .values()
                .flat_map(|partitions| partitions.values())
            {
                assert!(
                    *since_epoch <= self.target_epoch.epoch,
                    "{member_id} has a partition since a future epoch"
                );
            }
            if let Some(instance_id) = &member.subscription.instance_id {
                assert_eq!(self.static_members.get(instance_id), Some(member_id));
            }
            assert!(
                has_deadline(&self.session_key(member_id)),
                "{member_id} lives for ever"
            );
            assert!(
                member.is_classic()
                    || has_deadline(&self.rebalance_key(member_id)) == current.is_revoking(),
                "{member_id} is {current:?}"
            );
        }
        assert_eq!(owners, self.owners);
        for (instance_id, member_id) in &self.static_members {
            let member = self
                .members
                .get(member_id)
                .expect("a static member is a member");
            assert_eq!(member.subscription.instance_id.as_ref(), Some(instance_id));
        }
        assert!(
            self.target.keys().all(|id| self.members.contains_key(id)),
            "a target for nobody"
        );
    }

    pub(crate) fn has_use_for(&self, key: &TimerKey) -> bool {
        match key {
            TimerKey::Session(_, member_id) => self.members.contains_key(member_id),
            TimerKey::Rebalance(_, member_id) => {
                let member = self.members.get(member_id);
                member.is_some_and(|member| member.is_classic() || member.current.is_revoking())
            }
            _ => false,
        }
    }
}
