//! Reads a whole log, record by record: how a coordinator or the metadata comes back after a start.

use storage::log::{Isolation, PartitionLog, Read, ReadError, ReadRequest};
use storage::record::{BatchHeader, Record, RecordSet, batches};

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// What one batch of the broker's own may decompress to.
const MAX_BATCH_BYTES: usize = 256 << 20;

/// Why a log could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("batch at offset {offset}: {what}")]
    Batch { offset: i64, what: String },
}

/// Calls `visit` with every record from the log's start to its high watermark, in order.
///
/// # Errors
/// When the log cannot be read, or holds what is no record batch.
pub async fn for_each_record(
    log: &dyn PartitionLog,
    mut visit: impl FnMut(&BatchHeader, Record<'_>),
) -> Result<(), LoadError> {
    log.check_usable()?;
    let offsets = log.offsets();
    let mut next_offset = offsets.log_start_offset;
    while next_offset < offsets.high_watermark {
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
        for slice in fetched.records {
            for batch in batches(&slice) {
                let damaged = |offset, what: &dyn std::fmt::Display| LoadError::Batch {
                    offset,
                    what: what.to_string(),
                };
                let batch = batch.map_err(|error| damaged(next_offset, &error))?;
                let offset = batch.header.base_offset;
                let records = RecordSet::open(&slice.slice_ref(batch.bytes), MAX_BATCH_BYTES)
                    .map_err(|error| damaged(offset, &error))?;
                for record in records.iter() {
                    let record = record.map_err(|error| damaged(offset, &error))?;
                    // The first batch may begin before what was asked for.
                    if record.offset >= next_offset {
                        visit(records.header(), record);
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
    Ok(())
}
