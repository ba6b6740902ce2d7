//! What is too old or too much is deleted, and nothing else.

#![expect(
    clippy::disallowed_methods,
    reason = "tests make and damage files behind the engine's back"
)]
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use common::*;
use storage::env::clock::{Clock, SystemClock};
use storage::local::{self, LocalConfig};
use storage::log::{LogConfig, LogStore, PartitionLog, ReadError};
use storage::record::BatchBuilder;
use storage::testing::hooked_fs::{HookedFs, Hooks};

const VALUE_BYTES: usize = 400;

/// A wall clock that is set by the test.
#[derive(Debug, Default)]
struct TestClock {
    now_ms: AtomicI64,
    passed_ms: AtomicU64,
    system: SystemClock,
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }
    fn monotonic_ms(&self) -> u64 {
        self.system.monotonic_ms() + self.passed_ms.load(Ordering::SeqCst)
    }
}

fn manager(dir: &Path, clock: &Arc<TestClock>) -> Arc<dyn LogStore> {
    local::open(LocalConfig {
        retention_check_interval_ms: 5,
        initial_task_delay_ms: 0,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        ..small(dir)
    })
    .unwrap()
}

/// Two batches of [`VALUE_BYTES`] in each segment.
fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1_000,
        retention_ms: -1,
        retention_bytes: -1,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    }
}

async fn fill(log: &Arc<dyn PartitionLog>, times: impl IntoIterator<Item = i64>) {
    for time in times {
        append(log, batch_at(time, &[&[b'x'; VALUE_BYTES]]))
            .await
            .unwrap();
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn segments(dir: &Path, log: &str) -> Vec<i64> {
    // The first write makes the directory.
    if !dir.join(log).exists() {
        return Vec::new();
    }
    names(&dir.join(log))
        .iter()
        .filter_map(|name| name.strip_suffix(".log")?.parse().ok())
        .collect()
}

fn has_deleted_files(dir: &Path, log: &str) -> bool {
    names(&dir.join(log))
        .iter()
        .any(|name| name.ends_with(".deleted"))
}

#[tokio::test]
async fn segments_go_when_their_newest_record_is_too_old() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::<TestClock>::default();
    let manager = manager(dir.path(), &clock);
    let config = LogConfig {
        retention_ms: 1_000,
        ..config()
    };
    let log = open_with(&manager, "topic", 0, config);
    fill(&log, [100, 200, 300, 400, 500, 600]).await;
    clock.now_ms.store(1_201, Ordering::SeqCst);
    until("the first segment goes", || {
        log.offsets().log_start_offset == 2
    })
    .await;
    until("its files, too", || {
        segments(dir.path(), "topic-0") == [2, 4] && !has_deleted_files(dir.path(), "topic-0")
    })
    .await;
    assert_eq!(read_all(&log, 2).await.len(), 4);
    let gone = read(&log, request(0)).await;
    assert!(
        matches!(gone, Err(ReadError::OffsetOutOfRange { .. })),
        "{gone:?}"
    );
    let kept_bytes = log.size_bytes();
    assert!(kept_bytes > 4 * VALUE_BYTES as u64 && kept_bytes < 6 * VALUE_BYTES as u64);
}

#[tokio::test]
async fn nothing_goes_before_the_initial_delay_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::<TestClock>::default();
    let manager = local::open(LocalConfig {
        retention_check_interval_ms: 5,
        initial_task_delay_ms: 3_600_000,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..small(dir.path())
    })
    .unwrap();
    let config = LogConfig {
        retention_ms: 1_000,
        ..config()
    };
    let log = open_with(&manager, "topic", 0, config);
    fill(&log, [100, 200, 300, 400, 500, 600]).await;
    clock.now_ms.store(1_201, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(log.offsets().log_start_offset, 0);
    clock.passed_ms.store(3_600_000, Ordering::SeqCst);
    until("the first segment goes", || {
        log.offsets().log_start_offset == 2
    })
    .await;
}

#[tokio::test]
async fn a_log_of_which_everything_is_too_old_is_empty_and_keeps_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::<TestClock>::default();
    let running = manager(dir.path(), &clock);
    let config = LogConfig {
        retention_ms: 1_000,
        ..config()
    };
    let log = open_with(&running, "topic", 0, config.clone());
    fill(&log, [100, 200, 300]).await;
    clock.now_ms.store(10_000, Ordering::SeqCst);
    until("all records go", || log.offsets().log_start_offset == 3).await;
    until("all files go", || segments(dir.path(), "topic-0") == [3]).await;
    assert_eq!(log.size_bytes(), 0);
    drop(log);
    // Twice: what a crash leaves has to survive another one.
    let crashed = crash(running, dir.path());
    let again = manager(crashed.path(), &clock);
    let log = open_with(&again, "topic", 0, config.clone());
    let offsets = log.offsets();
    assert_eq!((offsets.log_start_offset, offsets.log_end_offset), (3, 3));
    fill(&log, [9_500]).await;
    assert_eq!(read_all(&log, 3).await.len(), 1);
    drop(log);
    let crashed = crash(again, crashed.path());
    let again = manager(crashed.path(), &clock);
    let log = open_with(&again, "topic", 0, config.clone());
    assert_eq!(log.offsets().log_start_offset, 3);
    assert_eq!(read_all(&log, 3).await.len(), 1);
    clock.now_ms.store(20_000, Ordering::SeqCst);
    until("the new record goes", || {
        log.offsets().log_start_offset == 4
    })
    .await;
    drop(log);
    again.shutdown().unwrap();
    drop(again);
    let again = manager(crashed.path(), &clock);
    let offsets = open_with(&again, "topic", 0, config).offsets();
    assert_eq!((offsets.log_start_offset, offsets.log_end_offset), (4, 4));
}

#[tokio::test]
async fn as_many_of_the_oldest_segments_go_as_leave_enough_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::<TestClock>::default();
    let manager = manager(dir.path(), &clock);
    let limit = 3_000;
    let config = LogConfig {
        retention_bytes: limit,
        ..config()
    };
    let log = open_with(&manager, "topic", 0, config);
    fill(&log, 0..40).await;
    let segment_bytes = 2 * log.size_bytes() / 40;
    until("no segment is too much", || {
        log.size_bytes() < limit as u64 + 1_000
    })
    .await;
    assert!(log.size_bytes() >= limit as u64, "{segment_bytes}");
    let start = log.offsets().log_start_offset;
    assert_eq!(read_all(&log, start).await.len() as i64, 40 - start);
}

#[tokio::test]
async fn a_log_that_nobody_has_used_since_the_start_grows_old_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::<TestClock>::default();
    let first = manager(dir.path(), &clock);
    let config = LogConfig {
        retention_ms: 1_000,
        ..config()
    };
    fill(
        &open_with(&first, "topic", 0, config.clone()),
        [100, 200, 300],
    )
    .await;
    first.shutdown().unwrap();
    drop(first);
    let again = manager(dir.path(), &clock);
    let _log = open_with(&again, "topic", 0, config);
    clock.now_ms.store(1_250, Ordering::SeqCst);
    until("the old segment goes", || {
        segments(dir.path(), "topic-0") == [2]
    })
    .await;
}

#[tokio::test]
async fn a_log_that_is_only_compacted_does_not_grow_old() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::<TestClock>::default();
    let manager = manager(dir.path(), &clock);
    let only_compacted = LogConfig {
        retention_ms: 1,
        retention_bytes: 1,
        compact: true,
        delete: false,
        ..config()
    };
    let compacted = open_with(&manager, "compacted", 0, only_compacted.clone());
    let deleted = open_with(
        &manager,
        "deleted",
        0,
        LogConfig {
            delete: true,
            ..only_compacted
        },
    );
    fill(&compacted, [1, 2, 3, 4]).await;
    fill(&deleted, [1, 2, 3, 4]).await;
    clock.now_ms.store(10_000, Ordering::SeqCst);
    until("the other log is empty", || {
        deleted.offsets().log_start_offset == 4
    })
    .await;
    assert_eq!(compacted.offsets().log_start_offset, 0);
}

#[tokio::test]
async fn deleting_records_frees_whole_segments_and_readers_of_them_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::<TestClock>::default();
    let running = manager(dir.path(), &clock);
    let log = open_with(&running, "topic", 0, config());
    fill(&log, 0..10).await;
    assert_eq!(log.delete_records_before(7).await.unwrap(), 7);
    until("the segments before go", || {
        segments(dir.path(), "topic-0") == [6, 8]
    })
    .await;
    assert_eq!(read_all(&log, 7).await.len(), 3);
    drop(log);
    let crashed = crash(running, dir.path());
    let again = manager(crashed.path(), &clock);
    let log = open_with(&again, "topic", 0, config());
    assert_eq!(log.offsets().log_start_offset, 7);
    assert_eq!(read_all(&log, 7).await.len(), 3);
    until("recovery brings nothing back", || {
        segments(crashed.path(), "topic-0") == [6, 8]
    })
    .await;
}

/// Renames reach the disk in any order until the directory is synced: a power cut may keep a segment and lose one that
/// follows it.
#[tokio::test]
async fn a_removal_that_a_power_cut_has_kept_in_part_is_brought_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::<TestClock>::default();
    let produced = |producer_id, sequence| {
        let builder = BatchBuilder::new().producer(producer_id, 0, sequence);
        trusted(build(builder, 1, &[&[b'x'; VALUE_BYTES]]))
    };
    let running = manager(dir.path(), &clock);
    let log = open_with(&running, "topic", 0, config());
    for sequence in 0..3 {
        append(&log, produced(1, sequence)).await.unwrap();
    }
    drop(log);
    running.shutdown().unwrap();
    drop(running);
    let earlier = copy_of(dir.path());

    let running = manager(dir.path(), &clock);
    let log = open_with(&running, "topic", 0, config());
    append(&log, produced(1, 3)).await.unwrap();
    for sequence in 0..6 {
        append(&log, produced(2, sequence)).await.unwrap();
    }
    assert_eq!(log.delete_records_before(9).await.unwrap(), 9);
    until("the segments before go", || {
        segments(dir.path(), "topic-0") == [8] && !has_deleted_files(dir.path(), "topic-0")
    })
    .await;
    drop(log);
    let crashed = crash(running, dir.path());

    let topic = crashed.path().join("topic-0");
    for name in names(&topic) {
        if name.starts_with("producers-")
            || name.ends_with(".producers")
            || name.ends_with(".snapshot")
        {
            // Recovery removes those that are newer than what it writes again.
            std::fs::remove_file(topic.join(name)).unwrap();
        }
    }
    for name in names(&earlier.path().join("topic-0")) {
        // The first segment is back, and with it what was known of the producers then. The second is on its way out.
        let copied = match name.strip_prefix(&format!("{:020}", 2)) {
            Some(_) if name.ends_with(".snapshot") || name.ends_with(".producers") => continue,
            Some(_) => format!("{name}.deleted"),
            None => name.clone(),
        };
        let from = earlier.path().join("topic-0").join(name);
        std::fs::copy(from, topic.join(copied)).unwrap();
    }
    assert_eq!(segments(crashed.path(), "topic-0"), [0, 8]);

    let again = manager(crashed.path(), &clock);
    let log = open_with(&again, "topic", 0, config());
    let retried = append(&log, produced(2, 5)).await.unwrap();
    assert!(retried.duplicate);
    assert_eq!(retried.base_offset, 9);
    let next = append(&log, produced(1, 4)).await.unwrap();
    assert_eq!(next.base_offset, 10, "its batches before went in order");
    until("nothing of the removed segments is left", || {
        segments(crashed.path(), "topic-0") == [8, 10]
            && !has_deleted_files(crashed.path(), "topic-0")
    })
    .await;
    let first = format!("{:020}.", 0);
    assert!(!names(&topic).iter().any(|name| name.starts_with(&first)));
}

/// Writes of the write-ahead log wait here until they are let through, one by one.
#[derive(Debug, Default)]
struct Gate {
    /// How many may pass; all of them if there is no number. And how many wait.
    state: Mutex<(Option<usize>, usize)>,
    changed: Condvar,
}

impl Hooks for Gate {
    fn write(&self, path: &Path) -> std::io::Result<()> {
        if !path.to_string_lossy().contains("/ring-") {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        while state.0 == Some(0) {
            state = self.changed.wait(state).unwrap();
        }
        state.0 = state.0.map(|passes| passes - 1);
        state.1 -= 1;
        Ok(())
    }
}

impl Gate {
    fn let_through(&self, passes: Option<usize>) {
        self.state.lock().unwrap().0 = passes;
        self.changed.notify_all();
    }

    async fn until_one_waits(&self) {
        while self.state.lock().unwrap().1 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A checkpoint comes between a log start that is durable and a lower one that was asked for meanwhile.
#[tokio::test]
async fn a_log_start_is_never_taken_back_by_a_lower_one_that_was_on_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, clock) = (Arc::new(Gate::default()), Arc::new(TestClock::default()));
    let running = local::open(LocalConfig {
        fs: Arc::new(HookedFs(Arc::clone(&gate))),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..small(dir.path())
    });
    let running = running.unwrap();
    let log = open_with(&running, "topic", 0, config());
    fill(&log, 0..10).await;
    gate.let_through(Some(0));
    let higher = log.delete_records_before(5);
    gate.until_one_waits().await;
    let lower = log.delete_records_before(3);
    gate.let_through(Some(1));
    assert_eq!(higher.await.unwrap(), 5);
    gate.until_one_waits().await;
    let checkpoints = || running.stats().unwrap().checkpoints.count;
    let before = checkpoints();
    while checkpoints() == before {
        // Nothing was appended for long: that is a reason for a checkpoint.
        clock.passed_ms.fetch_add(10_000, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gate.let_through(None);
    assert_eq!(lower.await.unwrap(), 5);
    drop(log);
    let crashed = crash(running, dir.path());
    let again = manager(crashed.path(), &clock);
    let log = open_with(&again, "topic", 0, config());
    assert_eq!(log.offsets().log_start_offset, 5);
}
