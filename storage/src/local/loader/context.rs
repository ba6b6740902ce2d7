//! The loader's input, its result and its errors.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::fs::{self, Fs};
use crate::local::segment::open_files::LogPath;
use crate::local::segment::{OpenSegment, Segment};
use crate::log::TopicPartition;
use crate::log::leader_epoch::LeaderEpochs;
use crate::log::producer_state::ProducerState;
use crate::log::transaction_index::AbortedTxn;

/// A log as it was found.
pub(crate) struct Loaded {
    /// All segments; the last is `open`.
    pub segments: Vec<Arc<Segment>>,
    pub open: Option<OpenSegment>,
    pub log_start_offset: i64,
    pub log_end_offset: i64,
    pub size_bytes: u64,
    pub may_have_gaps: bool,
    /// Gaps lie below this offset only.
    pub gaps_below: i64,
    pub producers: ProducerState,
    pub epochs: LeaderEpochs,
    /// The epochs are not in their file yet.
    pub epochs_changed: bool,
    pub aborted: Vec<AbortedTxn>,
    pub snapshots: Vec<i64>,
    /// The offset of each note.
    pub notes: [Option<i64>; 2],
    /// Bytes of batches behind the newest of the snapshots.
    pub bytes_since_snapshot: u64,
    /// Files of segments that were deleted before.
    pub left_over: Vec<PathBuf>,
    /// The directory was there, with files in it.
    pub has_files: bool,
    /// The directory belonged to another topic and was set aside. What else is known by the name is that topic's, too.
    pub was_anothers: bool,
}

/// Why a log cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is damaged at byte {position}: {what}", .path.display())]
    Damaged {
        path: PathBuf,
        position: u64,
        what: String,
    },
}

impl LoadError {
    /// Whether it may go well another time.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if fs::is_passing(source))
    }
}

/// What decides how a directory is read.
pub(crate) struct LoadContext<'a> {
    pub fs: &'a dyn Fs,
    pub id: &'a TopicPartition,
    pub dir: &'a Arc<LogPath>,
    pub index_interval_bytes: u64,
    pub now_ms: i64,
    pub producer_id_expiration_ms: i64,
    /// From the checkpoint of log start offsets.
    pub log_start_offset: Option<i64>,
    /// Bytes at the end may never have reached the disk. What is not whole is cut off.
    pub may_cut_tail: bool,
    /// Up to where the segments are known to be on stable media.
    pub recovery_point: i64,
    /// What readers have seen may be gone: only the page cache was promised, and the last shutdown was not orderly.
    pub may_have_shrunk: bool,
    /// Where the log ended when it was closed in order, if nothing has happened to it since.
    pub closed_at: Option<i64>,
}

pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> LoadError + '_ {
    |source| LoadError::Io {
        path: path.to_owned(),
        source,
    }
}
