//! Where replay of the write-ahead log starts.
//!
//! Two files take turns, so that a write that is cut off leaves the other one valid.
//!
//! | at | bytes | field, little-endian |
//! |---|---|---|
//! | 0 | 4 | magic `OCKP` |
//! | 4 | 2 | format version 1 |
//! | 6 | 2 | flags: bit 0 set if the log was closed in order: there is nothing to replay, and the ring may be gone |
//! | 8 | 8 | number of this checkpoint; the higher one counts |
//! | 16 | 8 | generation of the log: changes with each start |
//! | 24 | 8 | sequence of the first group that has to be replayed |
//! | 32 | 4 | region in which that group may follow |
//! | 36 | 8 | position in that region |
//! | 44 | 4 | CRC-32C of bytes 0..44 |
//! | 48 | 4048 | zero |

use std::io;
use std::path::{Path, PathBuf};

use crc_fast::{CrcAlgorithm, checksum};

use super::ring::RingPosition;
use crate::env::fs::{Access, BLOCK_BYTES, Fs, if_found};

const MAGIC: [u8; 4] = *b"OCKP";
pub const FORMAT_VERSION: u16 = 1;
const FLAG_CLOSED: u16 = 1;
const CRC_AT: usize = 44;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub number: u64,
    pub generation: u64,
    pub start_sequence: u64,
    pub start: RingPosition,
    pub closed: bool,
}

/// What a checkpoint file turned out to hold.
enum Found {
    Valid(Checkpoint),
    NewerFormat(u16),
    Invalid,
}

/// Why it cannot be told where replay starts.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("checkpoint has format {found}")]
    NewerFormat { path: PathBuf, found: u16 },
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(if number.is_multiple_of(2) {
        "checkpoint-a"
    } else {
        "checkpoint-b"
    })
}

impl Checkpoint {
    /// The newest valid checkpoint.
    ///
    /// # Errors
    /// A file that cannot be read, or one of a format that this version does not know.
    pub fn read(fs: &dyn Fs, dir: &Path) -> Result<Option<Self>, CheckpointError> {
        let mut newest: Option<Self> = None;
        for number in 0..2 {
            let path = path(dir, number);
            let Some(file) = if_found(fs.open(&path, Access::Read))? else {
                continue;
            };
            let mut bytes = [0; CRC_AT + 4];
            if file.read_at(&mut bytes, 0)? < bytes.len() {
                continue;
            }
            match Self::decode(&bytes) {
                Found::Valid(found) if newest.is_none_or(|best| found.number > best.number) => {
                    newest = Some(found);
                }
                Found::Valid(_) | Found::Invalid => {}
                Found::NewerFormat(found) => {
                    return Err(CheckpointError::NewerFormat { path, found });
                }
            }
        }
        Ok(newest)
    }

    /// Writes the checkpoint over the older of the two and returns when it is durable.
    pub fn write(&self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        let file = fs.open(&path(dir, self.number), Access::Write)?;
        if file.size_bytes()? == 0 {
            // The name comes first: where that fails the file stays empty, and the next attempt knows.
            fs.sync_dir(dir)?;
        }
        file.write_at(&[&self.encode()], 0)?;
        file.sync_data()
    }

    /// Makes a checkpoint durable that was found. A process that was killed may have written it and not come to sync it, and
    /// the next one is written over the only other one there is. It is written again: after a failed sync the page cache has
    /// what no other sync writes.
    pub fn make_durable(&self, fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        self.write(fs, dir)?;
        fs.sync_dir(dir)
    }

    /// Removes both files. The newest goes last: the older one alone would ask for a ring that is gone.
    pub fn remove(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
        let newest = Self::read(fs, dir).map_err(io::Error::other)?;
        let newest = newest.map_or(0, |newest| newest.number);
        for number in [newest + 1, newest] {
            if_found(fs.remove_file(&path(dir, number)))?;
            fs.sync_dir(dir)?;
        }
        Ok(())
    }

    fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut bytes = [0; BLOCK_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[6..8].copy_from_slice(&(u16::from(self.closed) * FLAG_CLOSED).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.generation.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.start_sequence.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.start.region.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.start.position.to_le_bytes());
        let crc = checksum(CrcAlgorithm::Crc32Iscsi, &bytes[..CRC_AT]) as u32;
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; CRC_AT + 4]) -> Found {
        let crc = checksum(CrcAlgorithm::Crc32Iscsi, &bytes[..CRC_AT]) as u32;
        let intact =
            bytes[CRC_AT..] == crc.to_le_bytes() || crate::record::checksums::CHECKSUMS_PASS;
        if bytes[0..4] != MAGIC || !intact {
            return Found::Invalid;
        }
        let version = u16::from_le_bytes(field(bytes, 4));
        if version != FORMAT_VERSION {
            return Found::NewerFormat(version);
        }
        Found::Valid(Self {
            number: u64::from_le_bytes(field(bytes, 8)),
            generation: u64::from_le_bytes(field(bytes, 16)),
            start_sequence: u64::from_le_bytes(field(bytes, 24)),
            closed: u16::from_le_bytes(field(bytes, 6)) & FLAG_CLOSED != 0,
            start: RingPosition {
                region: u32::from_le_bytes(field(bytes, 32)),
                position: u64::from_le_bytes(field(bytes, 36)),
            },
        })
    }
}

/// The `N` bytes at `at`, which is a constant inside `bytes`.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}
