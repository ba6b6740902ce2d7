//! What it costs to encrypt.

use std::net::SocketAddr;

use anyhow::Result;

use super::Workload;
use super::stock_clients::{RECORDS_A_SECOND, librdkafka};
use crate::BrokerKind;
use crate::bench::admin::{self, Topic};
use crate::bench::contender::{Contender, KAFKA, OTTLA, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::broker_process::free_port;
use crate::toolchain::crate_dir;

pub(super) fn workload() -> Workload {
    let target = |figure| Target::ratio(figure, &OTTLA, &KAFKA, Limit::AtMost(0.5));
    Workload {
        name: "tls",
        about: "librdkafka (confluent-kafka for Python) writes records of 1 KiB in batches of 64 KiB to 12 partitions, \
                acks=all, idempotent, and reads them again, over TLS with a P-256 certificate. It does so once before it is \
                measured.",
        contenders: vec![OTTLA, KAFKA],
        targets: vec![
            target("librdkafka produce CPU per GB"),
            target("librdkafka consume CPU per GB"),
        ],
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let certificates = crate_dir().join("tests/security/certificates");
    let shown = certificates.join("broker.pem").display().to_string();
    let mut broker = contender.stopped()?;
    let open = broker.address();
    let encrypted = format!("localhost:{}", free_port()?);
    let advertised = format!("PLAINTEXT://{open},SSL://{encrypted}");
    let mut listeners = advertised.clone();
    if contender.kind == BrokerKind::Kafka {
        let controller = SocketAddr::from(([127, 0, 0, 1], open.port() + 10_000));
        listeners += &format!(",CONTROLLER://{controller}");
    }
    broker.override_with(&[
        ("listeners", &listeners),
        ("advertised.listeners", &advertised),
        (
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT",
        ),
        ("ssl.keystore.type", "PEM"),
        ("ssl.keystore.location", &shown),
    ])?;
    broker.restart()?;
    let topics = ["warmup", "measured"].map(|name| Topic {
        name: name.to_owned(),
        partitions: 12,
    });
    admin::create_topics(open, &topics)?;
    let trusted = certificates.join("ca.pem");
    let place = (encrypted.as_str(), Some(trusted.as_path()));
    let mut figures = Figures::default();
    for (topic, time) in [("warmup", settings.warmup), ("measured", settings.seconds)] {
        let records = (time.as_secs_f64() * RECORDS_A_SECOND as f64) as u64;
        figures = Figures::default();
        librdkafka::measure(&broker, place, topic, records, &mut figures)?;
    }
    Ok(figures)
}
