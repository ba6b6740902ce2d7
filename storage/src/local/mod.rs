//! The engine on local files: one write-ahead log for all partitions of a directory, and segments in Kafka's format behind it.

mod append_budget;
pub(crate) mod checkpointer;
pub(crate) mod compaction;
mod config;
pub(crate) mod counters;
pub(crate) mod deletion;
pub(crate) mod departures;
pub(crate) mod file_log;
pub(crate) mod io_pool;
pub(crate) mod loader;
pub(crate) mod log_dir;
pub(crate) mod logs;
pub(crate) mod maintenance;
mod open_error;
pub(crate) mod owner;
pub(crate) mod recovery;
mod removal;
pub(crate) mod retention_schedule;
pub(crate) mod segment;
pub(crate) mod store;
mod sweep;
pub mod text_files;
pub(crate) mod wal;

use std::sync::Arc;

pub use config::LocalConfig;
pub use open_error::OpenError;

use crate::log::LogStore;

/// Locks the directory, creating it if need be, and recovers everything that its write-ahead log holds.
///
/// # Errors
/// See [`OpenError`]; each is a sentence for the operator.
pub fn open(config: LocalConfig) -> Result<Arc<dyn LogStore>, OpenError> {
    Ok(Arc::new(store::LocalStore::open(&config)?))
}
