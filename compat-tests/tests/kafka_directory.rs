//! What real Kafka has written is served, as it was, by Ottla; and what Ottla adds to it Kafka can read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use compat_tests::broker_process::ottla_binary;
use compat_tests::java::KafkaTools;
use compat_tests::{BrokerKind, BrokerProcess, RawClient, available, cluster};
use kafka_protocol::messages::{DescribeTransactionsRequest, ListTransactionsRequest};

const PROGRAM: &str = "KafkaDirectory";
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

/// What a broker knows of its transactional ids, a line for each.
fn transactional_ids(broker: &BrokerProcess) -> Result<String> {
    let mut client = RawClient::connect(broker.address())?;
    let deadline = Instant::now() + Duration::from_secs(30);
    // Kafka loads them after it has begun to serve.
    let ids = loop {
        let listed = client.call(0, &ListTransactionsRequest::default())?;
        if listed.error_code == 0 && !listed.transaction_states.is_empty() {
            let states = listed.transaction_states.into_iter();
            break states.map(|state| state.transactional_id);
        }
        ensure!(
            Instant::now() < deadline,
            "no transactional ids: {listed:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    };
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids.collect());
    let described = client.call(0, &request)?.transaction_states.into_iter();
    let lines: BTreeSet<String> = described.map(|state| format!("{state:?}")).collect();
    Ok(Vec::from_iter(lines).join("\n"))
}

/// Every file with its length, the time of its last change, and what is in it.
fn tree(dir: &Path) -> Result<BTreeMap<PathBuf, (SystemTime, Vec<u8>)>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        found.insert(dir.clone(), (fs::metadata(&dir)?.modified()?, Vec::new()));
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let content = (fs::metadata(&path)?.modified()?, fs::read(&path)?);
                found.insert(path, content);
            }
        }
    }
    Ok(found)
}

/// The files that are not the same in two trees.
fn changed<T: PartialEq>(one: &BTreeMap<PathBuf, T>, other: &BTreeMap<PathBuf, T>) -> Vec<PathBuf> {
    let names: BTreeSet<&PathBuf> = one.keys().chain(other.keys()).collect();
    let differ = names
        .into_iter()
        .filter(|path| one.get(*path) != other.get(*path));
    differ.cloned().collect()
}

/// Runs Ottla, which is to end by itself; its exit code and what it wrote to stderr.
fn ottla(args: &[&OsStr]) -> Result<(Option<i32>, String, String)> {
    let ended = Command::new(ottla_binary()?)
        .args(args)
        .stdin(Stdio::null())
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((
        ended.status.code(),
        text(&ended.stdout),
        text(&ended.stderr),
    ))
}

/// A start on Kafka's directory, as both kinds of people try it; it touches nothing, and says what to do.
fn refuses_to_start_on(dir: &Path, config: &Path) -> Result<()> {
    let listen = ["--listen", "127.0.0.1:0"].map(OsStr::new);
    let named = [OsStr::new("--data-dir"), dir.as_os_str()];
    let configured = [OsStr::new("--config"), config.as_os_str()];
    for place in [named, configured] {
        let (code, _, told) = ottla(&[&listen[..], &place].concat())?;
        let last = told.lines().last().unwrap_or_default();
        assert_eq!(code, Some(1), "{told}");
        for word in ["Kafka", "nothing in it was touched", "ottla import"] {
            assert!(last.contains(word), "{word}: {told}");
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
    if cluster::leaves_out("import") {
        return Ok(());
    }
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

/// The answers without the epochs of the ends of a log: the present leader has a new one after the import, and tells it of
/// the start as well.
fn without_present_epoch(read: &str) -> Vec<String> {
    let line = |line: &str| match line.split_once(" epoch=") {
        Some((start, _)) if line.contains(" latest ") || line.contains(" earliest ") => {
            start.to_owned()
        }
        _ => line.to_owned(),
    };
    read.lines().map(line).collect()
}

/// Waits for Kafka to remove a segment below the log start: before that it finds no offset by time there, and none behind.
fn wait_until_gone(segment: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while segment.exists() {
        ensure!(
            Instant::now() < deadline,
            "{} is still there",
            segment.display()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Kafka of `version`, whose groups speak `protocols`: imported, served, continued; and Kafka starts again.
fn import_from(version: &str, protocols: &str) -> Result<()> {
    if cluster::leaves_out("import") {
        return Ok(());
    }
    let tools = (KafkaTools::new(), KafkaTools::of_version(version));
    let (Some(tools), Some(_)) = (available(tools.0)?, available(tools.1)?) else {
        return Ok(());
    };
    let run = |broker: &BrokerProcess, what: &[&str]| {
        let bootstrap = broker.bootstrap();
        let arguments: Vec<&str> = [what[0], &bootstrap]
            .into_iter()
            .chain(what[1..].iter().copied())
            .collect();
        let done = tools.run(PROGRAM, &arguments);
        done.with_context(|| format!("{what:?}: {}", broker.log_tail()))
    };
    let often = [
        ("log.cleaner.backoff.ms", "100"),
        ("log.cleaner.threads", "1"),
    ];
    let mut kafka = BrokerProcess::start_kafka(version, &often)?;
    run(&kafka, &["create"])?;
    run(&kafka, &["fill"])?;
    // Each start begins leader epochs, which clients remember. What is compacted again is right, but not the same.
    kafka.terminate()?;
    let idle = [("log.cleaner.enable", "false")];
    kafka.configure(&[
        idle[0],
        ("log.initial.task.delay.ms", "100"),
        ("log.retention.check.interval.ms", "1000"),
    ]);
    kafka.restart()?;
    run(&kafka, &["remove"])?;
    // Kafka notes where its logs start once a minute, and when it stops: a kill before that brings records back.
    kafka.terminate()?;
    kafka.restart()?;
    wait_until_gone(&kafka.data_dir().join("plain-1/00000000000000000000.log"))?;
    run(&kafka, &["append"])?;
    run(&kafka, &["commit", protocols])?;
    let told = |broker: &BrokerProcess| -> Result<[String; 4]> {
        Ok([
            transactional_ids(broker)?,
            run(broker, &["topics"])?,
            run(broker, &["groups"])?,
            without_present_epoch(&run(broker, &["read"])?).join("\n"),
        ])
    };
    let before = told(&kafka)?;

    let (from, target) = (kafka.data_dir(), tempfile::tempdir()?);
    let to = target.path().join("imported");
    let import = |from: &Path, to: &Path| {
        ottla(&[
            "import".as_ref(),
            from.as_os_str(),
            "--data-dir".as_ref(),
            to.as_os_str(),
        ])
    };
    // While it runs, and a copy of what it had on disk at some moment.
    let names_before: Vec<_> = fs::read_dir(&from)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    refuses_to_start_on(&from, &kafka.config_path())?;
    let (code, _, refusal) = import(&from, &to)?;
    assert_eq!(code, Some(1));
    assert!(refusal.contains("running"), "{refusal}");
    let names_after: Vec<_> = fs::read_dir(&from)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    assert_eq!(names_before, names_after);
    kafka.kill9()?;
    let untouched = tree(&from)?;
    refuses_to_start_on(&from, &kafka.config_path())?;
    let (code, _, refusal) = import(&from, &to)?;
    assert_eq!(code, Some(1));
    assert!(refusal.contains("not stopped in order"), "{refusal}");
    assert_eq!(changed(&untouched, &tree(&from)?), Vec::<PathBuf>::new());
    kafka.restart()?;
    kafka.terminate()?;

    let untouched = tree(&from)?;
    refuses_to_start_on(&from, &kafka.config_path())?;
    let mut served = BrokerProcess::stopped(BrokerKind::Ottla, &idle, &[])?;
    let (code, summary, progress) = import(&from, &served.data_dir())?;
    assert_eq!(code, Some(0), "{progress}");
    assert!(summary.starts_with("imported 5 topics with"), "{summary}");
    let (code, _, refusal) = import(&from, &served.data_dir())?;
    assert_eq!(code, Some(1));
    assert!(refusal.contains("not empty"), "{refusal}");
    // What an import leaves that is cut short.
    fs::create_dir(&to)?;
    fs::write(to.join("import-unfinished"), "")?;
    let (code, _, refusal) = import(&from, &to)?;
    assert_eq!(code, Some(1));
    assert!(refusal.contains("not finished"), "{refusal}");
    let start = ["--listen", "127.0.0.1:0", "--data-dir"].map(OsStr::new);
    let (code, _, refusal) = ottla(&[&start[..], &[to.as_os_str()]].concat())?;
    assert_eq!(code, Some(1));
    assert!(refusal.contains("not finished"), "{refusal}");
    assert_eq!(changed(&untouched, &tree(&from)?), Vec::<PathBuf>::new());

    served.restart()?;
    let log = served.log();
    assert!(!log.contains("skipping"), "{log}");
    let compare = |after: &[String; 4]| {
        for (before, after) in before.iter().zip(after) {
            let lines =
                |text: &'_ str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
            let (before, after) = (lines(before), lines(after));
            let (before, after): (Vec<&str>, Vec<&str>) = (
                before.iter().map(String::as_str).collect(),
                after.iter().map(String::as_str).collect(),
            );
            assert_eq!(difference(&before, &after), None, "{version}");
        }
    };
    compare(&told(&served)?);
    let resumed = run(&served, &["resume", protocols])?;
    run(&served, &["append"])?;
    let continued = run(&served, &["read"])?;
    served.kill9()?;
    served.restart()?;
    assert_eq!(
        difference(&records(&continued), &records(&run(&served, &["read"])?)),
        None
    );
    served.terminate()?;

    kafka.restart()?;
    compare(&told(&kafka)?);
    assert_eq!(resumed, run(&kafka, &["resume", protocols])?, "{version}");
    kafka.terminate()
}

#[test]
fn what_kafka_4_has_is_imported_and_its_groups_go_on() -> Result<()> {
    import_from("4.4.0", "classic,consumer")
}

#[test]
fn what_kafka_3_has_is_imported_and_its_groups_go_on() -> Result<()> {
    import_from("3.9.1", "classic")
}
