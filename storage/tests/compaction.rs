//! A compacted log keeps the last value of each key, whatever happens.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make and damage files behind the engine's back"
)]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::env::fs::{Access, Fs, RealFs};
use storage::local::{self, LocalConfig};
use storage::log::{AppendOrigin, Isolation, LogConfig, LogStore, PartitionLog, ReadRequest};
use storage::log::{CleanerConfig, LiveConfig};
use storage::record::batch::compute_crc;
use storage::record::{
    BatchBuilder, BatchHeader, CompressionType, EndTxnMarker, RecordSet, TransactionResult,
    ValidatedBatch, batches,
};
use storage::testing::hooked_fs::{HookedFs, Hooks};

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

fn manager(dir: &Path) -> Arc<dyn LogStore> {
    manager_with(dir, true)
}

fn manager_with(dir: &Path, cleaner_enabled: bool) -> Arc<dyn LogStore> {
    local::open(LocalConfig {
        live: live(CleanerConfig {
            enabled: cleaner_enabled,
            backoff_ms: 3,
            dedupe_buffer_bytes: 1_000,
            ..CleanerConfig::default()
        }),
        ..small(dir)
    })
    .unwrap()
}

fn live(cleaner: CleanerConfig) -> LiveConfig {
    LiveConfig {
        cleaner,
        ..LiveConfig::default()
    }
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 2_000,
        compact: true,
        delete: false,
        delete_retention_ms: 0,
        min_cleanable_dirty_ratio: 0.0,
        ..LogConfig::default()
    }
}

fn keyed(records: &[(Vec<u8>, Option<Vec<u8>>)]) -> ValidatedBatch {
    let mut builder = BatchBuilder::new();
    for (key, value) in records {
        builder.append(1_000, Some(key), value.as_deref(), &[]);
    }
    trusted(builder.build().unwrap())
}

/// Replays the log from its start, and says how many records there were.
async fn contents(log: &Arc<dyn PartitionLog>) -> (Contents, usize) {
    let end = log.offsets().high_watermark;
    let (mut next, mut count) = (0, 0);
    let mut contents = Contents::new();
    let mut seen = -1;
    while next < end {
        let fetched = read(log, request(next)).await.unwrap();
        let last = headers(&fetched).last().map(BatchHeader::next_offset);
        let last = last.unwrap_or_else(|| panic!("nothing at {next} of {end}"));
        assert!(last > next);
        for records in &fetched.records {
            for batch in batches(records) {
                let bytes = records.slice_ref(batch.unwrap().bytes);
                for record in &RecordSet::open(&bytes, 1 << 20).unwrap() {
                    let record = record.unwrap();
                    if record.offset < next {
                        continue;
                    }
                    assert!(record.offset > seen, "{} after {seen}", record.offset);
                    seen = record.offset;
                    count += 1;
                    let key = record.key.unwrap().to_vec();
                    match record.value {
                        Some(value) => contents.insert(key, value.to_vec()),
                        None => contents.remove(&key),
                    };
                }
            }
        }
        next = last;
    }
    (contents, count)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Random changes, half of them to keys written before; what is read must be what a map would hold.
async fn run(seed: u64) {
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut dir = tempfile::tempdir().unwrap();
    let mut running = manager(dir.path());
    let mut log = open_with(&running, "topic", 0, config());
    let mut model = Contents::new();
    let mut end = 0;
    for step in 0..300 {
        let records: Vec<_> = (0..random.random_range(1..6))
            .map(|_| {
                let key = format!("key {}", random.random_range(0..30)).into_bytes();
                let bytes = random.random_range(0..150);
                let value = (random.random_range(0..5) > 0)
                    .then(|| format!("{step} {}", "x".repeat(bytes)).into_bytes());
                match &value {
                    Some(value) => model.insert(key.clone(), value.clone()),
                    None => model.remove(&key),
                };
                (key, value)
            })
            .collect();
        end = append(&log, keyed(&records)).await.unwrap().last_offset + 1;
        match random.random_range(0..100) {
            0..3 => {
                drop(log);
                running.shutdown().unwrap();
                drop(running);
                running = manager(dir.path());
            }
            3..8 => {
                drop(log);
                dir = crash(running, dir.path());
                running = manager(dir.path());
            }
            8..20 => {
                assert_eq!(contents(&log).await.0, model, "step {step}");
                continue;
            }
            20..40 => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            _ => continue,
        }
        log = open_with(&running, "topic", 0, config());
        assert_eq!(log.offsets().high_watermark, end, "step {step}");
        assert_eq!(contents(&log).await.0, model, "step {step}");
    }
    assert_eq!(log.offsets().high_watermark, end);
    // The cleaner runs when the processors have nothing better to do.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (found, count) = contents(&log).await;
        assert_eq!(found, model);
        if (count as i64) < end / 2 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{count} of {end} records are left"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_last_value_of_each_key_survives_compaction_restarts_and_crashes() {
    for seed in 0..4 {
        run(seed).await;
    }
    run(rand::rng().random()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_offset_commits_stays_small_and_readers_never_notice() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path());
    let log = open_with(&running, "__consumer_offsets", 0, config());
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (log, done) = (Arc::clone(&log), Arc::clone(&done));
        tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                // Whatever of it is compacted meanwhile: offsets rise and each key's values do.
                let (contents, _) = contents(&log).await;
                assert!(contents.len() <= 10);
            }
        })
    };
    for number in 0..3_000 {
        let key = format!("group {}", number % 10).into_bytes();
        let value = Some(format!("{number:06}").into_bytes());
        append(&log, keyed(&[(key, value)])).await.unwrap();
    }
    let written_bytes = 3_000 * 85;
    until("the log is small", || log.size_bytes() < written_bytes / 20).await;
    done.store(true, Ordering::SeqCst);
    reader.await.unwrap();
    let (found, count) = contents(&log).await;
    let expected: Contents = (2_990..3_000)
        .map(|n| {
            (
                format!("group {}", n % 10).into_bytes(),
                format!("{n:06}").into_bytes(),
            )
        })
        .collect();
    assert_eq!(found, expected);
    assert!(count < 200, "{count} records are left");
    running.shutdown().unwrap();
    assert!(names(dir.path()).contains(&"cleaner-offset-checkpoint".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_uses_after_a_start_is_compacted_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let first = manager_with(dir.path(), false);
    let log = open_with(&first, "t", 0, config());
    for number in 0..200 {
        let value = Some(format!("{number:06}").into_bytes());
        append(&log, keyed(&[(b"key".to_vec(), value)]))
            .await
            .unwrap();
    }
    drop(log);
    first.shutdown().unwrap();
    let log_bytes = || -> u64 {
        let dir = dir.path().join("t-0");
        let logs = names(&dir)
            .into_iter()
            .filter(|name| name.ends_with(".log"));
        // One that was there a moment ago may have been replaced.
        let sizes = logs.filter_map(|name| std::fs::metadata(dir.join(name)).ok());
        sizes.map(|metadata| metadata.len()).sum()
    };
    assert!(log_bytes() > 10_000, "{} bytes", log_bytes());
    let second = manager(dir.path());
    let _unused = open_with(&second, "t", 0, config());
    until("little of it is left", || log_bytes() < 5_000).await;
    second.shutdown().unwrap();
}

const PRODUCER: i64 = 7;

/// A record of the producer's open transaction, or of a new one.
async fn append_to_transaction(log: &Arc<dyn PartitionLog>, sequence: i32) {
    let mut builder = BatchBuilder::new()
        .producer(PRODUCER, 0, sequence)
        .transactional();
    builder.append(1_000, Some(b"key 0"), Some(b"of a transaction"), &[]);
    append(log, trusted(builder.build().unwrap()))
        .await
        .unwrap();
}

async fn end_transaction(log: &Arc<dyn PartitionLog>, result: TransactionResult) {
    let marker = EndTxnMarker {
        result,
        coordinator_epoch: 1,
    };
    let batch = trusted(marker.to_batch(PRODUCER, 0, 1_000).unwrap());
    append_as(log, batch, AppendOrigin::COORDINATOR)
        .await
        .unwrap();
}

async fn append_keys(log: &Arc<dyn PartitionLog>, count: usize) {
    // A few large batches: the write-ahead log is not to be in want of a checkpoint.
    let numbers: Vec<_> = (0..count).collect();
    for numbers in numbers.chunks(5) {
        let records: Vec<_> = numbers
            .iter()
            .map(|n| (format!("key {n}").into_bytes(), Some(vec![b'x'; 100])))
            .collect();
        append(log, keyed(&records)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_memory_has_of_an_aborted_transaction_is_never_read_as_committed_after_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager(dir.path());
    let log = open_with(&running, "t", 0, config());
    append_to_transaction(&log, 0).await;
    end_transaction(&log, TransactionResult::Abort).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut size_bytes = 0;
    while size_bytes <= log.size_bytes() {
        assert!(Instant::now() < deadline, "it is never compacted");
        size_bytes = log.size_bytes();
        append_keys(&log, 5).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let wanted = ReadRequest {
        isolation: Isolation::ReadCommitted,
        ..request(0)
    };
    let fetched = read(&log, wanted).await.unwrap();
    let found = headers(&fetched);
    assert!(!found.is_empty());
    let has_data = found
        .iter()
        .any(|header| header.producer_id == PRODUCER && !header.is_control());
    let is_told = fetched
        .aborted_transactions
        .iter()
        .any(|txn| txn.producer_id == PRODUCER);
    assert!(is_told || !has_data, "{found:?}");
    running.shutdown().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_marker_was_compacted_away_does_not_open_again_after_crashes() {
    let dir = tempfile::tempdir().unwrap();
    let first = manager_with(dir.path(), false);
    let log = open_with(&first, "t", 0, config());
    append_to_transaction(&log, 0).await;
    drop(log);
    // The snapshot of the producers has the transaction open.
    first.shutdown().unwrap();
    drop(first);

    let second = manager_with(dir.path(), false);
    let log = open_with(&second, "t", 0, config());
    end_transaction(&log, TransactionResult::Commit).await;
    append_keys(&log, 200).await;
    append_to_transaction(&log, 1).await;
    let stable = log.offsets().last_stable_offset;
    assert_eq!(stable, log.offsets().log_end_offset - 1);
    drop(log);
    let dir = crash(second, dir.path());

    let third = manager(dir.path());
    let log = open_with(&third, "t", 0, config());
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let fetched = read(&log, request(0)).await.unwrap();
        if !headers(&fetched)[0].is_transactional() {
            break;
        }
        assert!(Instant::now() < deadline, "the marker stays");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(log);
    let dir = crash(third, dir.path());

    let fourth = manager_with(dir.path(), false);
    let log = open_with(&fourth, "t", 0, config());
    assert_eq!(log.offsets().last_stable_offset, stable);
    fourth.shutdown().unwrap();
}

#[tokio::test]
async fn a_cleaner_that_lies_down_for_an_hour_goes_by_a_change_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let running = local::open(LocalConfig {
        live: live(CleanerConfig {
            backoff_ms: 3_600_000,
            ..CleanerConfig::default()
        }),
        ..small(dir.path())
    })
    .unwrap();
    let log = open_with(&running, "topic", 0, config());
    let mut total = 0;
    for step in 0..100 {
        let value = format!("{step} {}", "x".repeat(100)).into_bytes();
        append(&log, keyed(&[(b"key".to_vec(), Some(value))]))
            .await
            .unwrap();
        total += 1;
    }
    // The cleaner has lain down, and looks only once it is told to.
    running.change(&live(CleanerConfig {
        backoff_ms: 1,
        ..CleanerConfig::default()
    }));
    let runs = || running.stats().unwrap().cleaner_runs;
    until("a cleaning", || runs() > 0).await;
    let (contents, count) = contents(&log).await;
    assert_eq!(contents.len(), 1);
    assert!(count < total, "{count} of {total}");
    running.shutdown().unwrap();
}

/// A manager whose cleaner knows all keys at once.
fn manager_on(dir: &Path, fs: Arc<dyn Fs>) -> Arc<dyn LogStore> {
    local::open(LocalConfig {
        live: live(CleanerConfig {
            backoff_ms: 3,
            ..CleanerConfig::default()
        }),
        fs,
        ..small(dir)
    })
    .unwrap()
}

/// A batch with a right checksum whose second record nobody can read.
fn unreadable(codec: CompressionType) -> ValidatedBatch {
    let mut builder = BatchBuilder::new().compression(codec);
    builder.append(
        1_000,
        Some(b"key 0"),
        Some(b"nobody can read what follows"),
        &[],
    );
    let mut bytes = builder.build().unwrap().to_vec();
    bytes[23..27].copy_from_slice(&1_i32.to_be_bytes());
    bytes[57..61].copy_from_slice(&2_i32.to_be_bytes());
    let crc = compute_crc(&bytes);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    trusted(bytes.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_compacted_around_batches_that_nobody_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let running = manager_on(dir.path(), Arc::new(RealFs));
    let log = open_with(&running, "t", 0, config());
    append_keys(&log, 3).await;
    let mut stored = Vec::new();
    for codec in CompressionType::ALL {
        let appended = append(&log, unreadable(codec)).await.unwrap();
        stored.push(appended.base_offset);
    }
    for _ in 0..40 {
        append_keys(&log, 5).await;
    }
    assert!(log.size_bytes() > 20_000);
    until("it is compacted", || log.size_bytes() < 6_000).await;
    let fetched = read(&log, request(0)).await.unwrap();
    let offsets: Vec<i64> = headers(&fetched).iter().map(|h| h.base_offset).collect();
    for offset in stored {
        assert!(offsets.contains(&offset), "{offset} of {offsets:?}");
    }
    // Who asks for a time is told where it may be.
    let found = log
        .offset_for_timestamp(0, Isolation::ReadUncommitted)
        .await;
    assert!(found.unwrap().is_some());
    running.shutdown().unwrap();
}

/// Segments of one log cannot be read while it is so.
#[derive(Debug, Default)]
struct BadSectors(AtomicBool);

impl Hooks for BadSectors {
    fn open(&self, path: &Path, access: Access) -> std::io::Result<()> {
        let is_bad = path.to_string_lossy().contains("/bad-0/0")
            && path.extension().is_some_and(|extension| extension == "log")
            && matches!(access, Access::Read);
        match is_bad && self.0.load(Ordering::SeqCst) {
            true => Err(std::io::Error::from_raw_os_error(5)),
            false => Ok(()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_read_does_not_keep_the_others_from_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let bad_sectors = Arc::new(BadSectors::default());
    let running = manager_on(dir.path(), Arc::new(HookedFs(Arc::clone(&bad_sectors))));
    bad_sectors.0.store(true, Ordering::SeqCst);
    let bad = open_with(&running, "bad", 0, config());
    let good = open_with(&running, "good", 0, config());
    for _ in 0..40 {
        append_keys(&bad, 5).await;
    }
    // Once it has been compacted it is never as dirty as the other one.
    for _ in 0..3 {
        for _ in 0..40 {
            append_keys(&good, 5).await;
        }
        assert!(good.size_bytes() > 20_000);
        until("it is compacted", || good.size_bytes() < 6_000).await;
    }
    assert!(bad.size_bytes() > 20_000, "it cannot be read");
    bad_sectors.0.store(false, Ordering::SeqCst);
    until("the other one has its turn, too", || {
        bad.size_bytes() < 6_000
    })
    .await;
    running.shutdown().unwrap();
}
