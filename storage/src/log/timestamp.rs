//! Looks for a time inside one batch.

use bytes::Bytes;

use super::TimestampOffset;
use crate::record::{RecordError, RecordSet};

/// What a stored batch may decompress to: far above what is accepted, and still a bound.
const DECOMPRESSED_LIMIT_BYTES: usize = 1 << 30;

/// The first record of `batch` that is not older than `timestamp` and not below `from_offset`.
pub(crate) fn first_at_or_after(
    batch: &Bytes,
    timestamp: i64,
    from_offset: i64,
) -> Result<Option<TimestampOffset>, RecordError> {
    let records = RecordSet::open(batch, DECOMPRESSED_LIMIT_BYTES)?;
    for record in &records {
        let record = record?;
        if record.timestamp >= timestamp && record.offset >= from_offset {
            return Ok(Some(TimestampOffset {
                timestamp: record.timestamp,
                offset: record.offset,
                leader_epoch: records.header().partition_leader_epoch,
            }));
        }
    }
    Ok(None)
}
