//! Reads the write-ahead log back, group by group, from a checkpoint to its end.
//!
//! The end is the first place where the next group in sequence is not found intact. That is what
//! a crash leaves: the last write is torn, and nobody was told about it. If an intact group of a
//! later write exists, the log has a hole in acknowledged data, and nothing is replayed.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::format::{self, Entry, FORMAT_VERSION, GROUP_HEADER_BYTES, GroupHeader};
use super::ring::{RingPosition, list_regions, region_path};
use crate::fs::{Access, BLOCK_BYTES, File, Fs};

/// What one read fetches ahead: several groups, since one that is cut off is read again.
const WINDOW_BYTES: usize = 4 << 20;

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
    regions: BTreeMap<u32, RegionReader>,
    /// Sequence number of a region's first group -> region.
    heads: HashMap<u64, u32>,
    window: Window,
}

/// A file of the ring.
struct RegionReader {
    index: u32,
    path: PathBuf,
    file: Arc<dyn File>,
    bytes: u64,
}

/// What was read last.
struct Window {
    memory: Vec<u8>,
    region: u32,
    at: u64,
    bytes: usize,
}

impl RingReader {
    fn open(fs: &dyn Fs, dir: &Path, generation: u64) -> Result<Self, ReplayError> {
        let failed = |source| ReplayError::Io {
            path: dir.to_owned(),
            source,
        };
        let mut reader = Self {
            generation,
            regions: BTreeMap::new(),
            heads: HashMap::new(),
            window: Window::new(),
        };
        for index in list_regions(fs, dir).map_err(failed)? {
            let region = RegionReader::open(fs, dir, index)?;
            let head = region.read(&mut reader.window, 0, GROUP_HEADER_BYTES, BLOCK_BYTES)?;
            if let Some(head) = head.and_then(GroupHeader::parse)
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
        let (Some(region), window) = (self.regions.get(&at.region), &mut self.window) else {
            return Ok(None);
        };
        let Some(header) = region.header(window, at.position)? else {
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
        let Some(group) = region.group(window, at.position, &header)? else {
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
        let window = &mut self.window;
        for (&index, region) in &self.regions {
            let from = if index == end.region {
                end.position
            } else {
                match region.header(window, 0)? {
                    Some(head) if region.is_intact(window, 0, &head)? => {
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
                if let Some(header) = region.header(window, position)?
                    && header.generation == self.generation
                    && header.sequence >= sequence
                {
                    if header.write_sequence > sequence
                        && region.is_intact(window, position, &header)?
                    {
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

impl Window {
    fn new() -> Self {
        Self {
            memory: vec![0; WINDOW_BYTES],
            region: 0,
            at: 0,
            bytes: 0,
        }
    }

    fn holds(&self, region: u32, position: u64, bytes: usize) -> bool {
        let end = self.at + self.bytes as u64;
        self.region == region && position >= self.at && position + bytes as u64 <= end
    }

    fn fill(&mut self, region: &RegionReader, position: u64, bytes: usize) -> io::Result<()> {
        self.bytes = 0;
        if bytes > self.memory.len() {
            self.memory.resize(bytes, 0);
        }
        self.bytes = region
            .file
            .read_at(&mut self.memory[..bytes], position)?
            .min(bytes);
        (self.region, self.at) = (region.index, position);
        Ok(())
    }
}

impl RegionReader {
    fn open(fs: &dyn Fs, dir: &Path, index: u32) -> Result<Self, ReplayError> {
        let path = region_path(dir, index);
        // Through the page cache: all of it is read twice.
        let opened = fs.open(&path, Access::Read);
        match opened.and_then(|file| Ok((file.size_bytes()?, file))) {
            Ok((bytes, file)) => Ok(Self {
                index,
                path,
                file,
                bytes,
            }),
            Err(source) => Err(ReplayError::Io { path, source }),
        }
    }

    /// `bytes` bytes at the block that begins at `position`; `None` if the region ends before. Reads `ahead` bytes.
    fn read<'w>(
        &self,
        window: &'w mut Window,
        position: u64,
        bytes: usize,
        ahead: usize,
    ) -> Result<Option<&'w [u8]>, ReplayError> {
        // A crash while it was written ahead may have left a length that is no whole number of blocks.
        let end = self.bytes / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        if position + bytes as u64 > end {
            return Ok(None);
        }
        if !window.holds(self.index, position, bytes) {
            let wanted = bytes.next_multiple_of(BLOCK_BYTES).max(ahead) as u64;
            let length = wanted.min(end - position) as usize;
            window
                .fill(self, position, length)
                .map_err(|source| ReplayError::Io {
                    path: self.path.clone(),
                    source,
                })?;
        }
        let at = (position - window.at) as usize;
        Ok(window.memory[..window.bytes].get(at..at + bytes))
    }

    fn header(
        &self,
        window: &mut Window,
        position: u64,
    ) -> Result<Option<GroupHeader>, ReplayError> {
        let bytes = self.read(window, position, GROUP_HEADER_BYTES, WINDOW_BYTES)?;
        Ok(bytes.and_then(GroupHeader::parse))
    }

    fn group<'w>(
        &self,
        window: &'w mut Window,
        position: u64,
        header: &GroupHeader,
    ) -> Result<Option<&'w [u8]>, ReplayError> {
        self.read(window, position, header.group_bytes as usize, WINDOW_BYTES)
    }

    fn is_intact(
        &self,
        window: &mut Window,
        position: u64,
        header: &GroupHeader,
    ) -> Result<bool, ReplayError> {
        let group = self.group(window, position, header)?;
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
