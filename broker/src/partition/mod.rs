//! Partitions of this broker: from topic id and number to the log, and what waits on it.

pub mod delayed_fetch;
pub(crate) mod errors;
pub mod fetch_session;
pub mod registry;
pub mod validation;
pub(crate) mod verification;
