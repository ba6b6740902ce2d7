//! What a start after a crash reads, and what it knows afterwards.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make and damage files behind the engine's back"
)]
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use storage::local::{self, LocalConfig};
use storage::log::{AppendOrigin, Isolation, LogStore, PartitionLog, ReadRequest};
use storage::record::{BatchBuilder, EndTxnMarker, TransactionResult, ValidatedBatch};
use storage::testing::hooked_fs::{HookedFs, Hooks};

const LOGS: i32 = 8;
const RING_BYTES: u64 = 1 << 20;
const NOTE_INTERVAL_BYTES: u64 = 32 << 10;
const BATCH_BYTES: usize = 4 << 10;
/// As many as a producer may have in flight.
const RETRIED: i32 = 5;
const NOTES: [&str; 2] = ["producers-a", "producers-b"];

/// Bytes read. Indexes are left out: they are read whole, and are a few hundredths of a segment at most.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Hooks for Count {
    fn read(&self, path: &Path, bytes: usize) {
        let part = path.extension().and_then(|part| part.to_str());
        if !matches!(part, Some("index" | "timeindex")) {
            self.0.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

fn manager(dir: &Path, count: &Arc<Count>) -> Arc<dyn LogStore> {
    let opened = local::open(LocalConfig {
        wal_ring_bytes: RING_BYTES,
        note_interval_bytes: NOTE_INTERVAL_BYTES,
        fs: Arc::new(HookedFs(Arc::clone(count))),
        ..small(dir)
    });
    opened.expect("the directory opens")
}

/// A batch of the log's own producer.
fn produced(log: i32, sequence: i32) -> ValidatedBatch {
    let builder = BatchBuilder::new().producer(i64::from(log), 0, sequence);
    trusted(build(builder, 1, &[&vec![b'x'; BATCH_BYTES]]))
}

/// Appends to all logs by turns.
async fn fill(logs: &[Arc<dyn PartitionLog>], sequences: std::ops::Range<i32>) {
    for sequence in sequences {
        let mut pending = Vec::new();
        for (number, log) in (0..).zip(logs) {
            pending.push(submit(log, produced(number, sequence)).await);
        }
        for pending in pending {
            pending.await.unwrap();
        }
    }
}

fn open_all(manager: &Arc<dyn LogStore>) -> Vec<Arc<dyn PartitionLog>> {
    (0..LOGS).map(|log| open(manager, "topic", log)).collect()
}

/// Every retry is recognised, and a gap is refused.
async fn expect_known(log: &Arc<dyn PartitionLog>, number: i32, end: i32) {
    for sequence in end - RETRIED..end {
        let retried = append(log, produced(number, sequence)).await.unwrap();
        assert!(retried.duplicate, "log {number}, sequence {sequence}");
        assert_eq!(retried.base_offset, i64::from(sequence));
    }
    let skipped = append(log, produced(number, end + 1)).await;
    assert!(skipped.is_err(), "log {number} forgot its producer");
}

#[tokio::test]
async fn what_a_start_reads_after_a_crash_does_not_grow_with_the_logs() {
    // Recovery reads the ring twice, and each time the head of every region, too; the first use of a log reads what
    // recovery has written. For each log there is what came before it was worth a note, and small files.
    let windows = LOGS as u64 * (NOTE_INTERVAL_BYTES + (16 << 10));
    let bound = 6 * RING_BYTES + windows;
    for rounds in [200, 2_000] {
        let data_bytes = rounds as u64 * LOGS as u64 * BATCH_BYTES as u64;
        let dir = tempfile::tempdir().unwrap();
        let running = manager(dir.path(), &Arc::default());
        let logs = open_all(&running);
        fill(&logs, 0..rounds).await;
        drop(logs);
        let mut crashed = crash(running, dir.path());
        // Twice: what one start has read must not have to be read by the next, as soon as there was a checkpoint.
        for end in [rounds, rounds + 1] {
            let count = Arc::<Count>::default();
            let again = manager(crashed.path(), &count);
            assert!(!again.recovery_report().clean);
            let logs = open_all(&again);
            for log in &logs {
                assert_eq!(log.offsets().high_watermark, i64::from(end));
            }
            let read_bytes = count.0.load(Ordering::Relaxed);
            assert!(
                read_bytes <= bound,
                "{read_bytes} bytes read of {data_bytes}, allowed are {bound}"
            );
            for (number, log) in (0..).zip(&logs) {
                expect_known(log, number, end).await;
            }
            fill(&logs, end..end + 1).await;
            drop(logs);
            crashed = crash(again, crashed.path());
        }
    }
}

#[tokio::test]
async fn notes_that_are_torn_missing_or_old_cost_nothing_but_time() {
    let rounds = 200;
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path(), &Arc::default());
    let logs = open_all(&running);
    fill(&logs, 0..rounds / 2).await;
    let old = copy_of(dir.path());
    fill(&logs, rounds / 2..rounds).await;
    drop(logs);
    let crashed = crash(running, dir.path());
    let mut changed = 0;
    for log in 0..LOGS {
        let name = format!("topic-{log}");
        let path = |dir: &tempfile::TempDir, note| dir.path().join(&name).join(note);
        for note in NOTES {
            let Ok(mut bytes) = std::fs::read(path(&crashed, note)) else {
                continue;
            };
            changed += 1;
            let at = bytes.len() / 2;
            match log % 4 {
                0 => bytes[at] ^= 1,
                1 => bytes.truncate(at),
                2 => bytes.clear(),
                _ => bytes = std::fs::read(path(&old, note)).unwrap_or_default(),
            }
            std::fs::write(path(&crashed, note), bytes).unwrap();
        }
    }
    assert!(changed > LOGS, "{changed} notes");
    let again = manager(crashed.path(), &Arc::default());
    for (number, log) in (0..).zip(&open_all(&again)) {
        assert_eq!(log.offsets().high_watermark, i64::from(rounds));
        expect_known(log, number, rounds).await;
    }
}

#[tokio::test]
async fn transactions_are_known_from_notes() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path(), &Arc::default());
    let logs = open_all(&running);
    let log = &logs[0];
    let transactional = |producer_id| {
        let builder = BatchBuilder::new()
            .producer(producer_id, 0, 0)
            .transactional();
        trusted(build(builder, 1, &[b"in a transaction"]))
    };
    fill(&logs, 0..50).await;
    append(log, transactional(101)).await.unwrap();
    let open_offset = append(log, transactional(102)).await.unwrap().base_offset;
    let marker = EndTxnMarker {
        result: TransactionResult::Abort,
        coordinator_epoch: 3,
    };
    let marker = trusted(marker.to_batch(101, 0, 5).unwrap());
    append_as(log, marker, AppendOrigin::COORDINATOR)
        .await
        .unwrap();
    // Far enough for checkpoints: the transactions are not in the ring any more.
    fill(&logs, 50..300).await;
    let before = log.offsets();
    drop(logs);
    let crashed = crash(running, dir.path());
    for note in NOTES {
        assert!(crashed.path().join("topic-0").join(note).exists());
    }
    let again = manager(crashed.path(), &Arc::default());
    let log = open(&again, "topic", 0);
    assert_eq!(log.offsets(), before);
    assert_eq!(log.offsets().last_stable_offset, open_offset);
    let committed = ReadRequest {
        isolation: Isolation::ReadCommitted,
        ..request(0)
    };
    let fetched = read(&log, committed).await.unwrap();
    assert_eq!(fetched.aborted_transactions.len(), 1);
    assert_eq!(fetched.aborted_transactions[0].producer_id, 101);
}
