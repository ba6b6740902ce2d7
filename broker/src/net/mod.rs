//! Sockets: who listens, how requests come in and responses go out in order.

pub mod accept;
pub mod account;
pub mod budget;
pub mod connection;
pub mod connection_rates;
mod frame_reader;
mod halves;
pub mod limits;
pub mod listener;
pub mod login;
mod response_writer;
pub mod session;
pub(crate) mod unauthenticated;
