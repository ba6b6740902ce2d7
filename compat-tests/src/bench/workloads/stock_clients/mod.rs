//! Kafka's own performance tools and librdkafka against both: does the generator tell the truth?

use std::time::Instant;

use anyhow::{Context as _, Result};

use super::Workload;
use crate::BrokerProcess;
use crate::bench::admin::{self, Topic};
use crate::bench::contender::{Contender, KAFKA, OTTLA, OTTLA_OS, Settings};
use crate::bench::figures::Figures;
use crate::java::KafkaTools;
use crate::toolchain::run as run_to_end;

pub(super) mod librdkafka;

pub(super) const RECORD_BYTES: u64 = 1024;
pub(super) const RECORDS_A_SECOND: u64 = 60_000;
const END_TO_END_RECORDS: u64 = 3000;

pub(super) fn workload() -> Workload {
    Workload {
        name: "stock-clients",
        about: "Kafka's producer-perf-test (1 KiB records, batch.size 65536, linger.ms 5, acks=all, 12 \
                partitions), consumer-perf-test on what it wrote, and e2e-latency; then librdkafka \
                (confluent-kafka for Python) the same way, without e2e-latency. The clients take more of the \
                machine than either broker, and the throughput of the tools has their start in it, so ratios \
                are flatter than with the generator.",
        contenders: vec![OTTLA, KAFKA, OTTLA_OS],
        targets: Vec::new(),
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let broker = contender.start()?;
    let topics = [("bench-12", 12), ("librdkafka", 12), ("bench-1", 1)];
    let topics = topics.map(|(name, partitions)| Topic {
        name: name.to_owned(),
        partitions,
    });
    admin::create_topics(broker.address(), &topics)?;
    let records = (settings.seconds.as_secs_f64() * RECORDS_A_SECOND as f64) as u64;
    let gigabytes = (records * RECORD_BYTES) as f64 / 1e9;
    let records_arg = records.to_string();
    let servers = format!("bootstrap.servers={}", broker.bootstrap());
    let mut figures = Figures::default();

    let (output, cpu) = tool(
        &broker,
        &[
            "ProducerPerformance",
            "--topic",
            "bench-12",
            "--num-records",
            &records_arg,
            "--record-size",
            "1024",
            "--throughput",
            "-1",
            "--command-property",
            &servers,
            "acks=all",
            "batch.size=65536",
            "linger.ms=5",
        ],
    )?;
    let line = output
        .lines()
        .rev()
        .find(|line| line.contains(" 99th"))
        .context(output.clone())?;
    let records_a_second = number_before(line, " records/sec")?;
    figures.push(
        "producer-perf-test",
        "MB/s",
        records_a_second * RECORD_BYTES as f64 / 1e6,
    );
    figures.push(
        "producer-perf-test p50",
        "ms",
        number_before(line, " ms 50th")?,
    );
    figures.push(
        "producer-perf-test p99",
        "ms",
        number_before(line, " ms 99th")?,
    );
    figures.push("producer-perf-test CPU per GB", "s", cpu / gigabytes);

    let (output, cpu) = tool(
        &broker,
        &[
            "ConsumerPerformance",
            "--topic",
            "bench-12",
            "--num-records",
            &records_arg,
            "--bootstrap-server",
            &broker.bootstrap(),
        ],
    )?;
    // start.time, end.time, data.consumed.in.MB, MB.sec, ... (of 2^20 bytes)
    let line = output
        .lines()
        .rev()
        .find(|line| line.matches(", ").count() > 5);
    let mebibytes = line
        .and_then(|line| line.split(", ").nth(3))
        .with_context(|| output.clone())?;
    let megabytes = mebibytes.trim().parse::<f64>()? * f64::from(1 << 20) / 1e6;
    figures.push("consumer-perf-test", "MB/s", megabytes);
    figures.push("consumer-perf-test CPU per GB", "s", cpu / gigabytes);

    let count = END_TO_END_RECORDS.to_string();
    let arguments = [
        "EndToEndLatency",
        &broker.bootstrap(),
        "bench-1",
        &count,
        "all",
        "1024",
    ];
    let (output, _) = tool(&broker, &arguments)?;
    let line = output
        .lines()
        .rev()
        .find(|line| line.contains("99.9th"))
        .context(output.clone())?;
    for (name, mark) in [
        ("p50", "50th = "),
        ("p99", "99th = "),
        ("p99.9", "99.9th = "),
    ] {
        figures.push(
            format!("e2e-latency {name}"),
            "ms",
            number_after(line, mark)?,
        );
    }
    let bootstrap = broker.bootstrap();
    let open = (bootstrap.as_str(), None);
    librdkafka::measure(&broker, open, "librdkafka", records, &mut figures)?;
    Ok(figures)
}

/// Runs a tool to its end; gives its output and the seconds of CPU that the broker took meanwhile.
fn tool(broker: &BrokerProcess, arguments: &[&str]) -> Result<(String, f64)> {
    let (name, arguments) = arguments.split_first().context("a tool has a name")?;
    let class = format!("org.apache.kafka.tools.{name}");
    with_cpu(broker, || {
        run_to_end(&mut KafkaTools::new()?.measured(&class, arguments))
    })
}

/// The same for any program.
fn with_cpu(broker: &BrokerProcess, run: impl FnOnce() -> Result<String>) -> Result<(String, f64)> {
    let before = broker.cpu_time()?;
    let start = Instant::now();
    let output = run().with_context(|| format!("after {:?}", start.elapsed()))?;
    Ok((output, (broker.cpu_time()? - before).as_secs_f64()))
}

fn number_before(line: &str, mark: &str) -> Result<f64> {
    let (before, _) = line
        .split_once(mark)
        .with_context(|| format!("no {mark:?} in {line:?}"))?;
    let number = before
        .rsplit([' ', ',', '('])
        .next()
        .context("a split has a last part")?;
    number
        .parse()
        .with_context(|| format!("{number:?} in {line:?}"))
}

fn number_after(line: &str, mark: &str) -> Result<f64> {
    let (_, after) = line
        .split_once(mark)
        .with_context(|| format!("no {mark:?} in {line:?}"))?;
    let number = after
        .split([' ', ','])
        .next()
        .context("a split has a first part")?;
    number
        .parse()
        .with_context(|| format!("{number:?} in {line:?}"))
}
