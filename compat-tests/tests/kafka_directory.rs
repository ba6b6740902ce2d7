//! What real Kafka has written is served, as it was, by Ottla; and what Ottla adds to it Kafka can read.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use compat_tests::java::KafkaTools;
use compat_tests::{BrokerKind, BrokerProcess, available};

const PROGRAM: &str = "KafkaDirectory.java";
const PARTITIONS: [&str; 4] = ["plain-0", "plain-1", "transactions-0", "compacted-0"];

/// The files of a directory with one of these extensions.
fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Copies partitions as the README says: all files of their directories but `partition.metadata`.
fn migrate(from: &Path, to: &Path) -> Result<()> {
    for partition in PARTITIONS {
        fs::create_dir_all(to.join(partition))?;
        for entry in fs::read_dir(from.join(partition))? {
            let entry = entry?;
            if entry.file_name() != "partition.metadata" {
                fs::copy(entry.path(), to.join(partition).join(entry.file_name()))?;
            }
        }
    }
    Ok(())
}

fn offsets(read: &str) -> Vec<&str> {
    read.lines()
        .filter(|line| line.starts_with("offset "))
        .collect()
}

fn records(read: &str) -> Vec<&str> {
    read.lines()
        .filter(|line| line.starts_with("read_"))
        .collect()
}

/// The first line that two texts do not share.
fn difference<'a>(one: &[&'a str], other: &[&'a str]) -> Option<(&'a str, &'a str)> {
    let longer = one.len().max(other.len());
    let line = |lines: &[&'a str], at: usize| lines.get(at).copied().unwrap_or("nothing");
    (0..longer)
        .map(|at| (line(one, at), line(other, at)))
        .find(|(one, other)| one != other)
}

#[test]
fn a_directory_of_real_kafka_is_served_to_the_letter_and_continued() -> Result<()> {
    let Some(tools) = available(KafkaTools::new())? else {
        return Ok(());
    };
    let run = |what: &str, broker: &BrokerProcess| {
        let done = tools.run(PROGRAM, &[what, &broker.bootstrap()]);
        done.with_context(|| format!("{what}: {}", broker.log_tail()))
    };
    let often = [
        ("log.cleaner.backoff.ms", "100"),
        ("log.cleaner.threads", "1"),
    ];
    // What is compacted again is right, but not the same.
    let idle = [("log.cleaner.enable", "false")];
    let mut kafka = BrokerProcess::start_as(BrokerKind::Kafka, &often, &[])?;
    run("create", &kafka)?;
    run("fill", &kafka)?;
    let written = run("read", &kafka)?;
    kafka.terminate()?;
    for partition in ["plain-0", "transactions-0"] {
        let segments = files(&kafka.data_dir().join(partition), "log")?.len();
        ensure!(segments > 1, "{partition} has {segments} segments");
    }
    ensure!(!files(&kafka.data_dir().join("transactions-0"), "txnindex")?.is_empty());

    let mut ottla = BrokerProcess::start_as(BrokerKind::Ottla, &idle, &[])?;
    run("create", &ottla)?;
    ottla.terminate()?;
    migrate(&kafka.data_dir(), &ottla.data_dir())?;
    ottla.restart()?;
    let served = run("read", &ottla)?;
    assert_eq!(difference(&records(&written), &records(&served)), None);
    assert_eq!(difference(&offsets(&written), &offsets(&served)), None);

    // New producers, whose ids Kafka had given to others; then a start after a kill, and an orderly one.
    run("append", &ottla)?;
    let continued = run("read", &ottla)?;
    ottla.kill9()?;
    ottla.restart()?;
    let recovered = run("read", &ottla)?;
    assert_eq!(difference(&records(&continued), &records(&recovered)), None);
    ottla.terminate()?;
    ottla.restart()?;
    run("append", &ottla)?;
    let twice = run("read", &ottla)?;
    ottla.terminate()?;
    for (before, after, added) in [(&written, &continued, 20), (&continued, &twice, 20)] {
        for partition in PARTITIONS {
            let added = if partition.starts_with("plain") {
                added * 10
            } else {
                added
            };
            for isolation in ["read_uncommitted", "read_committed"] {
                let start = format!("{isolation} {partition} ");
                let of = |read: &'_ str| -> Vec<String> {
                    let lines = records(read).into_iter();
                    let own = lines.filter(|line| line.starts_with(&start));
                    own.map(str::to_owned).collect()
                };
                let (before, after) = (of(before), of(after));
                assert_eq!(after.len(), before.len() + added, "{start}");
                assert_eq!(after[..before.len()], before[..], "{start}");
            }
        }
    }

    for partition in PARTITIONS {
        let dir = ottla.data_dir().join(partition);
        for (extension, option) in [
            ("log", "--deep-iteration"),
            ("index", "--index-sanity-check"),
            ("timeindex", "--index-sanity-check"),
            ("txnindex", "--deep-iteration"),
            ("snapshot", "--deep-iteration"),
        ] {
            let names: Vec<String> = files(&dir, extension)?
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            if names.is_empty() {
                continue;
            }
            let dumped = tools.run(
                "org.apache.kafka.tools.DumpLogSegments",
                &[option, "--files", &names.join(",")],
            )?;
            for complaint in ["isvalid: false", "Mismatch", "Exception", "corrupt"] {
                assert!(
                    !dumped.contains(complaint),
                    "{partition} {extension}: {dumped}"
                );
            }
        }
    }
    Ok(())
}
