//! What is rare in the life of a log directory: the first append after a start is the largest there can be, and a call to
//! the file system fails that will not fail again.

#![allow(clippy::unwrap_used)]

mod common;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::compaction::CleanerConfig;
use storage::fs::sim::SimDisk;
use storage::log::{AppendError, Durability, LogConfig, PartitionLog, ReadError};
use storage::manager::{LogManager, LogManagerConfig, OpenError};
use storage::simulation::{self, SimClock, sleep, timeout};

const FIRST_REGION_BYTES: u64 = 16 << 10;
const REGION_BYTES: u64 = 40 << 10;
/// How often somebody who waits looks up, and how often before it is stuck: time passes now and then although others go on.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const STUCK_AFTER_LOOKS: usize = 20_000;

fn config(disk: &SimDisk) -> LogManagerConfig {
    LogManagerConfig {
        wal_ring_bytes: 128 << 10,
        wal_region_bytes: REGION_BYTES,
        wal_first_region_bytes: FIRST_REGION_BYTES,
        append_budget_bytes: 64 << 10,
        tail_cache_bytes: 8 << 10,
        direct_io_bytes: 4 << 10,
        note_interval_bytes: 1_000,
        open_files_max: 3,
        io_threads: 2,
        recovery_threads: 2,
        retention_check_interval_ms: 1_000,
        cleaner: CleanerConfig {
            backoff_ms: 500,
            ..CleanerConfig::default()
        },
        fs: Arc::new(disk.boot(None)),
        clock: Arc::new(SimClock),
        ..LogManagerConfig::new("/data")
    }
}

/// What a future comes to, if it does at all.
async fn patiently<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    for _ in 0..STUCK_AFTER_LOOKS {
        if let Some(value) = timeout(LOOK_INTERVAL, &mut future).await {
            return Some(value);
        }
    }
    None
}

/// What a call that blocks gives, on a thread of its own: the others go on meanwhile.
async fn off_thread<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, answer) = tokio::sync::oneshot::channel();
    let thread = simulation::thread::spawn(move || sender.send(job()).is_ok()).unwrap();
    let value = answer.await.unwrap();
    let _ = thread.join();
    value
}

/// How a ring has come to be as an append finds it.
#[derive(Clone, Copy, Debug)]
enum Ring {
    Fresh,
    CleanlyRestarted,
    Checkpointed,
    CheckpointedAndRestarted,
}

async fn first_append(ring: Ring, durability: Durability, bytes: usize) -> Result<(), String> {
    let disk = SimDisk::new();
    let start = || {
        let config = LogManagerConfig {
            durability,
            ..config(&disk)
        };
        LogManager::open(config).map_err(|error| error.to_string())
    };
    let mut manager = start()?;
    let small = async |manager: &LogManager| {
        let appended = append(&open(manager, "topic", 0), batch(&[b"small"])).await;
        appended.map(|_| ()).map_err(|error| error.to_string())
    };
    match ring {
        Ring::Fresh => {}
        Ring::CleanlyRestarted | Ring::CheckpointedAndRestarted => {
            small(&manager).await?;
            let closing = Arc::clone(&manager);
            off_thread(move || closing.shutdown())
                .await
                .map_err(|error| error.to_string())?;
            manager = start()?;
        }
        Ring::Checkpointed => {}
    }
    if matches!(ring, Ring::Checkpointed | Ring::CheckpointedAndRestarted) {
        small(&manager).await?;
        // Quiet for so long, a directory takes a checkpoint.
        sleep(Duration::from_secs(30)).await;
    }
    let log = open(&manager, "topic", 0);
    let before = log.offsets().log_end_offset;
    let value = vec![b'v'; bytes];
    let appended = patiently(append(&log, batch(&[&value]))).await;
    let what = match appended {
        Some(Ok(_)) => Ok(()),
        Some(Err(error @ AppendError::TooLarge { .. })) => {
            let fits = (bytes as u64) < REGION_BYTES - (4 << 10);
            (!fits).then_some(()).ok_or(error.to_string())
        }
        Some(Err(error)) => Err(error.to_string()),
        None => Err("is not answered".to_owned()),
    };
    let small = append(&log, batch(&[b"another"]));
    let another = patiently(small).await;
    let done = match (what, another) {
        (Ok(()), Some(Ok(appended))) if appended.base_offset >= before => Ok(()),
        (what, another) => Err(format!(
            "{bytes} bytes, {ring:?}, {durability:?}: {what:?}, and then {another:?}"
        )),
    };
    drop(log);
    match &done {
        Ok(()) => off_thread(move || manager.shutdown())
            .await
            .map_err(|error| error.to_string())?,
        Err(_) => std::mem::forget(manager),
    }
    done
}

#[test]
fn the_first_append_is_answered_whatever_its_size() {
    let rings = [
        Ring::Fresh,
        Ring::CleanlyRestarted,
        Ring::Checkpointed,
        Ring::CheckpointedAndRestarted,
    ];
    for seed in seeds(2) {
        for ring in rings {
            for durability in [Durability::Strict, Durability::Os] {
                for bytes in (0..REGION_BYTES as usize + 4_000).step_by(1_900) {
                    let ran = simulation::run(seed, move || first_append(ring, durability, bytes));
                    ran.unwrap_or_else(|what| panic!("OTTLA_SIM_SEED={seed} {what}"));
                }
            }
        }
    }
}

/// EMFILE, ENFILE, EINTR, ENOMEM and EAGAIN.
const PASSING: [i32; 5] = [24, 23, 4, 12, 11];
const ATTEMPTS: usize = 20;

/// What comes of something that may be refused for a while, but not for ever.
async fn again<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T, String> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match patiently(attempt()).await {
            Some(Ok(value)) => return Ok(value),
            Some(Err(error)) => last = error.to_string(),
            None => return Err(format!("{what}: no answer")),
        }
        sleep(Duration::from_secs(1)).await;
    }
    Err(format!("{what}: {last}"))
}

async fn start(disk: &SimDisk, durability: Durability) -> Result<Arc<LogManager>, String> {
    again("start", || async {
        let config = LogManagerConfig {
            durability,
            ..config(disk)
        };
        off_thread(move || LogManager::open(config)).await as Result<_, OpenError>
    })
    .await
}

async fn append_again(log: &Arc<dyn PartitionLog>, batch_of: &[&[u8]]) -> Result<(), String> {
    again("append", || {
        let mut builder = storage::record::BatchBuilder::new();
        for value in batch_of {
            builder.append(SimClockNow::ms(), Some(b"key"), Some(value), &[]);
        }
        append(log, trusted(builder.build().unwrap()))
    })
    .await
    .map(|_| ())
}

struct SimClockNow;

impl SimClockNow {
    fn ms() -> i64 {
        use storage::clock::Clock;
        SimClock.now_ms()
    }
}

/// A life with everything in it: rolled segments, compaction, deleted records and topics, checkpoints, an orderly stop and a
/// kill. The call with number `failing` fails once.
async fn life(durability: Durability, failing: Option<(u64, i32)>) -> Result<u64, String> {
    let disk = SimDisk::new();
    if let Some((number, error)) = failing {
        disk.fail_call(number, error);
    }
    let logs = |manager: &LogManager| {
        let plain = LogConfig {
            segment_bytes: 1_500,
            file_delete_delay_ms: 100,
            ..LogConfig::default()
        };
        let compacted = LogConfig {
            compact: true,
            delete: false,
            min_cleanable_dirty_ratio: 0.0,
            ..plain.clone()
        };
        [
            open_with(manager, "plain", 0, plain.clone()),
            open_with(manager, "compacted", 0, compacted),
            open_with(manager, "deleted", 0, plain),
        ]
    };
    let mut count = 0;
    for round in 0..3 {
        let manager = start(&disk, durability).await?;
        let open = logs(&manager);
        for log in &open {
            again("use", || async { log.check_usable() }).await?;
        }
        for log in &open[..2] {
            let found = log.offsets().high_watermark;
            if found < count {
                return Err(format!("{:?} ends at {found} of {count}", log.id()));
            }
        }
        for number in 0..6 {
            let value = vec![b'v'; 400 * (1 + number % 3)];
            for log in &open {
                append_again(log, &[&value]).await?;
            }
            count += 1;
            if number == 3 {
                // Written, checkpointed, compacted.
                sleep(Duration::from_secs(20)).await;
            }
        }
        for log in &open[..2] {
            // What was refused may still have been appended.
            let found = log.offsets().high_watermark;
            if found < count {
                return Err(format!("{:?} ends at {found} of {count}", log.id()));
            }
            again("read", || async {
                let from = log.offsets().log_start_offset;
                let fetched = read(log, request(from)).await?;
                Ok::<_, ReadError>(fetched.size_bytes)
            })
            .await?;
        }
        let end = open[0].offsets().high_watermark;
        again("delete records", || open[0].delete_records_before(end - 2)).await?;
        let id = open[2].id().clone();
        let deleting = Arc::clone(&manager);
        again("delete", || {
            let (manager, id) = (Arc::clone(&deleting), id.clone());
            off_thread(move || manager.delete_log(&id))
        })
        .await?;
        sleep(Duration::from_secs(10)).await;
        if let Some(why) = manager.offline() {
            return Err(format!("offline: {why}"));
        }
        drop(open);
        drop(deleting);
        if round == 1 {
            disk.kill();
        }
        // One that cannot be closed in order is recovered.
        let _ = off_thread(move || manager.shutdown()).await;
    }
    let left: Vec<_> = disk
        .files()
        .into_iter()
        .filter(|(path, _)| path.to_string_lossy().contains("/wal/ring-"))
        .collect();
    if left.len() > 4 {
        return Err(format!("left behind: {left:?}"));
    }
    Ok(disk.calls())
}

#[test]
fn every_call_may_fail_once_and_nothing_is_lost_or_lasts() {
    for seed in seeds(60) {
        let mut random = StdRng::seed_from_u64(seed);
        let durability = match random.random_bool(0.7) {
            true => Durability::Strict,
            false => Durability::Os,
        };
        let ran = simulation::run(seed, move || life(durability, None));
        let calls = ran.unwrap_or_else(|what| panic!("OTTLA_SIM_SEED={seed} {what}"));
        for _ in 0..5 {
            let number = random.random_range(1..=calls);
            let error = PASSING[random.random_range(0..PASSING.len())];
            let failing = Some((number, error));
            let ran = simulation::run(seed, move || life(durability, failing));
            if let Err(what) = ran {
                panic!("OTTLA_SIM_SEED={seed}, {durability:?}, {failing:?} of {calls}: {what}");
            }
        }
    }
}
