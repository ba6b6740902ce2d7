//! What is rare in the life of a log directory: the first append after a start is the largest there can be, and calls to
//! the file system are refused, once or for minutes, that will not be refused for ever.

#![allow(clippy::unwrap_used)]

mod common;

use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::env::clock::Clock;
use storage::local::{self, LocalConfig, OpenError};
use storage::log::{
    AppendError, Durability, Health, LogConfig, LogStore, PartitionLog, ReadError, TopicPartition,
};
use storage::log::{CleanerConfig, LiveConfig};
use storage::record::{BatchBuilder, ValidatedBatch};
use storage::testing::scheduler::{self, SimClock, sleep, timeout};
use storage::testing::sim_disk::SimDisk;
use uuid::Uuid;

/// A seed of a power cut that drops whatever is not durable.
const DROP_ALL: u64 = 3;
const FIRST_REGION_BYTES: u64 = 16 << 10;
const REGION_BYTES: u64 = 40 << 10;
/// How often somebody who waits looks up, and how often before it is stuck: time passes now and then although others go on.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const STUCK_AFTER_LOOKS: usize = 20_000;

fn config(disk: &SimDisk) -> LocalConfig {
    LocalConfig {
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
        initial_task_delay_ms: 1_000,
        live: LiveConfig {
            cleaner: CleanerConfig {
                backoff_ms: 500,
                ..CleanerConfig::default()
            },
            ..LiveConfig::default()
        },
        fs: Arc::new(disk.boot(None)),
        clock: Arc::new(SimClock),
        ..LocalConfig::new("/data")
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
    let thread = scheduler::thread::spawn(move || sender.send(job()).is_ok()).unwrap();
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
        let config = LocalConfig {
            durability,
            ..config(&disk)
        };
        local::open(config).map_err(|error| error.to_string())
    };
    let mut manager = start()?;
    let small = async |manager: &Arc<dyn LogStore>| {
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
                    let ran = scheduler::run(seed, move || first_append(ring, durability, bytes));
                    ran.unwrap_or_else(|what| panic!("OTTLA_SIM_SEED={seed} {what}"));
                }
            }
        }
    }
}

/// EMFILE, ENFILE, EINTR, ENOMEM and EAGAIN.
const PASSING: [i32; 5] = [24, 23, 4, 12, 11];
/// How often something is tried, a second apart: longer than any refusal lasts.
const ATTEMPTS: usize = REFUSED_SECONDS as usize + 60;
const REFUSED_SECONDS: u64 = 300;

/// Which calls are refused, and with what.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    from: u64,
    error: i32,
    /// Every call for minutes, not only one.
    lasts: bool,
}

impl Refusal {
    /// Lets it begin, and end in its time; `over` ends the wait for that.
    fn begin(self, disk: &SimDisk, over: Arc<AtomicBool>) -> scheduler::thread::JoinHandle<()> {
        let to = if self.lasts { u64::MAX } else { self.from + 1 };
        disk.fail_calls(self.from..to, self.error);
        let disk = disk.clone();
        let lift = move || {
            while disk.calls() < self.from && !over.load(Ordering::Relaxed) {
                scheduler::thread::sleep(Duration::from_secs(1));
            }
            for _ in 0..REFUSED_SECONDS {
                if !over.load(Ordering::Relaxed) {
                    scheduler::thread::sleep(Duration::from_secs(1));
                }
            }
            disk.allow_calls();
        };
        scheduler::thread::spawn(lift).unwrap()
    }
}

/// Does something while calls are refused.
async fn with_refusal<T, F: Future<Output = Result<T, String>>>(
    refusal: Option<Refusal>,
    life: impl FnOnce(SimDisk) -> F,
) -> Result<T, String> {
    let disk = SimDisk::new();
    let over = Arc::new(AtomicBool::new(false));
    let lifting = refusal.map(|refusal| refusal.begin(&disk, Arc::clone(&over)));
    let lived = life(disk).await?;
    over.store(true, Ordering::Relaxed);
    if let Some(lifting) = lifting {
        let _ = lifting.join();
    }
    Ok(lived)
}

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

/// Fails as long as a file is there that is of no use to anybody.
fn is_tidy(disk: &SimDisk, starts: &[(&str, i64)]) -> Result<(), String> {
    let names = disk.files().into_iter().map(|(path, _)| path);
    let names: Vec<String> = names
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    let useless = [".cleaned", ".swap", ".deleted", "-delete/", "-stray/"];
    let is_useless = |name: &&String| useless.iter().any(|part| name.contains(part));
    let mut left: Vec<&String> = names.iter().filter(is_useless).collect();
    let regions = names.iter().filter(|name| name.contains("/wal/ring-"));
    left.extend(regions.skip(4));
    for (log, start) in starts {
        let prefix = format!("/data/{log}/");
        let of_log = names.iter().filter_map(|name| {
            let base = name.strip_prefix(&prefix)?.strip_suffix(".log")?;
            Some((name, base.parse::<i64>().ok()?))
        });
        let mut of_log: Vec<_> = of_log.collect();
        of_log.sort_unstable_by_key(|(_, base)| *base);
        let below = of_log.windows(2).filter(|pair| pair[1].1 <= *start);
        left.extend(below.map(|pair| pair[0].0));
    }
    match left.is_empty() {
        true => Ok(()),
        false => Err(format!("left behind: {left:?}")),
    }
}

async fn start(disk: &SimDisk, durability: Durability) -> Result<Arc<dyn LogStore>, String> {
    again("start", || async {
        let config = LocalConfig {
            durability,
            ..config(disk)
        };
        off_thread(move || local::open(config)).await as Result<_, OpenError>
    })
    .await
}

/// A batch of one key.
fn keyed(values: &[&[u8]]) -> ValidatedBatch {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.append(SimClock.now_ms(), Some(b"key"), Some(value), &[]);
    }
    trusted(builder.build().unwrap())
}

async fn append_again(log: &Arc<dyn PartitionLog>, values: &[&[u8]]) -> Result<(), String> {
    let appended = again("append", || append(log, keyed(values))).await;
    appended.map(|_| ())
}

/// A life with everything in it: rolled segments, compaction, deleted records and topics, checkpoints, an orderly stop and a
/// kill.
async fn life(durability: Durability, disk: SimDisk) -> Result<u64, String> {
    let logs = |manager: &Arc<dyn LogStore>| {
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
            again("use", || async { log.current_offsets().await }).await?;
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
        again("delete", || {
            let id = id.clone();
            manager.delete_logs(vec![id])
        })
        .await?;
        let starts = [("plain-0", end - 2)];
        again("tidy", || async { is_tidy(&disk, &starts) }).await?;
        // Its directory is renamed in the background. A call that was refused there is made again later.
        again("remove", || async {
            let files = disk.files();
            let is_there = |(path, _): &(PathBuf, usize)| path.starts_with("/data/deleted-0");
            match files.iter().any(is_there) {
                true => Err("a deleted log is there"),
                false => Ok(()),
            }
        })
        .await?;
        if let Health::Offline(why) = manager.health() {
            return Err(format!("offline: {why}"));
        }
        drop(open);
        if round == 1 {
            disk.kill();
        }
        // One that cannot be closed in order is recovered.
        let _ = off_thread(move || manager.shutdown()).await;
    }
    Ok(disk.calls())
}

#[test]
fn every_call_may_be_refused_once_or_for_minutes_and_nothing_is_lost_or_lasts() {
    for seed in seeds(60) {
        let mut random = StdRng::seed_from_u64(seed);
        let durability = match random.random_bool(0.7) {
            true => Durability::Strict,
            false => Durability::Os,
        };
        let run = |refusal: Option<Refusal>| {
            let life = move |disk| life(durability, disk);
            scheduler::run(seed, move || with_refusal(refusal, life))
        };
        let calls = run(None).unwrap_or_else(|what| panic!("OTTLA_SIM_SEED={seed} {what}"));
        for _ in 0..5 {
            let refusal = Refusal {
                from: random.random_range(1..=calls),
                error: PASSING[random.random_range(0..PASSING.len())],
                lasts: random.random_bool(0.5),
            };
            if let Err(what) = run(Some(refusal)) {
                panic!("OTTLA_SIM_SEED={seed}, {durability:?}, {refusal:?} of {calls}: {what}");
            }
        }
    }
}

/// All that a log has, as the last offset of each batch.
async fn read_all(log: &Arc<dyn PartitionLog>) -> Result<Vec<i64>, ReadError> {
    let offsets = log.offsets();
    let mut next_offset = offsets.log_start_offset;
    let mut last_offsets = Vec::new();
    while next_offset < offsets.high_watermark {
        let fetched = read(log, request(next_offset)).await?;
        let batches = headers(&fetched);
        let Some(last) = batches.last() else {
            break;
        };
        next_offset = last.next_offset();
        last_offsets.extend(batches.iter().map(|batch| batch.last_offset()));
    }
    Ok(last_offsets)
}

/// A log of one key, from its first batch to where it is compacted. Gives the calls from its last batch on.
async fn compaction(refusal: Option<Refusal>, disk: SimDisk) -> Result<Range<u64>, String> {
    let manager = start(&disk, Durability::Strict).await?;
    let config = LogConfig {
        segment_bytes: 1_500,
        compact: true,
        delete: false,
        min_cleanable_dirty_ratio: 0.0,
        ..LogConfig::default()
    };
    let log = open_with(&manager, "compacted", 0, config);
    for _ in 0..8 {
        append_again(&log, &[&[b'v'; 400]]).await?;
    }
    let from = disk.calls() + 1;
    let is_compacted = async || {
        let runs = manager.stats().map_or(0, |stats| stats.cleaner_runs);
        match runs {
            0 => Err("not compacted".to_owned()),
            _ => is_tidy(&disk, &[]),
        }
    };
    let calls = match refusal {
        None => {
            again("compacted", is_compacted).await?;
            from..disk.calls() + 1
        }
        Some(refusal) => {
            again("refused", || async {
                let has_begun = disk.calls() >= refusal.from;
                has_begun.then_some(()).ok_or("not yet")
            })
            .await?;
            match patiently(append(&log, keyed(&[b"v"]))).await {
                Some(Ok(_)) => {}
                other => return Err(format!("an append meanwhile: {other:?}")),
            }
            again("compacted", is_compacted).await?;
            from..disk.calls() + 1
        }
    };
    let last = log.offsets().high_watermark - 1;
    let found = again("read", || read_all(&log)).await?;
    if found.last() != Some(&last) || found.len() as i64 > last {
        return Err(format!("{found:?}, but the last is {last}"));
    }
    append_again(&log, &[b"v"]).await?;
    drop(log);
    off_thread(move || manager.shutdown())
        .await
        .map_err(|error| error.to_string())?;
    Ok(calls)
}

#[test]
fn every_call_of_a_compaction_may_be_refused_for_minutes_and_nobody_else_is() {
    for seed in seeds(1) {
        let run = |refusal: Option<Refusal>| {
            let life = move |disk| compaction(refusal, disk);
            scheduler::run(seed, move || with_refusal(refusal, life))
        };
        let calls = run(None).unwrap_or_else(|what| panic!("OTTLA_SIM_SEED={seed} {what}"));
        for from in calls {
            let error = PASSING[from as usize % PASSING.len()];
            let refusal = Refusal {
                from,
                error,
                lasts: true,
            };
            run(Some(refusal))
                .unwrap_or_else(|what| panic!("OTTLA_SIM_SEED={seed}, {refusal:?}: {what}"));
        }
    }
}

/// Longer than a call is usually refused, and shorter than a start waits.
const BRIEFLY_SECONDS: u64 = 12;

/// A log is deleted, and the power goes before its directory is renamed. The next start does that, while calls are refused
/// from `refused` on, counted from its first: one, or all for some seconds. The power may go again meanwhile.
async fn start_after_deletion(
    refused: Option<(u64, i32, bool)>,
    durability: Durability,
    is_cut: bool,
) -> Result<u64, String> {
    let disk = SimDisk::new();
    let mut manager = start(&disk, durability).await?;
    for topic in ["kept", "deleted"] {
        append_again(&open(&manager, topic, 0), &[b"v"]).await?;
    }
    // The first checkpoint that comes: all is durable where it belongs.
    again("checkpoint", || async {
        let is_there = is_there(&disk, "/data/wal/checkpoint-b");
        is_there.then_some(()).ok_or("none was taken")
    })
    .await?;
    loop {
        disk.stop_on("/deleted-0", 1);
        let deleted = manager.delete_logs(vec![partition("deleted", 0)]).await;
        while !disk.is_stopped() {
            sleep(LOOK_INTERVAL).await;
        }
        disk.power_cut(DROP_ALL);
        let _ = off_thread(move || manager.shutdown()).await;
        if deleted.is_ok() {
            break;
        }
        // It was something else with the directory that came first.
        manager = start(&disk, durability).await?;
    }
    if !is_there(&disk, "/data/deleted-0/") {
        return Err("it was renamed".to_owned());
    }

    let config_of = |disk: &SimDisk| LocalConfig {
        durability,
        ..config(disk)
    };
    let restarted = config_of(&disk);
    let before = disk.calls();
    if let Some((from, error, lasts)) = refused {
        let from = before + from;
        let to = if lasts { u64::MAX } else { from + 1 };
        disk.fail_calls(from..to, error);
    }
    let opening = scheduler::thread::spawn(move || local::open(restarted)).unwrap();
    if refused.is_some_and(|(_, _, lasts)| lasts) {
        sleep(Duration::from_secs(BRIEFLY_SECONDS)).await;
        if is_cut {
            disk.power_cut(DROP_ALL);
        }
        disk.allow_calls();
    }
    let mut opened = off_thread(move || opening.join().unwrap()).await;
    let calls = disk.calls() - before;
    if is_cut {
        drop(opened);
        let config = config_of(&disk);
        opened = off_thread(move || local::open(config)).await;
    }
    let manager = opened.map_err(|error| error.to_string())?;
    if is_there(&disk, "/data/deleted-0/") {
        return Err("the directory has its name".to_owned());
    }
    let another = TopicPartition {
        topic_id: Uuid::from_u128(1),
        ..partition("deleted", 0)
    };
    let another = manager
        .open_log(another, Arc::default())
        .map_err(|error| error.to_string())?;
    let ends = [another, open(&manager, "kept", 0)].map(|log| log.offsets().high_watermark);
    if ends != [0, 1] {
        return Err(format!("the logs end at {ends:?}"));
    }
    off_thread(move || manager.shutdown())
        .await
        .map_err(|error| error.to_string())?;
    Ok(calls)
}

fn is_there(disk: &SimDisk, prefix: &str) -> bool {
    let files = disk.files();
    let mut paths = files.iter().map(|(path, _)| path.to_string_lossy());
    paths.any(|path| path.starts_with(prefix))
}

#[test]
fn every_call_of_a_start_may_be_refused_for_a_while_and_it_starts_and_forgets_no_deletion() {
    for durability in [Durability::Strict, Durability::Os] {
        let seed = seeds(1).start;
        let run = |refused, is_cut| {
            scheduler::run(seed, move || {
                start_after_deletion(refused, durability, is_cut)
            })
        };
        let calls = run(None, false).unwrap_or_else(|what| panic!("OTTLA_SIM_SEED={seed} {what}"));
        for from in 1..=calls {
            for (lasts, is_cut) in [(false, false), (true, false), (true, true)] {
                let error = PASSING[from as usize % PASSING.len()];
                let refused = Some((from, error, lasts));
                run(refused, is_cut).unwrap_or_else(|what| {
                    panic!("OTTLA_SIM_SEED={seed}, {durability:?}, {refused:?}, {is_cut}: {what}")
                });
            }
        }
    }
}
