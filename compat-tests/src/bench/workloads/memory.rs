//! Resident memory: idle, with many partitions, with many connections.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use kafka_protocol::messages::ApiVersionsRequest;

use super::Workload;
use crate::BrokerProcess;
use crate::bench::admin::{self, Topic};
use crate::bench::batch::BatchShape;
use crate::bench::connection::Connection;
use crate::bench::contender::{Contender, KAFKA, OTTLA, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::probe;
use crate::bench::request::frame;

const PARTITIONS: u32 = 2000;
const PARTITIONS_PER_TOPIC: u32 = 500;
const CONNECTIONS: usize = 2000;
/// For what a broker does in the background after it has answered.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) fn workload() -> Workload {
    let targets = [
        ("idle", 15.0),
        ("2,000 partitions", 64.0),
        ("2,000 connections", 100.0),
    ];
    let targets = targets.into_iter().flat_map(|(figure, limit)| {
        [
            Target::absolute(&OTTLA, figure, Limit::AtMost(limit)),
            Target::ratio(figure, &OTTLA, &KAFKA, Limit::AtMost(0.1)),
        ]
    });
    Workload {
        name: "memory",
        about: "Resident memory two seconds after: the start; one record in each of 2,000 partitions; an \
                ApiVersions exchange on each of 2,000 connections that stay open. Each on a fresh broker.",
        contenders: vec![OTTLA, KAFKA],
        targets: targets.collect(),
        run,
    }
}

fn run(contender: &Contender, _: &Settings) -> Result<Figures> {
    let mut figures = Figures::default();
    let mut push = |name: &str, broker: &BrokerProcess| -> Result<()> {
        std::thread::sleep(SETTLE);
        figures.push(
            name,
            "MiB",
            broker.resident_bytes()? as f64 / f64::from(1 << 20),
        );
        Ok(())
    };

    let broker = contender.start()?;
    push("idle", &broker)?;
    let connections = open_connections(broker.address())?;
    push("2,000 connections", &broker)?;
    drop(connections);
    drop(broker);

    let broker = contender.start()?;
    let topics = Topic::several(PARTITIONS, PARTITIONS_PER_TOPIC)?;
    admin::create_topics(broker.address(), &topics)?;
    for topic in &topics {
        probe::produce_everywhere(broker.address(), topic, BatchShape::kib_records(0))?;
        let ends = admin::end_offsets(broker.address(), topic)?;
        ensure!(
            ends.iter().all(|end| *end == 1),
            "one record in each partition"
        );
    }
    push("2,000 partitions", &broker)?;
    Ok(figures)
}

fn open_connections(address: SocketAddr) -> Result<Vec<Connection>> {
    let hello = frame(0, &ApiVersionsRequest::default())?;
    let open = |_| {
        let mut connection = Connection::open(address)?;
        connection.send(&hello)?;
        connection.receive()?;
        Ok(connection)
    };
    (0..CONNECTIONS).map(open).collect()
}
