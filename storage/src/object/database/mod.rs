//! What the brokers of a cluster share in a database: the order of their commits, who they are, their metadata, and who
//! does which job.
//!
//! Four traits, each for one user; [`MemoryDatabase`] and [`PostgresDatabase`] have all of them. `storage/tests/database.rs` holds what implements them to the same rules.
//!
//! **Who may write.** A broker registers and gets an epoch above all that were there. It names it as its [`Fence`] with
//! everything that it writes. The database refuses an epoch that is not the newest of its broker, and one whose lease has run
//! out. A lease that has ended stays so: whoever was too slow registers again. Time is the database's clock alone.
//!
//! **What comes first.** Partitions belong to log groups, for ever. Each group is a list of rows, numbered from 1 without a gap.
//! A row is appended only behind the one that its writer expected at the end.

mod memory;
mod postgres;

use std::time::Duration;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use uuid::Uuid;

pub use self::memory::{Call, Fate, Faults, MemoryDatabase};
pub use self::postgres::PostgresDatabase;
use crate::log::BoxFuture;

/// How many log groups a new cluster has.
pub const DEFAULT_GROUPS: u16 = 64;
/// The first id that a broker gets that brings none, as with Kafka's `reserved.broker.max.id`.
pub const FIRST_TAKEN_BROKER_ID: i32 = 1001;

/// What a database answers.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, DatabaseError>>;

/// A part of all partitions, whose commits have one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogGroup(pub u16);

/// Which log group a partition belongs to: CRC-32C of the topic's id and the partition, both big endian, modulo `groups`.
pub fn log_group_of(topic_id: Uuid, partition: i32, groups: u16) -> LogGroup {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(topic_id.as_bytes());
    digest.update(&partition.to_be_bytes());
    let group = digest.finalize() % u64::from(groups.max(1));
    LogGroup(u16::try_from(group).unwrap_or(0))
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    pub broker_id: i32,
    pub broker_epoch: i64,
}

/// Why the database did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// Not applied. It may go well when it is tried again.
    #[error("{0}")]
    Unavailable(String),
    /// Unknown whether applied, or whether it still will be.
    #[error("{0}")]
    InDoubt(String),
    /// Not applied: a newer epoch of this broker is there, or its lease has ended. It has to register again.
    #[error("this broker's lease has ended, or another process has registered under its id")]
    Fenced,
    /// Not applied, and it will not go well when it is tried again.
    #[error("{0}")]
    Refused(String),
}

/// What a broker wants as the next row of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub group: LogGroup,
    /// The last row that the broker knows; 0: none.
    pub expected_seq: i64,
    /// Not empty.
    pub entry: Bytes,
    /// Record batches that need no object.
    pub inline: Bytes,
}

/// What becomes of the other proposals of a commit when one is too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Each,
    AllOrNothing,
}

/// A row of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub group: LogGroup,
    pub seq: i64,
    /// Nil if [`OrderedLog::resolve`] has taken the place.
    pub commit_id: Uuid,
    /// -1 if [`OrderedLog::resolve`] has taken the place.
    pub broker_id: i32,
    /// Empty if [`OrderedLog::resolve`] has taken the place: it changes nothing.
    pub entry: Bytes,
    pub inline: Bytes,
}

/// Where a group ends, and what of it is in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub group: LogGroup,
    /// 0: nothing yet.
    pub seq: i64,
    /// The snapshot holds what all rows up to here came to; 0: there is none.
    pub snapshot_seq: i64,
    pub snapshot_key: Option<String>,
}

/// What is new in the groups that somebody follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// By group; those of a group in order, and the first is the one after the last that was known.
    pub rows: Vec<Row>,
    /// Groups that cannot be followed from where the caller is. `seq` above what was known: the rows in between were
    /// trimmed, and are in the snapshot. `seq` below: the database has lost commits.
    pub cut: Vec<Head>,
}

/// The order of all commits: what the engine needs.
pub trait OrderedLog: Send + Sync {
    /// Where these groups end, in the order of the question.
    fn heads<'a>(&'a self, groups: &'a [LogGroup]) -> Answer<'a, Vec<Head>>;

    /// Appends a row to each group that still ends where its proposal expects it, or to none
    /// ([`Mode::AllOrNothing`]) unless all do. Gives the groups that have got their row, at `expected_seq + 1`.
    ///
    /// No two proposals are for one group. `commit_id` is new for each call, and not nil.
    ///
    /// # Errors
    /// After [`DatabaseError::InDoubt`] ask [`resolve`](Self::resolve) about each group ([`Mode::AllOrNothing`]: about
    /// any). The rows may be there, or may be there later, until it has answered.
    fn append_if<'a>(
        &'a self,
        fence: Fence,
        commit_id: Uuid,
        mode: Mode,
        proposals: &'a [Proposal],
    ) -> Answer<'a, Vec<LogGroup>>;

    /// The rows after those that are known, one for each group that has one, and more up to about `limit_bytes` in all.
    fn read_from<'a>(
        &'a self,
        known: &'a [(LogGroup, i64)],
        limit_bytes: usize,
    ) -> Answer<'a, News>;

    /// The inline bytes of a row; `None` if it was trimmed or is not there.
    fn inline(&self, group: LogGroup, seq: i64) -> Answer<'_, Option<Bytes>>;

    /// Whether the row at `seq` is of this commit. What is answered stays true: if there is no such row yet, an empty one
    /// takes its place, for the statement in doubt may not even have reached the database.
    ///
    /// # Errors
    /// [`DatabaseError::Refused`] if the row was trimmed, so that nobody can tell any more, or if the group ends before
    /// `seq - 1`: the database has lost commits. Otherwise [`DatabaseError::Unavailable`]: ask again.
    fn resolve(&self, group: LogGroup, seq: i64, commit_id: Uuid) -> Answer<'_, bool>;

    /// The snapshot `key` holds what all rows up to `seq` came to, and the rows up to `trim_to`, at most `seq`, are not
    /// needed any more. Gives whether this is the group's snapshot now: not if it has a newer one.
    fn trim(
        &self,
        fence: Fence,
        group: LogGroup,
        seq: i64,
        key: String,
        trim_to: i64,
    ) -> Answer<'_, bool>;
}

/// Where a broker is reached by those who use one of its listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub listener: String,
    pub host: String,
    pub port: u16,
}

/// A broker that wants to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// `None`: one that is free, from [`FIRST_TAKEN_BROKER_ID`] on.
    pub broker_id: Option<i32>,
    /// Another for each process.
    pub incarnation: Uuid,
    /// The process that this broker was before, and is not any more: nobody has to wait for its lease to end.
    pub replaces: Option<Uuid>,
    pub rack: Option<String>,
    pub endpoints: Vec<Endpoint>,
    pub lease: Duration,
}

/// What a broker gets that has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    pub fence: Fence,
    pub cluster_id: Uuid,
    /// How many log groups the cluster has, for ever.
    pub groups: u16,
}

/// A broker whose lease has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveBroker {
    pub broker_id: i32,
    pub broker_epoch: i64,
    pub incarnation: Uuid,
    pub rack: Option<String>,
    pub endpoints: Vec<Endpoint>,
    /// The metadata version that it has told with its last renewal, as it was told; 0 before.
    pub seen_metadata: i64,
}

/// Where a cluster has its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectsPlace {
    /// What the place itself is marked with: it may have several URLs.
    pub id: Uuid,
    /// For people.
    pub url: String,
}

/// What a cluster is, for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterIdentity {
    pub cluster_id: Uuid,
    /// `None`: no broker has settled it yet.
    pub objects: Option<ObjectsPlace>,
}

/// Who is there: what the cluster needs.
pub trait Brokers: Send + Sync {
    fn identity(&self) -> Answer<'_, ClusterIdentity>;

    /// Settles where the objects are, unless somebody has. Gives where they are.
    fn settle_objects<'a>(&'a self, place: &'a ObjectsPlace) -> Answer<'a, ObjectsPlace>;

    /// Joins, with a new epoch above all others and a new lease. What is still being written under an earlier epoch of the
    /// broker is written first, and nothing is afterwards.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] while another process under this id has a lease, unless it is the one that is replaced.
    fn register<'a>(&'a self, registration: &'a Registration) -> Answer<'a, Registered>;

    /// Makes the lease end `lease` from now, and says how far this broker has followed the metadata.
    ///
    /// # Errors
    /// [`DatabaseError::Fenced`], also if the lease has ended.
    fn renew(&self, fence: Fence, lease: Duration, seen_metadata: i64) -> Answer<'_, ()>;

    /// Ends the lease now. It is no error if it has ended already.
    fn leave(&self, fence: Fence) -> Answer<'_, ()>;

    /// Those whose lease has not ended, by id.
    fn brokers(&self) -> Answer<'_, Vec<LiveBroker>>;

    /// The time of the database's clock, in ms since 1970.
    fn clock_ms(&self) -> Answer<'_, i64>;

    /// The ids of all that have ever registered.
    fn registered(&self) -> Answer<'_, Vec<i32>>;
}

/// Metadata records, and the versions that they make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataRecords {
    /// The version before the first record. Above what was asked for if those in between were forgotten.
    pub from_version: i64,
    /// Each makes a version.
    pub records: Vec<Bytes>,
}

impl MetadataRecords {
    /// The version with all these records.
    pub fn version(&self) -> i64 {
        let records = i64::try_from(self.records.len()).unwrap_or(i64::MAX);
        self.from_version.saturating_add(records)
    }
}

/// Why metadata was not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not appended: somebody else was first.
    #[error("metadata is at version {found}, not at {expected}")]
    Conflict { expected: i64, found: i64 },
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Metadata records in order: what the metadata store needs. The version is how many there have ever been.
pub trait MetadataTable: Send + Sync {
    /// Appends all records, or none unless the version is the expected one. Gives the new version.
    ///
    /// `append_id` is new for each append. After [`DatabaseError::InDoubt`] the same call with the same id tells what came of
    /// it, and does it if it was not done.
    fn append<'a>(
        &'a self,
        fence: Fence,
        append_id: Uuid,
        expected_version: i64,
        records: &'a [Bytes],
    ) -> BoxFuture<'a, Result<i64, MetadataError>>;

    /// The records after `from_version` that are still there.
    fn load(&self, from_version: i64) -> Answer<'_, MetadataRecords>;

    fn version(&self) -> Answer<'_, i64>;

    /// Drops the records up to `version`: what they came to is in those behind them.
    fn forget_before(&self, fence: Fence, version: i64) -> Answer<'_, ()>;
}

/// Who does what needs to be done once, and the objects that are to go: what the jobs need.
pub trait Jobs: Send + Sync {
    /// Takes a job, or keeps it, for so long. Gives whether this broker has it now.
    fn take<'a>(&'a self, fence: Fence, job: &'a str, lease: Duration) -> Answer<'a, bool>;

    /// For a broker that is to do a job only if those who should do not: takes it for so long if nobody has had it for `idle`. A
    /// job that this broker has is given up, and one that nobody has ever had is idle from now on.
    fn take_idle<'a>(
        &'a self,
        fence: Fence,
        job: &'a str,
        lease: Duration,
        idle: Duration,
    ) -> Answer<'a, bool>;

    /// Nothing refers to these objects any more. Those that are condemned already stay so since then.
    fn condemn<'a>(&'a self, fence: Fence, keys: &'a [String]) -> Answer<'a, ()>;

    /// Up to `limit` objects that were condemned at least `age` ago, the oldest first.
    fn condemned(&self, age: Duration, limit: usize) -> Answer<'_, Vec<String>>;

    /// These objects are gone.
    fn forget<'a>(&'a self, fence: Fence, keys: &'a [String]) -> Answer<'a, ()>;
}

/// All that a cluster needs of its database.
pub trait Database: OrderedLog + Brokers + MetadataTable + Jobs {}

impl<T: OrderedLog + Brokers + MetadataTable + Jobs> Database for T {}

/// Refuses what no database is to be asked.
fn check_proposals(proposals: &[Proposal], groups: u16) -> Result<(), DatabaseError> {
    let mut seen = vec![false; usize::from(groups)];
    for Proposal { group, entry, .. } in proposals {
        let Some(seen) = seen.get_mut(usize::from(group.0)) else {
            return Err(no_such_group(*group, groups));
        };
        if std::mem::replace(seen, true) {
            let what = format!("two proposals of one commit are for log group {}", group.0);
            return Err(DatabaseError::Refused(what));
        }
        if entry.is_empty() {
            let what = format!("the entry for log group {} is empty", group.0);
            return Err(DatabaseError::Refused(what));
        }
    }
    Ok(())
}

fn no_such_group(group: LogGroup, groups: u16) -> DatabaseError {
    let what = format!("there is no log group {}: there are {groups}", group.0);
    DatabaseError::Refused(what)
}

fn lost_commits(group: LogGroup, found_seq: i64, known_seq: i64) -> DatabaseError {
    DatabaseError::Refused(format!(
        "log group {} ends at {found_seq} although it had {known_seq}: the database has lost commits",
        group.0
    ))
}

fn resolved_too_late(group: LogGroup, seq: i64) -> DatabaseError {
    DatabaseError::Refused(format!(
        "row {seq} of log group {} was trimmed before it was known whose it is",
        group.0
    ))
}

fn id_in_use(broker_id: i32, lease_ms: i64) -> DatabaseError {
    DatabaseError::Unavailable(format!(
        "broker {broker_id} is registered by another process, whose lease ends in {lease_ms} ms unless it is renewed; \
         if that is another broker, give one of them another node.id"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_stays_in_its_group_for_ever() {
        let topic = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let groups = [0, 1, 2, 1_000_000].map(|partition| log_group_of(topic, partition, 64).0);
        assert_eq!(groups, [62, 61, 9, 4], "what is stored depends on it");
    }

    #[test]
    fn groups_are_of_about_one_size() {
        let mut sizes = [0; 64];
        for partition in 0..6400 {
            let LogGroup(group) = log_group_of(Uuid::from_u128(7), partition, 64);
            sizes[usize::from(group)] += 1;
        }
        assert!(
            sizes.iter().all(|size| (50..200).contains(size)),
            "{sizes:?}"
        );
    }
}
