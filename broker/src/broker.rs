//! Wiring: every part of the broker, put together once.

/// The running broker, shared by all connections.
pub struct Broker {}
