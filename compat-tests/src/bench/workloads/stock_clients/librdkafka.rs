//! librdkafka, through confluent-kafka for Python.
//!
//! Not through Rust's `rdkafka`: that builds librdkafka's C sources, for minutes, with every build of this
//! crate. The wheel brings the library ready, and the program keeps Python out of the way.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::{RECORD_BYTES, with_cpu};
use crate::BrokerProcess;
use crate::bench::figures::Figures;
use crate::python::Python;
use crate::toolchain::{crate_dir, run};

/// As the other suites have it.
const VERSION: &str = "2.16.1";
const PROGRAM: &str = "src/bench/workloads/stock_clients/rdkafka_perf.py";

/// Writes `records` to a topic of 12 partitions and reads them again; encrypted if it is told whom to trust.
pub(in crate::bench::workloads) fn measure(
    broker: &BrokerProcess,
    (bootstrap, trusted): (&str, Option<&Path>),
    topic: &str,
    records: u64,
    figures: &mut Figures,
) -> Result<()> {
    let python = Python::with("confluent-kafka", VERSION)?;
    let program = crate_dir().join(PROGRAM).display().to_string();
    let gigabytes = (records * RECORD_BYTES) as f64 / 1e9;
    for mode in ["produce", "consume"] {
        let arguments = [
            mode,
            bootstrap,
            topic,
            &records.to_string(),
            &RECORD_BYTES.to_string(),
        ];
        let mut command = python.command(&program, &arguments);
        if let Some(trusted) = trusted {
            command.env("TLS_CA", trusted);
        }
        let (output, cpu) = with_cpu(broker, || run(&mut command))?;
        for line in output.lines() {
            let (name, value) = line.split_once(' ').with_context(|| output.clone())?;
            let (name, unit) = match name {
                "MB/s" => ("throughput", "MB/s"),
                latency => (latency, "ms"),
            };
            figures.push(
                format!("librdkafka {mode} {name}"),
                unit,
                value.parse().with_context(|| output.clone())?,
            );
        }
        let name = format!("librdkafka {mode} CPU per GB");
        figures.push(name, "s", cpu / gigabytes);
    }
    Ok(())
}
