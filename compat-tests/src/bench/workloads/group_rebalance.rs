//! How long a large group has to wait: when all of it joins, and when one of it dies.

use std::time::Duration;

use anyhow::Result;

use super::Workload;
use crate::BrokerKind;
use crate::bench::admin::{self, Topic};
use crate::bench::contender::{Contender, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::group::{GroupLoad, Protocol};

const MEMBERS: usize = 500;
/// The least that both brokers accept from a classic member.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);

/// For the consumer protocol it is the broker that says these.
const SAME_TIMES: [(&str, &str); 4] = [
    ("group.consumer.min.session.timeout.ms", "6000"),
    ("group.consumer.session.timeout.ms", "6000"),
    ("group.consumer.min.heartbeat.interval.ms", "500"),
    ("group.consumer.heartbeat.interval.ms", "500"),
];

const OTTLA: Contender = Contender {
    name: "ottla",
    kind: BrokerKind::Ottla,
    config: &SAME_TIMES,
    binary: None,
    is_cluster: false,
};
const KAFKA: Contender = Contender {
    name: "kafka",
    kind: BrokerKind::Kafka,
    config: &with_initial_delay("3000"),
    binary: None,
    is_cluster: false,
};
const KAFKA_NO_DELAY: Contender = Contender {
    name: "kafka delay=0",
    kind: BrokerKind::Kafka,
    config: &with_initial_delay("0"),
    binary: None,
    is_cluster: false,
};

const fn with_initial_delay(delay_ms: &'static str) -> [(&'static str, &'static str); 5] {
    let [a, b, c, d] = SAME_TIMES;
    [a, b, c, d, ("group.initial.rebalance.delay.ms", delay_ms)]
}

pub(super) fn workload() -> Workload {
    let protocols = ["classic", "consumer"];
    let absolute = |figure: &str, limit_ms: f64| {
        protocols.map(|protocol| {
            Target::absolute(
                &OTTLA,
                &format!("{protocol}, {figure}"),
                Limit::AtMost(limit_ms),
            )
        })
    };
    let targets = [absolute("first join", 2000.0), absolute("death", 1000.0)];
    Workload {
        name: "group-rebalance",
        about: "One group of 500 members on one topic of 500 partitions; all join at once. `classic`: the \
                leader assigns ranges; `consumer`: KIP-848, the broker assigns with its default assignor. \
                `first join`: from the first join until every member is of the same generation (or epoch) \
                and each partition has its one owner. Then one member falls silent; `death`: from the end \
                of its session timeout (6 s after its last request) until the others are stable again. A \
                heartbeat every 500 ms, and at once where Java's consumer sends one at once. `kafka` has \
                its default group.initial.rebalance.delay.ms of 3000, which the classic protocol alone \
                knows; Ottla's default is 0.",
        contenders: vec![OTTLA, KAFKA, KAFKA_NO_DELAY],
        targets: targets.into_iter().flatten().collect(),
        run,
    }
}

fn run(contender: &Contender, _: &Settings) -> Result<Figures> {
    let broker = contender.start()?;
    let topic = Topic::bench(500);
    admin::create_topics(broker.address(), std::slice::from_ref(&topic))?;
    let topic_id = admin::topic_id(broker.address(), &topic)?;
    let mut figures = Figures::default();
    for (name, protocol) in [
        ("classic", Protocol::Classic),
        ("consumer", Protocol::Consumer),
    ] {
        let load = GroupLoad {
            protocol,
            id: format!("group-{name}"),
            topic: topic.clone(),
            topic_id,
            members: MEMBERS,
            session_timeout: SESSION_TIMEOUT,
            heartbeat_interval: HEARTBEAT_INTERVAL,
        };
        let took = load.run(broker.address())?;
        for (event, took) in [("first join", took.first_join), ("death", took.death)] {
            figures.push(format!("{name}, {event}"), "ms", took.as_secs_f64() * 1e3);
        }
    }
    figures.push(
        "broker memory",
        "MiB",
        broker.resident_bytes()? as f64 / f64::from(1 << 20),
    );
    Ok(figures)
}
