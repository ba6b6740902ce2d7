//! Coordination, the asynchronous part: tasks that own pure state machines and their logs.

mod batches;
pub mod group;
pub mod routing;
pub mod runtime;
mod shard;
mod shards;
#[cfg(test)]
mod tests;
