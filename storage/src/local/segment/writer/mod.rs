//! Writes the segment files of one log, behind the write-ahead log.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::env::fs::{self, Access, File, Fs};
use crate::local::owner::METADATA_FILE;
use crate::local::segment::direct::DirectIo;
use crate::local::segment::offset_index;
use crate::local::segment::open_files::LogPath;
use crate::local::segment::time_index::{self, TimeEntry};
use crate::local::segment::{self, IndexEntries, Part, Segment, file_name};
use crate::local::text_files::{partition_metadata, topic_id_of};
use crate::local::wal::chunk::ChunkSlice;
use crate::log::TopicPartition;
use crate::log::producer_state::snapshot;
use crate::log::transaction_index::AbortedTxn;

/// Batches that follow each other in one segment, and the index entries that go with them.
pub(crate) struct Run {
    pub segment: Arc<Segment>,
    pub position: u64,
    /// Those that lie next to each other in memory are one slice.
    pub batches: Vec<ChunkSlice>,
    pub bytes: u64,
    /// The offset after the last batch.
    pub end_offset: i64,
    pub index: Vec<IndexEntries>,
    /// How many entries the index files have before these.
    pub offset_entries_before: u64,
    pub time_entries_before: u64,
    pub aborted: Vec<AbortedTxn>,
    /// The segment ends here; the entry that closes its time index.
    pub finish: Option<Option<TimeEntry>>,
}

/// The producers of a log at an offset, as bytes.
pub(crate) struct Snapshot {
    pub offset: i64,
    pub sidecar: Vec<u8>,
    /// The content of a file that Kafka reads, too. Without it this is a note for the next start.
    pub kafka: Option<Vec<u8>>,
}

/// The suffix of Kafka's producer snapshot, and of the file beside it that remembers more batches.
pub(crate) const SNAPSHOT_SUFFIX: &str = "snapshot";
pub(crate) const SIDECAR_SUFFIX: &str = "producers";
/// Sidecars that checkpoints overwrite in turn. They are not synced: a torn or old one costs the next start reading.
pub(crate) const NOTES: [&str; 2] = ["producers-a", "producers-b"];
pub(crate) const EPOCHS_FILE: &str = "leader-epoch-checkpoint";
const NEW_EPOCHS_FILE: &str = "leader-epoch-checkpoint.tmp";

/// The files that are not durable yet.
#[derive(Default)]
struct Unsynced {
    /// The segment that is being written, if it was written to.
    current: Option<Arc<Segment>>,
    /// Segments that were written to their end.
    segments: Vec<Arc<Segment>>,
    files: Vec<PathBuf>,
    snapshots: usize,
    names: bool,
    /// The directory itself is new: the one above has to be synced.
    dir: bool,
    /// The file of the epochs is to be replaced when the new one is durable.
    epochs: bool,
}

impl Unsynced {
    /// Adds the files of a later write.
    fn add(&mut self, mut later: Self) {
        // A segment that has come to its end since is among `segments`.
        self.current = later.current.or_else(|| self.current.take());
        self.segments.append(&mut later.segments);
        self.files.append(&mut later.files);
        self.snapshots += later.snapshots;
        self.names |= later.names;
        self.dir |= later.dir;
        self.epochs |= later.epochs;
    }
}

/// The one writer of a log's directory.
pub(crate) struct SegmentWriter {
    fs: Arc<dyn Fs>,
    direct_io: Arc<DirectIo>,
    id: TopicPartition,
    dir: Arc<LogPath>,
    dir_exists: bool,
    current: Option<Arc<Segment>>,
    unsynced: Unsynced,
    /// What a sync of the whole file system is under way for.
    syncing: Unsynced,
    /// In the order of their offsets; those that are not durable yet are the last.
    snapshots: Vec<i64>,
    /// The offset of each note.
    notes: [Option<i64>; 2],
    /// Recovery does not begin before this offset, and takes the snapshots up to it.
    checkpointed: i64,
}

impl SegmentWriter {
    pub fn new(
        fs: Arc<dyn Fs>,
        direct_io: Arc<DirectIo>,
        id: TopicPartition,
        dir: Arc<LogPath>,
    ) -> Self {
        Self {
            fs,
            direct_io,
            id,
            dir,
            dir_exists: false,
            current: None,
            unsynced: Unsynced::default(),
            syncing: Unsynced::default(),
            snapshots: Vec::new(),
            notes: [None; 2],
            checkpointed: 0,
        }
    }

    /// Makes the directory, and says in it whose it is before anything else is in it.
    fn ensure_dir(&mut self) -> io::Result<()> {
        if self.dir_exists {
            return Ok(());
        }
        let metadata = self.dir.join(METADATA_FILE);
        let found = fs::if_found(fs::read_all(&*self.fs, &metadata))?;
        let text = String::from_utf8_lossy(found.as_deref().unwrap_or_default());
        // A crash may have left it there without its content, or with a part of it.
        if topic_id_of(&text).is_none() {
            self.fs.create_dir_all(&self.dir)?;
            self.unsynced.dir = true;
            let file = self.fs.open(&metadata, Access::Write)?;
            file.set_len(0)?;
            file.write_at(&[partition_metadata(self.id.topic_id).as_bytes()], 0)?;
            self.unsynced.files.push(metadata);
            self.unsynced.names = true;
        }
        self.dir_exists = true;
        Ok(())
    }

    /// Writes a run; it is durable after [`SegmentWriter::sync`].
    pub fn write(&mut self, run: &Run) -> io::Result<()> {
        self.ensure_dir()?;
        let fs = Arc::clone(&self.fs);
        let (fs, segment) = (&*fs, &run.segment);
        if self
            .current
            .as_ref()
            .is_none_or(|current| !Arc::ptr_eq(current, segment))
        {
            if run.position == 0 {
                // Kafka expects both, even if they are empty.
                for part in [Part::OffsetIndex, Part::TimeIndex] {
                    fs.open(&segment.path(part), Access::Write)?;
                }
                self.unsynced.names = true;
            }
            self.current = Some(Arc::clone(segment));
        }
        let log = segment.open(fs, Part::Log)?;
        if !run.batches.is_empty() {
            self.write_batches(&*log, run)?;
            segment.set_written_bytes(run.position + run.bytes);
            self.unsynced.current = Some(Arc::clone(segment));
        }
        if !run.index.is_empty() {
            let entries: Vec<u8> = run
                .index
                .iter()
                .flat_map(|entries| entries.offset.encode())
                .collect();
            segment.open(fs, Part::OffsetIndex)?.write_at(
                &[&entries],
                run.offset_entries_before * offset_index::ENTRY_BYTES as u64,
            )?;
        }
        let times: Vec<u8> = run
            .index
            .iter()
            .filter_map(|entries| entries.time)
            .chain(run.finish.flatten())
            .flat_map(TimeEntry::encode)
            .collect();
        if !times.is_empty() {
            segment.open(fs, Part::TimeIndex)?.write_at(
                &[&times],
                run.time_entries_before * time_index::ENTRY_BYTES as u64,
            )?;
        }
        if !run.aborted.is_empty() {
            let entries: Vec<u8> = run.aborted.iter().flat_map(AbortedTxn::encode).collect();
            let file = segment.open(fs, Part::TransactionIndex)?;
            file.write_at(&[&entries], file.size_bytes()?)?;
            self.unsynced
                .files
                .push(segment.path(Part::TransactionIndex));
            self.unsynced.names = true;
        }
        segment.note_written();
        if run.finish.is_some() {
            // A segment that is read only from now on is made durable whole, indexes included.
            self.unsynced.segments.push(Arc::clone(segment));
            self.unsynced.current = None;
            self.current = None;
        }
        Ok(())
    }

    fn write_batches(&self, log: &dyn File, run: &Run) -> io::Result<()> {
        let slices: Vec<&[u8]> = run.batches.iter().map(ChunkSlice::as_slice).collect();
        if !self.direct_io.wants_write(run.position, run.bytes) {
            return log.write_at(&slices, run.position);
        }
        // For this write only: kept open, it would count as one more file of the segment.
        let path = run.segment.path(Part::Log);
        match self.direct_io.open(&*self.fs, &path)? {
            Some(direct) => self.direct_io.write(log, &*direct, &slices, run.position),
            None => log.write_at(&slices, run.position),
        }
    }

    /// Creates the files of a segment that has no batches yet: its name says where the log ends.
    pub fn create_segment(&mut self, segment: &Arc<Segment>) -> io::Result<()> {
        self.ensure_dir()?;
        for part in [Part::OffsetIndex, Part::TimeIndex, Part::Log] {
            segment.open(&*self.fs, part)?;
        }
        segment.close();
        self.unsynced.names = true;
        Ok(())
    }

    /// Writes the producers' snapshot for an offset that has been written.
    pub fn write_snapshot(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        self.ensure_dir()?;
        let Some(kafka) = &snapshot.kafka else {
            return self.write_note(snapshot);
        };
        if self.has_snapshot_from(snapshot.offset) {
            // The file there says the same. Overwritten, it would not be durable for a while.
            return Ok(());
        }
        for (suffix, bytes) in [
            (SIDECAR_SUFFIX, &snapshot.sidecar),
            (SNAPSHOT_SUFFIX, kafka),
        ] {
            let path = self.dir.join(file_name(snapshot.offset, suffix));
            let file = self.fs.open(&path, Access::Write)?;
            file.set_len(0)?;
            file.write_at(&[bytes], 0)?;
            self.unsynced.files.push(path);
        }
        self.unsynced.names = true;
        self.unsynced.snapshots += 1;
        self.snapshots.push(snapshot.offset);
        Ok(())
    }

    /// Writes a note over the one that is not needed any more. Recovery takes the newest note from before the place where
    /// it begins.
    fn write_note(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let [a, b] = self.notes;
        let (older, newer) = if a <= b { (0, 1) } else { (1, 0) };
        let is_wanted = self.notes[newer].is_some_and(|newer| newer <= self.checkpointed);
        let place = if is_wanted || self.notes[older].is_none() {
            older
        } else {
            newer
        };
        self.notes[place] = None;
        let file = self.fs.open(&self.dir.join(NOTES[place]), Access::Write)?;
        file.write_at(&[&snapshot.sidecar], 0)?;
        let bytes = snapshot.sidecar.len() as u64;
        // Not beforehand: some file systems take that for a reason to write the file out at once.
        if file.size_bytes()? > bytes {
            file.set_len(bytes)?;
        }
        self.notes[place] = Some(snapshot.offset);
        Ok(())
    }

    /// Takes over the snapshots that were found. Recovery would leave the log alone up to `checkpointed`.
    ///
    /// If what was found in the directory may not be `durable`, the next sync makes it so: the snapshots, and the names of all
    /// files. A process that was killed may have renamed an index or removed a note, and the next checkpoint relies on that.
    pub fn known_snapshots(
        &mut self,
        offsets: Vec<i64>,
        notes: [Option<i64>; 2],
        checkpointed: i64,
        durable: bool,
    ) {
        if !durable {
            let files = offsets.iter().flat_map(|offset| {
                [SIDECAR_SUFFIX, SNAPSHOT_SUFFIX].map(|suffix| file_name(*offset, suffix))
            });
            let files = files.map(|name| self.dir.join(name));
            // Kafka has written no sidecar.
            let is_there = |path: &PathBuf| {
                let found = fs::if_found(self.fs.open(path, Access::Read));
                !matches!(found, Ok(None))
            };
            self.unsynced.files.extend(files.filter(is_there));
            self.unsynced.snapshots = offsets.len();
            self.unsynced.names = true;
            self.unsynced.dir = !offsets.is_empty();
        }
        self.snapshots = offsets;
        self.notes = notes;
        self.checkpointed = checkpointed;
    }

    /// Whether there is a snapshot of `offset`, or of one behind it.
    pub fn has_snapshot_from(&self, offset: i64) -> bool {
        self.snapshots.last().is_some_and(|last| *last >= offset)
    }

    /// The offset below which segments may go without a producer being forgotten: what is known of the producers there is
    /// durable, and the next start takes it, however this process ends.
    ///
    /// That start takes no snapshot from behind both the checkpoint that it recovers from and the log start.
    pub fn producers_known_below(&self, log_start_offset: i64) -> i64 {
        let unsynced = self.unsynced.snapshots + self.syncing.snapshots;
        let durable = self.snapshots.len().saturating_sub(unsynced);
        let taken = self.checkpointed.max(log_start_offset);
        let mut snapshots = self.snapshots[..durable].iter().rev();
        snapshots
            .find(|offset| **offset <= taken)
            .copied()
            .unwrap_or(0)
    }

    /// Recovery does not begin before `end` any more.
    pub fn checkpointed(&mut self, end: i64) {
        self.checkpointed = end;
    }

    /// Writes the file of the epochs anew. It takes the place of the old one when it is durable.
    pub fn write_epochs(&mut self, text: &str) -> io::Result<()> {
        self.ensure_dir()?;
        let path = self.dir.join(NEW_EPOCHS_FILE);
        let file = self.fs.open(&path, Access::Write)?;
        file.set_len(0)?;
        file.write_at(&[text.as_bytes()], 0)?;
        self.unsynced.files.push(path);
        self.unsynced.names = true;
        self.unsynced.epochs = true;
        Ok(())
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// Some of it may not be; the next call does it all again.
    pub fn sync(&mut self) -> io::Result<()> {
        let mut unsynced = std::mem::take(&mut self.syncing);
        unsynced.add(std::mem::take(&mut self.unsynced));
        match self.sync_files(&mut unsynced) {
            Ok(()) => {
                self.was_synced(&unsynced);
                Ok(())
            }
            Err(error) => {
                self.unsynced = unsynced;
                Err(error)
            }
        }
    }

    fn sync_files(&self, unsynced: &mut Unsynced) -> io::Result<()> {
        let fs = &*self.fs;
        for path in &unsynced.files {
            if let Some(file) = fs::if_found(fs.open(path, Access::Write))? {
                file.sync_data()?;
            }
        }
        unsynced.files.clear();
        for segment in &unsynced.segments {
            segment.sync(fs, &[Part::Log, Part::OffsetIndex, Part::TimeIndex])?;
        }
        if let Some(current) = &unsynced.current {
            current.sync(fs, &[Part::Log])?;
        }
        unsynced.names |= self.replace_epochs(unsynced)?;
        unsynced.epochs = false;
        if unsynced.names {
            self.fs.sync_dir(&self.dir)?;
        }
        if unsynced.dir
            && let Some(parent) = self.dir.parent()
        {
            self.fs.sync_dir(parent)?;
        }
        Ok(())
    }

    /// The whole file system is about to be synced, which makes everything written so far durable.
    pub fn begin_sync(&mut self) {
        let unsynced = std::mem::take(&mut self.unsynced);
        for segment in unsynced.segments.iter().chain(&unsynced.current) {
            segment.note_syncing();
        }
        self.syncing.add(unsynced);
    }

    /// The file system was synced. Says whether it has to be synced again, for a name that had to wait for that.
    pub fn finish_sync(&mut self) -> io::Result<bool> {
        let synced = std::mem::take(&mut self.syncing);
        self.was_synced(&synced);
        self.replace_epochs(&synced)
    }

    fn replace_epochs(&self, synced: &Unsynced) -> io::Result<bool> {
        if synced.epochs {
            let (new, old) = (self.dir.join(NEW_EPOCHS_FILE), self.dir.join(EPOCHS_FILE));
            self.fs.rename(&new, &old)?;
        }
        Ok(synced.epochs)
    }

    fn was_synced(&mut self, synced: &Unsynced) {
        for segment in &synced.segments {
            segment.close();
        }
        self.remove_old_snapshots();
    }

    /// Keeps the last two durable snapshots, and the newest that recovery would take. Nothing else tells of the producers in
    /// segments that were removed.
    fn remove_old_snapshots(&mut self) {
        let kept = 2 + self.unsynced.snapshots;
        let surplus = self.snapshots.len().saturating_sub(kept);
        let taken = self
            .snapshots
            .partition_point(|offset| *offset <= self.checkpointed);
        let surplus = surplus.min(taken.saturating_sub(1));
        let removed = self.snapshots[..surplus].iter().take_while(|offset| {
            [SIDECAR_SUFFIX, SNAPSHOT_SUFFIX].into_iter().all(|suffix| {
                let path = self.dir.join(file_name(**offset, suffix));
                // What could not be removed is tried again after the next snapshot.
                fs::if_found(self.fs.remove_file(&path)).is_ok()
            })
        });
        let removed = removed.count();
        self.snapshots.drain(..removed);
    }

    /// Removes what an earlier attempt has left of a segment that is about to be written from its start.
    pub fn discard_segment(&mut self, base_offset: i64) -> io::Result<()> {
        for part in Part::ALL {
            let path = segment::path(&self.dir, base_offset, part);
            fs::if_found(self.fs.remove_file(&path))?;
        }
        Ok(())
    }

    /// Removes every segment and snapshot.
    pub fn discard_all(&mut self) -> io::Result<()> {
        let names = fs::if_found(self.fs.list(&self.dir))?.unwrap_or_default();
        let parts = Part::ALL.map(Part::suffix);
        let suffixes = parts.iter().chain(&[SNAPSHOT_SUFFIX, SIDECAR_SUFFIX]);
        for entry in names {
            let mut suffixes = suffixes.clone();
            let is_note = NOTES.contains(&&*entry.name);
            if is_note || suffixes.any(|suffix| segment::offset_of(&entry.name, suffix).is_some()) {
                self.fs.remove_file(&self.dir.join(&entry.name))?;
            }
        }
        Ok(())
    }

    /// Removes the snapshots behind an offset. The loader then takes in every batch from there on, and finds the aborted
    /// transactions that the indexes may have lost. Nobody asks for those below the log start.
    pub fn discard_snapshots_after(&mut self, offset: i64) -> io::Result<()> {
        let names = fs::if_found(self.fs.list(&self.dir))?.unwrap_or_default();
        for entry in names {
            let of = |suffix| segment::offset_of(&entry.name, suffix);
            let found = of(SNAPSHOT_SUFFIX).or_else(|| of(SIDECAR_SUFFIX));
            let path = self.dir.join(&entry.name);
            let found = match NOTES.contains(&&*entry.name) {
                true => snapshot::end_offset_of_sidecar(&fs::read_all(&*self.fs, &path)?),
                false => found,
            };
            if found.is_some_and(|found| found > offset) {
                self.fs.remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Like [`SegmentWriter::sync`], for a directory that may have been written to before a crash. The directory above it
    /// is not synced.
    pub fn sync_all(&mut self) -> io::Result<()> {
        self.ensure_dir()?;
        // A process that was killed may have written these, and not come to sync them. From here on they are relied on.
        let is_relied_on = |name: &str| {
            let suffixes = [
                SNAPSHOT_SUFFIX,
                SIDECAR_SUFFIX,
                Part::TransactionIndex.suffix(),
            ];
            let mut offsets = suffixes
                .iter()
                .map(|suffix| segment::offset_of(name, suffix));
            name == METADATA_FILE || offsets.any(|offset| offset.is_some())
        };
        for entry in self.fs.list(&self.dir)? {
            if is_relied_on(&entry.name) {
                self.unsynced.files.push(self.dir.join(&entry.name));
            }
        }
        self.unsynced.names = true;
        self.unsynced.current = self.current.clone();
        self.sync()
    }

    /// Closes the files of the segment that is being written.
    pub fn close_files(&mut self) {
        if let Some(current) = self.current.take() {
            current.close();
        }
    }
}

pub(crate) fn epochs_path(dir: &std::path::Path) -> PathBuf {
    dir.join(EPOCHS_FILE)
}

#[cfg(test)]
mod tests;
