//! Reading segments from one end to the other.

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
use storage::local::{self, LocalConfig};
use storage::log::{FetchedRecords, PartitionLog, Read, ReadError};

const BATCHES: usize = 24;
const VALUE_BYTES: usize = 100_000;
/// Two batches, and a part of the third.
const MAX_BYTES: usize = 250_000;

/// How a fetch was answered.
#[derive(Debug, PartialEq, Eq)]
enum From {
    Memory,
    Disk,
}

/// A directory with a log of which nothing is in memory.
async fn written(dir: &Path) {
    let manager = local::open(LocalConfig::new(dir)).unwrap();
    let log = open(&manager, "topic", 0);
    for number in 0..BATCHES {
        let value = vec![number as u8; VALUE_BYTES];
        append(&log, batch(&[&value])).await.unwrap();
    }
    drop(log);
    manager.shutdown().unwrap();
}

async fn fetch(
    log: &Arc<dyn PartitionLog>,
    fetch_offset: i64,
) -> Result<(From, FetchedRecords), ReadError> {
    let mut request = request(fetch_offset);
    request.max_bytes = MAX_BYTES;
    Ok(match log.read(request)? {
        Read::Ready(fetched) => (From::Memory, fetched),
        Read::Cold(fetched) => (From::Disk, fetched.await?),
    })
}

/// Reads from an offset to the end, checking what comes.
async fn read_on(log: &Arc<dyn PartitionLog>, mut next: i64) -> Vec<From> {
    let mut all = Vec::new();
    while next < BATCHES as i64 {
        let (from, fetched) = fetch(log, next).await.unwrap();
        assert!(fetched.size_bytes <= MAX_BYTES);
        let values = values(&fetched);
        assert_eq!(values.len(), 2.min(BATCHES - next as usize));
        for (offset, value) in values {
            assert_eq!(offset, next);
            assert!(value == vec![next as u8; VALUE_BYTES]);
            next += 1;
        }
        all.push(from);
    }
    all
}

#[tokio::test]
async fn every_other_fetch_of_one_who_reads_on_is_answered_with_what_was_read_ahead() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path()).await;
    let manager = local::open(LocalConfig::new(dir.path())).unwrap();
    let log = open(&manager, "topic", 0);
    let answered = read_on(&log, 0).await;
    assert_eq!(answered[..2], [From::Disk, From::Disk], "{answered:?}");
    let from_memory = answered.iter().filter(|from| **from == From::Memory);
    assert!(from_memory.count() >= 5, "{answered:?}");
}

#[tokio::test]
async fn nothing_is_read_ahead_for_one_who_jumps_about() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path()).await;
    let manager = local::open(LocalConfig::new(dir.path())).unwrap();
    let log = open(&manager, "topic", 0);
    for offset in [4, 0, 9, 2, 15, 12, 7] {
        assert_eq!(fetch(&log, offset).await.unwrap().0, From::Disk);
    }
}

#[tokio::test]
async fn nothing_is_read_ahead_without_room_in_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path()).await;
    let manager = local::open(LocalConfig {
        cold_read_budget_bytes: MAX_BYTES,
        ..LocalConfig::new(dir.path())
    })
    .unwrap();
    let answered = read_on(&open(&manager, "topic", 0), 0).await;
    assert!(!answered.contains(&From::Memory), "{answered:?}");
}

#[tokio::test]
async fn what_was_read_ahead_gives_way_to_a_read_that_finds_no_room() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path()).await;
    let manager = local::open(LocalConfig {
        cold_read_budget_bytes: 3 * MAX_BYTES,
        ..LocalConfig::new(dir.path())
    })
    .unwrap();
    let log = open(&manager, "topic", 0);
    for offset in [0, 2] {
        drop(fetch(&log, offset).await.unwrap());
    }
    let held = fetch(&log, 12).await.unwrap();
    let started = std::time::Instant::now();
    drop(fetch(&log, 18).await.unwrap());
    assert!(started.elapsed().as_millis() < 400, "it waited for room");
    assert_eq!(fetch(&log, 4).await.unwrap().0, From::Disk, "it was kept");
    drop(held);
}

#[tokio::test]
async fn a_flipped_bit_is_found_in_what_was_read_ahead() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path()).await;
    let path = dir.path().join("topic-0/00000000000000000000.log");
    let mut segment = fs::read(&path).unwrap();
    let batch_bytes = segment.len() / BATCHES;
    segment[4 * batch_bytes + 500] ^= 1;
    fs::write(&path, segment).unwrap();

    let manager = local::open(LocalConfig::new(dir.path())).unwrap();
    let log = open(&manager, "topic", 0);
    for offset in [0, 2] {
        assert_eq!(values(&fetch(&log, offset).await.unwrap().1).len(), 2);
    }
    let error = fetch(&log, 4).await.unwrap_err();
    assert!(matches!(error, ReadError::Corrupt { offset: 4, .. }));
    assert_eq!(read_on(&log, 5).await.len(), 10);
}
