//! Partition logs on files. Knows record batches; never requests.

pub mod log;
pub mod record;
