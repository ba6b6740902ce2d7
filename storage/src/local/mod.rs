//! The engine on local files: one write-ahead log for all partitions of a directory, and segments in Kafka's format behind it.

pub(crate) mod cold_budget;
pub mod compaction;
pub(crate) mod deletion;
pub(crate) mod file_log;
pub(crate) mod io_pool;
pub(crate) mod loader;
pub(crate) mod log_dir;
pub(crate) mod maintenance;
pub(crate) mod recovery;
pub(crate) mod retention;
pub(crate) mod segment;
pub(crate) mod store;
pub mod text_files;
pub(crate) mod wal;

pub use compaction::CleanerConfig;
