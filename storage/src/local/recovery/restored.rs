//! A log whose segments are being written again.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::context::{Recovery, RecoveryError};
use crate::env::fs;
use crate::env::sync::Mutex;
use crate::local::file_log::state::{State, TailBatch};
use crate::local::loader::{LoadContext, gaps, open_end};
use crate::local::owner::{owner_of, set_aside};
use crate::local::segment::open_files::LogPath;
use crate::local::segment::swap;
use crate::local::segment::writer::{Run, SegmentWriter};
use crate::local::segment::{self, Incoming, OpenSegment, Part, Segment, offset_of};
use crate::local::wal::chunk::ChunkSlice;
use crate::local::wal::format::{Entry, Row};
use crate::log::{LogConfig, TopicPartition};
use crate::record::BatchHeader;

/// The part of a log that is in memory and not yet in its segments.
pub(super) struct Unwritten {
    writer: Arc<Mutex<SegmentWriter>>,
    runs: Vec<Run>,
    dir: Arc<LogPath>,
}

impl Unwritten {
    pub(super) fn write(self) -> Result<(), RecoveryError> {
        let mut writer = self.writer.lock();
        let written = self.runs.iter().try_for_each(|run| writer.write(run));
        written.map_err(|source| RecoveryError::Io {
            path: self.dir.to_path_buf(),
            source,
        })
    }
}

/// A log whose segments are being written again.
pub(super) struct Restored {
    pub(super) id: TopicPartition,
    pub(super) dir: Arc<LogPath>,
    pub(super) state: State,
    pub(super) writer: Arc<Mutex<SegmentWriter>>,
    pub(super) log_start_offset: i64,
    /// Only the write-ahead log had anything of it. What else is known by its name is another log's.
    pub(super) is_new: bool,
    /// The offset of the first batch that is written again.
    pub(super) first_offset: Option<i64>,
}

impl Restored {
    /// Takes the log's directory, which may be an earlier topic's.
    pub(super) fn open(
        recovery: &Recovery,
        id: &TopicPartition,
        first: &Row,
        log_start_offset: i64,
    ) -> Result<Self, RecoveryError> {
        let dir = LogPath::new(recovery.dir.join(id.to_string()), &recovery.open_files);
        let owner = owner_of(&*recovery.fs, &dir).map_err(recovery.io_error())?;
        // A power cut may have taken the tag of a directory that was put here by hand. Its records are nowhere else.
        let was_adopted =
            owner.is_none() && gaps::are_noted(&*recovery.fs, &dir).map_err(recovery.io_error())?;
        let is_new = owner != Some(id.topic_id) && !was_adopted;
        if is_new && owner.is_some() {
            // The name was given to a new topic before the old one's deletion was done.
            set_aside(&*recovery.fs, &dir).map_err(|source| RecoveryError::Io {
                path: dir.to_path_buf(),
                source,
            })?;
        }
        fs::if_found(swap::recover(&*recovery.fs, &dir)).map_err(|source| RecoveryError::Io {
            path: dir.to_path_buf(),
            source,
        })?;
        let mut writer = SegmentWriter::new(
            Arc::clone(&recovery.fs),
            Arc::clone(&recovery.direct_io),
            id.clone(),
            Arc::clone(&dir),
        );
        if owner.is_none() && !was_adopted && first.place.position == 0 {
            // No checkpoint has seen this directory, or its name tag would be there. So all of the log is in the
            // write-ahead log, and what is here may be an earlier topic's.
            writer.discard_all().map_err(recovery.io_error())?;
        }
        Ok(Self {
            writer: Arc::new(Mutex::new(writer)),
            id: id.clone(),
            dir,
            state: State::unloaded(Arc::new(LogConfig::default())),
            log_start_offset,
            is_new,
            first_offset: None,
        })
    }

    /// Opens the segment that a batch belongs to. False if the segment is rightly gone.
    pub(super) fn open_for(
        &mut self,
        recovery: &Recovery,
        row: &Row,
    ) -> Result<bool, RecoveryError> {
        let open = self.state.open.back();
        let starts_segment = row.place.position == 0;
        match open {
            Some(open) if !starts_segment || open.starts_at(row.offset) => Ok(true),
            _ if starts_segment => self.start_segment(recovery, row.offset).map(|()| true),
            _ => self.open_segment(recovery, row),
        }
    }

    pub(super) fn append(
        &mut self,
        recovery: &Recovery,
        entry: &Entry<'_>,
    ) -> Result<(), RecoveryError> {
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

    /// Opens the segment before the one that the log's first entry starts. Its indexes may lack their last entries.
    fn open_previous(
        &mut self,
        recovery: &Recovery,
        base_offset: i64,
    ) -> Result<(), RecoveryError> {
        let names = fs::if_found(recovery.fs.list(&self.dir))
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
            .open(&path, fs::Access::Read)
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

    /// Opens the segment that the log's first entry continues, and cuts it there. False if the segment is rightly gone.
    fn open_segment(&mut self, recovery: &Recovery, row: &Row) -> Result<bool, RecoveryError> {
        let position = u64::from(row.place.position);
        let segment = Segment::new(Arc::clone(&self.dir), row.segment_base_offset(), position);
        let path = segment.path(Part::Log);
        let opened = fs::if_found(recovery.fs.open(&path, fs::Access::Read))
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

    /// Takes the batches that are held. They are written before others are taken, and nothing reads them meanwhile.
    pub(super) fn take(&mut self) -> Option<Unwritten> {
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

    /// Removes segments that were written from a lost part of the write-ahead log.
    fn discard_later_segments(&mut self, recovery: &Recovery) -> Result<(), RecoveryError> {
        if self.state.open.is_empty() {
            return Ok(());
        }
        let names = fs::if_found(recovery.fs.list(&self.dir))
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

    pub(super) fn finish(mut self, recovery: &Recovery) -> Result<(), RecoveryError> {
        self.take().map_or(Ok(()), Unwritten::write)?;
        if recovery.may_cut_tails {
            self.discard_later_segments(recovery)?;
        }
        if let Some(first_offset) = self.first_offset {
            // Nothing else may be left of segments below the log start.
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
