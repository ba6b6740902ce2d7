//! Who is measured, and how long.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::served::Served;
use crate::cluster::Cluster;
use crate::stores::Postgres;
use crate::{BrokerKind, BrokerProcess};

/// A broker, or three of them, in one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    pub name: &'static str,
    pub kind: BrokerKind,
    /// Server properties on top of the defaults.
    pub config: &'static [(&'static str, &'static str)],
    /// An Ottla that is not the one of this workspace.
    pub binary: Option<PathBuf>,
    /// Three of them over PostgreSQL and SeaweedFS.
    pub is_cluster: bool,
}

/// Acknowledges what is on stable media: the default.
pub const OTTLA: Contender = Contender {
    name: "ottla",
    kind: BrokerKind::Ottla,
    config: &[],
    binary: None,
    is_cluster: false,
};
/// Acknowledges what is in the page cache, as Kafka does.
pub const OTTLA_OS: Contender = Contender {
    name: "ottla os",
    kind: BrokerKind::Ottla,
    config: &[("ottla.durability", "os")],
    binary: None,
    is_cluster: false,
};
/// Asks 1,000 access control entries about everything.
pub const OTTLA_ACLS: Contender = Contender {
    name: "ottla acls",
    kind: BrokerKind::Ottla,
    config: &[
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ),
        ("allow.everyone.if.no.acl.found", "true"),
    ],
    binary: None,
    is_cluster: false,
};
/// Opens no compressed batch that nothing in the broker has to open.
pub const OTTLA_UNOPENED: Contender = Contender {
    name: "ottla unopened",
    kind: BrokerKind::Ottla,
    config: &[("ottla.record.validation", "compacted")],
    binary: None,
    is_cluster: false,
};
/// Acknowledges what is in the object store or in the database, and has its order in the database. That is on stable media in
/// PostgreSQL, and in the page cache in SeaweedFS.
pub const CLUSTER: Contender = Contender {
    name: "cluster",
    kind: BrokerKind::Ottla,
    config: &[],
    binary: None,
    is_cluster: true,
};
/// Acknowledges what is in the page cache: the default.
pub const KAFKA: Contender = Contender {
    name: "kafka",
    kind: BrokerKind::Kafka,
    config: &[],
    binary: None,
    is_cluster: false,
};
/// Acknowledges what is on stable media.
pub const KAFKA_FLUSH: Contender = Contender {
    name: "kafka flush=1",
    kind: BrokerKind::Kafka,
    config: &[("log.flush.interval.messages", "1")],
    binary: None,
    is_cluster: false,
};

impl Contender {
    /// Starts it on an empty directory.
    ///
    /// # Errors
    /// As [`BrokerProcess::start_as`].
    pub fn start(&self) -> Result<BrokerProcess> {
        let mut broker = self.stopped()?;
        broker.restart()?;
        Ok(broker)
    }

    /// Starts it, one broker or several, for a load that needs to know no more of it.
    ///
    /// # Errors
    /// As [`BrokerProcess::start_as`] and [`Cluster::start`].
    pub fn serve(&self) -> Result<Box<dyn Served>> {
        Ok(match self.is_cluster {
            true => Box::new(self.start_cluster()?),
            false => Box::new(self.start()?),
        })
    }

    /// Starts three brokers over their stores, with a database that syncs its commits.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_cluster(&self) -> Result<Cluster> {
        let postgres = Postgres::start_with(&["fsync=on"], &[])?;
        let cluster = Cluster::start_over(postgres, self.config, self.binary.as_deref())?;
        cluster.wait_for_brokers(0, &[1, 2, 3])?;
        Ok(cluster)
    }

    /// One that has to be told more before it starts.
    ///
    /// # Errors
    /// As [`BrokerProcess::stopped`].
    pub fn stopped(&self) -> Result<BrokerProcess> {
        let mut broker = BrokerProcess::stopped(self.kind, self.config, &[])?;
        if let Some(binary) = &self.binary {
            broker.use_binary(binary);
        }
        Ok(broker)
    }

    /// The same as the binary of another build, whose figures have other names.
    pub fn built_as(&self, name: &'static str, binary: PathBuf) -> Self {
        Self {
            name,
            binary: Some(binary),
            ..self.clone()
        }
    }
}

/// What the command line chooses.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long each workload is measured.
    pub seconds: Duration,
    /// How long it runs before that: a virtual machine compiles what it has seen often.
    pub warmup: Duration,
    /// How much is read back from disk by the cold fetch.
    pub cold_bytes: u64,
    /// How much is in the log directory when the broker starts after a kill.
    pub recovery_bytes: u64,
    /// In how many partitions that is.
    pub recovery_partitions: u32,
    /// How many partitions there are at a start with very many.
    pub start_partitions: u32,
    /// Whether there is a record in each of them.
    pub start_with_records: bool,
    /// The largest number of partitions that is loaded.
    pub max_partitions: u32,
}
