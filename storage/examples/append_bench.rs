//! Appends batches to partitions in one process and prints throughput and latency.
//!
//! `append_bench [--dir DIR] [--seconds N] [--in-flight N] [--batch-bytes N] [--partitions N] [--os]`

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::log::{AppendOrigin, Durability, PartitionLog, TopicPartition};
use storage::manager::{LogManager, LogManagerConfig};
use storage::record::{BatchBuilder, ValidatedBatch};

struct Options {
    dir: PathBuf,
    seconds: u64,
    in_flight: usize,
    batch_bytes: usize,
    partitions: i32,
    durability: Durability,
}

fn options() -> Options {
    let mut options = Options {
        dir: std::env::temp_dir(),
        seconds: 5,
        in_flight: 64,
        batch_bytes: 16 << 10,
        partitions: 100,
        durability: Durability::Strict,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value");
        match argument.as_str() {
            "--dir" => options.dir = value().into(),
            "--seconds" => options.seconds = value().parse().unwrap(),
            "--in-flight" => options.in_flight = value().parse().unwrap(),
            "--batch-bytes" => options.batch_bytes = value().parse().unwrap(),
            "--partitions" => options.partitions = value().parse().unwrap(),
            "--os" => options.durability = Durability::Os,
            other => panic!("unknown option {other}"),
        }
    }
    options
}

fn batch(bytes: usize) -> ValidatedBatch {
    let mut builder = BatchBuilder::new();
    builder.append(0, None, Some(&vec![7; bytes - 90]), &[]);
    ValidatedBatch::trusted(builder.build().unwrap()).unwrap()
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let options = options();
    let dir = tempfile::tempdir_in(&options.dir).unwrap();
    let started = Instant::now();
    let manager = LogManager::open(LogManagerConfig {
        durability: options.durability,
        ..LogManagerConfig::new(dir.path())
    })
    .unwrap();
    let logs: Vec<Arc<dyn PartitionLog>> = (0..options.partitions)
        .map(|partition| {
            let id = TopicPartition {
                topic: "bench".into(),
                topic_id: uuid::Uuid::from_u128(1),
                partition,
            };
            manager.open_log(id, Arc::default()).unwrap()
        })
        .collect();
    append(&logs[0], &batch(200)).await;
    let first_ms = started.elapsed().as_secs_f64() * 1e3;

    let started = Instant::now();
    let end = started + Duration::from_secs(options.seconds);
    let tasks: Vec<_> = (0..options.in_flight)
        .map(|task| {
            let logs = logs.clone();
            let batch = batch(options.batch_bytes);
            let in_flight = options.in_flight;
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut next = task;
                while Instant::now() < end {
                    let submitted = Instant::now();
                    append(&logs[next % logs.len()], &batch).await;
                    latencies.push(submitted.elapsed().as_micros() as u64);
                    next += in_flight + 1;
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    let seconds = started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let quantile = |q: f64| {
        let at = (latencies.len() as f64 * q) as usize;
        latencies[at.min(latencies.len() - 1)] as f64 / 1e3
    };
    let cpu_seconds = cpu_seconds();
    let megabytes = (latencies.len() * options.batch_bytes) as f64 / 1e6;
    let stopping = Instant::now();
    manager.shutdown().unwrap();
    println!(
        "{:>4} partitions, {:>3} x {:>6} B: {:>8.0} batches/s {:>6.0} MB/s  p50 {:.2} p99 {:.2} p99.9 {:.2} max {:.0} ms  \
         cpu {:.2} s/GB  first append {first_ms:.1} ms  shutdown {:.0} ms",
        options.partitions,
        options.in_flight,
        options.batch_bytes,
        latencies.len() as f64 / seconds,
        megabytes / seconds,
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        quantile(1.0),
        cpu_seconds / megabytes * 1e3,
        stopping.elapsed().as_secs_f64() * 1e3,
    );
}

async fn append(log: &Arc<dyn PartitionLog>, batch: &ValidatedBatch) {
    let permit = log.reserve(batch.bytes.len()).await.unwrap();
    log.submit(permit, batch.clone(), AppendOrigin::Client)
        .unwrap()
        .await
        .unwrap();
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
