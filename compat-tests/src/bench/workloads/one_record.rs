//! One record a request: what a request costs.

use anyhow::Result;

use super::{Workload, window};
use crate::bench::admin::{self, Topic};
use crate::bench::batch::BatchShape;
use crate::bench::contender::{Contender, KAFKA, OTTLA, OTTLA_OS, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::producer::ProduceLoad;
use crate::bench::load::readback;
use storage::record::CompressionType;

pub(super) fn workload() -> Workload {
    Workload {
        name: "one-record",
        about: "64 connections, each with one request in flight that holds one record of 100 bytes; 12 \
                partitions, acks=all, idempotent.",
        contenders: vec![OTTLA, KAFKA, OTTLA_OS],
        targets: vec![
            Target::ratio("requests", &OTTLA, &KAFKA, Limit::AtLeast(4.0)),
            Target::ratio("CPU per request", &OTTLA, &KAFKA, Limit::AtMost(0.25)),
        ],
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let load = ProduceLoad {
        topics: vec![Topic::bench(12)],
        shape: BatchShape {
            records_count: 1,
            record_bytes: 100,
            compression: CompressionType::None,
        },
        connections: 64,
        in_flight: 1,
        batches_per_request: 1,
    };
    let broker = contender.start()?;
    admin::create_topics(broker.address(), &load.topics)?;
    let (produced, usage) = load.run_polled(&broker, window(settings))?;
    readback::check(
        broker.address(),
        &load.topics,
        &produced.acknowledged,
        &load.shape,
    )?;
    let mut figures = Figures::default();
    figures.push_cost_of("request", produced.requests, &usage);
    figures.push_latency("", &produced.latency);
    Ok(figures)
}
