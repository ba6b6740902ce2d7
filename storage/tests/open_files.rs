//! How many segment files are open, and that nobody notices when they are closed.

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{append, batch, open, open_with, read_all, small, submit};
use storage::fs::{Access, DirEntry, File, Fs, LockGuard, RealFs, Space};
use storage::log::LogConfig;
use storage::manager::{LogManager, LogManagerConfig};

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

/// The real file system, with the open segment files counted.
#[derive(Debug)]
struct CountingFs(Arc<Count>);

#[derive(Debug)]
struct CountedFile {
    file: Arc<dyn File>,
    count: Arc<Count>,
}

impl Drop for CountedFile {
    fn drop(&mut self) {
        self.count.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Fs for CountingFs {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let file = RealFs.open(path, access)?;
        let part = path.extension().and_then(|part| part.to_str());
        if !matches!(part, Some("log" | "index" | "timeindex")) {
            return Ok(file);
        }
        let count = Arc::clone(&self.0);
        let open = count.open.fetch_add(1, Ordering::SeqCst) + 1;
        count.most.fetch_max(open, Ordering::SeqCst);
        Ok(Arc::new(CountedFile { file, count }))
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        RealFs.space(path)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        RealFs.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        RealFs.lock(path)
    }
}

impl File for CountedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }
    fn write_at(&self, slices: &[&[u8]], position: u64) -> io::Result<()> {
        self.file.write_at(slices, position)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn size_bytes(&self) -> io::Result<u64> {
        self.file.size_bytes()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
    fn allocate(&self, position: u64, bytes: u64) -> io::Result<()> {
        self.file.allocate(position, bytes)
    }
}

fn manager(dir: &Path, count: &Arc<Count>) -> Arc<LogManager> {
    let opened = LogManager::open(LogManagerConfig {
        open_files_max: LIMIT,
        recovery_threads: 4,
        fs: Arc::new(CountingFs(Arc::clone(count))),
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
