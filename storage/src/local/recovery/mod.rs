//! Brings the segments up to the write-ahead log after a stop that was not orderly.
//!
//! The log is read twice. First it is checked from the checkpoint to its end; if anything is wrong
//! with it, nothing is touched. Then each log's segment is cut to the position that its first
//! entry names, and everything from there on is written again. Until the next checkpoint this can
//! be repeated any number of times, so a crash during recovery does no harm.

mod contents;
mod context;
mod restored;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use contents::Contents;
pub(crate) use context::{Recovery, RecoveryError};
use restored::{Restored, Unwritten};

use super::io_pool::{IoPool, Results};
use super::text_files::Offsets;
use super::wal::checkpoint::Checkpoint;
use super::wal::format::{Entry, EntryKind};
use super::wal::logs::LogTable;
use super::wal::replay::{LogEnd, Replay};
use super::wal::ring::{list_regions, region_path};
use crate::env::fs::Access;
use crate::log::TopicPartition;

/// How many bytes are read before they are written. Twice as many may be in memory.
const READ_AHEAD_BYTES: u64 = 32 << 20;

/// What recovery did.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub end: LogEnd,
    pub batches: u64,
    pub bytes: u64,
    pub partitions: usize,
    /// Logs whose deletion had begun, except those whose name another log has now.
    pub deleted: Vec<TopicPartition>,
    /// Topics and partitions that had a log which was deleted.
    pub deleted_keys: HashSet<(String, i32)>,
}

impl Recovery {
    /// Replays the log from `checkpoint`, and enters log start offsets that it has moved into `log_starts`.
    pub fn run(
        self: &Arc<Self>,
        pool: &IoPool,
        checkpoint: &Checkpoint,
        log_starts: &mut Offsets,
    ) -> Result<Recovered, RecoveryError> {
        let mut contents = self.table(checkpoint)?;
        let replay = Replay {
            // Otherwise the page cache may hold it.
            directly: !self.may_cut_tails,
            ahead: Some(pool),
            ..Replay::new(&*self.fs, &self.wal_dir)
        };
        let mut found_bytes = 0;
        let end = replay.run(checkpoint, |entries| {
            found_bytes += payload_bytes(entries);
            entries
                .iter()
                .try_for_each(|entry| contents.note(entry, &self.wal_dir))
        })?;
        // Not before all is found, or the progress would go back.
        self.progress.found(found_bytes);
        if end.groups > 0 {
            self.sync_log()?;
        }
        let mut recovered = Recovered {
            end,
            batches: 0,
            bytes: 0,
            partitions: 0,
            deleted: contents.deleted_for_good().cloned().collect(),
            deleted_keys: contents.deleted_keys(),
        };
        for key in &recovered.deleted_keys {
            log_starts.remove(key);
        }
        for (id, &offset) in &contents.log_starts {
            if let Some(log) = contents.live(*id) {
                log_starts.insert((log.topic.to_string(), log.partition), offset);
            }
        }
        let mut restored = self.open_logs(pool, &contents)?;
        if restored.is_empty() {
            return Ok(recovered);
        }
        recovered.partitions = restored.len();
        for (id, log) in restored.iter().filter(|(_, log)| log.is_new) {
            if !contents.log_starts.contains_key(id) {
                log_starts.remove(&(log.id.topic.to_string(), log.id.partition));
            }
        }
        self.write_again(pool, &replay, checkpoint, &mut recovered, &mut restored)?;
        let recovery = Arc::clone(self);
        let finished = pool.for_each(restored.into_values(), move |log: Restored| {
            log.finish(&recovery)
        });
        finished.into_iter().collect::<Result<Vec<()>, _>>()?;
        self.fs.sync_dir(&self.dir).map_err(self.io_error())?;
        Ok(recovered)
    }

    /// Makes the write-ahead log durable as it was read. A killed process may have left its last group in the page cache.
    /// If that were lost later, a part of the group would stay in the segments that are written from it now.
    fn sync_log(&self) -> Result<(), RecoveryError> {
        let fs = &*self.fs;
        let sync = |index| {
            fs.open(&region_path(&self.wal_dir, index), Access::Write)?
                .sync_data()
        };
        let regions = list_regions(fs, &self.wal_dir);
        let synced = regions.and_then(|regions| regions.into_iter().try_for_each(sync));
        synced.map_err(|source| RecoveryError::Io {
            path: self.wal_dir.clone(),
            source,
        })
    }

    /// Cuts the segment of each log that has batches in the write-ahead log to where they begin.
    fn open_logs(
        self: &Arc<Self>,
        pool: &IoPool,
        contents: &Contents,
    ) -> Result<BTreeMap<u32, Restored>, RecoveryError> {
        let logs: Vec<_> = contents
            .first_batches
            .iter()
            .filter_map(|(&id, &first)| {
                let log_start_offset = contents.log_starts.get(&id).copied();
                let log = contents.live(id)?.clone();
                Some((id, first, log, log_start_offset.unwrap_or(0)))
            })
            .collect();
        let recovery = Arc::clone(self);
        let opened = pool.for_each(logs, move |(id, first, log, log_start_offset)| {
            let mut restored = Restored::open(&recovery, &log, &first, log_start_offset)?;
            restored.open_for(&recovery, &first)?;
            Ok::<_, RecoveryError>((id, restored))
        });
        opened.into_iter().collect()
    }

    /// Writes the batches to their segments, a part while the next one is read.
    fn write_again(
        &self,
        pool: &IoPool,
        replay: &Replay<'_>,
        checkpoint: &Checkpoint,
        recovered: &mut Recovered,
        restored: &mut BTreeMap<u32, Restored>,
    ) -> Result<(), RecoveryError> {
        let (mut held_bytes, mut writing) = (0, None);
        let (batches, bytes) = (&mut recovered.batches, &mut recovered.bytes);
        replay.repeat(checkpoint, &recovered.end, |entries| {
            self.progress.replayed(payload_bytes(entries));
            for entry in entries {
                if entry.row.kind != EntryKind::Batch {
                    continue;
                }
                let Some(log) = restored.get_mut(&entry.row.log_id) else {
                    continue;
                };
                *batches += 1;
                *bytes += entry.payload.len() as u64;
                held_bytes += entry.payload.len() as u64;
                log.append(self, entry)?;
            }
            if held_bytes > READ_AHEAD_BYTES {
                wait(writing.take())?;
                let unwritten: Vec<_> = restored.values_mut().filter_map(Restored::take).collect();
                writing = Some(pool.begin_each(unwritten, Unwritten::write));
                held_bytes = 0;
            }
            Ok::<(), RecoveryError>(())
        })?;
        wait(writing)
    }

    fn table(&self, checkpoint: &Checkpoint) -> Result<Contents, RecoveryError> {
        let logs =
            LogTable::read(&*self.fs, &self.wal_dir, checkpoint.generation).map_err(|source| {
                RecoveryError::Io {
                    path: self.wal_dir.to_owned(),
                    source,
                }
            })?;
        let mut contents = Contents::default();
        let mut ids: Vec<_> = logs.into_iter().collect();
        ids.sort_unstable_by_key(|(id, _)| *id);
        for (id, log) in ids {
            contents.declare(id, log);
        }
        Ok(contents)
    }
}

fn payload_bytes(entries: &[Entry<'_>]) -> u64 {
    entries.iter().map(|entry| entry.payload.len() as u64).sum()
}

/// Waits until everything that is being written is in its segments.
fn wait(writing: Option<Results<Result<(), RecoveryError>>>) -> Result<(), RecoveryError> {
    writing.map_or(Ok(()), |writing| writing.wait().into_iter().collect())
}
