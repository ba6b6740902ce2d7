//! Makes reads cold, and the page cache full.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::{Advice, fadvise};

/// Free memory that is left alone.
const SPARE_BYTES: u64 = 256 << 20;

/// Puts a machine into the state that it is in after days: all memory that nobody needs is page cache,
/// and a new page is an old one reused.
///
/// Without it the first to touch a free page of a virtual machine pays for the hypervisor's search for
/// memory, about as much again as for the write itself, and how many pages are free is chance.
pub struct Ballast {
    file: File,
    size_bytes: u64,
}

impl Ballast {
    /// None yet.
    ///
    /// # Errors
    /// The temporary directory cannot be written.
    pub fn new() -> Result<Self> {
        Ok(Self {
            file: tempfile::tempfile()?,
            size_bytes: 0,
        })
    }

    /// Fills what is free now with clean pages, by reading a hole as large in a file: that takes no disk.
    ///
    /// # Errors
    /// The file cannot grow so far.
    pub fn fill(&mut self) -> Result<()> {
        let from = self.size_bytes;
        self.size_bytes += memory_bytes("MemFree:")?.saturating_sub(SPARE_BYTES);
        self.file.set_len(self.size_bytes)?;
        let mut buffer = vec![0; 1 << 20];
        for at in (from..self.size_bytes).step_by(buffer.len()) {
            self.file.read_at(&mut buffer, at)?;
        }
        Ok(())
    }
}

fn memory_bytes(key: &str) -> Result<u64> {
    let memory = fs::read_to_string("/proc/meminfo")?;
    let line = memory.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib
        .with_context(|| format!("no {key} in /proc/meminfo"))?
        .parse::<u64>()?
        * 1024)
}

/// Writes every file under `dir` out and drops it from the page cache.
///
/// The kernel keeps pages that are dirty or mapped, so the broker must be down. Whether it worked shows
/// in [`bytes_read_from_disk`] of the broker that reads the files afterwards.
///
/// # Errors
/// A file cannot be opened or written out.
pub fn drop_files(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            drop_files(&entry.path())?;
        } else {
            let file = File::open(entry.path())?;
            file.sync_data()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// How many bytes storage has given to process `pid`, page cache not counted.
///
/// # Errors
/// The process is gone, or belongs to another user.
pub fn bytes_read_from_disk(pid: u32) -> Result<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "));
    Ok(line
        .context("no read_bytes in /proc/PID/io")?
        .trim()
        .parse()?)
}
