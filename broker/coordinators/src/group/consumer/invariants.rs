//! What is true of a consumer group after every step.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::group::catalog::Catalog;
use crate::group::consumer::{ConsumerGroup, Member, partitions_of};
use crate::group::context::TimerKey;
use crate::group::id::{MemberId, Name};
use crate::group::request::{ConsumerHeartbeat, GroupRequest, Heartbeat, Viewer};

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
        assert!(
            !self.reads_changed || self.checked_catalog.is_none(),
            "an epoch has not followed"
        );
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

    /// Panics unless the target is that of the group epoch, and gives every partition that is read to one of its readers.
    pub(crate) fn check_target(&self, catalog: &dyn Catalog) {
        assert_eq!(self.target_epoch.epoch, self.epoch.epoch, "no new target");
        let mut given: BTreeMap<(Uuid, i32), &MemberId> = BTreeMap::new();
        for (member_id, partitions) in &self.target {
            let subscription = &self.members[member_id].subscription;
            for (topic_id, indexes) in partitions.iter() {
                assert!(
                    self.reads(catalog, subscription, *topic_id),
                    "{member_id} is to have what it does not read"
                );
                for index in indexes {
                    let other = given.insert((*topic_id, *index), member_id);
                    assert_eq!(other, None, "{topic_id}-{index} is given twice");
                }
            }
        }
        for (member_id, member) in &self.members {
            let is_given = self.target.contains_key(member_id);
            assert!(
                is_given || !member.subscription.reads_something(),
                "{member_id} has none"
            );
            let by_regex = member.subscription.pattern();
            let by_regex = by_regex.and_then(|pattern| self.regexes.get(pattern));
            let by_regex = by_regex.iter().flat_map(|resolved| &resolved.topics);
            for name in member.subscription.topic_names.iter().chain(by_regex) {
                let (topic_id, count) = catalog.topic(name).unwrap_or_default();
                for index in 0..count {
                    let is_given = given.contains_key(&(topic_id, index));
                    assert!(is_given, "{name}-{index} is nobody's");
                }
            }
        }
    }

    /// Panics if the group takes the log for torn, which it is not.
    pub(crate) fn check_whole(&self, catalog: &dyn Catalog) {
        let is_same = self.metadata_hash(catalog) == self.epoch.metadata_hash;
        assert!(!is_same || !self.lacks_epoch(catalog), "nothing is owed");
    }

    /// What the members that are here send next.
    pub(crate) fn next_heartbeats(&self) -> Vec<GroupRequest> {
        let here = self.members.iter();
        let here = here.filter(|(_, member)| member.current.member_epoch >= 0);
        let requests = here.map(|(member_id, member)| match member.is_classic() {
            true => GroupRequest::Heartbeat(Heartbeat {
                group_id: self.id.clone(),
                generation_id: member.current.member_epoch,
                member_id: member_id.clone(),
                group_instance_id: member.subscription.instance_id.clone(),
            }),
            false => GroupRequest::ConsumerHeartbeat(self.next_heartbeat(member_id, member)),
        });
        requests.collect()
    }

    fn next_heartbeat(&self, member_id: &MemberId, member: &Member) -> ConsumerHeartbeat {
        let said = &member.subscription;
        let joins = member.current.member_epoch == 0;
        ConsumerHeartbeat {
            group_id: self.id.clone(),
            member_id: member_id.clone(),
            member_epoch: member.current.member_epoch,
            instance_id: said.instance_id.clone(),
            rack_id: None,
            rebalance_timeout_ms: if joins { said.rebalance_timeout_ms } else { -1 },
            client_id: said.client_id.clone(),
            client_host: said.client_host.clone(),
            viewer: Viewer::anonymous(),
            subscribed_topic_names: joins.then(|| said.topic_names.iter().cloned().collect()),
            subscribed_topic_regex: joins.then(|| said.topic_regex.clone()).flatten(),
            resolved: None,
            server_assignor: None,
            owned: joins.then(Vec::new),
            api_version: 1,
            member_uuid: Uuid::nil(),
        }
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
