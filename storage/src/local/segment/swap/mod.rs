//! Replaces the files of segments by those of one cleaned segment, so that a crash leaves either the one or the
//! other. File names and stages are Kafka's (LocalLog.replaceSegments, LogLoader), with a sync of the directory
//! between the stages: without it the file system may make a later one durable before an earlier one.
//!
//! | stage | files of the cleaned segment | files of the replaced ones | a crash leaves |
//! |---|---|---|---|
//! | 1 written and synced | `.cleaned` | there | the old: [`recover`] removes `.cleaned` |
//! | 2 renamed | some or all `.swap` | there | the old while there is a `.cleaned`, else the new |
//! | 3 old ones removed | `.swap` | some or none | the new: `recover` removes the rest |
//! | 4 renamed, the `.log` first | some `.swap` | none | the new: `recover` renames the rest |

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::env::fs::{self, Access, Fs};
use crate::record::BatchHeader;
use crate::record::batch::BATCH_HEADER_BYTES;

/// The suffix of the files of a segment that is being cleaned.
pub const CLEANED: &str = "cleaned";
/// The suffix of the files of a cleaned segment that has taken the place of others.
pub const SWAP: &str = "swap";

const LOG: &str = "log";
const PARTS: [&str; 4] = [LOG, "index", "timeindex", "txnindex"];

/// Path of a segment's file: `part` is `log`, `index`, `timeindex` or `txnindex`; `suffix` may be empty.
pub fn path(dir: &Path, base_offset: i64, part: &str, suffix: &str) -> PathBuf {
    let dot = if suffix.is_empty() { "" } else { "." };
    dir.join(format!("{base_offset:020}.{part}{dot}{suffix}"))
}

/// Lets the files of the cleaned segment at `base_offset`, written and synced under names that end in `.cleaned`,
/// take the place of the segments at `replaced`; it is the first of those.
///
/// Files that are open stay readable. Nobody may open one of these segments meanwhile.
///
/// # Errors
/// Some stage was not reached: only [`recover`] can tell which segments there are now.
pub fn replace(fs: &dyn Fs, dir: &Path, base_offset: i64, replaced: &[i64]) -> io::Result<()> {
    fs.sync_dir(dir)?;
    for part in PARTS {
        let from = path(dir, base_offset, part, CLEANED);
        fs::if_found(fs.rename(&from, &path(dir, base_offset, part, SWAP)))?;
    }
    fs.sync_dir(dir)?;
    finish(fs, dir, base_offset, replaced)
}

/// Removes what there is of a cleaned segment that will not be used, or was not before one is begun anew.
pub fn discard(fs: &dyn Fs, dir: &Path, base_offset: i64) -> io::Result<()> {
    // While any `.cleaned` is there, no `.swap` counts.
    for suffix in [SWAP, CLEANED] {
        for part in PARTS {
            fs::if_found(fs.remove_file(&path(dir, base_offset, part, suffix)))?;
        }
        fs.sync_dir(dir)?;
    }
    Ok(())
}

/// Finishes or takes back what [`replace`] had begun when the process ended; true if there was anything.
///
/// Called before the segments of the directory are looked at. May itself be interrupted and called again.
pub fn recover(fs: &dyn Fs, dir: &Path) -> io::Result<bool> {
    let mut cleaned = BTreeSet::new();
    let mut swaps: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    let mut segments = BTreeSet::new();
    for entry in fs.list(dir)? {
        match parse(&entry.name) {
            Some((base_offset, _, CLEANED)) => {
                cleaned.insert(base_offset);
            }
            Some((base_offset, part, SWAP)) => swaps.entry(base_offset).or_default().push(part),
            Some((base_offset, _, "")) => {
                segments.insert(base_offset);
            }
            _ => {}
        }
    }
    let found = !cleaned.is_empty() || !swaps.is_empty();
    for &base_offset in &cleaned {
        discard(fs, dir, base_offset)?;
        swaps.remove(&base_offset);
    }
    if !swaps.is_empty() {
        // A process that was killed may have renamed them and not come to sync that. If a power cut took the new names back
        // and not the removal of the old files, neither would be there.
        fs.sync_dir(dir)?;
    }
    for (&base_offset, parts) in &swaps {
        if parts.contains(&LOG) {
            let end_offset = next_offset(fs, &path(dir, base_offset, LOG, SWAP), base_offset)?;
            // Even an empty segment replaces the one of its name.
            let replaced = segments.range(base_offset..end_offset.max(base_offset + 1));
            let replaced: Vec<i64> = replaced.copied().collect();
            finish(fs, dir, base_offset, &replaced)?;
        } else {
            rename_to_final(fs, dir, base_offset)?;
        }
    }
    Ok(found)
}

/// Stages 3 and 4. All files of the replaced segments go before the log gets its final name, and that one is durable
/// before the next: so as long as there is a `.log.swap`, what has its final name is old.
fn finish(fs: &dyn Fs, dir: &Path, base_offset: i64, replaced: &[i64]) -> io::Result<()> {
    for &old in replaced {
        for part in PARTS {
            fs::if_found(fs.remove_file(&path(dir, old, part, "")))?;
        }
    }
    fs.sync_dir(dir)?;
    let swap = path(dir, base_offset, LOG, SWAP);
    fs.rename(&swap, &path(dir, base_offset, LOG, ""))?;
    fs.sync_dir(dir)?;
    rename_to_final(fs, dir, base_offset)
}

fn rename_to_final(fs: &dyn Fs, dir: &Path, base_offset: i64) -> io::Result<()> {
    for part in PARTS {
        let from = path(dir, base_offset, part, SWAP);
        fs::if_found(fs.rename(&from, &path(dir, base_offset, part, "")))?;
    }
    fs.sync_dir(dir)
}

/// Offset, part and suffix in the name of a file of a segment.
fn parse(name: &str) -> Option<(i64, &'static str, &str)> {
    let (digits, rest) = name.split_once('.')?;
    let (part, suffix) = rest.split_once('.').unwrap_or((rest, ""));
    let part = PARTS.into_iter().find(|known| *known == part)?;
    let well_formed = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((digits.parse().ok().filter(|_| well_formed)?, part, suffix))
}

/// The offset after the last batch of a log file.
fn next_offset(fs: &dyn Fs, path: &Path, base_offset: i64) -> io::Result<i64> {
    let file = fs.open(path, Access::Read)?;
    let file_bytes = file.size_bytes()?;
    let mut next_offset = base_offset;
    let mut position = 0;
    while position < file_bytes {
        let mut header = [0; BATCH_HEADER_BYTES];
        let read = file.read_at(&mut header, position)?;
        let header = BatchHeader::parse(&header[..read]).map_err(|error| {
            let what = format!("{} at {position}: {error}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        next_offset = header.next_offset();
        position += header.size_bytes() as u64;
    }
    Ok(next_offset)
}

#[cfg(test)]
mod tests;
