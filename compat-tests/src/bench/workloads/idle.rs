//! What a broker burns while nothing happens, and while many wait for something to happen.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::{Workload, window};
use crate::BrokerProcess;
use crate::bench::admin::{self, Topic};
use crate::bench::connection::Connection;
use crate::bench::contender::{Contender, KAFKA, OTTLA, Settings};
use crate::bench::figures::{Figures, Limit, Target};
use crate::bench::load::poll::Poll;
use crate::bench::request::{FetchLimits, FetchTemplate};
use crate::bench::usage::{Latency, Usage};
use crate::bench::wire::read_fetch_response;

const CONSUMERS: i32 = 1000;

pub(super) fn workload() -> Workload {
    Workload {
        name: "idle",
        about: "CPU of a broker with one topic of 12 partitions and nothing to do; then with 1,000 \
                consumers that each long-poll one empty partition with Kafka's default of 500 ms.",
        contenders: vec![OTTLA, KAFKA],
        targets: vec![
            Target::absolute(&OTTLA, "idle CPU", Limit::AtMost(0.1)),
            Target::ratio(
                "CPU with 1,000 long polls",
                &OTTLA,
                &KAFKA,
                Limit::AtMost(0.2),
            ),
        ],
        run,
    }
}

fn run(contender: &Contender, settings: &Settings) -> Result<Figures> {
    let broker = contender.start()?;
    let topic = Topic::bench(12);
    admin::create_topics(broker.address(), std::slice::from_ref(&topic))?;
    let mut figures = Figures::default();
    let percent = |usage: Usage| 100.0 * usage.broker_cpu.as_secs_f64() / usage.wall.as_secs_f64();
    let usage = Usage::during(&broker, window(settings))?;
    figures.push("idle CPU", "% of a core", percent(usage));

    let (polls, latency, usage) = long_poll(&broker, &topic, settings)?;
    figures.push("CPU with 1,000 long polls", "% of a core", percent(usage));
    figures.push("polls", "1/s", polls as f64 / usage.wall.as_secs_f64());
    figures.push_latency("poll ", &latency);
    Ok(figures)
}

fn long_poll(
    broker: &BrokerProcess,
    topic: &Topic,
    settings: &Settings,
) -> Result<(u64, Latency, Usage)> {
    let mut consumers = Vec::new();
    for index in 0..CONSUMERS {
        let partition = [index % topic.partitions];
        let template = FetchTemplate::new(&topic.name, &partition, FetchLimits::default())?;
        consumers.push((
            Connection::open(broker.address())?,
            template,
            Instant::now(),
        ));
    }
    let window = window(settings);
    std::thread::scope(|scope| {
        let polls = scope.spawn(move || -> Result<(u64, Latency)> {
            let mut poll = Poll::new(consumers.iter().map(|(connection, ..)| connection))?;
            for (connection, template, sent_at) in &mut consumers {
                *sent_at = Instant::now();
                connection.send(template.frame())?;
            }
            let (mut polls, mut latency) = (0, Latency::new()?);
            while Instant::now() < window.until {
                poll.wait(|index| {
                    let (connection, template, sent_at) = &mut consumers[index];
                    read_fetch_response(connection.receive()?, |fetched| {
                        ensure!(
                            fetched.error_code == 0,
                            "fetch error {}",
                            fetched.error_code
                        );
                        ensure!(fetched.records.is_empty(), "records from an empty topic");
                        Ok(())
                    })?;
                    let now = Instant::now();
                    if window.contains(now) {
                        polls += 1;
                        latency.record(now - *sent_at);
                    }
                    *sent_at = now;
                    connection.send(template.frame())
                })?;
            }
            Ok((polls, latency))
        });
        let usage = Usage::during(broker, window)?;
        let (polls, latency) = polls
            .join()
            .map_err(|_| anyhow::anyhow!("the consumers panicked"))??;
        Ok((polls, latency, usage))
    })
}
