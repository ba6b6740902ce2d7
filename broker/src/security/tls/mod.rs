//! TLS: what a listener shows its clients, and who they are by what they show.
//!
//! `stores` and `jks` read what operators have, `server_config` makes of it what rustls needs, `listeners` keeps that and reads it again, and
//! `handshake` is what happens before a client's first request. `distinguished_name` and `mapping` say who a client with a
//! certificate is, `client_verifier` which certificates there are to be.

pub(crate) mod client_config;
mod client_verifier;
mod distinguished_name;
pub mod fuzzing;
pub(crate) mod handshake;
mod jks;
pub mod listeners;
pub(crate) mod mapping;
mod server_config;
mod stores;
mod turns;

#[cfg(test)]
mod tests;
