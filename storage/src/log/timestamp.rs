//! Looks for a time inside one batch.

use bytes::Bytes;

use super::TimestampOffset;
use crate::record::{BatchError, BatchHeader, RecordError, RecordSet};

/// What a stored batch may decompress to: as much as is accepted, since several may be looked into at a time.
const DECOMPRESSED_LIMIT_BYTES: usize = 64 << 20;

/// The first record of `batch` that is not older than `timestamp` and not below `from_offset`.
///
/// A batch whose records cannot be read is taken as a whole, by what its header says. Otherwise every look-up would fail
/// for as long as the batch is there.
pub(crate) fn first_at_or_after(
    batch: &Bytes,
    timestamp: i64,
    from_offset: i64,
) -> Result<Option<TimestampOffset>, BatchError> {
    match first_record(batch, timestamp, from_offset) {
        Ok(found) => Ok(found),
        Err(_) => {
            let header = BatchHeader::parse(batch)?;
            let may_have_it =
                header.max_timestamp >= timestamp && header.last_offset() >= from_offset;
            Ok(may_have_it.then(|| TimestampOffset {
                timestamp: header.max_timestamp,
                offset: header.base_offset.max(from_offset),
                leader_epoch: header.partition_leader_epoch,
            }))
        }
    }
}

fn first_record(
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
