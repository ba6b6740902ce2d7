//! The engine of a cluster: record bytes are objects in a store that all brokers share, and their order is in a database.

pub mod database;
