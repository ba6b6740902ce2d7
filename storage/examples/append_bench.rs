//! Appends batches to partitions in one process and prints throughput and latency.
//!
//! ```text
//! append_bench [--dir DIR] [--seconds N] [--warmup N] [--in-flight N] [--batch-bytes N] [--partitions N]
//!              [--os] [--verbose]
//! append_bench --suite [--dir DIR] [--seconds N] [--warmup N] [--verbose]
//! append_bench --ring-replay [--dir DIR]
//! ```
//!
//! The figures are of what is acknowledged after the warm-up (3 s if not said otherwise, in which the
//! write-ahead log grows); `--verbose` prints every second, those of the warm-up too. `--suite` runs the
//! cases that have targets, one after the other, and ends with exit code 1 if one was missed.
//!
//! `--ring-replay` lets a child process fill the write-ahead log with 1 GiB that no checkpoint covers and
//! kills it; what is timed is opening the directory again. The ring is made larger for that, because a
//! checkpoint is taken as soon as half of it is full. It was written past the page cache, so it is read from the
//! disk.

#![expect(
    clippy::disallowed_methods,
    reason = "it measures the directory that it makes"
)]
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use storage::local::{self, LocalConfig};
use storage::log::{AppendOrigin, Durability, LogStore, Next, PartitionLog, TopicPartition};
use storage::record::{BatchBuilder, ValidatedBatch};

const REPLAY_BYTES: u64 = 1 << 30;
const REPLAY_PARTITIONS: i32 = 100;
const REPLAY_TARGET: Duration = Duration::from_secs(3);

#[derive(Clone)]
struct Options {
    dir: PathBuf,
    seconds: u64,
    warmup: u64,
    in_flight: usize,
    batch_bytes: usize,
    partitions: i32,
    durability: Durability,
    verbose: bool,
    mode: Mode,
}

#[derive(Clone, PartialEq)]
enum Mode {
    One,
    Suite,
    RingReplay,
    /// The child of the ring's replay.
    FillRing,
}

fn options() -> Options {
    let mut options = Options {
        dir: std::env::temp_dir(),
        seconds: 5,
        warmup: 3,
        in_flight: 64,
        batch_bytes: 16 << 10,
        partitions: 100,
        durability: Durability::Strict,
        verbose: false,
        mode: Mode::One,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value");
        match argument.as_str() {
            "--dir" => options.dir = value().into(),
            "--seconds" => options.seconds = value().parse().unwrap(),
            "--warmup" => options.warmup = value().parse().unwrap(),
            "--in-flight" => options.in_flight = value().parse().unwrap(),
            "--batch-bytes" => options.batch_bytes = value().parse().unwrap(),
            "--partitions" => options.partitions = value().parse().unwrap(),
            "--os" => options.durability = Durability::Os,
            "--verbose" => options.verbose = true,
            "--suite" => options.mode = Mode::Suite,
            "--ring-replay" => options.mode = Mode::RingReplay,
            "--fill-ring" => options.mode = Mode::FillRing,
            other => panic!("unknown option {other}"),
        }
    }
    options
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let options = options();
    let met = match options.mode {
        Mode::One => {
            run(&options).await;
            true
        }
        Mode::Suite => suite(&options).await,
        Mode::RingReplay => ring_replay(&options.dir),
        Mode::FillRing => fill_ring(&options.dir).await,
    };
    if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Everything that has a target.
async fn suite(options: &Options) -> bool {
    let case = |in_flight, partitions| Options {
        in_flight,
        partitions,
        ..options.clone()
    };
    let mut met = true;
    let mut judge = |what: &str, holds: bool| {
        println!("     {what}: {}", if holds { "met" } else { "NOT MET" });
        met &= holds;
    };
    let alone = run(&case(1, 1)).await;
    judge("target p50 0.25 ms", alone.p50_ms <= 0.25);
    let over_one = run(&case(64, 1)).await;
    let over_hundred = run(&case(64, 100)).await;
    judge(
        "target 35000 batches/s",
        over_hundred.batches_per_second >= 35_000.0,
    );
    judge("target p99 5 ms", over_hundred.p99_ms <= 5.0);
    let over_thousand = run(&case(64, 1000)).await;
    let ratio = over_thousand.batches_per_second / over_one.batches_per_second;
    judge(
        &format!(
            "target 70 % of the figure at one partition (is {:.0} %)",
            ratio * 100.0
        ),
        ratio >= 0.7,
    );
    met & ring_replay(&options.dir)
}

/// What of a run has targets.
struct Outcome {
    batches_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

async fn run(options: &Options) -> Outcome {
    let dir = tempfile::tempdir_in(&options.dir).unwrap();
    let started = Instant::now();
    let manager = local::open(LocalConfig {
        durability: options.durability,
        ..LocalConfig::new(dir.path())
    })
    .unwrap();
    let logs = open_logs(&manager, options.partitions);
    append(&logs[0], &batch(200)).await;
    let first_ms = started.elapsed().as_secs_f64() * 1e3;

    let started = Instant::now();
    let counted_from = started + Duration::from_secs(options.warmup);
    let end = counted_from + Duration::from_secs(options.seconds);
    let seconds_count = options.warmup + options.seconds + 1;
    let each_second: Arc<[AtomicU64]> = (0..seconds_count).map(|_| AtomicU64::new(0)).collect();
    let tasks: Vec<_> = (0..options.in_flight)
        .map(|task| {
            let logs = logs.clone();
            let batch = batch(options.batch_bytes);
            let in_flight = options.in_flight;
            let each_second = Arc::clone(&each_second);
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut next = task;
                loop {
                    let submitted = Instant::now();
                    if submitted >= end {
                        return latencies;
                    }
                    append(&logs[next % logs.len()], &batch).await;
                    let now = Instant::now();
                    if let Some(count) = each_second.get((now - started).as_secs() as usize) {
                        count.fetch_add(1, Relaxed);
                    }
                    if counted_from <= now && now < end {
                        latencies.push((now - submitted).as_micros() as u64);
                    }
                    next += in_flight + 1;
                }
            })
        })
        .collect();
    tokio::time::sleep_until(counted_from.into()).await;
    let cpu_before = cpu_seconds();
    tokio::time::sleep_until(end.into()).await;
    let cpu_seconds = cpu_seconds() - cpu_before;
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    latencies.sort_unstable();
    let quantile = |q: f64| {
        let at = (latencies.len() as f64 * q) as usize;
        latencies[at.min(latencies.len() - 1)] as f64 / 1e3
    };
    let stopping = Instant::now();
    manager.shutdown().unwrap();
    let shutdown_ms = stopping.elapsed().as_secs_f64() * 1e3;
    if options.verbose {
        let full_seconds = &each_second[..each_second.len() - 1];
        for (second, count) in (1..).zip(full_seconds) {
            let warming = if second <= options.warmup {
                " (warm-up)"
            } else {
                ""
            };
            println!(
                "     second {second:>2}: {:>6} batches{warming}",
                count.load(Relaxed)
            );
        }
    }
    let megabytes = (latencies.len() * options.batch_bytes) as f64 / 1e6;
    let outcome = Outcome {
        batches_per_second: latencies.len() as f64 / options.seconds as f64,
        p50_ms: quantile(0.5),
        p99_ms: quantile(0.99),
    };
    println!(
        "{:>4} partitions, {:>3} x {:>6} B: {:>8.0} batches/s {:>6.0} MB/s  p50 {:.2} p99 {:.2} p99.9 {:.2} max {:.0} ms  \
         cpu {:.2} s/GB  first append {first_ms:.1} ms  shutdown {shutdown_ms:.0} ms",
        options.partitions,
        options.in_flight,
        options.batch_bytes,
        outcome.batches_per_second,
        megabytes / options.seconds as f64,
        outcome.p50_ms,
        outcome.p99_ms,
        quantile(0.999),
        quantile(1.0),
        cpu_seconds / megabytes * 1e3,
    );
    outcome
}

fn open_logs(manager: &Arc<dyn LogStore>, partitions: i32) -> Vec<Arc<dyn PartitionLog>> {
    let open = |partition| {
        let id = TopicPartition {
            topic: "bench".into(),
            topic_id: uuid::Uuid::from_u128(1),
            partition,
        };
        manager.open_log(id, Arc::default()).unwrap()
    };
    (0..partitions).map(open).collect()
}

fn batch(bytes: usize) -> ValidatedBatch {
    let mut builder = BatchBuilder::new();
    builder.append(0, None, Some(&vec![7; bytes - 90]), &[]);
    ValidatedBatch::trusted(builder.build().unwrap()).unwrap()
}

async fn append(log: &Arc<dyn PartitionLog>, batch: &ValidatedBatch) {
    let permit = log
        .reserve(batch.bytes.len(), AppendOrigin::CLIENT)
        .await
        .unwrap();
    log.submit(permit, batch.clone(), AppendOrigin::CLIENT, Next::Append)
        .unwrap()
        .await
        .unwrap();
}

/// A ring that takes what is replayed without a checkpoint.
fn ring_config(dir: &Path) -> LocalConfig {
    LocalConfig {
        wal_ring_bytes: 4 * REPLAY_BYTES,
        ..LocalConfig::new(dir)
    }
}

/// Kills a process whose ring is full, and times the next opening.
fn ring_replay(dir: &Path) -> bool {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("--fill-ring")
        .arg("--dir")
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut acknowledged).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let acknowledged: Vec<i64> = acknowledged
        .split_whitespace()
        .map(|end| end.parse().unwrap())
        .collect();

    let started = Instant::now();
    let manager = local::open(ring_config(dir.path())).unwrap();
    let took = started.elapsed();
    let report = manager.recovery_report().clone();
    let logs = open_logs(&manager, REPLAY_PARTITIONS);
    assert_eq!(
        acknowledged.len(),
        logs.len(),
        "the child has filled its ring"
    );
    for (log, acknowledged) in logs.iter().zip(acknowledged) {
        let end = log.offsets().high_watermark;
        assert!(
            end >= acknowledged,
            "{acknowledged} were acknowledged, {end} are there"
        );
    }
    assert!(
        !report.clean && report.replayed_bytes >= REPLAY_BYTES,
        "{report:?}"
    );
    manager.shutdown().unwrap();
    let met = took <= REPLAY_TARGET;
    println!(
        "ring replay: {:.2} GiB in {} partitions, open again after {:.2} s\n     target {} s: {}",
        report.replayed_bytes as f64 / f64::from(1 << 30),
        report.replayed_partitions,
        took.as_secs_f64(),
        REPLAY_TARGET.as_secs(),
        if met { "met" } else { "NOT MET" },
    );
    met
}

/// Appends until a GiB is acknowledged, prints how far each partition is, goes on a little and waits to be killed.
async fn fill_ring(dir: &Path) -> ! {
    let manager = local::open(ring_config(dir)).unwrap();
    let logs = open_logs(&manager, REPLAY_PARTITIONS);
    let filled_bytes = Arc::new(AtomicU64::new(0));
    for task in 0..64 {
        let (logs, filled_bytes) = (logs.clone(), Arc::clone(&filled_bytes));
        tokio::spawn(async move {
            let batch = batch(16 << 10);
            for next in (task..).step_by(65) {
                append(&logs[next % logs.len()], &batch).await;
                let bytes = batch.bytes.len() as u64;
                let before = filled_bytes.fetch_add(bytes, Relaxed);
                if before > REPLAY_BYTES + REPLAY_BYTES / 16 {
                    return;
                }
                if before < REPLAY_BYTES && before + bytes >= REPLAY_BYTES {
                    let ends: Vec<String> = logs
                        .iter()
                        .map(|log| log.offsets().high_watermark.to_string())
                        .collect();
                    println!("{}", ends.join(" "));
                }
            }
        });
    }
    std::future::pending().await
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}
