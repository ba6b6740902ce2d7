//! Reads a log from some offset to its end. So coordinators and the metadata come back after a start.

use storage::log::{Isolation, PartitionLog, Read, ReadError, ReadRequest};
use storage::record::{BatchHeader, ControlRecord, EndTxnMarker, Record, RecordSet, batches};
use tracing::warn;

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// What a batch that the broker has written itself may decompress to.
const MAX_BATCH_BYTES: usize = 256 << 20;

/// Why a log could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("batch at offset {offset}: {what}")]
    Batch { offset: i64, what: String },
}

/// Something that a log says, with the header of its batch.
pub(crate) enum Entry<'a> {
    Record(&'a BatchHeader, Record<'a>),
    /// The transaction of the header's producer ended.
    Marker(&'a BatchHeader, EndTxnMarker),
}

/// Calls `visit` with every entry up to the high watermark, in order. Begins at `from_offset`, or at the log's start if that
/// is later. Returns the offset after the last batch, which is below the high watermark if the log gave no more.
///
/// # Errors
/// The log cannot be read, or a batch in it is damaged.
pub(crate) async fn replay(
    log: &dyn PartitionLog,
    from_offset: i64,
    visit: impl FnMut(Entry<'_>),
) -> Result<i64, ReplayError> {
    let offsets = log.current_offsets().await?;
    let from_offset = from_offset.max(offsets.log_start_offset);
    read_on(log, from_offset, offsets.high_watermark, visit).await
}

/// As [`replay`], from an offset that the log has up to one that it has.
///
/// # Errors
/// As [`replay`].
pub(crate) async fn read_on(
    log: &dyn PartitionLog,
    from_offset: i64,
    to_offset: i64,
    mut visit: impl FnMut(Entry<'_>),
) -> Result<i64, ReplayError> {
    let mut next_offset = from_offset;
    while next_offset < to_offset {
        let read = log.read(ReadRequest {
            fetch_offset: next_offset,
            max_bytes: READ_BYTES,
            at_least_one_batch: true,
            isolation: Isolation::ReadUncommitted,
        })?;
        let fetched = match read {
            Read::Ready(fetched) => fetched,
            Read::Cold(fetched) => fetched.await?,
        };
        let read_from = next_offset;
        'read: for slice in fetched.records {
            for batch in batches(&slice) {
                if next_offset >= to_offset {
                    break 'read;
                }
                let damaged = |offset, what: &dyn std::fmt::Display| ReplayError::Batch {
                    offset,
                    what: what.to_string(),
                };
                let batch = batch.map_err(|error| damaged(next_offset, &error))?;
                let offset = batch.header.base_offset;
                let records = RecordSet::open(&slice.slice_ref(batch.bytes), MAX_BATCH_BYTES)
                    .map_err(|error| damaged(offset, &error))?;
                for record in records.iter() {
                    let record = record.map_err(|error| damaged(offset, &error))?;
                    // The first batch may begin before the offset that was asked for.
                    if record.offset < next_offset {
                        continue;
                    }
                    let header = records.header();
                    if !header.is_control() {
                        visit(Entry::Record(header, record));
                        continue;
                    }
                    match ControlRecord::parse(&record) {
                        Ok(ControlRecord::EndTxn(marker)) => visit(Entry::Marker(header, marker)),
                        Ok(ControlRecord::Other(_)) => {}
                        Err(error) => warn!(log = %log.id(), offset = record.offset, "{error}"),
                    }
                }
                next_offset = batch.header.next_offset();
            }
        }
        if next_offset == read_from {
            // The rest of the log is gone, as after a deletion of records.
            break;
        }
    }
    Ok(next_offset)
}
