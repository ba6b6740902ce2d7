//! A disk in memory that forgets at a power cut whatever a real one may forget.
//!
//! For tests. A [`SimDisk`] outlives the processes on it, which come and go with [`SimDisk::boot`].
//! What is not durable at a [`SimDisk::power_cut`] is decided by a seed: each sector of 512 bytes
//! that was written since its last sync is kept, dropped or torn by itself; each creation, rename
//! and removal since the last sync of its directory is kept or dropped by itself, a rename as one.
//! A new length is kept, dropped or met half-way. A truncation that is lost takes with it what was
//! written behind it.
//!
//! What makes things durable is what POSIX promises, not what a certain file system adds to it:
//! `O_DSYNC` the sectors of the write and a length that reaches them, `fdatasync` all data and the
//! length of one file, `fsync` on a directory the names in it. A sync that fails gives up the
//! sectors it was to write, as Linux does: the next sync succeeds without them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crc_fast::{CrcAlgorithm, checksum};
use parking_lot::{Mutex, MutexGuard};

use crate::env::fs::{
    Access, BLOCK_BYTES, DirEntry, File, FileSystemSync, Fs, LockGuard, Space, failed_sync,
};
use crate::testing::random::Random;
#[cfg(feature = "simulation")]
use crate::testing::scheduler::switch;

/// A moment at which a simulation may let another thread run.
#[cfg(not(feature = "simulation"))]
fn switch() {}

/// What a disk writes whole or not at all; even that is not relied on: sectors may be torn.
const SECTOR_BYTES: usize = 512;
const ROOT: u64 = 0;
/// The path of a sync of the whole file system, for faults.
pub const EVERYTHING: &str = "*";

/// Something that goes wrong, or is not done and reported as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Writes and allocations fail with this error number, and nothing is written.
    FailWrites(i32),
    /// Half of the bytes are written, then the disk is full.
    ShortWrites,
    /// Syncs fail with this error number.
    FailSyncs(i32),
    /// `O_DSYNC` is ignored.
    IgnoreWriteSync,
    /// `fdatasync` does nothing.
    IgnoreSyncs,
    /// `fsync` on a directory does nothing.
    IgnoreDirSyncs,
    /// A write is reported as done, and done together with the next operation.
    DelayWrites,
}

/// A disk, and the names and files on it.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<Disk>>);

/// The disk as one process sees it: of no use to anyone after the process has ended.
#[derive(Clone, Debug)]
pub struct SimFs {
    disk: SimDisk,
    boot: u64,
}

#[derive(Debug, Default)]
struct Disk {
    files: HashMap<u64, Contents>,
    directories: HashMap<u64, Directory>,
    inodes: u64,
    /// Changes of names since the last sync of their directory, in order.
    unsynced_names: Vec<NameChange>,
    delayed: Option<(u64, u64, Vec<u8>)>,
    faults: Vec<(String, Fault, u32)>,
    locks: HashMap<PathBuf, u64>,
    boot: u64,
    stopped: bool,
    operations: u64,
    /// All operations so far, those included that only look.
    history: DefaultHasher,
    stop_at: Option<u64>,
    /// Files that were synced, one after the other.
    syncs: u64,
    /// What the files may hold together; `None`: as much as they like.
    capacity_bytes: Option<u64>,
    /// Calls so far that may fail and be well another time, and which of them do, with what.
    calls: u64,
    failing_calls: Option<(Range<u64>, i32)>,
}

#[derive(Clone, Debug, Default)]
struct Directory {
    entries: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
}

/// A name in a directory.
type Name = (u64, String);

#[derive(Clone, Debug)]
enum NameChange {
    Set(Name, u64),
    Remove(Name),
    Rename(Name, Name, u64),
}

#[derive(Clone, Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    /// What stable media hold of the sectors that differ from them.
    durable_sectors: BTreeMap<u64, [u8; SECTOR_BYTES]>,
    durable_length: usize,
    /// The shortest that the file has been since the last sync.
    truncated_to: Option<usize>,
    /// Sectors that a failed sync did not write, and that no later one will.
    given_up: BTreeSet<u64>,
}

/// What the seed decides about one power cut.
#[derive(Clone, Copy, Debug)]
enum Mood {
    KeepAll,
    DropAll,
    Mixed,
}

impl Mood {
    fn keeps(self, random: &mut Random) -> bool {
        match self {
            Self::KeepAll => true,
            Self::DropAll => false,
            Self::Mixed => random.below(2) == 0,
        }
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        let mut disk = Disk::default();
        disk.directories.insert(ROOT, Directory::default());
        disk.stopped = true;
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Starts a process; the one before must have ended.
    ///
    /// It ends by itself with the operation `stop_at`, counted from here: that one is done to the
    /// page cache only and fails, and so does everything after it.
    pub fn boot(&self, stop_at: Option<u64>) -> SimFs {
        let mut disk = self.0.lock();
        disk.boot += 1;
        disk.stopped = false;
        disk.operations = 0;
        disk.stop_at = stop_at;
        disk.locks.clear();
        SimFs {
            disk: self.clone(),
            boot: disk.boot,
        }
    }

    /// Whether the process has reached its last operation.
    pub fn is_stopped(&self) -> bool {
        self.0.lock().stopped
    }

    /// Operations that changed something, since the process began.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// What all operations so far come to, in their order: another order, and it is another number.
    pub fn history(&self) -> u64 {
        self.0.lock().history.finish()
    }

    /// Ends the process as `kill -9` does: what it has written stays.
    pub fn kill(&self) {
        let mut disk = self.0.lock();
        disk.stopped = true;
        disk.delayed = None;
    }

    /// Ends the process and takes the power away: what is not durable is kept or lost by `seed`.
    pub fn power_cut(&self, seed: u64) {
        let mut disk = self.0.lock();
        let random = &mut Random::new(seed);
        disk.stopped = true;
        disk.delayed = None;
        let mood = match random.below(10) {
            0 => Mood::KeepAll,
            1..4 => Mood::DropAll,
            _ => Mood::Mixed,
        };
        for change in std::mem::take(&mut disk.unsynced_names) {
            if mood.keeps(random) {
                disk.make_durable(&change);
            }
        }
        for directory in disk.directories.values_mut() {
            directory.entries.clone_from(&directory.durable);
        }
        let mut inodes: Vec<_> = disk.files.keys().copied().collect();
        // A map has no order of its own, and the seed is to mean the same each time.
        inodes.sort_unstable();
        for inode in inodes {
            if let Some(contents) = disk.files.get_mut(&inode) {
                contents.power_cut(mood, random);
            }
        }
    }

    /// From now on, and `times` times, lets something go wrong with the paths that contain `part`.
    pub fn fault(&self, part: &str, fault: Fault, times: u32) {
        self.0.lock().faults.push((part.to_owned(), fault, times));
    }

    /// How often a file was synced.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// Bytes of all files together.
    pub fn used_bytes(&self) -> u64 {
        self.0.lock().used_bytes()
    }

    /// Lets the disk say that it has room for `bytes`. Writes beyond that do not fail.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.lock().capacity_bytes = Some(bytes);
    }

    /// Lets the calls with these numbers fail with an error number: all but writes and syncs of a file.
    pub fn fail_calls(&self, numbers: Range<u64>, error: i32) {
        self.0.lock().failing_calls = Some((numbers, error));
    }

    /// Lets no call fail any more.
    pub fn allow_calls(&self) {
        self.0.lock().failing_calls = None;
    }

    /// Calls so far that [`SimDisk::fail_calls`] counts.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.0.lock().faults.clear();
    }

    /// Every file there is, with its length in bytes.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        let disk = self.0.lock();
        let mut found = Vec::new();
        let mut open = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, inode)) = open.pop() {
            if let Some(directory) = disk.directories.get(&inode) {
                let entries = directory.entries.iter();
                open.extend(entries.map(|(name, inode)| (path.join(name), *inode)));
            } else if let Some(contents) = disk.files.get(&inode) {
                found.push((path, contents.bytes.len()));
            }
        }
        found.sort_unstable();
        found
    }

    /// A disk of its own with the same on it, as if everything had been synced.
    pub fn copy(&self) -> Self {
        let disk = self.0.lock();
        let mut copy = Disk {
            files: disk.files.clone(),
            directories: disk.directories.clone(),
            inodes: disk.inodes,
            stopped: true,
            ..Disk::default()
        };
        copy.files.values_mut().for_each(Contents::sync);
        for directory in copy.directories.values_mut() {
            directory.durable.clone_from(&directory.entries);
        }
        Self(Arc::new(Mutex::new(copy)))
    }

    /// Changes the bytes of a file behind everyone's back.
    ///
    /// # Errors
    /// There is no such file.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut disk = self.0.lock();
        let inode = disk.find(path)?;
        let contents = disk.files.get_mut(&inode).ok_or_else(not_found)?;
        change(&mut contents.bytes);
        contents.sync();
        Ok(())
    }
}

impl Contents {
    fn sector(&self, number: u64) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        let from = number as usize * SECTOR_BYTES;
        if let Some(bytes) = self.bytes.get(from..) {
            let length = bytes.len().min(SECTOR_BYTES);
            sector[..length].copy_from_slice(&bytes[..length]);
        }
        sector
    }

    /// Notes what stable media hold of some bytes that are about to change.
    fn touch(&mut self, from: usize, to: usize) {
        for number in sectors(from, to) {
            if !self.durable_sectors.contains_key(&number) {
                let sector = self.sector(number);
                self.durable_sectors.insert(number, sector);
            }
            self.given_up.remove(&number);
        }
    }

    fn write(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        self.touch(position, end);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[position..end].copy_from_slice(bytes);
    }

    fn set_length(&mut self, length: usize) {
        if length < self.bytes.len() {
            self.touch(length, self.bytes.len());
            self.truncated_to = Some(self.truncated_to.map_or(length, |to| to.min(length)));
        }
        self.bytes.resize(length, 0);
    }

    fn sync(&mut self) {
        let given_up = &self.given_up;
        self.durable_sectors
            .retain(|number, _| given_up.contains(number));
        self.durable_length = self.bytes.len();
        self.truncated_to = None;
    }

    fn sync_range(&mut self, from: usize, to: usize) {
        if self.truncated_to.is_some() {
            return self.sync();
        }
        for number in sectors(from, to) {
            self.durable_sectors.remove(&number);
        }
        self.durable_length = self.durable_length.max(to);
    }

    fn fail_sync(&mut self) {
        self.given_up = self.durable_sectors.keys().copied().collect();
    }

    fn power_cut(&mut self, mood: Mood, random: &mut Random) {
        let truncated_to = self.truncated_to.take();
        let truncation_lost = truncated_to.is_some() && !mood.keeps(random);
        let length = if truncation_lost {
            self.durable_length
        } else {
            let shortest =
                truncated_to.map_or(self.durable_length, |to| self.durable_length.min(to));
            let longest = self.bytes.len().max(shortest);
            match mood {
                Mood::KeepAll => longest,
                Mood::DropAll => shortest,
                Mood::Mixed => match random.below(3) {
                    0 => shortest,
                    1 => longest,
                    _ => shortest + random.below((longest - shortest) as u64 + 1) as usize,
                },
            }
        };
        let sectors_count = self.bytes.len().max(length).div_ceil(SECTOR_BYTES) + 1;
        self.bytes.resize(sectors_count * SECTOR_BYTES, 0);
        let given_up = std::mem::take(&mut self.given_up);
        for (number, mut durable) in std::mem::take(&mut self.durable_sectors) {
            let at = number as usize * SECTOR_BYTES;
            if self.bytes.len() < at + SECTOR_BYTES {
                continue;
            }
            let is_behind = truncated_to.is_some_and(|to| at >= to);
            if is_behind && !truncation_lost {
                durable = [0; SECTOR_BYTES];
            }
            let kept_bytes = if given_up.contains(&number) || (is_behind && truncation_lost) {
                0
            } else if let (Mood::Mixed, 0) = (mood, random.below(3)) {
                random.below(SECTOR_BYTES as u64) as usize
            } else if mood.keeps(random) {
                SECTOR_BYTES
            } else {
                0
            };
            self.bytes[at + kept_bytes..at + SECTOR_BYTES].copy_from_slice(&durable[kept_bytes..]);
        }
        self.bytes.truncate(length);
        self.durable_length = length;
    }
}

/// The numbers of the sectors that hold some bytes.
fn sectors(from: usize, to: usize) -> std::ops::Range<u64> {
    (from / SECTOR_BYTES) as u64..to.div_ceil(SECTOR_BYTES) as u64
}

impl NameChange {
    fn touches(&self, directory: u64) -> bool {
        match self {
            Self::Set((at, _), _) | Self::Remove((at, _)) => *at == directory,
            Self::Rename((from, _), (to, _), _) => *from == directory || *to == directory,
        }
    }

    fn apply(
        &self,
        directories: &mut HashMap<u64, Directory>,
        names: fn(&mut Directory) -> &mut BTreeMap<String, u64>,
    ) {
        let mut set = |(directory, name): &Name, inode: Option<u64>| {
            let Some(names) = directories.get_mut(directory).map(names) else {
                return;
            };
            match inode {
                Some(inode) => names.insert(name.clone(), inode),
                None => names.remove(name),
            };
        };
        match self {
            Self::Set(name, inode) => set(name, Some(*inode)),
            Self::Remove(name) => set(name, None),
            Self::Rename(from, to, inode) => {
                set(from, None);
                set(to, Some(*inode));
            }
        }
    }
}

impl Disk {
    fn find(&self, path: &Path) -> io::Result<u64> {
        let mut inode = ROOT;
        for component in path.components() {
            if let Component::Normal(name) = component {
                let directory = self.directories.get(&inode).ok_or_else(not_found)?;
                let name = name.to_str().ok_or_else(not_found)?;
                inode = *directory.entries.get(name).ok_or_else(not_found)?;
            }
        }
        Ok(inode)
    }

    /// The directory that a path is in, and its name there.
    fn place(&self, path: &Path) -> io::Result<Name> {
        let parent = self.find(path.parent().ok_or_else(not_found)?)?;
        let name = path.file_name().and_then(|name| name.to_str());
        Ok((parent, name.ok_or_else(not_found)?.to_owned()))
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.directories, |directory| &mut directory.entries);
        self.unsynced_names.push(change);
    }

    fn make_durable(&mut self, change: &NameChange) {
        change.apply(&mut self.directories, |directory| &mut directory.durable);
    }

    fn create(&mut self, path: &Path, is_dir: bool) -> io::Result<u64> {
        let place = self.place(path)?;
        self.inodes += 1;
        let inode = self.inodes;
        if is_dir {
            self.directories.insert(inode, Directory::default());
        } else {
            self.files.insert(inode, Contents::default());
        }
        self.change_name(NameChange::Set(place, inode));
        Ok(inode)
    }

    fn remove_tree(&mut self, place: Name, inode: u64) {
        if let Some(directory) = self.directories.get(&inode) {
            for (name, child) in directory.entries.clone() {
                self.remove_tree((inode, name), child);
            }
        }
        self.change_name(NameChange::Remove(place));
    }

    /// The first fault of some kinds that a path has.
    fn fault(&mut self, path: &Path, kind: impl Fn(Fault) -> bool) -> Option<Fault> {
        let path = path.to_string_lossy();
        let (_, fault, times) = self
            .faults
            .iter_mut()
            .find(|(part, fault, times)| *times > 0 && path.contains(part) && kind(*fault))?;
        *times -= 1;
        Some(*fault)
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn stopped() -> io::Error {
    io::Error::other("the power is gone")
}

impl SimFs {
    /// The disk, if this process still runs.
    fn disk(&self, what: &str, path: &Path) -> io::Result<MutexGuard<'_, Disk>> {
        switch();
        let mut disk = self.disk.0.lock();
        if disk.stopped || disk.boot != self.boot {
            return Err(stopped());
        }
        (what, path).hash(&mut disk.history);
        if !matches!(what, "write" | "sync") {
            disk.calls += 1;
            if let Some((numbers, error)) = &disk.failing_calls
                && numbers.contains(&disk.calls)
            {
                return Err(io::Error::from_raw_os_error(*error));
            }
        }
        Ok(disk)
    }

    /// Does an operation that counts; it is told whether it is the last one, and hence never finishes.
    fn change<T>(
        &self,
        what: &str,
        path: &Path,
        operation: impl FnOnce(&mut Disk, bool) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut disk = self.disk(what, path)?;
        disk.operations += 1;
        let is_last = disk.stop_at == Some(disk.operations);
        if let Some((inode, position, bytes)) = disk.delayed.take()
            && !is_last
            && let Some(contents) = disk.files.get_mut(&inode)
        {
            let position = position as usize;
            contents.write(position, &bytes);
            contents.sync_range(position, position + bytes.len());
        }
        let done = operation(&mut disk, is_last);
        if is_last {
            disk.stopped = true;
            return Err(stopped());
        }
        done
    }
}

impl SimFs {
    fn sync_everything(&self) -> io::Result<()> {
        let path = Path::new(EVERYTHING);
        self.change("sync", path, |disk, is_last| {
            let fault = disk.fault(path, |fault| {
                matches!(fault, Fault::FailSyncs(_) | Fault::IgnoreSyncs)
            });
            if let Some(Fault::FailSyncs(error)) = fault {
                disk.files.values_mut().for_each(Contents::fail_sync);
                return Err(failed_sync(io::Error::from_raw_os_error(error)));
            }
            if is_last || fault.is_some() {
                return Ok(());
            }
            disk.files.values_mut().for_each(Contents::sync);
            for change in std::mem::take(&mut disk.unsynced_names) {
                disk.make_durable(&change);
            }
            Ok(())
        })
    }
}

impl Disk {
    fn used_bytes(&self) -> u64 {
        // A file that has lost its name stays as long as a power cut may bring it back.
        let entries = self.directories.values();
        let named = entries.flat_map(|directory| directory.entries.values());
        named
            .filter_map(|inode| self.files.get(inode))
            .map(|file| file.bytes.len() as u64)
            .sum()
    }
}

impl Fs for SimFs {
    fn space(&self, path: &Path) -> io::Result<Space> {
        let disk = self.disk("space", path)?;
        let total_bytes = disk.capacity_bytes.unwrap_or(u64::MAX);
        Ok(Space {
            free_bytes: total_bytes.saturating_sub(disk.used_bytes()),
            total_bytes,
        })
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let found = self.disk("open", path)?.find(path);
        let inode = match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound && access.creates() => {
                self.change("create", path, |disk, _| disk.create(path, false))?
            }
            other => other?,
        };
        if !self.disk("opened", path)?.files.contains_key(&inode) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Arc::new(SimFile {
            fs: self.clone(),
            path: path.to_owned(),
            inode,
            access,
        }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let ancestors: Vec<_> = path.ancestors().collect();
        for path in ancestors.into_iter().rev() {
            let found = self.disk("find", path)?.find(path);
            match found {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.change("create directory", path, |disk, _| disk.create(path, true))?;
                }
                other => {
                    other?;
                }
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let disk = self.disk("list", path)?;
        let inode = disk.find(path)?;
        let directory = disk.directories.get(&inode).ok_or_else(not_found)?;
        let entries = directory.entries.iter().map(|(name, inode)| DirEntry {
            name: name.clone(),
            is_dir: disk.directories.contains_key(inode),
        });
        Ok(entries.collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change("rename", from, |disk, _| {
            to.hash(&mut disk.history);
            let inode = disk.find(from)?;
            let (from, to) = (disk.place(from)?, disk.place(to)?);
            disk.change_name(NameChange::Rename(from, to, inode));
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change("remove", path, |disk, _| {
            disk.find(path)?;
            let place = disk.place(path)?;
            disk.change_name(NameChange::Remove(place));
            Ok(())
        })
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change("remove directory", path, |disk, _| {
            let inode = disk.find(path)?;
            let place = disk.place(path)?;
            disk.remove_tree(place, inode);
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change("sync directory", path, |disk, is_last| {
            let inode = disk.find(path)?;
            let ignored = |fault| fault == Fault::IgnoreDirSyncs;
            if is_last || disk.fault(path, ignored).is_some() {
                return Ok(());
            }
            let (durable, unsynced) = std::mem::take(&mut disk.unsynced_names)
                .into_iter()
                .partition(|change: &NameChange| change.touches(inode));
            disk.unsynced_names = unsynced;
            for change in &durable {
                disk.make_durable(change);
            }
            Ok(())
        })
    }

    fn file_system_sync(&self, _path: &Path) -> Option<FileSystemSync> {
        let fs = self.clone();
        Some(Arc::new(move || fs.sync_everything()))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        self.open(path, Access::Write)?;
        let mut disk = self.disk("lock", path)?;
        if disk.locks.contains_key(path) {
            return Ok(None);
        }
        disk.locks.insert(path.to_owned(), self.boot);
        Ok(Some(Box::new(SimLock {
            fs: self.clone(),
            path: path.to_owned(),
        })))
    }
}

#[derive(Debug)]
struct SimLock {
    fs: SimFs,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut disk = self.fs.disk.0.lock();
        if disk.locks.get(&self.path) == Some(&self.fs.boot) {
            disk.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct SimFile {
    fs: SimFs,
    path: PathBuf,
    inode: u64,
    access: Access,
}

impl SimFile {
    fn is_direct(&self) -> bool {
        self.access.is_direct()
    }

    fn change<T>(
        &self,
        what: &str,
        operation: impl FnOnce(&mut Disk, bool) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.access == Access::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.fs.change(what, &self.path, operation)
    }
}

fn contents(disk: &mut Disk, inode: u64) -> io::Result<&mut Contents> {
    disk.files.get_mut(&inode).ok_or_else(not_found)
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let aligned = |number: usize| number.is_multiple_of(BLOCK_BYTES);
        let all_aligned =
            aligned(position as usize) && aligned(buffer.len()) && aligned(buffer.as_ptr().addr());
        if self.is_direct() && !all_aligned {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut disk = self.fs.disk("read", &self.path)?;
        (position, buffer.len()).hash(&mut disk.history);
        let bytes = &contents(&mut disk, self.inode)?.bytes;
        let rest = bytes.get(position as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, slices: &[&[u8]], position: u64) -> io::Result<()> {
        let aligned = |number: usize| number.is_multiple_of(BLOCK_BYTES);
        let all_aligned = slices
            .iter()
            .all(|slice| aligned(slice.len()) && aligned(slice.as_ptr().addr()));
        if self.is_direct() && !(aligned(position as usize) && all_aligned) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let bytes = slices.concat();
        let from = position as usize;
        self.change("write", |disk, is_last| {
            let sum = checksum(CrcAlgorithm::Crc32Iscsi, &bytes);
            (position, bytes.len(), sum).hash(&mut disk.history);
            let synced = self.access == Access::DirectSync;
            let fault = disk.fault(&self.path, |fault| match fault {
                Fault::FailWrites(_) | Fault::ShortWrites => true,
                Fault::IgnoreWriteSync | Fault::DelayWrites => synced,
                _ => false,
            });
            match fault {
                Some(Fault::FailWrites(error)) => return Err(io::Error::from_raw_os_error(error)),
                Some(Fault::ShortWrites) => {
                    contents(disk, self.inode)?.write(from, &bytes[..bytes.len() / 2]);
                    return Err(io::ErrorKind::StorageFull.into());
                }
                Some(Fault::DelayWrites) => {
                    disk.delayed = Some((self.inode, position, bytes));
                    return Ok(());
                }
                _ => {}
            }
            let contents = contents(disk, self.inode)?;
            contents.write(from, &bytes);
            if synced && !is_last && fault.is_none() {
                contents.sync_range(from, from + bytes.len());
            }
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change("sync", |disk, is_last| {
            let fault = disk.fault(&self.path, |fault| {
                matches!(fault, Fault::FailSyncs(_) | Fault::IgnoreSyncs)
            });
            disk.syncs += 1;
            let contents = contents(disk, self.inode)?;
            match fault {
                Some(Fault::FailSyncs(error)) => {
                    contents.fail_sync();
                    return Err(failed_sync(io::Error::from_raw_os_error(error)));
                }
                None if !is_last => contents.sync(),
                _ => {}
            }
            Ok(())
        })
    }

    fn size_bytes(&self) -> io::Result<u64> {
        let mut disk = self.fs.disk("size", &self.path)?;
        Ok(contents(&mut disk, self.inode)?.bytes.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.change("set length", |disk, _| {
            bytes.hash(&mut disk.history);
            contents(disk, self.inode)?.set_length(bytes as usize);
            Ok(())
        })
    }

    fn allocate(&self, _position: u64, _bytes: u64) -> io::Result<()> {
        self.change("allocate", |disk, _| {
            let full = |fault| matches!(fault, Fault::FailWrites(_));
            match disk.fault(&self.path, full) {
                Some(Fault::FailWrites(error)) => Err(io::Error::from_raw_os_error(error)),
                _ => Ok(()),
            }
        })
    }
}
