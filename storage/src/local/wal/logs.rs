//! The logs that the ids in the write-ahead log stand for.
//!
//! A log is declared once, by the entry before its first. Before a checkpoint lets replay begin
//! behind a declaration, it is saved in a table of its own: `logs-<generation>`, to which entries
//! are only added. A torn end of the table is ignored: what it would say is still in the log.
//!
//! | at | bytes | entry of the table, little-endian |
//! |---|---|---|
//! | 0 | 4 | bytes of the declaration |
//! | 4 | 4 | CRC-32C of what follows |
//! | 8 | 4 | id |
//! | 12 | | declaration |
//!
//! | at | bytes | declaration |
//! |---|---|---|
//! | 0 | 16 | topic id |
//! | 16 | 4 | partition |
//! | 20 | | name of the topic |

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc_fast::{CrcAlgorithm, checksum};
use uuid::Uuid;

use crate::env::fs::{Access, Fs, if_found, read_all};
use crate::log::TopicPartition;

const NAME_AT: usize = 20;
const PREFIX: &str = "logs-";

/// The payload that declares a log.
pub fn declaration(id: &TopicPartition) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(NAME_AT + id.topic.len());
    bytes.extend_from_slice(id.topic_id.as_bytes());
    bytes.extend_from_slice(&id.partition.to_le_bytes());
    bytes.extend_from_slice(id.topic.as_bytes());
    bytes
}

/// Reads what [`declaration`] wrote.
pub fn declared(bytes: &[u8]) -> Option<TopicPartition> {
    let (fixed, name) = bytes.split_first_chunk::<NAME_AT>()?;
    let (topic_id, partition) = fixed.split_first_chunk::<16>()?;
    Some(TopicPartition {
        topic: Arc::from(std::str::from_utf8(name).ok()?),
        topic_id: Uuid::from_bytes(*topic_id),
        partition: i32::from_le_bytes(*partition.first_chunk()?),
    })
}

/// The table of one generation, to be added to.
#[derive(Debug)]
pub struct LogTable {
    path: PathBuf,
    bytes: u64,
}

impl LogTable {
    /// An empty table.
    pub fn create(fs: &dyn Fs, dir: &Path, generation: u64) -> io::Result<Self> {
        let path = path(dir, generation);
        fs.open(&path, Access::Write)?.set_len(0)?;
        fs.sync_dir(dir)?;
        Ok(Self { path, bytes: 0 })
    }

    /// Adds declarations and returns when they are durable.
    pub fn add(&mut self, fs: &dyn Fs, declarations: &[(u32, Vec<u8>)]) -> io::Result<()> {
        let mut added = Vec::new();
        for (id, declaration) in declarations {
            let mut covered = id.to_le_bytes().to_vec();
            covered.extend_from_slice(declaration);
            let crc = checksum(CrcAlgorithm::Crc32Iscsi, &covered) as u32;
            added.extend_from_slice(&(declaration.len() as u32).to_le_bytes());
            added.extend_from_slice(&crc.to_le_bytes());
            added.extend_from_slice(&covered);
        }
        let file = fs.open(&self.path, Access::Write)?;
        file.write_at(&[&added], self.bytes)?;
        file.sync_data()?;
        self.bytes += added.len() as u64;
        Ok(())
    }

    /// What the table of a generation says.
    pub fn read(
        fs: &dyn Fs,
        dir: &Path,
        generation: u64,
    ) -> io::Result<HashMap<u32, TopicPartition>> {
        let bytes = if_found(read_all(fs, &path(dir, generation)))?.unwrap_or_default();
        let mut rest = &bytes[..];
        let mut logs = HashMap::new();
        while let Some((id, log, after)) = read_entry(rest) {
            logs.insert(id, log);
            rest = after;
        }
        Ok(logs)
    }

    /// Removes the tables of all generations but one.
    pub fn remove_others(fs: &dyn Fs, dir: &Path, keep: Option<u64>) -> io::Result<()> {
        let keep = keep.map(|generation| path(dir, generation));
        for entry in fs.list(dir)? {
            let path = dir.join(&entry.name);
            if entry.name.starts_with(PREFIX) && Some(&path) != keep.as_ref() {
                if_found(fs.remove_file(&path))?;
            }
        }
        Ok(())
    }
}

fn path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{generation:016x}"))
}

fn read_entry(bytes: &[u8]) -> Option<(u32, TopicPartition, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let length = (u32::from_le_bytes(*length) as usize).checked_add(4)?;
    let (covered, rest) = rest.split_at_checked(length)?;
    let intact = checksum(CrcAlgorithm::Crc32Iscsi, covered) as u32 == u32::from_le_bytes(*crc);
    if !intact && !crate::record::checksums::CHECKSUMS_PASS {
        return None;
    }
    let (id, declaration) = covered.split_first_chunk()?;
    Some((u32::from_le_bytes(*id), declared(declaration)?, rest))
}
