//! How long a start takes after a kill, with data in many partitions.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::Workload;
use super::produce::bulk_load;
use crate::BrokerProcess;
use crate::bench::admin::{self, Topic};
use crate::bench::contender::{Contender, KAFKA, OTTLA, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::{probe, readback};

const PARTITIONS_PER_TOPIC: u32 = 500;
/// Kafka reads every byte of its active segments again, on one thread.
const START_LIMIT: Duration = Duration::from_secs(900);
/// Each question is for all partitions: a broker that is still starting is not to spend its time on them.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(5);

pub(super) fn workload() -> Workload {
    let figures = ["port answers", "every partition answers"];
    let ratio = |figure| Target::ratio(figure, &OTTLA, &KAFKA, Limit::AtMost(0.2));
    let absolute = |figure| Target::absolute(&OTTLA, figure, Limit::AtMost(2000.0));
    Workload {
        name: "recovery",
        about: "--recovery-gib in --recovery-partitions (the target speaks of 8 in 2,000), then the broker \
                gets SIGKILL while nothing is in flight, and is started again: time from starting the \
                process until the port answers an ApiVersions request, and until every partition has told its end \
                and one of them has acknowledged a record. Then everything acknowledged before the kill is \
                read back, to the last byte. The page cache survives a kill, for both.",
        contenders: vec![OTTLA, KAFKA],
        targets: figures
            .into_iter()
            .map(absolute)
            .chain(figures.map(ratio))
            .collect(),
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let topics = Topic::several(settings.recovery_partitions, PARTITIONS_PER_TOPIC)?;
    let probed = Topic {
        name: "probe".to_owned(),
        partitions: 1,
    };
    let mut broker = contender.start()?;
    admin::create_topics(broker.address(), &topics)?;
    admin::create_topics(broker.address(), std::slice::from_ref(&probed))?;
    let load = bulk_load(topics);
    let acknowledged = load.fill(broker.address(), settings.recovery_bytes)?;
    broker.kill9()?;

    let start = Start::of(&mut broker, &load.topics, &probed)?;
    let resident_bytes = broker.resident_bytes()?;
    let bytes = readback::check_all(broker.address(), &load.topics, &acknowledged)?;
    ensure!(
        bytes >= settings.recovery_bytes * 9 / 10,
        "only {bytes} bytes were there before the kill"
    );
    let mebibyte = f64::from(1 << 20);
    let mut figures = Figures::default();
    figures.push("port answers", "ms", start.port.as_secs_f64() * 1e3);
    figures.push(
        "every partition answers",
        "ms",
        start.partitions.as_secs_f64() * 1e3,
    );
    figures.push(
        "broker memory then",
        "MiB",
        resident_bytes as f64 / mebibyte,
    );
    figures.push("data", "GiB", bytes as f64 / mebibyte / 1024.0);
    Ok(figures)
}

/// When what answered, from starting the process.
struct Start {
    port: Duration,
    partitions: Duration,
}

impl Start {
    /// Starts a broker that is down, and asks until all is there.
    fn of(broker: &mut BrokerProcess, topics: &[Topic], probed: &Topic) -> Result<Self> {
        let address = broker.address();
        let start = Instant::now();
        std::thread::scope(|scope| {
            let asked = scope.spawn(move || -> Result<Self> {
                let port = ask_until(start, || admin::api_versions(address))?;
                ask_until(start, || answer_everywhere(address, topics))?;
                let partitions = ask_until(start, || probe::produce(address, probed))?;
                Ok(Self { port, partitions })
            });
            // It loses patience earlier than this workload does.
            if broker.restart().is_err() {
                broker.ensure_running()?;
            }
            asked.join().map_err(|_| anyhow!("the probe panicked"))?
        })
    }
}

fn answer_everywhere(address: SocketAddr, topics: &[Topic]) -> Result<()> {
    topics
        .iter()
        .try_for_each(|topic| admin::end_offsets(address, topic).map(|_| ()))
}

fn ask_until(start: Instant, ask: impl Fn() -> Result<()>) -> Result<Duration> {
    while let Err(error) = ask() {
        ensure!(
            start.elapsed() < START_LIMIT,
            "not there after {START_LIMIT:?}: {error:#}"
        );
        std::thread::sleep(BETWEEN_QUESTIONS);
    }
    Ok(start.elapsed())
}
