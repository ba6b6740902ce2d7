//! What is told of a copy of a store.

use std::path::PathBuf;
use std::time::Duration;

/// A file of this name is the caller's: it may be in the directory of a snapshot from the beginning.
pub const SNAPSHOT_MANIFEST: &str = "ottla-snapshot.json";

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotProgress {
    /// Bytes that were read so far, to be copied or to be summed up, of `total_bytes`.
    pub done_bytes: u64,
    pub total_bytes: u64,
}

/// One file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Below the snapshot's directory.
    pub path: PathBuf,
    pub bytes: u64,
    /// CRC-32C of all of them.
    pub crc: u32,
    /// It is never written to again, so that it may have names in several directories.
    pub is_shared: bool,
}

/// A copy of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub files: Vec<SnapshotFile>,
    pub logs: usize,
    /// Bytes of files that have one more name now, and take no room of their own as long as both names are there.
    pub linked_bytes: u64,
    pub copied_bytes: u64,
    /// For how long nothing was committed.
    pub commits_waited: Duration,
    /// For how long nothing was deleted or compacted.
    pub changes_waited: Duration,
}
