//! A producer's last batch may have left the log, with everything else of its segment: a retry of it is still one.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make and damage files behind the engine's back"
)]
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use storage::local::{self, LocalConfig};
use storage::log::{CleanerConfig, Durability, LiveConfig, LogConfig, LogStore, PartitionLog};
use storage::record::{BatchBuilder, ValidatedBatch};

/// The producer whose last batch is gone, and one that writes everything else.
const SILENT: i64 = 1;
const OTHER: i64 = 2;

fn manager(
    dir: &Path,
    durability: Durability,
    retention_check_interval_ms: u64,
) -> Arc<dyn LogStore> {
    local::open(LocalConfig {
        durability,
        retention_check_interval_ms,
        initial_task_delay_ms: retention_check_interval_ms,
        ..small(dir)
    })
    .unwrap()
}

/// Two batches in each segment.
fn log_of(manager: &Arc<dyn LogStore>, file_delete_delay_ms: i64) -> Arc<dyn PartitionLog> {
    let config = LogConfig {
        segment_bytes: 1_000,
        retention_ms: -1,
        file_delete_delay_ms,
        ..LogConfig::default()
    };
    open_with(manager, "topic", 0, config)
}

fn produced(producer_id: i64, sequence: i64) -> ValidatedBatch {
    let builder = BatchBuilder::new().producer(producer_id, 0, sequence as i32);
    trusted(build(builder, 1, &[&[b'x'; 400]]))
}

/// The other producer writes up to an offset of the log.
async fn fill_to(log: &Arc<dyn PartitionLog>, sequence: &mut i64, end: i64) {
    while log.offsets().log_end_offset < end {
        append(log, produced(OTHER, *sequence)).await.unwrap();
        *sequence += 1;
    }
}

async fn until_first_segment_is(dir: &Path, base_offset: i64) {
    let first = format!("{base_offset:020}.log");
    for _ in 0..10_000 {
        // The first write makes the directory.
        let topic = dir.join("topic-0");
        let names = if topic.exists() {
            names(&topic)
        } else {
            Vec::new()
        };
        if names.iter().find(|name| name.ends_with(".log")) == Some(&first) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{base_offset} never became the first segment");
}

async fn expect_known(log: &Arc<dyn PartitionLog>, offset: i64, what: &str) {
    let retried = append(log, produced(SILENT, 0)).await.unwrap();
    assert!(retried.duplicate, "{what}: appended twice, {retried:?}");
    assert_eq!(retried.base_offset, offset, "{what}");
    let next = append(log, produced(SILENT, 1)).await.unwrap();
    assert!(!next.duplicate, "{what}");
}

/// A log that was closed in order. The first of its three batches, two of which are in the first segment, is the silent producer's.
async fn closed_after_three(dir: &Path, durability: Durability) {
    let running = manager(dir, durability, 5);
    let log = log_of(&running, 0);
    append(&log, produced(SILENT, 0)).await.unwrap();
    fill_to(&log, &mut 0, 3).await;
    drop(log);
    running.shutdown().unwrap();
}

/// The silent producer is known after the first segment of that log has gone, and the process was killed.
async fn expect_known_below_two(dir: &Path, durability: Durability, what: &str) {
    let running = manager(dir, durability, 5);
    let log = log_of(&running, 0);
    assert_eq!(log.delete_records_before(2).await.unwrap(), 2);
    until_first_segment_is(dir, 2).await;
    drop(log);
    let crashed = crash(running, dir);
    let again = manager(crashed.path(), durability, 5);
    expect_known(&log_of(&again, 0), 0, what).await;
}

/// Wherever recovery begins, however much came behind it and was synced, and wherever the log begins then.
#[tokio::test]
async fn a_producer_whose_last_batch_is_below_the_log_start_is_known_after_a_crash() {
    for durability in [Durability::Strict, Durability::Os] {
        for (checkpoint, end, start) in [
            (1, 4, 2),
            (1, 10, 2),
            (1, 10, 6),
            (2, 4, 2),
            (2, 10, 2),
            (2, 11, 9),
            (3, 10, 2),
            (3, 11, 8),
        ] {
            let what = format!("{durability:?}: {checkpoint}, {end}, {start}");
            let dir = tempfile::tempdir().unwrap();
            let running = manager(dir.path(), durability, 5);
            let log = log_of(&running, 0);
            append(&log, produced(SILENT, 0)).await.unwrap();
            let mut sequence = 0;
            fill_to(&log, &mut sequence, checkpoint).await;
            drop(log);
            running.shutdown().unwrap();
            drop(running);

            let running = manager(dir.path(), durability, 5);
            let log = log_of(&running, 0);
            fill_to(&log, &mut sequence, end).await;
            assert_eq!(log.delete_records_before(start).await.unwrap(), start);
            until_first_segment_is(dir.path(), start / 2 * 2).await;
            drop(log);
            let mut crashed = crash(running, dir.path());
            for _ in 0..2 {
                // Recovery that is cut short is begun again, and what it leaves is good for the next.
                let again = manager(crashed.path(), durability, 5);
                log_of(&again, 0).offsets();
                crashed = crash(again, crashed.path());
            }
            let again = manager(crashed.path(), durability, 5);
            expect_known(&log_of(&again, 0), 0, &what).await;
        }
    }
}

/// Nothing is left in the log when the next segment begins: what is known of producers is worth a snapshot all the same.
#[tokio::test]
async fn a_segment_that_begins_at_the_log_start_has_a_snapshot_of_who_wrote_before() {
    for durability in [Durability::Strict, Durability::Os] {
        let dir = tempfile::tempdir().unwrap();
        let running = manager(dir.path(), durability, 5);
        let log = log_of(&running, 0);
        let mut sequence = 0;
        fill_to(&log, &mut sequence, 1).await;
        drop(log);
        running.shutdown().unwrap();
        drop(running);

        let running = manager(dir.path(), durability, 5);
        let log = log_of(&running, 0);
        append(&log, produced(SILENT, 0)).await.unwrap();
        assert_eq!(log.delete_records_before(2).await.unwrap(), 2);
        fill_to(&log, &mut sequence, 4).await;
        until_first_segment_is(dir.path(), 2).await;
        drop(log);
        let crashed = crash(running, dir.path());
        let again = manager(crashed.path(), durability, 5);
        expect_known(&log_of(&again, 0), 1, &format!("{durability:?}")).await;
    }
}

/// The start has moved again since some segments were removed; their files are there for a while.
#[tokio::test]
async fn a_segment_whose_removal_had_not_begun_tells_who_wrote_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let (long_ms, hour_ms) = (3_600_000, 3_600_000);
    let running = manager(dir.path(), Durability::Strict, long_ms);
    let log = log_of(&running, hour_ms);
    let mut sequence = 0;
    fill_to(&log, &mut sequence, 3).await;
    assert_eq!(log.delete_records_before(2).await.unwrap(), 2);
    until_first_segment_is(dir.path(), 2).await;
    append(&log, produced(SILENT, 0)).await.unwrap();
    assert_eq!(log.delete_records_before(4).await.unwrap(), 4);
    // It begins a segment, and the one before is not looked at until long after.
    fill_to(&log, &mut sequence, 5).await;
    drop(log);
    let crashed = crash(running, dir.path());
    let topic = crashed.path().join("topic-0");
    for name in names(&topic) {
        // As if it had not been written yet.
        if name.starts_with(&format!("{:020}.", 4)) {
            std::fs::remove_file(topic.join(name)).unwrap();
        }
    }
    assert!(
        names(&topic)
            .iter()
            .any(|name| name.ends_with(".log.deleted"))
    );
    let again = manager(crashed.path(), Durability::Strict, long_ms);
    expect_known(&log_of(&again, hour_ms), 3, "as the files tell").await;
}

/// Of a segment that begins without a snapshot, or with one that nobody can read, those before it must not go.
#[tokio::test]
async fn segments_wait_for_a_snapshot_of_who_wrote_to_them() {
    let dir = tempfile::tempdir().unwrap();
    closed_after_three(dir.path(), Durability::Strict).await;
    let topic = dir.path().join("topic-0");
    let names_of_snapshots = names(&topic)
        .into_iter()
        .filter(|name| name.ends_with(".snapshot") || name.contains("producers"));
    for name in names_of_snapshots {
        std::fs::write(topic.join(name), b"torn").unwrap();
    }
    expect_known_below_two(dir.path(), Durability::Strict, "torn").await;
}

/// In `os` mode nobody was promised a snapshot from behind the recovery point. A power cut may leave its name and nothing in it.
#[tokio::test]
async fn segments_wait_for_a_new_snapshot_where_a_power_cut_has_left_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    closed_after_three(dir.path(), Durability::Os).await;
    let running = manager(dir.path(), Durability::Os, 5);
    let other = open(&running, "other", 0);
    append(&other, produced(OTHER, 0)).await.unwrap();
    drop(other);
    let cut = crash(running, dir.path());
    let points = cut.path().join("recovery-point-offset-checkpoint");
    std::fs::write(points, "0\n1\ntopic 0 1\n").unwrap();
    let topic = cut.path().join("topic-0");
    let mut emptied = 0;
    for name in names(&topic) {
        match name.rsplit('.').next() {
            Some("snapshot") => {
                std::fs::write(topic.join(name), b"").unwrap();
                emptied += 1;
            }
            Some("producers") => std::fs::remove_file(topic.join(name)).unwrap(),
            _ => {}
        }
    }
    assert!(emptied > 0);
    expect_known_below_two(cut.path(), Durability::Os, "emptied").await;
}

/// In `os` mode a power cut may take the later batch, and leave the segments as they were compacted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_drops_no_batch_in_favour_of_one_that_came_after_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let running = local::open(LocalConfig {
        durability: Durability::Os,
        live: LiveConfig {
            cleaner: CleanerConfig {
                backoff_ms: 3,
                // It takes a second to read what there is to be compacted.
                io_max_bytes_per_second: 1_000,
                ..CleanerConfig::default()
            },
            ..LiveConfig::default()
        },
        ..LocalConfig::new(dir.path())
    });
    let running = running.unwrap();
    let config = LogConfig {
        segment_bytes: 1_000,
        compact: true,
        delete: false,
        min_cleanable_dirty_ratio: 0.0,
        ..LogConfig::default()
    };
    let log = open_with(&running, "topic", 0, config);
    let keyed = |producer_id, sequence, value: &[u8]| {
        let mut builder = BatchBuilder::new().producer(producer_id, 0, sequence);
        builder.append(1_000, Some(b"key"), Some(value), &[]);
        trusted(builder.build().unwrap())
    };
    let stats = || running.stats().unwrap();
    let checkpoints = stats().checkpoints.count;
    append(&log, keyed(SILENT, 0, b"replaced")).await.unwrap();
    for sequence in 0..4 {
        let batch = keyed(OTHER, sequence, &[b'x'; 400]);
        append(&log, batch).await.unwrap();
    }
    while stats().checkpoints.count == checkpoints {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(stats().cleaner_runs, 0, "it has begun and is not done");
    append(&log, keyed(SILENT, 1, b"later")).await.unwrap();
    while stats().cleaner_runs == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let found = headers(&read(&log, request(0)).await.unwrap());
    let first = found.first().expect("batches");
    assert_eq!((first.producer_id, first.base_sequence), (SILENT, 0));
}
