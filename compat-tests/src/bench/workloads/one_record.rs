//! One record a request: what a request costs.

use anyhow::Result;

use super::{Workload, window};
use crate::bench::admin::{self, Topic};
use crate::bench::batch::BatchShape;
use crate::bench::contender::{CLUSTER, Contender, KAFKA, OTTLA, OTTLA_ACLS, OTTLA_OS, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::producer::ProduceLoad;
use crate::bench::load::readback;
use storage::record::CompressionType;

pub(super) fn workload() -> Workload {
    Workload {
        name: "one-record",
        about: "64 connections, each with one request in flight that holds one record of 100 bytes; 12 \
                partitions, acks=all, idempotent. `ottla acls` asks 1,000 access control entries whether it may.",
        contenders: vec![OTTLA, OTTLA_ACLS, KAFKA, OTTLA_OS, CLUSTER],
        targets: vec![
            Target::ratio("requests", &OTTLA, &KAFKA, Limit::AtLeast(4.0)),
            Target::ratio("CPU per request", &OTTLA, &KAFKA, Limit::AtMost(0.25)),
            Target::ratio("CPU per request", &OTTLA_ACLS, &OTTLA, Limit::AtMost(1.03)),
        ],
        run,
    }
}

/// Access control entries, where there are any.
const ENTRIES: usize = 1000;

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
    let broker = contender.serve()?;
    admin::create_topics(broker.address(), &load.topics)?;
    if contender.name.starts_with(OTTLA_ACLS.name) {
        admin::create_acls(broker.address(), &load.topics[0].name, ENTRIES)?;
    }
    let (produced, usage) = load.run_polled(&*broker, window(settings))?;
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
