//! Brings the segments up to the write-ahead log after a stop that was not orderly.
//!
//! The log is read twice. First it is checked from the checkpoint to its end; if anything is wrong
//! with it, nothing is touched. Then each log's segment is cut to the position that its first
//! entry names, and everything from there on is written again. Until the next checkpoint this can
//! be repeated any number of times, so a crash during recovery does no harm.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::env::clock::Clock;
use crate::env::fs::Fs;
use crate::env::sync::Mutex;
use crate::local::compaction::swap;
use crate::local::file_log::state::{State, TailBatch};
use crate::local::io_pool::{IoPool, Results};
use crate::local::loader::{LoadContext, LoadError, open_end};
use crate::local::owner::{owner_of, set_aside};
use crate::local::segment::direct::DirectIo;
use crate::local::segment::open_files::{LogPath, OpenFiles};
use crate::local::segment::writer::{Run, SegmentWriter};
use crate::local::segment::{self, Incoming, OpenSegment, Part, Segment, offset_of};
use crate::local::text_files::Offsets;
use crate::local::wal::checkpoint::Checkpoint;
use crate::local::wal::chunk::ChunkSlice;
use crate::local::wal::format::{Entry, EntryKind, Row};
use crate::local::wal::logs::{self, LogTable};
use crate::local::wal::replay::{LogEnd, Replay, ReplayError};
use crate::log::{LogConfig, TopicPartition};
use crate::record::BatchHeader;

/// What is read before it is written: twice as much may be in memory.
const READ_AHEAD_BYTES: u64 = 32 << 20;

/// Why the logs could not be recovered. Nothing that was acknowledged has been deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryError {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {what}", .path.display())]
    Inconsistent { path: PathBuf, what: String },
}

/// What recovery works on.
pub(crate) struct Recovery {
    pub fs: Arc<dyn Fs>,
    pub direct_io: Arc<DirectIo>,
    pub clock: Arc<dyn Clock>,
    pub open_files: Arc<OpenFiles>,
    /// The log directory.
    pub dir: PathBuf,
    pub wal_dir: PathBuf,
    /// Segments may have been written with what the write-ahead log has lost.
    pub may_cut_tails: bool,
}

/// What recovery did.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub end: LogEnd,
    pub batches: u64,
    pub bytes: u64,
    pub partitions: usize,
    /// Logs whose deletion had begun, but for those whose name another log has now.
    pub deleted: Vec<TopicPartition>,
    /// Topics and partitions of which a log was deleted.
    pub deleted_keys: HashSet<(String, i32)>,
}

/// What the first reading of the log found.
#[derive(Default)]
struct Contents {
    logs: HashMap<u32, TopicPartition>,
    deleted: BTreeSet<u32>,
    /// Of logs with the same name, the one declared last.
    newest: HashMap<(Arc<str>, i32), u32>,
    log_starts: HashMap<u32, i64>,
    /// The first entry of each log that has batches.
    first_batches: BTreeMap<u32, Row>,
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
        let end = replay.run(checkpoint, |entries| {
            entries
                .iter()
                .try_for_each(|entry| contents.note(entry, &self.wal_dir))
        })?;
        let mut recovered = Recovered {
            end,
            batches: 0,
            bytes: 0,
            partitions: 0,
            deleted: contents.deleted_for_good().cloned().collect(),
            deleted_keys: HashSet::new(),
        };
        for id in &contents.deleted {
            if let Some(log) = contents.logs.get(id) {
                let key = (log.topic.to_string(), log.partition);
                log_starts.remove(&key);
                recovered.deleted_keys.insert(key);
            }
        }
        for (id, &offset) in &contents.log_starts {
            if let Some(log) = contents.live(*id) {
                log_starts.insert((log.topic.to_string(), log.partition), offset);
            }
        }
        let logs: Vec<_> = contents
            .first_batches
            .iter()
            .filter_map(|(&id, &first)| {
                let log_start_offset = contents.log_starts.get(&id).copied();
                let log = contents.live(id)?.clone();
                Some((id, first, log, log_start_offset.unwrap_or(0)))
            })
            .collect();
        if logs.is_empty() {
            return Ok(recovered);
        }
        recovered.partitions = logs.len();
        let recovery = Arc::clone(self);
        let opened = pool.for_each(logs, move |(id, first, log, log_start_offset)| {
            let mut restored = recovery.open(&log, &first, log_start_offset)?;
            restored.open_for(&recovery, &first)?;
            Ok::<_, RecoveryError>((id, restored))
        });
        let mut restored: BTreeMap<u32, Restored> = opened.into_iter().collect::<Result<_, _>>()?;
        for (id, log) in restored.iter().filter(|(_, log)| log.is_new) {
            if !contents.log_starts.contains_key(id) {
                log_starts.remove(&(log.id.topic.to_string(), log.id.partition));
            }
        }
        let (mut held_bytes, mut writing) = (0, None);
        replay.repeat(checkpoint, &end, |entries| {
            for entry in entries {
                if entry.row.kind != EntryKind::Batch {
                    continue;
                }
                let Some(log) = restored.get_mut(&entry.row.log_id) else {
                    continue;
                };
                recovered.batches += 1;
                recovered.bytes += entry.payload.len() as u64;
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
        wait(writing)?;
        let recovery = Arc::clone(self);
        let finished = pool.for_each(restored.into_values(), move |log: Restored| {
            log.finish(&recovery)
        });
        finished.into_iter().collect::<Result<Vec<()>, _>>()?;
        self.fs.sync_dir(&self.dir).map_err(self.io_error())?;
        Ok(recovered)
    }

    fn io_error(&self) -> impl FnOnce(io::Error) -> RecoveryError {
        let path = self.dir.clone();
        |source| RecoveryError::Io { path, source }
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

    fn open(
        &self,
        id: &TopicPartition,
        first: &Row,
        log_start_offset: i64,
    ) -> Result<Restored, RecoveryError> {
        let dir = LogPath::new(self.dir.join(id.to_string()), &self.open_files);
        let owner = owner_of(&*self.fs, &dir).map_err(self.io_error())?;
        let is_new = owner != Some(id.topic_id);
        if is_new && owner.is_some() {
            // The name was given to a new topic before the old one's deletion was done.
            set_aside(&*self.fs, &dir).map_err(|source| RecoveryError::Io {
                path: dir.to_path_buf(),
                source,
            })?;
        }
        crate::env::fs::if_found(swap::recover(&*self.fs, &dir)).map_err(|source| {
            RecoveryError::Io {
                path: dir.to_path_buf(),
                source,
            }
        })?;
        let mut writer = SegmentWriter::new(
            Arc::clone(&self.fs),
            Arc::clone(&self.direct_io),
            id.clone(),
            Arc::clone(&dir),
        );
        if owner.is_none() && first.place.position == 0 {
            // No checkpoint has seen this directory, or its name tag would be there: all of the log is in the write-ahead
            // log, and what is here may be an earlier topic's.
            writer.discard_all().map_err(self.io_error())?;
        }
        Ok(Restored {
            writer: Arc::new(Mutex::new(writer)),
            id: id.clone(),
            dir,
            state: State::unloaded(Arc::new(LogConfig::default())),
            log_start_offset,
            is_new,
            first_offset: None,
        })
    }
}

impl Contents {
    fn declare(&mut self, id: u32, log: TopicPartition) {
        self.newest
            .insert((Arc::clone(&log.topic), log.partition), id);
        self.logs.insert(id, log);
    }

    /// The log with this id, unless it was deleted or another has taken its name.
    fn live(&self, id: u32) -> Option<&TopicPartition> {
        let log = self.logs.get(&id)?;
        let newest = self.newest.get(&(Arc::clone(&log.topic), log.partition));
        (newest == Some(&id) && !self.deleted.contains(&id)).then_some(log)
    }

    /// The deleted logs whose directory is their own: not one that a later log of this name has made.
    fn deleted_for_good(&self) -> impl Iterator<Item = &TopicPartition> {
        self.deleted.iter().filter_map(|id| {
            let log = self.logs.get(id)?;
            let newest = self.newest.get(&(Arc::clone(&log.topic), log.partition))?;
            self.deleted.contains(newest).then_some(log)
        })
    }

    fn note(&mut self, entry: &Entry<'_>, wal_dir: &Path) -> Result<(), RecoveryError> {
        let id = entry.row.log_id;
        let inconsistent = |what: &str| RecoveryError::Inconsistent {
            path: wal_dir.to_owned(),
            what: format!("entry of log {id}: {what}"),
        };
        if entry.row.kind == EntryKind::Declare {
            let log = logs::declared(entry.payload)
                .ok_or_else(|| inconsistent("its declaration cannot be read"))?;
            self.declare(id, log);
            return Ok(());
        }
        if !self.logs.contains_key(&id) {
            return Err(inconsistent("nothing says which log that is"));
        }
        match entry.row.kind {
            EntryKind::Batch => {
                self.first_batches.entry(id).or_insert(entry.row);
            }
            EntryKind::LogStart => {
                let offset = self.log_starts.entry(id).or_insert(entry.row.offset);
                *offset = entry.row.offset.max(*offset);
            }
            EntryKind::Delete => {
                self.deleted.insert(id);
            }
            EntryKind::Declare => {}
        }
        Ok(())
    }
}

/// Waits until what is being written is in its segments.
fn wait(writing: Option<Results<Result<(), RecoveryError>>>) -> Result<(), RecoveryError> {
    writing.map_or(Ok(()), |writing| writing.wait().into_iter().collect())
}

/// What of a log is in memory and not yet in its segments.
struct Unwritten {
    writer: Arc<Mutex<SegmentWriter>>,
    runs: Vec<Run>,
    dir: Arc<LogPath>,
}

impl Unwritten {
    fn write(self) -> Result<(), RecoveryError> {
        let mut writer = self.writer.lock();
        let written = self.runs.iter().try_for_each(|run| writer.write(run));
        written.map_err(|source| RecoveryError::Io {
            path: self.dir.to_path_buf(),
            source,
        })
    }
}

/// A log whose segments are being written again.
struct Restored {
    id: TopicPartition,
    dir: Arc<LogPath>,
    state: State,
    writer: Arc<Mutex<SegmentWriter>>,
    log_start_offset: i64,
    /// Nothing of it was durable but in the write-ahead log: what else is known by its name is another's.
    is_new: bool,
    /// Of the first batch that is written again.
    first_offset: Option<i64>,
}

impl Restored {
    /// Has the segment open that a batch belongs to. False if it is rightly gone.
    fn open_for(&mut self, recovery: &Recovery, row: &Row) -> Result<bool, RecoveryError> {
        let open = self.state.open.back();
        let starts_segment = row.place.position == 0;
        match open {
            Some(open) if !starts_segment || open.starts_at(row.offset) => Ok(true),
            _ if starts_segment => self.start_segment(recovery, row.offset).map(|()| true),
            _ => self.open_segment(recovery, row),
        }
    }

    fn append(&mut self, recovery: &Recovery, entry: &Entry<'_>) -> Result<(), RecoveryError> {
        let row = &entry.row;
        let header = BatchHeader::parse(entry.payload)
            .map_err(|error| self.inconsistent(row, &error.to_string()))?;
        if !self.open_for(recovery, row)? {
            // The segment is gone because the log start has moved past it, and so is this batch.
            return Ok(());
        }
        self.first_offset.get_or_insert(row.offset);
        let Some(open) = self.state.open.back_mut() else {
            return Ok(());
        };
        let expected = (
            open.segment.base_offset,
            open.bytes,
            self.state.log_end_offset,
        );
        let found = (
            row.segment_base_offset(),
            u64::from(row.place.position),
            row.offset,
        );
        if expected != found {
            return Err(self.inconsistent(
                row,
                &format!(
                    "goes to byte {} of segment {}, which ends with byte {} and offset {}",
                    found.1, found.0, expected.1, expected.2
                ),
            ));
        }
        let incoming = Incoming {
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
            bytes: entry.payload.len() as u64,
        };
        open.append(&incoming, self.state.config.index_interval_bytes);
        let chunk = Bytes::copy_from_slice(entry.payload);
        self.state.tail.push_back(TailBatch {
            base_offset: row.offset,
            last_offset: header.last_offset(),
            position: row.place.position.into(),
            reserved_bytes: 0,
            age: 0,
            bytes: ChunkSlice::new(&chunk, 0..chunk.len()),
        });
        self.state.log_end_offset = header.next_offset();
        self.state.high_watermark = header.next_offset();
        self.state.unwritten_bytes += incoming.bytes;
        Ok(())
    }

    fn start_segment(
        &mut self,
        recovery: &Recovery,
        base_offset: i64,
    ) -> Result<(), RecoveryError> {
        if self.state.open.is_empty() {
            self.open_previous(recovery, base_offset)?;
        }
        self.writer
            .lock()
            .discard_segment(base_offset)
            .map_err(|source| self.io_error(source))?;
        let segment = Segment::new(Arc::clone(&self.dir), base_offset, 0);
        self.state
            .open
            .push_back(OpenSegment::new(segment, recovery.clock.now_ms()));
        self.state.log_end_offset = base_offset;
        Ok(())
    }

    /// Opens the segment before the one that the log's first entry starts: its indexes may want their last entries.
    fn open_previous(
        &mut self,
        recovery: &Recovery,
        base_offset: i64,
    ) -> Result<(), RecoveryError> {
        let names = crate::env::fs::if_found(recovery.fs.list(&self.dir))
            .map_err(|source| self.io_error(source))?
            .unwrap_or_default();
        let previous = names
            .iter()
            .filter_map(|entry| offset_of(&entry.name, Part::Log.suffix()))
            .filter(|&offset| offset < base_offset)
            .max();
        let Some(previous) = previous else {
            return Ok(());
        };
        let path = segment::path(&self.dir, previous, Part::Log);
        let bytes = recovery
            .fs
            .open(&path, crate::env::fs::Access::Read)
            .and_then(|file| file.size_bytes())
            .map_err(|source| self.io_error(source))?;
        let segment = Segment::new(Arc::clone(&self.dir), previous, bytes);
        let (open, _) = open_end(&self.load_context(recovery), &segment, true)?;
        self.state.open.push_back(open);
        Ok(())
    }

    fn load_context<'a>(&'a self, recovery: &'a Recovery) -> LoadContext<'a> {
        LoadContext {
            fs: &*recovery.fs,
            id: &self.id,
            dir: &self.dir,
            index_interval_bytes: self.state.config.index_interval_bytes,
            now_ms: recovery.clock.now_ms(),
            producer_id_expiration_ms: i64::MAX,
            log_start_offset: None,
            may_cut_tail: false,
            may_have_shrunk: false,
            recovery_point: 0,
            closed_at: None,
        }
    }

    /// Opens the segment that the log's first entry continues, and cuts it there. False if it is rightly gone.
    fn open_segment(&mut self, recovery: &Recovery, row: &Row) -> Result<bool, RecoveryError> {
        let position = u64::from(row.place.position);
        let segment = Segment::new(Arc::clone(&self.dir), row.segment_base_offset(), position);
        let path = segment.path(Part::Log);
        let opened =
            crate::env::fs::if_found(recovery.fs.open(&path, crate::env::fs::Access::Read))
                .and_then(|file| file.map(|file| file.size_bytes()).transpose())
                .map_err(|source| self.io_error(source))?;
        match opened {
            Some(bytes) if bytes >= position => {}
            None if row.offset < self.log_start_offset => return Ok(false),
            found => {
                return Err(RecoveryError::Inconsistent {
                    path,
                    what: format!(
                        "has {} bytes, but {position} were durable",
                        found.map_or("no".to_owned(), |bytes| bytes.to_string())
                    ),
                });
            }
        }
        let (open, end_offset) = open_end(&self.load_context(recovery), &segment, true)?;
        segment
            .open(&*recovery.fs, Part::Log)
            .and_then(|file| file.set_len(position))
            .map_err(|source| self.io_error(source))?;
        self.state.open.push_back(open);
        self.state.log_end_offset = end_offset;
        Ok(true)
    }

    /// Takes what is held, to be written before anything else is taken; nothing reads it meanwhile.
    fn take(&mut self) -> Option<Unwritten> {
        let mut runs = Vec::new();
        while let Some(run) = self.state.next_run(u64::MAX) {
            // The next run starts there.
            run.segment.set_written_bytes(run.position + run.bytes);
            self.state.written(&run);
            runs.push(run);
        }
        self.state.drop_tail_before(u64::MAX);
        (!runs.is_empty()).then(|| Unwritten {
            writer: Arc::clone(&self.writer),
            runs,
            dir: Arc::clone(&self.dir),
        })
    }

    /// Removes segments that were written from a part of the write-ahead log that is lost.
    fn discard_later_segments(&mut self, recovery: &Recovery) -> Result<(), RecoveryError> {
        if self.state.open.is_empty() {
            return Ok(());
        }
        let names = crate::env::fs::if_found(recovery.fs.list(&self.dir))
            .map_err(|source| self.io_error(source))?
            .unwrap_or_default();
        let offsets = names
            .iter()
            .filter_map(|entry| offset_of(&entry.name, Part::Log.suffix()));
        for offset in offsets.filter(|offset| *offset >= self.state.log_end_offset) {
            self.writer
                .lock()
                .discard_segment(offset)
                .map_err(|source| self.io_error(source))?;
        }
        Ok(())
    }

    fn finish(mut self, recovery: &Recovery) -> Result<(), RecoveryError> {
        self.take().map_or(Ok(()), Unwritten::write)?;
        if recovery.may_cut_tails {
            self.discard_later_segments(recovery)?;
        }
        if let Some(first_offset) = self.first_offset {
            // Of segments below the log start nothing else may be left.
            let taken = first_offset.max(self.log_start_offset);
            self.writer
                .lock()
                .discard_snapshots_after(taken)
                .map_err(|source| self.io_error(source))?;
        }
        self.writer
            .lock()
            .sync_all()
            .map_err(|source| self.io_error(source))
    }

    fn io_error(&self, source: io::Error) -> RecoveryError {
        RecoveryError::Io {
            path: self.dir.to_path_buf(),
            source,
        }
    }

    fn inconsistent(&self, row: &Row, what: &str) -> RecoveryError {
        RecoveryError::Inconsistent {
            path: self.dir.to_path_buf(),
            what: format!("batch with base offset {}: {what}", row.offset),
        }
    }
}
