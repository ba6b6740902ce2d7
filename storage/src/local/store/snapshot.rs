//! A copy of the directory as it is at one moment, while it is served.
//!
//! A file must not go before it is copied, and nobody should wait for the copy. So first every file gets one more name, in a
//! directory beside the logs. That takes microseconds for each, and only meanwhile nothing is deleted or compacted. Then files
//! that are never written to again get a name in the snapshot. On another file system they are copied. The other files are
//! copied up to the moment of the snapshot.
//!
//! The moment is one between two commits. So the copy is what a power cut at that moment would have left, written out: it
//! needs no write-ahead log, and opens as after an orderly stop, which checks that each log ends where it was cut.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use crc_fast::{CrcAlgorithm, Digest};

use super::LocalStore;
use crate::env::fs::{self, Access, File, Fs, if_found};
use crate::local::file_log::snapshot::{Cut, Taken};
use crate::local::text_files::{
    CLEAN_SHUTDOWN, CLEANER_OFFSETS, LOG_START_OFFSETS, Offsets, RECOVERY_POINTS, write_offsets,
};
use crate::local::wal::commit::Wal;
use crate::log::{SNAPSHOT_MANIFEST, Snapshot, SnapshotFile, SnapshotProgress, StorageError};

/// Where files have their second names. The next start removes what a crash has left there.
pub(super) const STAGING: &str = ".ottla-snapshot-staging";
/// How much is read at once.
const BUFFER_BYTES: usize = 1 << 20;
/// How much room is left free on the disk of a snapshot.
const RESERVE_BYTES: u64 = 64 << 20;

/// What a snapshot is made of.
struct Staged {
    cuts: Vec<Cut>,
    /// Where each file is, below the staging directory and below the snapshot.
    taken: Vec<(PathBuf, Taken)>,
    cleaner_offsets: Offsets,
}

type Watch<'a> = &'a mut dyn FnMut(SnapshotProgress) -> ControlFlow<()>;

impl LocalStore {
    /// See [`crate::log::LogStore::snapshot`].
    pub(super) fn copy_to(&self, to: &Path, watch: Watch<'_>) -> Result<Snapshot, StorageError> {
        let Some(_copying) = self.copying.try_lock() else {
            return Err(StorageError("another snapshot is being made".to_owned()));
        };
        if self.lock.lock().is_none() {
            return Err(StorageError("the directory is closed".to_owned()));
        }
        let fs = &*self.shared.fs;
        let entries = if_found(fs.list(to)).map_err(|error| told(to, &error))?;
        let is_others = |entry: &fs::DirEntry| entry.name != SNAPSHOT_MANIFEST;
        if entries.is_some_and(|entries| entries.iter().any(is_others)) {
            let what = format!("{} is not empty", to.display());
            return Err(StorageError(what));
        }
        let staging = self.shared.path.join(STAGING);
        let copied = self.stage_and_copy(&staging, to, watch);
        let removed = if_found(fs.remove_dir_all(&staging));
        if let Err(error) = removed {
            tracing::warn!(directory = %staging.display(), %error, "what a snapshot has left here could not be removed");
        }
        if copied.is_err()
            && let Err(error) = if_found(fs.remove_dir_all(to))
        {
            tracing::warn!(directory = %to.display(), %error, "an unfinished snapshot could not be removed");
        }
        copied.map_err(|error| told(to, &error))
    }

    fn stage_and_copy(&self, staging: &Path, to: &Path, watch: Watch<'_>) -> io::Result<Snapshot> {
        if let Some(error) = self.shared.wal.refused() {
            return Err(io::Error::other(error.to_string()));
        }
        let fs = &*self.shared.fs;
        if_found(fs.remove_dir_all(staging))?;
        fs.create_dir_all(staging)?;
        let mut snapshot = Snapshot::default();
        let staged = self.stage(staging, &mut snapshot)?;
        // From here on recovery leaves alone what has two names.
        self.checkpointer.checkpoint()?;
        let mut copy = Copy {
            fs,
            wal: &self.shared.wal,
            staging,
            to,
            watch,
            progress: SnapshotProgress {
                done_bytes: 0,
                total_bytes: 0,
            },
            buffer: vec![0; BUFFER_BYTES],
            snapshot,
        };
        copy.run(&staged)?;
        Ok(copy.snapshot)
    }

    /// Cuts all logs at one moment and takes hold of their files.
    fn stage(&self, staging: &Path, snapshot: &mut Snapshot) -> io::Result<Staged> {
        let shared = &self.shared;
        let _deleting = shared.deleting.lock();
        shared.segments_held.store(true, Ordering::SeqCst);
        let _held = Held(&shared.segments_held);
        // All that was appended to is loaded: what nobody has used until the cut is empty.
        let prepared = shared
            .pool
            .for_each(self.logs.all(), |log| log.prepare_cut());
        prepared.into_iter().collect::<io::Result<()>>()?;
        let began = Instant::now();
        let cleaner_offsets = shared.cleaner_offsets.lock().clone();
        let logs = self.logs.all();
        let asked = Instant::now();
        let cuts: Vec<Cut> = shared
            .wal
            .between_commits(|| logs.iter().filter_map(|log| log.cut()).collect());
        snapshot.commits_waited = asked.elapsed();
        drop(logs);
        let mut taken = Vec::new();
        for cut in &cuts {
            let name = PathBuf::from(cut.log.id.to_string());
            let files = cut.log.stage(cut, &staging.join(&name))?;
            taken.extend(files.into_iter().map(|file| (name.clone(), file)));
        }
        snapshot.changes_waited = began.elapsed();
        snapshot.logs = cuts.len();
        Ok(Staged {
            cuts,
            taken,
            cleaner_offsets,
        })
    }
}

/// Lets segments go again.
struct Held<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// The second half: from the staging directory to the snapshot.
struct Copy<'a> {
    fs: &'a dyn Fs,
    wal: &'a Wal,
    staging: &'a Path,
    to: &'a Path,
    watch: Watch<'a>,
    progress: SnapshotProgress,
    buffer: Vec<u8>,
    snapshot: Snapshot,
}

impl Copy<'_> {
    fn run(&mut self, staged: &Staged) -> io::Result<()> {
        self.fs.create_dir_all(self.to)?;
        let links = self.can_link(staged)?;
        let copied_bytes = self.measure(staged, links)?;
        let free_bytes = self.fs.space(self.to)?.free_bytes;
        if free_bytes < copied_bytes.saturating_add(RESERVE_BYTES) {
            let what = format!(
                "{} MiB are to be copied, and {} MiB are free, of which {} stay free",
                copied_bytes >> 20,
                free_bytes >> 20,
                RESERVE_BYTES >> 20
            );
            return Err(io::Error::new(io::ErrorKind::StorageFull, what));
        }
        let mut dir: Option<&PathBuf> = None;
        for (name, taken) in &staged.taken {
            if dir != Some(name) {
                self.sync_dir(dir)?;
                self.fs.create_dir_all(&self.to.join(name))?;
                dir = Some(name);
            }
            match taken {
                Taken::Shared(file) if links => self.link(&name.join(file))?,
                Taken::Shared(file) => self.copy(&name.join(file), u64::MAX, true)?,
                Taken::Prefix(file, bytes) => self.copy(&name.join(file), *bytes, false)?,
                Taken::Made(file, bytes) => self.make(&name.join(file), bytes)?,
            }
        }
        self.sync_dir(dir)?;
        self.write_small_files(staged)?;
        self.fs.sync_dir(self.to)?;
        match self.to.parent() {
            Some(parent) if parent != Path::new("") => self.fs.sync_dir(parent),
            _ => self.fs.sync_dir(Path::new(".")),
        }
    }

    /// Whether files can have another name in the snapshot.
    fn can_link(&self, staged: &Staged) -> io::Result<bool> {
        let shared = staged.taken.iter().find_map(|(name, taken)| match taken {
            Taken::Shared(file) => Some(name.join(file)),
            _ => None,
        });
        let Some(shared) = shared else {
            return Ok(true);
        };
        let probe = self.to.join("probe");
        match self.fs.hard_link(&self.staging.join(shared), &probe) {
            Ok(()) => self.fs.remove_file(&probe).map(|()| true),
            Err(error) => {
                tracing::info!(%error, "files cannot have another name in the snapshot, and are copied");
                Ok(false)
            }
        }
    }

    /// How much is to be copied. All that is to be read is the total.
    fn measure(&mut self, staged: &Staged, links: bool) -> io::Result<u64> {
        let mut copied_bytes = 0;
        for (name, taken) in &staged.taken {
            let (file, limit, is_copied) = match taken {
                Taken::Shared(file) => (file, u64::MAX, !links),
                Taken::Prefix(file, bytes) => (file, *bytes, true),
                Taken::Made(..) => continue,
            };
            let path = self.staging.join(name).join(file);
            let bytes = self.fs.open(&path, Access::Read)?.size_bytes()?.min(limit);
            self.progress.total_bytes += bytes;
            copied_bytes += if is_copied { bytes } else { 0 };
        }
        Ok(copied_bytes)
    }

    fn sync_dir(&self, dir: Option<&PathBuf>) -> io::Result<()> {
        dir.map_or(Ok(()), |dir| self.fs.sync_dir(&self.to.join(dir)))
    }

    fn link(&mut self, file: &Path) -> io::Result<()> {
        let path = self.to.join(file);
        self.fs.hard_link(&self.staging.join(file), &path)?;
        let linked = self.fs.open(&path, Access::Write)?;
        let (bytes, crc) = self.read(&*linked, u64::MAX, |_, _| Ok(()))?;
        // A checkpoint passes over a log that is deleted.
        linked.sync_data()?;
        self.snapshot.linked_bytes += bytes;
        self.done(file, bytes, crc, true);
        Ok(())
    }

    fn copy(&mut self, file: &Path, limit: u64, is_shared: bool) -> io::Result<()> {
        let from = self.fs.open(&self.staging.join(file), Access::Read)?;
        let to = self.fs.open(&self.to.join(file), Access::Write)?;
        let (bytes, crc) = self.read(&*from, limit, |bytes, at| to.write_at(&[bytes], at))?;
        if limit != u64::MAX && bytes != limit {
            let what = format!("{} has {bytes} bytes instead of {limit}", file.display());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        to.sync_data()?;
        self.snapshot.copied_bytes += bytes;
        self.done(file, bytes, crc, is_shared);
        Ok(())
    }

    /// Reads a file from its start on. Gives how much there was, and its checksum.
    fn read(
        &mut self,
        file: &dyn File,
        limit: u64,
        mut each: impl FnMut(&[u8], u64) -> io::Result<()>,
    ) -> io::Result<(u64, u32)> {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        let mut position = 0;
        loop {
            let wanted = (self.buffer.len() as u64).min(limit - position) as usize;
            let count = match wanted {
                0 => 0,
                wanted => file.read_at(&mut self.buffer[..wanted], position)?,
            };
            if count == 0 {
                return Ok((position, digest.finalize() as u32));
            }
            digest.update(&self.buffer[..count]);
            each(&self.buffer[..count], position)?;
            position += count as u64;
            self.progress.done_bytes += count as u64;
            if let Some(error) = self.wal.refused() {
                return Err(io::Error::other(error.to_string()));
            }
            if (self.watch)(self.progress).is_break() {
                return Err(io::Error::other("it was broken off"));
            }
        }
    }

    fn make(&mut self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::fill(self.fs, &self.to.join(file), Access::Write, |made| {
            made.write_at(&[bytes], 0)?;
            made.sync_data()
        })?;
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(bytes);
        self.done(file, bytes.len() as u64, digest.finalize() as u32, false);
        Ok(())
    }

    fn done(&mut self, file: &Path, bytes: u64, crc: u32, is_shared: bool) {
        self.snapshot.files.push(SnapshotFile {
            path: file.to_owned(),
            bytes,
            crc,
            is_shared,
        });
    }

    /// Writes what an orderly stop says of all logs together.
    fn write_small_files(&mut self, staged: &Staged) -> io::Result<()> {
        let cuts = || staged.cuts.iter().map(|cut| (cut.log.key(), cut));
        let ends = cuts().map(|(key, cut)| (key, cut.end_offset));
        let begun = cuts().filter(|(_, cut)| cut.log_start_offset > 0);
        let starts = begun.map(|(key, cut)| (key, cut.log_start_offset));
        let offsets = [
            (RECOVERY_POINTS, ends.collect::<Offsets>()),
            (LOG_START_OFFSETS, starts.collect()),
            (CLEANER_OFFSETS, staged.cleaner_offsets.clone()),
        ];
        for (name, offsets) in offsets {
            write_offsets(self.fs, &self.to.join(name), &offsets)?;
            self.sum_up(name)?;
        }
        let marker = self.to.join(CLEAN_SHUTDOWN);
        fs::replace(self.fs, &marker, super::close::CLEAN_MARK)?;
        self.sum_up(CLEAN_SHUTDOWN)
    }

    fn sum_up(&mut self, name: &str) -> io::Result<()> {
        let file = self.fs.open(&self.to.join(name), Access::Read)?;
        let (bytes, crc) = self.read(&*file, u64::MAX, |_, _| Ok(()))?;
        self.done(Path::new(name), bytes, crc, false);
        Ok(())
    }
}

fn told(to: &Path, error: &io::Error) -> StorageError {
    StorageError(format!("no snapshot in {}: {error}", to.display()))
}
