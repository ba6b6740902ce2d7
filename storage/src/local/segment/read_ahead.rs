//! Reading ahead for consumers that read segments from one end to the other.
//!
//! A read that goes on where the last one in its segment ended takes twice as much from the disk as was asked for. The
//! rest is kept, and the next fetch is answered with it at once, without a system call or another thread.
//!
//! It cannot do harm where it is of no use. A reader that jumps about never goes on where a read ended. What is kept
//! counts in the budget of cold reads. It is read only where there is room, and dropped when a read finds no room, or when
//! nobody has come for it within a second or two.

use std::io;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use memmap2::MmapMut;

use crate::env::sync::Mutex;
use crate::local::segment::Segment;

/// What one read takes: a huge page. In scattered pages of 4 KiB a direct read of this size falls apart into several
/// requests of hundreds of pieces, and the disk gives half as much.
pub(crate) const BUFFER_BYTES: usize = 2 << 20;
/// Buffers that are kept for reuse.
const FREE_BUFFERS: usize = 32;
/// A reader that has not come back after this time does not read on.
const PATIENCE_MS: u64 = 1_000;

/// Bytes that were read ahead, and buffers to read into.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    kept: Mutex<Vec<Kept>>,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    buffers: Vec<MmapMut>,
    /// How many buffers there are, including those in use.
    count: usize,
    /// How many of them nobody has needed since the last look.
    unused: usize,
}

/// Bytes of a segment that nobody has asked for yet.
#[derive(Debug)]
struct Kept {
    segment: Weak<Segment>,
    /// The offset to read from: that of the first batch, or one in a gap before it.
    offset: i64,
    /// Where it begins in the segment.
    position: u64,
    bytes: Bytes,
    /// By the monotonic clock.
    since_ms: u64,
}

impl ReadAhead {
    /// Keeps what follows the batch before `offset` in a segment.
    pub fn keep(
        &self,
        segment: &Arc<Segment>,
        offset: i64,
        position: u64,
        bytes: &Bytes,
        now_ms: u64,
    ) {
        self.kept.lock().push(Kept {
            segment: Arc::downgrade(segment),
            offset,
            position,
            bytes: bytes.clone(),
            since_ms: now_ms,
        });
    }

    /// What a segment holds from an offset on, and where, if that was read ahead.
    pub fn take(&self, segment: &Arc<Segment>, offset: i64) -> Option<(u64, Bytes)> {
        let mut kept = self.kept.lock();
        let at = kept.iter().position(|kept| {
            kept.offset == offset && std::ptr::eq(kept.segment.as_ptr(), Arc::as_ptr(segment))
        })?;
        let found = kept.swap_remove(at);
        Some((found.position, found.bytes))
    }

    /// Forgets the bytes that were read ahead.
    pub fn clear(&self) {
        let forgotten = std::mem::take(&mut *self.kept.lock());
        drop(forgotten);
    }

    /// Gives back the memory that nobody has needed since the last call.
    pub fn release_unused(&self, now_ms: u64) {
        let is_unused = |kept: &mut Kept| now_ms.saturating_sub(kept.since_ms) > PATIENCE_MS;
        let unused: Vec<Kept> = self.kept.lock().extract_if(.., is_unused).collect();
        drop(unused);
        let mut free = self.free.lock();
        let needed = free.buffers.len() - free.unused;
        let unused = free.buffers.split_off(needed);
        free.count -= unused.len();
        free.unused = needed;
        drop(free);
        drop(unused);
    }

    /// Whether there is nothing to release, now or later.
    pub fn is_empty(&self) -> bool {
        self.free.lock().count == 0
    }

    /// A buffer of [`BUFFER_BYTES`].
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn buffer(self: &Arc<Self>) -> io::Result<Buffer> {
        let mut free = self.free.lock();
        let reused = free.buffers.pop();
        free.unused = free.unused.min(free.buffers.len());
        let memory = match reused {
            Some(memory) => memory,
            None => {
                let memory = map_huge_pages(BUFFER_BYTES)?;
                free.count += 1;
                memory
            }
        };
        Ok(Buffer {
            memory: Some(memory),
            owner: Arc::clone(self),
        })
    }
}

/// Fresh memory for direct reads, in huge pages where there are some.
pub(crate) fn map_huge_pages(bytes: usize) -> io::Result<MmapMut> {
    let memory = MmapMut::map_anon(bytes)?;
    #[cfg(target_os = "linux")]
    // Without huge pages it is slower, and nothing else.
    let _ = memory.advise(memmap2::Advice::HugePage);
    Ok(memory)
}

/// Memory for one direct read; dropped, it is kept for the next.
pub(crate) struct Buffer {
    /// There until the buffer is dropped.
    memory: Option<MmapMut>,
    owner: Arc<ReadAhead>,
}

impl Buffer {
    /// The first `bytes`, at most [`BUFFER_BYTES`].
    pub fn as_mut_slice(&mut self, bytes: usize) -> &mut [u8] {
        &mut self.memory.as_deref_mut().unwrap_or_default()[..bytes]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.memory.as_deref().unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(memory) = self.memory.take() else {
            return;
        };
        let mut free = self.owner.free.lock();
        if free.buffers.len() < FREE_BUFFERS {
            free.buffers.push(memory);
        } else {
            free.count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_and_released_when_nobody_needed_it_between_two_looks() {
        let read_ahead = Arc::<ReadAhead>::default();
        let buffers = || [read_ahead.buffer().unwrap(), read_ahead.buffer().unwrap()];
        drop(buffers());
        drop(buffers());
        assert_eq!(read_ahead.free.lock().count, 2);
        read_ahead.release_unused(0);
        drop(read_ahead.buffer().unwrap());
        read_ahead.release_unused(0);
        assert_eq!(read_ahead.free.lock().count, 1, "one was needed");
        let in_use = read_ahead.buffer().unwrap();
        read_ahead.release_unused(0);
        read_ahead.release_unused(0);
        assert!(!read_ahead.is_empty());
        drop(in_use);
        read_ahead.release_unused(0);
        read_ahead.release_unused(0);
        assert!(read_ahead.is_empty());
    }
}
