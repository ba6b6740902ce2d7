//! Cold fetch: four consumers read a topic from disk.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::produce::bulk_load;
use super::{Workload, window};
use crate::BrokerProcess;
use crate::bench::admin::{self, Topic};
use crate::bench::contender::{Contender, KAFKA, OTTLA, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::readback::read_to;
use crate::bench::page_cache;
use crate::bench::usage::Usage;
use crate::proc_stats;

const CONSUMERS: usize = 4;
const WARM_BYTES: u64 = 64 << 20;

pub(super) fn workload() -> Workload {
    Workload {
        name: "cold-fetch",
        about: "Four consumers, three of 12 partitions each, read a topic from the start. Before that the \
                broker was stopped, its files dropped from the page cache (fsync, then \
                POSIX_FADV_DONTNEED), started again and warmed up on another topic. `from disk` is what \
                storage gave the broker's process (read_bytes of /proc/PID/io), in percent of what was \
                fetched.",
        contenders: vec![OTTLA, KAFKA],
        targets: vec![
            Target::ratio("throughput", &OTTLA, &KAFKA, Limit::AtLeast(1.5)),
            Target::ratio("CPU per GB", &OTTLA, &KAFKA, Limit::AtMost(0.5)),
        ],
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let cold = Topic::bench(12);
    let warm = Topic {
        name: "warm".to_owned(),
        partitions: 12,
    };
    let mut broker = contender.start()?;
    admin::create_topics(broker.address(), &[cold.clone(), warm.clone()])?;
    let ends = bulk_load(vec![cold.clone()])
        .fill(broker.address(), settings.cold_bytes)?
        .swap_remove(0);
    let warm_ends = bulk_load(vec![warm.clone()])
        .fill(broker.address(), WARM_BYTES)?
        .swap_remove(0);
    broker.terminate()?;
    page_cache::drop_files(&broker.data_dir())?;
    broker.restart()?;
    let warm_until = window(settings).from;
    while Instant::now() < warm_until {
        fetch(&broker, &warm, &warm_ends)?;
    }

    measure(&broker, || {
        let bytes = fetch(&broker, &cold, &ends)?;
        ensure!(
            bytes >= settings.cold_bytes * 9 / 10,
            "only {bytes} bytes were there to read"
        );
        Ok(bytes)
    })
}

/// What it costs to fetch: `fetch` gives the bytes.
pub(super) fn measure(
    broker: &BrokerProcess,
    fetch: impl FnOnce() -> Result<u64>,
) -> Result<Figures> {
    let start = Instant::now();
    let read_before = page_cache::bytes_read_from_disk(broker.pid()?)?;
    let cpu_before = broker.cpu_time()?;
    let generator_before = proc_stats::cpu_time(std::process::id())?;
    let bytes = fetch()?;
    let usage = Usage {
        wall: start.elapsed(),
        broker_cpu: broker.cpu_time()? - cpu_before,
        stores_cpu: Duration::ZERO,
        generator_cpu: proc_stats::cpu_time(std::process::id())? - generator_before,
        resident_bytes: broker.resident_bytes()?,
    };
    let from_disk = page_cache::bytes_read_from_disk(broker.pid()?)? - read_before;
    let mut figures = Figures::default();
    figures.push_cost_of_bytes(bytes, &usage);
    figures.push("from disk", "%", 100.0 * from_disk as f64 / bytes as f64);
    Ok(figures)
}

/// Reads all partitions to their ends, a share of them by each consumer.
pub(super) fn fetch(broker: &BrokerProcess, topic: &Topic, ends: &[i64]) -> Result<u64> {
    let positions: Vec<(i32, i64)> = (0..topic.partitions).map(|index| (index, 0)).collect();
    let share = positions.len().div_ceil(CONSUMERS);
    std::thread::scope(|scope| {
        let (address, name) = (broker.address(), &topic.name);
        let read = |(positions, ends)| scope.spawn(move || read_to(address, name, positions, ends));
        let consumers: Vec<_> = positions
            .chunks(share)
            .zip(ends.chunks(share))
            .map(read)
            .collect();
        let mut bytes = 0;
        for consumer in consumers {
            bytes += consumer
                .join()
                .map_err(|_| anyhow!("a consumer panicked"))??;
        }
        Ok(bytes)
    })
}
