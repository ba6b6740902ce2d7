//! A shard with its owner played by the test: the log, the replies, the clock.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use uuid::Uuid;

use super::super::*;
use super::torn_steps::TornSteps;
pub(in crate::group::tests) use crate::machine::{EndTxn, Machine, Moment, Refused, Token, Write};
pub(in crate::group::tests) use protocol_shim::ErrorCode;

/// A member as a test thinks of it.
#[derive(Debug, Clone)]
pub(super) struct Joined {
    pub(super) member_id: MemberId,
    pub(super) generation_id: i32,
}

/// Topics and settings, as a test makes them up.
#[derive(Debug, Clone, Default)]
pub(super) struct TestCatalog {
    pub(super) topics: BTreeMap<Name, (Uuid, i32)>,
    pub(super) settings: BTreeMap<(String, String), i32>,
    /// As large as it gets, unless a test says otherwise.
    pub(super) max_batch_bytes: Option<usize>,
}

impl TestCatalog {
    /// Creates or changes a topic; its id is made from its name.
    pub(super) fn put(&mut self, name: &str, partition_count: i32) {
        self.topics
            .insert(name.into(), (topic_id(name), partition_count));
    }
}

impl TestCatalog {
    pub(super) fn remove(&mut self, name: &str) {
        self.topics.remove(name);
    }
}

/// The id of a topic of a test.
pub(super) fn topic_id(name: &str) -> Uuid {
    let bytes = name
        .bytes()
        .fold(0u128, |id, byte| id << 8 | u128::from(byte));
    Uuid::from_u128(bytes)
}

impl Catalog for TestCatalog {
    fn topic(&self, name: &str) -> Option<(Uuid, i32)> {
        self.topics.get(name).copied()
    }

    fn topic_name(&self, topic_id: Uuid) -> Option<Name> {
        let mut topics = self.topics.iter();
        topics
            .find(|(_, (id, _))| *id == topic_id)
            .map(|(name, _)| name.clone())
    }

    fn visit_topic_names(&self, visit: &mut dyn FnMut(&Name)) {
        self.topics.keys().for_each(visit);
    }

    fn group_setting(&self, group_id: &str, key: &str) -> Option<i32> {
        self.settings
            .get(&(group_id.to_owned(), key.to_owned()))
            .copied()
    }
}

/// A moment at which the clocks agree.
pub(super) fn at(now_ms: i64, catalog: &Arc<dyn Catalog>) -> Moment<dyn Catalog> {
    Moment {
        steady_ms: now_ms,
        wall_ahead_ms: 0,
        max_batch_bytes: usize::MAX,
        catalog: Arc::clone(catalog),
    }
}

/// The targets that a step asks for.
pub(super) fn targets_asked(effects: Effects) -> Vec<std::sync::Weak<TargetQuestion>> {
    let targets = effects
        .questions
        .into_iter()
        .filter_map(|question| match question {
            Question::Target(asked) => Some(asked),
            Question::Patterns(_) => None,
        });
    targets.collect()
}

/// What a step appends, as its shard sees it.
pub(super) fn records_of(writes: Vec<Write<GroupRecord>>) -> Vec<GroupRecord> {
    let records = writes.into_iter().flat_map(|write| match write {
        Write::Plain(records) | Write::Transactional { records, .. } => records,
        Write::Joint { .. } => panic!("a group ends no transaction"),
    });
    records.collect()
}

/// The topics of a catalog that an expression matches.
pub(super) fn matching(pattern: &str, catalog: &dyn Catalog) -> Result<BTreeSet<Name>, String> {
    let pattern = crate::pattern::NamePattern::compile(pattern)?;
    let mut topics = BTreeSet::new();
    catalog.visit_topic_names(&mut |name| {
        if pattern.matches(name) {
            topics.insert(name.clone());
        }
    });
    Ok(topics)
}

/// The answer to a question about expressions.
pub(super) fn resolved(asked: ResolvePatterns, catalog: &Arc<dyn Catalog>) -> PatternsResolved {
    let topics = asked.patterns.into_iter().map(|(pattern, _)| {
        let topics = matching(&pattern, &**catalog);
        (pattern, topics.unwrap_or_default())
    });
    PatternsResolved {
        group_id: asked.group_id,
        topics: topics.collect(),
        catalog: Arc::clone(catalog),
    }
}

/// What one step appended and may say once that is durable.
struct Step {
    log_length: usize,
    replies: Vec<(Token, GroupReply)>,
}

/// Something the world outside can rely on from now on.
pub(super) enum Visible {
    Record(GroupRecord),
    Reply(Token, GroupReply),
}

pub(super) struct TestContext {
    pub(super) config: GroupConfig,
    pub(super) shard: GroupShard,
    pub(super) now_ms: i64,
    /// How far the wall clock is ahead of that.
    pub(super) wall_ahead_ms: i64,
    /// Whether deadlines that have come are served after every request, as the owner does when its queue is empty.
    pub(super) serve_deadlines: bool,
    pub(super) log: Vec<GroupRecord>,
    pub(super) notes: Vec<Note>,
    /// Whether records stay in flight, and replies held back, until [`flush`](Self::flush).
    pub(super) hold: bool,
    in_flight: VecDeque<Step>,
    durable_length: usize,
    /// Everything that became durable or went out, in order.
    pub(super) visible: Vec<Visible>,
    /// Follows the log alone.
    replica: GroupShard,
    /// Every token handed in; `None` while it has no reply.
    replies: BTreeMap<Token, Option<GroupReply>>,
    next_uuid: u128,
    /// What the shard knows of topics.
    pub(super) catalog: TestCatalog,
    /// The same as it was handed in.
    pub(super) handed_in: Arc<dyn Catalog>,
    /// Whether questions about expressions stay unanswered, in `resolving`.
    pub(super) hold_patterns: bool,
    pub(super) resolving: Vec<ResolvePatterns>,
    /// Whether targets that are asked for are not handed in, but stay in `computing`.
    pub(super) hold_targets: bool,
    pub(super) computing: Vec<Arc<TargetQuestion>>,
    /// Looks at what a crash in the middle of a step would leave, if a test says so.
    pub(super) torn: Option<TornSteps>,
}

impl TestContext {
    pub(super) fn new() -> Self {
        Self::with_config(GroupConfig::default())
    }

    pub(super) fn with_config(config: GroupConfig) -> Self {
        let mut cx = Self {
            shard: GroupShard::new(config.clone()),
            replica: GroupShard::new(config.clone()),
            config,
            now_ms: 1_000_000,
            wall_ahead_ms: 0,
            serve_deadlines: true,
            log: Vec::new(),
            notes: Vec::new(),
            hold: false,
            in_flight: VecDeque::new(),
            durable_length: 0,
            visible: Vec::new(),
            replies: BTreeMap::new(),
            next_uuid: 1,
            catalog: TestCatalog::default(),
            handed_in: Arc::new(TestCatalog::default()),
            hold_patterns: false,
            resolving: Vec::new(),
            hold_targets: false,
            computing: Vec::new(),
            torn: None,
        };
        let effects = cx.shard.loaded(&cx.now());
        cx.take(effects);
        cx
    }

    /// What the shard is told when it is called.
    pub(super) fn now(&self) -> Moment<dyn Catalog> {
        Moment {
            wall_ahead_ms: self.wall_ahead_ms,
            max_batch_bytes: self.catalog.max_batch_bytes.unwrap_or(usize::MAX),
            ..at(self.now_ms, &self.handed_in)
        }
    }

    /// The owner's part of a step, and the rule that holds after every one: replaying the log gives the live state. Here
    /// every write comes into the log at once; see `late_markers.rs` for others.
    fn take(&mut self, mut effects: Effects) {
        for write in &effects.writes {
            if let Write::Transactional { producer, .. } = write {
                self.shard.settled(*producer, true);
            }
        }
        let records = records_of(std::mem::take(&mut effects.writes));
        self.take_records(records, effects);
    }

    fn take_records(&mut self, records: Vec<GroupRecord>, effects: Effects) {
        let now = self.now();
        if let Some(torn) = &mut self.torn {
            torn.check_cuts(&self.config, &self.replica, &records, &now);
        }
        for record in records {
            self.replica.apply(&through_bytes(&record));
            self.log.push(record);
        }
        self.notes.extend(effects.notes);
        self.shard.check();
        let live = self.shard.snapshot();
        let mut replayed = self.replica.snapshot();
        replayed.retain(|record| match record {
            GroupRecord::Group { group_id, .. } => {
                let group = self.shard.groups.get(group_id);
                group
                    .unwrap_or_else(|| panic!("group {group_id} is in the log only"))
                    .as_classic()
                    .expect("a classic group's record")
                    .is_settled()
            }
            _ => true,
        });
        assert_eq!(
            live, replayed,
            "replaying the log does not give the live state"
        );
        self.in_flight.push_back(Step {
            log_length: self.log.len(),
            replies: effects.replies,
        });
        if !self.hold {
            self.flush(usize::MAX);
        }
        for question in effects.questions {
            match question {
                Question::Patterns(asked) => self.resolving.push(asked),
                Question::Target(asked) => self.computing.extend(asked.upgrade()),
            }
        }
        if !self.hold_patterns {
            self.resolve_patterns();
        }
        while !self.hold_targets && !self.computing.is_empty() {
            self.hand_in_target(0);
        }
    }

    /// Computes one of the targets that were asked for, and hands it in.
    pub(super) fn hand_in_target(&mut self, index: usize) {
        let computed = self.computing.remove(index).compute();
        let effects = self.shard.outcome(&self.now(), Outcome::Target(computed));
        self.take(effects);
    }

    /// Answers what was asked about expressions.
    pub(super) fn resolve_patterns(&mut self) {
        for asked in std::mem::take(&mut self.resolving) {
            let resolved = resolved(asked, &self.handed_in);
            let effects = self.shard.outcome(&self.now(), Outcome::Patterns(resolved));
            self.take(effects);
        }
    }

    /// The records of the first `count` steps in flight become durable, and their replies go out.
    pub(super) fn flush(&mut self, count: usize) {
        for step in self.in_flight.drain(..count.min(self.in_flight.len())) {
            let records = &self.log[self.durable_length..step.log_length];
            self.visible
                .extend(records.iter().cloned().map(Visible::Record));
            self.durable_length = step.log_length;
            for (token, reply) in step.replies {
                self.visible.push(Visible::Reply(token, reply.clone()));
                answer(&mut self.replies, token, reply);
            }
        }
    }

    /// Hands in a request; the reply may come later.
    pub(super) fn send(&mut self, mut request: GroupRequest) -> Token {
        if let GroupRequest::ConsumerHeartbeat(heartbeat) = &mut request
            && let Some(pattern) = &heartbeat.subscribed_topic_regex
        {
            let topics = matching(pattern, &*self.handed_in);
            let catalog = self.handed_in.clone();
            heartbeat.resolved = Some(ResolvedPattern { topics, catalog });
        }
        let token = Token(self.replies.len() as u64);
        self.replies.insert(token, None);
        let effects = self.shard.handle(&self.now(), token, request);
        self.take(effects);
        if self.serve_deadlines {
            self.serve();
        }
        token
    }

    /// Serves the deadlines that have come.
    pub(super) fn serve(&mut self) {
        while self
            .shard
            .next_deadline()
            .is_some_and(|at_ms| at_ms <= self.now_ms)
        {
            let effects = self.shard.on_deadline(&self.now());
            self.take(effects);
        }
    }

    /// Lets time pass, deadline by deadline.
    pub(super) fn advance(&mut self, by_ms: i64) {
        let until_ms = self.now_ms + by_ms;
        while let Some(at_ms) = self
            .shard
            .next_deadline()
            .filter(|&at_ms| at_ms <= until_ms)
        {
            self.now_ms = self.now_ms.max(at_ms);
            self.serve();
        }
        self.now_ms = until_ms;
    }

    /// An append fails: what was in flight is lost, and a new shard is loaded from the log.
    pub(super) fn crash(&mut self) {
        let config = self.config.clone();
        let dead = std::mem::replace(&mut self.shard, GroupShard::new(config.clone()));
        let held = self.in_flight.drain(..).flat_map(|step| step.replies);
        let refused = Refused::NotCoordinator;
        let failed = held.map(|(token, _)| (token, GroupReply::from(refused)));
        for (token, reply) in failed.chain(dead.unload(refused)) {
            answer(&mut self.replies, token, reply);
        }
        assert_eq!(self.parked(), [], "nobody will ever answer these");
        self.replica = GroupShard::new(config);
        self.log.truncate(self.durable_length);
        for record in &self.log {
            self.shard.apply(&through_bytes(record));
            self.replica.apply(&through_bytes(record));
        }
        self.hand_in_catalog();
        self.resolving.clear();
        let effects = self.shard.loaded(&self.now());
        self.take(effects);
    }

    /// The same, when of the records in flight the first `count` had become durable, in the middle of a step or not.
    pub(super) fn crash_behind(&mut self, count: usize) {
        self.durable_length = (self.durable_length + count).min(self.log.len());
        self.crash();
    }

    /// Records in flight.
    pub(super) fn in_flight_records(&self) -> usize {
        self.log.len() - self.durable_length
    }

    /// Topics or settings of groups change.
    pub(super) fn set_catalog(&mut self, edit: impl FnOnce(&mut TestCatalog)) {
        edit(&mut self.catalog);
        self.hand_in_catalog();
    }

    fn hand_in_catalog(&mut self) {
        self.handed_in = Arc::new(self.catalog.clone());
    }

    pub(super) fn parked(&self) -> Vec<Token> {
        self.replies
            .iter()
            .filter(|(_, reply)| reply.is_none())
            .map(|(token, _)| *token)
            .collect()
    }

    pub(super) fn is_parked(&self, token: Token) -> bool {
        self.replies[&token].is_none()
    }

    pub(super) fn poll(&self, token: Token) -> Option<GroupReply> {
        self.replies[&token].clone()
    }

    pub(super) fn reply(&self, token: Token) -> GroupReply {
        self.replies[&token]
            .clone()
            .unwrap_or_else(|| panic!("{token:?} is still parked"))
    }

    pub(super) fn join_reply(&self, token: Token) -> JoinReply {
        match self.reply(token) {
            GroupReply::Join(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn join_error(&self, token: Token) -> ErrorCode {
        self.join_reply(token).error.expect("an error")
    }

    pub(super) fn sync_reply(&self, token: Token) -> SyncReply {
        match self.reply(token) {
            GroupReply::Sync(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn uuid(&mut self) -> Uuid {
        self.next_uuid += 1;
        Uuid::from_u128(self.next_uuid)
    }

    /// JoinGroup of the newest version, by a consumer that knows `range`, changed by `edit`.
    pub(super) fn join_with(
        &mut self,
        group: &str,
        member_id: &str,
        edit: impl FnOnce(&mut JoinGroup),
    ) -> Token {
        let mut request = JoinGroup {
            group_id: group.into(),
            member_id: member_id.into(),
            group_instance_id: None,
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".into(),
            protocols: vec![protocol("range", &["topic"])],
            reason: None,
            api_version: 9,
            member_uuid: self.uuid(),
        };
        edit(&mut request);
        self.send(GroupRequest::Join(request))
    }

    pub(super) fn join(&mut self, group: &str, member_id: &str) -> Token {
        self.join_with(group, member_id, |_| {})
    }

    pub(super) fn join_static(&mut self, group: &str, member_id: &str, instance_id: &str) -> Token {
        self.join_with(group, member_id, |request| {
            request.group_instance_id = Some(instance_id.into())
        })
    }

    /// The id that MEMBER_ID_REQUIRED gives to a new dynamic member.
    pub(super) fn new_member_id(&mut self, group: &str) -> MemberId {
        let token = self.join(group, "");
        let reply = self.join_reply(token);
        assert_eq!(reply.error, Some(ErrorCode::MemberIdRequired));
        reply.member_id
    }

    /// A stable group of `count` dynamic members; the first is its leader.
    pub(super) fn stable_group(&mut self, group: &str, count: usize) -> Vec<Joined> {
        let ids: Vec<MemberId> = (0..count).map(|_| self.new_member_id(group)).collect();
        self.serve_deadlines = false;
        let joins: Vec<Token> = ids.iter().map(|id| self.join(group, id)).collect();
        self.serve_deadlines = true;
        self.advance(i64::from(self.config.initial_rebalance_delay_ms) * 2);
        self.serve();
        let members: Vec<Joined> = joins
            .iter()
            .map(|token| {
                let JoinReply {
                    error,
                    generation_id,
                    member_id,
                    ..
                } = self.join_reply(*token);
                assert_eq!(error, None);
                Joined {
                    member_id,
                    generation_id,
                }
            })
            .collect();
        self.sync_all(group, &members);
        members
    }

    /// Syncs all members, the leader last, each getting an assignment that is its id.
    pub(super) fn sync_all(&mut self, group: &str, members: &[Joined]) {
        let assignments: Vec<(&str, &str)> = members
            .iter()
            .map(|member| (&*member.member_id, &*member.member_id))
            .collect();
        let tokens: Vec<Token> = members
            .iter()
            .rev()
            .map(|member| self.sync(group, member, &assignments))
            .collect();
        for (token, member) in tokens.iter().zip(members.iter().rev()) {
            let reply = self.sync_reply(*token);
            assert_eq!(
                (reply.error, &*reply.assignment),
                (None, member.member_id.as_bytes())
            );
        }
    }

    pub(super) fn sync(
        &mut self,
        group: &str,
        member: &Joined,
        assignments: &[(&str, &str)],
    ) -> Token {
        self.sync_with(group, member, assignments, |_| {})
    }

    pub(super) fn sync_with(
        &mut self,
        group: &str,
        member: &Joined,
        assignments: &[(&str, &str)],
        edit: impl FnOnce(&mut SyncGroup),
    ) -> Token {
        let mut request = SyncGroup {
            group_id: group.into(),
            generation_id: member.generation_id,
            member_id: member.member_id.clone(),
            group_instance_id: None,
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: assignments
                .iter()
                .map(|(id, assignment)| {
                    ((*id).into(), Bytes::copy_from_slice(assignment.as_bytes()))
                })
                .collect(),
        };
        edit(&mut request);
        self.send(GroupRequest::Sync(request))
    }

    pub(super) fn heartbeat(&mut self, group: &str, member: &Joined) -> Option<ErrorCode> {
        self.heartbeat_as(group, member, None)
    }

    pub(super) fn heartbeat_as(
        &mut self,
        group: &str,
        member: &Joined,
        instance_id: Option<&str>,
    ) -> Option<ErrorCode> {
        let token = self.send(GroupRequest::Heartbeat(Heartbeat {
            group_id: group.into(),
            generation_id: member.generation_id,
            member_id: member.member_id.clone(),
            group_instance_id: instance_id.map(InstanceId::from),
        }));
        match self.reply(token) {
            GroupReply::Heartbeat(error) => error,
            other => panic!("{other:?}"),
        }
    }

    /// LeaveGroup of `(member id, instance id)`s; the errors, in that order.
    pub(super) fn leave(
        &mut self,
        group: &str,
        members: &[(&str, Option<&str>)],
    ) -> Vec<Option<ErrorCode>> {
        let members = members
            .iter()
            .map(|(member_id, instance_id)| LeavingMember {
                member_id: (*member_id).into(),
                group_instance_id: instance_id.map(InstanceId::from),
                reason: None,
            });
        let request = LeaveGroup {
            group_id: group.into(),
            members: members.collect(),
        };
        let token = self.send(GroupRequest::Leave(request));
        match self.reply(token) {
            GroupReply::Leave(reply) => {
                assert_eq!(reply.error, None);
                reply
                    .members
                    .into_iter()
                    .map(|member| member.error)
                    .collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Commits `offset` for `topic-0`.
    pub(super) fn commit(
        &mut self,
        group: &str,
        member: &Joined,
        offset: i64,
    ) -> Option<ErrorCode> {
        self.commit_with(group, member, offset, |_| {})
    }

    pub(super) fn commit_with(
        &mut self,
        group: &str,
        member: &Joined,
        offset: i64,
        edit: impl FnOnce(&mut CommitOffsets),
    ) -> Option<ErrorCode> {
        let mut request = CommitOffsets {
            group_id: group.into(),
            generation_id_or_member_epoch: member.generation_id,
            member_id: member.member_id.clone(),
            group_instance_id: None,
            retention_time_ms: None,
            topics: vec![commit_topic("topic", offset)],
            api_version: 9,
        };
        edit(&mut request);
        let token = self.send(GroupRequest::CommitOffsets(request));
        match self.reply(token) {
            GroupReply::CommitOffsets(topics) => topics[0].partitions[0].error,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn commit_txn(
        &mut self,
        group: &str,
        member: &Joined,
        producer_id: i64,
        offset: i64,
    ) -> Option<ErrorCode> {
        self.commit_txn_in(group, member, producer_id, offset, 6)
    }

    /// In a version of TxnOffsetCommit.
    pub(super) fn commit_txn_in(
        &mut self,
        group: &str,
        member: &Joined,
        producer_id: i64,
        offset: i64,
        api_version: i16,
    ) -> Option<ErrorCode> {
        let token = self.send(GroupRequest::CommitTxnOffsets(CommitTxnOffsets {
            group_id: group.into(),
            producer_id,
            producer_epoch: 0,
            generation_id: member.generation_id,
            member_id: member.member_id.clone(),
            group_instance_id: None,
            topics: vec![commit_topic("topic", offset)],
            api_version,
        }));
        match self.reply(token) {
            GroupReply::CommitTxnOffsets(topics) => topics[0].partitions[0].error,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn end_txn(&mut self, producer_id: i64, commit: bool) {
        let end = EndTxn {
            producer_id,
            producer_epoch: 0,
            coordinator_epoch: 0,
            commit,
        };
        self.shard.replay_marker(end);
        self.take_records(vec![end.into()], Effects::default());
    }

    /// The offset committed for partition 0 of `topic`, or why there is none.
    pub(super) fn fetch(
        &mut self,
        group: &str,
        topic: &str,
        require_stable: bool,
    ) -> Result<Option<i64>, ErrorCode> {
        let topic = FetchTopic {
            name: topic.into(),
            topic_id: Uuid::nil(),
            partition_indexes: vec![0],
        };
        let fetched = self.fetch_group(group, Some(vec![topic]), require_stable);
        let partition = &fetched.topics[0].partitions[0];
        partition.error.map_or(
            Ok(Some(partition.committed_offset).filter(|&offset| offset != -1)),
            Err,
        )
    }

    pub(super) fn fetch_group(
        &mut self,
        group: &str,
        topics: Option<Vec<FetchTopic>>,
        require_stable: bool,
    ) -> FetchedGroup {
        let groups = vec![FetchGroup {
            member_id: None,
            member_epoch: -1,
            group_id: group.into(),
            topics,
        }];
        let token = self.send(GroupRequest::FetchOffsets(FetchOffsets {
            groups,
            require_stable,
            allowance: Allowance::unlimited(),
        }));
        match self.reply(token) {
            GroupReply::FetchOffsets(mut groups) => groups.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn describe(&mut self, group: &str) -> DescribedGroup {
        let request = DescribeGroups {
            group_ids: vec![group.into()],
            api_version: 6,
            allowance: Allowance::unlimited(),
        };
        let token = self.send(GroupRequest::DescribeGroups(request));
        match self.reply(token) {
            GroupReply::DescribeGroups(mut groups) => groups.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn state(&mut self, group: &str) -> &'static str {
        self.describe(group).state
    }

    pub(super) fn list(&mut self, states: &[&str], types: &[&str]) -> Vec<ListedGroup> {
        let request = ListGroups::filtered(states.iter().copied(), types.iter().copied());
        let token = self.send(GroupRequest::ListGroups(request));
        match self.reply(token) {
            GroupReply::ListGroups(reply) => reply.groups,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn delete_groups(&mut self, groups: &[&str]) -> Vec<Option<ErrorCode>> {
        let group_ids = groups.iter().map(|group| (*group).into()).collect();
        let token = self.send(GroupRequest::DeleteGroups(DeleteGroups { group_ids }));
        match self.reply(token) {
            GroupReply::DeleteGroups(groups) => {
                groups.into_iter().map(|group| group.error).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Deletes the offset of partition 0 of `topic`: the top-level error, or the partition's.
    pub(super) fn delete_offset(&mut self, group: &str, topic: &str) -> Option<ErrorCode> {
        let request = DeleteOffsets {
            group_id: group.into(),
            topics: vec![(topic.into(), vec![0])],
        };
        let token = self.send(GroupRequest::DeleteOffsets(request));
        match self.reply(token) {
            GroupReply::DeleteOffsets(reply) => {
                reply.error.or_else(|| reply.topics[0].partitions[0].error)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn notes_of(&self, pick: impl Fn(&NoteKind) -> bool) -> usize {
        self.notes.iter().filter(|note| pick(&note.what)).count()
    }
}

fn answer(replies: &mut BTreeMap<Token, Option<GroupReply>>, token: Token, reply: GroupReply) {
    let slot = replies
        .get_mut(&token)
        .unwrap_or_else(|| panic!("{token:?} is not known"));
    assert!(
        slot.is_none(),
        "{token:?} was answered twice: {slot:?}, {reply:?}"
    );
    *slot = Some(reply);
}

/// Who commits without being in a group.
pub(super) fn nobody() -> Joined {
    Joined {
        member_id: "".into(),
        generation_id: -1,
    }
}

pub(super) fn protocol(name: &str, topics: &[&str]) -> Protocol {
    let mut metadata = vec![0, 1];
    metadata.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        metadata.extend((topic.len() as i16).to_be_bytes());
        metadata.extend(topic.as_bytes());
    }
    // No user data, and nothing owned.
    metadata.extend((-1i32).to_be_bytes());
    metadata.extend(0i32.to_be_bytes());
    Protocol {
        name: name.into(),
        metadata: metadata.into(),
    }
}

pub(super) fn commit_topic(name: &str, offset: i64) -> CommitTopic {
    CommitTopic {
        name: name.into(),
        topic_id: Uuid::nil(),
        partitions: vec![CommitPartition {
            partition_index: 0,
            committed_offset: offset,
            committed_leader_epoch: 5,
            metadata: "note".into(),
        }],
    }
}

/// The record as it comes back from the log.
fn through_bytes(record: &GroupRecord) -> GroupRecord {
    let Some((key, value)) = record.encode().expect("records of the shard have bytes") else {
        return record.clone();
    };
    let producer = match record {
        GroupRecord::TxnOffset {
            producer_id,
            producer_epoch,
            ..
        } => Some((*producer_id, *producer_epoch)),
        _ => None,
    };
    let decoded = GroupRecord::decode(&key, value.as_deref(), producer)
        .expect("what was written can be read");
    decoded.expect("the type is known")
}
