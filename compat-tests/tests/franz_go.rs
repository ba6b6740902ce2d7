//! franz-go's own tests that talk to a broker, among them pipelines that consume, change and produce in groups and in transactions: what passes, and why
//! something else does not, is what `coverage/public-suites/` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use compat_tests::coverage::{self, Extent, Outcome, Subject};
use compat_tests::{BrokerKind, BrokerProcess, available, go};

/// Of each pipeline. Its authors take ten times as many, and have ten times as long for it.
const RECORDS: &str = "50000";

#[test]
#[ignore = "minutes: `cargo test -p compat-tests --test franz_go -- --ignored`"]
fn franz_gos_own_tests_pass() -> Result<()> {
    let Some(tests) = available(go::own_tests("github.com/twmb/franz-go", "pkg/kgo"))? else {
        return Ok(());
    };
    let kind = BrokerKind::from_env()?;
    let mut broker = BrokerProcess::start_as(kind, &[], &[])?;
    let output = Command::new(&tests.program)
        .current_dir(&tests.dir)
        .args(["-test.v", "-test.timeout", "20m"])
        .env("KGO_SEEDS", broker.bootstrap())
        .env("KGO_TEST_RF", broker.count().to_string())
        .env("KGO_TEST_RECORDS", RECORDS)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut outcomes = outcomes(&said);
    let wanting_a_broker = wanting_a_broker(&tests.dir)?;
    outcomes.retain(|(name, _)| wanting_a_broker.contains(name));
    ensure!(
        outcomes.iter().any(|(name, _)| name == "TestTxnEtl"),
        "it has ended early: {said}\n{}",
        broker.log_tail()
    );
    let subject = Subject {
        section: "public-suites",
        name: "franz-go",
        version: tests.version.trim_start_matches('v'),
    };
    let checked = coverage::check_suite(subject, &outcomes, Extent::Whole);
    checked.with_context(|| format!("{said}\n{}", broker.log_tail()))?;
    broker.terminate()
}

/// The others are about the client alone.
fn wanting_a_broker(dir: &Path) -> Result<BTreeSet<String>> {
    /// Of its helpers: one of these is in each of those tests.
    const HELPERS: &[&str] = &["newTestClient(", "tmpTopic", "tmpGroup", "getSeedBrokers"];
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if !path.to_string_lossy().ends_with("_test.go") {
            continue;
        }
        let source = fs::read_to_string(path)?;
        let functions = source.split("\nfunc ").skip(1);
        let wanting = functions.filter(|body| HELPERS.iter().any(|helper| body.contains(helper)));
        names.extend(wanting.filter_map(|body| Some(body.split_once('(')?.0.to_owned())));
    }
    Ok(names)
}

/// Of the tests that have run, those that wanted something else of the broker left out.
fn outcomes(said: &str) -> Vec<Outcome> {
    let mut outcomes = BTreeMap::new();
    for line in said.lines() {
        // Those that are part of another stand further in.
        let Some((outcome, name)) = line
            .strip_prefix("--- ")
            .and_then(|end| end.split_once(": "))
        else {
            continue;
        };
        let name = name.split(' ').next().unwrap_or_default().to_owned();
        match outcome {
            "PASS" => outcomes.insert(name, Ok(())),
            "FAIL" => outcomes.insert(name, Err("see its output".to_owned())),
            _ => None,
        };
    }
    outcomes.into_iter().collect()
}
