//! What happens when the disk is slow, full or broken.

#![allow(clippy::unwrap_used)]

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use parking_lot::{Condvar, Mutex};
use storage::env::fs::Access;
use storage::local::{self, LocalConfig};
use storage::log::{AppendError, Health, LogConfig, LogStore};
use storage::testing::hooked_fs::{HookedFs, Hooks};

/// What happens to writes and syncs of the files whose name begins with a prefix; directories are only stalled.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    /// They wait until the fault is taken away.
    Stall,
    FailWrites(i32),
    FailSyncs,
    Panic,
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[derive(Debug, Default)]
struct Faults {
    fault: Mutex<(&'static str, Fault)>,
    changed: Condvar,
}

impl Faults {
    fn set(&self, prefix: &'static str, fault: Fault) {
        *self.fault.lock() = (prefix, fault);
        self.changed.notify_all();
    }

    fn of(&self, path: &Path) -> Fault {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut guard = self.fault.lock();
        loop {
            match *guard {
                (prefix, fault) if !name.starts_with(prefix) || fault == Fault::None => {
                    return Fault::None;
                }
                (_, Fault::Stall) => self.changed.wait(&mut guard),
                (_, fault) => return fault,
            }
        }
    }
}

/// A disk with a fault in it.
#[derive(Debug)]
struct FaultyDisk {
    faults: Arc<Faults>,
    direct: bool,
}

impl Hooks for FaultyDisk {
    fn open(&self, _path: &Path, access: Access) -> io::Result<()> {
        if !self.direct && matches!(access, Access::Direct | Access::DirectSync) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(())
    }
    fn list(&self, path: &Path) -> io::Result<()> {
        self.faults.of(path);
        Ok(())
    }
    fn write(&self, path: &Path) -> io::Result<()> {
        match self.faults.of(path) {
            Fault::FailWrites(error) => Err(io::Error::from_raw_os_error(error)),
            Fault::Panic => panic!("on purpose"),
            _ => Ok(()),
        }
    }
    fn sync(&self, path: &Path) -> io::Result<()> {
        match self.faults.of(path) {
            Fault::FailSyncs => Err(io::Error::from_raw_os_error(EIO)),
            _ => Ok(()),
        }
    }
}

fn open_faulty(dir: &Path, direct: bool) -> (Arc<dyn LogStore>, Arc<Faults>) {
    let faults = Arc::<Faults>::default();
    let disk = FaultyDisk {
        faults: Arc::clone(&faults),
        direct,
    };
    let config = LocalConfig {
        fs: Arc::new(HookedFs(Arc::new(disk))),
        // More than the budget for appends: it is not the ring that holds them back.
        wal_ring_bytes: 4 << 20,
        ..small(dir)
    };
    (local::open(config).unwrap(), faults)
}

#[tokio::test]
async fn nothing_is_acknowledged_or_visible_before_its_write_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, faults) = open_faulty(dir.path(), true);
    let log = open(&manager, "topic", 0);
    append(&log, batch(&[b"first"])).await.unwrap();
    faults.set("ring", Fault::Stall);
    let mut pending = submit(&log, batch(&[b"second"])).await;
    let early = tokio::time::timeout(Duration::from_millis(200), &mut pending).await;
    assert!(early.is_err(), "acknowledged while the write was under way");
    assert_eq!(log.offsets().high_watermark, 1);
    assert_eq!(log.offsets().log_end_offset, 2);
    assert!(read(&log, request(1)).await.unwrap().records.is_empty());
    assert_eq!(log.end_offset_for_epoch(0), Some((0, 1)));
    faults.set("", Fault::None);
    assert_eq!(pending.await.unwrap().base_offset, 1);
    assert_eq!(log.offsets().high_watermark, 2);
}

#[tokio::test]
async fn a_failed_write_or_sync_is_never_acknowledged_and_takes_the_directory_offline() {
    for (direct, fault) in [
        (true, Fault::FailWrites(EIO)),
        (false, Fault::FailWrites(EIO)),
        (false, Fault::FailSyncs),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (manager, faults) = open_faulty(dir.path(), direct);
        let log = open(&manager, "topic", 0);
        append(&log, batch(&[b"acknowledged"])).await.unwrap();
        let mut failed = manager.failed();
        faults.set("ring", fault);
        let lost = append(&log, batch(&[b"lost"])).await;
        assert!(
            matches!(lost, Err(AppendError::Indeterminate(_))),
            "{lost:?}"
        );
        faults.set("", Fault::None);
        // A second try could succeed and still lose what the first one left half done.
        let refused = append(&log, batch(&[b"refused"])).await;
        assert!(
            matches!(refused, Err(AppendError::Storage(_))),
            "{refused:?}"
        );
        let offline = failed.wait_for(Option::is_some);
        tokio::time::timeout(Duration::from_secs(10), offline)
            .await
            .expect("the manager says that it is offline")
            .unwrap();
        assert_eq!(read_all(&log, 0).await, [(0, b"acknowledged".to_vec())]);
        assert!(manager.shutdown().is_err());
        drop((log, manager));

        let again = local::open(small(dir.path())).unwrap();
        let log = open(&again, "topic", 0);
        let found = read_all(&log, 0).await;
        assert_eq!(found[0], (0, b"acknowledged".to_vec()));
        assert!(found.len() <= 2);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_appends_but_not_reads_and_deletions_and_heals_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, faults) = open_faulty(dir.path(), true);
    let config = || LogConfig {
        segment_bytes: 120_000,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    };
    let log = open_with(&manager, "topic", 0, config());
    let value = vec![b'x'; 50_000];
    for _ in 0..8 {
        append(&log, batch(&[&value])).await.unwrap();
    }
    let in_segments = || {
        let dir = dir.path().join("topic-0");
        dir.exists() && names(&dir).iter().any(|name| name.ends_with("6.log"))
    };
    until("segments are written", in_segments).await;
    faults.set("0000", Fault::FailWrites(ENOSPC));
    let refused = async {
        loop {
            match append(&log, batch(&[&value])).await {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(20), refused).await;
    let refused = refused.expect("appends are not held back for ever");
    assert!(matches!(refused, AppendError::Storage(_)), "{refused}");
    let end = log.offsets().high_watermark;
    assert_eq!(read_all(&log, 0).await.len() as i64, end);
    assert_eq!(log.delete_records_before(4).await.unwrap(), 4);
    until("deleted records make room", || {
        let names = names(&dir.path().join("topic-0"));
        !names
            .iter()
            .any(|name| name.starts_with("00000000000000000000.log"))
    })
    .await;
    let other = open(&manager, "other", 0);
    manager.delete_logs(vec![other.id().clone()]).await.unwrap();

    faults.set("", Fault::None);
    let healed = async {
        while append(&log, batch(&[&value])).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), healed)
        .await
        .expect("appends go on when there is room again");
    assert_eq!(read_all(&log, 4).await.len() as i64, end + 1 - 4);
    manager.shutdown().unwrap();
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..4_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never happened: {what}");
}

/// The test has one thread: if that waited for the disk it would not end.
#[tokio::test]
async fn what_looks_at_a_logs_files_first_does_not_wait_for_a_stalled_disk_on_an_async_thread() {
    let dir = tempfile::tempdir().unwrap();
    {
        let manager = local::open(LocalConfig::new(dir.path())).unwrap();
        let log = open(&manager, "topic", 0);
        append(&log, batch(&[b"value"])).await.unwrap();
        manager.shutdown().unwrap();
    }
    let (manager, faults) = open_faulty(dir.path(), true);
    let log = open(&manager, "topic", 0);
    faults.set("topic-0", Fault::Stall);
    let mut prepared = log.ready().unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(50), &mut prepared).await;
    assert!(waited.is_err(), "nothing was looked at");
    faults.set("topic-0", Fault::None);
    prepared.await;
    assert!(log.ready().is_none());
    assert_eq!(log.offsets().high_watermark, 1);
    manager.shutdown().unwrap();
}

#[tokio::test]
async fn a_ring_that_cannot_grow_leaves_no_file_makes_do_and_grows_when_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, faults) = open_faulty(dir.path(), true);
    let rings = || {
        let names = names(&dir.path().join("wal"));
        names
            .iter()
            .filter(|name| name.starts_with("ring-"))
            .count()
    };
    faults.set("ring-1", Fault::FailWrites(ENOSPC));
    let log = open(&manager, "topic", 0);
    let value = vec![b'x'; 40_000];
    // Several times what the first region holds.
    for _ in 0..30 {
        append(&log, batch(&[&value])).await.unwrap();
        assert!(rings() <= 2, "one, and one that is being made");
    }
    until("nothing is left of it", || rings() == 1).await;
    faults.set("", Fault::None);
    until("it grows", || rings() > 1).await;
    append(&log, batch(&[&value])).await.unwrap();
    manager.shutdown().unwrap();
}

#[tokio::test]
async fn a_panic_in_a_thread_of_the_engine_takes_the_directory_offline_and_says_why() {
    // Of the commit thread, and of one that writes segments.
    for prefix in ["ring", "0000"] {
        let dir = tempfile::tempdir().unwrap();
        let (manager, faults) = open_faulty(dir.path(), true);
        let log = open(&manager, "topic", 0);
        append(&log, batch(&[b"value"])).await.unwrap();
        let mut failed = manager.failed();
        faults.set(prefix, Fault::Panic);
        let _ = append(&log, batch(&[b"value"])).await;
        let offline = failed.wait_for(Option::is_some);
        let why = tokio::time::timeout(Duration::from_secs(20), offline)
            .await
            .expect("the manager says that it is offline")
            .unwrap()
            .clone();
        assert!(why.unwrap().to_string().contains("panicked: on purpose"));
        assert!(append(&log, batch(&[b"refused"])).await.is_err());
        faults.set("", Fault::None);
        assert!(manager.shutdown().is_err());
    }
}

#[tokio::test]
async fn a_commit_that_waits_for_long_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, faults) = open_faulty(dir.path(), true);
    let log = open(&manager, "topic", 0);
    append(&log, batch(&[b"value"])).await.unwrap();
    assert_eq!(manager.health(), Health::Good);
    faults.set("ring", Fault::Stall);
    let pending = submit(&log, batch(&[b"stalled"])).await;
    let stalled = || match manager.health() {
        Health::Stalled(what) => Some(what),
        _ => None,
    };
    until("it is stalled", || stalled().is_some()).await;
    assert!(stalled().unwrap().contains("for the disk"));
    faults.set("", Fault::None);
    pending.await.unwrap();
    assert_eq!(manager.health(), Health::Good);
}
