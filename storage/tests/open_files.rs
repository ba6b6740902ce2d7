//! How many segment files are open, and that nobody notices when they are closed.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{append, batch, open, open_with, read_all, small, submit};
use storage::log::LogConfig;
use storage::manager::{LogManager, LogManagerConfig};

const LIMIT: usize = 16;
/// Files that somebody has in hand: two for each of the two I/O threads, and what the maintenance and the opener hold.
const SLACK: usize = 12;

/// File descriptors of this process that are segments of the directory.
fn open_segment_files(dir: &Path) -> usize {
    let is_segment = |target: &Path| {
        let part = target.extension().and_then(|part| part.to_str());
        target.starts_with(dir) && matches!(part, Some("log" | "index" | "timeindex"))
    };
    std::fs::read_dir("/proc/self/fd")
        .expect("proc")
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| is_segment(target))
        .count()
}

fn manager(dir: &Path) -> Arc<LogManager> {
    let opened = LogManager::open(LogManagerConfig {
        open_files_max: LIMIT,
        recovery_threads: 4,
        ..small(dir)
    });
    opened.expect("open")
}

/// The most segment files that were open while `work` ran.
async fn most_open_during(dir: &Path, work: impl Future<Output = ()>) -> usize {
    let (most, done) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let watcher = {
        let (dir, most, done) = (dir.to_owned(), Arc::clone(&most), Arc::clone(&done));
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(open_segment_files(&dir), Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(200));
            }
        })
    };
    work.await;
    done.store(true, Ordering::Relaxed);
    watcher.join().expect("watcher");
    most.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_as_many_logs_as_files_may_be_open_are_written_read_stopped_and_recovered() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let logs = LIMIT as i32 * 10;
    let config = LogConfig {
        segment_bytes: 4 << 10,
        ..LogConfig::default()
    };
    let value = vec![b'x'; 700];
    let mut rounds = 0;
    for stop_in_order in [false, true, true] {
        let most = most_open_during(dir.path(), async {
            let manager = manager(dir.path());
            for _ in 0..8 {
                let mut pending = Vec::new();
                for number in 0..logs {
                    let log = open_with(&manager, "t", number, config.clone());
                    pending.push(submit(&log, batch(&[&value])).await);
                }
                for append in pending {
                    append.await.expect("appended");
                }
                rounds += 1;
            }
            for number in 0..logs {
                let log = open(&manager, "t", number);
                assert_eq!(read_all(&log, 0).await.len(), rounds, "log {number}");
            }
            if stop_in_order {
                manager.shutdown().expect("stopped");
            }
        })
        .await;
        assert!(most <= LIMIT + SLACK, "{most} files were open");
        assert_eq!(open_segment_files(dir.path()), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_nobody_reads_any_more_are_closed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let first = manager(dir.path());
    append(&open(&first, "t", 0), batch(&[b"a"]))
        .await
        .expect("appended");
    first.shutdown().expect("stopped");
    drop(first);
    let manager = manager(dir.path());
    let log = open(&manager, "t", 0);
    assert_eq!(read_all(&log, 0).await, [(0, b"a".to_vec())]);
    assert!(open_segment_files(dir.path()) > 0);
    let patience = Instant::now() + Duration::from_secs(60);
    while open_segment_files(dir.path()) > 0 {
        assert!(Instant::now() < patience, "still open");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(read_all(&log, 0).await, [(0, b"a".to_vec())]);
}
