//! What it costs to be looked at, with many partitions and groups.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::offset_commit::wait_for_coordinator;
use super::{Workload, window};
use crate::bench::admin::{self, Topic};
use crate::bench::batch::BatchShape;
use crate::bench::contender::{Contender, OTTLA, Settings};
use crate::bench::figures::Figures;
use crate::bench::load::probe;
use crate::bench::usage::{Latency, Usage, Window};
use crate::broker_process::free_port;

const PARTITIONS: u32 = 10_000;
const PARTITIONS_PER_TOPIC: u32 = 20;
/// All of those, and the broker's own.
const ROWS_MAX: &str = "20000";

/// One of the pages, with a row of it for each partition, and one for each partition and group.
struct Page {
    path: &'static str,
    of_partition: &'static str,
    of_lag: &'static str,
}

const PAGES: [Page; 3] = [
    Page {
        path: "/metrics",
        of_partition: "ottla_partition_high_watermark{topic=\"bench-",
        of_lag: "ottla_group_lag_records{",
    },
    Page {
        path: "/metrics/kafka_exporter",
        of_partition: "kafka_topic_partition_current_offset{topic=\"bench-",
        of_lag: "kafka_consumergroup_lag{",
    },
    Page {
        path: "/metrics/kminion",
        of_partition: "kminion_kafka_topic_partition_high_water_mark{topic_name=\"bench-",
        of_lag: "kminion_kafka_consumer_group_topic_partition_lag{",
    },
];

pub(super) fn workload() -> Workload {
    Workload {
        name: "scrape",
        about: "One scrape after another of each page of metrics, with 10,000 partitions of one record each and 500 groups, \
                each of which has committed the start of 20 of them and stands still. Every scrape has a row for each partition \
                and for each lag, and is taken whole on a connection of its own. Kafka has no such page.",
        contenders: vec![OTTLA],
        targets: Vec::new(),
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let mut broker = contender.stopped()?;
    broker.configure(&[
        ("ottla.metrics.listen", &metrics.to_string()),
        ("ottla.metrics.partitions.max", ROWS_MAX),
    ]);
    broker.restart()?;
    let partitions = PARTITIONS.min(settings.max_partitions);
    let topics = Topic::several(partitions, PARTITIONS_PER_TOPIC)?;
    admin::create_topics(broker.address(), &topics)?;
    for (index, topic) in topics.iter().enumerate() {
        probe::produce_everywhere(broker.address(), topic, BatchShape::kib_records(0))?;
        wait_for_coordinator(broker.address(), &format!("group-{index}"), topic)?;
    }
    let rows = usize::try_from(partitions)?;
    let mut figures = Figures::default();
    for page in &PAGES {
        let window = window(settings);
        let ((latency, bytes), usage) = std::thread::scope(|scope| -> Result<_> {
            let scrapes = scope.spawn(move || scrape_until(metrics, page, rows, window));
            let usage = Usage::during(&broker, window)?;
            let scrapes = scrapes
                .join()
                .map_err(|_| anyhow!("the scraper panicked"))??;
            Ok((scrapes, usage))
        })?;
        let mut of_page = Figures::default();
        of_page.push_cost_of("scrape", latency.count(), &usage);
        of_page.push_latency("", &latency);
        of_page.push("bytes", "MB", bytes as f64 / 1e6);
        figures.extend(&format!("{}, ", page.path), &of_page);
    }
    Ok(figures)
}

/// How long scrapes took that ended in the window, and how large the last was.
fn scrape_until(
    metrics: SocketAddr,
    page: &Page,
    rows: usize,
    window: Window,
) -> Result<(Latency, usize)> {
    let mut latency = Latency::new()?;
    loop {
        let start = Instant::now();
        let text = get(metrics, page.path)?;
        let end = Instant::now();
        for row in [page.of_partition, page.of_lag] {
            let found = text.lines().filter(|line| line.starts_with(row)).count();
            ensure!(
                found == rows,
                "{}: {found} rows of {row}, not {rows}",
                page.path
            );
        }
        if window.contains(end) {
            latency.record(end - start);
        }
        if end >= window.until {
            return Ok((latency, text.len()));
        }
    }
}

/// The answer to a GET, from the first line to the last.
fn get(address: SocketAddr, path: &str) -> Result<String> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // A connection of this version ends with its answer, which is in one piece.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: broker\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("an answer")?;
    let status = text.lines().next().unwrap_or_default();
    ensure!(status.ends_with("200 OK"), "{path}: {status}");
    Ok(text)
}
