//! What the maintenance thread sees to when its time has come: syncs, silent producers, room on the disk.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::*;
use storage::env::clock::Clock;
use storage::local::{self, LocalConfig};
use storage::log::{
    AppendError, AppendOrigin, Durability, LiveConfig, LogConfig, LogStore, PartitionLog,
};
use storage::record::{BatchBuilder, ValidatedBatch};
use storage::testing::sim_disk::SimDisk;

/// A seed of a power cut that drops whatever is not durable.
const DROP_ALL: u64 = 3;
const BUDGET_BYTES: u64 = 1 << 20;

#[derive(Debug, Default)]
struct FakeClock(AtomicU64);

impl Clock for FakeClock {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000 + self.0.load(Ordering::Relaxed) as i64
    }
    fn monotonic_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct World {
    disk: SimDisk,
    clock: Arc<FakeClock>,
}

impl World {
    fn new() -> Self {
        Self {
            disk: SimDisk::new(),
            clock: Arc::default(),
        }
    }

    fn start(&self, durability: Durability) -> Arc<dyn LogStore> {
        local::open(LocalConfig {
            durability,
            // So much that no checkpoint falls due within a test and syncs what nobody has asked for.
            wal_ring_bytes: 4 << 20,
            wal_region_bytes: 64 << 10,
            wal_first_region_bytes: 64 << 10,
            append_budget_bytes: BUDGET_BYTES,
            io_threads: 1,
            live: silent_for(60_000),
            producer_id_expiration_check_interval_ms: 10_000,
            disk_reserve_bytes: Some(100_000),
            fs: Arc::new(self.disk.boot(None)),
            clock: self.clock.clone(),
            initial_task_delay_ms: 300_000,
            ..LocalConfig::new("/data")
        })
        .unwrap()
    }

    /// Lets time pass, and the maintenance see it: wanting all the room there is, while some is taken, wakes it.
    async fn pass(&self, ms: u64, log: &Arc<dyn PartitionLog>) {
        self.clock.0.fetch_add(ms, Ordering::Relaxed);
        let taken = log.reserve(1, AppendOrigin::COORDINATOR).await;
        drop(log.reserve(BUDGET_BYTES as usize, AppendOrigin::COORDINATOR));
        drop(taken);
    }

    /// How many records would be there after a power cut now, of a log that nobody has used since its first.
    async fn after_a_power_cut(
        self,
        manager: Arc<dyn LogStore>,
        log: Arc<dyn PartitionLog>,
    ) -> usize {
        self.disk.power_cut(DROP_ALL);
        drop((manager, log));
        let manager = self.start(Durability::Os);
        read_all(&open(&manager, "topic", 0), 0).await.len()
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn flush_messages_has_every_so_many_records_synced_before_the_last_is_acknowledged() {
    for (appended, expected) in [(9, 0), (10, 10), (19, 10), (20, 20)] {
        let world = World::new();
        let manager = world.start(Durability::Os);
        let config = LogConfig {
            flush_messages: 10,
            ..LogConfig::default()
        };
        let log = open_with(&manager, "topic", 0, config);
        for _ in 0..appended {
            append(&log, batch(&[b"value"])).await.unwrap();
        }
        let found = world.after_a_power_cut(manager, log).await;
        assert_eq!(found, expected, "of {appended}");
    }
}

#[tokio::test]
async fn flush_ms_has_what_was_appended_synced_in_time() {
    for (waited_ms, expected) in [(999, 0), (1_000, 3)] {
        let world = World::new();
        let manager = world.start(Durability::Os);
        let config = LogConfig {
            flush_ms: 1_000,
            ..LogConfig::default()
        };
        let log = open_with(&manager, "topic", 0, config);
        // Once, so that the ring and the table of logs have been made.
        for _ in 0..3 {
            append(&log, batch(&[b"value"])).await.unwrap();
        }
        let before = world.disk.syncs();
        world.pass(waited_ms, &log).await;
        if expected > 0 {
            until("a sync", async || world.disk.syncs() > before).await;
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let found = world.after_a_power_cut(manager, log).await;
        assert_eq!(found, expected, "after {waited_ms} ms");
    }
}

#[tokio::test]
async fn without_a_flush_setting_os_mode_promises_nothing_about_a_power_cut() {
    let world = World::new();
    let manager = world.start(Durability::Os);
    let log = open(&manager, "topic", 0);
    append(&log, batch(&[b"value"])).await.unwrap();
    assert_eq!(world.after_a_power_cut(manager, log).await, 0);
}

/// Offsets that were read may be given again: readers find out by the epoch.
#[tokio::test]
async fn in_os_mode_an_unclean_start_begins_a_leader_epoch() {
    for (durability, unclean_epochs) in [(Durability::Os, [1, 2]), (Durability::Strict, [0, 0])] {
        let world = World::new();
        let manager = world.start(durability);
        let log = open(&manager, "topic", 0);
        append(&log, batch(&[b"kept"])).await.unwrap();
        drop(log);
        manager.shutdown().unwrap();
        world.disk.kill();
        for epoch in unclean_epochs {
            let manager = world.start(durability);
            let log = open(&manager, "topic", 0);
            append(&log, batch(&[b"seen"])).await.unwrap();
            world.disk.power_cut(DROP_ALL);
            drop((log, manager));
            let manager = world.start(durability);
            let log = open(&manager, "topic", 0);
            assert_eq!(log.leader_epoch(), epoch);
            let end = log.offsets().log_end_offset;
            assert_eq!(
                log.end_offset_for_epoch(0),
                Some((0, if epoch == 0 { end } else { 1 }))
            );
            append(&log, batch(&[b"another"])).await.unwrap();
            let header = headers(&read(&log, request(end)).await.unwrap())[0];
            assert_eq!(header.partition_leader_epoch, epoch);
            drop(log);
            manager.shutdown().unwrap();
            world.disk.kill();
        }
    }
}

fn numbered(sequence: i32) -> ValidatedBatch {
    let builder = BatchBuilder::new().producer(5, 0, sequence);
    trusted(build(builder, 1_000, &[b"value"]))
}

/// Forgets producers that have been silent for so long.
fn silent_for(producer_id_expiration_ms: i64) -> LiveConfig {
    LiveConfig {
        producer_id_expiration_ms,
        ..LiveConfig::default()
    }
}

/// Kafka's rule: of a producer that is not known any sequence is the first.
#[tokio::test]
async fn a_producer_that_was_silent_for_too_long_is_forgotten() {
    let world = World::new();
    let manager = world.start(Durability::Strict);
    let log = open(&manager, "topic", 0);
    append(&log, numbered(0)).await.unwrap();
    world.pass(59_000, &log).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let gap = append(&log, numbered(7)).await;
    assert!(
        matches!(gap, Err(AppendError::OutOfOrderSequence { .. })),
        "{gap:?}"
    );
    append(&log, numbered(1)).await.unwrap();
    // Counted from the last batch.
    world.pass(59_000, &log).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(append(&log, numbered(7)).await.is_err());
    world.pass(11_000, &log).await;
    until("the producer is forgotten", async || {
        append(&log, numbered(7)).await.is_ok()
    })
    .await;
    manager.shutdown().unwrap();
}

#[tokio::test]
async fn a_changed_expiration_counts_for_producers_that_are_known_already() {
    let world = World::new();
    let manager = world.start(Durability::Strict);
    let log = open(&manager, "topic", 0);
    append(&log, numbered(0)).await.unwrap();
    manager.change(&silent_for(200_000));
    world.pass(100_000, &log).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(append(&log, numbered(7)).await.is_err());
    manager.change(&silent_for(30_000));
    world.pass(11_000, &log).await;
    until("the producer is forgotten", async || {
        append(&log, numbered(7)).await.is_ok()
    })
    .await;
    manager.shutdown().unwrap();
}

#[tokio::test]
async fn below_the_reserve_producers_are_refused_while_all_else_goes_on_and_it_heals() {
    let world = World::new();
    let manager = world.start(Durability::Strict);
    let log = open(&manager, "topic", 0);
    let own = open(&manager, "__consumer_offsets", 0);
    let doomed = open_with(
        &manager,
        "doomed",
        0,
        LogConfig {
            file_delete_delay_ms: 0,
            ..LogConfig::default()
        },
    );
    for _ in 0..3 {
        append(&log, batch(&[b"value"])).await.unwrap();
    }
    for _ in 0..12 {
        append(&doomed, batch(&[&[b'v'; 30_000]])).await.unwrap();
        world.pass(1_000, &log).await;
    }
    let id = partition("doomed", 0);
    until("everything is in the segments", async || {
        let files = world.disk.files();
        let of_doomed = files
            .iter()
            .filter(|(path, _)| path.starts_with("/data/doomed-0"));
        of_doomed.map(|(_, bytes)| bytes).sum::<usize>() > 360_000
    })
    .await;
    world.disk.set_capacity(world.disk.used_bytes() + 50_000);
    until("producers are refused", async || {
        world.pass(1_000, &own).await;
        matches!(
            log.reserve(1, AppendOrigin::CLIENT).await,
            Err(AppendError::Storage(why)) if why.contains("space")
        )
    })
    .await;
    assert_eq!(read_all(&log, 0).await.len(), 3);
    append_as(&own, batch(&[b"a commit"]), AppendOrigin::COORDINATOR)
        .await
        .unwrap();
    // Whatever the log is called: what counts is who appends.
    for name in ["__consumer_offsets", "__mine"] {
        let log = open(&manager, name, 0);
        let refused = append(&log, batch(&[b"value"])).await;
        assert!(
            matches!(refused, Err(AppendError::Storage(_))),
            "{name}: {refused:?}"
        );
    }
    assert_eq!(log.delete_records_before(1).await.unwrap(), 1);
    drop(doomed);
    manager.delete_logs(vec![id]).await.unwrap();
    until("producers are served", async || {
        world.pass(1_000, &own).await;
        append(&log, batch(&[b"value"])).await.is_ok()
    })
    .await;
    manager.shutdown().unwrap();
}

#[tokio::test]
async fn a_batch_larger_than_the_write_ahead_log_takes_is_refused_for_its_size_and_nothing_else_is()
{
    let world = World::new();
    let manager = world.start(Durability::Strict);
    let log = open(&manager, "topic", 0);
    for bytes in [10, 70 << 10, 10, 1 << 20, 10] {
        let value = vec![b'v'; bytes];
        let appended = append(&log, batch(&[&value])).await;
        match appended {
            Ok(_) => assert_eq!(bytes, 10),
            Err(AppendError::TooLarge {
                bytes: needed_bytes,
                limit_bytes,
            }) => {
                assert_eq!(limit_bytes, 64 << 10);
                assert!(needed_bytes > bytes && bytes > 10);
            }
            Err(error) => panic!("{bytes} bytes: {error}"),
        }
    }
    assert_eq!(read_all(&log, 0).await.len(), 3);
}
