//! The bytes of a file: those in the page cache, and those on stable media.

use std::collections::{BTreeMap, BTreeSet};

use crate::testing::random::Random;

/// What the seed decides about one power cut.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mood {
    KeepAll,
    DropAll,
    Mixed,
}

impl Mood {
    pub(super) fn keeps(self, random: &mut Random) -> bool {
        match self {
            Self::KeepAll => true,
            Self::DropAll => false,
            Self::Mixed => random.below(2) == 0,
        }
    }
}

/// What a disk writes whole or not at all; even that is not relied on: sectors may be torn.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) bytes: Vec<u8>,
    /// What stable media hold of the sectors that differ from them.
    pub(super) durable_sectors: BTreeMap<u64, [u8; SECTOR_BYTES]>,
    pub(super) durable_length: usize,
    /// The shortest that the file has been since the last sync.
    pub(super) truncated_to: Option<usize>,
    /// Sectors that a failed sync did not write, and that no later one will.
    pub(super) given_up: BTreeSet<u64>,
}

impl Contents {
    pub(super) fn sector(&self, number: u64) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        let from = number as usize * SECTOR_BYTES;
        if let Some(bytes) = self.bytes.get(from..) {
            let length = bytes.len().min(SECTOR_BYTES);
            sector[..length].copy_from_slice(&bytes[..length]);
        }
        sector
    }

    /// Notes what stable media hold of some bytes that are about to change.
    pub(super) fn touch(&mut self, from: usize, to: usize) {
        for number in sectors(from, to) {
            if !self.durable_sectors.contains_key(&number) {
                let sector = self.sector(number);
                self.durable_sectors.insert(number, sector);
            }
            self.given_up.remove(&number);
        }
    }

    pub(super) fn write(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        self.touch(position, end);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[position..end].copy_from_slice(bytes);
    }

    pub(super) fn set_length(&mut self, length: usize) {
        if length < self.bytes.len() {
            self.touch(length, self.bytes.len());
            self.truncated_to = Some(self.truncated_to.map_or(length, |to| to.min(length)));
        }
        self.bytes.resize(length, 0);
    }

    pub(super) fn sync(&mut self) {
        let given_up = &self.given_up;
        self.durable_sectors
            .retain(|number, _| given_up.contains(number));
        self.durable_length = self.bytes.len();
        self.truncated_to = None;
    }

    pub(super) fn sync_range(&mut self, from: usize, to: usize) {
        if self.truncated_to.is_some() {
            return self.sync();
        }
        for number in sectors(from, to) {
            self.durable_sectors.remove(&number);
        }
        self.durable_length = self.durable_length.max(to);
    }

    pub(super) fn fail_sync(&mut self) {
        self.given_up = self.durable_sectors.keys().copied().collect();
    }

    pub(super) fn power_cut(&mut self, mood: Mood, random: &mut Random) {
        let truncated_to = self.truncated_to.take();
        let truncation_lost = truncated_to.is_some() && !mood.keeps(random);
        let length = if truncation_lost {
            self.durable_length
        } else {
            let shortest =
                truncated_to.map_or(self.durable_length, |to| self.durable_length.min(to));
            let longest = self.bytes.len().max(shortest);
            match mood {
                Mood::KeepAll => longest,
                Mood::DropAll => shortest,
                Mood::Mixed => match random.below(3) {
                    0 => shortest,
                    1 => longest,
                    _ => shortest + random.below((longest - shortest) as u64 + 1) as usize,
                },
            }
        };
        let sectors_count = self.bytes.len().max(length).div_ceil(SECTOR_BYTES) + 1;
        self.bytes.resize(sectors_count * SECTOR_BYTES, 0);
        let given_up = std::mem::take(&mut self.given_up);
        for (number, mut durable) in std::mem::take(&mut self.durable_sectors) {
            let at = number as usize * SECTOR_BYTES;
            if self.bytes.len() < at + SECTOR_BYTES {
                continue;
            }
            let is_behind = truncated_to.is_some_and(|to| at >= to);
            if is_behind && !truncation_lost {
                durable = [0; SECTOR_BYTES];
            }
            let kept_bytes = if given_up.contains(&number) || (is_behind && truncation_lost) {
                0
            } else if let (Mood::Mixed, 0) = (mood, random.below(3)) {
                torn_at(&self.bytes[at..at + SECTOR_BYTES], &durable, random)
            } else if mood.keeps(random) {
                SECTOR_BYTES
            } else {
                0
            };
            self.bytes[at + kept_bytes..at + SECTOR_BYTES].copy_from_slice(&durable[kept_bytes..]);
        }
        self.bytes.truncate(length);
        self.durable_length = length;
    }
}

/// How much of a sector has reached the disk that is torn. The tear is among the bytes that the write changes: the others
/// are the same on either side.
fn torn_at(written: &[u8], durable: &[u8], random: &mut Random) -> usize {
    let differs = |at: &usize| written[*at] != durable[*at];
    let first = (0..SECTOR_BYTES).find(differs).unwrap_or(0);
    let last = (0..SECTOR_BYTES).rfind(differs).unwrap_or(0);
    first + random.below((last - first) as u64 + 1) as usize
}

/// The numbers of the sectors that hold some bytes.
fn sectors(from: usize, to: usize) -> std::ops::Range<u64> {
    (from / SECTOR_BYTES) as u64..to.div_ceil(SECTOR_BYTES) as u64
}
