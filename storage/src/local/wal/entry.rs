//! Entries of the write-ahead log, and why one may be refused.

use super::chunk::ChunkSlice;
use super::format::{EntryKind, Place};

/// Why an entry is not in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// Not written, and nothing will be until a restart.
    #[error("the log directory is offline: {0}")]
    Offline(String),
    /// The write failed while this entry was in it: it may or may not be found after a restart.
    #[error("writing the write-ahead log failed: {0}")]
    WriteFailed(String),
    #[error("the log directory is shut down")]
    Closed,
    #[error("no memory for the write-ahead log: {0}")]
    NoMemory(String),
    #[error("{bytes} bytes do not fit into the write-ahead log, which takes {limit_bytes} at once")]
    TooLarge { bytes: usize, limit_bytes: usize },
    #[error("no space left for {0} bytes in the write-ahead log")]
    NoRoom(usize),
}

/// Called once, by the thread that commits, which holds no lock. It is given the entry's payload as it was written, or why
/// it was not.
pub type OnDurable = Box<dyn FnOnce(Result<ChunkSlice, WalError>) + Send>;

/// An entry to be appended.
pub struct NewEntry<'a> {
    pub log_id: u32,
    pub kind: EntryKind,
    pub offset: i64,
    pub place: Place,
    /// Copied into the log; the copy is what `patch` changes.
    pub payload: &'a [u8],
    /// `on_durable` must not be called before the entry is on stable media, even where that is not waited for otherwise.
    pub strict: bool,
    /// The caller goes on with [`Wal::commit_here`]: the commit thread need not be woken.
    pub commits_here: bool,
}

/// Changes the copy of a payload in the log.
pub type Patch<'a> = Box<dyn FnOnce(&mut [u8]) + 'a>;

/// One of the entries that are appended together.
pub struct JointEntry<'a> {
    pub entry: NewEntry<'a>,
    /// The name of the log, if the write-ahead log does not have it yet.
    pub declaration: Option<Vec<u8>>,
    pub patch: Patch<'a>,
    pub on_durable: OnDurable,
}
