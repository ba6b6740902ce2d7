//! Coordination, the asynchronous part: tasks that own pure state machines and their logs.

mod assignors;
pub mod call;
mod catalog;
mod groups;
pub mod load;
pub mod patterns;
pub mod runtime;
mod shard;
#[cfg(test)]
mod tests;
