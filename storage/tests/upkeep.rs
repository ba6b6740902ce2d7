//! What becomes of a broker that has not heard of what jobs have done: objects that it knows are merged and removed, rows trimmed, log
//! starts moved. It has to find everything that is still there, as if it had known.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::cluster::{Broker, Cluster, brisk};
use common::*;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use storage::log::{
    AppendError, AppendOrigin, FetchWait, Isolation, LogConfig, PartitionLog, ReadError,
    ReadRequest,
};
use storage::object::ObjectConfig;
use storage::object::database::{LogGroup, OrderedLog, log_group_of};
use storage::object::jobs::JobSettings;
use storage::record::{BatchBuilder, EndTxnMarker, TransactionResult, ValidatedBatch};
use tokio::runtime::Handle;

const GROUPS: u16 = 8;
const SOON: Duration = Duration::from_secs(30);

/// A broker that learns of others only when it has to.
fn late(cluster: &Cluster, id: i32) -> Broker {
    cluster.broker_with(id, |config| config.poll = Duration::from_secs(3600))
}

/// A broker that says what it has settled, and leaves the other jobs to others.
fn writer(cluster: &Cluster, id: i32) -> Broker {
    let declares = JobSettings {
        snapshot_entries: i64::MAX,
        snapshot_interval: Duration::MAX,
        merge_bytes: 0,
        merge_objects: usize::MAX,
        object_bytes: 1 << 40,
        small_age: Duration::MAX,
        ..brisk()
    };
    cluster.broker_with(id, |config| config.upkeep = cluster.upkeep(declares))
}

/// A broker that does the jobs. Its log says how the topic is configured.
fn keeper(cluster: &Cluster, config: LogConfig) -> Broker {
    let settings = JobSettings {
        delete_delay: Duration::from_millis(30),
        ..brisk()
    };
    let keeper = cluster.broker_with(9, |engine| engine.upkeep = cluster.upkeep(settings));
    open_with(&keeper.store, "topic", 0, config);
    keeper
}

/// Nothing is ever too old.
fn kept() -> LogConfig {
    LogConfig {
        retention_ms: -1,
        ..LogConfig::default()
    }
}

fn log(broker: &Broker) -> Arc<dyn PartitionLog> {
    open_with(&broker.store, "topic", 0, kept())
}

async fn known(broker: &Broker) -> Arc<dyn PartitionLog> {
    let log = log(broker);
    log.current_offsets().await.unwrap();
    log
}

fn group() -> LogGroup {
    log_group_of(partition("topic", 0).topic_id, 0, GROUPS)
}

async fn listed(cluster: &Cluster) -> Vec<ObjectMeta> {
    let mut listing = cluster.objects.list(Some(&Path::from("data")));
    let mut objects = Vec::new();
    while let Some(meta) = std::future::poll_fn(|context| listing.as_mut().poll_next(context)).await
    {
        objects.push(meta.unwrap());
    }
    objects
}

async fn objects(cluster: &Cluster) -> Vec<Path> {
    let listed = listed(cluster).await.into_iter();
    listed.map(|meta| meta.location).collect()
}

/// Waits until there is a snapshot of everything, no row, and no more than so many objects.
async fn kept_small(cluster: &Cluster, objects_left: usize) {
    let done = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let head = cluster.database.heads(&[group()]).await.unwrap().remove(0);
            let before_last = [(group(), head.seq - 1)];
            let news = cluster.database.read_from(&before_last, 1 << 20).await;
            let is_trimmed = !news.unwrap().cut.is_empty();
            if head.seq == head.snapshot_seq
                && is_trimmed
                && objects(cluster).await.len() <= objects_left
            {
                return;
            }
        }
    };
    let done = tokio::time::timeout(SOON, done).await;
    assert!(done.is_ok(), "{:?}", objects(cluster).await);
}

/// Two records of which the second goes into an object if it is large.
fn values_at(at: usize, is_large: bool) -> [Vec<u8>; 2] {
    let padding = if is_large { 3_000 } else { 10 };
    [format!("{at}").into_bytes(), vec![b'x'; padding]]
}

async fn fill(log: &Arc<dyn PartitionLog>, is_large: bool) -> Vec<(i64, Vec<u8>)> {
    let mut written = Vec::new();
    for at in 0..8 {
        let values = values_at(at, is_large);
        let timestamp = 1_000 + 100 * at as i64;
        let values_of = values.each_ref().map(Vec::as_slice);
        let appended = append(log, batch_at(timestamp, &values_of)).await.unwrap();
        written.extend((appended.base_offset..).zip(values));
    }
    written
}

#[tokio::test]
async fn what_was_merged_and_removed_meanwhile_is_found() {
    for is_large in [true, false] {
        let cluster = Cluster::new(1);
        let writer = writer(&cluster, 1);
        let written = fill(&log(&writer), is_large).await;
        // Each asks one question, since the first sets the broker right.
        let brokers = [2, 3, 4, 5, 6].map(|id| late(&cluster, id));
        let mut logs = Vec::new();
        for broker in &brokers {
            logs.push(known(broker).await);
        }
        let _keeper = keeper(&cluster, kept());
        kept_small(&cluster, 1).await;

        assert_eq!(read_all(&logs[0], 0).await, written, "from the beginning");
        assert_eq!(read_all(&logs[1], 9).await, written[9..], "from the middle");
        let uncommitted = Isolation::ReadUncommitted;
        let found = logs[2].offset_for_timestamp(1_300, uncommitted).await;
        assert_eq!(found.unwrap().map(|found| found.offset), Some(6));
        let found = logs[3].offset_of_max_timestamp().await;
        assert_eq!(found.unwrap().map(|found| found.offset), Some(15));
        assert_eq!(logs[4].timestamp_at(4).await.unwrap(), Some(1_201));
    }
}

#[tokio::test]
async fn a_broker_that_is_behind_what_was_trimmed_goes_on_from_the_snapshot() {
    let cluster = Cluster::new(1);
    let (writer, behind) = (writer(&cluster, 1), late(&cluster, 2));
    let there = log(&writer);
    let produced = |sequence| {
        let builder = BatchBuilder::new().producer(7, 0, sequence);
        trusted(build(builder, 1_000, &[b"value"]))
    };
    append(&there, produced(0)).await.unwrap();
    let here = known(&behind).await;
    let wait = FetchWait::new(1);
    let _parked = here.watch(1, Isolation::ReadUncommitted, &wait);

    there.claim().await.unwrap();
    append(&there, produced(1)).await.unwrap();
    let transactional = |id, sequence| -> ValidatedBatch {
        let builder = BatchBuilder::new()
            .producer(id, 0, sequence)
            .transactional();
        trusted(build(builder, 1_000, &[b"value"]))
    };
    append(&there, transactional(8, 0)).await.unwrap();
    let marker = EndTxnMarker {
        result: TransactionResult::Abort,
        coordinator_epoch: 0,
    };
    let marker = trusted(marker.to_batch(8, 0, 2_000).unwrap());
    let origin = AppendOrigin::Marker {
        transaction_version: 0,
    };
    append_as(&there, marker, origin).await.unwrap();
    append(&there, transactional(9, 0)).await.unwrap();
    there.delete_records_before(1).await.unwrap();
    let _keeper = keeper(&cluster, kept());
    kept_small(&cluster, 1).await;

    let offsets = here.current_offsets().await.unwrap();
    assert_eq!(offsets, there.offsets());
    let ends = [
        offsets.log_start_offset,
        offsets.last_stable_offset,
        offsets.high_watermark,
    ];
    assert_eq!(ends, [1, 4, 5]);
    tokio::time::timeout(SOON, wait.wait())
        .await
        .expect("it wakes");
    let committed = ReadRequest {
        isolation: Isolation::ReadCommitted,
        ..request(1)
    };
    let (one, other) = (
        read(&here, committed).await.unwrap(),
        read(&there, committed).await.unwrap(),
    );
    assert_eq!(headers(&one), headers(&other));
    assert_eq!(one.aborted_transactions, other.aborted_transactions);
    assert_eq!(one.aborted_transactions.len(), 1);
    assert_eq!(here.producers(), there.producers());
    for epoch in 0..3 {
        assert_eq!(
            here.end_offset_for_epoch(epoch),
            there.end_offset_for_epoch(epoch)
        );
    }
    let gone = read(&here, request(0)).await;
    assert!(
        matches!(gone, Err(ReadError::OffsetOutOfRange { .. })),
        "{gone:?}"
    );
    let again = append(&here, produced(1)).await.unwrap();
    assert!(again.duplicate && again.base_offset == 1, "{again:?}");
    let next = append(&here, produced(2)).await.unwrap();
    assert_eq!(next.base_offset, 5);
}

/// A producer was asked for before the broker went on from a snapshot, and its batch comes after.
#[tokio::test]
async fn what_a_broker_has_verified_stays_verified() {
    let cluster = Cluster::new(1);
    let (writer, behind) = (writer(&cluster, 1), late(&cluster, 2));
    append(&log(&writer), batch(&[b"value"])).await.unwrap();
    let here = known(&behind).await;
    let builder = BatchBuilder::new().producer(8, 0, 0).transactional();
    let first = trusted(build(builder, 1_000, &[b"value"]));
    let origin = verified(&here, &first).unwrap();
    append(&log(&writer), batch(&[b"value"])).await.unwrap();
    let _keeper = keeper(&cluster, kept());
    kept_small(&cluster, 1).await;
    assert_eq!(here.current_offsets().await.unwrap().high_watermark, 2);
    append_as(&here, first, origin)
        .await
        .expect("it was verified");
}

/// The transaction that it was to begin has been another broker's, and is over.
#[tokio::test]
async fn a_verification_does_not_outlive_what_its_producer_has_sent_elsewhere() {
    let cluster = Cluster::new(1);
    let (writer, behind) = (writer(&cluster, 1), late(&cluster, 2));
    let there = log(&writer);
    append(&there, batch(&[b"value"])).await.unwrap();
    let here = known(&behind).await;
    let sent = |sequence| {
        let builder = BatchBuilder::new().producer(8, 0, sequence).transactional();
        trusted(build(builder, 1_000, &[b"value"]))
    };
    verified(&here, &sent(0)).unwrap();
    for sequence in 0..3 {
        append(&there, sent(sequence)).await.unwrap();
    }
    let marker = EndTxnMarker {
        result: TransactionResult::Commit,
        coordinator_epoch: 0,
    };
    let marker = trusted(marker.to_batch(8, 0, 2_000).unwrap());
    let origin = AppendOrigin::Marker {
        transaction_version: 0,
    };
    append_as(&there, marker, origin).await.unwrap();
    let _keeper = keeper(&cluster, kept());
    kept_small(&cluster, 1).await;
    assert_eq!(here.current_offsets().await.unwrap().high_watermark, 5);
    let next = append(&here, sent(3)).await.expect("it is asked for again");
    assert_eq!(next.base_offset, 5);
}

/// A request that is never answered is as good as refused.
#[tokio::test(start_paused = true)]
async fn jobs_go_on_when_the_object_store_has_not_answered() {
    let cluster = Cluster::new(1);
    let here = |engine: &mut ObjectConfig| engine.runtime = Some(Handle::current());
    let writer = cluster.broker_with(1, here);
    let there = log(&writer);
    there.ready().expect("it is not read").await;
    let written = fill(&there, true).await;
    cluster.objects.change(|faults| faults.frozen = true);
    let (gets, puts) = (cluster.objects.gets(), cluster.objects.puts());
    let rows = cluster.database.heads(&[group()]).await.unwrap()[0].seq;
    let _keeper = cluster.broker_with(9, |engine| {
        here(engine);
        let settings = JobSettings {
            tick: Duration::from_secs(1),
            ..brisk()
        };
        engine.upkeep = cluster.upkeep(settings);
    });
    let asked = async {
        while cluster.objects.gets() == gets || cluster.objects.puts() == puts {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, asked).await.expect("jobs ask");
    cluster.objects.change(|faults| faults.frozen = false);
    let tidied = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let head = cluster.database.heads(&[group()]).await.unwrap().remove(0);
            if head.seq > rows && head.snapshot_seq == head.seq {
                return;
            }
        }
    };
    let patience = Duration::from_secs(300);
    let done = tokio::time::timeout(patience, tidied).await;
    done.expect("they go on");
    assert_eq!(read_all(&there, 0).await, written);
}

#[tokio::test]
async fn what_is_lost_is_told_and_not_waited_for() {
    let cluster = Cluster::new(1);
    let writer = writer(&cluster, 1);
    fill(&log(&writer), true).await;
    let reader = cluster.broker(2);
    let lost = known(&reader).await;
    for object in objects(&cluster).await {
        cluster.objects.delete(&object).await.unwrap();
    }
    let read = tokio::time::timeout(Duration::from_secs(5), read(&lost, request(0))).await;
    match read.expect("answered") {
        Err(ReadError::Storage(what)) => assert!(what.contains("are lost"), "{what}"),
        other => panic!("{other:?}"),
    }
    // What is in memory, and what comes, is there all the same.
    let there = log(&writer);
    assert_eq!(read_all(&there, 0).await.len(), 16);
    append(&lost, batch(&[b"next"])).await.unwrap();
    assert_eq!(read_all(&lost, 16).await, [(16, b"next".to_vec())]);
}

/// What is left is more than what is merged for being little.
#[tokio::test]
async fn the_store_gives_back_the_room_of_an_object_of_which_most_is_dead() {
    let cluster = Cluster::new(1);
    let writer = writer(&cluster, 1);
    let there = log(&writer);
    let all = fill(&there, true).await;
    let _keeper = keeper(&cluster, kept());
    kept_small(&cluster, 1).await;
    there.delete_records_before(10).await.unwrap();
    let live = there.size_bytes();
    assert!(live > brisk().merge_bytes);
    let stored = async || -> u64 { listed(&cluster).await.iter().map(|meta| meta.size).sum() };
    let done = async {
        while stored().await > 2 * live {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let done = tokio::time::timeout(SOON, done).await;
    assert!(done.is_ok(), "{} for {live} bytes", stored().await);
    let reader = late(&cluster, 2);
    let fresh = known(&reader).await;
    assert_eq!(read_all(&fresh, 10).await, all[10..]);
}

/// The objects that a broker knows are gone, and so is the beginning of the log.
#[tokio::test]
async fn a_log_that_retention_has_shortened_tells_where_it_begins() {
    let cluster = Cluster::new(1);
    let writer = writer(&cluster, 1);
    fill(&log(&writer), true).await;
    let (one, other) = (late(&cluster, 2), late(&cluster, 3));
    let (old, older) = (known(&one).await, known(&other).await);
    let short = LogConfig {
        retention_ms: 1_000,
        ..LogConfig::default()
    };
    let _keeper = keeper(&cluster, short);
    kept_small(&cluster, 0).await;
    match read(&old, request(0)).await {
        Err(ReadError::OffsetOutOfRange {
            log_start_offset,
            high_watermark,
            ..
        }) => assert_eq!((log_start_offset, high_watermark), (16, 16)),
        other => panic!("{other:?}"),
    }
    let found = older
        .offset_for_timestamp(0, Isolation::ReadUncommitted)
        .await;
    assert_eq!(found.unwrap(), None);
    let next = append(&old, batch_at(i64::MAX / 2, &[b"next"]))
        .await
        .unwrap();
    assert_eq!((next.base_offset, next.log_start_offset), (16, 16));
}

#[tokio::test]
async fn a_log_that_was_compacted_meanwhile_has_the_last_of_each_key_where_it_was() {
    let cluster = Cluster::new(1);
    let writer = writer(&cluster, 1);
    let there = log(&writer);
    let mut expected = Vec::new();
    for at in 0..20i64 {
        let mut builder = BatchBuilder::new();
        let (key, value) = (format!("{}", at % 3), format!("{at}").into_bytes());
        builder.append(1_000 + at, Some(key.as_bytes()), Some(&value), &[]);
        append(&there, trusted(builder.build().unwrap()))
            .await
            .unwrap();
        if at >= 17 {
            expected.push((at, value));
        }
    }
    let brokers = [2, 3, 4].map(|id| late(&cluster, id));
    let mut logs = Vec::new();
    for broker in &brokers {
        logs.push(known(broker).await);
    }
    let compacted = LogConfig {
        compact: true,
        delete: false,
        min_cleanable_dirty_ratio: 0.0,
        ..LogConfig::default()
    };
    let _keeper = keeper(&cluster, compacted);
    let reader = late(&cluster, 5);
    let fresh = known(&reader).await;
    let done = async {
        while read_all(&fresh, 0).await != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
            fresh.current_offsets().await.unwrap();
        }
    };
    tokio::time::timeout(SOON, done)
        .await
        .expect("it is compacted");
    kept_small(&cluster, 1).await;
    assert_eq!(read_all(&logs[0], 0).await, expected);
    assert_eq!(read_all(&logs[1], 18).await, expected[1..], "into a gap");
    let found = logs[2]
        .offset_for_timestamp(1_004, Isolation::ReadUncommitted)
        .await;
    assert_eq!(found.unwrap().map(|found| found.offset), Some(17));
}

#[tokio::test]
async fn a_deleted_log_stays_deleted_for_whoever_comes_late() {
    let cluster = Cluster::new(1);
    let writer = writer(&cluster, 1);
    fill(&log(&writer), true).await;
    let behind = late(&cluster, 2);
    let old = known(&behind).await;
    writer
        .store
        .delete_logs(vec![partition("topic", 0)])
        .await
        .unwrap();
    let _keeper = cluster.broker_with(9, |engine| engine.upkeep = cluster.upkeep(brisk()));
    kept_small(&cluster, 0).await;
    let gone = read(&old, request(0)).await;
    assert!(matches!(gone, Err(ReadError::Deleted)), "{gone:?}");
    let refused = append(&old, batch(&[b"value"])).await;
    assert!(matches!(refused, Err(AppendError::Deleted)), "{refused:?}");
}

/// Each claim of a coordinator has an epoch of its own, and a merged run may have batches of many.
#[tokio::test]
async fn a_merged_run_keeps_the_leader_epochs_of_its_batches() {
    let cluster = Cluster::new(1);
    let writer = writer(&cluster, 1);
    let there = log(&writer);
    let mut expected = Vec::new();
    for _ in 0..5 {
        let epoch = there.claim().await.unwrap();
        for _ in 0..2 {
            append_as(&there, batch(&[b"state"]), AppendOrigin::COORDINATOR)
                .await
                .unwrap();
            expected.push(epoch);
        }
    }
    let _keeper = keeper(&cluster, kept());
    kept_small(&cluster, 1).await;
    let reader = late(&cluster, 2);
    let fresh = known(&reader).await;
    let read = headers(&read(&fresh, request(0)).await.unwrap());
    let epochs: Vec<_> = read
        .iter()
        .map(|header| header.partition_leader_epoch)
        .collect();
    assert_eq!(epochs, expected);
}
