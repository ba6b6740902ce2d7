//! Coordination, the asynchronous part: tasks that own pure state machines and their logs.

mod assignors;
mod batches;
pub mod call;
mod catalog;
pub mod groups;
mod notes;
pub mod patterns;
pub mod runtime;
pub mod shard;
#[cfg(test)]
mod tests;
