//! What works, with what: the records under `coverage/`, and `COVERAGE.md`, which is made from them.
//!
//! A suite tries the capabilities of one subject (a client in a version, a program) and hands over what became of each.
//! `coverage/SECTION/NAME VERSION.txt` says what is expected, one line each: `produce gzip: works`, or, for what fails
//! until a feature comes, `consumed by a share group: with share groups`. Whatever differs fails the test: what has stopped to
//! work, and what works by now. `COVERAGE=write` in the environment writes the records and `COVERAGE.md` anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail, ensure};

use crate::toolchain::crate_dir;

/// The parts of `COVERAGE.md` in order: the directory of the records, the title, and what stands below it.
const SECTIONS: &[(&str, &str, &str)] = &[
    (
        "clients",
        "Clients",
        "Each capability is tried by a program in the client's own language, as its users write them, against Ottla and \
         against Apache Kafka. The programs are in `clients/`.",
    ),
    (
        "across-clients",
        "Across clients",
        "What one client writes another reads, and members of different clients share the partitions of a group.",
    ),
    (
        "public-suites",
        "Public suites",
        "The clients' own tests, against Ottla: librdkafka's, with groups of the classic protocol and of KIP-848 (consumer), \
         and those of aiokafka, franz-go and kafka-python that talk to a broker.",
    ),
    (
        "programs",
        "Programs around a broker",
        "Small scenarios with programs that people run beside a broker, against Ottla and against Apache Kafka: \
         `cargo test -p compat-tests --test programs -- --ignored`. Left out: kafka_exporter and kminion, which the proxy of Go's \
         modules does not serve, and Karapace, which is not on PyPI; sarama, franz-go, and confluent-kafka with aiokafka, on which \
         they are built, are above.",
    ),
];

/// The features that are still to come, by words of the capabilities that wait for them; the first that fits counts.
///
/// Nothing else may fail. A line whose feature has come is removed.
const LATER: &[(&str, &str)] = &[
    ("share group", "share groups"),
    ("sharegroup", "share groups"),
    ("sharecoordinator", "share groups"),
    ("streamsgroup", "streams groups"),
    ("raftvoter", "several brokers"),
];

const WORKS: &str = "works";

/// Why a test that others wrote may fail. Those of a feature are removed with it: the test passes then.
const REASONS: &[&str] = &[
    "with ACLs",
    "with SASL",
    "with TLS",
    "with several brokers",
    "fails with Apache Kafka, too",
    // For this version of Kafka, or this protocol.
    "left out by the suite",
    // Ottla finds what a pattern matches at once and assigns it with what else is subscribed; Kafka is asked twice.
    "counts on patterns that match a heartbeat later",
];

/// What became of one capability: it works, or the error.
pub type Outcome = (String, Result<(), String>);

/// One of whom the coverage speaks.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// A directory of `coverage/`.
    pub section: &'a str,
    /// Subjects of one name stand in one table, each version in a column.
    pub name: &'a str,
    pub version: &'a str,
}

impl Subject<'_> {
    fn path(&self) -> PathBuf {
        records()
            .join(self.section)
            .join(format!("{} {}.txt", self.name, self.version))
    }
}

/// Compares what a run gave with the record, or writes the record with `COVERAGE=write`.
///
/// # Errors
/// Something differs, or fails and no feature is to come that would bring it; every such line.
pub fn check(subject: Subject<'_>, outcomes: &[Outcome]) -> Result<()> {
    let mut found = Record::new();
    let mut wrong = Vec::new();
    for (capability, outcome) in outcomes {
        let state = match outcome {
            Ok(()) => WORKS.to_owned(),
            Err(error) => match feature_to_come(capability) {
                Some(feature) => format!("with {feature}"),
                None => {
                    wrong.push(format!("{capability}: fails with {error}"));
                    continue;
                }
            },
        };
        if found.insert(capability.clone(), state).is_some() {
            wrong.push(format!("{capability}: told twice"));
        }
    }
    if wrong.is_empty() && writes() {
        return write(subject, &found);
    }
    let expected = read(&subject.path()).unwrap_or_default();
    compare(subject, &found, &expected, wrong)
}

/// How much of its record a run tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every line.
    Whole,
    /// The lines that are told; the others are not looked at.
    Part,
}

/// As [`check`], for a suite that others wrote, whose names do not say which feature a test wants.
///
/// The reason why one does not pass is written into the record by hand, one of `REASONS` behind its name;
/// `COVERAGE=write` keeps it.
///
/// # Errors
/// Something differs, or fails without a reason; every such line.
pub fn check_suite(subject: Subject<'_>, outcomes: &[Outcome], extent: Extent) -> Result<()> {
    let mut expected = read(&subject.path()).unwrap_or_default();
    let (found, wrong) = with_reasons(&expected, outcomes);
    if wrong.is_empty() && writes() && extent == Extent::Whole {
        return write(subject, &found);
    }
    if extent == Extent::Part {
        expected.retain(|name, _| outcomes.iter().any(|(told, _)| told == name));
    }
    compare(subject, &found, &expected, wrong)
}

/// What passed, and what failed as the record says it would; then what failed against it.
fn with_reasons(expected: &Record, outcomes: &[Outcome]) -> (Record, Vec<String>) {
    let mut found = Record::new();
    let mut wrong = Vec::new();
    for (name, outcome) in outcomes {
        let is_reason = |state: &&String| REASONS.contains(&state.as_str());
        let reason = expected.get(name).filter(is_reason);
        match (outcome, reason) {
            (Ok(()), _) => {
                found.insert(name.clone(), WORKS.to_owned());
            }
            (Err(_), Some(reason)) => {
                found.insert(name.clone(), reason.clone());
            }
            (Err(error), None) => wrong.push(format!("{name}: fails with {error}")),
        }
    }
    (found, wrong)
}

/// What the record of a subject says works.
///
/// # Errors
/// There is no record.
pub fn works(subject: Subject<'_>) -> Result<BTreeSet<String>> {
    let record = read(&subject.path())?;
    let works = record.into_iter().filter(|(_, state)| state == WORKS);
    Ok(works.map(|(name, _)| name).collect())
}

fn compare(
    subject: Subject<'_>,
    found: &Record,
    expected: &Record,
    mut wrong: Vec<String>,
) -> Result<()> {
    let names: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    for name in names {
        let (found, expected) = (found.get(name), expected.get(name));
        if found != expected && !wrong.iter().any(|line| line.starts_with(name.as_str())) {
            let or_nothing =
                |state: Option<&String>| state.map_or("not told", String::as_str).to_owned();
            wrong.push(format!(
                "{name}: {}, expected: {}",
                or_nothing(found),
                or_nothing(expected)
            ));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} {}: COVERAGE=write makes a new record where this is meant\n{}",
        subject.name,
        subject.version,
        wrong.join("\n")
    );
    Ok(())
}

/// Reads the lines of JSON that a program of `clients/` has written, those that are none left out.
///
/// # Errors
/// There are none.
pub fn outcomes(lines: &[String]) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for line in lines {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        let Some(capability) = line["capability"].as_str() else {
            continue;
        };
        let outcome = match line["ok"].as_bool() {
            Some(true) => Ok(()),
            _ => Err(line["error"]
                .as_str()
                .unwrap_or("no error is told")
                .to_owned()),
        };
        outcomes.push((capability.to_owned(), outcome));
    }
    ensure!(!outcomes.is_empty(), "no capability is told");
    Ok(outcomes)
}

/// `COVERAGE.md` as the records have it.
///
/// # Errors
/// A record cannot be read.
pub fn rendered() -> Result<String> {
    let mut text = String::from(
        "# What works with Ottla\n\n\
         Made by the tests from what their runs gave; `COVERAGE=write cargo test -p compat-tests` makes it anew. `yes`: it works. \
         Another word: it comes with that feature. Empty: the client does not have it, or it fails with Apache Kafka, too.\n",
    );
    for (section, title, about) in SECTIONS {
        let subjects = subjects_of(section)?;
        if !subjects.is_empty() {
            write!(text, "\n## {title}\n\n{about}\n")?;
            render(&mut text, &subjects)?;
        }
    }
    Ok(text)
}

/// Where `COVERAGE.md` is.
pub fn document() -> PathBuf {
    crate_dir().join("COVERAGE.md")
}

/// Capability and state, in order.
type Record = BTreeMap<String, String>;

/// Name, version and record.
type Subjects = Vec<(String, String, Record)>;

fn writes() -> bool {
    std::env::var("COVERAGE").is_ok_and(|value| value == "write")
}

fn records() -> PathBuf {
    crate_dir().join("coverage")
}

fn feature_to_come(capability: &str) -> Option<&'static str> {
    let capability = capability.to_lowercase();
    let found = LATER.iter().find(|(word, _)| capability.contains(word));
    found.map(|(_, feature)| *feature)
}

fn write(subject: Subject<'_>, found: &Record) -> Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let path = subject.path();
    fs::create_dir_all(path.parent().context("a record is in a section")?)?;
    let lines: String = found
        .iter()
        .map(|(name, state)| format!("{name}: {state}\n"))
        .collect();
    let _guard = ONE_AT_A_TIME.lock();
    fs::write(&path, lines)?;
    fs::write(document(), rendered()?)?;
    Ok(())
}

fn read(path: &Path) -> Result<Record> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let mut record = Record::new();
    for line in text.lines() {
        let Some((name, state)) = line.rsplit_once(": ") else {
            bail!("{}: not a line of a record: {line}", path.display());
        };
        record.insert(name.to_owned(), state.to_owned());
    }
    Ok(record)
}

fn subjects_of(section: &str) -> Result<Subjects> {
    let mut subjects = Subjects::new();
    let dir = records().join(section);
    let Ok(entries) = fs::read_dir(&dir) else {
        return Ok(subjects);
    };
    for entry in entries {
        let path = entry?.path();
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let (name, version) = stem
            .rsplit_once(' ')
            .with_context(|| format!("{}: NAME VERSION.txt", path.display()))?;
        subjects.push((name.to_owned(), version.to_owned(), read(&path)?));
    }
    subjects.sort_by_key(|(name, version, _)| (name.clone(), numbers(version)));
    Ok(subjects)
}

/// So that 2.16 comes behind 2.3.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect()
}

/// The first words of calls, which each client names in its own way.
const OWN_CALLS: &[&str] = &["admin", "client", "conn", "consumer", "producer", "reader"];

/// One table for what several clients tell under the same name, then one for each client with its own calls and the rest.
fn render(text: &mut String, subjects: &Subjects) -> Result<()> {
    let mut names_of: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
    for (name, _, record) in subjects {
        for capability in record.keys() {
            names_of.entry(capability).or_default().insert(name);
        }
    }
    let is_own = |capability: &String| {
        let first = capability.split([' ', ':']).next();
        first.is_some_and(|first| OWN_CALLS.contains(&first))
    };
    let is_common = |capability: &String| names_of[capability].len() > 1 && !is_own(capability);
    let clients: BTreeSet<&String> = subjects.iter().map(|(name, ..)| name).collect();

    let common: Vec<&String> = names_of
        .keys()
        .copied()
        .filter(|name| is_common(name))
        .collect();
    let tells = |(.., record): &&(String, String, Record)| {
        let mut rows = common.iter();
        rows.any(|row| record.contains_key(*row))
    };
    let tellers: Vec<_> = subjects.iter().filter(tells).collect();
    if !common.is_empty() {
        table(text, &tellers, &common, |(name, version, _)| {
            format!("{name} {version}")
        })?;
    }
    for client in clients {
        let own: Vec<_> = subjects
            .iter()
            .filter(|(name, ..)| name == client)
            .collect();
        let rows: Vec<&String> = names_of
            .keys()
            .copied()
            .filter(|row| {
                !is_common(row) && own.iter().any(|(_, _, record)| record.contains_key(*row))
            })
            .collect();
        if !rows.is_empty() {
            write!(text, "\n### {client}\n")?;
            table(text, &own, &rows, |(_, version, _)| version.clone())?;
        }
    }
    Ok(())
}

fn table(
    text: &mut String,
    columns: &[&(String, String, Record)],
    rows: &[&String],
    title: impl Fn(&(String, String, Record)) -> String,
) -> Result<()> {
    let titles: Vec<String> = columns.iter().map(|column| title(column)).collect();
    write!(
        text,
        "\n| | {} |\n|---|{}\n",
        titles.join(" | "),
        "---|".repeat(titles.len())
    )?;
    for row in rows {
        let cell =
            |(_, _, record): &&(String, String, Record)| match record.get(*row).map(String::as_str)
            {
                None => String::new(),
                Some(WORKS) => "yes".to_owned(),
                Some(state) => state.to_owned(),
            };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        writeln!(text, "| {row} | {} |", cells.join(" | "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_md_is_what_the_records_say() -> Result<()> {
        if writes() {
            fs::write(document(), rendered()?)?;
        }
        let committed = fs::read_to_string(document())?;
        ensure!(
            committed == rendered()?,
            "COVERAGE.md is not what coverage/ says: COVERAGE=write cargo test -p compat-tests --lib coverage"
        );
        Ok(())
    }

    #[test]
    fn what_only_sounds_like_a_feature_to_come_may_not_fail() {
        for shares in [
            "shares a group of the classic protocol",
            "a second worker takes its share",
        ] {
            assert_eq!(feature_to_come(shares), None, "{shares}");
        }
        for waits in [
            "share group",
            "admin listShareGroupOffsets",
            "admin FindShareCoordinators",
        ] {
            assert_eq!(feature_to_come(waits), Some("share groups"), "{waits}");
        }
    }

    #[test]
    fn every_feature_to_come_is_waited_for() -> Result<()> {
        let mut waiting = BTreeSet::new();
        for (section, ..) in SECTIONS {
            for (_, _, record) in subjects_of(section)? {
                waiting.extend(record.into_values());
            }
        }
        let come: Vec<_> = LATER
            .iter()
            .filter(|(_, feature)| !waiting.contains(&format!("with {feature}")))
            .collect();
        ensure!(
            come.is_empty(),
            "nothing waits for these any more, remove them from LATER: {come:?}"
        );
        Ok(())
    }

    #[test]
    fn every_test_of_a_public_suite_that_fails_has_one_of_the_reasons() -> Result<()> {
        let mut given = BTreeSet::new();
        for (_, _, record) in subjects_of("public-suites")? {
            given.extend(record.into_values().filter(|state| state != WORKS));
        }
        let reasons: BTreeSet<String> = REASONS.iter().map(|reason| (*reason).to_owned()).collect();
        assert_eq!(given, reasons, "in the records and in REASONS");
        Ok(())
    }

    #[test]
    fn a_suite_differs_where_a_test_fails_without_a_reason_or_passes_with_one() {
        let record = |lines: &[(&str, &str)]| -> Record {
            let owned = lines
                .iter()
                .map(|(name, state)| ((*name).to_owned(), (*state).to_owned()));
            owned.collect()
        };
        let expected = record(&[
            ("one", WORKS),
            ("two", "with TLS"),
            ("three", "with TLS"),
            ("five", "for no reason of ours"),
        ]);
        let failed = || Err("why".to_owned());
        let outcomes = [
            ("one", failed()),
            ("two", failed()),
            ("three", Ok(())),
            ("four", failed()),
            ("five", failed()),
        ];
        let outcomes = outcomes.map(|(name, outcome)| (name.to_owned(), outcome));
        let (found, wrong) = with_reasons(&expected, &outcomes);
        assert_eq!(found, record(&[("two", "with TLS"), ("three", WORKS)]));
        let without_reason = ["one", "four", "five"].map(|name| format!("{name}: fails with why"));
        assert_eq!(wrong, without_reason);
        let subject = Subject {
            section: "public-suites",
            name: "a-suite",
            version: "1",
        };
        let differs = compare(subject, &found, &expected, wrong).expect_err("they differ");
        let told = format!("{differs:#}");
        assert!(told.contains("three: works, expected: with TLS"), "{told}");
        assert!(told.contains("one: fails with why"), "{told}");
        assert!(!told.contains("two"), "{told}");
    }

    #[test]
    fn a_program_tells_its_capabilities_line_by_line() -> Result<()> {
        let lines = [
            "a line for people",
            r#"{"capability": "produce gzip", "ok": true}"#,
            r#"{"capability": "seek", "ok": false, "error": "no \"answer\""}"#,
        ];
        let told = outcomes(&lines.map(str::to_owned))?;
        let expected = [
            ("produce gzip".to_owned(), Ok(())),
            ("seek".to_owned(), Err("no \"answer\"".to_owned())),
        ];
        assert_eq!(told, expected);
        assert!(outcomes(&["nothing".to_owned()]).is_err());
        Ok(())
    }
}
