//! What is known of one producer id.

use crate::record::batch::{
    BatchHeader, NO_PRODUCER_EPOCH, NO_SEQUENCE, NO_TIMESTAMP, decrement_sequence,
};

/// Batches remembered for each producer: as many as a client may have in flight.
pub(crate) const BATCHES_TO_RETAIN: usize = 5;

/// What a log knows of one idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// -1 before the first batch of the epoch.
    pub last_sequence: i32,
    /// In ms, of the last batch or marker; -1 without one.
    pub last_timestamp: i64,
    /// Of the last transaction marker; -1 without one.
    pub coordinator_epoch: i32,
    /// Where the open transaction starts.
    pub current_txn_start_offset: Option<i64>,
}

/// One appended batch of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchMetadata {
    pub last_sequence: i32,
    pub last_offset: i64,
    pub offset_delta: i32,
    /// The batch's max timestamp, in ms.
    pub timestamp: i64,
}

impl BatchMetadata {
    pub fn base_sequence(&self) -> i32 {
        decrement_sequence(self.last_sequence, self.offset_delta)
    }

    pub fn base_offset(&self) -> i64 {
        self.last_offset.wrapping_sub(i64::from(self.offset_delta))
    }
}

/// What is known of one producer id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerEntry {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Of the last transaction marker; -1 without one.
    pub coordinator_epoch: i32,
    /// Max timestamp of the last batch or marker, in ms.
    pub last_timestamp: i64,
    /// When the last batch or marker was appended, by the broker's clock, in ms.
    pub last_active_ms: i64,
    /// Where the open transaction starts.
    pub current_txn_first_offset: Option<i64>,
    pub(super) batches: [BatchMetadata; BATCHES_TO_RETAIN],
    pub(super) batches_count: u8,
}

impl ProducerEntry {
    pub(super) fn new(producer_id: i64) -> Self {
        Self {
            producer_id,
            producer_epoch: NO_PRODUCER_EPOCH,
            coordinator_epoch: -1,
            last_timestamp: NO_TIMESTAMP,
            last_active_ms: NO_TIMESTAMP,
            current_txn_first_offset: None,
            batches: Default::default(),
            batches_count: 0,
        }
    }

    /// The last batches of the current epoch, the oldest first; at most `BATCHES_TO_RETAIN`.
    pub fn batches(&self) -> &[BatchMetadata] {
        &self.batches[..usize::from(self.batches_count)]
    }

    pub(crate) fn active(&self) -> ActiveProducer {
        ActiveProducer {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            last_sequence: self.last_sequence(),
            last_timestamp: self.last_timestamp,
            coordinator_epoch: self.coordinator_epoch,
            current_txn_start_offset: self.current_txn_first_offset,
        }
    }

    /// `NO_SEQUENCE` before the first batch of an epoch.
    pub fn last_sequence(&self) -> i32 {
        self.batches()
            .last()
            .map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    pub(super) fn push(&mut self, batch: BatchMetadata) {
        if usize::from(self.batches_count) == BATCHES_TO_RETAIN {
            self.batches.rotate_left(1);
            self.batches[BATCHES_TO_RETAIN - 1] = batch;
        } else {
            self.batches[usize::from(self.batches_count)] = batch;
            self.batches_count += 1;
        }
    }

    pub(super) fn set_epoch(&mut self, producer_epoch: i16) {
        if self.producer_epoch != producer_epoch {
            self.producer_epoch = producer_epoch;
            self.batches = Default::default();
            self.batches_count = 0;
        }
    }

    pub(super) fn find_duplicate(&self, header: &BatchHeader) -> Option<BatchMetadata> {
        if header.producer_epoch != self.producer_epoch {
            return None;
        }
        let sequences = (header.base_sequence, header.last_sequence());
        self.batches()
            .iter()
            .find(|batch| (batch.base_sequence(), batch.last_sequence) == sequences)
            .copied()
    }
}
