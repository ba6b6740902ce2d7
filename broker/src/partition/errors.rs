//! What clients are told of a log's errors.

use protocol_shim::error_code::ErrorCode;
use storage::log::{AppendError, ReadError};

/// Why records cannot be read.
pub(crate) fn of_read(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt { .. } => ErrorCode::CorruptMessage,
        ReadError::Storage(_) => ErrorCode::KafkaStorageError,
        ReadError::Deleted => ErrorCode::UnknownTopicOrPartition,
    }
}

/// Why nothing was appended, or deleted.
pub(crate) fn of_append(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::InvalidTxnState { .. } => ErrorCode::InvalidTxnState,
        AppendError::TransactionCoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
        AppendError::Fenced { .. } => ErrorCode::NotCoordinator,
        // Not a fault of the disk, which would be tried again: the producer can only make its batches smaller.
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendError::Storage(_) | AppendError::Indeterminate(_) => ErrorCode::KafkaStorageError,
        AppendError::Deleted => ErrorCode::UnknownTopicOrPartition,
    }
}
