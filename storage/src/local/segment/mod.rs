//! One segment: a file of batches, its indexes, and what is known of it in memory.

pub(crate) mod direct;
pub(crate) mod offset_index;
pub(crate) mod open_files;
pub(crate) mod read_ahead;
pub(crate) mod scan;
pub(crate) mod swap;
pub(crate) mod time_index;
pub(crate) mod writer;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::env::fs::{self, Access, File, Fs};
use crate::env::sync::{Mutex, MutexGuard};
use crate::local::segment::offset_index::OffsetEntry;
use crate::local::segment::open_files::{KeepsOpen, LogPath};
use crate::local::segment::time_index::TimeEntry;
use crate::local::wal::format::Place;
use crate::log::LogConfig;
use crate::log::transaction_index::AbortedTxn;

/// Positions in a segment are signed 32-bit numbers in Kafka's indexes.
const SEGMENT_LIMIT_BYTES: u64 = i32::MAX as u64;

/// One of a segment's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Log,
    OffsetIndex,
    TimeIndex,
    TransactionIndex,
}

impl Part {
    pub const ALL: [Self; 4] = [
        Self::Log,
        Self::OffsetIndex,
        Self::TimeIndex,
        Self::TransactionIndex,
    ];

    pub fn suffix(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::OffsetIndex => "index",
            Self::TimeIndex => "timeindex",
            Self::TransactionIndex => "txnindex",
        }
    }
}

/// The name of a file that belongs to an offset: 20 digits and a suffix.
pub(crate) fn file_name(offset: i64, suffix: &str) -> String {
    format!("{offset:020}.{suffix}")
}

/// The offset in the name of a file with this suffix.
pub(crate) fn offset_of(name: &str, suffix: &str) -> Option<i64> {
    let digits = name.strip_suffix(suffix)?.strip_suffix('.')?;
    let well_formed = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| well_formed)
}

/// A segment as its readers and its writer share it. Its files are opened when they are needed.
#[derive(Debug)]
pub(crate) struct Segment {
    pub base_offset: i64,
    dir: Arc<LogPath>,
    /// How much of the log file may be read.
    written_bytes: AtomicU64,
    /// The largest timestamp of its records; [`UNKNOWN_TIMESTAMP`] until somebody has looked.
    largest_timestamp: AtomicI64,
    /// Where the last read from the file ended: relative offset and position, 32 bits each.
    read_to: AtomicU64,
    files: Mutex<Files>,
}

/// How the names of files end that belong to a segment which is no longer part of its log.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";

const UNKNOWN_TIMESTAMP: i64 = i64::MIN;

/// The open files of a segment.
#[derive(Debug, Default)]
struct Files {
    parts: [Option<Arc<dyn File>>; 4],
    /// The segment's place in the list of those that have files open.
    place: Option<u64>,
    /// A file was used since somebody last looked for files to close.
    used: bool,
    /// A file was written to and not synced since.
    unsynced: bool,
    /// A sync has failed. The next one would say nothing about what this one was to write.
    failed: Option<String>,
    names: Names,
}

/// What the names of a segment's files stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Names {
    #[default]
    Itself,
    /// The segment, or the one that is to take its place: nobody could look yet.
    InDoubt,
    /// Nothing, or something else: the segment was removed or replaced.
    Others,
}

/// Keeps everyone from opening the files of a segment.
pub(crate) struct Closed<'a> {
    segment: &'a Segment,
    files: MutexGuard<'a, Files>,
}

impl Closed<'_> {
    /// The segment is not there any more. Those who have a file open can still read it.
    pub fn set_gone(&mut self) {
        self.set_names(Names::Others);
    }

    /// The segment may not be there any more: its files can be opened when that is known.
    pub fn set_in_doubt(&mut self) {
        self.set_names(Names::InDoubt);
    }

    fn set_names(&mut self, names: Names) {
        self.files.names = names;
        self.segment.close_all(&mut self.files);
    }
}

impl Segment {
    pub fn new(dir: Arc<LogPath>, base_offset: i64, written_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            base_offset,
            dir,
            written_bytes: AtomicU64::new(written_bytes),
            largest_timestamp: AtomicI64::new(UNKNOWN_TIMESTAMP),
            read_to: AtomicU64::new(0),
            files: Mutex::default(),
        })
    }

    pub fn path(&self, part: Part) -> PathBuf {
        path(&self.dir, self.base_offset, part)
    }

    pub fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Acquire)
    }

    pub fn set_written_bytes(&self, bytes: u64) {
        self.written_bytes.store(bytes, Ordering::Release);
    }

    /// One of the segment's files, created if it is not there.
    pub fn open(self: &Arc<Self>, fs: &dyn Fs, part: Part) -> io::Result<Arc<dyn File>> {
        let mut files = self.files.lock();
        files.check_names()?;
        if let Some(what) = &files.failed {
            return Err(io::Error::other(what.clone()));
        }
        files.used = true;
        if let Some(file) = &files.parts[part as usize] {
            return Ok(Arc::clone(file));
        }
        let file = fs.open(&self.path(part), Access::Write)?;
        files.parts[part as usize] = Some(Arc::clone(&file));
        let open_files = &self.dir.open_files;
        // Counted first: the thread that the entry wakes looks whether there is anything to close.
        open_files.opened();
        files.place.get_or_insert_with(|| {
            let keeper: Arc<dyn KeepsOpen> = Arc::clone(self) as _;
            open_files.enter(Arc::downgrade(&keeper))
        });
        drop(files);
        open_files.close_surplus();
        Ok(file)
    }

    /// Notes that a file was written to.
    pub fn note_written(&self) {
        self.files.lock().unsynced = true;
        self.dir.open_files.close_surplus();
    }

    /// What was written is about to be synced with the whole file system, which needs no open file.
    pub fn note_syncing(&self) {
        self.files.lock().unsynced = false;
    }

    /// Makes what was written to some of its files durable. Nothing is to be done for a segment that was removed.
    pub fn sync(self: &Arc<Self>, fs: &dyn Fs, parts: &[Part]) -> io::Result<()> {
        for &part in parts {
            match self.open(fs, part).and_then(|file| file.sync_data()) {
                Err(_) if self.is_gone() => return Ok(()),
                synced => synced?,
            }
        }
        self.files.lock().unsynced = false;
        Ok(())
    }

    /// The log file, opened for one reader and past the page cache.
    pub fn open_direct(&self, fs: &dyn Fs) -> io::Result<Arc<dyn File>> {
        let files = self.files.lock();
        files.check_names()?;
        fs.open(&self.path(Part::Log), Access::DirectRead)
    }

    /// Closes the files; they are opened again when needed.
    pub fn close(&self) {
        self.close_all(&mut self.files.lock());
    }

    fn close_all(&self, files: &mut Files) {
        let parts = std::mem::take(&mut files.parts);
        if let Some(place) = files.place.take() {
            let count = parts.iter().flatten().count();
            self.dir.open_files.leave(place, count);
        }
    }

    /// Lets nobody open a file of the segment until the guard is dropped.
    pub fn keep_closed(&self) -> Closed<'_> {
        Closed {
            segment: self,
            files: self.files.lock(),
        }
    }

    /// Whether it was removed or replaced: what was planned with it has to be planned again.
    pub fn is_gone(&self) -> bool {
        self.files.lock().names == Names::Others
    }

    /// The largest timestamp of a closed segment, in ms; `None` if that is not known without reading its index.
    pub fn known_largest_timestamp(&self) -> Option<i64> {
        let timestamp = self.largest_timestamp.load(Ordering::Relaxed);
        (timestamp != UNKNOWN_TIMESTAMP).then_some(timestamp)
    }

    pub fn set_largest_timestamp(&self, timestamp: i64) {
        self.largest_timestamp.store(timestamp, Ordering::Relaxed);
    }

    /// Finds out the largest timestamp of a closed segment. One whose records have none counts from `now_ms`.
    pub fn find_largest_timestamp(&self, fs: &dyn Fs, now_ms: i64) -> io::Result<i64> {
        if let Some(known) = self.known_largest_timestamp() {
            return Ok(known);
        }
        let file = fs::if_found(fs.open(&self.path(Part::TimeIndex), Access::Read))?;
        let last = file.map(|file| time_index::last(&*file)).transpose()?;
        let timestamp = last.flatten().map_or(now_ms, |last| last.timestamp);
        self.set_largest_timestamp(timestamp);
        Ok(timestamp)
    }

    /// Notes that the batch with `next_offset`, or the first one behind it, begins at a position. The reader will go on
    /// there, and an index would only lead to a batch before it.
    pub fn note_read(&self, next_offset: i64, position: u64) {
        let relative = u32::try_from(next_offset - self.base_offset);
        if let (Ok(relative), Ok(position)) = (relative, u32::try_from(position)) {
            let read_to = u64::from(relative) << 32 | u64::from(position);
            self.read_to.store(read_to, Ordering::Relaxed);
        }
    }

    /// Position from which to look for an offset.
    pub fn position_before(self: &Arc<Self>, fs: &dyn Fs, offset: i64) -> io::Result<u64> {
        let entry = self.entry_before(fs, offset)?;
        Ok(entry.map_or(0, |entry| u64::from(entry.position)))
    }

    /// Where the last read ended, if it ended before `offset`.
    pub fn position_of_next_read(&self, offset: i64) -> Option<u64> {
        let read_to = self.read_to.load(Ordering::Relaxed);
        let next_offset = self.base_offset + (read_to >> 32) as i64;
        (read_to > 0 && next_offset == offset).then_some(read_to & u64::from(u32::MAX))
    }

    /// The entry of the index from which to look for an offset; `None` for the segment's start.
    pub fn entry_before(
        self: &Arc<Self>,
        fs: &dyn Fs,
        offset: i64,
    ) -> io::Result<Option<OffsetEntry>> {
        // An offset in a gap before the segment is looked for from its start.
        let relative = offset.saturating_sub(self.base_offset).max(0);
        let relative = u32::try_from(relative).unwrap_or(u32::MAX);
        let index = self.open(fs, Part::OffsetIndex)?;
        let entry = offset_index::lookup(&*index, relative)?;
        // An index is not trusted: what points behind the data is as good as nothing.
        Ok(entry.filter(|entry| u64::from(entry.position) < self.written_bytes()))
    }
}

impl KeepsOpen for Segment {
    /// Closes the files, unless they were used since the last call.
    ///
    /// That a write was lost is reported for certain only to a process that has the file open, or to one that syncs the
    /// whole file system. So a file is synced before it is closed, unless the next checkpoint can sync the whole file
    /// system. Without `may_sync` a file that would have to be synced is left alone.
    fn give_way(&self, may_sync: bool) {
        // Whoever holds the lock uses the files.
        let Some(mut files) = self.files.try_lock() else {
            return;
        };
        if std::mem::take(&mut files.used) {
            return;
        }
        if files.unsynced && self.dir.open_files.may_close_unsynced() {
            files.unsynced = false;
        }
        if files.unsynced && !may_sync {
            return;
        }
        if std::mem::take(&mut files.unsynced) {
            let mut open = files.parts.iter().flatten();
            if let Err(error) = open.try_for_each(|file| file.sync_data()) {
                files.failed = Some(format!("{}: {error}", self.path(Part::Log).display()));
            }
        }
        self.close_all(&mut files);
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.close();
    }
}

impl Files {
    fn check_names(&self) -> io::Result<()> {
        match self.names {
            Names::Itself => Ok(()),
            Names::InDoubt => Err(rustix::io::Errno::AGAIN.into()),
            Names::Others => {
                let what = "the segment was removed or replaced";
                Err(io::Error::new(io::ErrorKind::NotFound, what))
            }
        }
    }
}

pub(crate) fn path(dir: &Path, base_offset: i64, part: Part) -> PathBuf {
    dir.join(file_name(base_offset, part.suffix()))
}

/// A batch about to be appended, as far as segments care.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    pub last_offset: i64,
    pub max_timestamp: i64,
    pub bytes: u64,
}

/// Entries for the two indexes, made when a batch is appended and written with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexEntries {
    pub offset: OffsetEntry,
    pub time: Option<TimeEntry>,
}

/// A segment whose end has not been written yet: what the next append to it needs to know.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub segment: Arc<Segment>,
    /// A number that looks drawn by lot, not negative, and is always the same for one segment.
    jitter: i64,
    /// Bytes in the segment, including those that are still to be written.
    pub bytes: u64,
    /// Largest timestamp of the first batch: what `segment.ms` counts from.
    pub first_timestamp: Option<i64>,
    pub created_ms: i64,
    pub max_timestamp: i64,
    pub offset_of_max_timestamp: i64,
    pub bytes_since_index_entry: u64,
    /// Entries in the index files and in `pending`.
    pub offset_entries: u64,
    pub time_entries: u64,
    pub last_time_entry: Option<TimeEntry>,
    pub pending: VecDeque<IndexEntries>,
    pub pending_aborted: Vec<AbortedTxn>,
}

impl OpenSegment {
    pub fn new(segment: Arc<Segment>, now_ms: i64) -> Self {
        let mut hasher = DefaultHasher::new();
        segment.path(Part::Log).hash(&mut hasher);
        Self {
            segment,
            jitter: (hasher.finish() >> 1) as i64,
            bytes: 0,
            first_timestamp: None,
            created_ms: now_ms,
            max_timestamp: -1,
            offset_of_max_timestamp: -1,
            bytes_since_index_entry: 0,
            offset_entries: 0,
            time_entries: 0,
            last_time_entry: None,
            pending: VecDeque::new(),
            pending_aborted: Vec::new(),
        }
    }

    /// Whether it begins at `offset` and has nothing in it.
    pub fn starts_at(&self, offset: i64) -> bool {
        self.bytes == 0 && self.segment.base_offset == offset
    }

    /// What retention counts from, in ms.
    pub fn largest_timestamp(&self) -> i64 {
        if self.max_timestamp >= 0 {
            self.max_timestamp
        } else {
            self.created_ms
        }
    }

    /// Whether the batch has to go into a new segment (LogSegment.shouldRoll).
    pub fn must_roll(&self, config: &LogConfig, batch: &Incoming, now_ms: i64) -> bool {
        if self.bytes == 0 {
            return false;
        }
        let waited_ms = match self.first_timestamp {
            Some(first) if first >= 0 => batch.max_timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(self.created_ms),
        };
        let index_bytes = config.segment_index_bytes;
        self.bytes + batch.bytes > config.segment_bytes.min(SEGMENT_LIMIT_BYTES)
            || waited_ms > config.roll_ms() - self.jitter_ms(config)
            || (self.offset_entries + 1) * offset_index::ENTRY_BYTES as u64 > index_bytes
            || (self.time_entries + 2) * time_index::ENTRY_BYTES as u64 > index_bytes
            || batch.last_offset - self.segment.base_offset > i64::from(i32::MAX)
    }

    /// How much sooner the segment ends than `segment.ms` says: anything below `segment.jitter.ms`, of one segment always the
    /// same (LogConfig.randomSegmentJitter).
    fn jitter_ms(&self, config: &LogConfig) -> i64 {
        let limit_ms = config.segment_jitter_ms.min(config.segment_ms);
        self.jitter % limit_ms.max(1)
    }

    /// Takes a batch in and returns its position.
    pub fn append(&mut self, batch: &Incoming, index_interval_bytes: u64) -> u64 {
        let position = self.bytes;
        self.first_timestamp.get_or_insert(batch.max_timestamp);
        if batch.max_timestamp > self.max_timestamp {
            self.max_timestamp = batch.max_timestamp;
            self.offset_of_max_timestamp = batch.last_offset;
        }
        if self.bytes_since_index_entry > index_interval_bytes
            && let Ok(file_position) = u32::try_from(position)
        {
            let offset = OffsetEntry {
                relative_offset: self.relative(batch.last_offset),
                position: file_position,
            };
            let time = self.next_time_entry();
            self.offset_entries += 1;
            self.pending.push_back(IndexEntries { offset, time });
            self.bytes_since_index_entry = 0;
        }
        self.bytes += batch.bytes;
        self.bytes_since_index_entry += batch.bytes;
        position
    }

    /// The entry that ends the time index: without it a look-up would miss the last batches.
    pub fn next_time_entry(&mut self) -> Option<TimeEntry> {
        let newer = self
            .last_time_entry
            .is_none_or(|last| self.max_timestamp > last.timestamp);
        if self.max_timestamp < 0 || !newer {
            return None;
        }
        let entry = TimeEntry {
            timestamp: self.max_timestamp,
            relative_offset: self.relative(self.offset_of_max_timestamp),
        };
        self.last_time_entry = Some(entry);
        self.time_entries += 1;
        Some(entry)
    }

    /// Where a batch goes that is appended next.
    pub fn place(&self, base_offset: i64) -> Place {
        Place {
            relative_offset: self.relative(base_offset),
            position: u32::try_from(self.bytes).unwrap_or(u32::MAX),
        }
    }

    fn relative(&self, offset: i64) -> u32 {
        u32::try_from(offset - self.segment.base_offset).unwrap_or(u32::MAX)
    }
}
