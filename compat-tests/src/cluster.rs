//! Three real brokers over a real PostgreSQL and a real object store.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kafka_protocol::messages::MetadataRequest;

use crate::stores::{Postgres, S3};
use crate::{BrokerKind, BrokerProcess, RawClient};

/// How long a broker that says nothing is taken for alive.
pub const LEASE: Duration = Duration::from_secs(10);

/// Three brokers, each in a rack of its own; they and their stores are gone when it is dropped.
pub struct Cluster {
    /// With the ids 1, 2 and 3.
    pub brokers: Vec<BrokerProcess>,
    pub postgres: Postgres,
    pub s3: S3,
}

impl Cluster {
    /// Starts the stores and the brokers, with these properties of each.
    ///
    /// # Errors
    /// [`Missing`](crate::Missing) where there is no PostgreSQL or no Python to be had; the log of what does not come up.
    pub fn start(config: &[(&str, &str)]) -> Result<Self> {
        let (postgres, s3) = (Postgres::start()?, S3::start()?);
        let mut brokers = Vec::new();
        for id in 1..=3 {
            let (database, objects) = (postgres.url(), s3.url("cluster"));
            let (id, rack) = (id.to_string(), format!("rack-{id}"));
            let own = [
                ("node.id", id.as_str()),
                ("broker.rack", rack.as_str()),
                ("ottla.cluster.database.url", database.as_str()),
                ("ottla.cluster.objects.url", objects.as_str()),
            ];
            let config = [config, &own].concat();
            let mut broker = BrokerProcess::stopped(BrokerKind::Ottla, &config, &[])?;
            broker.put_in_environment(&s3.environment());
            broker.restart()?;
            brokers.push(broker);
        }
        Ok(Self {
            brokers,
            postgres,
            s3,
        })
    }

    /// Of all three, as clients want it.
    pub fn bootstrap(&self) -> String {
        let brokers = self.brokers.iter().map(BrokerProcess::bootstrap);
        brokers.collect::<Vec<_>>().join(",")
    }

    /// The ends of their logs, for an error message.
    pub fn logs(&self) -> String {
        let brokers = self.brokers.iter().map(BrokerProcess::log_tail);
        brokers.collect::<Vec<_>>().join("\n")
    }

    /// Waits until a broker tells of these brokers alone, as those that are there and as those that lead. Says how long it took.
    ///
    /// # Errors
    /// It does not within three leases.
    pub fn wait_for_brokers(&self, asked: usize, expected: &[i32]) -> Result<Duration> {
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
