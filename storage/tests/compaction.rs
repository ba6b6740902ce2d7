//! A compacted log keeps the last value of each key, whatever happens.

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
use storage::compaction::CleanerConfig;
use storage::log::{LogConfig, PartitionLog};
use storage::manager::{LogManager, LogManagerConfig};
use storage::record::{BatchBuilder, BatchHeader, RecordSet, ValidatedBatch, batches};

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

fn manager(dir: &Path) -> Arc<LogManager> {
    manager_with(dir, true)
}

fn manager_with(dir: &Path, cleaner_enabled: bool) -> Arc<LogManager> {
    LogManager::open(LogManagerConfig {
        cleaner: CleanerConfig {
            enabled: cleaner_enabled,
            backoff_ms: 3,
            dedupe_buffer_bytes: 1_000,
            ..CleanerConfig::default()
        },
        ..small(dir)
    })
    .unwrap()
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
    let deadline = Instant::now() + Duration::from_secs(20);
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
    let deadline = Instant::now() + Duration::from_secs(20);
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
