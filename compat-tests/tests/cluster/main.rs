//! Three real brokers over a real PostgreSQL and a real object store: what one takes the others give, and brokers come and go
//! under load.

mod failover;
mod operating;
mod secured;
mod upkeep;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use compat_tests::cluster::{Cluster, LEASE};
use compat_tests::python::Python;
use compat_tests::{Program, available};

mod one_cluster;

/// Nothing lost, nothing twice, nothing moved.
const FLAWLESS: &str = concat!(
    r#"{"failed": 0, "lost": 0, "misplaced": 0, "offsets_with_gaps": 0, "stored_twice": 0, "#,
    r#""unacknowledged": 0, "unordered": 0}"#
);
/// An idempotent producer and a group's consumer go on while brokers go and come back.
#[test]
fn brokers_that_are_killed_and_stopped_under_load_lose_nothing_and_double_nothing() -> Result<()> {
    let Some(python) = available(Python::with("confluent-kafka", "2.16.1"))? else {
        return Ok(());
    };
    let Some(mut cluster) = available(Cluster::start(&[("num.partitions", "6")]))? else {
        return Ok(());
    };
    cluster.wait_for_brokers(0, &[1, 2, 3])?;
    let limit = Duration::from_secs(300);
    let command = python.command("crash.py", &[&cluster.bootstrap()]);
    let mut program = Program::start(command, limit)?;
    let mut acknowledged = |cluster: &Cluster| {
        program
            .wait_for_line("# acknowledged")
            .with_context(|| cluster.logs())
    };
    acknowledged(&cluster)?;

    cluster.brokers[1].kill9()?;
    cluster.wait_for_brokers(0, &[1, 3])?;
    acknowledged(&cluster)?;
    cluster.brokers[1].restart()?;
    cluster.wait_for_brokers(2, &[1, 2, 3])?;

    let began = Instant::now();
    cluster.brokers[2].terminate()?;
    cluster.wait_for_brokers(0, &[1, 2])?;
    // Its lease would have gone on for longer. How long it takes on a quiet machine is measured by `failover`.
    let took = began.elapsed();
    ensure!(took < LEASE / 2, "stopped in order: {took:?}");
    acknowledged(&cluster)?;
    cluster.brokers[2].restart()?;
    acknowledged(&cluster)?;

    let result = program.finish().with_context(|| cluster.logs())?;
    assert_eq!(result, FLAWLESS, "{}", cluster.logs());
    for broker in &mut cluster.brokers {
        broker.terminate()?;
    }
    Ok(())
}
