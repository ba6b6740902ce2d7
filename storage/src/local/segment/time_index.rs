//! `.timeindex`: sparse, from a timestamp to the last offset of the batch that first reached it.
//!
//! | at | bytes | entry, big-endian |
//! |---|---|---|
//! | 0 | 8 | largest timestamp of the segment so far, in ms |
//! | 8 | 4 | last offset of the batch with that timestamp, relative to the segment's base offset |

use std::io;

use crate::env::fs::File;
use crate::local::segment::offset_index::last_not_above;

pub const ENTRY_BYTES: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    pub timestamp: i64,
    pub relative_offset: u32,
}

impl TimeEntry {
    pub fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        entry[..8].copy_from_slice(&self.timestamp.to_be_bytes());
        entry[8..].copy_from_slice(&self.relative_offset.to_be_bytes());
        entry
    }

    fn decode(entry: [u8; ENTRY_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = entry;
        Self {
            timestamp: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            relative_offset: u32::from_be_bytes([i, j, k, l]),
        }
    }
}

/// How many entries at the start of an index make sense up to `end_relative_offset`, and the last of them.
pub fn valid_prefix(bytes: &[u8], end_relative_offset: u32) -> (usize, Option<TimeEntry>) {
    let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
    let mut last: Option<TimeEntry> = None;
    for (count, &entry) in entries.iter().enumerate() {
        let entry = TimeEntry::decode(entry);
        let follows = last.is_none_or(|last| {
            entry.timestamp > last.timestamp && entry.relative_offset >= last.relative_offset
        });
        if !follows || entry.relative_offset >= end_relative_offset {
            return (count, last);
        }
        last = Some(entry);
    }
    (entries.len(), last)
}

/// The relative offset from which to look for a timestamp: that of the last entry not above it, or 0.
pub fn lookup(file: &dyn File, timestamp: i64) -> io::Result<u32> {
    let entries = file.size_bytes()? / ENTRY_BYTES as u64;
    let found = last_not_above(entries, |at| {
        let mut entry = [0; ENTRY_BYTES];
        file.read_at(&mut entry, at * ENTRY_BYTES as u64)?;
        let entry = TimeEntry::decode(entry);
        Ok((entry.timestamp <= timestamp).then_some(entry.relative_offset))
    })?;
    Ok(found.unwrap_or(0))
}

/// The last entry: the largest timestamp of a segment that is no longer written to.
pub fn last(file: &dyn File) -> io::Result<Option<TimeEntry>> {
    let entries = file.size_bytes()? / ENTRY_BYTES as u64;
    if entries == 0 {
        return Ok(None);
    }
    let mut entry = [0; ENTRY_BYTES];
    file.read_at(&mut entry, (entries - 1) * ENTRY_BYTES as u64)?;
    Ok(Some(TimeEntry::decode(entry)))
}
