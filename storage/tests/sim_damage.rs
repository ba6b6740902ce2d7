//! Every byte of a small write-ahead log and of a small segment, with a bit of it flipped.

#![allow(clippy::unwrap_used)]

mod common;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::*;
use storage::env::fs::Fs;
use storage::local::{self, LocalConfig, OpenError};
use storage::log::{
    AbortedTransaction, AppendOrigin, Durability, Health, IfRefused, Isolation, JointPart,
    LogConfig, LogStore, PartitionLog, ReadRequest, TopicPartition,
};
use storage::record::{BatchBuilder, EndTxnMarker, TransactionResult};
use storage::testing::sim_disk::{EVERYTHING, Fault, SimDisk, SimFs};
use uuid::Uuid;

const BATCHES: usize = 4;
const BLOCK: usize = 4096;
/// A seed of a power cut that drops whatever is not durable.
const DROP_ALL: u64 = 3;
const RING: &str = "/data/wal/ring-0.wal";
const CHECKPOINTS: &str = "wal/checkpoint-";
const SEGMENT: &str = "/data/topic-0/00000000000000000000.log";

fn start(disk: &SimDisk) -> Result<Arc<dyn LogStore>, OpenError> {
    start_with(disk, usize::MAX)
}

fn start_with(disk: &SimDisk, sync_together_from: usize) -> Result<Arc<dyn LogStore>, OpenError> {
    start_on(disk.boot(None), sync_together_from)
}

fn start_on(fs: SimFs, sync_together_from: usize) -> Result<Arc<dyn LogStore>, OpenError> {
    local::open(LocalConfig {
        sync_together_from,
        ..config(fs)
    })
}

fn config(fs: SimFs) -> LocalConfig {
    LocalConfig {
        wal_ring_bytes: 64 << 10,
        wal_region_bytes: 32 << 10,
        wal_first_region_bytes: 16 << 10,
        io_threads: 1,
        recovery_threads: 1,
        fs: Arc::new(fs),
        initial_task_delay_ms: 300_000,
        ..LocalConfig::new("/data")
    }
}

fn value(number: usize) -> Vec<u8> {
    format!("value {number}").repeat(4).into_bytes()
}

/// A disk with a log of four batches, each of which was a write of its own.
async fn written(orderly: bool) -> SimDisk {
    let disk = SimDisk::new();
    let manager = start(&disk).unwrap();
    let log = open(&manager, "topic", 0);
    for number in 0..BATCHES {
        append(&log, batch(&[&value(number)])).await.unwrap();
    }
    if orderly {
        manager.shutdown().unwrap();
    }
    disk.kill();
    disk
}

/// A snapshot takes one, too.
fn take_checkpoint(manager: &Arc<dyn LogStore>) {
    let copy = PathBuf::from(format!("/copy-{}", Uuid::new_v4()));
    let copied = manager.snapshot(&copy, &mut |_| ControlFlow::Continue(()));
    copied.unwrap();
}

fn bytes_of(disk: &SimDisk, path: &str) -> Vec<u8> {
    let mut found = Vec::new();
    disk.damage(Path::new(path), |bytes| found.clone_from(bytes))
        .unwrap();
    found
}

/// A copy with one bit flipped: which one of the byte changes from byte to byte.
fn flipped(disk: &SimDisk, path: &str, at: usize, bit: usize) -> SimDisk {
    let copy = disk.copy();
    copy.damage(Path::new(path), |bytes| bytes[at] ^= 1 << bit)
        .unwrap();
    copy
}

/// How many batches can be read, all of them right, or why none can.
async fn readable(log: &Arc<dyn PartitionLog>) -> Result<usize, String> {
    let mut next = 0;
    loop {
        let fetched = read(log, request(next))
            .await
            .map_err(|error| error.to_string())?;
        let found = values(&fetched);
        if found.is_empty() {
            return Ok(next as usize);
        }
        for (offset, found) in found {
            if offset >= next {
                assert_eq!((offset, found), (next, value(next as usize)), "wrong data");
                next += 1;
            }
        }
    }
}

/// The bits to flip in a byte: one, unless `OTTLA_SIM_ALL_BITS` asks for every one.
fn bits(at: usize) -> Vec<usize> {
    match std::env::var_os("OTTLA_SIM_ALL_BITS") {
        Some(_) => (0..8).collect(),
        None => vec![at % 8],
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_write_ahead_log_costs_the_last_write_or_is_named() {
    let disk = written(false).await;
    let ring = bytes_of(&disk, RING);
    for at in 0..BATCHES * BLOCK {
        let block = &ring[at / BLOCK * BLOCK..][..BLOCK];
        let used = block.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let in_padding = at % BLOCK >= used;
        if in_padding && !at.is_multiple_of(97) {
            continue;
        }
        for bit in bits(at) {
            let damaged = flipped(&disk, RING, at, bit);
            match start(&damaged) {
                Ok(manager) => {
                    let found = readable(&open(&manager, "topic", 0)).await.unwrap();
                    let is_last = at / BLOCK == BATCHES - 1;
                    assert!(
                        found == BATCHES || (is_last && found == BATCHES - 1),
                        "bit {bit} of byte {at}: {found} batches"
                    );
                }
                Err(OpenError::HoleInWal { path, what }) => {
                    assert_eq!(path, PathBuf::from(RING));
                    assert!(what.contains("at byte"), "{what}");
                }
                Err(OpenError::NewerFormat { path, .. }) => assert_eq!(path, PathBuf::from(RING)),
                Err(error) => panic!("bit {bit} of byte {at}: {error}"),
            }
            damaged.kill();
        }
    }
}

/// Flips bits of a segment in those bytes, counted from the start of their batch, that `picks` wants.
async fn flip_segment(picks: impl Fn(usize) -> bool) {
    let disk = written(true).await;
    let segment = bytes_of(&disk, SEGMENT);
    let batch_bytes = segment.len() / BATCHES;
    for at in (0..segment.len()).filter(|at| picks(at % batch_bytes)) {
        for bit in bits(at) {
            let damaged = flipped(&disk, SEGMENT, at, bit);
            let manager = start(&damaged).unwrap();
            match readable(&open(&manager, "topic", 0)).await {
                Ok(found) => assert_eq!(found, BATCHES, "bit {bit} of byte {at}"),
                Err(what) => assert!(what.contains("topic-0"), "bit {bit} of byte {at}: {what}"),
            }
            assert_eq!(bytes_of(&damaged, SEGMENT).len(), segment.len());
            damaged.kill();
        }
    }
}

const BASE_OFFSET_BYTES: usize = 8;

#[tokio::test]
async fn a_flipped_bit_in_a_segment_is_named_and_never_read_as_data() {
    flip_segment(|at| at >= BASE_OFFSET_BYTES).await;
}

#[tokio::test]
async fn a_flipped_bit_in_a_base_offset_is_named() {
    flip_segment(|at| at < BASE_OFFSET_BYTES).await;
}

/// After a failed `fsync` Linux takes the pages for clean: the next one says nothing of them.
#[tokio::test]
async fn a_checkpoint_does_not_trust_a_segment_whose_sync_has_failed() {
    fail_sync(".log", usize::MAX).await;
}

#[tokio::test]
async fn a_checkpoint_does_not_trust_a_file_system_whose_sync_has_failed() {
    fail_sync(EVERYTHING, 1).await;
}

async fn fail_sync(path: &str, sync_together_from: usize) {
    let disk = SimDisk::new();
    let manager = start_with(&disk, sync_together_from).unwrap();
    let log = open(&manager, "topic", 0);
    disk.fault(path, Fault::FailSyncs(5), 1);
    let mut acknowledged = 0;
    // Several times what the ring holds, so that it has to be checkpointed.
    for number in 0..100 {
        let value = value(number).repeat(50);
        let appended = append(&log, batch(&[&value]));
        match tokio::time::timeout(Duration::from_secs(10), appended).await {
            Ok(Ok(appended)) => acknowledged = appended.last_offset + 1,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    assert!(
        matches!(manager.health(), Health::Offline(_)),
        "the failure was not noticed"
    );
    disk.power_cut(DROP_ALL);
    drop((log, manager));
    let again = start(&disk).unwrap();
    let found = read_all(&open(&again, "topic", 0), 0).await;
    assert!(
        found.len() as i64 >= acknowledged,
        "{acknowledged} were acknowledged, {} are there",
        found.len()
    );
    for (offset, found) in found {
        assert_eq!(found, value(offset as usize).repeat(50), "offset {offset}");
    }
}

/// What a killed process has written and not synced is there for the next one to see, which must not take it for durable.
#[tokio::test]
async fn what_a_killed_start_has_written_survives_a_later_power_cut() {
    for stop_at in 1.. {
        let disk = SimDisk::new();
        let manager = start(&disk).unwrap();
        let log = open(&manager, "topic", 0);
        append(&log, batch(&[&value(0)])).await.unwrap();
        // Only the write-ahead log has it.
        disk.power_cut(DROP_ALL);
        drop(log);
        drop(manager);
        let has_started = start_on(disk.boot(Some(stop_at)), usize::MAX).is_ok();
        disk.kill();
        let manager = start(&disk).unwrap();
        let small = LogConfig {
            segment_bytes: 1,
            ..LogConfig::default()
        };
        let log = open_with(&manager, "topic", 0, small);
        append(&log, batch(&[&value(1)])).await.unwrap();
        disk.power_cut(DROP_ALL);
        drop(log);
        drop(manager);
        let manager = start(&disk).unwrap();
        let log = open(&manager, "topic", 0);
        assert_eq!(readable(&log).await, Ok(2), "killed at operation {stop_at}");
        disk.kill();
        if has_started {
            return;
        }
    }
}

/// A killed process leaves its last group in the page cache. What a start makes of that group must not outlive it.
#[tokio::test]
async fn a_joint_append_that_a_killed_process_left_in_the_page_cache_stays_whole() {
    let mut tried = 0;
    for stop_at in 1.. {
        for then_stop_at in 1.. {
            let disk = SimDisk::new();
            let manager = start(&disk).unwrap();
            for number in 0..2 {
                let log = open(&manager, "topic", number);
                append(&log, batch(&[&value(0)])).await.unwrap();
            }
            manager.shutdown().unwrap();
            disk.kill();
            drop(manager);
            let Ok(manager) = start_on(disk.boot(Some(stop_at)), usize::MAX) else {
                break;
            };
            let logs = [0, 1].map(|number| open(&manager, "topic", number));
            let parts = logs.each_ref().map(|log| JointPart {
                log: log.id().clone(),
                batch: batch(&[&value(1)]),
                origin: AppendOrigin::CLIENT,
                if_refused: IfRefused::FailAll,
            });
            let permit = manager.reserve(1000, AppendOrigin::CLIENT).await;
            let Ok(answers) = manager.submit_all(permit.unwrap(), parts.into()) else {
                break;
            };
            let mut is_done = true;
            for answer in answers {
                is_done &= answer.unwrap().await.is_ok();
            }
            disk.kill();
            drop(logs);
            drop(manager);
            if is_done {
                assert!(tried > 0, "no process ended with the group on its way");
                return;
            }
            tried += 1;
            let has_started = start_on(disk.boot(Some(then_stop_at)), usize::MAX).is_ok();
            disk.power_cut(DROP_ALL);
            let manager = start(&disk).unwrap();
            let ends = [0, 1].map(|number| {
                let log = open(&manager, "topic", number);
                log.offsets().log_end_offset
            });
            assert_eq!(
                ends[0], ends[1],
                "ended at {stop_at}, then at {then_stop_at}"
            );
            disk.kill();
            if has_started {
                break;
            }
        }
    }
}

/// Wherever the first process was killed: what it has made is there, and may not be durable. Wherever the power goes again while the
/// third one starts: the fourth starts.
#[tokio::test]
async fn a_directory_that_a_killed_process_made_survives_two_power_cuts() {
    for stop_at in 1..12 {
        for then_stop_at in 1.. {
            let disk = SimDisk::new();
            let config = LocalConfig {
                fs: Arc::new(disk.boot(Some(stop_at))),
                initial_task_delay_ms: 300_000,
                ..LocalConfig::new("/data")
            };
            drop(local::open(config));
            disk.kill();
            let manager = start(&disk).unwrap();
            let log = open(&manager, "topic", 0);
            append(&log, batch(&[&value(0)])).await.unwrap();
            disk.power_cut(DROP_ALL);
            drop((log, manager));
            let has_started = start_on(disk.boot(Some(then_stop_at)), usize::MAX).is_ok();
            disk.power_cut(DROP_ALL);
            let what = format!("killed at operation {stop_at}, cut at {then_stop_at}");
            let again = start(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            let log = open(&again, "topic", 0);
            assert_eq!(readable(&log).await, Ok(1), "{what}");
            drop((log, again));
            disk.kill();
            if has_started {
                break;
            }
        }
    }
}

/// After a failed sync the page cache has what the disk has not, and the next sync says nothing of it.
#[tokio::test]
async fn a_checkpoint_whose_sync_has_failed_is_not_the_last_one_that_is_whole() {
    let (mut has_failed, mut was_cut_short) = (0, 0);
    for then_stop_on in 1..5 {
        for cut in 0..40 {
            let disk = written(false).await;
            let manager = start(&disk).unwrap();
            let log = open(&manager, "topic", 0);
            append(&log, batch(&[&value(BATCHES)])).await.unwrap();
            disk.fault(CHECKPOINTS, Fault::FailSyncs(5), 1);
            let copied = manager.snapshot(Path::new("/copy"), &mut |_| ControlFlow::Continue(()));
            has_failed += usize::from(copied.is_err());
            disk.kill();
            drop((log, manager));
            let fs = disk.boot(None);
            disk.stop_on(CHECKPOINTS, then_stop_on);
            was_cut_short += usize::from(start_on(fs, usize::MAX).is_err());
            disk.power_cut(cut);
            let what = format!("cut at {then_stop_on} by {cut}");
            let manager = start(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            let log = open(&manager, "topic", 0);
            assert_eq!(readable(&log).await, Ok(BATCHES + 1), "{what}");
            drop((log, manager));
            disk.kill();
        }
    }
    assert!(
        has_failed > 0 && was_cut_short > 0,
        "{has_failed} syncs have failed, {was_cut_short} starts were cut short"
    );
}

/// A checkpoint that a killed process has written and not synced is relied on by the next start. That one writes its own over
/// the other file, and a power cut may tear it.
#[tokio::test]
async fn a_checkpoint_that_a_killed_process_left_in_the_page_cache_is_not_the_last_one_that_is_whole()
 {
    let mut was_cut_short = 0;
    for stop_on in 1..5 {
        for then_stop_on in 1..5 {
            for cut in 0..40 {
                let disk = written(false).await;
                let fs = disk.boot(None);
                disk.stop_on(CHECKPOINTS, stop_on);
                drop(start_on(fs, usize::MAX));
                disk.kill();
                let fs = disk.boot(None);
                disk.stop_on(CHECKPOINTS, then_stop_on);
                was_cut_short += usize::from(start_on(fs, usize::MAX).is_err());
                disk.power_cut(cut);
                let what = format!("killed at {stop_on}, cut at {then_stop_on} by {cut}");
                let manager = start(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
                let log = open(&manager, "topic", 0);
                assert_eq!(readable(&log).await, Ok(BATCHES), "{what}");
                drop((log, manager));
                disk.kill();
            }
        }
    }
    assert!(was_cut_short > 0, "no start was cut short");
}

/// A directory without a name tag was put here by hand. A killed process has given it one, which a power cut takes again: the
/// records must not go with it, even if the first that is appended begins a segment.
#[tokio::test]
async fn a_directory_that_a_killed_process_has_adopted_keeps_its_records() {
    let small = LogConfig {
        segment_bytes: 1,
        ..LogConfig::default()
    };
    for stop_after in 1.. {
        let disk = written(true).await;
        let fs = disk.boot(None);
        let log_dir = Path::new("/data/topic-0");
        fs.remove_file(&log_dir.join("partition.metadata")).unwrap();
        fs.sync_dir(log_dir).unwrap();
        disk.kill();

        let manager = start(&disk).unwrap();
        disk.stop_after(stop_after);
        open(&manager, "topic", 0).offsets();
        let is_done = !disk.is_stopped();
        disk.kill();
        drop(manager);

        let manager = start(&disk).unwrap();
        let log = open_with(&manager, "topic", 0, small.clone());
        append(&log, batch(&[&value(BATCHES)])).await.unwrap();
        disk.power_cut(DROP_ALL);
        drop((log, manager));

        let manager = start(&disk).unwrap();
        let log = open(&manager, "topic", 0);
        assert_eq!(
            readable(&log).await,
            Ok(BATCHES + 1),
            "killed after {stop_after}"
        );
        drop((log, manager));
        disk.kill();
        if is_done {
            return;
        }
    }
}

/// Wherever the power goes while a log is deleted, and wherever it goes again while the next process starts: a deletion that was
/// acknowledged holds, and nothing of the log is left to another one of its name.
#[tokio::test]
async fn an_acknowledged_deletion_survives_two_power_cuts() {
    for durability in [Durability::Strict, Durability::Os] {
        let start_on = |fs| {
            local::open(LocalConfig {
                durability,
                ..config(fs)
            })
        };
        let (mut was_cut_short, mut is_done) = (false, false);
        for stop_after in 1.. {
            for then_stop_at in 1.. {
                let disk = written(true).await;
                let manager = start_on(disk.boot(None)).unwrap();
                disk.stop_after(stop_after);
                let deleted = manager.delete_logs(vec![partition("topic", 0)]).await;
                is_done = !disk.is_stopped();
                disk.power_cut(DROP_ALL);
                drop(manager);
                if deleted.is_err() {
                    break;
                }
                was_cut_short |= !is_done;
                let has_started = start_on(disk.boot(Some(then_stop_at))).is_ok();
                disk.power_cut(DROP_ALL);
                let what =
                    format!("{durability:?}, cut after {stop_after}, then at {then_stop_at}");
                let manager = start_on(disk.boot(None)).unwrap();
                let left = disk.files().into_iter().map(|(path, _)| path);
                let left: Vec<_> = left
                    .filter(|path| path.starts_with("/data/topic-0"))
                    .collect();
                assert_eq!(left, Vec::<PathBuf>::new(), "{what}");
                let points = bytes_of(&disk, "/data/recovery-point-offset-checkpoint");
                assert_eq!(String::from_utf8_lossy(&points), "0\n0\n", "{what}");
                let another = TopicPartition {
                    topic_id: Uuid::from_u128(1),
                    ..partition("topic", 0)
                };
                let log = manager.open_log(another, Arc::default()).unwrap();
                assert_eq!(readable(&log).await, Ok(0), "{what}");
                drop((log, manager));
                disk.kill();
                if has_started {
                    break;
                }
            }
            if is_done {
                break;
            }
        }
        assert!(was_cut_short, "the power went before or after it");
    }
}

/// The index of aborted transactions that a killed process has renamed to its name: a power cut may take the name back, so
/// nothing that outlives the power cut may rely on it.
#[tokio::test]
async fn an_index_that_a_killed_process_has_named_is_durable_before_it_is_relied_on() {
    let with_notes = |fs| {
        local::open(LocalConfig {
            note_interval_bytes: 1,
            ..config(fs)
        })
    };
    for stop_after in 1..10 {
        for cut in 0..40 {
            let disk = SimDisk::new();
            let manager = start(&disk).unwrap();
            let log = open(&manager, "topic", 0);
            append(&log, batch(&[&value(0)])).await.unwrap();
            take_checkpoint(&manager);
            let data = BatchBuilder::new().producer(1, 0, 0).transactional();
            append(&log, trusted(build(data, 1_000, &[&value(1)])))
                .await
                .unwrap();
            let marker = EndTxnMarker {
                result: TransactionResult::Abort,
                coordinator_epoch: 0,
            };
            let origin = AppendOrigin::Marker {
                transaction_version: 0,
            };
            append_as(&log, trusted(marker.to_batch(1, 0, 1_000).unwrap()), origin)
                .await
                .unwrap();
            disk.kill();
            drop((log, manager));

            let manager = with_notes(disk.boot(None)).unwrap();
            disk.stop_after(stop_after);
            let log = open(&manager, "topic", 0);
            log.offsets();
            disk.kill();
            drop((log, manager));

            let manager = with_notes(disk.boot(None)).unwrap();
            let log = open(&manager, "topic", 0);
            append(&log, batch(&[&value(3)])).await.unwrap();
            take_checkpoint(&manager);
            disk.power_cut(cut);
            drop((log, manager));

            let manager = with_notes(disk.boot(None)).unwrap();
            let log = open(&manager, "topic", 0);
            let committed = ReadRequest {
                isolation: Isolation::ReadCommitted,
                ..request(1)
            };
            let aborted = AbortedTransaction {
                producer_id: 1,
                first_offset: 1,
            };
            let fetched = read(&log, committed).await.unwrap();
            assert_eq!(
                fetched.aborted_transactions,
                [aborted],
                "killed after {stop_after}, cut by {cut}"
            );
            drop((log, manager));
            disk.kill();
        }
    }
}
