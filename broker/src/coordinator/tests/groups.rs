//! Groups: what clients are told when their log is full, slow, broken or gone.

use super::*;

/// A coordinator with one shard on `log`, and what would shut it down.
async fn coordinator(log: &Arc<TestLog>) -> (Arc<GroupShards>, watch::Sender<bool>) {
    coordinator_with(log, metadata().await).await
}

/// One that serves nobody yet.
fn idle_coordinator(metadata: Metadata, shutdown: watch::Receiver<bool>) -> GroupCoordinator {
    let runtime = Runtime {
        metadata,
        clock: Clock::new(),
        cluster: Arc::new(alone()),
        is_alone: true,
        logs: memory::open(),
        partitions: Arc::new(PartitionRegistry::new(RecordValidation::Full)),
        stats: Arc::default(),
        shutdown,
    };
    GroupCoordinator::new(Groups::new(GroupConfig::default(), Arc::default()), runtime)
}

pub(super) async fn coordinator_with(
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
pub(super) fn commit(group: &str, count: i32, metadata_bytes: usize) -> CommitOffsets {
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
pub(super) fn error_of(
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
async fn a_batch_that_fails_on_its_way_to_the_disk_costs_its_own_commit_alone() {
    let log = TestLog::new();
    let (coordinator, _stop) = coordinator(&log).await;
    *log.holds.lock() = true;
    let lost = {
        let coordinator = Arc::clone(&coordinator);
        tokio::spawn(async move { error_of(coordinator.call("g", commit("g", 1, 10)).await) })
    };
    log.until_in_flight(1).await;
    log.lose("the device failed");
    let lost = lost.await.expect("no panic");
    assert_eq!(lost, Err(ErrorCode::CoordinatorNotAvailable));
    assert_eq!(fetched(&coordinator, "g").await, 0);
    let again = coordinator.call("g", commit("g", 1, 10)).await;
    assert_eq!(error_of(again), Ok(None));
    assert_eq!(log.loads.load(Ordering::Relaxed), 2);
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
