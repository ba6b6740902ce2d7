//! The section of the cluster that a broker is a part of.

use credentials::secret::Secret;

use super::broker_row::{BrokerRow, own, own_null};
use super::def::{Kind, Rule};
use super::error::ConfigError;
use super::section::section;
use super::settings::Settings;

section! {
    /// Where several brokers keep together what they have, and how they write it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ClusterConfig of BrokerRow {}
    keys {
        /// PostgreSQL database that all brokers of a cluster share: postgres://user:password@host/database. It has the order of all
        /// records, the metadata, and who is there. With ottla.cluster.objects.url a broker is one of a cluster, and keeps no
        /// records in its directory.
        database_url: Option<Secret> = own_null("ottla.cluster.database.url", Kind::Password) => secret,
        /// Object store that all brokers of a cluster share: s3://bucket/prefix. It has the records. Credentials, region and
        /// endpoint are where AWS's tools look for them: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and the like.
        objects_url: Option<String> = own_null("ottla.cluster.objects.url", Kind::String).rule(Rule::NonEmptyString),
        /// In how many log groups the cluster has its partitions, if this broker is the first and makes the tables; it stays so.
        /// Each group has an order of its own, and is led as a whole. Some ten for each broker that there will ever be.
        log_groups: u16 = own("ottla.cluster.log.groups", Kind::Int, "64").rule(Rule::Between(1, 4096)),
        /// For how many ms batches gather before they are written as one object.
        flush_ms: u64 = own("ottla.cluster.flush.ms", Kind::Int, "250").rule(Rule::Between(5, 1000)),
        /// So many bytes are written as one object without waiting for more.
        flush_bytes: usize = own("ottla.cluster.flush.bytes", Kind::Int, "8388608").rule(Rule::Between(65_536, 268_435_456)),
        /// So many bytes, or less, go into the database with the commit, and no object is written: that is faster.
        inline_bytes: usize = own("ottla.cluster.inline.bytes", Kind::Int, "65536").rule(Rule::Between(0, 1_048_576)),
        /// Memory for records that were written or read a moment ago.
        cache_bytes: usize = own("ottla.cluster.cache.bytes", Kind::Long, "268435456").at_least(1_048_576),
        /// After so many commits to a log group what they came to is written as a snapshot, and a broker that starts reads that
        /// and what follows.
        snapshot_entries: i64 = own("ottla.cluster.snapshot.entries", Kind::Int, "1000").at_least(10),
        /// After so many ms a snapshot is written in any case, if there was a commit. Records that went into the database stay
        /// there for ten times as long, and are moved to the object store then.
        snapshot_interval_ms: u64 = own("ottla.cluster.snapshot.interval.ms", Kind::Int, "60000").at_least(1_000),
        /// About how large objects become by being merged.
        object_bytes: u64 = own("ottla.cluster.object.bytes", Kind::Long, "67108864").rule(Rule::Between(1_048_576, 1_073_741_824)),
        /// For how many ms objects and commits are kept that nothing needs any more: longer than any fetch takes.
        delete_delay_ms: u64 = own("ottla.cluster.delete.delay.ms", Kind::Long, "600000").at_least(1_000),
        /// An object of a broker that is gone, which nothing refers to, is removed when it is so many ms old: a commit that was on
        /// its way then must have failed.
        orphan_age_ms: u64 = own("ottla.cluster.orphan.age.ms", Kind::Long, "86400000").at_least(60_000),
    }
    also {}
}

fn secret(text: Option<String>) -> Option<Secret> {
    text.filter(|text| !text.is_empty()).map(Secret::new)
}

/// The stores of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStores {
    pub database_url: Secret,
    pub objects_url: String,
}

impl ClusterConfig {
    /// The stores that the broker shares with others; `None`: it is on its own.
    ///
    /// # Errors
    /// One is named without the other, or in a way that nobody understands. No error tells the password of the database.
    pub(super) fn stores(&self, settings: &Settings) -> Result<Option<ClusterStores>, ConfigError> {
        const DATABASE: &str = "ottla.cluster.database.url";
        const OBJECTS: &str = "ottla.cluster.objects.url";
        let refuse = |key: &'static str, why: &'static str| Err(ConfigError::Cluster { key, why });
        let (database, objects) = match (&self.database_url, &self.objects_url) {
            (None, None) => return Ok(None),
            (Some(database), Some(objects)) => (database, objects),
            (Some(_), None) => {
                return refuse(
                    OBJECTS,
                    "is missing: a cluster needs its objects, too, such as s3://bucket/prefix",
                );
            }
            (None, Some(_)) => {
                return refuse(
                    DATABASE,
                    "is missing: a cluster needs its database, too, such as postgres://user@host/database",
                );
            }
        };
        let is_postgres = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| database.expose().starts_with(scheme));
        if !is_postgres {
            return refuse(
                DATABASE,
                "expected postgres://user:password@host:port/database",
            );
        }
        let bucket = objects.strip_prefix("s3://");
        let bucket = bucket.map(|rest| rest.split('/').next().unwrap_or_default());
        if bucket.is_none_or(str::is_empty) {
            return refuse(OBJECTS, "expected s3://bucket/prefix");
        }
        if bucket.is_some_and(|bucket| bucket.contains(['@', ':'])) {
            return refuse(
                OBJECTS,
                "expected s3://bucket/prefix: credentials are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the endpoint in AWS_ENDPOINT_URL",
            );
        }
        if settings.explicit("ottla.durability").is_some() {
            return refuse(
                "ottla.durability",
                "has no meaning in a cluster, where every acknowledged record is in both stores: remove it",
            );
        }
        Ok(Some(ClusterStores {
            database_url: database.clone(),
            objects_url: objects.clone(),
        }))
    }
}
