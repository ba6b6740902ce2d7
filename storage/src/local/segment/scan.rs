//! Walks over the batches of a segment file.

use std::io;
use std::ops::ControlFlow;

use bytes::{Bytes, BytesMut};

use crate::env::fs::File;
use crate::record::batch::BATCH_HEADER_BYTES;
use crate::record::{BatchError, BatchHeader};

/// What one read fetches.
pub(crate) const WINDOW_BYTES: usize = 256 << 10;

/// A batch found in a file.
pub(crate) struct Found {
    pub header: BatchHeader,
    pub position: u64,
    /// The whole batch. Its CRC has not been checked.
    pub bytes: Bytes,
}

impl Found {
    /// Where the next batch begins.
    pub fn end_position(&self) -> u64 {
        self.position + self.bytes.len() as u64
    }
}

/// How a scan ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ScanEnd<B> {
    /// The visitor wanted no more.
    Stopped(B),
    /// All batches were visited.
    Complete,
    /// There is no whole batch at `position`.
    Invalid { position: u64, error: BatchError },
}

/// What the offsets of a segment's batches must be: nothing else covers a base offset, no checksum does.
#[derive(Clone, Debug)]
pub(crate) struct OffsetRule {
    /// The next batch begins with it, or behind it if there may be gaps.
    pub next: i64,
    /// All are below: where the next segment begins.
    pub end: i64,
    pub may_have_gaps: bool,
    /// What the index says of the first batch; `None` if the scan begins with the segment.
    pub first_last_offset: Option<i64>,
}

impl OffsetRule {
    /// Takes in the next batch, or says what is wrong with it.
    pub fn check(&mut self, header: &BatchHeader) -> Result<(), String> {
        let (base_offset, next_offset) = (header.base_offset, header.next_offset());
        let in_place = match self.first_last_offset.take() {
            Some(last_offset) if !self.may_have_gaps => next_offset == last_offset + 1,
            Some(_) => base_offset >= self.next,
            None if self.may_have_gaps => base_offset >= self.next,
            None => base_offset == self.next,
        };
        if !in_place || next_offset <= base_offset || next_offset > self.end {
            return Err(format!(
                "offsets {base_offset} to {} where {} was expected",
                next_offset.wrapping_sub(1),
                self.next
            ));
        }
        self.next = next_offset;
        Ok(())
    }
}

/// Calls `visit` for the batches between two positions.
pub(crate) fn scan<B>(
    file: &dyn File,
    from: u64,
    to: u64,
    visit: impl FnMut(Found) -> ControlFlow<B>,
) -> io::Result<ScanEnd<B>> {
    let window = |position, bytes| read_window(file, position, bytes).map(Some);
    scan_windows(window, WINDOW_BYTES, from, to, visit)
}

/// The header of the batch at `position`, if one that ends before `to` is there. Nothing else is read.
pub(crate) fn header_at(
    file: &dyn File,
    position: u64,
    to: u64,
) -> io::Result<Option<BatchHeader>> {
    let mut bytes = [0; BATCH_HEADER_BYTES];
    let read_bytes = file.read_at(&mut bytes, position)?;
    let header = BatchHeader::parse(&bytes[..read_bytes]).ok();
    Ok(header.filter(|header| position + header.size_bytes() as u64 <= to))
}

/// Reads `bytes`, or fewer at the end of the file.
pub(crate) fn read_window(file: &dyn File, position: u64, bytes: usize) -> io::Result<Bytes> {
    let mut window = BytesMut::zeroed(bytes);
    let read_bytes = file.read_at(&mut window, position)?;
    window.truncate(read_bytes);
    Ok(window.freeze())
}

/// As [`scan`], with the reading left to `read`, which is asked for `window_bytes` at a time, or for
/// one larger batch. It may say that what was read is enough; the scan is complete then.
pub(crate) fn scan_windows<B>(
    mut read: impl FnMut(u64, usize) -> io::Result<Option<Bytes>>,
    window_bytes: usize,
    from: u64,
    to: u64,
    mut visit: impl FnMut(Found) -> ControlFlow<B>,
) -> io::Result<ScanEnd<B>> {
    let mut position = from;
    let mut wanted = window_bytes;
    while position < to {
        let length = (to - position).min(wanted as u64) as usize;
        let Some(mut window) = read(position, length)? else {
            return Ok(ScanEnd::Complete);
        };
        let read_bytes = window.len();
        let at_start = position;
        while !window.is_empty() {
            let header = match BatchHeader::parse(&window) {
                Ok(header) => header,
                Err(error) if is_final(position, window.len(), to, &error) => {
                    return Ok(ScanEnd::Invalid { position, error });
                }
                Err(_) => break,
            };
            let bytes = header.size_bytes();
            if bytes > window.len() {
                if position + bytes as u64 > to || read_bytes < length {
                    let error = BatchError::Truncated {
                        needed_bytes: bytes,
                        available_bytes: window.len(),
                    };
                    return Ok(ScanEnd::Invalid { position, error });
                }
                wanted = bytes.max(window_bytes);
                break;
            }
            let found = Found {
                header,
                position,
                bytes: window.split_to(bytes),
            };
            position += bytes as u64;
            if let ControlFlow::Break(value) = visit(found) {
                return Ok(ScanEnd::Stopped(value));
            }
        }
        if position == at_start && read_bytes < length {
            let error = BatchError::Truncated {
                needed_bytes: BATCH_HEADER_BYTES,
                available_bytes: read_bytes,
            };
            return Ok(ScanEnd::Invalid { position, error });
        }
    }
    Ok(ScanEnd::Complete)
}

/// Whether reading more would not help: the header is wrong and not just cut off by the window.
fn is_final(position: u64, available: usize, to: u64, error: &BatchError) -> bool {
    !matches!(error, BatchError::Truncated { .. }) || position + available as u64 >= to
}
