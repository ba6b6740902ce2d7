//! The engine of a cluster: record bytes are objects in a store that all brokers share, and their order is in a database.
//!
//! Partitions belong to log groups. An [`entry`] journals what has happened in a group, [`group_state`] is what the entries
//! have made of it, and [`plan`] turns what a broker wants into the next entry.

mod codec;
pub mod database;
pub mod entry;
pub mod group_state;
pub mod plan;
mod snapshot;
