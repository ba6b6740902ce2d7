//! A snapshot is the store at one moment, whatever else goes on, and leaves the store as it was.

#![expect(
    clippy::disallowed_methods,
    reason = "looks at files behind the engine's back"
)]
#![allow(clippy::unwrap_used)]

mod common;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::*;
use storage::local::{self, LocalConfig};
use storage::log::{
    AppendOrigin, IfRefused, JointPart, LogConfig, LogStore, PartitionLog, Snapshot, StorageError,
};
use storage::record::BatchBuilder;
use storage::testing::hooked_fs::{HookedFs, Hooks};

fn small_segments() -> LogConfig {
    LogConfig {
        segment_bytes: 4_000,
        index_interval_bytes: 200,
        ..LogConfig::default()
    }
}

fn log(manager: &Arc<dyn LogStore>, number: i32) -> Arc<dyn PartitionLog> {
    open_with(manager, "topic", number, small_segments())
}

fn value(number: u64) -> Vec<u8> {
    let mut value = format!("value {number} ").into_bytes();
    value.resize(100 + (number % 7) as usize * 50, b'.');
    value
}

async fn snapshot(manager: &Arc<dyn LogStore>, to: &Path) -> Result<Snapshot, StorageError> {
    let (manager, to) = (Arc::clone(manager), to.to_owned());
    let copying = tokio::task::spawn_blocking(move || {
        manager.snapshot(&to, &mut |_| ControlFlow::Continue(()))
    });
    copying.await.unwrap()
}

/// Appends numbered values to a log, one after the other, until it is told to stop.
fn writer(
    log: Arc<dyn PartitionLog>,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            let next = acknowledged.load(Ordering::SeqCst);
            append(&log, batch(&[&value(next)])).await.unwrap();
            acknowledged.store(next + 1, Ordering::SeqCst);
        }
    })
}

/// Appends to two logs together, until it is told to stop.
fn joint_writer(
    manager: Arc<dyn LogStore>,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> tokio::task::JoinHandle<()> {
    let logs = [100, 101].map(|number| log(&manager, number));
    tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            let next = acknowledged.load(Ordering::SeqCst);
            let part = |log: &Arc<dyn PartitionLog>| JointPart {
                log: log.id().clone(),
                batch: batch(&[&value(next)]),
                origin: AppendOrigin::CLIENT,
                if_refused: IfRefused::FailAll,
            };
            let parts: Vec<_> = logs.iter().map(part).collect();
            let permit = manager.reserve(2_000, AppendOrigin::CLIENT).await.unwrap();
            for pending in manager.submit_all(permit, parts).unwrap() {
                pending.unwrap().await.unwrap();
            }
            acknowledged.store(next + 1, Ordering::SeqCst);
        }
    })
}

/// How many of the numbered values a log has, which has nothing else.
async fn count(log: &Arc<dyn PartitionLog>) -> u64 {
    let all = read_all(log, 0).await;
    for (number, (offset, found)) in (0..).zip(&all) {
        assert_eq!((*offset, found), (number as i64, &value(number)));
    }
    all.len() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_has_what_was_acknowledged_before_and_is_of_one_moment() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = local::open(small(dir.path())).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let counts: Vec<Arc<AtomicU64>> = (0..5).map(|_| Arc::default()).collect();
    let mut writers: Vec<_> = (0..4)
        .map(|at| {
            writer(
                log(&running, at),
                Arc::clone(&counts[at as usize]),
                Arc::clone(&stop),
            )
        })
        .collect();
    writers.push(joint_writer(
        Arc::clone(&running),
        Arc::clone(&counts[4]),
        Arc::clone(&stop),
    ));
    // One that nobody writes to is part of it, too; one that is deleted meanwhile does no harm.
    append(&log(&running, 50), batch(&[&value(0)]))
        .await
        .unwrap();
    let mut made = Vec::new();
    for number in 0..2 {
        let known = |count: &Arc<AtomicU64>| count.load(Ordering::SeqCst);
        let wanted: Vec<u64> = counts.iter().map(|count| known(count) + 25).collect();
        while counts
            .iter()
            .zip(&wanted)
            .any(|(count, wanted)| known(count) < *wanted)
        {
            tokio::task::yield_now().await;
        }
        let doomed = log(&running, 200 + number);
        append(&doomed, batch(&[&value(0)])).await.unwrap();
        let (manager, id) = (Arc::clone(&running), doomed.id().clone());
        let deleting = tokio::spawn(manager.delete_logs(vec![id]));
        let before: Vec<u64> = counts.iter().map(known).collect();
        let to = copies.path().join(number.to_string());
        let copied = snapshot(&running, &to).await.unwrap();
        assert!(
            copied.linked_bytes > 0 && copied.copied_bytes > 0,
            "{copied:?}"
        );
        deleting.await.unwrap().unwrap();
        made.push((to, before, copied));
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    for (to, before, copied) in &made {
        for file in &copied.files {
            let bytes = std::fs::metadata(to.join(&file.path)).unwrap().len();
            assert_eq!(bytes, file.bytes, "{}", file.path.display());
        }
        let restored = local::open(small(to)).unwrap();
        assert!(restored.recovery_report().clean);
        for (at, before) in before.iter().enumerate().take(4) {
            let log = log(&restored, at as i32);
            let first = headers(&read(&log, request(0)).await.unwrap()).len();
            assert!(first > 5, "a read gives {first} batches");
            let there = count(&log).await;
            assert!(there >= *before, "{there} of {before}");
            // What is appended to the copy is the copy's alone.
            append(&log, batch(&[b"another"])).await.unwrap();
        }
        let pair = [100, 101].map(|number| log(&restored, number));
        let (one, other) = (count(&pair[0]).await, count(&pair[1]).await);
        assert_eq!(one, other, "appended together");
        assert!(one >= before[4]);
        assert_eq!(count(&log(&restored, 50)).await, 1);
        restored.shutdown().unwrap();
    }
    for (at, expected) in counts.iter().enumerate().take(4) {
        let there = count(&log(&running, at as i32)).await;
        assert_eq!(there, expected.load(Ordering::SeqCst));
    }
    running.shutdown().unwrap();
    assert!(
        !names(dir.path())
            .iter()
            .any(|name| name.starts_with(".ottla"))
    );
}

/// A log that begins and ends anywhere, and one that has nothing left.
#[tokio::test]
async fn what_was_deleted_from_a_log_stays_deleted_and_its_end_stays_known() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = local::open(small(dir.path())).unwrap();
    for (number, start) in [(0, 37), (1, 60)] {
        let log = log(&running, number);
        for number in 0..60 {
            append(&log, batch(&[&value(number)])).await.unwrap();
        }
        log.delete_records_before(start).await.unwrap();
    }
    let producer = |sequence| {
        let builder = BatchBuilder::new().producer(7, 0, sequence);
        trusted(build(builder, 1_000, &[b"once"]))
    };
    append(&log(&running, 2), producer(0)).await.unwrap();
    let to = copies.path().join("snapshot");
    snapshot(&running, &to).await.unwrap();
    let restored = local::open(small(&to)).unwrap();
    for (number, start) in [(0, 37), (1, 60)] {
        let offsets = log(&restored, number).offsets();
        assert_eq!(
            (offsets.log_start_offset, offsets.log_end_offset),
            (start, 60)
        );
    }
    let again = append(&log(&restored, 2), producer(0)).await.unwrap();
    assert!(again.duplicate, "the producer is known");
}

/// Lets names or writes below a directory fail.
#[derive(Debug)]
struct Refusing {
    below: PathBuf,
    links: Option<i32>,
    writes: Option<i32>,
}

impl Refusing {
    fn answer(&self, path: &Path, error: Option<i32>) -> io::Result<()> {
        match error.filter(|_| path.starts_with(&self.below)) {
            Some(error) => Err(io::Error::from_raw_os_error(error)),
            None => Ok(()),
        }
    }
}

impl Hooks for Refusing {
    fn link(&self, to: &Path) -> io::Result<()> {
        self.answer(to, self.links)
    }
    fn write(&self, path: &Path) -> io::Result<()> {
        self.answer(path, self.writes)
    }
}

async fn refusing(
    links: Option<i32>,
    writes: Option<i32>,
) -> (Arc<dyn LogStore>, PathBuf, [tempfile::TempDir; 2]) {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hooks = Refusing {
        below: copies.path().to_owned(),
        links,
        writes,
    };
    let running = local::open(LocalConfig {
        fs: Arc::new(HookedFs(Arc::new(hooks))),
        ..small(dir.path())
    })
    .unwrap();
    let log = log(&running, 0);
    for number in 0..60 {
        append(&log, batch(&[&value(number)])).await.unwrap();
    }
    let to = copies.path().join("snapshot");
    (running, to, [dir, copies])
}

#[tokio::test]
async fn on_another_file_system_everything_is_copied() {
    let (running, to, _dirs) = refusing(Some(rustix_exdev()), None).await;
    let copied = snapshot(&running, &to).await.unwrap();
    assert_eq!(copied.linked_bytes, 0);
    let restored = local::open(small(&to)).unwrap();
    assert_eq!(count(&log(&restored, 0)).await, 60);
}

fn rustix_exdev() -> i32 {
    rustix::io::Errno::XDEV.raw_os_error()
}

#[tokio::test]
async fn without_room_for_a_snapshot_the_broker_goes_on() {
    let no_room = rustix::io::Errno::NOSPC.raw_os_error();
    let (running, to, dirs) = refusing(None, Some(no_room)).await;
    let refused = snapshot(&running, &to).await.unwrap_err().to_string();
    assert!(refused.contains("No space left"), "{refused}");
    assert!(!to.exists(), "what was written is removed");
    let log = log(&running, 0);
    append(&log, batch(&[&value(60)])).await.unwrap();
    assert_eq!(count(&log).await, 61);
    assert!(
        !names(dirs[0].path())
            .iter()
            .any(|name| name.starts_with(".ottla"))
    );
}

#[tokio::test]
async fn a_snapshot_that_is_broken_off_leaves_nothing_and_only_one_is_made_at_a_time() {
    let (running, to, _dirs) = refusing(None, None).await;
    let (manager, other) = (Arc::clone(&running), to.with_extension("other"));
    let place = to.clone();
    let broken_off = tokio::task::spawn_blocking(move || {
        manager.snapshot(&place, &mut |_| {
            let second = manager.snapshot(&other, &mut |_| ControlFlow::Continue(()));
            let second = second.unwrap_err().to_string();
            assert!(second.contains("another snapshot"), "{second}");
            ControlFlow::Break(())
        })
    });
    let broken_off = broken_off.await.unwrap().unwrap_err().to_string();
    assert!(broken_off.contains("broken off"), "{broken_off}");
    assert!(!to.exists());
    snapshot(&running, &to).await.unwrap();
    let refused = snapshot(&running, &to).await.unwrap_err().to_string();
    assert!(refused.contains("is not empty"), "{refused}");
    assert!(to.exists(), "what was there is left alone");
}
