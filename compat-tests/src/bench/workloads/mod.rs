//! What is measured. One file for each row of the table, in the order of the report.

use std::time::Instant;

use anyhow::Result;

use super::contender::{Contender, Settings};
use super::figures::{Figures, Target};
use super::usage::Window;

mod cluster;
mod codecs;
mod cold_fetch;
mod group_rebalance;
mod idle;
mod latency;
mod memory;
mod offset_commit;
mod one_record;
mod partitions;
mod produce;
mod recovery;
mod scrape;
mod start;
mod start_partitions;
mod stock_clients;
mod tail_fetch;
mod tail_read;
mod tls;
mod transactions;

/// One thing that is measured.
pub struct Workload {
    pub name: &'static str,
    pub about: &'static str,
    /// In the order in which they run, in every round.
    pub contenders: Vec<Contender>,
    pub targets: Vec<Target>,
    /// Starts a contender on an empty directory, loads it, stops it.
    pub run: fn(&Contender, &Settings) -> Result<Figures>,
}

/// What is left out unless it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Kafka takes part in `start-partitions` too, where it is very slow.
    pub kafka_start_partitions: bool,
}

/// All of them.
pub fn all(options: Options) -> Vec<Workload> {
    vec![
        produce::workload(),
        tail_fetch::workload(),
        tail_read::workload(),
        cold_fetch::workload(),
        one_record::workload(),
        latency::workload(),
        partitions::workload(),
        codecs::workload(),
        start::workload(),
        recovery::workload(),
        start_partitions::workload(options.kafka_start_partitions),
        memory::workload(),
        offset_commit::workload(),
        group_rebalance::workload(),
        transactions::workload(),
        idle::workload(),
        scrape::workload(),
        stock_clients::workload(),
        tls::workload(),
        cluster::workload(),
    ]
}

/// The window of a workload that starts now.
fn window(settings: &Settings) -> Window {
    Window::after(Instant::now(), settings.warmup, settings.seconds)
}
