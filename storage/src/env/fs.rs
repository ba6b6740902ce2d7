//! The only door to files: everything that the engine reads or writes goes through [`Fs`] and [`File`].
//!
//! [`RealFs`] is the operating system. Tests put a file system behind the same door that loses
//! what was not synced.

#![expect(clippy::disallowed_methods, reason = "the door")]

use std::fmt::Debug;
use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An existing file, for reading.
    Read,
    /// As `Read`, past the page cache: buffers and offsets are multiples of [`BLOCK_BYTES`].
    DirectRead,
    /// For reading and writing; created if it is not there.
    Write,
    /// As `Write`, past the page cache: buffers, offsets and lengths are multiples of [`BLOCK_BYTES`].
    Direct,
    /// As `Direct`, and a write returns when its data is on stable media.
    DirectSync,
}

impl Access {
    /// Whether a file that is not there is created.
    pub fn creates(self) -> bool {
        !matches!(self, Self::Read | Self::DirectRead)
    }

    /// Whether the page cache is passed.
    pub fn is_direct(self) -> bool {
        !matches!(self, Self::Read | Self::Write)
    }
}

/// What direct reads and writes are aligned to, in memory and on disk.
pub const BLOCK_BYTES: usize = 4096;

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What this process may still write.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// Makes everything durable at once that was written to a file system before, data and names. After an error some of
/// it may be lost, whoever wrote it.
pub type FileSystemSync = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// Keeps a directory locked until it is dropped.
pub type LockGuard = Box<dyn Debug + Send + Sync>;

/// A file system: paths, and what happens to them.
pub trait Fs: Debug + Send + Sync {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>>;
    /// Creates a directory and those above it; no error if it is there.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The entries of a directory, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Replaces what is at `to`. Durable after [`Fs::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file one more name, on the same file system. Durable after [`Fs::sync_dir`].
    fn hard_link(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// How the file system that holds `path` is synced as a whole. `None` where that is not possible, or where it would not
    /// report a write that fails from now on.
    fn file_system_sync(&self, _path: &Path) -> Option<FileSystemSync> {
        None
    }
    /// The room on the file system that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Locks a file against other processes; `None` if one of them holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<LockGuard>>;
}

/// An open file. All reads and writes name their position; there is no cursor to share.
pub trait File: Debug + Send + Sync {
    /// Reads until `buffer` is full or the file ends, and says how much there was.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all of `slices`, one after the other.
    fn write_at(&self, slices: &[&[u8]], position: u64) -> io::Result<()>;
    fn sync_data(&self) -> io::Result<()>;
    fn size_bytes(&self) -> io::Result<u64>;
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Reserves room on the disk without changing the length.
    fn allocate(&self, position: u64, bytes: u64) -> io::Result<()>;
}

/// Reads a whole file that is known to be small.
pub fn read_all(fs: &dyn Fs, path: &Path) -> io::Result<Vec<u8>> {
    let file = fs.open(path, Access::Read)?;
    let length = usize::try_from(file.size_bytes()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Replaces a small file so that after a crash either the old or the new one is there.
pub fn replace(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    fill(fs, &temporary, Access::Write, |file| {
        file.set_len(0)?;
        file.write_at(&[bytes], 0)?;
        file.sync_data()
    })?;
    fs.rename(&temporary, path)?;
    match path.parent() {
        Some(parent) => fs.sync_dir(parent),
        None => Ok(()),
    }
}

/// Makes a file and has `write` fill it. If that fails the file is removed: it would only take room.
pub fn fill(
    fs: &dyn Fs,
    path: &Path,
    access: Access,
    write: impl FnOnce(&dyn File) -> io::Result<()>,
) -> io::Result<()> {
    let file = fs.open(path, access)?;
    let filled = write(&*file);
    drop(file);
    filled.inspect_err(|_| {
        if let Err(error) = if_found(fs.remove_file(path)) {
            tracing::warn!(file = %path.display(), %error, "an unfinished file could not be removed");
        }
    })
}

/// Turns "not found" into `None`.
pub(crate) fn if_found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the file system does not know direct I/O: tmpfs and some overlays answer so.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

/// Whether the call may go well another time: no descriptor or no memory was left, or a signal came. A failed sync never
/// passes, whatever the system says: see [`failed_sync`].
pub(crate) fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const PASSING: [Errno; 5] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::INTR,
        Errno::NOMEM,
        Errno::AGAIN,
    ];
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    number.is_some_and(|number| PASSING.contains(&number))
}

/// The error of a failed sync. Nobody knows what is on the disk after it, so it never passes. If a directory could not
/// even be opened to be synced, that is another matter.
pub fn failed_sync(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// The operating system's files.
#[derive(Debug, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match access {
            Access::Read => {}
            Access::DirectRead => set_direct(&mut options, false)?,
            Access::Write => {
                options.write(true).create(true).truncate(false);
            }
            Access::Direct | Access::DirectSync => {
                options.write(true).create(true).truncate(false);
                set_direct(&mut options, access == Access::DirectSync)?;
            }
        }
        let direct = access.is_direct();
        let file = options.open(path)?;
        Ok(Arc::new(RealFile { file, direct }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        fs::read_dir(path)?
            .map(|entry| {
                let entry = entry?;
                Ok(DirEntry {
                    name: entry.file_name().to_string_lossy().into_owned(),
                    is_dir: entry.file_type()?.is_dir(),
                })
            })
            .collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all().map_err(failed_sync)
    }

    fn file_system_sync(&self, path: &Path) -> Option<FileSystemSync> {
        tells_of_lost_writes(path).then_some(())?;
        // The system reports to this descriptor what goes wrong from now on.
        let directory = fs::File::open(path).ok()?;
        Some(Arc::new(move || {
            rustix::fs::syncfs(&directory).map_err(|error| failed_sync(error.into()))
        }))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(path)?;
        Ok(Space {
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(target_os = "linux")]
fn set_direct(options: &mut fs::OpenOptions, sync: bool) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;

    let mut flags = OFlags::DIRECT;
    if sync {
        flags |= OFlags::DSYNC;
    }
    options.custom_flags(flags.bits() as i32);
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn set_direct(_options: &mut fs::OpenOptions, _sync: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether `syncfs` fails if a write to the file system that holds `path` did: since Linux 5.8, where no other file
/// system lies in between.
#[cfg(target_os = "linux")]
fn tells_of_lost_writes(path: &Path) -> bool {
    /// ext4, XFS, Btrfs: `f_type` in statfs(2).
    const KNOWN: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    let version = (number().unwrap_or(0), number().unwrap_or(0));
    let found = rustix::fs::statfs(path);
    version >= (5, 8) && found.is_ok_and(|found| KNOWN.contains(&(found.f_type as u64)))
}

#[cfg(not(target_os = "linux"))]
fn tells_of_lost_writes(_path: &Path) -> bool {
    false
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
    direct: bool,
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            match self.file.read_at(rest, position + filled as u64) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    // The end of the file: a direct read cannot go on in the middle of a block.
                    if self.direct && !count.is_multiple_of(BLOCK_BYTES) {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, slices: &[&[u8]], mut position: u64) -> io::Result<()> {
        /// The kernel takes no more slices in one call.
        const SLICES_MAX: usize = 1024;
        if let [only] = slices {
            return self.file.write_all_at(only, position);
        }
        for slices in slices.chunks(SLICES_MAX) {
            let mut remaining: Vec<IoSlice<'_>> =
                slices.iter().map(|slice| IoSlice::new(slice)).collect();
            let mut remaining = &mut remaining[..];
            while !remaining.is_empty() {
                match rustix::io::pwritev(&self.file, remaining, position) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => {
                        position += count as u64;
                        IoSlice::advance_slices(&mut remaining, count);
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(failed_sync)
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn allocate(&self, position: u64, bytes: u64) -> io::Result<()> {
        use rustix::fs::FallocateFlags;
        let allocate =
            || rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, position, bytes);
        match rustix::io::retry_on_intr(allocate) {
            // Not every file system can. The room is then taken when it is written to.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }
}
