//! What a data object looks like: batches of many partitions, and an index as its footer.
//!
//! A broker finds batches by the runs that its group states hold, and never opens the index. The index is for whoever has the
//! object alone: it says whose bytes they are when the database is gone.
//!
//! | part | bytes | content, big-endian |
//! |---|---|---|
//! | batches | | the batches of one partition after those of the other, each as its producer sent it |
//! | index | 36 each | topic id (16), partition (4), position (8), bytes (8) |
//! | trailer | 4 | runs in the index |
//! | trailer | 4 | CRC-32C of the index and the number above |
//! | trailer | 1 | version: 0 |
//! | trailer | 7 | `ottlaob` |

use bytes::{BufMut, Bytes, BytesMut};
use crc_fast::CrcAlgorithm;
use uuid::Uuid;

use super::entry::PartitionId;

/// Bytes of the end of an object that say how long its index is.
pub const TRAILER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 36;
const VERSION: u8 = 0;
const MAGIC: &[u8; 7] = b"ottlaob";

/// Batches of one partition that lie one after the other in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    pub partition: PartitionId,
    pub position: u64,
    pub bytes: u64,
}

/// Why the index of an object cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error(
        "{0} bytes are too few for a data object: it ends with {TRAILER_BYTES} bytes of trailer"
    )]
    TooShort(u64),
    #[error("the object does not end as a data object does")]
    NoObject,
    #[error(
        "the data object has version {0}, and this program reads version {VERSION}: take a newer one"
    )]
    UnknownVersion(u8),
    #[error("the index of the data object is damaged: {0}")]
    Damaged(&'static str),
}

/// Lays batches out as an object.
#[derive(Debug, Default)]
pub struct ObjectBuilder {
    pieces: Vec<Bytes>,
    bytes: u64,
    index: Vec<IndexEntry>,
}

impl ObjectBuilder {
    /// Adds a batch; gives its position. Batches of a partition that come one after the other are one run of the index.
    pub fn push(&mut self, partition: PartitionId, batch: Bytes) -> u64 {
        let position = self.bytes;
        let bytes = batch.len() as u64;
        match self.index.last_mut() {
            Some(last) if last.partition == partition => last.bytes += bytes,
            _ => self.index.push(IndexEntry {
                partition,
                position,
                bytes,
            }),
        }
        self.bytes += bytes;
        self.pieces.push(batch);
        position
    }

    /// The bytes of the object, in pieces: batches are not copied.
    pub fn finish(mut self) -> Vec<Bytes> {
        self.pieces.push(footer(&self.index));
        self.pieces
    }
}

/// What comes behind the batches of an object.
pub fn footer(index: &[IndexEntry]) -> Bytes {
    let mut footer = BytesMut::with_capacity(index.len() * ENTRY_BYTES + TRAILER_BYTES);
    for entry in index {
        footer.put_slice(entry.partition.topic_id.as_bytes());
        footer.put_i32(entry.partition.partition);
        footer.put_u64(entry.position);
        footer.put_u64(entry.bytes);
    }
    footer.put_u32(index.len() as u32);
    footer.put_u32(checksum(&footer));
    footer.put_u8(VERSION);
    footer.put_slice(MAGIC);
    footer.freeze()
}

/// How many bytes at the end of the object are index and trailer. `trailer` is its last [`TRAILER_BYTES`].
///
/// # Errors
/// This is no object of ours, or of a version that is not known.
pub fn footer_bytes(trailer: &[u8; TRAILER_BYTES], object_bytes: u64) -> Result<u64, FormatError> {
    let (lengths, end) = trailer.split_at(8);
    if end[1..] != *MAGIC {
        return Err(FormatError::NoObject);
    }
    if end[0] != VERSION {
        return Err(FormatError::UnknownVersion(end[0]));
    }
    let runs = u32::from_be_bytes([lengths[0], lengths[1], lengths[2], lengths[3]]);
    let bytes = u64::from(runs) * ENTRY_BYTES as u64 + TRAILER_BYTES as u64;
    if bytes > object_bytes {
        return Err(FormatError::Damaged("it is longer than the object"));
    }
    Ok(bytes)
}

/// Reads the index from the end of an object: its last bytes, at least [`footer_bytes`] of them.
///
/// # Errors
/// This is no object of ours, or its index is damaged.
pub fn read_index(end: &[u8], object_bytes: u64) -> Result<Vec<IndexEntry>, FormatError> {
    let trailer = end
        .last_chunk()
        .ok_or(FormatError::TooShort(object_bytes))?;
    let footer = footer_bytes(trailer, object_bytes)?;
    let footer = usize::try_from(footer).ok().filter(|&all| all <= end.len());
    let footer = footer.ok_or(FormatError::Damaged("a part of it is missing"))?;
    let batches_bytes = object_bytes - footer as u64;
    let footer = &end[end.len() - footer..];
    let (covered, rest) = footer.split_at(footer.len() - TRAILER_BYTES + 4);
    if rest[..4] != checksum(covered).to_be_bytes() {
        return Err(FormatError::Damaged("its checksum is wrong"));
    }
    let (entries, _) = covered.as_chunks::<ENTRY_BYTES>();
    let mut expected = 0;
    let mut index = Vec::with_capacity(entries.len());
    for entry in entries {
        let entry = read_entry(entry);
        if entry.position != expected || entry.bytes > batches_bytes - expected {
            return Err(FormatError::Damaged("a run lies outside of its place"));
        }
        expected += entry.bytes;
        index.push(entry);
    }
    Ok(index)
}

fn read_entry(entry: &[u8; ENTRY_BYTES]) -> IndexEntry {
    let mut id = [0; 16];
    id.copy_from_slice(&entry[..16]);
    let number = |at: usize| {
        let mut value = [0; 8];
        value.copy_from_slice(&entry[at..at + 8]);
        u64::from_be_bytes(value)
    };
    IndexEntry {
        partition: PartitionId {
            topic_id: Uuid::from_bytes(id),
            partition: i32::from_be_bytes([entry[16], entry[17], entry[18], entry[19]]),
        },
        position: number(20),
        bytes: number(28),
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(topic: u128, partition: i32) -> PartitionId {
        PartitionId {
            topic_id: Uuid::from_u128(topic),
            partition,
        }
    }

    fn object() -> Vec<u8> {
        let mut builder = ObjectBuilder::default();
        let mut positions = Vec::new();
        for (of, batch) in [
            (partition(1, 0), &b"one"[..]),
            (partition(1, 0), b"two!"),
            (partition(1, 1), b"three"),
            (partition(2, 0), b""),
            (partition(1, 0), b"four"),
        ] {
            positions.push(builder.push(of, Bytes::copy_from_slice(batch)));
        }
        assert_eq!(positions, [0, 3, 7, 12, 12]);
        builder.finish().concat()
    }

    #[test]
    fn an_object_says_whose_bytes_it_holds() {
        let object = object();
        let all = object.len() as u64;
        let trailer = object.last_chunk().unwrap();
        let footer = footer_bytes(trailer, all).unwrap() as usize;
        assert_eq!(object.len() - footer, 16);
        let index = read_index(&object[16..], all).unwrap();
        assert_eq!(read_index(&object, all).unwrap(), index, "more is as good");
        let found: Vec<_> = index
            .iter()
            .map(|run| (run.partition, run.position, run.bytes))
            .collect();
        let expected = [
            (partition(1, 0), 0, 7),
            (partition(1, 1), 7, 5),
            (partition(2, 0), 12, 0),
            (partition(1, 0), 12, 4),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn every_damaged_byte_of_a_footer_is_noticed() {
        let object = object();
        for at in 16..object.len() {
            for bit in 0..8 {
                let mut damaged = object.clone();
                damaged[at] ^= 1 << bit;
                let found = read_index(&damaged, damaged.len() as u64);
                assert!(found.is_err(), "byte {at}, bit {bit}: {found:?}");
            }
        }
    }

    #[test]
    fn an_object_that_is_cut_off_is_none() {
        let object = object();
        for end in 0..object.len() {
            assert!(read_index(&object[..end], end as u64).is_err(), "{end}");
        }
        for from in 17..object.len() {
            let found = read_index(&object[from..], object.len() as u64);
            assert!(found.is_err(), "the end alone, from {from}");
        }
    }
}
