//! The same load over more and more partitions.

use anyhow::Result;

use super::Workload;
use super::produce::run_load;
use crate::bench::admin::Topic;
use crate::bench::batch::BatchShape;
use crate::bench::contender::{Contender, KAFKA, OTTLA, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::producer::ProduceLoad;

const COUNTS: [u32; 5] = [1, 12, 100, 1_000, 10_000];
/// Kafka makes no more than 10,000 metadata records for one request.
const MOST_IN_A_TOPIC: u32 = 1_000;
/// The default of Kafka's clients.
const BATCH_BYTES: usize = 16 << 10;

pub(super) fn workload() -> Workload {
    let throughput = |count: u32| format!("{count} partitions, throughput");
    Workload {
        name: "partitions",
        about: "1 KiB records in 16 KiB batches, 4 connections with 5 requests of 3 batches (of one, where there \
                is one partition) in flight each; every batch goes to the next partition. A fresh broker for \
                each number of partitions.",
        contenders: vec![OTTLA, KAFKA],
        targets: vec![
            Target::to_itself(
                &OTTLA,
                &throughput(10_000),
                &throughput(12),
                Limit::AtLeast(0.7),
            ),
            Target::ratio(&throughput(10_000), &OTTLA, &KAFKA, Limit::AtLeast(4.0)),
            Target::ratio(&throughput(1_000), &OTTLA, &KAFKA, Limit::AtLeast(4.0)),
            Target::ratio(&throughput(100), &OTTLA, &KAFKA, Limit::AtLeast(4.0)),
            Target::ratio(&throughput(1), &OTTLA, &KAFKA, Limit::AtLeast(4.0)),
        ],
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let mut figures = Figures::default();
    for count in COUNTS
        .into_iter()
        .filter(|count| *count <= settings.max_partitions)
    {
        let load = ProduceLoad {
            topics: Topic::several(count, MOST_IN_A_TOPIC)?,
            shape: BatchShape::kib_records(BATCH_BYTES),
            connections: 4,
            in_flight: 5,
            // What 12 partitions leave for each connection: the same load from there on.
            batches_per_request: 3,
        };
        let of_count = run_load(contender, settings, &load)?;
        figures.extend(&format!("{count} partitions, "), &of_count);
    }
    Ok(figures)
}
