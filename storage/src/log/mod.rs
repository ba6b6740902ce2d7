//! The seams between the broker and what keeps its records, and what every engine behind them shares.
//!
//! [`LogStore`] opens and deletes logs, [`PartitionLog`] is one of them. An engine implements both: [`crate::local`] on
//! files, [`crate::memory`] for tests. All pass one contract suite. What a log knows of producers, transactions and
//! leader epochs is the same for each engine, and is here: pure, without a file or a clock.

pub(crate) mod admission;
mod append;
pub(crate) mod cold_budget;
mod config;
pub mod leader_epoch;
mod log_store;
mod partition_log;
pub mod producer_state;
mod read;
mod snapshot;
pub mod stats;
pub(crate) mod timestamp;
mod topic_partition;
pub(crate) mod transaction_index;
pub(crate) mod waiters;

pub use append::{AppendError, AppendOrigin, AppendPermit, Appended, Next, PendingAppend};
pub use config::{CleanerConfig, Durability, LiveConfig, LogConfig};
pub use log_store::{
    DeletedTopics, Health, IfRefused, JointError, JointPart, LogStore, RecoveryProgress,
    RecoveryReport, StorageError,
};
pub use partition_log::{BoxFuture, PartitionLog};
pub use producer_state::{ActiveProducer, VerificationGuard};
pub use read::{
    AbortedTransaction, FetchedRecords, Glance, GlanceInside, Isolation, LogOffsets, Read,
    ReadError, ReadRequest, TimestampOffset,
};
pub use snapshot::{SNAPSHOT_MANIFEST, Snapshot, SnapshotFile, SnapshotProgress};
pub use topic_partition::{TopicPartition, kafka_uuid, parse_kafka_uuid};
pub use waiters::{FetchWait, WaitRegistration};
