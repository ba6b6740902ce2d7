//! The engine in memory: for tests, and the model that the engine on files is held against.

pub(crate) mod memory_log;
