//! The benchmark: Ottla and real Kafka in turn, on the same machine, in the same run.
//!
//! ```text
//! workloads/  what is measured: one file each, start a broker, load it, give figures
//! load/       how brokers are loaded: producers in a closed loop, schedules in an open loop, consumers
//! report      ratios with spread, absolute figures beside them
//! ```
//!
//! The generator sends frames that were encoded once ([`request`]) and reads responses in place
//! ([`wire`]). It checks every acknowledged offset, and the CRC, offset and sequence of every fetched
//! batch ([`batch`]): a broker that is fast and wrong fails.

pub mod admin;
pub mod async_client;
pub mod batch;
pub mod connection;
pub mod contender;
pub mod figures;
pub mod load;
pub mod machine;
pub mod page_cache;
pub mod report;
pub mod request;
pub mod served;
pub mod usage;
pub mod wire;
pub mod workloads;
