//! The write-ahead log's bytes. All integers are little-endian; format version 1.
//!
//! A *group* is what one device write makes durable: a header, the payloads of its entries one
//! after the other, a table with one row per entry, and zeros up to a multiple of 4096 bytes.
//! A sector that was acknowledged is never written again until its region is reused, so a torn
//! write can only hurt a group that nobody was told about.
//!
//! | at | bytes | group header |
//! |---|---|---|
//! | 0 | 4 | magic `OWAL` |
//! | 4 | 2 | format version |
//! | 6 | 2 | flags: bit 0 set if all earlier groups were on stable media when this one was written |
//! | 8 | 8 | generation: of the checkpoint that this log belongs to |
//! | 16 | 8 | sequence: counts up by one per group |
//! | 24 | 4 | bytes of the group, padding included |
//! | 28 | 4 | bytes of the payloads |
//! | 32 | 4 | entries in the table |
//! | 36 | 4 | CRC-32C of bytes 0..36 and 40..64 and of the table |
//! | 40 | 8 | sequence of the first group of the same device write: what follows a torn one in its own write proves nothing |
//! | 48 | 16 | zero |
//!
//! | at | bytes | row of the table |
//! |---|---|---|
//! | 0 | 4 | log id: declared by an earlier entry, or in the table of logs (see [`super::logs`]) |
//! | 4 | 1 | kind of entry |
//! | 5 | 3 | zero |
//! | 8 | 4 | bytes of the payload |
//! | 12 | 4 | CRC-32C of the payload; of a batch only its first 21 bytes, since its own CRC covers the rest |
//! | 16 | 8 | base offset of a batch; new log start offset |
//! | 24 | 4 | of a batch: its base offset relative to that of its segment |
//! | 28 | 4 | of a batch: its position in the segment; 0 if it is the segment's first |
//!
//! So each batch says where it goes, and replay can begin with any group.

use crc_fast::{CrcAlgorithm, Digest, checksum};

use crate::record::batch::{BatchHeader, verify_crc};

pub const GROUP_HEADER_BYTES: usize = 64;
pub const ROW_BYTES: usize = 32;
pub const FORMAT_VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"OWAL";
const FLAG_SYNCED: u16 = 1;
/// Base offset to CRC: what a batch's own CRC leaves out.
const BATCH_PREFIX_BYTES: usize = 21;

/// What an entry says about its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// A record batch.
    Batch = 1,
    /// Names the log that an id stands for.
    Declare = 2,
    /// The log start offset moved up.
    LogStart = 3,
    /// The log is deleted.
    Delete = 4,
}

impl EntryKind {
    fn decode(kind: u8) -> Option<Self> {
        Some(match kind {
            1 => Self::Batch,
            2 => Self::Declare,
            3 => Self::LogStart,
            4 => Self::Delete,
            _ => return None,
        })
    }
}

/// A row of a group's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub log_id: u32,
    pub kind: EntryKind,
    pub payload_bytes: u32,
    pub crc: u32,
    pub offset: i64,
    pub place: Place,
}

/// Where a batch goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Base offset of the batch, relative to that of its segment.
    pub relative_offset: u32,
    /// Position in the segment; 0 if the segment begins with the batch.
    pub position: u32,
}

impl Row {
    /// The row of an entry with this payload.
    pub fn new(log_id: u32, kind: EntryKind, offset: i64, place: Place, payload: &[u8]) -> Self {
        Self {
            log_id,
            kind,
            payload_bytes: payload.len() as u32,
            crc: payload_crc(kind, payload),
            offset,
            place,
        }
    }

    /// Base offset of the segment that a batch goes to.
    pub fn segment_base_offset(&self) -> i64 {
        self.offset - i64::from(self.place.relative_offset)
    }

    fn encode(&self) -> [u8; ROW_BYTES] {
        let mut row = [0; ROW_BYTES];
        row[0..4].copy_from_slice(&self.log_id.to_le_bytes());
        row[4] = self.kind as u8;
        row[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        row[12..16].copy_from_slice(&self.crc.to_le_bytes());
        row[16..24].copy_from_slice(&self.offset.to_le_bytes());
        row[24..28].copy_from_slice(&self.place.relative_offset.to_le_bytes());
        row[28..32].copy_from_slice(&self.place.position.to_le_bytes());
        row
    }

    fn decode(row: &[u8; ROW_BYTES]) -> Option<Self> {
        Some(Self {
            log_id: u32::from_le_bytes(field(row, 0)),
            kind: EntryKind::decode(row[4])?,
            payload_bytes: u32::from_le_bytes(field(row, 8)),
            crc: u32::from_le_bytes(field(row, 12)),
            offset: i64::from_le_bytes(field(row, 16)),
            place: Place {
                relative_offset: u32::from_le_bytes(field(row, 24)),
                position: u32::from_le_bytes(field(row, 28)),
            },
        })
    }
}

fn payload_crc(kind: EntryKind, payload: &[u8]) -> u32 {
    let covered = match kind {
        EntryKind::Batch => &payload[..payload.len().min(BATCH_PREFIX_BYTES)],
        _ => payload,
    };
    checksum(CrcAlgorithm::Crc32Iscsi, covered) as u32
}

/// What a group's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    pub version: u16,
    pub synced: bool,
    pub generation: u64,
    pub sequence: u64,
    pub group_bytes: u32,
    pub payload_bytes: u32,
    pub entries: u32,
    /// The sequence number of the first group of the same device write.
    pub write_sequence: u64,
    crc: u32,
}

impl GroupHeader {
    /// Reads the header at the start of `bytes`; `None` if there is none. Its CRC is not checked here.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<GROUP_HEADER_BYTES>()?;
        if header[0..4] != MAGIC {
            return None;
        }
        Some(Self {
            version: u16::from_le_bytes(field(header, 4)),
            synced: u16::from_le_bytes(field(header, 6)) & FLAG_SYNCED != 0,
            generation: u64::from_le_bytes(field(header, 8)),
            sequence: u64::from_le_bytes(field(header, 16)),
            group_bytes: u32::from_le_bytes(field(header, 24)),
            payload_bytes: u32::from_le_bytes(field(header, 28)),
            entries: u32::from_le_bytes(field(header, 32)),
            write_sequence: u64::from_le_bytes(field(header, 40)),
            crc: u32::from_le_bytes(field(header, 36)),
        })
    }

    fn encode(&self, table: &[u8]) -> [u8; GROUP_HEADER_BYTES] {
        let mut header = [0; GROUP_HEADER_BYTES];
        header[0..4].copy_from_slice(&MAGIC);
        header[4..6].copy_from_slice(&self.version.to_le_bytes());
        header[6..8].copy_from_slice(&(u16::from(self.synced) * FLAG_SYNCED).to_le_bytes());
        header[8..16].copy_from_slice(&self.generation.to_le_bytes());
        header[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        header[24..28].copy_from_slice(&self.group_bytes.to_le_bytes());
        header[28..32].copy_from_slice(&self.payload_bytes.to_le_bytes());
        header[32..36].copy_from_slice(&self.entries.to_le_bytes());
        header[40..48].copy_from_slice(&self.write_sequence.to_le_bytes());
        let crc = group_crc(&header, table);
        header[36..40].copy_from_slice(&crc.to_le_bytes());
        header
    }
}

fn group_crc(header: &[u8; GROUP_HEADER_BYTES], table: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&header[..36]);
    digest.update(&header[40..]);
    digest.update(table);
    digest.finalize() as u32
}

/// Bytes of a group before padding.
pub fn unpadded_bytes(payload_bytes: usize, entries: usize) -> usize {
    GROUP_HEADER_BYTES + payload_bytes + entries * ROW_BYTES
}

/// What turns rows and payloads into a group that replay finds again.
#[derive(Clone, Copy, Debug)]
pub struct Seal {
    pub generation: u64,
    pub sequence: u64,
    pub write_sequence: u64,
    pub synced: bool,
}

impl Seal {
    /// The header and the table of a group.
    pub fn apply(
        self,
        group_bytes: usize,
        payload_bytes: usize,
        rows: &[Row],
    ) -> ([u8; GROUP_HEADER_BYTES], Vec<u8>) {
        let mut table = Vec::with_capacity(rows.len() * ROW_BYTES);
        for row in rows {
            table.extend_from_slice(&row.encode());
        }
        let header = GroupHeader {
            version: FORMAT_VERSION,
            synced: self.synced,
            generation: self.generation,
            sequence: self.sequence,
            group_bytes: group_bytes as u32,
            payload_bytes: payload_bytes as u32,
            entries: rows.len() as u32,
            write_sequence: self.write_sequence,
            crc: 0,
        };
        (header.encode(&table), table)
    }
}

/// An entry of a group that was read back and found intact.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub row: Row,
    pub payload: &'a [u8],
}

/// Checks a whole group: header, table, and every payload; `None` if anything does not match.
pub fn entries(group: &[u8]) -> Option<Vec<Entry<'_>>> {
    let header = GroupHeader::parse(group)?;
    let payload_bytes = header.payload_bytes as usize;
    let table_at = GROUP_HEADER_BYTES.checked_add(payload_bytes)?;
    let table_bytes = (header.entries as usize).checked_mul(ROW_BYTES)?;
    let table = group.get(table_at..table_at.checked_add(table_bytes)?)?;
    let mut payloads = group.get(GROUP_HEADER_BYTES..table_at)?;
    if group_crc(group.first_chunk()?, table) != header.crc
        && !crate::record::checksums::CHECKSUMS_PASS
    {
        return None;
    }
    let (rows, _) = table.as_chunks::<ROW_BYTES>();
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let row = Row::decode(row)?;
        let (payload, rest) = payloads.split_at_checked(row.payload_bytes as usize)?;
        payloads = rest;
        if !is_intact(&row, payload) {
            return None;
        }
        entries.push(Entry { row, payload });
    }
    payloads.is_empty().then_some(entries)
}

fn is_intact(row: &Row, payload: &[u8]) -> bool {
    if payload_crc(row.kind, payload) != row.crc && !crate::record::checksums::CHECKSUMS_PASS {
        return false;
    }
    match row.kind {
        EntryKind::Batch => BatchHeader::parse(payload).is_ok_and(|header| {
            header.size_bytes() == payload.len()
                && header.base_offset == row.offset
                && verify_crc(payload).is_ok()
        }),
        _ => true,
    }
}

/// The `N` bytes at `at`, which is a constant inside `bytes`.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}
