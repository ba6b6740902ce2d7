//! Sockets: who listens, how requests come in and responses go out in order.

pub mod account;
pub mod budget;
pub mod connection;
pub mod limits;
pub mod listener;
