//! The engine in memory: for tests, and the model that the engine on files is held against.

mod memory_log;
mod memory_store;

use std::sync::Arc;

use crate::log::LogStore;

/// Logs without files. They are gone with the last handle on them.
pub fn open() -> Arc<dyn LogStore> {
    Arc::new(memory_store::MemoryStore::new(Arc::default(), true))
}

/// Logs without files that several brokers have in common, each through a store of its own.
pub fn open_shared(brokers: usize) -> Vec<Arc<dyn LogStore>> {
    let shared = memory_store::SharedLogs::default();
    let store = || memory_store::MemoryStore::new(Arc::clone(&shared), false);
    let stores = std::iter::repeat_with(|| Arc::new(store()) as Arc<dyn LogStore>);
    stores.take(brokers).collect()
}
