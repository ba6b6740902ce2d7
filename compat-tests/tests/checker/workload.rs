//! Stock clients, the real broker, and faults; and a proxy that breaks the broker on purpose, to see that it is found out.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};
use compat_tests::checker::{Action, History, Kind, Op, Outcome, check, sent_again};
use compat_tests::toolchain::{seed, skip};
use compat_tests::workload::{Fault, Library, Lie, Settings, SmallDisk, given_up, run, summary};
use compat_tests::{BrokerKind, available};

/// With the cluster's, two minutes; the start, the healing and the final read come on top.
const DURATION: Duration = Duration::from_secs(95);
/// Each of its faults comes once, at least.
const OF_A_CLUSTER: Duration = Duration::from_secs(25);
const ROUNDS_OF_A_CLUSTER: u64 = 5;
/// A lie is told again and again: it is found out in so many operations.
const OF_A_LIE: usize = 3_000;
const LIMIT_OF_A_LIE: Duration = Duration::from_secs(300);

fn settings(seed: u64) -> Result<Option<Settings>> {
    let mut libraries = Vec::new();
    for library in Library::ALL {
        if available(library.command(""))?.is_some() {
            libraries.push(library);
        }
    }
    if libraries.is_empty() {
        return Ok(None);
    }
    with(seed, libraries).map(Some)
}

fn with(seed: u64, libraries: Vec<Library>) -> Result<Settings> {
    Ok(Settings {
        kind: BrokerKind::from_env()?,
        brokers: 1,
        config: Vec::new(),
        seed,
        duration: DURATION,
        enough: usize::MAX,
        faults: vec![
            Fault::KillBroker,
            Fault::PauseBroker,
            Fault::Cut,
            Fault::HoldUp,
            Fault::SwallowAnswers,
            Fault::KillClient,
            Fault::PauseClient,
        ],
        libraries,
        disk: None,
        lie: None,
        logs: None,
    })
}

#[test]
fn the_broker_keeps_its_promises_whatever_happens_to_it() -> Result<()> {
    let seed = seed();
    let Some(mut settings) = settings(seed)? else {
        return Ok(());
    };
    settings.faults.push(Fault::StepClock);
    let disk = SmallDisk::mount();
    match &disk {
        // Kafka ends when its disk is full.
        Ok(disk) if settings.kind == BrokerKind::Ottla => {
            settings.disk = Some(disk.path().to_owned());
            settings.faults.push(Fault::FillDisk);
        }
        Ok(_) => {}
        Err(error) => skip(&format!("{error:#}")),
    }
    let history = run(&settings)?;
    println!("{}", summary(&history));
    judge(seed, &history)
}

/// What proves a fault is kept: the same seed need not find it again.
fn judge(seed: u64, history: &History) -> Result<()> {
    let findings = check(history);
    if findings.is_empty() {
        return Ok(());
    }
    let file = history.write_down()?;
    bail!(
        "SEED={seed}: {findings:#?}\nthe history is in {}",
        file.display()
    );
}

/// What the checker does not hold against a broker: Java sends a record again in a later epoch, and it is stored again.
#[test]
fn java_sends_a_record_again_as_a_new_one_when_it_has_given_up_the_one_before() -> Result<()> {
    let seed = seed();
    let settings = with(seed, vec![Library::Java])?;
    let Some(history) = available(given_up(&settings))? else {
        return Ok(());
    };
    for again in sent_again(&history) {
        println!("{again}");
        let [(_, first), (_, second)] = &again.copies[..] else {
            bail!("{again}");
        };
        assert_eq!(first.producer_id, second.producer_id);
        assert_eq!(first.producer_epoch + 1, second.producer_epoch);
        assert_eq!(second.sequence, 0);
    }
    assert_eq!(sent_again(&history).len(), 1, "{:?}", history.end);
    judge(seed, &history)
}

/// A cluster in which brokers die, sleep for longer than their lease, and lose their sessions in the database. The long one is
/// `cargo run -p compat-tests --bin checker -- --brokers 3`.
#[test]
fn three_brokers_keep_their_promises_too() -> Result<()> {
    let seed = seed();
    let Some(settings) = settings(seed)? else {
        return Ok(());
    };
    let quick = [Library::Librdkafka, Library::FranzGo];
    let libraries = settings.libraries.iter().copied();
    let settings = Settings {
        kind: BrokerKind::Ottla,
        brokers: 3,
        duration: OF_A_CLUSTER,
        faults: vec![Fault::KillBroker, Fault::PauseBroker, Fault::KillSessions],
        libraries: libraries
            .filter(|library| quick.contains(library))
            .collect(),
        ..settings
    };
    if settings.libraries.is_empty() {
        skip("a cluster is checked with librdkafka and franz-go");
        return Ok(());
    }
    // What a busy machine gets done between the faults may be little, and then it says little.
    let (mut sends, mut commits) = (0, 0);
    for round in 0..ROUNDS_OF_A_CLUSTER {
        let seed = seed.wrapping_add(round);
        let settings = Settings {
            seed,
            ..settings.clone()
        };
        let Some(history) = available(run(&settings))? else {
            return Ok(());
        };
        println!("{}", summary(&history));
        judge(seed, &history)?;
        for op in history.ops.iter().filter(|op| op.outcome == Outcome::Ok) {
            match op.action {
                Action::Send { .. } => sends += 1,
                Action::End { commit: true, .. } => commits += 1,
                _ => {}
            }
        }
        // Of a machine with nothing else to do it is ten times as many.
        if sends >= 30 && commits >= 3 {
            return Ok(());
        }
    }
    panic!("{sends} sends and {commits} commits in {ROUNDS_OF_A_CLUSTER} rounds");
}

#[test]
#[ignore = "takes minutes: run it with `cargo test -p compat-tests --test checker -- --ignored`"]
fn every_lie_of_a_broker_is_found_out() -> Result<()> {
    let seed = seed();
    let Some(settings) = settings(seed)? else {
        return Ok(());
    };
    for lie in Lie::ALL {
        let settings = Settings {
            duration: LIMIT_OF_A_LIE,
            enough: OF_A_LIE,
            faults: Vec::new(),
            libraries: vec![Library::Librdkafka, Library::Java],
            lie: Some(lie),
            ..settings.clone()
        };
        let history = run(&settings)?;
        let has_transactions = |op: &Op| matches!(op.action, Action::End { .. });
        if lie.is_about_transactions() && !history.ops.iter().any(has_transactions) {
            skip(&format!("{lie:?} takes a broker with transactions"));
            continue;
        }
        let found: BTreeSet<Kind> = check(&history).iter().map(|finding| finding.kind).collect();
        println!("{lie:?}: {found:?}");
        let missing = lie.proves().iter().find(|kind| !found.contains(kind));
        assert_eq!(missing, None, "SEED={seed}: {lie:?} gives {found:?}");
    }
    Ok(())
}
