//! The stores of a cluster stay small, and nothing is missing for it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use compat_tests::cluster::Cluster;
use compat_tests::python::Python;
use compat_tests::{Program, available};
use serde_json::{Value, json};

/// Everything is done soon.
const FAST: &[(&str, &str)] = &[
    ("log.initial.task.delay.ms", "1000"),
    ("log.retention.check.interval.ms", "1000"),
    ("ottla.cluster.delete.delay.ms", "1000"),
    ("ottla.cluster.flush.ms", "10"),
    ("ottla.cluster.inline.bytes", "1000"),
    ("ottla.cluster.log.groups", "16"),
    ("ottla.cluster.object.bytes", "1048576"),
    ("ottla.cluster.snapshot.entries", "50"),
    ("ottla.cluster.snapshot.interval.ms", "1000"),
];
const RECORDS: usize = 200;
const VALUE_BYTES: u64 = 3_000;
const KEYS: usize = 5;
const ROUNDS: usize = 60;

/// What is in the stores.
#[derive(Debug)]
struct Stored {
    commits: usize,
    rows: usize,
    inline_bytes: usize,
    objects: usize,
    object_bytes: u64,
}

fn stored(cluster: &Cluster) -> Result<Stored> {
    let number = |sql: &str| -> Result<usize> {
        let answer = cluster.postgres.psql("ottla", sql)?;
        answer.trim().parse().with_context(|| answer.clone())
    };
    let objects = cluster.s3.objects("cluster/data")?;
    Ok(Stored {
        commits: number("SELECT sum(commit_seq) FROM ottla.log_group")?,
        rows: number("SELECT count(*) FROM ottla.commit_log")?,
        inline_bytes: number("SELECT coalesce(sum(length(inline)), 0) FROM ottla.commit_log")?,
        objects: objects.len(),
        object_bytes: objects.iter().map(|(_, bytes)| bytes).sum(),
    })
}

/// Commits are trimmed, objects merged, too old, overwritten and deleted records removed, and what is left is all there: also at a
/// broker that has read the stores before, and at one that begins with what is left.
#[test]
fn stores_stay_small_and_nothing_is_missing() -> Result<()> {
    let Some(python) = available(Python::with("confluent-kafka", "2.16.1"))? else {
        return Ok(());
    };
    let Some(mut cluster) = available(Cluster::start(FAST))? else {
        return Ok(());
    };
    cluster.wait_for_brokers(0, &[1, 2, 3])?;
    let groups = "SELECT v_groups FROM ottla.cluster";
    ensure!(cluster.postgres.psql("ottla", groups)?.trim() == "16");
    let bootstrap = cluster.bootstrap();
    let upkeep = |args: &[&str]| {
        let command = python.command("upkeep.py", args);
        Program::start(command, Duration::from_secs(120))?.finish()
    };
    upkeep(&["write", &bootstrap]).with_context(|| cluster.logs())?;

    let kept_bytes = RECORDS as u64 * VALUE_BYTES;
    let deadline = Instant::now() + Duration::from_secs(60);
    let small = loop {
        let now = stored(&cluster)?;
        // Each of the 16 log groups has objects of its own in the end.
        let is_small = now.rows < now.commits / 10
            && now.inline_bytes == 0
            && now.objects < RECORDS / 2
            && now.object_bytes < kept_bytes * 3 / 2;
        if is_small {
            break now;
        }
        ensure!(Instant::now() < deadline, "{now:?}\n{}", cluster.logs());
        std::thread::sleep(Duration::from_millis(250));
    };
    ensure!(
        small.commits > 2 * RECORDS && small.object_bytes > kept_bytes,
        "{small:?}"
    );

    let expected = json!({
        "kept": true, "latest": true, "compacted": KEYS, "short": 0, "begins": ROUNDS,
    });
    let read = |cluster: &Cluster, rack: &str| -> Result<Value> {
        let read = upkeep(&["read", &bootstrap, rack]);
        Ok(serde_json::from_str(
            &read.with_context(|| cluster.logs())?,
        )?)
    };
    for rack in ["rack-1", "rack-2", "rack-3"] {
        assert_eq!(read(&cluster, rack)?, expected, "at {rack}");
    }
    cluster.brokers[0].kill9()?;
    cluster.brokers[0].restart()?;
    cluster.wait_for_brokers(1, &[1, 2, 3])?;
    assert_eq!(read(&cluster, "rack-1")?, expected, "restarted");
    for broker in &mut cluster.brokers {
        broker.terminate()?;
    }
    Ok(())
}
