//! Why a batch is refused.

use thiserror::Error;

use crate::record::{BatchError, CompressionError, RecordError};

/// Why one record is refused, for `record_errors` of ProduceResponse v8 and later (KIP-467).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRecord {
    /// Position of the record in its batch.
    pub batch_index: i32,
    pub message: String,
}

/// Why a batch is refused. The variants are named after the Kafka errors to answer with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ValidateError {
    /// CORRUPT_MESSAGE: not the bytes that the producer checksummed; it will send them again.
    #[error("{0}")]
    CorruptMessage(String),
    /// INVALID_RECORD, because of the batch or of the records listed.
    #[error("{message}")]
    InvalidRecord {
        message: String,
        record_errors: Vec<InvalidRecord>,
    },
    /// INVALID_TIMESTAMP: records too far from now, or timestamps that only a broker may set.
    #[error("One or more records have been rejected due to invalid timestamp")]
    InvalidTimestamp { record_errors: Vec<InvalidRecord> },
    /// MESSAGE_TOO_LARGE: the producer will split the batch.
    #[error("{0}")]
    MessageTooLarge(String),
    /// UNSUPPORTED_COMPRESSION_TYPE
    #[error("{0}")]
    UnsupportedCompressionType(String),
}

impl ValidateError {
    /// The records to name in the response.
    pub fn record_errors(&self) -> &[InvalidRecord] {
        match self {
            Self::InvalidRecord { record_errors, .. }
            | Self::InvalidTimestamp { record_errors } => record_errors,
            _ => &[],
        }
    }
}

pub(super) fn invalid(message: impl Into<String>) -> ValidateError {
    ValidateError::InvalidRecord {
        message: message.into(),
        record_errors: Vec::new(),
    }
}

pub(super) fn corrupt(error: BatchError) -> ValidateError {
    ValidateError::CorruptMessage(error.to_string())
}

pub(super) fn undecodable(error: CompressionError) -> ValidateError {
    match error {
        CompressionError::TooLarge { .. } => ValidateError::MessageTooLarge(error.to_string()),
        _ => invalid(error.to_string()),
    }
}

pub(super) fn unreadable(error: RecordError) -> ValidateError {
    match error {
        RecordError::Batch(error) => corrupt(error),
        RecordError::Compression(error) => undecodable(error),
        error => invalid(error.to_string()),
    }
}
