//! How brokers are loaded.

pub mod consumer;
pub mod group;
pub mod open_loop;
pub mod poll;
pub mod probe;
pub mod producer;
pub mod readback;
