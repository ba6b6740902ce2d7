//! A start with very many partitions.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::Workload;
use crate::bench::admin::{self, Topic};
use crate::bench::batch::BatchShape;
use crate::bench::contender::{Contender, KAFKA, OTTLA, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::probe;

const PARTITIONS_PER_TOPIC: u32 = 1000;
const START_LIMIT: Duration = Duration::from_secs(900);

pub(super) fn workload(with_kafka: bool) -> Workload {
    let mut contenders = vec![OTTLA];
    if with_kafka {
        contenders.push(KAFKA);
    }
    Workload {
        name: "start-partitions",
        about: "--start-partitions in topics of 1,000, empty, or with one record in each if --start-with-records; \
                the broker is stopped cleanly and started again: time from starting the process until the metadata of all topics names a \
                leader for every partition, and resident memory then; the same when every partition has \
                told its end. Kafka takes part with --kafka-start-partitions.",
        contenders,
        targets: vec![
            Target::absolute(&OTTLA, "metadata answers", Limit::AtMost(3000.0)),
            Target::absolute(&OTTLA, "memory then", Limit::AtMost(300.0)),
        ],
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let topics = Topic::several(settings.start_partitions, PARTITIONS_PER_TOPIC)?;
    let mut broker = contender.start()?;
    let creation = Instant::now();
    admin::create_topics(broker.address(), &topics)?;
    let creation = creation.elapsed();
    let records = i64::from(settings.start_with_records);
    if settings.start_with_records {
        for topic in &topics {
            probe::produce_everywhere(broker.address(), topic, BatchShape::kib_records(0))?;
        }
    }
    let stop = Instant::now();
    broker.terminate()?;
    let stop = stop.elapsed();

    let address = broker.address();
    let start = Instant::now();
    let metadata = std::thread::scope(|scope| {
        let topics = &topics;
        let asked = scope.spawn(move || -> Result<Duration> {
            while let Err(error) = admin::every_partition_has_a_leader(address, topics) {
                ensure!(start.elapsed() < START_LIMIT, "not there: {error:#}");
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(start.elapsed())
        });
        // It loses patience earlier than this workload does.
        if broker.restart().is_err() {
            broker.ensure_running()?;
        }
        asked.join().map_err(|_| anyhow!("the probe panicked"))?
    })?;
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let memory_then = mebibytes(broker.resident_bytes()?);
    for topic in &topics {
        let ends = admin::end_offsets(address, topic)?;
        ensure!(
            ends.iter().all(|end| *end == records),
            "{}: {records} records in each partition, not {ends:?}",
            topic.name
        );
    }
    let answered = start.elapsed();
    let mut figures = Figures::default();
    let mut push = |name: &str, took: Duration| figures.push(name, "ms", took.as_secs_f64() * 1e3);
    push("metadata answers", metadata);
    push("every partition has answered", answered);
    push("creating the topics before", creation);
    push("stopping before", stop);
    figures.push("memory then", "MiB", memory_then);
    figures.push(
        "memory when all have answered",
        "MiB",
        mebibytes(broker.resident_bytes()?),
    );
    Ok(figures)
}
