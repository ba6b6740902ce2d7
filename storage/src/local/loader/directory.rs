//! What a log's directory holds, by the names in it, and whose it is.

use std::path::PathBuf;

use uuid::Uuid;

use super::context::{LoadContext, LoadError, io_error};
use super::gaps::read_gaps;
use crate::env::fs::{self};
use crate::local::owner::{METADATA_FILE, owner_of, set_aside};
use crate::local::segment::swap;
use crate::local::segment::writer::SNAPSHOT_SUFFIX;
use crate::local::segment::{DELETED_SUFFIX, Part, offset_of};

/// A log's directory. Another topic's was set aside and counts as empty.
pub(super) struct Directory {
    /// Sorted.
    pub names: Vec<String>,
    /// The topic id in it, if there is one and the directory is this log's.
    pub owner: Option<Uuid>,
    /// The directory was another topic's.
    pub was_anothers: bool,
    /// There are files, and nothing says whose.
    pub is_foreign: bool,
    /// Offsets may be missing below this one.
    pub gaps_below: i64,
    /// The log does not begin before this offset.
    pub durable_start: i64,
}

impl Directory {
    /// Reads the names. A replacement of segments that a crash has cut short is brought to its end first.
    pub fn look_at(context: &LoadContext<'_>) -> Result<Self, LoadError> {
        let (fs, dir) = (context.fs, &**context.dir);
        let names = |entries: Vec<fs::DirEntry>| entries.into_iter().map(|entry| entry.name);
        let entries = fs::if_found(fs.list(dir)).map_err(io_error(dir))?;
        let mut found: Vec<String> = names(entries.unwrap_or_default()).collect();
        let is_replacing = |name: &String| {
            [swap::CLEANED, swap::SWAP]
                .iter()
                .any(|suffix| name.ends_with(suffix))
        };
        if found.iter().any(is_replacing) {
            // The process ended while segments were replaced.
            swap::recover(fs, dir).map_err(io_error(dir))?;
            found = names(fs.list(dir).map_err(io_error(dir))?).collect();
        }
        found.sort_unstable();
        let mut directory = Self {
            names: found,
            owner: None,
            was_anothers: false,
            is_foreign: false,
            gaps_below: 0,
            durable_start: context.log_start_offset.unwrap_or(0),
        };
        if !directory.names.is_empty() {
            directory.find_owner(context)?;
        }
        let has_tag = directory.names.iter().any(|name| name == METADATA_FILE);
        directory.is_foreign = !directory.names.is_empty() && !has_tag;
        directory.gaps_below = match directory.is_foreign {
            true => i64::MAX,
            false => read_gaps(fs, dir)?,
        };
        Ok(directory)
    }

    fn find_owner(&mut self, context: &LoadContext<'_>) -> Result<(), LoadError> {
        let (fs, dir) = (context.fs, &**context.dir);
        self.owner = owner_of(fs, dir).map_err(io_error(dir))?;
        self.was_anothers = self.owner.is_some_and(|owner| owner != context.id.topic_id);
        // After a crash nobody can tell whose a directory without a name tag is: it may be an earlier topic's. Nothing in
        // it was part of a checkpoint, which would have made the tag durable.
        if self.was_anothers || (self.owner.is_none() && context.may_cut_tail) {
            set_aside(fs, dir).map_err(io_error(dir))?;
            self.names.clear();
        }
        if self.was_anothers {
            // What is known by this name is the other topic's: if it were this one's, its tag would be in the directory.
            (self.owner, self.durable_start) = (None, 0);
        }
        Ok(())
    }

    /// The base offsets of segments that have such a file, in order.
    pub fn offsets(&self, part: Part) -> impl Iterator<Item = i64> {
        self.names
            .iter()
            .filter_map(move |name| offset_of(name, part.suffix()))
    }

    /// The offsets of the snapshots of producers, in order.
    pub fn snapshots(&self) -> Vec<i64> {
        self.names
            .iter()
            .filter_map(|name| offset_of(name, SNAPSHOT_SUFFIX))
            .collect()
    }

    /// Files of segments that were removed before.
    pub fn left_over(&self, context: &LoadContext<'_>) -> Vec<PathBuf> {
        self.names
            .iter()
            .filter(|name| name.ends_with(DELETED_SUFFIX))
            .map(|name| context.dir.join(name))
            .collect()
    }
}
