//! The disk as a process sees it.

use std::hash::Hash;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc_fast::{CrcAlgorithm, checksum};
use parking_lot::MutexGuard;

use super::contents::Contents;
use super::{Disk, EVERYTHING, Fault, NameChange, SimFs, not_found};
use crate::env::fs::{
    Access, BLOCK_BYTES, DirEntry, File, FileSystemSync, Fs, LockGuard, Space, failed_sync,
};
#[cfg(feature = "simulation")]
use crate::testing::scheduler::switch;

/// A moment at which a simulation may let another thread run.
#[cfg(not(feature = "simulation"))]
fn switch() {}

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
        let is_last = disk.is_last(path);
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

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change("link", from, |disk, _| {
            to.hash(&mut disk.history);
            let (inode, place) = (disk.find(from)?, disk.place(to)?);
            disk.change_name(NameChange::Set(place, inode));
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

fn stopped() -> io::Error {
    io::Error::other("the power is gone")
}
