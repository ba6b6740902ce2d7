//! `.index`: sparse, from an offset to the position of the batch that ends with it.
//!
//! | at | bytes | entry, big-endian |
//! |---|---|---|
//! | 0 | 4 | last offset of a batch, relative to the segment's base offset |
//! | 4 | 4 | position of that batch in the segment |

use std::io;

use crate::env::fs::File;

pub const ENTRY_BYTES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    pub relative_offset: u32,
    pub position: u32,
}

impl OffsetEntry {
    pub fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        entry[..4].copy_from_slice(&self.relative_offset.to_be_bytes());
        entry[4..].copy_from_slice(&self.position.to_be_bytes());
        entry
    }

    fn decode(entry: [u8; ENTRY_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h] = entry;
        Self {
            relative_offset: u32::from_be_bytes([a, b, c, d]),
            position: u32::from_be_bytes([e, f, g, h]),
        }
    }
}

/// How many entries at the start of an index make sense for a segment of `segment_bytes`, and the last of them.
///
/// An index is never trusted: what follows an entry that cannot be right is built anew.
pub fn valid_prefix(bytes: &[u8], segment_bytes: u64) -> (usize, Option<OffsetEntry>) {
    let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
    let mut last: Option<OffsetEntry> = None;
    for (count, &entry) in entries.iter().enumerate() {
        let entry = OffsetEntry::decode(entry);
        let follows = last.is_none_or(|last| {
            entry.relative_offset > last.relative_offset && entry.position > last.position
        });
        if !follows || u64::from(entry.position) >= segment_bytes {
            return (count, last);
        }
        last = Some(entry);
    }
    (entries.len(), last)
}

/// From where to look for an offset: the last entry not above it.
pub fn lookup(file: &dyn File, relative_offset: u32) -> io::Result<Option<OffsetEntry>> {
    let entries = file.size_bytes()? / ENTRY_BYTES as u64;
    last_not_above(entries, |at| {
        let mut entry = [0; ENTRY_BYTES];
        file.read_at(&mut entry, at * ENTRY_BYTES as u64)?;
        let entry = OffsetEntry::decode(entry);
        Ok((entry.relative_offset <= relative_offset).then_some(entry))
    })
}

/// Searches `count` sorted entries for the last one for which `not_above` gives a value.
pub fn last_not_above<T>(
    count: u64,
    mut not_above: impl FnMut(u64) -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let (mut low, mut high) = (0, count);
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        match not_above(middle)? {
            Some(value) => {
                found = Some(value);
                low = middle + 1;
            }
            None => high = middle,
        }
    }
    Ok(found)
}
