//! Whether a batch may be appended, by what is known of its producer.

use super::producer_state::{ProducerError, ProducerState, Verdict};
use super::{AppendError, AppendOrigin, TopicPartition};
use crate::record::{EndTxnMarker, ValidatedBatch};

/// A batch that may be appended, or already is.
pub(crate) enum Admission {
    /// With the transaction marker that it holds, if it is one.
    Append(Option<EndTxnMarker>),
    /// Base and last offset of the original.
    Duplicate { base_offset: i64, last_offset: i64 },
}

/// Checks epoch, sequence and transaction of a batch.
pub(crate) fn admit(
    producers: &ProducerState,
    partition: &TopicPartition,
    batch: &ValidatedBatch,
    origin: AppendOrigin,
) -> Result<Admission, AppendError> {
    let header = &batch.header;
    let refused = |error| refused(partition, header.producer_id, error);
    if header.is_control() {
        let marker = EndTxnMarker::of_batch(&batch.bytes)
            .map_err(|error| AppendError::Storage(error.to_string()))?;
        if let Some(marker) = marker {
            producers
                .check_marker(header.producer_id, header.producer_epoch, marker, 0)
                .map_err(refused)?;
        }
        return Ok(Admission::Append(marker));
    }
    if origin == AppendOrigin::Coordinator {
        return Ok(Admission::Append(None));
    }
    match producers.check(header, None).map_err(refused)? {
        Verdict::Append => Ok(Admission::Append(None)),
        Verdict::Duplicate(original) => Ok(Admission::Duplicate {
            base_offset: original.base_offset(),
            last_offset: original.last_offset,
        }),
    }
}

fn refused(partition: &TopicPartition, producer_id: i64, error: ProducerError) -> AppendError {
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
        ProducerError::InvalidTxnState(what) => AppendError::InvalidTxnState {
            producer_id,
            what: what.to_owned(),
        },
        ProducerError::TransactionCoordinatorFenced { producer_id, .. } => {
            AppendError::InvalidTxnState {
                producer_id,
                what: error.to_string(),
            }
        }
    }
}
