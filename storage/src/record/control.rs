//! Control records: the broker's own entries in a partition, above all the markers that end transactions.
//!
//! | part | bytes | field |
//! |---|---|---|
//! | key | 2 | version: 0 |
//! | key | 2 | type: 0 abort, 1 commit, others belong to KRaft |
//! | value of abort and commit | 2 | version: 0 |
//! | value of abort and commit | 4 | coordinator epoch |
//!
//! Newer versions may only add fields at the end, so unknown ones are read as version 0.

use bytes::Bytes;
use thiserror::Error;

use super::builder::{BatchBuilder, BuildError};
use super::iter::{Record, RecordSet};

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionResult {
    Abort,
    Commit,
}

/// The record that ends a producer's transaction in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTxnMarker {
    pub result: TransactionResult,
    /// Epoch of the transaction coordinator that wrote it: fences markers of an older one.
    pub coordinator_epoch: i32,
}

/// What a control record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRecord {
    EndTxn(EndTxnMarker),
    /// Of another type, to be ignored.
    Other(i16),
}

/// More than any control batch takes, were it compressed.
const MAX_CONTROL_BYTES: usize = 64 << 10;

/// A control record that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("invalid control record: {0}")]
pub struct ControlError(&'static str);

impl ControlRecord {
    /// Reads a record of a control batch.
    ///
    /// # Errors
    /// A key, or a marker's value, that is missing, too short or of a negative version.
    pub fn parse(record: &Record<'_>) -> Result<Self, ControlError> {
        Self::parse_parts(record.key, record.value)
    }

    fn parse_parts(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, ControlError> {
        let [v0, v1, t0, t1] = *key
            .and_then(|key| key.first_chunk())
            .ok_or(ControlError("the key is too short"))?;
        if i16::from_be_bytes([v0, v1]) < 0 {
            return Err(ControlError("the key has a negative version"));
        }
        let result = match i16::from_be_bytes([t0, t1]) {
            0 => TransactionResult::Abort,
            1 => TransactionResult::Commit,
            other => return Ok(Self::Other(other)),
        };
        let [v0, v1, epoch @ ..] = *value
            .and_then(|value| value.first_chunk::<6>())
            .ok_or(ControlError("the value is too short"))?;
        if i16::from_be_bytes([v0, v1]) < 0 {
            return Err(ControlError("the value has a negative version"));
        }
        Ok(Self::EndTxn(EndTxnMarker {
            result,
            coordinator_epoch: i32::from_be_bytes(epoch),
        }))
    }
}

impl EndTxnMarker {
    /// The marker that `batch`, exactly one control batch, holds; `None` if it is empty or of another type.
    ///
    /// # Errors
    /// A batch or control record that cannot be read.
    pub fn of_batch(batch: &Bytes) -> Result<Option<Self>, ControlError> {
        let set = RecordSet::open(batch, MAX_CONTROL_BYTES)
            .map_err(|_| ControlError("the batch cannot be opened"))?;
        match set
            .iter()
            .next()
            .map(|record| record.map(|record| ControlRecord::parse(&record)))
        {
            Some(Ok(record)) => match record? {
                ControlRecord::EndTxn(marker) => Ok(Some(marker)),
                ControlRecord::Other(_) => Ok(None),
            },
            Some(Err(_)) => Err(ControlError("the batch has no readable record")),
            None => Ok(None),
        }
    }

    /// The key of the marker's record.
    pub fn key(self) -> [u8; 4] {
        [0, 0, 0, (self.result == TransactionResult::Commit) as u8]
    }

    /// The value of the marker's record.
    pub fn value(self) -> [u8; 6] {
        let [a, b, c, d] = self.coordinator_epoch.to_be_bytes();
        [0, 0, a, b, c, d]
    }

    /// The marker as a batch of its own, which is the only way it is written.
    ///
    /// # Errors
    /// None in practice: the batch is small and not compressed.
    pub fn to_batch(
        self,
        producer_id: i64,
        producer_epoch: i16,
        timestamp: i64,
    ) -> Result<Bytes, BuildError> {
        let mut builder = BatchBuilder::new()
            .producer(producer_id, producer_epoch, super::batch::NO_SEQUENCE)
            .transactional()
            .control();
        builder.append(timestamp, Some(&self.key()), Some(&self.value()), &[]);
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchHeader, RecordSet};

    #[test]
    fn markers_are_read_back_from_their_batch() {
        for result in [TransactionResult::Abort, TransactionResult::Commit] {
            let marker = EndTxnMarker {
                result,
                coordinator_epoch: 77,
            };
            let batch = marker.to_batch(5, 3, 1_000).unwrap();
            let header = BatchHeader::parse(&batch).unwrap();
            assert!(header.is_control() && header.is_transactional());
            assert_eq!(
                (
                    header.producer_id,
                    header.producer_epoch,
                    header.base_sequence
                ),
                (5, 3, -1)
            );
            let set = RecordSet::open(&batch, 100).unwrap();
            let record = set.iter().next().unwrap().unwrap();
            assert_eq!(
                ControlRecord::parse(&record),
                Ok(ControlRecord::EndTxn(marker))
            );
        }
    }

    #[test]
    fn short_or_negative_control_records_are_refused_and_longer_ones_read() {
        let parse = ControlRecord::parse_parts;
        let value = [0, 0, 0, 0, 0, 9];
        for length in 0..4 {
            assert!(parse(Some(&[0; 4][..length]), Some(&value)).is_err());
        }
        for length in 0..6 {
            assert!(parse(Some(&[0; 4]), Some(&value[..length])).is_err());
        }
        assert!(parse(None, Some(&value)).is_err());
        assert!(parse(Some(&[0; 4]), None).is_err());
        assert!(parse(Some(&[0x80, 0, 0, 0]), Some(&value)).is_err());
        assert!(parse(Some(&[0; 4]), Some(&[0x80, 0, 0, 0, 0, 9])).is_err());
        assert_eq!(
            parse(Some(&[0, 0, 0, 2]), None),
            Ok(ControlRecord::Other(2))
        );
        let newer = EndTxnMarker {
            result: TransactionResult::Commit,
            coordinator_epoch: 9,
        };
        let read = parse(Some(&[0, 1, 0, 1, 5]), Some(&[0, 3, 0, 0, 0, 9, 8]));
        assert_eq!(read, Ok(ControlRecord::EndTxn(newer)));
    }
}
