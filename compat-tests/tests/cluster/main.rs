//! Three real brokers over a real PostgreSQL and a real object store: what one takes the others give, and brokers come and go
//! under load.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use compat_tests::python::Python;
use compat_tests::stores::{Postgres, S3};
use compat_tests::{BrokerKind, BrokerProcess, Program, RawClient, available};
use kafka_protocol::messages::MetadataRequest;

/// Nothing lost, nothing twice, nothing moved.
const FLAWLESS: &str = concat!(
    r#"{"failed": 0, "lost": 0, "misplaced": 0, "offsets_with_gaps": 0, "stored_twice": 0, "#,
    r#""unacknowledged": 0, "unordered": 0}"#
);
/// How long a broker that says nothing is taken for alive.
const LEASE: Duration = Duration::from_secs(10);

struct Cluster {
    brokers: Vec<BrokerProcess>,
    _postgres: Postgres,
    _s3: S3,
}

impl Cluster {
    /// `None` where there is no PostgreSQL or no Python to be had.
    fn start() -> Result<Option<Self>> {
        let (Some(postgres), Some(s3)) = (available(Postgres::start())?, available(S3::start())?)
        else {
            return Ok(None);
        };
        let mut brokers = Vec::new();
        for id in 1..=3 {
            let (database, objects) = (postgres.url(), s3.url("cluster"));
            let (id, rack) = (id.to_string(), format!("rack-{id}"));
            let config = [
                ("node.id", id.as_str()),
                ("broker.rack", rack.as_str()),
                ("ottla.cluster.database.url", database.as_str()),
                ("ottla.cluster.objects.url", objects.as_str()),
                ("num.partitions", "6"),
            ];
            let mut broker = BrokerProcess::stopped(BrokerKind::Ottla, &config, &[])?;
            broker.put_in_environment(&s3.environment());
            broker.restart()?;
            brokers.push(broker);
        }
        Ok(Some(Self {
            brokers,
            _postgres: postgres,
            _s3: s3,
        }))
    }

    fn bootstrap(&self) -> String {
        let brokers = self.brokers.iter().map(BrokerProcess::bootstrap);
        brokers.collect::<Vec<_>>().join(",")
    }

    fn logs(&self) -> String {
        let brokers = self.brokers.iter().map(BrokerProcess::log_tail);
        brokers.collect::<Vec<_>>().join("\n")
    }

    /// Waits until a broker tells of these brokers alone, as those that are there and as those that lead. Says how long it took.
    fn wait_for_brokers(&self, asked: usize, expected: &[i32]) -> Result<Duration> {
        let began = Instant::now();
        let expected: BTreeSet<i32> = expected.iter().copied().collect();
        loop {
            let mut client = RawClient::connect(self.brokers[asked].address())?;
            let all = MetadataRequest::default().with_topics(None);
            let told = client.call(12, &all)?;
            let there: BTreeSet<i32> = told.brokers.iter().map(|broker| broker.node_id.0).collect();
            let partitions = told.topics.iter().flat_map(|topic| &topic.partitions);
            let mut leaders = partitions.map(|partition| partition.leader_id.0);
            if there == expected && leaders.all(|leader| expected.contains(&leader)) {
                return Ok(began.elapsed());
            }
            ensure!(
                began.elapsed() < 3 * LEASE,
                "{there:?} are there\n{}",
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// An idempotent producer and a group's consumer go on while brokers go and come back.
#[test]
fn brokers_that_are_killed_and_stopped_under_load_lose_nothing_and_double_nothing() -> Result<()> {
    let Some(python) = available(Python::with("confluent-kafka", "2.16.1"))? else {
        return Ok(());
    };
    let Some(mut cluster) = Cluster::start()? else {
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
    let took = cluster.wait_for_brokers(0, &[1, 3])?;
    ensure!(took < LEASE + Duration::from_secs(2), "killed: {took:?}");
    acknowledged(&cluster)?;
    cluster.brokers[1].restart()?;
    cluster.wait_for_brokers(2, &[1, 2, 3])?;

    let began = Instant::now();
    cluster.brokers[2].terminate()?;
    cluster.wait_for_brokers(0, &[1, 2])?;
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(3), "stopped in order: {took:?}");
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
