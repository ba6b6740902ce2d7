//! Partition logs on files: a shared write-ahead log in front of segments in Kafka's format.
//!
//! The crate knows record batches, never requests. The broker uses it through [`log::PartitionLog`].

pub(crate) mod compaction;
pub mod env;
pub mod local;
pub mod log;
pub mod memory;
pub mod object;
pub mod record;
#[cfg(feature = "testing")]
pub mod testing;

pub use log::{kafka_uuid, parse_kafka_uuid};
