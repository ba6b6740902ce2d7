//! Whether a batch may be appended, by what is known of its producer.

use super::producer_state::{ProducerError, ProducerState, Verdict};
use super::{AppendError, AppendOrigin, TopicPartition};
use crate::record::{BatchHeader, EndTxnMarker, ValidatedBatch};

/// A batch that may be appended, or already is.
pub(crate) enum Admission {
    /// With the transaction marker that it holds, if it is one.
    Append(Option<EndTxnMarker>),
    /// Base and last offset of the original.
    Duplicate { base_offset: i64, last_offset: i64 },
}

/// The transaction marker that a batch holds, if it is one.
pub(crate) fn marker_of(batch: &ValidatedBatch) -> Result<Option<EndTxnMarker>, AppendError> {
    if !batch.header.is_control() {
        return Ok(None);
    }
    EndTxnMarker::of_batch(&batch.bytes).map_err(|error| AppendError::Storage(error.to_string()))
}

/// Checks epoch, sequence and transaction of a batch.
pub(crate) fn admit(
    producers: &ProducerState,
    partition: &TopicPartition,
    batch: &ValidatedBatch,
    origin: AppendOrigin,
) -> Result<Admission, AppendError> {
    admit_header(
        producers,
        partition,
        &batch.header,
        marker_of(batch)?,
        origin,
    )
}

/// Checks a batch by its header, and by the marker that it holds.
pub(crate) fn admit_header(
    producers: &ProducerState,
    partition: &TopicPartition,
    header: &BatchHeader,
    marker: Option<EndTxnMarker>,
    origin: AppendOrigin,
) -> Result<Admission, AppendError> {
    let refused = |error| refused(partition, error);
    if header.is_control() {
        if let Some(marker) = marker {
            let transaction_version = match origin {
                AppendOrigin::Marker {
                    transaction_version,
                } => transaction_version,
                AppendOrigin::Client(_) | AppendOrigin::Coordinator(_) => 0,
            };
            producers
                .check_marker(
                    header.producer_id,
                    header.producer_epoch,
                    marker,
                    transaction_version,
                )
                .map_err(refused)?;
        }
        return Ok(Admission::Append(marker));
    }
    let verdict = match origin {
        AppendOrigin::Client(guard) => producers.check(header, guard),
        AppendOrigin::Coordinator(guard) => producers.check_coordinators(header, guard),
        AppendOrigin::Marker { .. } => producers.check_coordinators(header, None),
    };
    match verdict.map_err(refused)? {
        Verdict::Append => Ok(Admission::Append(None)),
        Verdict::Duplicate(original) => Ok(Admission::Duplicate {
            base_offset: original.base_offset(),
            last_offset: original.last_offset,
        }),
    }
}

/// The error of a log for what its producer state refuses.
pub(crate) fn refused(partition: &TopicPartition, error: ProducerError) -> AppendError {
    match error {
        ProducerError::OutOfOrderSequence {
            producer_id,
            sequence,
            last_sequence,
        } => AppendError::OutOfOrderSequence {
            partition: partition.clone(),
            producer_id,
            expected: last_sequence.wrapping_add(1),
            got: sequence,
        },
        ProducerError::InvalidProducerEpoch {
            producer_id,
            producer_epoch,
            current_epoch,
        } => AppendError::InvalidProducerEpoch {
            producer_id,
            current: current_epoch,
            got: producer_epoch,
        },
        ProducerError::InvalidTxnState { producer_id, what } => AppendError::InvalidTxnState {
            producer_id,
            what: what.to_owned(),
        },
        ProducerError::TransactionCoordinatorFenced {
            producer_id,
            coordinator_epoch,
            current_epoch,
        } => AppendError::TransactionCoordinatorFenced {
            producer_id,
            current: current_epoch,
            got: coordinator_epoch,
        },
    }
}
