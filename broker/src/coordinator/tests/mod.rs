//! A coordinator on a log whose moods the test decides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use coordinators::group::OFFSETS_TOPIC;
use coordinators::group::*;
use coordinators::machine::{Machine, Moment, Token};
use parking_lot::Mutex;
use protocol_shim::ErrorCode;
use storage::log::{
    ActiveProducer, AppendError, AppendOrigin, AppendPermit, FetchWait, Isolation, LogConfig,
    LogOffsets, Next, PartitionLog, PendingAppend, Read, ReadError, ReadRequest, TimestampOffset,
    TopicPartition, WaitRegistration,
};
use storage::memory;
use storage::record::ValidatedBatch;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::RecordValidation;
use crate::config::{BrokerConfig, Properties};
use crate::coordinator::group::assignors::Assignors;
use crate::coordinator::group::patterns::PatternResolver;
use crate::coordinator::group::{GroupCoordinator, GroupShards, Groups};
use crate::coordinator::runtime::Runtime;
use crate::metadata::{LogStore, Metadata, TopicRef, metadata_log_config, metadata_log_id};
use crate::partition::registry::PartitionRegistry;

mod runtime;

type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

const MAX_BATCH_BYTES: usize = 1_048_588;

/// A batch that the device still has to write.
struct InFlight {
    batch: ValidatedBatch,
    reply: oneshot::Sender<Result<storage::log::Appended, AppendError>>,
}

struct TestLog {
    inner: Arc<dyn PartitionLog>,
    /// What the next appends are answered with.
    refusals: Mutex<VecDeque<AppendError>>,
    /// Whether batches stay in flight until [`release`](Self::release).
    holds: Mutex<bool>,
    in_flight: Mutex<VecDeque<InFlight>>,
    batch_bytes: Mutex<Vec<usize>>,
    /// How often the log was read from its start.
    loads: AtomicUsize,
}

impl TestLog {
    fn new() -> Arc<Self> {
        let id = TopicPartition {
            topic: "__consumer_offsets".into(),
            topic_id: Uuid::from_u128(1),
            partition: 0,
        };
        let inner = memory::open()
            .open_log(id, Arc::new(LogConfig::default()))
            .expect("open");
        Arc::new(Self {
            inner,
            refusals: Mutex::default(),
            holds: Mutex::default(),
            in_flight: Mutex::default(),
            batch_bytes: Mutex::default(),
            loads: AtomicUsize::new(0),
        })
    }

    fn refuse(&self, error: AppendError) {
        self.refusals.lock().push_back(error);
    }

    /// What is in flight becomes durable.
    async fn release(&self) {
        *self.holds.lock() = false;
        let in_flight: Vec<InFlight> = self.in_flight.lock().drain(..).collect();
        for InFlight { batch, reply } in in_flight {
            let (permit, origin) = (AppendPermit::unlimited(), AppendOrigin::Coordinator);
            let appended = self.inner.submit(permit, batch, origin, Next::Append);
            let appended = appended.expect("in memory");
            let _ = reply.send(appended.await);
        }
    }

    async fn until_in_flight(&self, count: usize) {
        while self.in_flight.lock().len() < count {
            tokio::task::yield_now().await;
        }
    }
}

impl PartitionLog for TestLog {
    fn id(&self) -> &TopicPartition {
        self.inner.id()
    }

    fn ready(&self) -> Option<BoxFuture<'static, ()>> {
        self.inner.ready()
    }

    fn reserve(
        &self,
        bytes: usize,
        origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>> {
        self.inner.reserve(bytes, origin)
    }

    fn submit(
        &self,
        permit: AppendPermit,
        batch: ValidatedBatch,
        origin: AppendOrigin,
        next: Next,
    ) -> Result<PendingAppend, AppendError> {
        if let Some(error) = self.refusals.lock().pop_front() {
            return Err(error);
        }
        self.batch_bytes.lock().push(batch.size_bytes());
        if !*self.holds.lock() {
            return self.inner.submit(permit, batch, origin, next);
        }
        let (reply, written) = oneshot::channel();
        self.in_flight.lock().push_back(InFlight { batch, reply });
        Ok(Box::pin(async move { written.await.expect("released") }))
    }

    fn offsets(&self) -> LogOffsets {
        self.inner.offsets()
    }

    fn current_offsets(&self) -> BoxFuture<'static, Result<LogOffsets, ReadError>> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.inner.current_offsets()
    }

    fn leader_epoch(&self) -> i32 {
        self.inner.leader_epoch()
    }

    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn read(&self, request: ReadRequest) -> Result<Read, ReadError> {
        self.inner.read(request)
    }

    fn watch(&self, end: i64, isolation: Isolation, wait: &Arc<FetchWait>) -> WaitRegistration {
        self.inner.watch(end, isolation, wait)
    }

    fn offset_for_timestamp(
        &self,
        timestamp: i64,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>> {
        self.inner.offset_for_timestamp(timestamp, isolation)
    }

    fn offset_of_max_timestamp(
        &self,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>> {
        self.inner.offset_of_max_timestamp()
    }

    fn producers(&self) -> Vec<ActiveProducer> {
        self.inner.producers()
    }

    fn end_offset_for_epoch(&self, leader_epoch: i32) -> Option<(i32, i64)> {
        self.inner.end_offset_for_epoch(leader_epoch)
    }

    fn delete_records_before(&self, offset: i64) -> BoxFuture<'static, Result<i64, AppendError>> {
        self.inner.delete_records_before(offset)
    }

    fn set_config(&self, config: Arc<LogConfig>) {
        self.inner.set_config(config);
    }
}

async fn metadata() -> Metadata {
    let manager = memory::open();
    let store = manager
        .open_log(metadata_log_id(), Arc::new(metadata_log_config()))
        .expect("open");
    let config = BrokerConfig::from_properties(Properties::new()).expect("valid");
    let observer = Arc::new(|_: &_, _: &_| {});
    let store = Box::new(LogStore::new(store));
    let metadata = Metadata::open(store, "c", Arc::new(config.0), observer);
    metadata.await.expect("open")
}

/// A coordinator with one shard on `log`, and what would shut it down.
async fn coordinator(log: &Arc<TestLog>) -> (Arc<GroupShards>, watch::Sender<bool>) {
    coordinator_with(log, metadata().await).await
}

/// One that serves nobody yet.
fn idle_coordinator(metadata: Metadata, shutdown: watch::Receiver<bool>) -> GroupCoordinator {
    let partitions = Arc::new(PartitionRegistry::new(RecordValidation::Full));
    let config = GroupConfig::default();
    let clock = Clock::new();
    let runtime = Runtime {
        metadata,
        clock,
        shutdown,
    };
    GroupCoordinator::new(Groups::new(config), runtime, partitions)
}

async fn coordinator_with(
    log: &Arc<TestLog>,
    metadata: Metadata,
) -> (Arc<GroupShards>, watch::Sender<bool>) {
    let topic = metadata.ensure_internal_topic(OFFSETS_TOPIC).await;
    let topic_id = topic.expect("created").topic_id;
    let (stop, shutdown) = watch::channel(false);
    let coordinator = idle_coordinator(metadata, shutdown);
    let log: Arc<dyn PartitionLog> = log.clone();
    coordinator
        .start(topic_id, vec![log])
        .await
        .expect("loaded");
    (coordinator.shards().expect("started"), stop)
}

/// A commit of `count` partitions with this much metadata each, from outside of the group.
fn commit(group: &str, count: i32, metadata_bytes: usize) -> CommitOffsets {
    let metadata: Name = "m".repeat(metadata_bytes).into();
    let partitions = (0..count).map(|partition_index| CommitPartition {
        partition_index,
        committed_offset: 7,
        committed_leader_epoch: -1,
        metadata: metadata.clone(),
    });
    CommitOffsets {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        member_id: "".into(),
        group_instance_id: None,
        retention_time_ms: None,
        topics: vec![CommitTopic {
            name: "topic".into(),
            topic_id: Uuid::nil(),
            partitions: partitions.collect(),
        }],
        api_version: 9,
    }
}

fn join(group: &str, metadata_bytes: usize) -> JoinGroup {
    JoinGroup {
        group_id: group.into(),
        member_id: "".into(),
        group_instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "connect".into(),
        protocols: vec![Protocol {
            name: "range".into(),
            metadata: vec![0; metadata_bytes].into(),
        }],
        reason: None,
        api_version: 3,
        member_uuid: Uuid::new_v4(),
    }
}

/// The one error of a commit's partitions.
fn error_of(
    committed: Result<Vec<TopicResult>, ErrorCode>,
) -> Result<Option<ErrorCode>, ErrorCode> {
    let topics = committed?;
    let mut errors: Vec<_> = topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|partition| partition.error)
        .collect();
    errors.dedup();
    assert_eq!(errors.len(), 1, "{errors:?}");
    Ok(errors[0])
}

async fn fetched(coordinator: &GroupShards, group: &str) -> usize {
    let request = FetchOffsets {
        groups: vec![FetchGroup {
            group_id: group.into(),
            member_id: None,
            member_epoch: -1,
            topics: None,
        }],
        require_stable: false,
        allowance: Allowance::unlimited(),
    };
    let groups = coordinator.call(group, request).await.expect("answered");
    let topics = groups[0].topics.iter();
    topics.map(|topic| topic.partitions.len()).sum()
}

#[tokio::test]
async fn commits_that_come_together_are_all_taken_in_batches_that_the_log_takes() {
    let log = TestLog::new();
    let (coordinator, _stop) = coordinator(&log).await;
    let tasks: Vec<_> = (0..30)
        .map(|number| {
            let coordinator = Arc::clone(&coordinator);
            tokio::spawn(async move {
                let group = format!("g{number}");
                let committed = coordinator.call(&group, commit(&group, 200, 2_000)).await;
                (group, error_of(committed))
            })
        })
        .collect();
    for task in tasks {
        let (group, committed) = task.await.expect("no panic");
        assert_eq!(committed, Ok(None));
        assert_eq!(fetched(&coordinator, &group).await, 200);
    }
    let batches = log.batch_bytes.lock().clone();
    assert!(batches.iter().all(|bytes| *bytes <= MAX_BATCH_BYTES));
    // Two of them fit into one batch, three do not.
    assert!(batches.len() >= 15, "{batches:?}");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_alone() {
    let log = TestLog::new();
    let (coordinator, _stop) = coordinator(&log).await;
    assert_eq!(
        coordinator
            .call("g", join("g", 10))
            .await
            .map(|joined| joined.error),
        Ok(None)
    );
    let too_large = commit("large", 400, 4_000);
    let committed = coordinator.call("large", too_large).await;
    assert_eq!(error_of(committed), Ok(Some(ErrorCode::UnknownServerError)));
    assert_eq!(fetched(&coordinator, "large").await, 0);
    let joined = coordinator.call("large", join("large", 70 << 20)).await;
    let joined = joined.expect("answered");
    assert_eq!(joined.error, Some(ErrorCode::UnknownServerError));
    let described = coordinator.call(
        "g",
        DescribeGroups {
            group_ids: vec!["g".into()],
            api_version: 6,
            allowance: Allowance::unlimited(),
        },
    );
    assert_eq!(described.await.expect("answered")[0].members.len(), 1);
    assert_eq!(log.loads.load(Ordering::Relaxed), 1, "nobody was evicted");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_passes_throws_nothing_away() {
    let log = TestLog::new();
    let (coordinator, _stop) = coordinator(&log).await;
    let joined = coordinator
        .call("g", join("g", 10))
        .await
        .expect("answered");
    assert_eq!(joined.error, None);
    for _ in 0..5 {
        log.refuse(AppendError::Storage("the disk is full".to_owned()));
    }
    let committed = coordinator.call("h", commit("h", 1, 10)).await;
    assert_eq!(error_of(committed), Ok(None));
    let heartbeat = Heartbeat {
        group_id: "g".into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id,
        group_instance_id: None,
    };
    // The log does not know the member yet: a new shard would not either.
    assert_eq!(coordinator.call("g", heartbeat).await, Ok(None));
    assert_eq!(log.loads.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_lasts_is_told_and_what_was_durable_is_there_afterwards() {
    let log = TestLog::new();
    let (coordinator, _stop) = coordinator(&log).await;
    let committed = coordinator.call("g", commit("g", 1, 10)).await;
    assert_eq!(error_of(committed), Ok(None));
    for _ in 0..1000 {
        log.refuse(AppendError::Storage("the disk is full".to_owned()));
    }
    let committed = coordinator.call("h", commit("h", 1, 10)).await;
    assert_eq!(error_of(committed), Err(ErrorCode::CoordinatorNotAvailable));
    log.refusals.lock().clear();
    assert_eq!(fetched(&coordinator, "g").await, 1);
    assert_eq!(fetched(&coordinator, "h").await, 0);
}

#[tokio::test]
async fn a_new_shard_is_loaded_when_what_was_in_flight_has_ended() {
    let log = TestLog::new();
    let (coordinator, _stop) = coordinator(&log).await;
    *log.holds.lock() = true;
    let commit_later = |group: &'static str| {
        let coordinator = Arc::clone(&coordinator);
        tokio::spawn(async move { error_of(coordinator.call(group, commit(group, 1, 10)).await) })
    };
    let first = commit_later("first");
    log.until_in_flight(1).await;
    log.refuse(AppendError::Indeterminate("the device failed".to_owned()));
    let second = commit_later("second");
    // The shard would be loaded now, and not know the first commit, which is durable a moment later.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(log.loads.load(Ordering::Relaxed), 1);
    log.release().await;
    assert_eq!(first.await.expect("no panic"), Ok(None));
    assert_eq!(
        second.await.expect("no panic"),
        Err(ErrorCode::CoordinatorNotAvailable)
    );
    assert_eq!(fetched(&coordinator, "first").await, 1);
    assert_eq!(fetched(&coordinator, "second").await, 0);
    assert_eq!(log.loads.load(Ordering::Relaxed), 2);
}

fn heartbeat(group: &str, member_epoch: i32, topics: &[Name]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group_id: group.into(),
        member_id: "m".into(),
        member_epoch,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: 60_000,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        subscribed_topic_names: Some(topics.to_vec()),
        subscribed_topic_regex: None,
        resolved: None,
        server_assignor: None,
        owned: Some(Vec::new()),
        api_version: 1,
        member_uuid: Uuid::new_v4(),
    }
}

/// Runs a test that has one thread for blocking work.
fn with_one_blocking_thread(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().max_blocking_threads(1).build();
    let runtime = runtime.expect("built");
    runtime.block_on(test);
}

/// Keeps that thread busy until what it returns is dropped.
fn keep_busy() -> std::sync::mpsc::Sender<()> {
    let (let_go, told) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || told.recv());
    let_go
}

#[test]
fn a_shard_serves_its_groups_while_an_assignor_is_at_work() {
    with_one_blocking_thread(async {
        let log = TestLog::new();
        let metadata = metadata().await;
        let names: Vec<String> = (0..3_000).map(|number| format!("t{number}")).collect();
        let created = metadata.auto_create(names.clone()).await;
        assert!(created.iter().all(Result::is_ok));
        let (coordinator, _stop) = coordinator_with(&log, metadata).await;
        let names: Vec<Name> = names.into_iter().map(Name::from).collect();
        let let_go = keep_busy();

        let beat = async |group: &str, epoch: i32, topics: &[Name]| {
            let answered = coordinator.call(group, heartbeat(group, epoch, topics));
            let reply = answered.await.expect("answered");
            assert_eq!(reply.refusal, None);
            let topics = reply.assignment.expect("the answer to a full request");
            (reply.member_epoch, topics.len())
        };
        assert_eq!(beat("large", 0, &names).await, (1, 0));
        // The others of the shard, and the group itself, are served meanwhile.
        assert_eq!(beat("small", 0, &names[..1]).await, (2, 1));
        let committed = coordinator.call("other", commit("other", 1, 10)).await;
        assert_eq!(error_of(committed), Ok(None));
        assert_eq!(beat("large", 1, &names).await, (1, 0));

        drop(let_go);
        let mut large = (1, 0);
        while large.0 == 1 {
            tokio::task::yield_now().await;
            large = beat("large", 1, &names).await;
        }
        assert_eq!(large, (2, 3_000));
    });
}

fn moment(catalog: Arc<dyn Catalog>) -> Moment<dyn Catalog> {
    Moment {
        steady_ms: 0,
        wall_ahead_ms: 0,
        max_batch_bytes: MAX_BATCH_BYTES,
        catalog,
    }
}

fn target_of(question: Question) -> std::sync::Weak<TargetQuestion> {
    match question {
        Question::Target(asked) => asked,
        Question::Patterns(asked) => panic!("{asked:?}"),
    }
}

#[test]
fn an_assignor_does_not_begin_for_a_group_that_no_longer_waits() {
    with_one_blocking_thread(async {
        let now = moment(metadata().await.image());
        let let_go = keep_busy();
        let mut shard = GroupShard::new(GroupConfig {
            consumer_assignment_step_work: 0,
            ..GroupConfig::default()
        });
        let mut ask = |group: &str| {
            let request = GroupRequest::ConsumerHeartbeat(heartbeat(group, 0, &[]));
            let mut effects = shard.handle(&now, Token(0), request);
            assert_eq!(effects.questions.len(), 0, "nothing to compute");
            let request = GroupRequest::ConsumerHeartbeat(heartbeat(group, 1, &["t".into()]));
            effects = shard.handle(&now, Token(0), request);
            target_of(effects.questions.remove(0))
        };
        let asked: Vec<_> = (0..4).map(|number| ask(&format!("g{number}"))).collect();
        let assignors = Arc::new(Assignors::default());
        let computing: Vec<_> = asked
            .iter()
            .map(|asked| {
                let (assignors, asked) = (Arc::clone(&assignors), asked.clone());
                tokio::spawn(async move { assignors.compute(asked).await })
            })
            .collect();
        // Two are at work, the others wait for their turns.
        tokio::task::yield_now().await;
        drop(shard);
        let begun = asked.iter().map(|asked| asked.strong_count());
        assert_eq!(begun.collect::<Vec<_>>(), [1, 1, 0, 0]);
        drop(let_go);
        let mut answers = Vec::new();
        for computed in computing {
            answers.push(computed.await.expect("no panic").is_some());
        }
        assert_eq!(answers, [true, true, false, false]);
    });
}

/// Topics about which nobody can ask on another thread.
#[derive(Debug)]
struct OneThread(std::thread::ThreadId);

impl Catalog for OneThread {
    fn topic(&self, _: &str) -> Option<(Uuid, i32)> {
        assert_eq!(std::thread::current().id(), self.0, "meant to panic");
        Some((Uuid::from_u128(1), 1))
    }

    fn topic_name(&self, _: Uuid) -> Option<Name> {
        None
    }

    fn visit_topic_names(&self, _: &mut dyn FnMut(&Name)) {}

    fn group_setting(&self, _: &str, _: &str) -> Option<i32> {
        None
    }
}

#[tokio::test]
async fn an_assignor_that_panics_does_not_do_so_unnoticed() {
    let mut shard = GroupShard::new(GroupConfig {
        consumer_assignment_step_work: 0,
        ..GroupConfig::default()
    });
    let now = moment(Arc::new(OneThread(std::thread::current().id())));
    let request = GroupRequest::ConsumerHeartbeat(heartbeat("g", 0, &["t".into()]));
    let mut questions = shard.handle(&now, Token(0), request).questions;
    let asked = target_of(questions.remove(0));
    let computed = tokio::spawn(async move { Assignors::default().compute(asked).await });
    // Its shard panics with it, and so the broker ends.
    assert!(computed.await.is_err_and(|error| error.is_panic()));
}

#[tokio::test]
async fn an_expression_is_matched_with_what_is_new_and_forgets_what_is_gone() {
    let metadata = metadata().await;
    let resolver = PatternResolver::default();
    let pattern: Name = "log-.*".into();
    let create = async |name: &str| {
        let created = metadata.auto_create(vec![name.to_owned()]).await;
        created[0].as_ref().expect("created").topic_id
    };
    let resolve = async || {
        let image = metadata.image();
        let topics = resolver.resolve(&pattern, &image).await.expect("valid");
        topics
            .iter()
            .map(|name| name.to_string())
            .collect::<Vec<_>>()
    };
    let first = create("log-a").await;
    create("other").await;
    assert_eq!(resolve().await, ["log-a"]);
    create("log-b").await;
    create("my-log-c").await;
    assert_eq!(resolve().await, ["log-a", "log-b"]);
    let deleted = metadata.delete_topics(vec![TopicRef::Id(first)]).await;
    assert!(deleted[0].is_ok());
    assert_eq!(resolve().await, ["log-b"]);
    create("log-a").await;
    assert_eq!(resolve().await, ["log-a", "log-b"]);
    let wrong = resolver.resolve(&"(".into(), &metadata.image()).await;
    assert!(wrong.is_err());
}

#[tokio::test]
async fn an_expression_with_much_to_match_takes_turns_with_others() {
    let metadata = metadata().await;
    let create = async |names: Vec<String>| {
        let created = metadata.auto_create(names).await;
        assert!(created.iter().all(Result::is_ok));
        metadata.image()
    };
    let few = create(vec!["one".to_owned()]).await;
    let many = create((0..500).map(|number| format!("t{number}")).collect()).await;
    // Each turn takes the least that it can.
    let resolver = Arc::new(PatternResolver::with_turns_of(std::time::Duration::ZERO));
    let long = tokio::spawn({
        let (resolver, pattern) = (Arc::clone(&resolver), "t.*".into());
        async move { resolver.resolve(&pattern, &many).await }
    });
    let short = resolver.resolve(&"o.*".into(), &few).await;
    assert_eq!(short.expect("valid").len(), 1);
    assert!(!long.is_finished(), "the short one had to wait for it");
    assert_eq!(long.await.expect("no panic").expect("valid").len(), 500);
}

#[tokio::test]
async fn a_deleted_log_turns_everybody_away_and_a_new_one_begins_without_groups() {
    let metadata = metadata().await;
    let (_stop, shutdown) = watch::channel(false);
    let coordinator = idle_coordinator(metadata.clone(), shutdown);
    assert_eq!(
        coordinator.shards().err(),
        Some(ErrorCode::CoordinatorNotAvailable)
    );
    let start = async || {
        let topic = metadata.ensure_internal_topic(OFFSETS_TOPIC).await;
        let topic_id = topic.expect("created").topic_id;
        let log: Arc<dyn PartitionLog> = TestLog::new();
        coordinator
            .start(topic_id, vec![log])
            .await
            .expect("loaded");
        topic_id
    };
    let topic_id = start().await;
    let shards = coordinator.shards().expect("started");
    assert_eq!(
        error_of(shards.call("g", commit("g", 1, 10)).await),
        Ok(None)
    );
    let first = shards.call("g", join("g", 10)).await.expect("answered");
    assert_eq!(first.error, None);
    // The second one waits for the first to join again.
    let parked = tokio::spawn({
        let shards = Arc::clone(&shards);
        async move { shards.call("g", join("g", 10)).await }
    });
    let heartbeat = Heartbeat {
        group_id: "g".into(),
        generation_id: first.generation_id,
        member_id: first.member_id,
        group_instance_id: None,
    };
    let rebalances = Ok(Some(ErrorCode::RebalanceInProgress));
    while shards.call("g", heartbeat.clone()).await != rebalances {
        tokio::task::yield_now().await;
    }

    let deleted = metadata.delete_topics(vec![TopicRef::Id(topic_id)]).await;
    let deleted = deleted[0].as_ref().expect("deleted");
    let gone = DeletedTopic {
        name: deleted.name.clone(),
        topic_id,
    };
    coordinator.topics_deleted(vec![gone]).await;
    let parked = parked.await.expect("no panic").expect("answered");
    assert_eq!(parked.error, Some(ErrorCode::NotCoordinator));
    assert_eq!(
        shards.call("g", heartbeat.clone()).await,
        Err(ErrorCode::NotCoordinator)
    );
    assert_eq!(coordinator.shards().err(), Some(ErrorCode::NotCoordinator));

    assert_ne!(start().await, topic_id);
    let shards = coordinator.shards().expect("started again");
    assert_eq!(
        shards.call("g", heartbeat).await,
        Ok(Some(ErrorCode::UnknownMemberId))
    );
    assert_eq!(fetched(&shards, "g").await, 0);
}
