//! How many segment files are open, and that nobody notices when they are closed.

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{append, batch, open, open_with, read_all, small, submit};
use storage::env::fs::Access;
use storage::local::{self, LocalConfig};
use storage::log::{LogConfig, LogStore};
use storage::testing::hooked_fs::{HookedFs, Hooks};

const LIMIT: usize = 16;
/// Files that somebody has in hand: two for each of the two I/O threads, and what the maintenance and the opener hold.
const SLACK: usize = 12;

/// The segment files that are open, and the most that were.
#[derive(Debug, Default)]
struct Count {
    open: AtomicUsize,
    most: AtomicUsize,
}

impl Count {
    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Hooks for Count {
    fn open(&self, path: &Path, _access: Access) -> io::Result<()> {
        if is_segment(path) {
            let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(open, Ordering::SeqCst);
        }
        Ok(())
    }
    fn close(&self, path: &Path) {
        if is_segment(path) {
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn is_segment(path: &Path) -> bool {
    let part = path.extension().and_then(|part| part.to_str());
    matches!(part, Some("log" | "index" | "timeindex"))
}

fn manager(dir: &Path, count: &Arc<Count>) -> Arc<dyn LogStore> {
    let opened = local::open(LocalConfig {
        open_files_max: LIMIT,
        recovery_threads: 4,
        fs: Arc::new(HookedFs(Arc::clone(count))),
        ..small(dir)
    });
    opened.expect("open")
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
        let count = Arc::<Count>::default();
        {
            let manager = manager(dir.path(), &count);
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
        }
        let most = count.most.load(Ordering::SeqCst);
        assert!(most <= LIMIT + SLACK, "{most} files were open");
        assert_eq!(count.open(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_nobody_reads_any_more_are_closed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let first = manager(dir.path(), &Arc::default());
    append(&open(&first, "t", 0), batch(&[b"a"]))
        .await
        .expect("appended");
    first.shutdown().expect("stopped");
    drop(first);
    let count = Arc::<Count>::default();
    let manager = manager(dir.path(), &count);
    let log = open(&manager, "t", 0);
    assert_eq!(read_all(&log, 0).await, [(0, b"a".to_vec())]);
    assert!(count.open() > 0);
    let patience = Instant::now() + Duration::from_secs(60);
    while count.open() > 0 {
        assert!(Instant::now() < patience, "still open");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(read_all(&log, 0).await, [(0, b"a".to_vec())]);
}
