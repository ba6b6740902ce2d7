//! A directory that another broker has written and somebody has put here.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make and damage files behind the engine's back"
)]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::*;
use storage::local::{self};
use storage::log::{Isolation, LogConfig, LogStore, PartitionLog, ReadRequest, TopicPartition};
use storage::record::{BatchBuilder, ValidatedBatch};
use uuid::Uuid;

const PRODUCER: i64 = 5;

fn numbered(sequence: i32, value: &[u8]) -> ValidatedBatch {
    let builder = BatchBuilder::new().producer(PRODUCER, 0, sequence);
    trusted(build(builder, 1_000, &[value]))
}

/// A log of four batches, the last of an open transaction, whose topic had another id; and nothing else.
async fn foreign() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let manager = local::open(small(dir.path())).unwrap();
    let log = open(&manager, "topic", 0);
    for sequence in 0..3 {
        append(&log, numbered(sequence, b"theirs")).await.unwrap();
    }
    let builder = BatchBuilder::new().producer(9, 0, 0).transactional();
    append(&log, trusted(build(builder, 1_000, &[b"undecided"])))
        .await
        .unwrap();
    drop(log);
    manager.shutdown().unwrap();
    let copy = tempfile::tempdir().unwrap();
    copy_dir(&dir.path().join("topic-0"), &copy.path().join("topic-0"));
    copy
}

fn open_here(manager: &Arc<dyn LogStore>) -> Arc<dyn PartitionLog> {
    let id = TopicPartition {
        topic: Arc::from("topic"),
        topic_id: Uuid::from_u128(77),
        partition: 0,
    };
    manager
        .open_log(id, Arc::new(LogConfig::default()))
        .unwrap()
}

fn metadata(dir: &Path) -> std::path::PathBuf {
    dir.join("topic-0/partition.metadata")
}

#[tokio::test]
async fn a_directory_without_an_owner_is_adopted_and_its_producers_are_nobodys() {
    let dir = foreign().await;
    fs::remove_file(metadata(dir.path())).unwrap();
    let manager = local::open(small(dir.path())).unwrap();
    let log = open_here(&manager);
    assert_eq!(read_all(&log, 0).await.len(), 4);
    assert!(metadata(dir.path()).exists());
    // The directory's snapshots must not bring them back.
    drop(log);
    let dir = crash(manager, dir.path());
    let manager = local::open(small(dir.path())).unwrap();
    let log = open_here(&manager);
    let appended = append(&log, numbered(0, b"ours")).await.unwrap();
    assert_eq!((appended.base_offset, appended.duplicate), (4, false));
    let again = append(&log, numbered(0, b"ours")).await.unwrap();
    assert_eq!((again.base_offset, again.duplicate), (4, true));
    let committed = ReadRequest {
        isolation: Isolation::ReadCommitted,
        ..request(0)
    };
    let found = values(&read(&log, committed).await.unwrap());
    assert_eq!(found.len(), 3, "the open transaction is still open");
    drop(log);
    manager.shutdown().unwrap();
}

#[tokio::test]
async fn a_directory_of_another_topic_is_set_aside_and_kept() {
    let dir = foreign().await;
    let manager = local::open(small(dir.path())).unwrap();
    let log = open_here(&manager);
    assert_eq!(read_all(&log, 0).await, []);
    let aside: Vec<String> = names(dir.path())
        .into_iter()
        .filter(|name| name.ends_with("-stray"))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    let kept = dir.path().join(&aside[0]).join("00000000000000000000.log");
    assert!(fs::metadata(kept).unwrap().len() > 0);
}

/// Compaction leaves segments that do not begin with their first offset, and gaps between them.
#[tokio::test]
async fn what_follows_a_gap_is_read_from_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig {
        segment_bytes: 2_000,
        index_interval_bytes: 0,
        compact: true,
        ..LogConfig::default()
    };
    let manager = local::open(small(dir.path())).unwrap();
    let log = open_with(&manager, "topic", 0, config.clone());
    for sequence in 0..60 {
        append(&log, numbered(sequence, &[b'v'; 100]))
            .await
            .unwrap();
    }
    drop(log);
    manager.shutdown().unwrap();
    let partition = dir.path().join("topic-0");
    let mut segments = names(&partition);
    segments.retain(|name| name.ends_with(".log"));
    assert!(segments.len() > 3, "{segments:?}");
    let first_of = |segment: &str| segment.trim_end_matches(".log").parse::<i64>().unwrap();
    for suffix in ["log", "index", "timeindex"] {
        let name = segments[1].replace("log", suffix);
        fs::remove_file(partition.join(name)).unwrap();
    }
    let manager = local::open(small(dir.path())).unwrap();
    let log = open_with(&manager, "topic", 0, config);
    let (gap, after) = (first_of(&segments[1]), first_of(&segments[2]));
    let expected: Vec<i64> = (0..gap).chain(after..60).collect();
    let found = read_all(&log, 0).await;
    assert_eq!(
        found.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(read_all(&log, gap).await[0].0, after);
}

#[tokio::test]
async fn a_directory_that_ends_before_the_start_that_was_put_beside_it_is_named_and_kept() {
    let dir = foreign().await;
    std::fs::remove_file(metadata(dir.path())).unwrap();
    let starts = dir.path().join("log-start-offset-checkpoint");
    std::fs::write(&starts, "0\n1\ntopic 0 9\n").unwrap();
    let manager = local::open(small(dir.path())).unwrap();
    let log = open_here(&manager);
    let refused = append(&log, numbered(0, b"ours")).await.unwrap_err();
    assert!(refused.to_string().contains("begins at 9"), "{refused}");
    drop(log);
    manager.shutdown().unwrap();
    std::fs::write(&starts, "0\n0\n").unwrap();
    let manager = local::open(small(dir.path())).unwrap();
    assert_eq!(open_here(&manager).offsets().log_end_offset, 4);
}
