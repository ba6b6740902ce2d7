//! Partition logs on files: a shared write-ahead log in front of segments in Kafka's format.
//!
//! Knows record batches; never requests. [`log::PartitionLog`] is the seam that the broker uses.

pub mod compaction;
pub mod fs;
pub mod log;
pub mod manager;
pub mod record;
