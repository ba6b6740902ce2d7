//! What is left after a crash, after an orderly shutdown, and after damage.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make and damage files behind the engine's back"
)]
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use storage::local::{self, LocalConfig, OpenError};
use storage::log::{AppendOrigin, Durability, LogConfig, LogStore, PartitionLog};
use storage::record::{BatchBuilder, EndTxnMarker, TransactionResult};

const BLOCK: usize = 4096;

fn manager(dir: &Path) -> Arc<dyn LogStore> {
    local::open(small(dir)).expect("the directory opens")
}

fn value(number: i64, bytes: usize) -> Vec<u8> {
    let mut value = format!("value {number} ").into_bytes();
    value.resize(bytes.max(value.len()), b'.');
    value
}

/// Appends values `from..to`, one in each batch.
async fn fill(log: &Arc<dyn PartitionLog>, from: i64, to: i64, bytes: usize) {
    let mut pending = Vec::new();
    for number in from..to {
        pending.push(submit(log, batch(&[&value(number, bytes)])).await);
        if pending.len() == 20 {
            for pending in pending.drain(..) {
                pending.await.unwrap();
            }
        }
    }
    for pending in pending {
        pending.await.unwrap();
    }
}

async fn expect(log: &Arc<dyn PartitionLog>, count: i64, bytes: usize) {
    assert_eq!(log.offsets().high_watermark, count);
    let all = read_all(log, 0).await;
    assert_eq!(all.len() as i64, count);
    for (number, (offset, found)) in (0..).zip(&all) {
        assert_eq!((*offset, found), (number, &value(number, bytes)));
    }
}

fn rings(dir: &Path) -> Vec<PathBuf> {
    let mut rings: Vec<_> = names(&dir.join("wal"))
        .into_iter()
        .filter(|name| name.starts_with("ring-"))
        .map(|name| dir.join("wal").join(name))
        .collect();
    rings.sort();
    rings
}

/// Where the groups of a ring file begin, in order, and how long they are.
fn groups(ring: &Path) -> Vec<(usize, usize)> {
    let bytes = std::fs::read(ring).unwrap();
    let mut groups = Vec::new();
    let mut at = 0;
    while at < bytes.len() && bytes[at..].starts_with(b"OWAL") {
        let length = u32::from_le_bytes(bytes[at + 24..at + 28].try_into().unwrap()) as usize;
        groups.push((at, length));
        at += length;
    }
    groups
}

fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash() {
    for durability in [Durability::Strict, Durability::Os] {
        let dir = tempfile::tempdir().unwrap();
        let config = |dir: &Path| LocalConfig {
            durability,
            ..small(dir)
        };
        let running = local::open(config(dir.path())).unwrap();
        fill(&open(&running, "topic", 0), 0, 10, 100).await;
        fill(&open(&running, "topic", 1), 0, 3, 5_000).await;
        let crashed = crash(running, dir.path());
        let with_progress = config(crashed.path());
        let progress = Arc::clone(&with_progress.progress);
        assert_eq!(progress.percent(), 0);
        let manager = local::open(with_progress).unwrap();
        let report = manager.recovery_report();
        assert!(!report.clean);
        assert_eq!(report.replayed_partitions, 2);
        assert_eq!(report.replayed_batches, 13);
        assert_eq!(progress.percent(), 100);
        let log = open(&manager, "topic", 0);
        assert_eq!(log.glance(), None, "nobody has looked at it");
        expect(&log, 10, 100).await;
        assert_eq!(log.glance().unwrap().high_watermark, 10);
        expect(&open(&manager, "topic", 1), 3, 5_000).await;
        manager.shutdown().unwrap();
        drop((log, manager));
        // Only the stop has left something to tell, and batches are in segments now.
        let manager = local::open(config(crashed.path())).unwrap();
        let log = open(&manager, "topic", 0);
        let glance = log.glance().unwrap();
        assert_eq!((glance.high_watermark, glance.more), (10, None));
        log.ready().unwrap().await;
        assert_eq!(log.glance().unwrap().more.unwrap().log_start_offset, 0);
        let header = |bytes: &[u8]| storage::record::BatchHeader::parse(bytes).unwrap();
        let read = read(&log, request(7)).await.unwrap();
        let expected = header(&read.records[0]).max_timestamp;
        assert_eq!(log.timestamp_at(7).await.unwrap(), Some(expected));
    }
}

/// In os mode a power cut may take from the write-ahead log what segments had, and recovery cuts them to it.
#[tokio::test]
async fn a_log_is_not_trusted_beyond_its_end_when_it_grows_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = |dir: &Path| LocalConfig {
        durability: Durability::Os,
        ..small(dir)
    };
    let running = local::open(config(dir.path())).unwrap();
    fill(&open(&running, "topic", 0), 0, 5, 100).await;
    let crashed = crash(running, dir.path());
    let points = crashed.path().join("recovery-point-offset-checkpoint");
    std::fs::write(&points, "0\n2\nother 0 7\ntopic 0 9\n").unwrap();
    let manager = local::open(config(crashed.path())).unwrap();
    assert_eq!(open(&manager, "topic", 0).offsets().log_end_offset, 5);
    let lowered = std::fs::read_to_string(&points).unwrap();
    assert_eq!(lowered, "0\n2\nother 0 7\ntopic 0 5\n");
}

#[tokio::test]
async fn a_crash_after_the_ring_has_turned_many_times_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path());
    let log = open(&running, "topic", 0);
    // 6 MB through a ring of 1 MB.
    fill(&log, 0, 2_000, 3_000).await;
    let crashed = crash(running, dir.path());
    let recovered = manager(crashed.path());
    let report = recovered.recovery_report();
    assert!(report.replayed_bytes <= 1 << 20, "{report:?}");
    expect(&open(&recovered, "topic", 0), 2_000, 3_000).await;
}

#[tokio::test]
async fn crash_after_crash_keeps_everything_and_goes_on() {
    let mut dir = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let running = manager(dir.path());
        let log = open(&running, "topic", 0);
        expect(&log, round * 200, 1_000).await;
        fill(&log, round * 200, (round + 1) * 200, 1_000).await;
        dir = crash(running, dir.path());
    }
    let recovered = manager(dir.path());
    expect(&open(&recovered, "topic", 0), 1_000, 1_000).await;
}

#[tokio::test]
async fn recovery_is_the_same_when_it_is_interrupted_and_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path());
    fill(&open(&running, "topic", 0), 0, 300, 1_000).await;
    let crashed = crash(running, dir.path());
    // The second recovery finds the segments that the first has written, and the old checkpoint.
    let wal = copy_of(&crashed.path().join("wal"));
    drop(manager(crashed.path()));
    std::fs::remove_dir_all(crashed.path().join("wal")).unwrap();
    copy_dir(wal.path(), &crashed.path().join("wal"));
    let again = manager(crashed.path());
    expect(&open(&again, "topic", 0), 300, 1_000).await;
}

#[tokio::test]
async fn an_orderly_shutdown_leaves_a_kafka_directory_and_a_clean_start() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path());
    let log = open(&running, "topic", 0);
    fill(&log, 0, 50, 1_000).await;
    running.shutdown().unwrap();
    running.shutdown().unwrap();
    assert!(append(&log, batch(&[b"late"])).await.is_err());
    assert_eq!(
        names(dir.path()),
        [
            ".kafka_cleanshutdown",
            ".lock",
            "recovery-point-offset-checkpoint",
            "topic-0"
        ]
    );
    assert_eq!(
        names(&dir.path().join("topic-0")),
        [
            "00000000000000000000.index",
            "00000000000000000000.log",
            "00000000000000000000.timeindex",
            "00000000000000000050.producers",
            "00000000000000000050.snapshot",
            "leader-epoch-checkpoint",
            "partition.metadata"
        ]
    );
    let recovery_points =
        std::fs::read_to_string(dir.path().join("recovery-point-offset-checkpoint")).unwrap();
    assert_eq!(recovery_points, "0\n1\ntopic 0 50\n");
    let epochs = std::fs::read_to_string(dir.path().join("topic-0/leader-epoch-checkpoint"));
    assert_eq!(epochs.unwrap(), "0\n1\n0 0\n");

    let again = manager(dir.path());
    assert!(again.recovery_report().clean);
    assert_eq!(again.recovery_report().replayed_batches, 0);
    assert!(!dir.path().join(".kafka_cleanshutdown").exists());
    let log = open(&again, "topic", 0);
    expect(&log, 50, 1_000).await;
    fill(&log, 50, 60, 1_000).await;
    expect(&log, 60, 1_000).await;
}

#[tokio::test]
async fn a_log_that_was_not_used_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path());
    let _unused = open(&running, "unused", 0);
    running.shutdown().unwrap();
    assert!(!dir.path().join("unused-0").exists());
}

#[tokio::test]
async fn idempotence_survives_crash_and_shutdown() {
    for orderly in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let running = manager(dir.path());
        let produced = |sequence| {
            let builder = BatchBuilder::new().producer(7, 0, sequence);
            trusted(build(builder, 1, &[&value(sequence.into(), 100)]))
        };
        let log = open(&running, "topic", 0);
        for sequence in 0..20 {
            append(&log, produced(sequence)).await.unwrap();
        }
        if orderly {
            running.shutdown().unwrap();
        }
        let crashed = crash(running, dir.path());
        let again = manager(crashed.path());
        let log = open(&again, "topic", 0);
        for sequence in 15..20 {
            let retried = append(&log, produced(sequence)).await.unwrap();
            assert!(retried.duplicate, "sequence {sequence}, orderly {orderly}");
            assert_eq!(retried.base_offset, i64::from(sequence));
        }
        assert!(append(&log, produced(21)).await.is_err());
        assert_eq!(append(&log, produced(20)).await.unwrap().base_offset, 20);
    }
}

#[tokio::test]
async fn transactions_survive_crash_and_shutdown() {
    for orderly in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let running = manager(dir.path());
        let log = open(&running, "topic", 0);
        let transactional = |producer_id, sequence| {
            let builder = BatchBuilder::new()
                .producer(producer_id, 0, sequence)
                .transactional();
            trusted(build(builder, 1, &[b"in a transaction"]))
        };
        append(&log, transactional(1, 0)).await.unwrap();
        append(&log, transactional(2, 0)).await.unwrap();
        let marker = EndTxnMarker {
            result: TransactionResult::Abort,
            coordinator_epoch: 3,
        };
        let marker = trusted(marker.to_batch(1, 0, 5).unwrap());
        append_as(&log, marker, AppendOrigin::COORDINATOR)
            .await
            .unwrap();
        let before = log.offsets();
        if orderly {
            running.shutdown().unwrap();
        }
        let crashed = crash(running, dir.path());
        let again = manager(crashed.path());
        let log = open(&again, "topic", 0);
        assert_eq!(log.offsets(), before);
        assert_eq!(
            log.offsets().last_stable_offset,
            1,
            "producer 2 is not done"
        );
        let committed = storage::log::ReadRequest {
            isolation: storage::log::Isolation::ReadCommitted,
            ..request(0)
        };
        let fetched = read(&log, committed).await.unwrap();
        assert_eq!(fetched.aborted_transactions.len(), 1);
        assert_eq!(fetched.aborted_transactions[0].producer_id, 1);
    }
}

#[tokio::test]
async fn the_log_start_survives_crash_and_shutdown() {
    for orderly in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let running = manager(dir.path());
        let log = open(&running, "topic", 0);
        fill(&log, 0, 10, 100).await;
        log.delete_records_before(4).await.unwrap();
        if orderly {
            running.shutdown().unwrap();
        }
        let crashed = crash(running, dir.path());
        let again = manager(crashed.path());
        assert_eq!(open(&again, "topic", 0).offsets().log_start_offset, 4);
    }
}

/// Segments go one by one, and a power cut keeps any of it: whichever are left, no offset is given twice.
#[tokio::test]
async fn the_end_of_a_log_is_never_below_its_durable_start() {
    for (durability, orderly) in [
        (Durability::Strict, false),
        (Durability::Strict, true),
        (Durability::Os, false),
        (Durability::Os, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let start = |dir: &Path| {
            let durability = LocalConfig {
                durability,
                ..small(dir)
            };
            local::open(durability).unwrap()
        };
        let open = |manager: &Arc<dyn LogStore>| {
            let config = LogConfig {
                segment_bytes: 1_000,
                ..LogConfig::default()
            };
            open_with(manager, "topic", 0, config)
        };
        let running = start(dir.path());
        fill(&open(&running), 0, 12, 300).await;
        running.shutdown().unwrap();
        let running = start(dir.path());
        let log = open(&running);
        assert_eq!(log.delete_records_before(12).await.unwrap(), 12);
        drop(log);
        if orderly {
            running.shutdown().unwrap();
        }
        let left = crash(running, dir.path());
        let segments: Vec<_> = names(&left.path().join("topic-0"))
            .into_iter()
            .filter(|name| name.ends_with(".log"))
            .collect();
        let (last, before) = segments.split_last().unwrap();
        for missing in [vec![last.clone()], before.to_vec(), segments.clone()] {
            let dir = copy_of(left.path());
            for name in &missing {
                std::fs::remove_file(dir.path().join("topic-0").join(name)).unwrap();
            }
            let what = format!("{durability:?}, orderly: {orderly}, without {missing:?}");
            let running = start(dir.path());
            let log = open(&running);
            let offsets = log.offsets();
            let found = (offsets.log_start_offset, offsets.log_end_offset);
            assert_eq!(found, (12, 12), "{what}");
            fill(&log, 12, 14, 300).await;
            drop(log);
            let again = crash(running, dir.path());
            let running = start(again.path());
            let log = open(&running);
            let found: Vec<_> = read_all(&log, 12).await.iter().map(|(at, _)| *at).collect();
            assert_eq!(found, [12, 13], "{what}");
        }
    }
}

#[tokio::test]
async fn where_an_earlier_topic_of_the_name_began_says_nothing_of_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path());
    let log = open(&running, "topic", 0);
    fill(&log, 0, 10, 100).await;
    log.delete_records_before(8).await.unwrap();
    drop(log);
    running.shutdown().unwrap();
    let mut id = partition("topic", 0);
    id.topic_id = uuid::Uuid::from_u128(4711);
    let running = manager(dir.path());
    let log = running.open_log(id.clone(), Arc::default()).unwrap();
    assert_eq!(log.offsets().log_end_offset, 0);
    fill(&log, 0, 3, 100).await;
    drop(log);
    let crashed = crash(running, dir.path());
    let running = manager(crashed.path());
    let log = running.open_log(id, Arc::default()).unwrap();
    expect(&log, 3, 100).await;
}

#[tokio::test]
async fn segments_roll_by_size_and_all_of_them_recover() {
    let config = LogConfig {
        segment_bytes: 10_000,
        index_interval_bytes: 1_000,
        ..LogConfig::default()
    };
    for orderly in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let running = manager(dir.path());
        let log = open_with(&running, "topic", 0, config.clone());
        fill(&log, 0, 500, 500).await;
        if orderly {
            running.shutdown().unwrap();
        }
        let crashed = crash(running, dir.path());
        let again = manager(crashed.path());
        let log = open_with(&again, "topic", 0, config.clone());
        expect(&log, 500, 500).await;
        let segments = names(&crashed.path().join("topic-0"))
            .into_iter()
            .filter(|name| name.ends_with(".log"))
            .count();
        assert!(segments > 20, "{segments} segments");
        for offset in [0, 1, 77, 250, 499] {
            let fetched = read(&log, request(offset)).await.unwrap();
            assert_eq!(headers(&fetched)[0].base_offset, offset);
        }
    }
}

#[tokio::test]
async fn a_deleted_topic_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path());
    let log = open(&running, "topic", 0);
    fill(&log, 0, 10, 100).await;
    running.delete_logs(vec![log.id().clone()]).await.unwrap();
    let mut id = log.id().clone();
    id.topic_id = uuid::Uuid::from_u128(4711);
    let crashed_before = crash(running, dir.path());
    let running = manager(dir.path());
    let log = running.open_log(id.clone(), Arc::default()).unwrap();
    fill(&log, 0, 3, 50).await;
    let crashed_after = crash(running, dir.path());
    for (crashed, count) in [(crashed_before, 0), (crashed_after, 3)] {
        let again = manager(crashed.path());
        let log = again.open_log(id.clone(), Arc::default()).unwrap();
        expect(&log, count, 50).await;
    }
}

#[tokio::test]
async fn the_directory_of_an_earlier_topic_is_set_aside_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path());
    fill(&open(&running, "topic", 0), 0, 10, 100).await;
    running.shutdown().unwrap();
    let again = manager(dir.path());
    let mut id = partition("topic", 0);
    id.topic_id = uuid::Uuid::from_u128(4711);
    let log = again.open_log(id, Arc::default()).unwrap();
    assert_eq!(log.offsets().log_end_offset, 0);
    fill(&log, 0, 2, 50).await;
    expect(&log, 2, 50).await;
    let aside: Vec<_> = names(dir.path())
        .into_iter()
        .filter(|name| name.ends_with("-stray"))
        .collect();
    assert_eq!(aside.len(), 1);
    assert!(
        dir.path()
            .join(&aside[0])
            .join("00000000000000000000.log")
            .exists()
    );
}

#[tokio::test]
async fn a_torn_last_write_is_dropped_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path());
    let log = open(&running, "topic", 0);
    // One after the other: each batch is a group and a write of its own.
    for number in 0..5 {
        append(&log, batch(&[&value(number, 6_000)])).await.unwrap();
    }
    let crashed = crash(running, dir.path());
    let ring = &rings(crashed.path())[0];
    let groups = groups(ring);
    let (at, length) = *groups.last().unwrap();
    assert_eq!((groups.len(), length), (5, 2 * BLOCK));
    for cut in [0, 1, 63, 64, 100, BLOCK - 1, BLOCK, BLOCK + 1, 6_100] {
        let copy = copy_of(crashed.path());
        damage(&rings(copy.path())[0], |bytes| bytes[at + cut..].fill(0));
        let again = manager(copy.path());
        expect(&open(&again, "topic", 0), 4, 6_000).await;
        // And the next one takes its place.
        let log = open(&again, "topic", 0);
        assert_eq!(
            append(&log, batch(&[b"next"])).await.unwrap().base_offset,
            4
        );
    }
}

#[tokio::test]
async fn a_hole_in_acknowledged_data_is_named_and_nothing_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path());
    let log = open(&running, "topic", 0);
    for number in 0..5 {
        append(&log, batch(&[&value(number, 6_000)])).await.unwrap();
    }
    let crashed = crash(running, dir.path());
    let ring = rings(crashed.path())[0].clone();
    let (at, _) = groups(&ring)[2];
    damage(&ring, |bytes| bytes[at + 200] ^= 1);
    let before = names(crashed.path());
    match local::open(small(crashed.path())).err() {
        Some(OpenError::HoleInWal { path, what }) => {
            assert_eq!(path, ring);
            assert!(what.contains("group 3 is missing or damaged"), "{what}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(names(crashed.path()), before);
    damage(&ring, |bytes| bytes[at + 200] ^= 1);
    let repaired = manager(crashed.path());
    expect(&open(&repaired, "topic", 0), 5, 6_000).await;
}

#[tokio::test]
async fn a_missing_ring_or_checkpoint_is_not_taken_for_an_empty_log() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path());
    let log = open(&running, "topic", 0);
    append(&log, batch(&[b"value"])).await.unwrap();
    let without_ring = crash(running, dir.path());
    for ring in rings(without_ring.path()) {
        std::fs::remove_file(ring).unwrap();
    }
    let without_checkpoint = copy_of(dir.path());
    for name in ["checkpoint-a", "checkpoint-b"] {
        let _ = std::fs::remove_file(without_checkpoint.path().join("wal").join(name));
    }
    for copy in [without_ring, without_checkpoint] {
        let error = local::open(small(copy.path())).err();
        assert!(
            matches!(error, Some(OpenError::HoleInWal { .. })),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_segment_shorter_than_its_durable_part_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path());
    fill(&open(&running, "topic", 0), 0, 10, 1_000).await;
    running.shutdown().unwrap();
    let again = manager(dir.path());
    fill(&open(&again, "topic", 0), 10, 11, 1_000).await;
    let crashed = crash(again, dir.path());
    let segment = crashed.path().join("topic-0/00000000000000000000.log");
    damage(&segment, |bytes| bytes.truncate(5_000));
    match local::open(small(crashed.path())).err() {
        Some(OpenError::Damaged { path, what }) => {
            assert_eq!(path, segment);
            assert!(what.contains("has 5000 bytes"), "{what}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path());
    append(&open(&running, "topic", 0), batch(&[b"value"]))
        .await
        .unwrap();
    let crashed = crash(running, dir.path());
    damage(&rings(crashed.path())[0], |bytes| bytes[4] = 2);
    let error = local::open(small(crashed.path())).err();
    assert!(
        matches!(error, Some(OpenError::NewerFormat { found: 2, .. })),
        "{error:?}"
    );
}

#[test]
fn a_directory_has_one_broker() {
    let dir = tempfile::tempdir().unwrap();
    let first = manager(dir.path());
    let second = local::open(small(dir.path())).err();
    assert!(
        matches!(second, Some(OpenError::Locked { .. })),
        "{second:?}"
    );
    first.shutdown().unwrap();
    manager(dir.path());
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = local::open(small(&file.join("data"))).err();
    assert!(
        matches!(error, Some(OpenError::NotWritable { .. })),
        "{error:?}"
    );
}
