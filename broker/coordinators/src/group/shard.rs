//! One partition's worth of groups: routes events to them and time to their timers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use protocol_shim::ErrorCode;

use crate::machine::{EndTxn, KeyValue, Machine, Moment, Producer, Refused, Token};

use super::{
    GroupConfig,
    any::Group,
    catalog::{Catalog, NoTopics},
    classic::ClassicGroup,
    codec::MAX_STRING_BYTES,
    consumer::{ComputedTarget, ConsumerGroup, ConsumerRecord, JOIN_EPOCH},
    effects::{Effects, Note, Outcome, Question},
    event::*,
    migration,
    offsets::Offsets,
    record::{GroupRecord, RecordError},
    reply::*,
    timer::Timers,
};

/// All groups and offsets of one `__consumer_offsets` partition. See the [module](super) for how to drive it.
#[derive(Debug)]
pub struct GroupShard {
    pub(super) config: GroupConfig,
    pub(super) groups: BTreeMap<Id, Group>,
    pub(super) offsets: Offsets,
    pub(super) catalog: Arc<dyn Catalog>,
    /// Counts the catalogs there have been.
    catalog_version: u64,
    /// How far the wall clock is ahead of the time that steps are given.
    wall_ahead_ms: i64,
    /// The largest batch that the log takes.
    pub(super) max_batch_bytes: usize,
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
    /// The consumer group's member is removed unless it has given up its partitions.
    Rebalance(Id, Id),
}

/// What a group needs to act in one step.
pub(super) struct Context<'a> {
    /// What deadlines are counted from.
    pub(super) now_ms: i64,
    /// For what is kept, and compared after a restart.
    pub(super) wall_ms: i64,
    pub(super) config: &'a GroupConfig,
    pub(super) catalog: &'a Arc<dyn Catalog>,
    pub(super) catalog_version: u64,
    /// The largest batch that the log takes.
    pub(super) max_batch_bytes: usize,
    pub(super) timers: &'a mut Timers<TimerKey>,
    pub(super) effects: &'a mut Effects,
    /// Set by a consumer group that is to be a classic one when the step is over.
    pub(super) turns_classic: Option<TurnsClassic>,
}

/// How a consumer group becomes a classic one.
#[derive(Debug, Default)]
pub(super) struct TurnsClassic {
    /// Who does not come along.
    pub(super) leaving: BTreeSet<Id>,
    /// Why all members have to join again; if not, everybody keeps what the last target says.
    pub(super) rebalance: Option<String>,
}

impl Context<'_> {
    /// Whether this is the catalog that there is now.
    pub(super) fn is_newest(&self, catalog: &Arc<dyn Catalog>) -> bool {
        Arc::ptr_eq(self.catalog, catalog)
    }

    /// Sets `key` to fire `delay_ms` from now.
    pub(super) fn schedule(&mut self, key: TimerKey, delay_ms: i32) {
        self.timers
            .schedule(key, self.now_ms.saturating_add(i64::from(delay_ms)));
    }
}

impl GroupShard {
    /// An empty shard, ready for [`replay`](Machine::replay).
    pub fn new(config: GroupConfig) -> Self {
        Self {
            config,
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            catalog: Arc::new(NoTopics),
            catalog_version: 0,
            wall_ahead_ms: 0,
            max_batch_bytes: usize::MAX,
            timers: Timers::new(),
        }
    }

    /// Takes in what there is to know at the moment of a call; gives the time.
    ///
    /// Consumer groups compare the topics with what they subscribe to when one of their members sends its next heartbeat.
    fn enter(&mut self, now: &Moment<dyn Catalog>) -> i64 {
        self.wall_ahead_ms = now.wall_ahead_ms;
        self.max_batch_bytes = now.max_batch_bytes;
        if !Arc::ptr_eq(&self.catalog, &now.catalog) {
            self.catalog = Arc::clone(&now.catalog);
            self.catalog_version += 1;
        }
        now.steady_ms
    }

    /// What the wall clock says at a moment.
    pub(super) fn wall_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(self.wall_ahead_ms)
    }

    /// Takes over one record, of the log or of its own making.
    ///
    /// While running, the shard applies the records it makes itself. A classic group's own record is then a snapshot of
    /// the state it was made from; everything else changes through this function alone.
    pub(super) fn apply(&mut self, record: &GroupRecord) {
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
                let group = ClassicGroup::restore(group_id.clone(), metadata);
                self.put(group_id, Group::Classic(group));
            }
            GroupRecord::Group {
                group_id,
                value: None,
            } => self.remove_if(group_id, |group| matches!(group, Group::Classic(_))),
            GroupRecord::Consumer {
                group_id,
                record: ConsumerRecord::Group(None),
            } => self.remove_if(group_id, |group| matches!(group, Group::Consumer(_))),
            GroupRecord::Consumer { group_id, record } => {
                let is_there = matches!(self.groups.get(group_id), Some(Group::Consumer(_)));
                if !is_there && !record.is_tombstone() {
                    let group = ConsumerGroup::new(group_id.clone());
                    self.put(group_id, Group::Consumer(group));
                }
                if let Some(Group::Consumer(group)) = self.groups.get_mut(group_id) {
                    group.apply(record);
                }
            }
        }
    }

    fn put(&mut self, group_id: &Id, group: Group) {
        if let Some(previous) = self.groups.insert(group_id.clone(), group) {
            previous.cancel_timers(&mut self.timers);
        }
    }

    fn remove_if(&mut self, group_id: &Id, is_meant: impl FnOnce(&Group) -> bool) {
        if self.groups.get(group_id).is_some_and(is_meant)
            && let Some(group) = self.groups.remove(group_id)
        {
            group.cancel_timers(&mut self.timers);
        }
    }

    fn patterns_resolved(&mut self, now_ms: i64, resolved: PatternsResolved) -> Effects {
        let mut effects = Effects::default();
        let group_id = resolved.group_id.clone();
        self.with_group(now_ms, &group_id, &mut effects, |group, cx| {
            if let Some(group) = group.as_consumer_mut() {
                group.patterns_resolved(cx, resolved);
            }
        });
        effects
    }

    fn target_computed(&mut self, now_ms: i64, computed: ComputedTarget) -> Effects {
        let mut effects = Effects::default();
        let group_id = computed.group_id().clone();
        self.with_group(now_ms, &group_id, &mut effects, |group, cx| {
            if let Some(group) = group.as_consumer_mut() {
                group.target_computed(cx, computed);
            }
        });
        effects
    }

    /// What must survive a restart, as records: offsets, and groups with their members where they are settled.
    #[cfg(test)]
    pub(super) fn snapshot(&self) -> Vec<GroupRecord> {
        let groups = self.groups.values().flat_map(|group| match group {
            Group::Classic(group) if group.is_settled() => vec![group.to_record()],
            Group::Classic(_) => Vec::new(),
            Group::Consumer(group) => group.snapshot(),
        });
        groups.chain(self.offsets.snapshot()).collect()
    }

    /// Panics unless groups and deadlines agree with each other.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let deadlines = self.timers.keys();
        let has_deadline = |key: &TimerKey| deadlines.contains_key(key);
        self.groups.values().for_each(|group| match group {
            Group::Classic(group) => group.check(has_deadline),
            Group::Consumer(group) => group.check(has_deadline),
        });
        for key in deadlines.keys() {
            let (TimerKey::Join(group_id)
            | TimerKey::Sync(group_id)
            | TimerKey::Session(group_id, _)
            | TimerKey::Rebalance(group_id, _)) = key
            else {
                continue;
            };
            let is_used = match self.groups.get(group_id) {
                Some(Group::Classic(group)) => group.has_use_for(key),
                Some(Group::Consumer(group)) => group.has_use_for(key),
                None => false,
            };
            assert!(is_used, "a stale deadline: {key:?}");
        }
    }

    fn join(&mut self, now_ms: i64, token: Token, request: JoinGroup) -> Effects {
        let refusal = if !is_group_id(&request.group_id) {
            Some(ErrorCode::InvalidGroupId)
        } else if !(self.config.min_session_timeout_ms..=self.config.max_session_timeout_ms)
            .contains(&request.session_timeout_ms)
        {
            Some(ErrorCode::InvalidSessionTimeout)
        } else if !request.fits_record(self.max_batch_bytes) {
            Some(ErrorCode::UnknownServerError)
        } else if self.may_be_joined(&request.group_id) {
            None
        } else if !request.member_id.is_empty() {
            Some(ErrorCode::UnknownMemberId)
        } else if request.protocol_type.is_empty() || request.protocols.is_empty() {
            Some(ErrorCode::InconsistentGroupProtocol)
        } else {
            None
        };
        let mut effects = Effects::default();
        if let Some(error) = refusal {
            let reply = JoinReply::error(request.member_id, error);
            effects.reply(token, GroupReply::Join(reply));
            return effects;
        }
        let group_id = request.group_id.clone();
        if !self.may_be_joined(&group_id) {
            // An empty consumer group makes room. The new one must not vanish with a crash before its
            // first generation.
            let group = ClassicGroup::new(group_id.clone(), Some(self.wall_ms(now_ms)));
            let mut records = self.group_tombstones(&group_id);
            records.push(group.to_record());
            for record in records {
                self.append(&mut effects, record);
            }
        }
        self.with_group(now_ms, &group_id, &mut effects, |group, cx| match group {
            Group::Classic(group) => group.join(cx, token, request),
            Group::Consumer(group) => {
                let joined = group.join_classic(cx, request);
                let reply = joined.unwrap_or_else(|error| JoinReply::error("".into(), error));
                cx.effects.reply(token, GroupReply::Join(reply));
            }
        });
        effects
    }

    /// Whether there is a group that JoinGroup can go to as it is.
    fn may_be_joined(&self, group_id: &str) -> bool {
        match self.groups.get(group_id) {
            None => false,
            Some(Group::Classic(_)) => true,
            Some(Group::Consumer(group)) => !group.is_empty(),
        }
    }

    fn sync(&mut self, now_ms: i64, token: Token, request: SyncGroup) -> Effects {
        let mut effects = Effects::default();
        if let Err(error) = self.find_classic(&request.group_id) {
            effects.reply(token, GroupReply::Sync(SyncReply::error(error)));
            return effects;
        }
        let group_id = request.group_id.clone();
        self.with_group(now_ms, &group_id, &mut effects, |group, cx| match group {
            Group::Classic(group) => group.sync(cx, token, request),
            Group::Consumer(group) => {
                let synced = group.sync_classic(cx, request);
                let reply = synced.unwrap_or_else(SyncReply::error);
                cx.effects.reply(token, GroupReply::Sync(reply));
            }
        });
        effects
    }

    fn heartbeat(&mut self, now_ms: i64, token: Token, request: Heartbeat) -> Effects {
        let mut effects = Effects::default();
        let mut result = self.find_classic(&request.group_id);
        if result.is_ok() {
            self.with_group(now_ms, &request.group_id, &mut effects, |group, cx| {
                result = match group {
                    Group::Classic(group) => group.heartbeat(cx, &request),
                    Group::Consumer(group) => group.heartbeat_classic(cx, &request),
                };
            });
        }
        effects.reply(token, GroupReply::Heartbeat(result.err()));
        effects
    }

    fn leave(&mut self, now_ms: i64, token: Token, request: LeaveGroup) -> Effects {
        let mut effects = Effects::default();
        let mut reply = LeaveReply {
            error: None,
            members: Vec::new(),
        };
        let members = request.members;
        match self.find_classic(&request.group_id) {
            Ok(()) => self.with_group(now_ms, &request.group_id, &mut effects, |group, cx| {
                reply.members = match group {
                    Group::Classic(group) => group.leave(cx, members),
                    Group::Consumer(group) => group.leave_classic(cx, members),
                };
            }),
            Err(ErrorCode::InvalidGroupId) => reply.error = Some(ErrorCode::InvalidGroupId),
            Err(error) => {
                let members = members.into_iter();
                reply.members = members.map(|member| member.left(Some(error))).collect();
            }
        }
        effects.reply(token, GroupReply::Leave(reply));
        effects
    }

    /// Whether there is a group for requests of the classic protocol other than JoinGroup.
    fn find_classic(&self, group_id: &str) -> Result<(), ErrorCode> {
        if !is_group_id(group_id) {
            Err(ErrorCode::InvalidGroupId)
        } else if !self.groups.contains_key(group_id) {
            Err(ErrorCode::UnknownMemberId)
        } else {
            Ok(())
        }
    }

    /// Joining makes a consumer group where there is none, or of a classic one.
    fn consumer_heartbeat(
        &mut self,
        now_ms: i64,
        request: ConsumerHeartbeat,
        effects: &mut Effects,
    ) -> Result<ConsumerHeartbeatReply, Refusal> {
        request.validate(&self.config)?;
        let group_id = request.group_id.clone();
        let not_found = |message: String| Err(Refusal::new(ErrorCode::GroupIdNotFound, message));
        let is_join = request.member_epoch == JOIN_EPOCH;
        match self.groups.get(&group_id) {
            Some(Group::Consumer(_)) => {}
            Some(Group::Classic(_)) if !is_join => {
                return not_found(format!("Group {group_id} is not a consumer group."));
            }
            None if request.member_epoch < JOIN_EPOCH => {
                return not_found(format!("Group {group_id} not found."));
            }
            None if !is_join => {
                return not_found(format!("Consumer group {group_id} not found."));
            }
            previous @ (Some(Group::Classic(_)) | None) => {
                // On its own until it is known that the member may join: a refusal changes nothing.
                let mut made = Effects::default();
                let mut cx = Context {
                    now_ms,
                    wall_ms: now_ms.saturating_add(self.wall_ahead_ms),
                    config: &self.config,
                    catalog: &self.catalog,
                    catalog_version: self.catalog_version,
                    max_batch_bytes: self.max_batch_bytes,
                    timers: &mut self.timers,
                    effects: &mut made,
                    turns_classic: None,
                };
                let mut group = match previous {
                    Some(Group::Classic(classic)) if !classic.is_empty() => {
                        migration::upgrade(classic, &group_id, &mut cx)?
                    }
                    _ => ConsumerGroup::new(group_id.clone()),
                };
                let reply = group.heartbeat(&mut cx, request)?;
                let tombstones = self.group_tombstones(&group_id);
                if let Some(previous) = self.groups.remove(&group_id) {
                    previous.cancel_timers(&mut self.timers);
                    // Who waits for the classic group's rebalance joins again, in the new group.
                    let parked = previous.unload(ErrorCode::RebalanceInProgress);
                    effects.replies.extend(parked);
                }
                for record in tombstones {
                    self.append(effects, record);
                }
                effects.extend(made);
                self.groups.insert(group_id.clone(), Group::Consumer(group));
                // The deadlines of the group that made room went with it, and could have had the same names.
                self.with_group(now_ms, &group_id, effects, Group::loaded);
                return Ok(reply);
            }
        }
        let mut reply = Ok(ConsumerHeartbeatReply::refused(Refusal::new(
            ErrorCode::UnknownServerError,
            "",
        )));
        self.with_group(now_ms, &group_id, effects, |group, cx| {
            if let Some(group) = group.as_consumer_mut() {
                reply = group.heartbeat(cx, request);
            }
        });
        reply
    }

    /// Tombstones for offsets whose time is up and for empty groups that have no offsets left (KIP-211).
    fn expire(&mut self, now_ms: i64, effects: &mut Effects) {
        let retention_ms = self.config.offsets_retention_ms;
        let wall_ms = self.wall_ms(now_ms);
        let mut records = Vec::new();
        for (group_id, group) in &self.groups {
            let nothing_left =
                self.offsets
                    .expire(group_id, group, wall_ms, retention_ms, &mut records);
            if nothing_left && group.is_abandoned() {
                records.extend(self.group_tombstones(group_id));
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
        effects.write(record);
    }

    /// Offsets can be committed without a group: that makes a "simple" group, which has no protocol type.
    fn ensure_group(&mut self, group_id: &Id) {
        if !self.groups.contains_key(group_id) {
            let group = Group::Classic(ClassicGroup::new(group_id.clone(), None));
            self.groups.insert(group_id.clone(), group);
        }
    }

    fn step(
        &mut self,
        now_ms: i64,
        act: impl FnOnce(&mut BTreeMap<Id, Group>, &mut Context<'_>),
    ) -> Effects {
        let mut effects = Effects::default();
        let mut cx = Context {
            now_ms,
            wall_ms: now_ms.saturating_add(self.wall_ahead_ms),
            config: &self.config,
            catalog: &self.catalog,
            catalog_version: self.catalog_version,
            max_batch_bytes: self.max_batch_bytes,
            timers: &mut self.timers,
            effects: &mut effects,
            turns_classic: None,
        };
        act(&mut self.groups, &mut cx);
        effects
    }

    pub(super) fn with_group(
        &mut self,
        now_ms: i64,
        group_id: &Id,
        effects: &mut Effects,
        act: impl FnOnce(&mut Group, &mut Context<'_>),
    ) {
        if let Some(group) = self.groups.get_mut(group_id) {
            let mut cx = Context {
                now_ms,
                wall_ms: now_ms.saturating_add(self.wall_ahead_ms),
                config: &self.config,
                catalog: &self.catalog,
                catalog_version: self.catalog_version,
                max_batch_bytes: self.max_batch_bytes,
                timers: &mut self.timers,
                effects,
                turns_classic: None,
            };
            act(group, &mut cx);
            group.change_protocol(group_id, &mut cx);
        }
    }
}

impl Machine for GroupShard {
    type Catalog = dyn Catalog;
    type Request = GroupRequest;
    type Reply = GroupReply;
    type Record = GroupRecord;
    type RecordError = RecordError;
    type Question = Question;
    type Outcome = Outcome;
    type Note = Note;

    fn replay(
        &mut self,
        producer: Option<Producer>,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), RecordError> {
        let producer = producer.map(|producer| (producer.id, producer.epoch));
        // Of kinds that are not known there is nothing to take over.
        if let Some(record) = GroupRecord::decode(key, value, producer)? {
            self.apply(&record);
        }
        Ok(())
    }

    fn replay_marker(&mut self, end: EndTxn) {
        self.apply(&end.into());
    }

    /// Members get a full session timeout from now to show up.
    fn loaded(&mut self, now: &Moment<dyn Catalog>) -> Effects {
        let now_ms = self.enter(now);
        self.step(now_ms, |groups, cx| {
            cx.timers.schedule(
                TimerKey::Expiry,
                now_ms.saturating_add(cx.config.offsets_retention_check_interval_ms),
            );
            groups.values_mut().for_each(|group| group.loaded(cx));
        })
    }

    fn handle(
        &mut self,
        now: &Moment<dyn Catalog>,
        token: Token,
        request: GroupRequest,
    ) -> Effects {
        let now_ms = self.enter(now);
        let mut effects = Effects::default();
        match request {
            GroupRequest::Join(request) => return self.join(now_ms, token, request),
            GroupRequest::Sync(request) => return self.sync(now_ms, token, request),
            GroupRequest::Heartbeat(request) => return self.heartbeat(now_ms, token, request),
            GroupRequest::Leave(request) => return self.leave(now_ms, token, request),
            GroupRequest::ConsumerHeartbeat(request) => {
                let reply = self
                    .consumer_heartbeat(now_ms, request, &mut effects)
                    .unwrap_or_else(ConsumerHeartbeatReply::refused);
                effects.reply(token, GroupReply::ConsumerHeartbeat(reply));
            }
            GroupRequest::CommitOffsets(request) => {
                let reply = self.commit_offsets(now_ms, request, &mut effects);
                effects.reply(token, GroupReply::CommitOffsets(reply));
            }
            GroupRequest::CommitTxnOffsets(request) => {
                let reply = self.commit_txn_offsets(now_ms, request, &mut effects);
                effects.reply(token, GroupReply::CommitTxnOffsets(reply));
            }
            GroupRequest::EndTxn(end) => {
                self.append(&mut effects, end.into());
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
            GroupRequest::DescribeConsumerGroups(request) => {
                effects.reply(
                    token,
                    GroupReply::DescribeConsumerGroups(self.describe_consumer_groups(&request)),
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

    fn outcome(&mut self, now: &Moment<dyn Catalog>, outcome: Outcome) -> Effects {
        let now_ms = self.enter(now);
        match outcome {
            Outcome::Patterns(resolved) => self.patterns_resolved(now_ms, resolved),
            Outcome::Target(computed) => self.target_computed(now_ms, computed),
        }
    }

    fn next_deadline(&self) -> Option<i64> {
        self.timers.next_deadline()
    }

    fn on_deadline(&mut self, now: &Moment<dyn Catalog>) -> Effects {
        let now_ms = self.enter(now);
        let mut effects = Effects::default();
        while let Some(key) = self.timers.pop_due(now_ms) {
            match key {
                TimerKey::Expiry => self.expire(now_ms, &mut effects),
                TimerKey::Join(group_id) => {
                    self.with_group(now_ms, &group_id, &mut effects, |group, cx| {
                        if let Some(group) = group.as_classic_mut() {
                            group.on_join_deadline(cx);
                        }
                    });
                }
                TimerKey::Sync(group_id) => {
                    self.with_group(now_ms, &group_id, &mut effects, |group, cx| {
                        if let Some(group) = group.as_classic_mut() {
                            group.on_sync_deadline(cx);
                        }
                    });
                }
                TimerKey::Rebalance(group_id, member_id) => {
                    self.with_group(now_ms, &group_id, &mut effects, |group, cx| {
                        if let Some(group) = group.as_consumer_mut() {
                            group.on_rebalance_deadline(cx, &member_id);
                        }
                    });
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

    fn unload(self, refused: Refused) -> Vec<(Token, GroupReply)> {
        self.groups
            .into_values()
            .flat_map(|group| group.unload(refused.into()))
            .collect()
    }

    fn encode(record: &GroupRecord) -> Result<KeyValue, RecordError> {
        record.encode()?.ok_or(RecordError::IsMarker)
    }
}

/// The requests of the group protocol need an id; commits and descriptions accept the empty one, for old clients.
pub(super) fn is_group_id(group_id: &str) -> bool {
    !group_id.is_empty() && group_id.len() <= MAX_STRING_BYTES
}
