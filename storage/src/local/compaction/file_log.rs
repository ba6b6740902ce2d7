//! Compaction of a log on files: reads its closed segments, writes the cleaned ones, and lets them take their place.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::compaction::{CleanedSegment, CompactableLog, LastRecord, LogBounds, SegmentSummary};
use crate::env::fs::{self, Access, File, Fs};
use crate::env::sync::thread;
use crate::local::file_log::FileLog;
use crate::local::file_log::state::{Phase, State, TailBatch};
use crate::local::loader::gaps::note_gaps;
use crate::local::segment::open_files::LogPath;
use crate::local::segment::swap;
use crate::local::segment::writer::SegmentWriter;
use crate::local::segment::{Closed, Incoming, OpenSegment, Part, Segment, offset_of, path};
use crate::log::LogConfig;
use crate::log::transaction_index::{self, AbortedTxn};
use crate::record::BatchHeader;
use crate::record::batch::BATCH_HEADER_BYTES;

/// How often to look whether what producers have sent has arrived.
const ARRIVAL_PAUSE: Duration = Duration::from_millis(1);
/// How much is read or written at once.
const BUFFER_BYTES: usize = 1 << 20;

impl FileLog {
    /// Lets the cleaner look at a compacted log that was not looked at yet.
    pub fn may_be_dirty(&self) {
        if self.state.lock().config.compact {
            let mut dirty = self.shared.dirty.lock();
            dirty.insert(self.log_id);
        }
    }

    /// Loads the log if there may be something to compact. One segment is not enough: the log is appended to there.
    pub fn load_if_dirty(self: &Arc<Self>) -> io::Result<()> {
        if !matches!(self.state.lock().phase, Phase::Unloaded) {
            return Ok(());
        }
        let names = fs::if_found(self.shared.fs.list(&self.dir))?.unwrap_or_default();
        let is_segment =
            |entry: &&fs::DirEntry| offset_of(&entry.name, Part::Log.suffix()).is_some();
        if names.iter().filter(is_segment).nth(1).is_some() {
            drop(self.state());
        }
        Ok(())
    }

    /// What decides whether and how far the log is compacted; `None` if it is not to be.
    pub fn compaction_bounds(&self) -> Option<(LogBounds, Arc<LogConfig>)> {
        let state = self.state.lock();
        if !matches!(state.phase, Phase::Ready) || !state.config.compact {
            return None;
        }
        let offsets = state.offsets();
        let bounds = LogBounds {
            log_start_offset: offsets.log_start_offset,
            last_stable_offset: offsets.last_stable_offset,
            log_end_offset: offsets.log_end_offset,
            active_base_offset: first_open(&state),
        };
        Some((bounds, Arc::clone(&state.config)))
    }

    /// Whether there is a segment that takes no more appends, but has not been written to its end.
    pub fn has_rolled_segment(&self) -> bool {
        self.state.lock().open.len() > 1
    }

    fn closed(&self) -> Vec<Arc<Segment>> {
        let state = self.state.lock();
        let end = first_open(&state);
        let closed = state.segments.iter();
        closed
            .take_while(|segment| segment.base_offset < end)
            .cloned()
            .collect()
    }

    /// The closed segments, as far as it takes to decide whether the log is due.
    pub fn summaries(&self, config: &LogConfig) -> io::Result<Vec<SegmentSummary>> {
        let fs = &*self.shared.fs;
        let now_ms = self.shared.clock.now_ms();
        self.closed()
            .iter()
            .map(|segment| {
                Ok(SegmentSummary {
                    base_offset: segment.base_offset,
                    size_bytes: segment.written_bytes(),
                    offset_index_bytes: 0,
                    time_index_bytes: 0,
                    largest_timestamp: match config.min_compaction_lag_ms {
                        0 => 0,
                        _ => segment.find_largest_timestamp(fs, now_ms)?,
                    },
                    first_batch_timestamp: match config.max_compaction_lag_ms {
                        i64::MAX => -1,
                        _ => first_timestamp(fs, segment)?,
                    },
                })
            })
            .collect()
    }

    /// What must remain of each producer that is still remembered. The next checkpoint makes all of it durable.
    pub fn last_records(&self) -> io::Result<HashMap<i64, LastRecord>> {
        let (last, end_offset) = {
            let state = self.state.lock();
            let producers = state.producers.producers();
            let last = producers.map(|producer| {
                let last = LastRecord {
                    last_data_offset: producer.batches().last().map(|batch| batch.last_offset),
                    producer_epoch: producer.producer_epoch,
                };
                (producer.producer_id, last)
            });
            (last.collect(), state.log_end_offset)
        };
        // A checkpoint passes over what is on its way to the write-ahead log.
        loop {
            {
                let state = self.state.lock();
                if !matches!(state.phase, Phase::Ready) {
                    return Err(io::Error::other("the log was deleted"));
                }
                if state.high_watermark >= end_offset {
                    return Ok(last);
                }
            }
            if let Some(error) = self.shared.wal.refused() {
                return Err(io::Error::other(error.to_string()));
            }
            thread::sleep(ARRIVAL_PAUSE);
        }
    }

    fn size_of(&self, segment: &Segment, part: Part) -> u64 {
        let file = self.shared.fs.open(&segment.path(part), Access::Read);
        file.and_then(|file| file.size_bytes()).unwrap_or(0)
    }
}

fn first_open(state: &State) -> i64 {
    let open = state.open.front();
    open.map_or(state.log_end_offset, |open| open.segment.base_offset)
}

fn first_timestamp(fs: &dyn Fs, segment: &Segment) -> io::Result<i64> {
    let mut header = [0; BATCH_HEADER_BYTES];
    let file = fs.open(&segment.path(Part::Log), Access::Read)?;
    let read = file.read_at(&mut header, 0)?;
    Ok(BatchHeader::parse(&header[..read]).map_or(-1, |header| header.max_timestamp))
}

impl CompactableLog for FileLog {
    type Cleaned = CleanedFile;

    fn closed_segments(&self) -> Vec<SegmentSummary> {
        self.closed()
            .iter()
            .map(|segment| SegmentSummary {
                base_offset: segment.base_offset,
                size_bytes: segment.written_bytes(),
                offset_index_bytes: self.size_of(segment, Part::OffsetIndex),
                time_index_bytes: self.size_of(segment, Part::TimeIndex),
                largest_timestamp: 0,
                first_batch_timestamp: 0,
            })
            .collect()
    }

    fn read(
        &self,
        segment_base_offset: i64,
        offset: i64,
    ) -> io::Result<impl Iterator<Item = io::Result<Bytes>>> {
        let closed = self.closed();
        let segment = closed
            .iter()
            .find(|segment| segment.base_offset == segment_base_offset)
            .ok_or(io::ErrorKind::NotFound)?;
        let path = segment.path(Part::Log);
        let from = if offset <= segment_base_offset {
            0
        } else {
            segment.position_before(&*self.shared.fs, offset)?
        };
        Ok(Batches {
            file: self.shared.fs.open(&path, Access::Read)?,
            path,
            position: from,
            end: segment.written_bytes(),
            window: Bytes::new(),
        })
    }

    fn aborted_transactions(&self, from: i64, end: i64) -> io::Result<Vec<AbortedTxn>> {
        let state = self.state.lock();
        let aborted = state.aborted.iter();
        Ok(aborted
            .filter(|txn| txn.last_offset >= from && txn.first_offset < end)
            .copied()
            .collect())
    }

    fn create_cleaned(&self, base_offset: i64) -> io::Result<CleanedFile> {
        let fs = Arc::clone(&self.shared.fs);
        swap::discard(&*fs, &self.dir, base_offset)?;
        let segment = Segment::new(Arc::clone(&self.dir), base_offset, 0);
        let interval_bytes = self.state.lock().config.index_interval_bytes;
        Ok(CleanedFile {
            log: fs.open(
                &swap::path(&self.dir, base_offset, "log", swap::CLEANED),
                Access::Write,
            )?,
            fs,
            dir: Arc::clone(&self.dir),
            index: OpenSegment::new(segment, self.shared.clock.now_ms()),
            index_interval_bytes: interval_bytes,
            buffer: Vec::new(),
            written_bytes: 0,
        })
    }

    fn replace(
        &self,
        cleaned: CleanedFile,
        aborted: &[AbortedTxn],
        replaced: &[i64],
    ) -> io::Result<()> {
        let base_offset = cleaned.index.segment.base_offset;
        cleaned.finish(aborted)?;
        // The directory of a deleted log is renamed under this lock.
        let writer = self.writer.lock();
        let (old, end_offset) = {
            let state = self.state.lock();
            if !matches!(state.phase, Phase::Ready) {
                return Err(io::Error::other("the log was deleted"));
            }
            let is_replaced = |segment: &&Arc<Segment>| replaced.contains(&segment.base_offset);
            let old: Vec<_> = state.segments.iter().filter(is_replaced).cloned().collect();
            let last = replaced.last().copied().unwrap_or(base_offset);
            let next = state.segments.iter().find(|next| next.base_offset > last);
            (old, next.map_or(i64::MAX, |next| next.base_offset))
        };
        let fs = &*self.shared.fs;
        if self.state.lock().gaps_below < end_offset {
            note_gaps(fs, &self.dir, end_offset)?;
            let mut state = self.state.lock();
            state.may_have_gaps = true;
            state.gaps_below = end_offset;
        }
        let mut closed: Vec<_> = old.iter().map(|segment| segment.keep_closed()).collect();
        let swapped = swap::replace(fs, &self.dir, base_offset, replaced);
        // Either the old or the new ones are there.
        closed.iter_mut().for_each(Closed::set_in_doubt);
        self.state.lock().in_doubt = Some(base_offset..end_offset);
        drop(closed);
        let settled = self.settle_segments_as(&writer);
        swapped.and(settled)
    }

    fn discard(&self, cleaned: CleanedFile) -> io::Result<()> {
        let base_offset = cleaned.index.segment.base_offset;
        drop(cleaned);
        swap::discard(&*self.shared.fs, &self.dir, base_offset)
    }
}

impl FileLog {
    /// Finds out which segments there are, if some were to be replaced and it is not known whether they were.
    ///
    /// # Errors
    /// No descriptor or no memory was left to look. Until somebody has looked the log goes on without these segments: their
    /// readers are refused, and nothing is removed or compacted.
    pub fn settle_segments(&self) -> io::Result<()> {
        if self.state.lock().in_doubt.is_none() {
            return Ok(());
        }
        self.settle_segments_as(&self.writer.lock())
    }

    /// Like [`FileLog::settle_segments`], for a caller that holds the writer's lock. The directory of a deleted log is renamed
    /// under that lock.
    pub fn settle_segments_as(&self, _writer: &SegmentWriter) -> io::Result<()> {
        let (in_doubt, old) = {
            let state = self.state.lock();
            let Some(in_doubt) = state.in_doubt.clone() else {
                return Ok(());
            };
            let segments = state.segments.iter();
            let old = segments.filter(|segment| in_doubt.contains(&segment.base_offset));
            (in_doubt.clone(), old.cloned().collect::<Vec<_>>())
        };
        let found = swap::recover(&*self.shared.fs, &self.dir)
            .and_then(|_| self.find_segments(in_doubt.start, in_doubt.end));
        if let Err(error) = &found
            && fs::is_passing(error)
        {
            return found.map(|_| ());
        }
        let mut closed: Vec<_> = old.iter().map(|segment| segment.keep_closed()).collect();
        closed.iter_mut().for_each(Closed::set_gone);
        let mut state = self.state.lock();
        state.in_doubt = None;
        let outdated = match found {
            _ if !matches!(state.phase, Phase::Ready) => Vec::new(),
            Ok((segments, aborted)) => state.exchange(in_doubt, segments, aborted),
            Err(error) => {
                let what = format!("{} while segments were replaced: {error}", self.id);
                tracing::error!(partition = %self.id, %error, "segments were replaced, and the log cannot be used");
                state.phase = Phase::Unusable(what);
                Vec::new()
            }
        };
        drop(state);
        drop(outdated);
        Ok(())
    }

    /// The segments with these base offsets that are in the directory, and the aborted transactions of their indexes.
    fn find_segments(
        &self,
        from: i64,
        end: i64,
    ) -> io::Result<(Vec<Arc<Segment>>, Vec<AbortedTxn>)> {
        let fs = &*self.shared.fs;
        let mut offsets: Vec<i64> = fs
            .list(&self.dir)?
            .iter()
            .filter_map(|entry| offset_of(&entry.name, Part::Log.suffix()))
            .filter(|offset| (from..end).contains(offset))
            .collect();
        offsets.sort_unstable();
        let mut segments = Vec::new();
        let mut aborted = Vec::new();
        for offset in offsets {
            let log = fs.open(&path(&self.dir, offset, Part::Log), Access::Read)?;
            segments.push(Segment::new(
                Arc::clone(&self.dir),
                offset,
                log.size_bytes()?,
            ));
            let index = path(&self.dir, offset, Part::TransactionIndex);
            let index = fs::if_found(fs::read_all(fs, &index))?.unwrap_or_default();
            aborted.extend(transaction_index::parse(&index));
        }
        Ok((segments, aborted))
    }
}

impl State {
    /// Lets segments take the place of those with a base offset in `range`.
    ///
    /// Batches of the old segments, and of all before them, leave memory too: they may be of aborted transactions that
    /// nothing tells of any more. They are returned so that their memory is freed without the lock.
    fn exchange(
        &mut self,
        range: std::ops::Range<i64>,
        segments: Vec<Arc<Segment>>,
        aborted: Vec<AbortedTxn>,
    ) -> Vec<TailBatch> {
        let bytes = |segments: &[Arc<Segment>]| -> u64 {
            segments.iter().map(|segment| segment.written_bytes()).sum()
        };
        let from = self
            .segments
            .partition_point(|segment| segment.base_offset < range.start);
        let to = self
            .segments
            .partition_point(|segment| segment.base_offset < range.end);
        let new_bytes = bytes(&segments);
        let old: Vec<_> = self.segments.splice(from..to, segments).collect();
        self.size_bytes = (self.size_bytes + new_bytes).saturating_sub(bytes(&old));
        let from = self
            .aborted
            .partition_point(|txn| txn.last_offset < range.start);
        let to = self
            .aborted
            .partition_point(|txn| txn.last_offset < range.end);
        self.aborted.splice(from..to, aborted);
        self.drop_tail_while(|batch| batch.base_offset < range.end)
    }
}

/// The batches of a file, one by one.
struct Batches {
    file: Arc<dyn File>,
    path: PathBuf,
    position: u64,
    end: u64,
    /// What was read from `position` on.
    window: Bytes,
}

impl Batches {
    fn read_next(&mut self) -> io::Result<Bytes> {
        let malformed = |what: String| {
            let what = format!("{} at {}: {what}", self.path.display(), self.position);
            io::Error::new(io::ErrorKind::InvalidData, what)
        };
        let mut wanted = BATCH_HEADER_BYTES;
        // Once for the header, once more for a batch that is larger than the buffer.
        for _ in 0..3 {
            if self.window.len() >= BATCH_HEADER_BYTES {
                let header = BatchHeader::parse(&self.window)
                    .map_err(|error| malformed(error.to_string()))?;
                wanted = header.size_bytes();
                if self.window.len() >= wanted {
                    self.position += wanted as u64;
                    return Ok(self.window.split_to(wanted));
                }
            }
            let left = self.end - self.position;
            if wanted as u64 > left {
                return Err(malformed(format!("{wanted} bytes of a batch, {left} left")));
            }
            let length = left.min(wanted.max(BUFFER_BYTES) as u64) as usize;
            let mut window = BytesMut::zeroed(length);
            if self.file.read_at(&mut window, self.position)? < length {
                return Err(malformed("the file ends too early".to_owned()));
            }
            self.window = window.freeze();
        }
        Err(malformed("a batch cannot be read".to_owned()))
    }
}

impl Iterator for Batches {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.end {
            return None;
        }
        let batch = self.read_next();
        if batch.is_err() {
            self.position = self.end;
        }
        Some(batch)
    }
}

/// A segment that is being written, under names that end in `.cleaned`.
pub struct CleanedFile {
    fs: Arc<dyn Fs>,
    dir: Arc<LogPath>,
    log: Arc<dyn File>,
    /// The segment to be. It collects the entries of its indexes.
    index: OpenSegment,
    index_interval_bytes: u64,
    buffer: Vec<u8>,
    written_bytes: u64,
}

impl CleanedSegment for CleanedFile {
    fn append(&mut self, header: &BatchHeader, batch: &Bytes) -> io::Result<()> {
        let incoming = Incoming {
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
            bytes: batch.len() as u64,
        };
        self.index.append(&incoming, self.index_interval_bytes);
        self.buffer.extend_from_slice(batch);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }
}

impl CleanedFile {
    fn flush(&mut self) -> io::Result<()> {
        self.log.write_at(&[&self.buffer], self.written_bytes)?;
        self.written_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the indexes and makes everything durable.
    fn finish(mut self, aborted: &[AbortedTxn]) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        self.log.sync_data()?;
        let last_time = self.index.next_time_entry();
        let entries = &self.index.pending;
        let offsets: Vec<u8> = entries.iter().flat_map(|e| e.offset.encode()).collect();
        let times: Vec<u8> = entries
            .iter()
            .filter_map(|entries| entries.time)
            .chain(last_time)
            .flat_map(|time| time.encode())
            .collect();
        let aborted: Vec<u8> = aborted.iter().flat_map(AbortedTxn::encode).collect();
        self.write_part("index", &offsets)?;
        self.write_part("timeindex", &times)?;
        if !aborted.is_empty() {
            self.write_part("txnindex", &aborted)?;
        }
        Ok(())
    }

    fn write_part(&self, part: &str, bytes: &[u8]) -> io::Result<()> {
        let dir: &Path = &self.dir;
        let path = swap::path(dir, self.index.segment.base_offset, part, swap::CLEANED);
        let file = self.fs.open(&path, Access::Write)?;
        file.write_at(&[bytes], 0)?;
        file.sync_data()
    }
}
