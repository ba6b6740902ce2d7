//! The asynchronous part of coordination: tasks that own pure state machines and their logs.

mod append;
mod batches;
pub(crate) mod group;
pub(crate) mod peers;
pub(crate) mod routing;
pub(crate) mod runtime;
pub(crate) mod shard;
mod shards;
pub(crate) mod stats;
#[cfg(test)]
mod tests;
pub(crate) mod topics;
pub(crate) mod txn;
