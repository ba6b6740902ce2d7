//! The engine in memory: for tests, and the model that the engine on files is held against.

mod memory_log;
mod memory_store;

use std::sync::Arc;

use crate::log::LogStore;

/// Logs without files. They are gone with the last handle on them.
pub fn open() -> Arc<dyn LogStore> {
    Arc::new(memory_store::MemoryStore::new())
}
