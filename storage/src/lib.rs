//! Partition logs on files: a shared write-ahead log in front of segments in Kafka's format.
//!
//! Knows record batches; never requests. [`log::PartitionLog`] is the seam that the broker uses.

mod bell;
pub mod checkpoint;
pub use checkpoint::{kafka_uuid, parse_kafka_uuid};
mod checksums;
pub mod clock;
mod cold_budget;
pub mod compaction;
mod deletion;
mod file_manager;
pub mod fs;
#[doc(hidden)]
pub mod fuzzing;
mod io_pool;
pub mod log;
mod log_dir;
mod maintenance;
pub mod manager;
mod random;
pub mod record;
mod recovery;
mod retention;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod stats;
mod sync;
mod wal;
