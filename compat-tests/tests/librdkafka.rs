//! librdkafka's own tests, with groups of the classic protocol and of KIP-848's: what passes, and why something else does
//! not, is what `coverage/public-suites/` says.
//!
//! Against Kafka (`COMPAT_BROKER=kafka`) nothing is compared with Ottla's reasons: whatever passes with Ottla has to pass
//! there, too. One node cannot do what wants three; Ottla is told to accept it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::{Result, ensure};
use compat_tests::coverage::{self, Extent, Outcome, Subject};
use compat_tests::librdkafka::{GroupProtocol, Numbered, Suite, VERSION};
use compat_tests::{BrokerKind, BrokerProcess, available};

/// Those that have told most about a broker.
const TELLING: &[&str] = &[
    "0113", "0103", "0081", "0018", "0102", "0033", "0045", "0030", "0031", "0054", "0059", "0011",
    "0090", "0098", "0077",
];

/// Ten minutes; the quick parts of it take half a minute.
const LONGEST: &str = "0113";

/// Those that end one way or the other by what the client does first, and say nothing about a broker.
const UNSTEADY: &[(GroupProtocol, &str)] = &[
    // It subscribes and unsubscribes a hundred times without waiting. With KIP-848 librdkafka is then at times left with an
    // assignment of nothing, while the broker has told it another one; with Kafka, too.
    (GroupProtocol::Consumer, "0045_subscribe_many_updates"),
    // It wants the member that it started first to join first.
    (GroupProtocol::Consumer, "0118_commit_rebalance"),
];

/// Of each protocol; both run beside each other. They mostly wait.
const AT_A_TIME: usize = 5;

/// As librdkafka starts its own clusters.
const CONFIG: &[(&str, &str)] = &[
    ("num.partitions", "4"),
    ("offsets.topic.num.partitions", "3"),
    // Kafka's default: 0089 and 0113 count on two members that find each other before they get anything.
    ("group.initial.rebalance.delay.ms", "3000"),
];

fn config(kind: BrokerKind, scenario: &str) -> Vec<(&'static str, &'static str)> {
    let mut config = CONFIG.to_vec();
    if kind == BrokerKind::Ottla {
        config.push(("ottla.accept.any.replication.factor", "true"));
    }
    if scenario == "noautocreate" {
        config.push(("auto.create.topics.enable", "false"));
    }
    config
}

/// Runs all that are chosen, with one broker for each scenario.
fn outcomes(suite: &Suite, chosen: &[Numbered], protocol: GroupProtocol) -> Result<Vec<Outcome>> {
    let mut of_scenario: BTreeMap<&str, Vec<&Numbered>> = BTreeMap::new();
    for tests in chosen {
        of_scenario.entry(&tests.scenario).or_default().push(tests);
    }
    let mut outcomes = Vec::new();
    for (scenario, tests) in of_scenario {
        let kind = BrokerKind::from_env()?;
        let mut broker = BrokerProcess::start_as(kind, &config(kind, scenario), &[])?;
        outcomes.extend(beside_each_other(
            suite,
            &tests,
            protocol,
            &broker.bootstrap(),
        )?);
        broker.terminate()?;
    }
    Ok(outcomes)
}

fn beside_each_other(
    suite: &Suite,
    tests: &[&Numbered],
    protocol: GroupProtocol,
    bootstrap: &str,
) -> Result<Vec<Outcome>> {
    let left = Mutex::new(tests.iter());
    let work = || {
        let mut outcomes = Vec::new();
        loop {
            let next = left.lock().expect("no thread panics while it takes").next();
            let Some(tests) = next else {
                return Ok(outcomes);
            };
            for outcome in suite.run(tests, protocol, bootstrap)? {
                println!("{} {}: {:?}", protocol.name(), outcome.0, outcome.1);
                outcomes.push(outcome);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        let mut outcomes = Vec::new();
        for thread in threads {
            let of_thread: Result<Vec<Outcome>> = thread.join().expect("a worker does not panic");
            outcomes.extend(of_thread?);
        }
        Ok(outcomes)
    })
}

/// Runs the numbers of `only`, or all, in both protocols, and compares.
fn covers(only: Option<&[&str]>) -> Result<()> {
    let Some(suite) = available(Suite::new())? else {
        return Ok(());
    };
    let from_env = std::env::var("LIBRDKAFKA_TESTS").ok();
    let from_env: Option<Vec<&str>> = from_env.as_deref().map(|all| all.split(' ').collect());
    let only = from_env.as_deref().or(only);
    let mut chosen = suite.with_broker()?;
    for number in only.unwrap_or_default() {
        ensure!(
            chosen.iter().any(|tests| tests.number == *number),
            "no test with a broker has the number {number}"
        );
    }
    // What takes longest begins first, and the others run beside it.
    chosen.sort_by_key(|tests| tests.number != LONGEST);
    for tests in &mut chosen {
        tests.is_quick = only == Some(TELLING) && tests.number == LONGEST;
    }
    chosen.retain(|tests| only.is_none_or(|only| only.contains(&tests.number.as_str())));
    let extent = if only.is_some() {
        Extent::Part
    } else {
        Extent::Whole
    };
    let protocols = [GroupProtocol::Classic, GroupProtocol::Consumer];
    let of_protocols = std::thread::scope(|scope| {
        let running = protocols.map(|protocol| {
            let (suite, chosen) = (&suite, &chosen);
            scope.spawn(move || outcomes(suite, chosen, protocol))
        });
        running.map(|thread| thread.join().expect("a worker does not panic"))
    });
    let mut differs = Vec::new();
    for (protocol, outcomes) in protocols.into_iter().zip(of_protocols) {
        let name = format!("librdkafka-{}", protocol.name());
        let subject = Subject {
            section: "public-suites",
            name: &name,
            version: VERSION,
        };
        let mut outcomes = outcomes?;
        outcomes.retain(|(name, _)| !UNSTEADY.contains(&(protocol, name.as_str())));
        let checked = match BrokerKind::from_env()? {
            BrokerKind::Ottla => coverage::check_suite(subject, &outcomes, extent),
            BrokerKind::Kafka => pass_too(subject, &outcomes),
        };
        if let Err(error) = checked {
            differs.push(format!("{error:#}"));
        }
    }
    if !differs.is_empty() {
        differs.push(format!("their output: {}", suite.keep_logs().display()));
    }
    ensure!(differs.is_empty(), "{}", differs.join("\n"));
    Ok(())
}

fn pass_too(subject: Subject<'_>, outcomes: &[Outcome]) -> Result<()> {
    /// What Kafka says of a replication factor that wants more nodes.
    const TOO_FEW: &str = "Unable to replicate the partition";
    let works = coverage::works(subject)?;
    let failures: Vec<_> = outcomes
        .iter()
        .filter_map(|(name, outcome)| Some((name, outcome.as_ref().err()?)))
        .filter(|(name, why)| works.contains(*name) && !why.contains(TOO_FEW))
        .collect();
    ensure!(failures.is_empty(), "fail with Kafka only: {failures:#?}");
    Ok(())
}

#[test]
#[ignore = "all of them, in both protocols: half an hour"]
fn librdkafkas_own_tests_pass_but_for_those_with_a_reason() -> Result<()> {
    covers(None)
}

#[test]
#[ignore = "minutes, and the building of librdkafka before"]
fn the_most_telling_tests_of_librdkafka_pass_but_for_those_with_a_reason() -> Result<()> {
    covers(Some(TELLING))
}
