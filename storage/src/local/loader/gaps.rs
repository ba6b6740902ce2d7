//! A file that says below which offset a log may have gaps.

use std::io;
use std::path::Path;

use super::context::{LoadError, io_error};
use crate::env::fs::{self, Access, Fs};

/// Stores the offset below which this log may have gaps. Kafka ignores the file.
pub(crate) const GAPS_FILE: &str = "offset-gaps";

/// Notes, durably, that offsets below `gaps_below` may be missing from now on.
pub(crate) fn note_gaps(fs: &dyn Fs, dir: &Path, gaps_below: i64) -> io::Result<()> {
    fs::replace(fs, &dir.join(GAPS_FILE), gaps_below.to_string().as_bytes())
}

/// Whether that is noted. A directory that was put here by hand has the file, durably, before it has a name tag.
pub(crate) fn are_noted(fs: &dyn Fs, dir: &Path) -> io::Result<bool> {
    let found = fs::if_found(fs.open(&dir.join(GAPS_FILE), Access::Read))?;
    Ok(found.is_some())
}

/// The offset below which some may be missing. A file that cannot be read may mean any.
pub(super) fn read_gaps(fs: &dyn Fs, dir: &Path) -> Result<i64, LoadError> {
    let path = dir.join(GAPS_FILE);
    let bytes = fs::if_found(fs::read_all(fs, &path)).map_err(io_error(&path))?;
    let text = bytes.map(String::from_utf8);
    Ok(text.map_or(0, |text| {
        text.ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(i64::MAX)
    }))
}
