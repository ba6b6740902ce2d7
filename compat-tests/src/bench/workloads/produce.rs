//! Bulk produce: 1 KiB records, 64 KiB batches, 12 partitions, acks=all, four producers.

use anyhow::Result;

use super::{Workload, window};
use crate::bench::admin::{self, Topic};
use crate::bench::batch::BatchShape;
use crate::bench::contender::{CLUSTER, Contender, KAFKA, KAFKA_FLUSH, OTTLA, OTTLA_OS, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::producer::ProduceLoad;
use crate::bench::load::readback;

/// Batches of Kafka's benchmarks, not of its defaults (16 KiB).
pub(super) const BATCH_BYTES: usize = 64 << 10;

pub(super) fn workload() -> Workload {
    let ratio = Target::ratio;
    Workload {
        name: "produce",
        about: "1 KiB records in 64 KiB batches over 12 partitions, acks=all, idempotent; 4 connections \
                with 5 requests of 3 batches in flight each. `kafka` and `ottla os` acknowledge from the \
                page cache, `ottla` and `kafka flush=1` from stable media.",
        contenders: vec![OTTLA, KAFKA, OTTLA_OS, KAFKA_FLUSH, CLUSTER],
        targets: vec![
            ratio("throughput", &OTTLA, &KAFKA, Limit::AtLeast(1.5)),
            ratio("CPU per GB", &OTTLA, &KAFKA, Limit::AtMost(1.0 / 3.0)),
            ratio("throughput", &OTTLA, &KAFKA_FLUSH, Limit::AtLeast(10.0)),
            ratio("p99", &OTTLA, &KAFKA_FLUSH, Limit::AtMost(0.1)),
            ratio("throughput", &OTTLA_OS, &KAFKA, Limit::AtLeast(2.0)),
            ratio("CPU per GB", &OTTLA_OS, &KAFKA, Limit::AtMost(1.0 / 3.0)),
        ],
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    run_load(contender, settings, &bulk_load(vec![Topic::bench(12)]))
}

/// Four producers that together write to 12 partitions in every request.
pub(super) fn bulk_load(topics: Vec<Topic>) -> ProduceLoad {
    ProduceLoad {
        topics,
        shape: BatchShape::kib_records(BATCH_BYTES),
        connections: 4,
        in_flight: 5,
        batches_per_request: 3,
    }
}

/// Starts a broker, runs a bulk load, checks what came of it.
pub(super) fn run_load(
    contender: &Contender,
    settings: &Settings,
    load: &ProduceLoad,
) -> Result<Figures> {
    let broker = contender.serve()?;
    admin::create_topics(broker.address(), &load.topics)?;
    let (produced, usage) = load.run(&*broker, window(settings))?;
    readback::check(
        broker.address(),
        &load.topics,
        &produced.acknowledged,
        &load.shape,
    )?;
    let mut figures = Figures::default();
    figures.push_cost_of_bytes(produced.bytes, &usage);
    figures.push_latency("", &produced.latency);
    Ok(figures)
}
