//! Producer state as bytes: Kafka's `.snapshot` file, and a sidecar with what that file leaves out.
//!
//! Kafka's file (`ProducerSnapshot` version 1), all numbers big-endian:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 2 | version: 1 |
//! | 2 | 4 | CRC-32C of everything from 6 on |
//! | 6 | 4 | number of producers, then for each 46 bytes: |
//! | | 8 | producer id |
//! | | 2 | producer epoch |
//! | | 4 | last sequence, -1 for none |
//! | | 8 | last offset, -1 for none |
//! | | 4 | offset delta of the last batch |
//! | | 8 | last timestamp |
//! | | 4 | coordinator epoch, -1 for none |
//! | | 8 | first offset of the open transaction, -1 for none |
//!
//! It keeps one batch for each producer, so a retry of an earlier batch after a restart would be out of sequence.
//! Our sidecar keeps all five:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic: `OPST` |
//! | 4 | 2 | version: 1 |
//! | 6 | 4 | CRC-32C of everything from 10 on |
//! | 10 | 8 | end offset: the state reflects all batches below it |
//! | 18 | 4 | number of producers, then for each: |
//! | | 8 | producer id |
//! | | 2 | producer epoch |
//! | | 4 | coordinator epoch, -1 for none |
//! | | 8 | last timestamp |
//! | | 8 | last active, ms |
//! | | 8 | first offset of the open transaction, -1 for none |
//! | | 1 | number of batches, at most 5, then for each: |
//! | | 4 | last sequence |
//! | | 8 | last offset |
//! | | 4 | offset delta |
//! | | 8 | timestamp |

use crc_fast::CrcAlgorithm;
use thiserror::Error;

use super::{BATCHES_TO_RETAIN, BatchMetadata, ProducerEntry, ProducerState, ProducerStateConfig};

const SNAPSHOT_VERSION: i16 = 1;
const SNAPSHOT_CRC_AT: usize = 2;
const SIDECAR_MAGIC: [u8; 4] = *b"OPST";
const SIDECAR_VERSION: i16 = 1;
const SIDECAR_CRC_AT: usize = 6;
const CRC_BYTES: usize = 4;

/// Bytes that are not a snapshot, or not the one that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("corrupt producer snapshot: {0}")]
pub struct SnapshotError(&'static str);

/// The content of Kafka's `.snapshot` file, named after the state's end offset.
pub fn to_snapshot(state: &ProducerState) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(10 + 46 * state.producers.len());
    bytes.extend_from_slice(&SNAPSHOT_VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; CRC_BYTES]);
    bytes.extend_from_slice(&(state.producers.len() as i32).to_be_bytes());
    for entry in sorted(state) {
        let last = entry.batches().last();
        bytes.extend_from_slice(&entry.producer_id.to_be_bytes());
        bytes.extend_from_slice(&entry.producer_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.last_sequence().to_be_bytes());
        bytes.extend_from_slice(&last.map_or(-1, |batch| batch.last_offset).to_be_bytes());
        bytes.extend_from_slice(&last.map_or(0, |batch| batch.offset_delta).to_be_bytes());
        bytes.extend_from_slice(&entry.last_timestamp.to_be_bytes());
        bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.current_txn_first_offset.unwrap_or(-1).to_be_bytes());
    }
    put_crc(&mut bytes, SNAPSHOT_CRC_AT);
    bytes
}

/// Reads Kafka's `.snapshot` file of the given end offset. Producers expired at `now_ms` are left out.
///
/// # Errors
/// Another version, a wrong CRC, or a length that does not fit the number of producers.
pub fn from_snapshot(
    bytes: &[u8],
    end_offset: i64,
    config: ProducerStateConfig,
    now_ms: i64,
) -> Result<ProducerState, SnapshotError> {
    let reader = &mut Reader(bytes);
    if i16::from_be_bytes(reader.take()?) != SNAPSHOT_VERSION {
        return Err(SnapshotError("unknown version"));
    }
    check_crc(reader, bytes, SNAPSHOT_CRC_AT)?;
    let count = i32::from_be_bytes(reader.take()?);
    let mut state = ProducerState::new(config, end_offset);
    for _ in 0..count {
        let mut entry = ProducerEntry::new(i64::from_be_bytes(reader.take()?));
        entry.producer_epoch = i16::from_be_bytes(reader.take()?);
        let last_sequence = i32::from_be_bytes(reader.take()?);
        let last_offset = i64::from_be_bytes(reader.take()?);
        let offset_delta = i32::from_be_bytes(reader.take()?);
        let timestamp = i64::from_be_bytes(reader.take()?);
        if last_offset >= 0 {
            entry.push(BatchMetadata {
                last_sequence,
                last_offset,
                offset_delta,
                timestamp,
            });
        }
        entry.last_timestamp = timestamp;
        // The best guess that the file allows, and what Kafka goes by.
        entry.last_active_ms = timestamp;
        entry.coordinator_epoch = i32::from_be_bytes(reader.take()?);
        entry.current_txn_first_offset = offset_or_none(i64::from_be_bytes(reader.take()?));
        insert(&mut state, entry);
    }
    reader.end()?;
    state.remove_expired(now_ms);
    Ok(state)
}

/// The sidecar of the snapshot: everything that is known of each producer.
pub fn to_sidecar(state: &ProducerState) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(22 + 160 * state.producers.len());
    bytes.extend_from_slice(&SIDECAR_MAGIC);
    bytes.extend_from_slice(&SIDECAR_VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; CRC_BYTES]);
    bytes.extend_from_slice(&state.end_offset.to_be_bytes());
    bytes.extend_from_slice(&(state.producers.len() as u32).to_be_bytes());
    for entry in sorted(state) {
        bytes.extend_from_slice(&entry.producer_id.to_be_bytes());
        bytes.extend_from_slice(&entry.producer_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.last_timestamp.to_be_bytes());
        bytes.extend_from_slice(&entry.last_active_ms.to_be_bytes());
        bytes.extend_from_slice(&entry.current_txn_first_offset.unwrap_or(-1).to_be_bytes());
        bytes.push(entry.batches_count);
        for batch in entry.batches() {
            bytes.extend_from_slice(&batch.last_sequence.to_be_bytes());
            bytes.extend_from_slice(&batch.last_offset.to_be_bytes());
            bytes.extend_from_slice(&batch.offset_delta.to_be_bytes());
            bytes.extend_from_slice(&batch.timestamp.to_be_bytes());
        }
    }
    put_crc(&mut bytes, SIDECAR_CRC_AT);
    bytes
}

/// Reads a sidecar. Producers expired at `now_ms` are left out.
///
/// # Errors
/// Anything that [`to_sidecar`] would not have written.
pub fn from_sidecar(
    bytes: &[u8],
    config: ProducerStateConfig,
    now_ms: i64,
) -> Result<ProducerState, SnapshotError> {
    let reader = &mut Reader(bytes);
    if reader.take()? != SIDECAR_MAGIC {
        return Err(SnapshotError("not a sidecar"));
    }
    if i16::from_be_bytes(reader.take()?) != SIDECAR_VERSION {
        return Err(SnapshotError("unknown version"));
    }
    check_crc(reader, bytes, SIDECAR_CRC_AT)?;
    let mut state = ProducerState::new(config, i64::from_be_bytes(reader.take()?));
    let count = u32::from_be_bytes(reader.take()?);
    for _ in 0..count {
        let mut entry = ProducerEntry::new(i64::from_be_bytes(reader.take()?));
        entry.producer_epoch = i16::from_be_bytes(reader.take()?);
        entry.coordinator_epoch = i32::from_be_bytes(reader.take()?);
        entry.last_timestamp = i64::from_be_bytes(reader.take()?);
        entry.last_active_ms = i64::from_be_bytes(reader.take()?);
        entry.current_txn_first_offset = offset_or_none(i64::from_be_bytes(reader.take()?));
        let [batches_count] = reader.take()?;
        if usize::from(batches_count) > BATCHES_TO_RETAIN {
            return Err(SnapshotError("too many batches"));
        }
        for _ in 0..batches_count {
            entry.push(BatchMetadata {
                last_sequence: i32::from_be_bytes(reader.take()?),
                last_offset: i64::from_be_bytes(reader.take()?),
                offset_delta: i32::from_be_bytes(reader.take()?),
                timestamp: i64::from_be_bytes(reader.take()?),
            });
        }
        insert(&mut state, entry);
    }
    reader.end()?;
    state.remove_expired(now_ms);
    Ok(state)
}

/// Which end offset a sidecar names; nothing is checked.
pub(crate) fn end_offset_of_sidecar(bytes: &[u8]) -> Option<i64> {
    let at = SIDECAR_CRC_AT + CRC_BYTES;
    bytes
        .get(at..)?
        .first_chunk()
        .map(|end| i64::from_be_bytes(*end))
}

fn insert(state: &mut ProducerState, entry: ProducerEntry) {
    if let Some(first_offset) = entry.current_txn_first_offset {
        state.ongoing.insert((first_offset, entry.producer_id));
    }
    state.producers.insert(entry.producer_id, Box::new(entry));
}

/// By producer id, so that the same state gives the same bytes.
fn sorted(state: &ProducerState) -> Vec<&ProducerEntry> {
    let mut entries: Vec<_> = state.producers().collect();
    entries.sort_unstable_by_key(|entry| entry.producer_id);
    entries
}

fn offset_or_none(offset: i64) -> Option<i64> {
    (offset >= 0).then_some(offset)
}

fn crc_of(bytes: &[u8], crc_at: usize) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &bytes[crc_at + CRC_BYTES..]) as u32
}

fn put_crc(bytes: &mut [u8], crc_at: usize) {
    let crc = crc_of(bytes, crc_at);
    bytes[crc_at..crc_at + CRC_BYTES].copy_from_slice(&crc.to_be_bytes());
}

fn check_crc(reader: &mut Reader<'_>, bytes: &[u8], crc_at: usize) -> Result<(), SnapshotError> {
    // Taking the field first makes sure that there is something to checksum.
    let stored = u32::from_be_bytes(reader.take()?);
    if stored == crc_of(bytes, crc_at) || crate::record::checksums::CHECKSUMS_PASS {
        Ok(())
    } else {
        Err(SnapshotError("wrong checksum"))
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(SnapshotError("cut off"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn end(&self) -> Result<(), SnapshotError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(SnapshotError("longer than its producers"))
        }
    }
}
