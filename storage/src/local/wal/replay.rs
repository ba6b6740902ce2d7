//! Reads the write-ahead log back, group by group, from a checkpoint to its end.
//!
//! The end is the first place where the next group in sequence is not found intact. That is what
//! a crash leaves: the last write is torn, and nobody was told about it. If an intact group of a
//! later write exists, the log has a hole in acknowledged data, and nothing is replayed.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::MmapMut;

use super::checkpoint::Checkpoint;
use super::format::{self, Entry, FORMAT_VERSION, GROUP_HEADER_BYTES, GroupHeader};
use super::ring::{RingPosition, list_regions, region_path};
use crate::env::fs::{Access, BLOCK_BYTES, File, Fs, is_unsupported};
use crate::env::sync::mpsc;
use crate::local::io_pool::IoPool;
use crate::local::segment::read_ahead::map_huge_pages;

/// How much one read fetches: several groups.
const WINDOW_BYTES: usize = if cfg!(feature = "simulation") {
    64 << 10
} else {
    4 << 20
};

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
    /// The sequence number of the group that would have come next.
    pub next_sequence: u64,
    pub groups: u64,
    /// Bytes behind the end that look like a group that was being written.
    pub torn_bytes: u64,
}

/// A write-ahead log that is to be read.
pub struct Replay<'a> {
    pub fs: &'a dyn Fs,
    pub dir: &'a Path,
    /// Reads past the page cache, if the file system can: fresh pages cost more than the reading.
    pub directly: bool,
    /// Reads the next window while one is visited.
    pub ahead: Option<&'a IoPool>,
    pub window_bytes: usize,
}

impl<'a> Replay<'a> {
    pub fn new(fs: &'a dyn Fs, dir: &'a Path) -> Self {
        Self {
            fs,
            dir,
            directly: false,
            ahead: None,
            window_bytes: WINDOW_BYTES,
        }
    }

    /// Reads the log from `checkpoint` to its end and calls `visit` with the entries of each group.
    pub fn run<E>(
        &self,
        checkpoint: &Checkpoint,
        visit: impl FnMut(&[Entry<'_>]) -> Result<(), E>,
    ) -> Result<LogEnd, E>
    where
        E: From<ReplayError>,
    {
        self.run_to(checkpoint, None, visit)
    }

    /// Reads the log once more, up to the end that [`Replay::run`] found.
    pub fn repeat<E>(
        &self,
        checkpoint: &Checkpoint,
        end: &LogEnd,
        visit: impl FnMut(&[Entry<'_>]) -> Result<(), E>,
    ) -> Result<(), E>
    where
        E: From<ReplayError>,
    {
        let again = self.run_to(checkpoint, Some(end.next_sequence), visit)?;
        if again.next_sequence != end.next_sequence {
            let what = format!(
                "group {} was intact a moment ago and is not any more",
                again.next_sequence
            );
            let path = self.dir.to_owned();
            Err(ReplayError::Hole { path, what })?;
        }
        Ok(())
    }

    /// Reads to the group with number `until`, or else to the end, and then looks for what must not lie behind it.
    fn run_to<E>(
        &self,
        checkpoint: &Checkpoint,
        until: Option<u64>,
        mut visit: impl FnMut(&[Entry<'_>]) -> Result<(), E>,
    ) -> Result<LogEnd, E>
    where
        E: From<ReplayError>,
    {
        let mut ring = RingReader::open(self, checkpoint.generation)?;
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
                path: region_path(self.dir, at.region),
                what: "the file is missing".to_owned(),
            })?;
        }
        while until != Some(end.next_sequence) {
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
        if until.is_none() {
            end.torn_bytes = ring.check_for_hole(at, end.next_sequence)?;
        }
        Ok(end)
    }
}

struct RingReader<'a> {
    generation: u64,
    regions: BTreeMap<u32, RegionReader>,
    /// Sequence number of a region's first group -> region.
    heads: HashMap<u64, u32>,
    window: Window<'a>,
}

/// A file of the ring.
struct RegionReader {
    index: u32,
    path: PathBuf,
    file: Arc<dyn File>,
    bytes: u64,
}

/// The bytes that were read last, and those that are being read meanwhile.
struct Window<'a> {
    ahead: Option<&'a IoPool>,
    /// What a read fetches.
    bytes: usize,
    /// Room for half a window, the end of the one before if a group goes on from there, and then for a whole one.
    memory: MmapMut,
    /// Where in `memory` the bytes are that were read.
    range: Range<usize>,
    /// Where they are in the ring.
    region: u32,
    at: u64,
    /// The window behind this one.
    coming: Option<mpsc::Receiver<(MmapMut, io::Result<usize>)>>,
    spare: Option<MmapMut>,
}

impl<'a> RingReader<'a> {
    fn open(replay: &Replay<'a>, generation: u64) -> Result<Self, ReplayError> {
        let (fs, dir) = (replay.fs, replay.dir);
        let failed = |source| ReplayError::Io {
            path: dir.to_owned(),
            source,
        };
        let mut reader = Self {
            generation,
            regions: BTreeMap::new(),
            heads: HashMap::new(),
            window: Window::new(replay).map_err(failed)?,
        };
        for index in list_regions(fs, dir).map_err(failed)? {
            let region = RegionReader::open(fs, dir, index, replay.directly)?;
            let head = region.read(&mut reader.window, 0, GROUP_HEADER_BYTES, false)?;
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
        let Some(header) = region.header(window, at.position, true)? else {
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
        let Some(group) = region.group(window, at.position, &header, true)? else {
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
                match region.header(window, 0, false)? {
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
                if let Some(header) = region.header(window, position, true)?
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

impl<'a> Window<'a> {
    fn new(replay: &Replay<'a>) -> io::Result<Self> {
        let bytes = replay.window_bytes;
        Ok(Self {
            ahead: replay.ahead,
            bytes,
            memory: map_huge_pages(bytes / 2 + bytes)?,
            range: 0..0,
            region: 0,
            at: 0,
            coming: None,
            spare: None,
        })
    }

    fn holds(&self, region: u32, position: u64, bytes: usize) -> bool {
        let end = self.at + self.range.len() as u64;
        self.region == region && position >= self.at && position + bytes as u64 <= end
    }

    /// The bytes at a position, or fewer at the end.
    fn get(&self, position: u64, bytes: usize) -> Option<&[u8]> {
        let from = (position - self.at) as usize;
        self.memory[self.range.clone()].get(from..from + bytes)
    }

    /// Moves to the next window, if that holds `bytes` at a position, together with the end of this one.
    fn advance(&mut self, region: u32, position: u64, bytes: usize) -> io::Result<bool> {
        let end = self.at + self.range.len() as u64;
        let room = self.bytes / 2;
        let follows = self.region == region
            && (self.at..=end).contains(&position)
            && end - position <= room as u64;
        let Some(coming) = self.coming.take().filter(|_| follows) else {
            return Ok(false);
        };
        // An error says that the pool was closed: then it is read here.
        let Ok((mut memory, read)) = coming.recv() else {
            return Ok(false);
        };
        let read = read?;
        let kept = (end - position) as usize;
        let from = self.range.end - kept;
        memory[room - kept..room].copy_from_slice(&self.memory[from..self.range.end]);
        self.spare = Some(std::mem::replace(&mut self.memory, memory));
        self.range = room - kept..room + read;
        self.at = position;
        Ok(self.holds(region, position, bytes))
    }

    /// Reads exactly this many bytes.
    fn fill(&mut self, region: &RegionReader, position: u64, bytes: usize) -> io::Result<()> {
        self.range = 0..0;
        if bytes > self.memory.len() {
            self.memory = map_huge_pages(bytes)?;
        }
        let read = region.file.read_at(&mut self.memory[..bytes], position)?;
        self.range = 0..read.min(bytes);
        (self.region, self.at) = (region.index, position);
        Ok(())
    }

    /// Has the window behind this one read, up to `end` of the region.
    fn read_ahead(&mut self, region: &RegionReader, end: u64) -> io::Result<()> {
        let at = self.at + self.range.len() as u64;
        let Some(pool) = self.ahead.filter(|_| at < end) else {
            return Ok(());
        };
        let (room, bytes) = (self.bytes / 2, self.bytes);
        let mut memory = match self.spare.take() {
            Some(memory) if memory.len() == room + bytes => memory,
            _ => map_huge_pages(room + bytes)?,
        };
        let length = (end - at).min(bytes as u64) as usize;
        let (sender, coming) = mpsc::channel();
        let file = Arc::clone(&region.file);
        pool.read(move || {
            let read = file.read_at(&mut memory[room..room + length], at);
            // A reader that has jumped elsewhere does not wait for it.
            let _ = sender.send((memory, read));
        });
        self.coming = Some(coming);
        Ok(())
    }
}

impl RegionReader {
    fn open(fs: &dyn Fs, dir: &Path, index: u32, directly: bool) -> Result<Self, ReplayError> {
        let path = region_path(dir, index);
        let opened = match directly.then(|| fs.open(&path, Access::DirectRead)) {
            Some(Err(error)) if !is_unsupported(&error) => Err(error),
            Some(Ok(file)) => Ok(file),
            _ => fs.open(&path, Access::Read),
        };
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

    /// `bytes` from the block that begins at `position`; `None` if the region ends before. With `reads_on`, what follows is
    /// read as well.
    fn read<'w>(
        &self,
        window: &'w mut Window<'_>,
        position: u64,
        bytes: usize,
        reads_on: bool,
    ) -> Result<Option<&'w [u8]>, ReplayError> {
        // A crash while it was written ahead may have left a length that is no whole number of blocks.
        let end = self.bytes / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        if position + bytes as u64 > end {
            return Ok(None);
        }
        if !window.holds(self.index, position, bytes) {
            let failed = |source| ReplayError::Io {
                path: self.path.clone(),
                source,
            };
            if !window
                .advance(self.index, position, bytes)
                .map_err(failed)?
            {
                let ahead = if reads_on { window.bytes } else { 0 };
                let wanted = bytes.next_multiple_of(BLOCK_BYTES).max(ahead) as u64;
                let length = wanted.min(end - position) as usize;
                window.fill(self, position, length).map_err(failed)?;
            }
            if reads_on {
                window.read_ahead(self, end).map_err(failed)?;
            }
        }
        Ok(window.get(position, bytes))
    }

    fn header(
        &self,
        window: &mut Window<'_>,
        position: u64,
        reads_on: bool,
    ) -> Result<Option<GroupHeader>, ReplayError> {
        let bytes = self.read(window, position, GROUP_HEADER_BYTES, reads_on)?;
        Ok(bytes.and_then(GroupHeader::parse))
    }

    fn group<'w>(
        &self,
        window: &'w mut Window<'_>,
        position: u64,
        header: &GroupHeader,
        reads_on: bool,
    ) -> Result<Option<&'w [u8]>, ReplayError> {
        self.read(window, position, header.group_bytes as usize, reads_on)
    }

    fn is_intact(
        &self,
        window: &mut Window<'_>,
        position: u64,
        header: &GroupHeader,
    ) -> Result<bool, ReplayError> {
        let group = self.group(window, position, header, false)?;
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
            // It was written to the page cache only. A power cut may keep it and lose the one before.
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
