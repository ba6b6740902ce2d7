//! The bytes of a run: from how they are stored to how they are served.

use bytes::{Bytes, BytesMut};

use super::entry::{Place, Run};
use crate::record::BatchHeader;
use crate::record::batch::{set_offset_and_epoch, verify_crc};

/// Writes offsets and leader epochs into batches that lie one behind the other, and gives the offset behind the last.
///
/// # Errors
/// These are no whole batches. Says at which byte.
pub(super) fn number(
    batches: &mut [u8],
    base_offset: i64,
    epoch_at: impl Fn(i64) -> i32,
) -> Result<i64, String> {
    let mut offset = base_offset;
    let mut at = 0;
    while at < batches.len() {
        let (header, end) = batch_at(batches, at)?;
        let (first, epoch) = (offset, epoch_at(offset));
        let written = set_offset_and_epoch(&mut batches[at..end], first, epoch);
        written.map_err(|error| format!("at byte {at}: {error}"))?;
        offset = first
            .checked_add(i64::from(header.last_offset_delta))
            .and_then(|last| last.checked_add(1))
            .ok_or_else(|| format!("at byte {at}: there are no offsets left"))?;
        at = end;
    }
    Ok(offset)
}

/// The bytes of a run that came from elsewhere, as they are served.
///
/// # Errors
/// They are not what was stored.
pub(super) fn serve(
    run: &Run,
    stored: &[u8],
    epoch_at: impl Fn(i64) -> i32,
) -> Result<Bytes, String> {
    let mut bytes = BytesMut::from(stored);
    let mut at = 0;
    while at < bytes.len() {
        let (header, end) = batch_at(&bytes, at)?;
        verify_crc(&bytes[at..end]).map_err(|error| format!("at byte {at}: {error}"))?;
        if run.is_compacted {
            // Its offsets are in it.
            let (first, epoch) = (header.base_offset, epoch_at(header.base_offset));
            let is_inside = first >= run.base_offset && header.last_offset() < run.next_offset;
            if !is_inside || header.last_offset() < first {
                return Err(format!("at byte {at}: offset {first} is not of this run"));
            }
            let written = set_offset_and_epoch(&mut bytes[at..end], first, epoch);
            written.map_err(|error| format!("at byte {at}: {error}"))?;
        }
        at = end;
    }
    if !run.is_compacted {
        let end = number(&mut bytes, run.base_offset, epoch_at)?;
        if end != run.next_offset {
            let (from, to) = (run.base_offset, run.next_offset);
            return Err(format!("batches for {from}..{to} end at {end}"));
        }
    }
    Ok(bytes.freeze())
}

/// The bytes of a run that nobody keeps.
///
/// # Errors
/// None in practice.
pub(super) fn make(run: &Run, epoch_at: impl Fn(i64) -> i32) -> Result<Bytes, String> {
    let Place::Made(marker) = run.place else {
        return Err("it is not made".to_owned());
    };
    let made = marker.to_batch(run.max_timestamp);
    let made = made.map_err(|error| error.to_string())?;
    serve(run, &made, epoch_at)
}

fn batch_at(batches: &[u8], at: usize) -> Result<(BatchHeader, usize), String> {
    let rest = &batches[at..];
    let header = BatchHeader::parse(rest).map_err(|error| format!("at byte {at}: {error}"))?;
    let size = header.size_bytes();
    if size > rest.len() || header.last_offset_delta < 0 {
        return Err(format!("at byte {at}: the batch is cut off"));
    }
    Ok((header, at + size))
}
