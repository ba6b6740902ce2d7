//! The memory in which a group of appends is collected, written from, and read from afterwards.
//!
//! A chunk starts at an address that direct I/O accepts. While it fills it belongs to the
//! write-ahead log alone; frozen, it is shared as [`Bytes`] by the commit, the readers of
//! the tail and the segment writer. Its memory returns to the pool when the last of them lets go.
//!
//! The memory is mapped, not allocated: pieces of this size, taken and freed by different threads,
//! made an allocator keep several times what was in use.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use memmap2::MmapMut;

use crate::env::fs::BLOCK_BYTES;
use crate::env::sync::Mutex;

/// The sizes that are kept for reuse, in bytes, smallest first.
const CLASSES_BYTES: [usize; 4] = [16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// Hands out chunks, and keeps some of those that come back: to touch fresh memory costs more than to copy into it.
#[derive(Debug)]
pub struct ChunkPool {
    free: [Mutex<Vec<MmapMut>>; CLASSES_BYTES.len()],
    free_bytes: AtomicUsize,
    free_limit_bytes: usize,
    used_bytes: AtomicUsize,
}

impl ChunkPool {
    pub fn new(free_limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Default::default(),
            free_bytes: AtomicUsize::new(0),
            free_limit_bytes,
            used_bytes: AtomicUsize::new(0),
        })
    }

    /// An empty chunk with room for at least `bytes`.
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn take(self: &Arc<Self>, bytes: usize) -> io::Result<Chunk> {
        let class = CLASSES_BYTES.iter().position(|&class| bytes <= class);
        let room = class.map_or(bytes.next_multiple_of(BLOCK_BYTES), |at| CLASSES_BYTES[at]);
        let reused = class.and_then(|at| self.free[at].lock().pop());
        let memory = match reused {
            Some(memory) => {
                self.free_bytes.fetch_sub(room, Ordering::Relaxed);
                memory
            }
            None => MmapMut::map_anon(room)?,
        };
        self.used_bytes.fetch_add(room, Ordering::Relaxed);
        Ok(Chunk {
            memory: Some(memory),
            length: 0,
            pool: Arc::clone(self),
        })
    }

    /// Bytes in chunks that someone still holds.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Gives the memory of unused chunks back to the allocator.
    pub fn release_free(&self) {
        for (class, free) in CLASSES_BYTES.iter().zip(&self.free) {
            let freed = std::mem::take(&mut *free.lock());
            self.free_bytes
                .fetch_sub(class * freed.len(), Ordering::Relaxed);
        }
    }

    fn give_back(&self, memory: MmapMut) {
        let room = memory.len();
        self.used_bytes.fetch_sub(room, Ordering::Relaxed);
        if let Some(class) = CLASSES_BYTES.iter().position(|&class| class == room)
            && self.free_bytes.load(Ordering::Relaxed) + room <= self.free_limit_bytes
        {
            self.free_bytes.fetch_add(room, Ordering::Relaxed);
            self.free[class].lock().push(memory);
        }
    }
}

/// Aligned memory that fills from the front and never moves.
#[derive(Debug)]
pub struct Chunk {
    /// There until the chunk is dropped.
    memory: Option<MmapMut>,
    length: usize,
    pool: Arc<ChunkPool>,
}

impl Chunk {
    /// Bytes in the chunk.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Bytes that the chunk can hold.
    pub fn room(&self) -> usize {
        self.memory.as_deref().map_or(0, <[u8]>::len)
    }

    /// Appends a copy of `bytes` and returns the copy. The caller has checked that there is room.
    pub fn push(&mut self, bytes: &[u8]) -> &mut [u8] {
        let copy = self.grow(bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }

    /// Makes room for `bytes` that the caller writes. Until then they are whatever the memory held before.
    pub fn grow(&mut self, bytes: usize) -> &mut [u8] {
        let from = self.length;
        self.length += bytes;
        &mut self.as_mut_slice()[from..]
    }

    /// Fills with zeros up to a whole number of blocks.
    pub fn pad_to_block(&mut self) {
        let padded = self.length.next_multiple_of(BLOCK_BYTES);
        self.grow(padded - self.length).fill(0);
    }

    /// Keeps the first `bytes`.
    pub fn truncate(&mut self, bytes: usize) {
        self.length = self.length.min(bytes);
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let memory = self.memory.as_deref_mut().unwrap_or_default();
        &mut memory[..self.length]
    }

    /// Makes the chunk immutable, to be shared.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.memory.as_deref().unwrap_or_default()[..self.length]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.pool.give_back(memory);
        }
    }
}

/// A part of a frozen chunk.
#[derive(Clone, Debug)]
pub struct ChunkSlice {
    chunk: Bytes,
    start: usize,
    end: usize,
}

impl ChunkSlice {
    pub fn new(chunk: &Bytes, range: std::ops::Range<usize>) -> Self {
        Self {
            chunk: chunk.clone(),
            start: range.start,
            end: range.end,
        }
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.chunk[self.start..self.end]
    }

    pub fn to_bytes(&self) -> Bytes {
        self.chunk.slice(self.start..self.end)
    }

    /// Grows by `next` if that follows in the same chunk. What one partition appends to a group often does.
    pub fn join(&mut self, next: &Self) -> bool {
        let adjacent = self.end == next.start && self.chunk.as_ptr() == next.chunk.as_ptr();
        if adjacent {
            self.end = next.end;
        }
        adjacent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_aligned_and_returns_its_memory_when_the_last_reader_lets_go() {
        let pool = ChunkPool::new(1 << 20);
        for bytes in [1, 65 << 10, 1 << 20, (1 << 20) + 1] {
            let mut chunk = pool.take(bytes).unwrap();
            chunk.push(&[7; 1]);
            chunk.pad_to_block();
            let frozen = chunk.freeze();
            assert_eq!(frozen.as_ptr().align_offset(BLOCK_BYTES), 0);
            assert_eq!(frozen.len(), BLOCK_BYTES);
            let slice = frozen.slice(0..1);
            drop(frozen);
            assert!(pool.used_bytes() >= bytes);
            assert_eq!(slice[0], 7);
            drop(slice);
            assert_eq!(pool.used_bytes(), 0);
        }
    }

    #[test]
    fn unused_chunks_are_kept_up_to_the_limit_and_given_back_on_demand() {
        let pool = ChunkPool::new(128 << 10);
        let chunks: Vec<_> = (0..3).map(|_| pool.take(64 << 10).unwrap()).collect();
        drop(chunks);
        assert_eq!(pool.free_bytes.load(Ordering::Relaxed), 128 << 10);
        pool.release_free();
        assert_eq!(pool.free_bytes.load(Ordering::Relaxed), 0);
    }
}
