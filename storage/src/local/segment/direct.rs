//! Segments past the page cache.
//!
//! What is new is read from memory, so the page cache is of little use to segments, and it is
//! expensive: on a busy broker, copying into fresh pages took more than half of all processor time,
//! and their write-back came in bursts that the write-ahead log had to wait for.
//!
//! Of a run of batches, whole blocks are written directly. The block that a run shares with the run before,
//! and the one that it shares with the next, go through the page cache: no block is ever written both
//! ways at once.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::env::fs::{Access, BLOCK_BYTES, File, Fs, is_unsupported};
use crate::local::segment::read_ahead::{BUFFER_BYTES, ReadAhead};
use crate::local::segment::scan::read_window;
use crate::local::segment::{Part, Segment};
use crate::local::wal::chunk::ChunkPool;

/// How much is written in one call: the largest chunk that the pool keeps.
const PIECE_BYTES: usize = 1 << 20;
/// Read buffers that are kept for reuse.
const FREE_BUFFERS_BYTES: usize = 16 << 20;

/// Whether and with which buffers the logs of a directory are written and read directly.
#[derive(Debug)]
pub(crate) struct DirectIo {
    write_buffers: Arc<ChunkPool>,
    read_buffers: Arc<ChunkPool>,
    /// The buffers of larger reads, with the bytes that were read ahead into them.
    pub read_ahead: Arc<ReadAhead>,
    /// Fewer bytes are not worth the system calls.
    smallest_bytes: u64,
    possible: AtomicBool,
}

impl DirectIo {
    pub fn new(write_buffers: Arc<ChunkPool>, smallest_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            write_buffers,
            read_buffers: ChunkPool::new(FREE_BUFFERS_BYTES),
            read_ahead: Arc::default(),
            smallest_bytes,
            possible: AtomicBool::new(true),
        })
    }

    fn is_worth(&self, bytes: u64) -> bool {
        bytes >= self.smallest_bytes && self.possible.load(Ordering::Relaxed)
    }

    /// Whether `bytes` at a position are to be written directly.
    pub fn wants_write(&self, position: u64, bytes: u64) -> bool {
        let (from, to) = whole_blocks(position, bytes);
        self.is_worth(to - from)
    }

    /// Opens a file directly; `None` where the file system does not know that.
    fn or_none(&self, opened: io::Result<Arc<dyn File>>) -> io::Result<Option<Arc<dyn File>>> {
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_unsupported(&error) => {
                self.possible.store(false, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a file a second time, for direct writes; `None` where the file system has none.
    pub fn open(&self, fs: &dyn Fs, path: &Path) -> io::Result<Option<Arc<dyn File>>> {
        self.or_none(fs.open(path, Access::Direct))
    }

    /// Writes `slices`, one after the other, to a file that is open both ways.
    pub fn write(
        &self,
        buffered: &dyn File,
        direct: &dyn File,
        slices: &[&[u8]],
        position: u64,
    ) -> io::Result<()> {
        let bytes = slices.iter().map(|slice| slice.len() as u64).sum();
        let (from, to) = whole_blocks(position, bytes);
        let mut rest = Slices { slices, taken: 0 };
        let head = rest.take((from - position) as usize);
        if !head.is_empty() {
            buffered.write_at(&head, position)?;
        }
        let mut at = from;
        while at < to {
            let piece_bytes = (to - at).min(PIECE_BYTES as u64) as usize;
            let mut piece = self.write_buffers.take(piece_bytes)?;
            for slice in rest.take(piece_bytes) {
                piece.push(slice);
            }
            match direct.write_at(&[piece.as_mut_slice()], at) {
                // Some file systems say so only here.
                Err(error) if is_unsupported(&error) => {
                    self.possible.store(false, Ordering::Relaxed);
                    buffered.write_at(&[piece.as_mut_slice()], at)?;
                }
                written => written?,
            }
            at += piece_bytes as u64;
        }
        let end = rest.take((position + bytes - to) as usize);
        if !end.is_empty() {
            buffered.write_at(&end, to)?;
        }
        Ok(())
    }

    /// A reader of a segment's log file that is going to read about `bytes` of it.
    pub fn reader(
        &self,
        fs: &dyn Fs,
        segment: &Arc<Segment>,
        bytes: u64,
    ) -> io::Result<LogReader<'_>> {
        // What is small may be in the page cache, or be read together with what lies beside it.
        let direct = match self.is_worth(bytes / 4) {
            true => self.or_none(segment.open_direct(fs))?,
            false => None,
        };
        let is_direct = direct.is_some();
        let file = match direct {
            Some(file) => file,
            None => segment.open(fs, Part::Log)?,
        };
        Ok(LogReader {
            direct_io: self,
            file,
            is_direct,
        })
    }

    /// Gives the memory of unused buffers back to the allocator.
    pub fn release_free(&self) {
        self.read_buffers.release_free();
    }
}

/// Reads pieces of a log file.
pub(crate) struct LogReader<'a> {
    direct_io: &'a DirectIo,
    file: Arc<dyn File>,
    is_direct: bool,
}

impl LogReader<'_> {
    /// Reads `bytes`, or fewer at the end of the file.
    pub fn read(&self, position: u64, bytes: usize) -> io::Result<Bytes> {
        if !self.is_direct {
            return read_window(&*self.file, position, bytes);
        }
        let skipped = (position % BLOCK_BYTES as u64) as usize;
        let whole_bytes = (skipped + bytes).next_multiple_of(BLOCK_BYTES);
        let from = position - skipped as u64;
        let (whole, read_bytes) = if (PIECE_BYTES + 1..=BUFFER_BYTES).contains(&whole_bytes) {
            let mut buffer = self.direct_io.read_ahead.buffer()?;
            let read_bytes = self.file.read_at(buffer.as_mut_slice(whole_bytes), from)?;
            (Bytes::from_owner(buffer), read_bytes)
        } else {
            let mut buffer = self.direct_io.read_buffers.take(whole_bytes)?;
            let read_bytes = self.file.read_at(buffer.grow(whole_bytes), from)?;
            buffer.truncate(read_bytes);
            (buffer.freeze(), read_bytes)
        };
        let end = (skipped + bytes).min(read_bytes);
        Ok(whole.slice(skipped.min(end)..end))
    }
}

/// Where the whole blocks begin and end that lie within `bytes` behind a position.
fn whole_blocks(position: u64, bytes: u64) -> (u64, u64) {
    let (block_bytes, end) = (BLOCK_BYTES as u64, position + bytes);
    let from = position.next_multiple_of(block_bytes).min(end);
    let to = end / block_bytes * block_bytes;
    (from, to.max(from))
}

/// Slices that are taken from the front, piece by piece.
struct Slices<'a> {
    slices: &'a [&'a [u8]],
    /// How many bytes of the first slice are gone.
    taken: usize,
}

impl<'a> Slices<'a> {
    /// The next `bytes`, or fewer at the end.
    fn take(&mut self, mut bytes: usize) -> Vec<&'a [u8]> {
        let mut taken = Vec::new();
        while bytes > 0
            && let Some(first) = self.slices.first()
        {
            let left = &first[self.taken..];
            let length = left.len().min(bytes);
            taken.push(&left[..length]);
            bytes -= length;
            self.taken += length;
            if length == left.len() {
                self.slices = &self.slices[1..];
                self.taken = 0;
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::fs::RealFs;
    use crate::testing::sim_disk::SimDisk;

    const SMALLEST_BYTES: u64 = 64 << 10;

    fn write(writes: &DirectIo, fs: &dyn Fs, path: &Path, slices: &[&[u8]], position: u64) {
        let buffered = fs.open(path, Access::Write).unwrap();
        let direct = writes.open(fs, path).unwrap().unwrap();
        writes
            .write(&*buffered, &*direct, slices, position)
            .unwrap();
    }

    #[test]
    fn runs_of_any_length_from_any_position_follow_each_other_without_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let sim = SimDisk::new().boot(None);
        let systems: [(&dyn Fs, &Path); 2] = [
            (&sim, Path::new("/log")),
            (&RealFs, &dir.path().join("log")),
        ];
        for (fs, path) in systems {
            let writes = DirectIo::new(ChunkPool::new(0), SMALLEST_BYTES);
            let content: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
            let lengths = [1, 4095, 4096, 4097, 70_000, 8191, 262_144, 1_500_000, 12];
            let mut at = 0;
            for length in lengths.into_iter().cycle() {
                if at + length > content.len() {
                    break;
                }
                let run = &content[at..at + length];
                let (first, second) = run.split_at(length / 3);
                write(&writes, fs, path, &[first, &[], second], at as u64);
                at += length;
            }
            let found = crate::env::fs::read_all(fs, path).unwrap();
            assert!(found == content[..at], "{path:?}");
        }
    }

    #[test]
    fn only_runs_with_many_whole_blocks_are_written_directly() {
        let writes = DirectIo::new(ChunkPool::new(0), SMALLEST_BYTES);
        assert!(writes.wants_write(0, SMALLEST_BYTES));
        assert!(!writes.wants_write(1, SMALLEST_BYTES));
        assert!(writes.wants_write(1, SMALLEST_BYTES + 2 * BLOCK_BYTES as u64));
        assert!(!writes.wants_write(4095, 0));
    }

    #[test]
    fn a_file_system_that_refuses_direct_io_is_not_asked_again() {
        let sim = SimDisk::new().boot(None);
        let path = Path::new("/log");
        let buffered = sim.open(path, Access::Write).unwrap();
        let writes = DirectIo::new(ChunkPool::new(0), SMALLEST_BYTES);
        // A file that refuses each write as some file systems refuse direct ones.
        #[derive(Debug)]
        struct Refusing;
        impl File for Refusing {
            fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
                Ok(0)
            }
            fn write_at(&self, _: &[&[u8]], _: u64) -> io::Result<()> {
                Err(io::ErrorKind::InvalidInput.into())
            }
            fn sync_data(&self) -> io::Result<()> {
                Ok(())
            }
            fn size_bytes(&self) -> io::Result<u64> {
                Ok(0)
            }
            fn set_len(&self, _: u64) -> io::Result<()> {
                Ok(())
            }
            fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
                Ok(())
            }
        }
        let content = vec![7; 200_000];
        writes
            .write(&*buffered, &Refusing, &[&content], 10)
            .unwrap();
        assert!(!writes.wants_write(0, 1 << 20));
        let found = crate::env::fs::read_all(&sim, path).unwrap();
        assert!(found[10..] == content);
    }
}
