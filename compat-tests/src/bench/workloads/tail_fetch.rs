//! Tail fetch: one producer on a schedule, four consumers that follow it.

use anyhow::Result;

use super::Workload;
use super::produce::BATCH_BYTES;
use crate::bench::admin::{self, Topic};
use crate::bench::batch::BatchShape;
use crate::bench::contender::{CLUSTER, Contender, KAFKA, OTTLA, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::open_loop::OpenLoad;

/// 40 MB/s in, 160 MB/s out: well below what either broker can do on two cores, so that latency is
/// about the broker and not about its queue.
const BATCHES_PER_SECOND: f64 = 610.0;

pub(super) fn workload() -> Workload {
    Workload {
        name: "tail-fetch",
        about: "One producer sends 610 batches of 64 KiB a second (40 MB/s) over 12 partitions, on a \
                schedule; each of four consumers fetches all of them. CPU per GB is per fetched GB, \
                producing included; latency from when a batch was due until a consumer had checked it.",
        contenders: vec![OTTLA, KAFKA, CLUSTER],
        targets: vec![
            Target::ratio("CPU per GB", &OTTLA, &KAFKA, Limit::AtMost(0.5)),
            Target::ratio("end-to-end p99", &OTTLA, &KAFKA, Limit::AtMost(0.5)),
        ],
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let load = OpenLoad {
        topic: Topic::bench(12),
        shape: BatchShape::kib_records(BATCH_BYTES),
        requests_per_second: BATCHES_PER_SECOND,
        consumers: 4,
    };
    let broker = contender.serve()?;
    admin::create_topics(broker.address(), std::slice::from_ref(&load.topic))?;
    let outcome = load.run(&*broker, settings.warmup, settings.seconds)?;
    let mut figures = Figures::default();
    figures.push_cost_of_bytes(outcome.fetched_bytes, &outcome.usage);
    figures.push_latency("end-to-end ", &outcome.end_to_end);
    figures.push_latency("produce ", &outcome.produce);
    figures.push("late sends p99", "ms", outcome.slip.quantile_ms(0.99));
    Ok(figures)
}
