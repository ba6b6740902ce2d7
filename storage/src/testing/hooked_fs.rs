//! The real file system with something in the way. For tests.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::fs::{Access, DirEntry, File, FileSystemSync, Fs, LockGuard, RealFs, Space};

/// What happens before operations (after reads): it may wait, and an error is what the operation gives.
pub trait Hooks: Debug + Send + Sync + 'static {
    fn open(&self, _path: &Path, _access: Access) -> io::Result<()> {
        Ok(())
    }
    /// A file that was opened is let go.
    fn close(&self, _path: &Path) {}
    fn list(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    /// So many bytes were read.
    fn read(&self, _path: &Path, _bytes: usize) {}
    fn write(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    fn sync(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    /// A file is to be given this name, too.
    fn link(&self, _to: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// [`RealFs`] behind [`Hooks`].
#[derive(Debug)]
pub struct HookedFs<H>(pub Arc<H>);

#[derive(Debug)]
struct HookedFile<H: Hooks> {
    path: PathBuf,
    file: Arc<dyn File>,
    hooks: Arc<H>,
}

impl<H: Hooks> Drop for HookedFile<H> {
    fn drop(&mut self) {
        self.hooks.close(&self.path);
    }
}

impl<H: Hooks> Fs for HookedFs<H> {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        self.0.open(path, access)?;
        let file = RealFs
            .open(path, access)
            .inspect_err(|_| self.0.close(path))?;
        Ok(Arc::new(HookedFile {
            path: path.to_owned(),
            file,
            hooks: Arc::clone(&self.0),
        }))
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.list(path)?;
        RealFs.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.link(to)?;
        RealFs.hard_link(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_dir(path)
    }
    fn file_system_sync(&self, path: &Path) -> Option<FileSystemSync> {
        let (sync, hooks, path) = (
            RealFs.file_system_sync(path)?,
            Arc::clone(&self.0),
            path.to_owned(),
        );
        Some(Arc::new(move || {
            hooks.sync(&path)?;
            sync()
        }))
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        RealFs.space(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        RealFs.lock(path)
    }
}

impl<H: Hooks> File for HookedFile<H> {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file
            .read_at(buffer, position)
            .inspect(|bytes| self.hooks.read(&self.path, *bytes))
    }
    fn write_at(&self, slices: &[&[u8]], position: u64) -> io::Result<()> {
        self.hooks.write(&self.path)?;
        self.file.write_at(slices, position)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.hooks.sync(&self.path)?;
        self.file.sync_data()
    }
    fn size_bytes(&self) -> io::Result<u64> {
        self.file.size_bytes()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
    fn allocate(&self, position: u64, bytes: u64) -> io::Result<()> {
        self.file.allocate(position, bytes)
    }
}
