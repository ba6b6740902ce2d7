//! Three real brokers over a real PostgreSQL and a real object store.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use kafka_protocol::messages::MetadataRequest;

use crate::stores::{Postgres, S3};
use crate::toolchain::skip;
use crate::{BrokerProcess, RawClient};

/// How long a broker that says nothing is taken for alive.
pub const LEASE: Duration = Duration::from_secs(10);

/// What makes a broker one of a cluster.
pub(crate) struct Place {
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) environment: Vec<(String, String)>,
}

/// The places of three brokers, each in a rack of its own.
fn places(database: &str, s3: &S3, objects: &str) -> Vec<Place> {
    let place = |id: i32| {
        let properties = [
            ("node.id", id.to_string()),
            ("broker.rack", format!("rack-{id}")),
            ("ottla.cluster.database.url", database.to_owned()),
            ("ottla.cluster.objects.url", s3.url(objects)),
        ];
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        Place {
            properties: properties.into_iter().map(owned).collect(),
            environment: s3.environment().into_iter().map(owned).collect(),
        }
    };
    (1..=3).map(place).collect()
}

/// What is not asked of three brokers, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "dump-log",
        "brokers of a cluster have no segments for Kafka's tool to read",
    ),
    (
        "import",
        "a directory is taken over by a broker that keeps records in one",
    ),
    (
        "snapshot",
        "a snapshot is a copy of a broker's directory; the stores have backups of their own",
    ),
];

/// Whether a test or a part of it is left out with three brokers, which is said.
///
/// # Panics
/// The list of what is left out does not name it.
pub fn leaves_out(what: &str) -> bool {
    let mut listed = LEFT_OUT.iter();
    let (_, why) = listed
        .find(|(name, _)| *name == what)
        .expect("it is listed");
    let is_left_out = is_asked_for();
    if is_left_out {
        skip(&format!("{what}: {why}"));
    }
    is_left_out
}

/// Whether each Ottla that a test starts is to be three brokers.
pub(crate) fn is_asked_for() -> bool {
    std::env::var("COMPAT_BROKER").is_ok_and(|kind| kind == "cluster")
}

/// Places in a new cluster. All clusters of a test process share the servers, and have a database and a prefix each.
///
/// # Errors
/// As [`Cluster::start`].
pub(crate) fn new_places() -> Result<Vec<Place>> {
    /// The servers end with the process.
    static SERVERS: Mutex<Option<(Postgres, S3, usize)>> = Mutex::new(None);
    let mut servers = SERVERS.lock().map_err(|_| anyhow!("no servers"))?;
    if servers.is_none() {
        *servers = Some((Postgres::start()?, S3::start()?, 0));
    }
    let (postgres, s3, clusters) = servers.as_mut().context("they run")?;
    *clusters += 1;
    let name = format!("cluster_{clusters}");
    postgres.create_database(&name)?;
    Ok(places(&postgres.url_of(&name), s3, &name))
}

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
        Self::start_over(Postgres::start()?, config, None)
    }

    /// The same over a database of the caller's, with brokers of another build.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_over(
        postgres: Postgres,
        config: &[(&str, &str)],
        binary: Option<&Path>,
    ) -> Result<Self> {
        let s3 = S3::start()?;
        let mut brokers = Vec::new();
        for place in places(&postgres.url(), &s3, "cluster") {
            let mut broker = BrokerProcess::member(place, config)?;
            if let Some(binary) = binary {
                broker.use_binary(binary);
            }
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

    /// Waits until a broker tells of all these brokers, and that no other leads anything. Says how long it took. Who comes or goes
    /// is told of for a moment more than it leads.
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
            if there.is_superset(&expected) && leaders.all(|leader| expected.contains(&leader)) {
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
