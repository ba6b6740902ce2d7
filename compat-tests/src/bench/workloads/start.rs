//! How long until the first record is acknowledged: on an empty directory, and again on the same one.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::Workload;
use crate::BrokerProcess;
use crate::bench::admin::{self, Topic};
use crate::bench::contender::{Contender, KAFKA, OTTLA, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::probe;

pub(super) fn workload() -> Workload {
    Workload {
        name: "start",
        about: "From starting the process until a topic is created and its first record acknowledged, \
                asking every millisecond. An empty directory has to be formatted for Kafka, which is a \
                program of its own and counts as a part of its start; `again` is the second start on the \
                same directory, after a clean stop.",
        contenders: vec![OTTLA, KAFKA],
        targets: vec![
            Target::absolute(&OTTLA, "empty directory", Limit::AtMost(50.0)),
            Target::ratio("empty directory", &OTTLA, &KAFKA, Limit::AtMost(1.0 / 50.0)),
            Target::ratio("again", &OTTLA, &KAFKA, Limit::AtMost(1.0 / 50.0)),
        ],
        run,
    }
}

fn run(contender: &Contender, _: &Settings) -> Result<Figures> {
    let topic = Topic::bench(1);
    // The port has to be known before the start that is measured.
    let mut broker = contender.start()?;
    broker.terminate()?;
    fs::remove_dir_all(broker.data_dir())?;
    let mut figures = Figures::default();
    let empty = until_acknowledged(&mut broker, |address| {
        probe::create_and_produce(address, &topic)
    })?;
    figures.push("empty directory", "ms", empty.as_secs_f64() * 1e3);
    broker.terminate()?;
    let again = until_acknowledged(&mut broker, |address| probe::produce(address, &topic))?;
    figures.push("again", "ms", again.as_secs_f64() * 1e3);
    ensure!(
        admin::end_offsets(broker.address(), &topic)? == [2],
        "two records were acknowledged"
    );
    Ok(figures)
}

/// Starts a broker that is down, and asks until the first answer.
pub(super) fn until_acknowledged(
    broker: &mut BrokerProcess,
    ask: impl Fn(SocketAddr) -> Result<()> + Send,
) -> Result<Duration> {
    const LIMIT: Duration = Duration::from_secs(300);
    let address = broker.address();
    let start = Instant::now();
    std::thread::scope(|scope| {
        let asked = scope.spawn(move || {
            while let Err(error) = ask(address) {
                ensure!(
                    start.elapsed() < LIMIT,
                    "no record acknowledged in {LIMIT:?}: {error:#}"
                );
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(start.elapsed())
        });
        broker.restart()?;
        asked.join().map_err(|_| anyhow!("the probe panicked"))?
    })
}
