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

mod contents;
mod fs;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use contents::{Contents, Mood};

use crate::testing::random::Random;

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
    /// The process ends with so many operations on the paths that contain this.
    stop_on: Option<(String, u64)>,
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
        disk.stop_on = None;
        disk.locks.clear();
        SimFs {
            disk: self.clone(),
            boot: disk.boot,
        }
    }

    /// Lets the process end with the operation that is so many away: 1 is the next.
    pub fn stop_after(&self, operations: u64) {
        let mut disk = self.0.lock();
        disk.stop_at = Some(disk.operations + operations);
    }

    /// Lets the process end with one of the operations on the paths that contain `part`: 1 is the next.
    pub fn stop_on(&self, part: &str, operations: u64) {
        self.0.lock().stop_on = Some((part.to_owned(), operations));
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

    /// Counts an operation, and says whether it is the process's last.
    fn is_last(&mut self, path: &Path) -> bool {
        self.operations += 1;
        let mut is_last = self.stop_at == Some(self.operations);
        if let Some((part, left)) = &mut self.stop_on
            && path.to_string_lossy().contains(&**part)
        {
            *left = left.saturating_sub(1);
            is_last |= *left == 0;
        }
        is_last
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

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}
