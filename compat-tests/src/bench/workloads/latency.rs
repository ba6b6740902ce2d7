//! Latency at a low rate: 1,000 records a second, linger 0.

use anyhow::Result;

use super::Workload;
use crate::bench::admin::{self, Topic};
use crate::bench::batch::BatchShape;
use crate::bench::contender::{CLUSTER, Contender, KAFKA, OTTLA, OTTLA_OS, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::open_loop::OpenLoad;
use storage::record::CompressionType;

pub(super) fn workload() -> Workload {
    let ratio = Target::ratio;
    Workload {
        name: "latency",
        about: "1,000 records of 1 KiB a second, one a request, on a schedule, over 12 partitions; one \
                producer, one consumer. Latency counts from when a record was due. `ottla` has waited \
                for stable media, `kafka` and `ottla os` for the page cache.",
        contenders: vec![OTTLA, KAFKA, OTTLA_OS, CLUSTER],
        targets: vec![
            ratio("produce p50", &OTTLA, &KAFKA, Limit::AtMost(1.0)),
            ratio("produce p99", &OTTLA, &KAFKA, Limit::AtMost(0.5)),
            ratio("produce p99.9", &OTTLA, &KAFKA, Limit::AtMost(1.0 / 3.0)),
            ratio("end-to-end p50", &OTTLA, &KAFKA, Limit::AtMost(1.0)),
            ratio("end-to-end p99", &OTTLA, &KAFKA, Limit::AtMost(0.5)),
            ratio("end-to-end p99.9", &OTTLA, &KAFKA, Limit::AtMost(1.0 / 3.0)),
            ratio("produce p50", &OTTLA_OS, &KAFKA, Limit::AtMost(0.5)),
            ratio("end-to-end p50", &OTTLA_OS, &KAFKA, Limit::AtMost(0.5)),
        ],
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let load = OpenLoad {
        topic: Topic::bench(12),
        shape: BatchShape {
            records_count: 1,
            record_bytes: 1024,
            compression: CompressionType::None,
        },
        requests_per_second: 1000.0,
        consumers: 1,
    };
    let broker = contender.serve()?;
    admin::create_topics(broker.address(), std::slice::from_ref(&load.topic))?;
    let outcome = load.run(&*broker, settings.warmup, settings.seconds)?;
    let mut figures = Figures::default();
    figures.push_latency("produce ", &outcome.produce);
    figures.push_latency("end-to-end ", &outcome.end_to_end);
    figures.push("late sends p50", "ms", outcome.slip.quantile_ms(0.5));
    figures.push("late sends p99", "ms", outcome.slip.quantile_ms(0.99));
    figures.push_shared(&outcome.usage);
    Ok(figures)
}
