//! A run in 32 bytes: there are a million of them for each terabyte.

use super::super::entry::{Marker, Place, Run};
use super::sources::Sources;
use crate::record::{EndTxnMarker, TransactionResult};

const IS_COMPACTED: u32 = 1 << 31;
const IS_MADE: u32 = 1 << 30;
/// Of a run that is made: the lower 16 bits are the producer's epoch.
const COMMITS: u32 = 1 << 16;

/// A [`Run`] whose source has a number.
///
/// One that is made has its marker in place of size, position and number of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackedRun {
    pub base_offset: i64,
    pub max_timestamp: i64,
    /// Offsets that it covers; of a marker the epoch of its coordinator.
    offsets: u32,
    /// Of a marker the lower half of its producer id.
    size_bytes: u32,
    /// Of a marker the upper half of its producer id.
    position: u32,
    source: u32,
}

impl PackedRun {
    /// Packs a run, and counts its source. `None`: it has a size that no run has.
    pub fn pack(run: &Run, sources: &mut Sources) -> Option<Self> {
        let offsets = run.next_offset.checked_sub(run.base_offset)?;
        let offsets = u32::try_from(offsets).ok().filter(|offsets| *offsets > 0)?;
        let compacted = if run.is_compacted { IS_COMPACTED } else { 0 };
        let packed = Self {
            base_offset: run.base_offset,
            max_timestamp: run.max_timestamp,
            offsets,
            size_bytes: run.size_bytes,
            position: 0,
            source: compacted,
        };
        Some(match run.place {
            Place::Made(marker) => {
                if offsets != 1 || run.size_bytes != Marker::SIZE_BYTES || run.is_compacted {
                    return None;
                }
                let commits = match marker.marker.result {
                    TransactionResult::Commit => COMMITS,
                    TransactionResult::Abort => 0,
                };
                Self {
                    offsets: marker.marker.coordinator_epoch as u32,
                    size_bytes: marker.producer_id as u32,
                    position: (marker.producer_id >> 32) as u32,
                    source: IS_MADE | commits | u32::from(marker.producer_epoch as u16),
                    ..packed
                }
            }
            place => {
                let (source, position) = place.source()?;
                Self {
                    position,
                    source: compacted | sources.add(source, run.size_bytes)?,
                    ..packed
                }
            }
        })
    }

    pub fn unpack(&self, sources: &Sources) -> Run {
        let place = match self.source_index() {
            Some(index) => sources.get(index).at(self.position),
            None => Place::Made(self.marker()),
        };
        Run {
            base_offset: self.base_offset,
            next_offset: self.next_offset(),
            size_bytes: self.size_bytes(),
            max_timestamp: self.max_timestamp,
            place,
            is_compacted: self.is_compacted(),
        }
    }

    pub fn next_offset(&self) -> i64 {
        match self.is_made() {
            true => self.base_offset + 1,
            false => self.base_offset + i64::from(self.offsets),
        }
    }

    pub fn size_bytes(&self) -> u32 {
        match self.is_made() {
            true => Marker::SIZE_BYTES,
            false => self.size_bytes,
        }
    }

    pub fn is_compacted(&self) -> bool {
        self.source & IS_COMPACTED != 0
    }

    /// `None`: it is made.
    pub fn source_index(&self) -> Option<u32> {
        (!self.is_made()).then_some(self.source & !IS_COMPACTED)
    }

    fn is_made(&self) -> bool {
        self.source & IS_MADE != 0
    }

    fn marker(&self) -> Marker {
        Marker {
            producer_id: i64::from(self.position) << 32 | i64::from(self.size_bytes),
            producer_epoch: self.source as u16 as i16,
            marker: EndTxnMarker {
                result: match self.source & COMMITS {
                    0 => TransactionResult::Abort,
                    _ => TransactionResult::Commit,
                },
                coordinator_epoch: self.offsets as i32,
            },
        }
    }
}

const _: () = assert!(size_of::<PackedRun>() == 32);
