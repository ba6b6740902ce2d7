//! One client that gives a record up and sends the next one again: what [`crate::checker::sent_again`] is about, on purpose.

use std::sync::Arc;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::client::{Client, Went};
use super::ending::Ending;
use super::proxy::Swallowed;
use super::recorder::Recorder;
use super::stage::Stage;
use super::topics::PARTITIONS;
use super::worker::{Library, Worker, WorkerPid};
use super::{Settings, bootstrap, prepare};
use crate::checker::{Action, History, Isolation, Outcome};

/// The first of the outputs.
const PARTITION: u32 = PARTITIONS;
/// Over those that the client usually has. It does not give up waiting for an answer before it falls asleep.
const TIMEOUTS_MS: [(&str, u64); 2] = [
    ("request.timeout.ms", 14_000),
    ("delivery.timeout.ms", 16_000),
];
/// Between the two records: the first is given up so much earlier.
const BETWEEN: Duration = Duration::from_secs(5);
/// When the client falls asleep, both records are on their way. It sleeps while the first one's time ends, and wakes up before
/// that of the second does. It may be late by four seconds in all that it does.
const ASLEEP: (Duration, Duration) = (Duration::from_secs(9), Duration::from_secs(20));

/// Sends two records whose answers do not arrive. When the client learns that its connection is lost, the time of the first
/// record is over, and that of the second is not.
///
/// Without the sleep the client would see by its clock first that the time is over, but for a millisecond now and then.
///
/// # Errors
/// As [`super::run`].
pub fn given_up(settings: &Settings) -> Result<History> {
    let stage = Stage::start(settings)?;
    prepare(&stage)?;
    let recorder = Arc::new(Recorder::default());
    let pid = WorkerPid::default();
    let mut client = Client {
        id: 1,
        worker: Worker::new(Library::Java, &bootstrap(&stage.addresses()), pid.clone()),
        recorder: Arc::clone(&recorder),
        isolation: Isolation::ReadCommitted,
    };
    let config = TIMEOUTS_MS.into_iter().collect();
    ensure!(
        client.producer_with(None, &config)? == Went::Well,
        "no producer"
    );
    // So that it has its id, and has found the broker.
    ensure!(
        client.send(None, &[(PARTITION, None)])? == Went::Well,
        "cannot write"
    );
    let way = &stage.proxies[0];
    way.swallow(Swallowed::ToProduce);
    let began = Instant::now();
    scope(|scope| {
        scope.spawn(|| {
            sleep(ASLEEP.0.saturating_sub(began.elapsed()));
            pid.signal(Signal::STOP);
            way.cut();
            way.swallow(Swallowed::Nothing);
            sleep(ASLEEP.1.saturating_sub(began.elapsed()));
            pid.signal(Signal::CONT);
        });
        let records = [(PARTITION, None), (PARTITION, None)];
        client.send_slowly(None, &records, BETWEEN).map(|_| ())
    })?;
    client.worker.end();
    let outcomes = recorder.ops().into_iter().filter_map(|op| match op.action {
        Action::Send { .. } => Some(op.outcome),
        _ => None,
    });
    let outcomes: Vec<Outcome> = outcomes.collect();
    ensure!(
        outcomes == [Outcome::Ok, Outcome::Unknown, Outcome::Ok],
        "{outcomes:?}"
    );
    let ending = Ending {
        addresses: stage.addresses(),
        recorder: Arc::clone(&recorder),
        groups: Vec::new(),
        next_client: client.id,
    };
    let end = ending.read(&settings.libraries)?;
    let ops = recorder.ops();
    Ok(History { ops, end })
}
