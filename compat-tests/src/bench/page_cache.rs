//! Makes reads cold.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::{Advice, fadvise};

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
