//! The logs of partitions. What each knows of producers is what it is in the broker; the test keeps beside it what was written.

use std::collections::{BTreeMap, BTreeSet};

use storage::log::producer_state::{CompletedTxn, ProducerState, ProducerStateConfig};
use storage::record::{BatchHeader, EndTxnMarker, TransactionResult};

use super::super::context::*;

pub(super) const LOGS: usize = 4;
/// Shorter than ids are remembered, and than transactions may last.
const PRODUCER_EXPIRATION_MS: i64 = 10_000;

const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// Records of a client in its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) number: u64,
    /// As the client counts its transactions. All batches of one have the same fate.
    pub(super) transaction: u64,
    pub(super) producer: Producer,
    pub(super) sequence: i32,
    pub(super) count: i32,
}

/// What a partition is told of the end of a transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marker {
    pub(super) producer: Producer,
    pub(super) commit: bool,
    pub(super) transaction_version: i16,
    pub(super) coordinator_epoch: i32,
}

impl Batch {
    pub(super) fn header(&self, base_offset: i64) -> BatchHeader {
        header(base_offset, self.producer, self.sequence, self.count)
    }
}

impl Marker {
    pub(super) fn of(ending: &Ending, coordinator_epoch: i32) -> Self {
        Self {
            producer: ending.producer,
            commit: ending.commit,
            transaction_version: ending.transaction_version,
            coordinator_epoch,
        }
    }

    fn record(self) -> EndTxnMarker {
        EndTxnMarker {
            result: match self.commit {
                true => TransactionResult::Commit,
                false => TransactionResult::Abort,
            },
            coordinator_epoch: self.coordinator_epoch,
        }
    }
}

fn header(base_offset: i64, producer: Producer, sequence: i32, count: i32) -> BatchHeader {
    BatchHeader {
        base_offset,
        batch_length: 100,
        partition_leader_epoch: 0,
        magic: 2,
        crc: 0,
        attributes: TRANSACTIONAL,
        last_offset_delta: count - 1,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        base_sequence: sequence,
        records_count: count,
    }
}

/// One partition's log.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) producers: ProducerState,
    pub(super) high_watermark: i64,
    /// Batches of transactions that are open, by producer id, with the offset of the first.
    open: BTreeMap<i64, (i64, Vec<Batch>)>,
}

impl Default for Log {
    fn default() -> Self {
        let config = ProducerStateConfig {
            producer_id_expiration_ms: PRODUCER_EXPIRATION_MS,
            ..ProducerStateConfig::default()
        };
        Self {
            producers: ProducerState::new(config, 0),
            high_watermark: 0,
            open: BTreeMap::new(),
        }
    }
}

impl Log {
    pub(super) fn end_offset(&self) -> i64 {
        self.producers.end_offset()
    }

    /// As the engines reckon it.
    pub(super) fn last_stable_offset(&self) -> i64 {
        let unstable = self.producers.first_unstable_offset();
        unstable
            .unwrap_or(self.high_watermark)
            .min(self.high_watermark)
    }

    /// The open transactions by producer id: its epoch, and where it begins.
    pub(super) fn open(&self) -> BTreeMap<i64, (i16, i64)> {
        let active = self.producers.active().into_iter();
        let open = active.filter_map(|active| {
            let first_offset = active.current_txn_start_offset?;
            Some((active.producer_id, (active.producer_epoch, first_offset)))
        });
        open.collect()
    }

    pub(super) fn takes(&self, marker: Marker) -> bool {
        let Producer { id, epoch } = marker.producer;
        let version = marker.transaction_version;
        let checked = self
            .producers
            .check_marker(id, epoch, marker.record(), version);
        checked.is_ok()
    }
}

/// All logs, and what became of what was written to them.
#[derive(Debug, Default)]
pub(super) struct Logs {
    pub(super) logs: [Log; LOGS],
    appended: BTreeSet<u64>,
    /// By the number of the batch, whether it was committed.
    pub(super) ended: BTreeMap<u64, bool>,
    /// The same by the client's transaction.
    fates: BTreeMap<u64, bool>,
}

impl Logs {
    pub(super) fn append(&mut self, index: usize, batch: &Batch, now_ms: i64) {
        assert!(self.appended.insert(batch.number), "appended twice");
        let log = &mut self.logs[index];
        let offset = log.end_offset();
        let ended = log.producers.apply(&batch.header(offset), None, now_ms);
        assert_eq!(ended, None);
        let open = log.open.entry(batch.producer.id).or_default();
        if open.1.is_empty() {
            open.0 = offset;
        }
        open.1.push(batch.clone());
    }

    pub(super) fn mark(&mut self, index: usize, marker: Marker, now_ms: i64) {
        let log = &mut self.logs[index];
        let offset = log.end_offset();
        let header = BatchHeader {
            attributes: TRANSACTIONAL | CONTROL,
            ..header(offset, marker.producer, -1, 1)
        };
        let ended = log.producers.apply(&header, Some(marker.record()), now_ms);
        let open = log.open.remove(&marker.producer.id);
        let ended = ended.map(
            |CompletedTxn {
                 result,
                 first_offset,
                 last_offset,
                 ..
             }| { (result, first_offset, last_offset) },
        );
        let expected = open
            .as_ref()
            .map(|(first_offset, _)| (marker.record().result, *first_offset, offset));
        assert_eq!(ended, expected, "a marker ends what is open");
        for batch in open.into_iter().flat_map(|(_, batches)| batches) {
            let before = self.ended.insert(batch.number, marker.commit);
            assert_eq!(before, None, "ended twice");
            let fate = self.fates.entry(batch.transaction).or_insert(marker.commit);
            assert_eq!(*fate, marker.commit, "torn: {batch:?}");
        }
    }
}
