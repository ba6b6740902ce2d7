//! A batch that was found good, and what the append still has to make of it.

use bytes::Bytes;

use crate::record::batch::{self, BatchError, BatchHeader, TimestampType};

/// One batch that may be appended.
#[derive(Debug, Clone)]
pub struct ValidatedBatch {
    /// Exactly one batch, the bytes as received unless it had to be built anew.
    pub bytes: Bytes,
    /// Header of `bytes`.
    pub header: BatchHeader,
    /// What the append must make of the batch's timestamp type and max timestamp.
    pub(super) timestamp_type: TimestampType,
    pub(super) max_timestamp: i64,
}

impl ValidatedBatch {
    /// Exactly one batch of the broker's own making, which needs no checks; its timestamps stay.
    ///
    /// # Errors
    /// When `bytes` is not one whole batch.
    pub fn trusted(bytes: Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        if header.size_bytes() != bytes.len() {
            return Err(BatchError::Truncated {
                needed_bytes: header.size_bytes(),
                available_bytes: bytes.len(),
            });
        }
        Ok(Self {
            timestamp_type: header.timestamp_type(),
            max_timestamp: header.max_timestamp,
            bytes,
            header,
        })
    }

    /// The size of the batch, as it came and as it is stored.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many records the batch says that it has.
    pub fn record_count(&self) -> u64 {
        u64::try_from(self.header.records_count).unwrap_or(0)
    }

    /// The largest timestamp in the batch as it will be stored, in ms. Kafka indexes it at the batch's last offset.
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// The time of the append, as the response states it; `None` if the producer's timestamps count.
    pub fn log_append_time_ms(&self) -> Option<i64> {
        (self.timestamp_type == TimestampType::LogAppendTime).then_some(self.max_timestamp)
    }

    /// Gives a copy of the batch its offset and leader epoch, and its final timestamps.
    pub(crate) fn patch(&self, copy: &mut [u8], base_offset: i64, leader_epoch: i32) {
        batch::set_offset_and_epoch(copy, base_offset, leader_epoch)
            .and_then(|()| batch::set_max_timestamp(copy, self.timestamp_type, self.max_timestamp))
            .expect("a validated batch has a whole header");
    }

    /// The batch as it is stored at an offset.
    pub fn to_bytes(&self, base_offset: i64, leader_epoch: i32) -> Bytes {
        let mut stored = self.bytes.to_vec();
        self.patch(&mut stored, base_offset, leader_epoch);
        stored.into()
    }
}
