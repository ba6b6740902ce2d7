//! One partition's worth of groups: routes events to them and time to their timers.

use std::collections::BTreeMap;

use super::{
    GroupConfig, classic::ClassicGroup, codec::MAX_STRING_BYTES, effects::Effects, event::*,
    offsets::Offsets, record::GroupRecord, reply::*, timer::Timers,
};

/// All groups and offsets of one `__consumer_offsets` partition. See the [module](super) for how to drive it.
#[derive(Debug)]
pub struct GroupShard {
    pub(super) config: GroupConfig,
    pub(super) groups: BTreeMap<Id, ClassicGroup>,
    pub(super) offsets: Offsets,
    timers: Timers<TimerKey>,
}

/// What a deadline is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerKey {
    /// Look for expired offsets and groups.
    Expiry,
    /// The group's join phase ends.
    Join(Id),
    /// Members of the group that have not sent SyncGroup are removed.
    Sync(Id),
    /// The group's member, or pending member, is removed.
    Session(Id, Id),
}

/// What a group needs to act in one step.
pub(super) struct Context<'a> {
    pub(super) now_ms: i64,
    pub(super) config: &'a GroupConfig,
    pub(super) timers: &'a mut Timers<TimerKey>,
    pub(super) effects: &'a mut Effects,
}

impl Context<'_> {
    /// Sets `key` to fire `delay_ms` from now.
    pub(super) fn schedule(&mut self, key: TimerKey, delay_ms: i32) {
        self.timers
            .schedule(key, self.now_ms.saturating_add(i64::from(delay_ms)));
    }
}

impl GroupShard {
    /// An empty shard, ready for [`apply`](Self::apply).
    pub fn new(config: GroupConfig) -> Self {
        Self {
            config,
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            timers: Timers::new(),
        }
    }

    /// Takes over one record of the log. Only before [`loaded`](Self::loaded).
    ///
    /// While running, the shard applies the records it makes itself. A classic group's own record is then a snapshot of
    /// the state it was made from; everything else changes through this function alone.
    pub fn apply(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::Offset { key, value } => {
                if value.is_some() {
                    self.ensure_group(&key.group_id);
                }
                self.offsets.apply(key, value.as_ref());
            }
            GroupRecord::TxnOffset {
                producer_id,
                key,
                value,
                ..
            } => {
                self.ensure_group(&key.group_id);
                self.offsets.apply_pending(*producer_id, key, value);
            }
            GroupRecord::EndTxn {
                producer_id,
                commit,
                ..
            } => self.offsets.end_transaction(*producer_id, *commit),
            GroupRecord::Group {
                group_id,
                value: Some(metadata),
            } => {
                self.groups.insert(
                    group_id.clone(),
                    ClassicGroup::restore(group_id.clone(), metadata),
                );
            }
            GroupRecord::Group {
                group_id,
                value: None,
            } => {
                if let Some(group) = self.groups.remove(group_id) {
                    group.cancel_timers(&mut self.timers);
                }
            }
        }
    }

    /// The whole log has been applied: members get a full session timeout from now to show up.
    pub fn loaded(&mut self, now_ms: i64) -> Effects {
        self.step(now_ms, |groups, cx| {
            cx.timers.schedule(
                TimerKey::Expiry,
                now_ms.saturating_add(cx.config.offsets_retention_check_interval_ms),
            );
            groups.values_mut().for_each(|group| group.loaded(cx));
        })
    }

    /// Handles one request. Its reply is in these effects, or in those of a later step.
    pub fn handle(&mut self, now_ms: i64, token: Token, request: GroupRequest) -> Effects {
        let mut effects = Effects::default();
        match request {
            GroupRequest::Join(request) => return self.join(now_ms, token, request),
            GroupRequest::Sync(request) => return self.sync(now_ms, token, request),
            GroupRequest::Heartbeat(request) => return self.heartbeat(now_ms, token, request),
            GroupRequest::Leave(request) => return self.leave(now_ms, token, request),
            GroupRequest::CommitOffsets(request) => {
                let reply = self.commit_offsets(now_ms, request, &mut effects);
                effects.reply(token, GroupReply::CommitOffsets(reply));
            }
            GroupRequest::CommitTxnOffsets(request) => {
                let reply = self.commit_txn_offsets(now_ms, request, &mut effects);
                effects.reply(token, GroupReply::CommitTxnOffsets(reply));
            }
            GroupRequest::EndTxn(EndTxn {
                producer_id,
                producer_epoch,
                coordinator_epoch,
                commit,
            }) => {
                let record = GroupRecord::EndTxn {
                    producer_id,
                    producer_epoch,
                    coordinator_epoch,
                    commit,
                };
                self.append(&mut effects, record);
                effects.reply(token, GroupReply::EndTxn(None));
            }
            GroupRequest::FetchOffsets(request) => {
                effects.reply(token, GroupReply::FetchOffsets(self.fetch_offsets(request)));
            }
            GroupRequest::DeleteOffsets(request) => {
                let reply = self.delete_offsets(request, &mut effects);
                effects.reply(token, GroupReply::DeleteOffsets(reply));
            }
            GroupRequest::DescribeGroups(request) => {
                effects.reply(
                    token,
                    GroupReply::DescribeGroups(self.describe_groups(&request)),
                );
            }
            GroupRequest::ListGroups(request) => {
                effects.reply(token, GroupReply::ListGroups(self.list_groups(&request)));
            }
            GroupRequest::DeleteGroups(request) => {
                let reply = self.delete_groups(request, &mut effects);
                effects.reply(token, GroupReply::DeleteGroups(reply));
            }
            GroupRequest::TopicsDeleted(topics) => {
                self.forget_topics(&topics, &mut effects);
                effects.reply(token, GroupReply::TopicsDeleted(None));
            }
        }
        effects
    }

    /// When [`on_deadline`](Self::on_deadline) wants to be called next.
    pub fn next_deadline(&self) -> Option<i64> {
        self.timers.next_deadline()
    }

    /// Does everything that is due by now.
    pub fn on_deadline(&mut self, now_ms: i64) -> Effects {
        let mut effects = Effects::default();
        while let Some(key) = self.timers.pop_due(now_ms) {
            match key {
                TimerKey::Expiry => self.expire(now_ms, &mut effects),
                TimerKey::Join(group_id) => {
                    self.with_group(
                        now_ms,
                        &group_id,
                        &mut effects,
                        ClassicGroup::on_join_deadline,
                    );
                }
                TimerKey::Sync(group_id) => {
                    self.with_group(
                        now_ms,
                        &group_id,
                        &mut effects,
                        ClassicGroup::on_sync_deadline,
                    );
                }
                TimerKey::Session(group_id, member_id) => {
                    self.with_group(now_ms, &group_id, &mut effects, |group, cx| {
                        group.on_session_deadline(cx, &member_id);
                    });
                }
            }
        }
        effects
    }

    /// Gives up the shard and answers what is parked in it, with `error`.
    pub fn unload(self, error: GroupError) -> Vec<(Token, GroupReply)> {
        self.groups
            .into_values()
            .flat_map(|group| group.unload(error))
            .collect()
    }

    /// What must survive a restart, as records: offsets, and groups with their members where they are settled.
    #[cfg(test)]
    pub(super) fn snapshot(&self) -> Vec<GroupRecord> {
        let groups = self
            .groups
            .values()
            .filter(|group| group.is_settled())
            .map(ClassicGroup::to_record);
        groups.chain(self.offsets.snapshot()).collect()
    }

    /// Panics unless groups and deadlines agree with each other.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let deadlines = self.timers.keys();
        self.groups
            .values()
            .for_each(|group| group.check(|key| deadlines.contains_key(key)));
        for key in deadlines.keys() {
            let (TimerKey::Join(group_id)
            | TimerKey::Sync(group_id)
            | TimerKey::Session(group_id, _)) = key
            else {
                continue;
            };
            let group = self.groups.get(group_id);
            assert!(
                group.is_some_and(|group| group.has_use_for(key)),
                "a stale deadline: {key:?}"
            );
        }
    }

    fn join(&mut self, now_ms: i64, token: Token, request: JoinGroup) -> Effects {
        let refusal = if !is_group_id(&request.group_id) {
            Some(GroupError::InvalidGroupId)
        } else if !(self.config.min_session_timeout_ms..=self.config.max_session_timeout_ms)
            .contains(&request.session_timeout_ms)
        {
            Some(GroupError::InvalidSessionTimeout)
        } else if !request.fits_record() {
            Some(GroupError::UnknownServerError)
        } else if self.groups.contains_key(&request.group_id) {
            None
        } else if !request.member_id.is_empty() {
            Some(GroupError::UnknownMemberId)
        } else if request.protocol_type.is_empty() || request.protocols.is_empty() {
            Some(GroupError::InconsistentGroupProtocol)
        } else {
            None
        };
        self.step(now_ms, |groups, cx| {
            if let Some(error) = refusal {
                return cx.effects.reply(
                    token,
                    GroupReply::Join(JoinReply::error(request.member_id, error)),
                );
            }
            let group_id = request.group_id.clone();
            let group = groups.entry(group_id).or_insert_with_key(|group_id| {
                // The group must not vanish with a crash between now and its first generation.
                let group = ClassicGroup::new(group_id.clone(), Some(cx.now_ms));
                cx.effects.records.push(group.to_record());
                group
            });
            group.join(cx, token, request);
        })
    }

    fn sync(&mut self, now_ms: i64, token: Token, request: SyncGroup) -> Effects {
        self.step(now_ms, |groups, cx| {
            let error = if !is_group_id(&request.group_id) {
                GroupError::InvalidGroupId
            } else if let Some(group) = groups.get_mut(&request.group_id) {
                return group.sync(cx, token, request);
            } else {
                GroupError::UnknownMemberId
            };
            cx.effects
                .reply(token, GroupReply::Sync(SyncReply::error(error)));
        })
    }

    fn heartbeat(&mut self, now_ms: i64, token: Token, request: Heartbeat) -> Effects {
        self.step(now_ms, |groups, cx| {
            let result = if !is_group_id(&request.group_id) {
                Err(GroupError::InvalidGroupId)
            } else {
                match groups.get_mut(&request.group_id) {
                    Some(group) => group.heartbeat(cx, &request),
                    None => Err(GroupError::UnknownMemberId),
                }
            };
            cx.effects.reply(token, GroupReply::Heartbeat(result.err()));
        })
    }

    fn leave(&mut self, now_ms: i64, token: Token, request: LeaveGroup) -> Effects {
        self.step(now_ms, |groups, cx| {
            let reply = if !is_group_id(&request.group_id) {
                LeaveReply {
                    error: Some(GroupError::InvalidGroupId),
                    members: Vec::new(),
                }
            } else {
                let members = match groups.get_mut(&request.group_id) {
                    Some(group) => group.leave(cx, request.members),
                    None => request
                        .members
                        .into_iter()
                        .map(|member| member.left(Some(GroupError::UnknownMemberId)))
                        .collect(),
                };
                LeaveReply {
                    error: None,
                    members,
                }
            };
            cx.effects.reply(token, GroupReply::Leave(reply));
        })
    }

    /// Tombstones for offsets whose time is up and for empty groups that have no offsets left (KIP-211).
    fn expire(&mut self, now_ms: i64, effects: &mut Effects) {
        let retention_ms = self.config.offsets_retention_ms;
        let mut records = Vec::new();
        for (group_id, group) in &self.groups {
            let nothing_left =
                self.offsets
                    .expire(group_id, group, now_ms, retention_ms, &mut records);
            if nothing_left && group.is_empty() && !group.has_pending_members() {
                records.push(GroupRecord::Group {
                    group_id: group_id.clone(),
                    value: None,
                });
            }
        }
        records
            .into_iter()
            .for_each(|record| self.append(effects, record));
        let next_ms = now_ms.saturating_add(self.config.offsets_retention_check_interval_ms.max(1));
        self.timers.schedule(TimerKey::Expiry, next_ms);
    }

    /// Makes a record part of the state and of the effects.
    pub(super) fn append(&mut self, effects: &mut Effects, record: GroupRecord) {
        self.apply(&record);
        effects.records.push(record);
    }

    /// Offsets can be committed without a group: that makes a "simple" group, which has no protocol type.
    fn ensure_group(&mut self, group_id: &Id) {
        if !self.groups.contains_key(group_id) {
            self.groups
                .insert(group_id.clone(), ClassicGroup::new(group_id.clone(), None));
        }
    }

    fn step(
        &mut self,
        now_ms: i64,
        act: impl FnOnce(&mut BTreeMap<Id, ClassicGroup>, &mut Context<'_>),
    ) -> Effects {
        let mut effects = Effects::default();
        let mut cx = Context {
            now_ms,
            config: &self.config,
            timers: &mut self.timers,
            effects: &mut effects,
        };
        act(&mut self.groups, &mut cx);
        effects
    }

    pub(super) fn with_group(
        &mut self,
        now_ms: i64,
        group_id: &Id,
        effects: &mut Effects,
        act: impl FnOnce(&mut ClassicGroup, &mut Context<'_>),
    ) {
        if let Some(group) = self.groups.get_mut(group_id) {
            act(
                group,
                &mut Context {
                    now_ms,
                    config: &self.config,
                    timers: &mut self.timers,
                    effects,
                },
            );
        }
    }
}

/// The requests of the group protocol need an id; commits and descriptions accept the empty one, for old clients.
pub(super) fn is_group_id(group_id: &str) -> bool {
    !group_id.is_empty() && group_id.len() <= MAX_STRING_BYTES
}
