//! How long a start takes after a kill, with data in many partitions.

use anyhow::Result;

use super::Workload;
use super::produce::bulk_load;
use super::start::until_acknowledged;
use crate::bench::admin::{self, Topic};
use crate::bench::contender::{Contender, KAFKA, OTTLA, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::{probe, readback};

const TOPICS: i32 = 4;
const PARTITIONS: i32 = 500;

pub(super) fn workload() -> Workload {
    Workload {
        name: "recovery",
        about: "2,000 partitions are filled, the broker gets SIGKILL and is started again: time from \
                starting the process until a record is acknowledged. Then everything that was \
                acknowledged before is there. The page cache survives a kill, for both.",
        contenders: vec![OTTLA, KAFKA],
        targets: vec![
            Target::absolute(&OTTLA, "start after kill -9", Limit::AtMost(2000.0)),
            Target::ratio("start after kill -9", &OTTLA, &KAFKA, Limit::AtMost(0.2)),
        ],
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let topic = |index| Topic {
        name: format!("bench-{index}"),
        partitions: PARTITIONS,
    };
    let topics: Vec<Topic> = (0..TOPICS).map(topic).collect();
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
    let took = until_acknowledged(&mut broker, |address| probe::produce(address, &probed))?;
    readback::check(broker.address(), &load.topics, &acknowledged, &load.shape)?;
    let mut figures = Figures::default();
    figures.push("start after kill -9", "ms", took.as_secs_f64() * 1e3);
    figures.push(
        "data",
        "GiB",
        settings.recovery_bytes as f64 / f64::from(1 << 30),
    );
    Ok(figures)
}
