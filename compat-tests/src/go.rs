//! Go clients.
