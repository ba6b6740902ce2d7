//! The groups that wait to be written.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::chunk::{Chunk, ChunkPool};
use super::entry::{NewEntry, OnDurable, WalError};
use super::format::{self, EntryKind, GROUP_HEADER_BYTES, Place, Row, Seal};
use crate::env::fs::BLOCK_BYTES;

/// The most that an appender writes for itself.
const QUICK_BYTES: usize = 64 << 10;

/// Appenders write for themselves after this many writes of one entry each. Before that, writing together is less work.
const CALM_WRITES: u32 = if cfg!(feature = "simulation") { 1 } else { 8 };

pub(super) const CHUNK_MIN_BYTES: usize = 16 << 10;

pub(super) const CHUNK_MAX_BYTES: usize = 1 << 20;

pub(super) struct Filling {
    pub(super) open: Option<Group>,
    pub(super) sealed: VecDeque<Group>,
    pub(super) next_sequence: u64,
    /// Declarations that the table of logs does not have yet.
    pub(super) declared: Vec<(u32, Vec<u8>)>,
    pub(super) chunk_bytes: usize,
    pub(super) write_limit_bytes: usize,
    /// The commit thread sleeps, and nobody has woken it.
    pub(super) thread_waits: bool,
    /// Somebody else commits, and wakes the commit thread if there is more to do after that.
    pub(super) caller_commits: bool,
    /// How many writes in a row have held one entry, with none coming while an appender wrote.
    pub(super) calm_writes: u32,
    pub(super) refused: Option<WalError>,
}

/// Entries that are written together.
pub(super) struct Group {
    pub(super) sequence: u64,
    pub(super) chunk: Chunk,
    pub(super) rows: Vec<Row>,
    pub(super) owners: Vec<(Range<usize>, OnDurable)>,
    pub(super) strict: bool,
}

impl Filling {
    /// The open group, or a new one, with room for entries of this size.
    pub(super) fn group_with_room(
        &mut self,
        pool: &Arc<ChunkPool>,
        payload_bytes: usize,
        entries: usize,
    ) -> Result<&mut Group, WalError> {
        let needed_bytes = padded_bytes(payload_bytes, entries);
        let full = self
            .open
            .take_if(|group| group.bytes_with(payload_bytes, entries) > group.chunk.room());
        if let Some(full) = full {
            self.sealed.push_back(full);
            self.chunk_bytes = (self.chunk_bytes * 4)
                .min(CHUNK_MAX_BYTES)
                .min(self.write_limit_bytes);
        }
        let group = match self.open.take() {
            Some(group) => group,
            None => {
                let chunk = pool.take(self.chunk_bytes.max(needed_bytes));
                let mut chunk = chunk.map_err(|error| WalError::NoMemory(error.to_string()))?;
                chunk.push(&[0; GROUP_HEADER_BYTES]);
                self.next_sequence += 1;
                Group {
                    sequence: self.next_sequence - 1,
                    chunk,
                    rows: Vec::new(),
                    owners: Vec::new(),
                    strict: false,
                }
            }
        };
        Ok(self.open.insert(group))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none() && self.sealed.is_empty()
    }

    /// How much there is to write; `None` if that takes longer than a moment, or if more is likely to come meanwhile.
    pub(super) fn quick_bytes(&self) -> Option<usize> {
        let is_calm = self.calm_writes >= CALM_WRITES && self.sealed.is_empty();
        let open = self.open.as_ref().filter(|open| is_calm && !open.strict)?;
        Some(open.bytes_with(0, 0)).filter(|&bytes| bytes <= QUICK_BYTES)
    }

    /// The groups for the next write.
    pub(super) fn take(&mut self) -> Vec<Group> {
        if self.sealed.is_empty()
            && let Some(open) = &self.open
            && open.chunk.len() < self.chunk_bytes / 8
        {
            self.chunk_bytes = (self.chunk_bytes / 4).max(CHUNK_MIN_BYTES);
        }
        self.sealed.extend(self.open.take());
        let mut groups = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.sealed.front() {
            bytes += next.bytes_with(0, 0);
            if !groups.is_empty() && bytes > self.write_limit_bytes {
                break;
            }
            groups.extend(self.sealed.pop_front());
        }
        match groups.iter().map(|group| group.owners.len()).sum() {
            0 => {}
            1 => self.calm_writes = self.calm_writes.saturating_add(1),
            2.. => self.calm_writes = 0,
        }
        groups
    }
}

impl Group {
    /// Copies an entry in, behind the name of its log if that is given.
    pub(super) fn enter(
        &mut self,
        entry: &NewEntry<'_>,
        declaration: Option<&[u8]>,
        patch: impl FnOnce(&mut [u8]),
        on_durable: OnDurable,
    ) {
        if let Some(payload) = declaration {
            let (id, kind) = (entry.log_id, EntryKind::Declare);
            let row = Row::new(id, kind, 0, Place::default(), payload);
            self.rows.push(row);
            self.chunk.push(payload);
        }
        let at = self.chunk.len();
        let copy = self.chunk.push(entry.payload);
        patch(copy);
        let row = Row::new(entry.log_id, entry.kind, entry.offset, entry.place, copy);
        self.rows.push(row);
        self.owners.push((at..at + entry.payload.len(), on_durable));
        self.strict |= entry.strict;
    }

    /// Bytes of the group with entries of this size added.
    pub(super) fn bytes_with(&self, payload_bytes: usize, entries: usize) -> usize {
        let payload_bytes = self.chunk.len() - GROUP_HEADER_BYTES + payload_bytes;
        padded_bytes(payload_bytes, self.rows.len() + entries)
    }

    /// Adds table and header; from here on the bytes do not change.
    pub(super) fn seal(mut self, seal: Seal) -> (Bytes, Vec<(Range<usize>, OnDurable)>) {
        let payload_bytes = self.chunk.len() - GROUP_HEADER_BYTES;
        let group_bytes = padded_bytes(payload_bytes, self.rows.len());
        let (header, table) = seal.apply(group_bytes, payload_bytes, &self.rows);
        self.chunk.push(&table);
        self.chunk.pad_to_block();
        self.chunk.as_mut_slice()[..GROUP_HEADER_BYTES].copy_from_slice(&header);
        (self.chunk.freeze(), self.owners)
    }
}

pub(super) fn padded_bytes(payload_bytes: usize, entries: usize) -> usize {
    format::unpadded_bytes(payload_bytes, entries).next_multiple_of(BLOCK_BYTES)
}
