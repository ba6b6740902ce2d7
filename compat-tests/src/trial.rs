//! A program of `clients/` tries what it can, against Ottla and against real Kafka, and [`coverage`] compares.
//!
//! `COMPAT_BROKER=ottla` or `kafka` runs it against that one only.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::coverage::{self, Outcome, Subject};
use crate::{BrokerKind, BrokerProcess, Program, available};

/// For all that one program tries, on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);

/// What both brokers are started with: members of groups hear soon of a change.
pub const CONFIG: &[(&str, &str)] = &[
    ("offsets.topic.num.partitions", "3"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.consumer.min.heartbeat.interval.ms", "200"),
    ("group.consumer.heartbeat.interval.ms", "200"),
    ("group.consumer.assignment.interval.ms", "0"),
];

/// What Kafka takes besides.
const KAFKA_CONFIG: &[(&str, &str)] = &[
    ("transaction.state.log.num.partitions", "3"),
    // Kafka looks so often for transactions whose time is up.
    (
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "200",
    ),
    ("share.coordinator.state.topic.num.partitions", "3"),
    ("group.share.min.heartbeat.interval.ms", "200"),
    ("group.share.heartbeat.interval.ms", "200"),
    ("group.share.assignment.interval.ms", "0"),
];

/// Tries a subject against so many new brokers of both kinds and compares with what is expected.
///
/// The command gets the brokers' addresses as its last arguments.
///
/// # Errors
/// A capability fails with Kafka, too; what [`coverage::check`] finds; the program's output where it does not come to its end.
pub fn covers(
    subject: Subject<'_>,
    brokers: usize,
    command: impl Fn() -> Result<Command>,
) -> Result<()> {
    if available(command())?.is_none() {
        return Ok(());
    }
    let Subject { name, version, .. } = subject;
    let only = std::env::var_os("COMPAT_BROKER").map(|_| BrokerKind::from_env());
    let only = only.transpose()?;
    let by = |kind| match only {
        Some(only) if only != kind => Ok(None),
        _ => tried(kind, brokers, command()?)
            .with_context(|| format!("{name} {version} with {kind:?}")),
    };
    if let Some(by_kafka) = by(BrokerKind::Kafka)? {
        let failures: Vec<_> = by_kafka
            .iter()
            .filter(|(_, outcome)| outcome.is_err())
            .collect();
        ensure!(
            failures.is_empty(),
            "{name} {version} fails with Kafka, too: {failures:#?}"
        );
    }
    if let Some(by_ottla) = by(BrokerKind::Ottla)? {
        coverage::check(subject, &by_ottla)?;
    }
    Ok(())
}

/// Runs a program to its end.
fn tried(kind: BrokerKind, brokers: usize, mut command: Command) -> Result<Option<Vec<Outcome>>> {
    let extra = if kind == BrokerKind::Kafka {
        KAFKA_CONFIG
    } else {
        &[]
    };
    let mut running = Vec::new();
    for _ in 0..brokers {
        let started = BrokerProcess::start_as(kind, &[CONFIG, extra].concat(), &[]);
        let Some(broker) = available(started)? else {
            return Ok(None);
        };
        command.arg(broker.bootstrap());
        running.push(broker);
    }
    let logs = || {
        running
            .iter()
            .map(BrokerProcess::log_tail)
            .collect::<String>()
    };
    let program = Program::start(command, LIMIT)?;
    let lines = program.finish_with_lines().with_context(logs)?;
    let outcomes = coverage::outcomes(&lines)?;
    for broker in &mut running {
        if kind == BrokerKind::Ottla {
            broker.terminate()?;
        }
    }
    Ok(Some(outcomes))
}
