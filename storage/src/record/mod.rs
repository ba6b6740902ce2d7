//! Kafka record batches (magic 2) as opaque bytes behind a bounded view.
//!
//! A batch is kept as it was received. Its 61-byte header is parsed ([`BatchHeader`]), patched in place where the
//! broker has a say (offset, leader epoch, append time) and its records are decoded only where that cannot be
//! avoided. Nothing here trusts a length, a count or a varint, and decompression stops at the caller's limit.

pub mod batch;
pub mod builder;
pub(crate) mod checksums;
pub mod compression;
pub mod control;
pub mod iter;
pub mod validate;

pub use batch::{BatchError, BatchHeader, BatchRef, TimestampType, batches};
pub use builder::{BatchBuilder, BuildError};
pub use compression::{Compression, CompressionError, CompressionType};
pub use control::{ControlRecord, EndTxnMarker, TransactionResult};
pub use iter::{Header, Headers, Record, RecordError, RecordIter, RecordSet};
pub use validate::{InvalidRecord, ValidateConfig, ValidateError, ValidatedBatch, validate};

#[cfg(test)]
mod tests;
