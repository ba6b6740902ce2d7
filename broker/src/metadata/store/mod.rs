//! Where metadata is kept: [`MetadataStore`], the second seam beside [`PartitionLog`](storage::log::PartitionLog).
//!
//! On one machine it is a log like any other ([`MetadataLog`]), in a cluster a table that all brokers share
//! ([`SharedMetadata`]). An append names the version that it was planned on, and is refused if somebody else has appended since.

mod log;
mod shared;

use storage::log::{BoxFuture, ReadError};

pub(crate) use log::{MetadataLog, metadata_log_config, metadata_log_id};
pub(crate) use shared::SharedMetadata;

use super::record::{MetadataRecord, RecordError};
use crate::replay::ReplayError;

/// Why the store did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Not appended: somebody else has written since.
    #[error("metadata is at version {found}, not at {expected}")]
    Conflict { expected: i64, found: i64 },
    /// Not appended.
    #[error("{0}")]
    NotApplied(String),
    /// Unknown whether appended.
    #[error("{0}")]
    Indeterminate(String),
    #[error("at offset {offset}: {source}")]
    Record { offset: i64, source: RecordError },
    #[error("{0}")]
    Read(ReadError),
    /// Whoever keeps it does not answer.
    #[error("{0}")]
    Unavailable(String),
    #[error("at offset {offset}: {what}")]
    Corrupt { offset: i64, what: String },
}

impl From<ReplayError> for StoreError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Read(error) => Self::Read(error),
            ReplayError::Batch { offset, what } => Self::Corrupt { offset, what },
        }
    }
}

/// What was loaded, and the version that it makes.
#[derive(Debug, Default)]
pub struct Loaded {
    pub records: Vec<MetadataRecord>,
    /// What the next append is to expect.
    pub version: i64,
}

/// Keeps metadata records in order.
pub trait MetadataStore: Send + Sync {
    /// Every record from `from_version` on that is still there.
    fn load(&self, from_version: i64) -> BoxFuture<'_, Result<Loaded, StoreError>>;

    /// Appends all records or none, if nothing was appended since `expected_version`.
    ///
    /// Resolves to the new version when the records are durable.
    fn append<'a>(
        &'a self,
        expected_version: i64,
        records: &'a [MetadataRecord],
    ) -> BoxFuture<'a, Result<i64, StoreError>>;

    /// Waits until there is a version above `seen_version`.
    fn watch(&self, seen_version: i64) -> BoxFuture<'_, ()>;

    /// Drops what came before `version`: nobody needs it any more.
    fn forget_before(&self, version: i64) -> BoxFuture<'_, Result<(), StoreError>>;
}

fn not_applied(error: impl std::fmt::Display) -> StoreError {
    StoreError::NotApplied(error.to_string())
}
