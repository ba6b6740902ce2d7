//! Ottla: a Kafka-wire-compatible broker.
//!
//! `ARCHITECTURE.md` beside this crate tells the data path in order.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests may look at everything")
)]

pub mod acl;
pub mod api;
pub mod authorizer;
pub mod broker;
mod certificates;
pub mod client_metrics;
pub mod client_text;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod context;
pub mod control;
pub(crate) mod coordinator;
pub mod dispatch;
mod features;
pub mod import;
pub mod log_levels;
pub mod log_limit;
pub mod metadata;
pub mod metrics;
pub mod net;
pub mod partition;
pub mod quota;
mod release;
pub mod replay;
pub mod response;
pub mod secure;
pub mod security;
pub mod server;
pub mod snapshot;
pub mod testing;
pub mod users;
mod view;
pub mod vital;
