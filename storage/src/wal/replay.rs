//! Reads the write-ahead log back, group by group, from a checkpoint to its end.
//!
//! The end is the first place where the next group in sequence is not found intact. That is what
//! a crash leaves: the last write is torn, and nobody was told about it. If an intact group of a
//! later write exists, the log has a hole in acknowledged data, and nothing is replayed.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::format::{self, Entry, FORMAT_VERSION, GROUP_HEADER_BYTES, GroupHeader};
use super::ring::{RingPosition, list_regions, region_path};
use crate::fs::{Access, BLOCK_BYTES, File, Fs};

/// What one read fetches ahead.
const WINDOW_BYTES: usize = 1 << 20;

/// Why the log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: group of format {found}", .path.display())]
    NewerFormat { path: PathBuf, found: u16 },
    #[error("{}: {what}", .path.display())]
    Hole { path: PathBuf, what: String },
}

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// Of the group that would have come next.
    pub next_sequence: u64,
    pub groups: u64,
    /// Bytes behind the end that look like a group that was being written.
    pub torn_bytes: u64,
}

/// Reads the log from `checkpoint` to its end and calls `visit` with the entries of each group.
pub fn replay<E>(
    fs: &dyn Fs,
    dir: &Path,
    checkpoint: &Checkpoint,
    mut visit: impl FnMut(&[Entry<'_>]) -> Result<(), E>,
) -> Result<LogEnd, E>
where
    E: From<ReplayError>,
{
    let mut ring = RingReader::open(fs, dir, checkpoint.generation)?;
    let mut at = checkpoint.start;
    let mut end = LogEnd {
        next_sequence: checkpoint.start_sequence,
        groups: 0,
        torn_bytes: 0,
    };
    if checkpoint.closed {
        return Ok(end);
    }
    if !ring.regions.contains_key(&at.region) {
        Err(ReplayError::Hole {
            path: region_path(dir, at.region),
            what: "the file is missing".to_owned(),
        })?;
    }
    loop {
        let mut bytes = ring.visit_group(at, end.next_sequence, &mut visit)?;
        if bytes.is_none()
            && let Some(&region) = ring.heads.get(&end.next_sequence)
        {
            at = RingPosition {
                region,
                position: 0,
            };
            bytes = ring.visit_group(at, end.next_sequence, &mut visit)?;
        }
        let Some(bytes) = bytes else {
            break;
        };
        at.position += bytes;
        end.next_sequence += 1;
        end.groups += 1;
    }
    end.torn_bytes = ring.check_for_hole(at, end.next_sequence)?;
    Ok(end)
}

struct RingReader {
    generation: u64,
    regions: HashMap<u32, RegionReader>,
    /// Sequence number of a region's first group -> region.
    heads: HashMap<u64, u32>,
}

/// A region and the part of it that was read last.
struct RegionReader {
    path: PathBuf,
    file: Arc<dyn File>,
    bytes: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl RingReader {
    fn open(fs: &dyn Fs, dir: &Path, generation: u64) -> Result<Self, ReplayError> {
        let mut reader = Self {
            generation,
            regions: HashMap::new(),
            heads: HashMap::new(),
        };
        let indexes = list_regions(fs, dir).map_err(|source| ReplayError::Io {
            path: dir.to_owned(),
            source,
        })?;
        for index in indexes {
            let mut region = RegionReader::open(fs, region_path(dir, index))?;
            if let Some(head) = region.header(0)?
                && head.generation == generation
            {
                reader.heads.insert(head.sequence, index);
            }
            reader.regions.insert(index, region);
        }
        Ok(reader)
    }

    /// Visits the group with number `sequence` if it lies intact at `at`, and returns its bytes.
    fn visit_group<E: From<ReplayError>>(
        &mut self,
        at: RingPosition,
        sequence: u64,
        visit: &mut impl FnMut(&[Entry<'_>]) -> Result<(), E>,
    ) -> Result<Option<u64>, E> {
        let Some(region) = self.regions.get_mut(&at.region) else {
            return Ok(None);
        };
        let Some(header) = region.header(at.position)? else {
            return Ok(None);
        };
        if header.generation != self.generation || header.sequence != sequence {
            return Ok(None);
        }
        if header.version != FORMAT_VERSION {
            Err(ReplayError::NewerFormat {
                path: region.path.clone(),
                found: header.version,
            })?;
        }
        let Some(group) = region.read(at.position, header.group_bytes as usize)? else {
            return Ok(None);
        };
        let Some(entries) = format::entries(group) else {
            return Ok(None);
        };
        visit(&entries)?;
        Ok(Some(u64::from(header.group_bytes)))
    }

    /// Looks behind the end of the log for groups that must not be there.
    ///
    /// A region is written from its head on. So only the region in which the log ends, and those
    /// whose head is not an intact group, can hold one.
    fn check_for_hole(&mut self, end: RingPosition, sequence: u64) -> Result<u64, ReplayError> {
        let mut torn_bytes = 0;
        for (&index, region) in &mut self.regions {
            let from = if index == end.region {
                end.position
            } else {
                match region.header(0)? {
                    Some(head) if region.is_intact(0, &head)? => {
                        if head.generation == self.generation && head.write_sequence > sequence {
                            region.refuse_hole(0, &head, sequence)?;
                        }
                        continue;
                    }
                    _ => 0,
                }
            };
            let mut position = from;
            while position < region.bytes {
                if let Some(header) = region.header(position)?
                    && header.generation == self.generation
                    && header.sequence >= sequence
                {
                    if header.write_sequence > sequence && region.is_intact(position, &header)? {
                        region.refuse_hole(position, &header, sequence)?;
                    }
                    torn_bytes += u64::from(header.group_bytes);
                }
                position += BLOCK_BYTES as u64;
            }
        }
        Ok(torn_bytes)
    }
}

impl RegionReader {
    fn open(fs: &dyn Fs, path: PathBuf) -> Result<Self, ReplayError> {
        let opened = fs
            .open(&path, Access::Read)
            .and_then(|file| Ok((file.size_bytes()?, file)));
        match opened {
            Ok((bytes, file)) => Ok(Self {
                path,
                file,
                bytes,
                window: Vec::new(),
                window_at: 0,
            }),
            Err(source) => Err(ReplayError::Io { path, source }),
        }
    }

    /// `bytes` bytes at `position`; `None` if the region ends before.
    fn read(&mut self, position: u64, bytes: usize) -> Result<Option<&[u8]>, ReplayError> {
        if position + bytes as u64 > self.bytes {
            return Ok(None);
        }
        let window_end = self.window_at + self.window.len() as u64;
        if position < self.window_at || position + bytes as u64 > window_end {
            let wanted = bytes.max(WINDOW_BYTES) as u64;
            let length = wanted.min(self.bytes - position) as usize;
            self.window.resize(length, 0);
            self.window_at = position;
            let read = self
                .file
                .read_at(&mut self.window, position)
                .map_err(|source| ReplayError::Io {
                    path: self.path.clone(),
                    source,
                })?;
            self.window.truncate(read);
        }
        let at = (position - self.window_at) as usize;
        Ok(self.window.get(at..at + bytes))
    }

    fn header(&mut self, position: u64) -> Result<Option<GroupHeader>, ReplayError> {
        let bytes = self.read(position, GROUP_HEADER_BYTES)?;
        Ok(bytes.and_then(GroupHeader::parse))
    }

    fn is_intact(&mut self, position: u64, header: &GroupHeader) -> Result<bool, ReplayError> {
        let group = self.read(position, header.group_bytes as usize)?;
        Ok(group.is_some_and(|group| format::entries(group).is_some()))
    }

    /// An error if the group at `position` was written when everything before it was on stable media.
    fn refuse_hole(
        &self,
        position: u64,
        header: &GroupHeader,
        sequence: u64,
    ) -> Result<(), ReplayError> {
        if !header.synced {
            // Written to the page cache only: a power cut may keep it and lose the one before.
            return Ok(());
        }
        Err(ReplayError::Hole {
            path: self.path.clone(),
            what: format!(
                "group {sequence} is missing or damaged, but group {} is intact at byte {position}",
                header.sequence
            ),
        })
    }
}
