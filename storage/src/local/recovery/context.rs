//! What recovery works on, and why it may fail.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::env::clock::Clock;
use crate::env::fs::Fs;
use crate::local::loader::LoadError;
use crate::local::segment::direct::DirectIo;
use crate::local::segment::open_files::OpenFiles;
use crate::local::wal::replay::ReplayError;
use crate::log::RecoveryProgress;

/// Why the logs could not be recovered. Nothing that was acknowledged has been deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryError {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {what}", .path.display())]
    Inconsistent { path: PathBuf, what: String },
}

/// What recovery works on.
pub(crate) struct Recovery {
    pub fs: Arc<dyn Fs>,
    pub direct_io: Arc<DirectIo>,
    pub clock: Arc<dyn Clock>,
    pub open_files: Arc<OpenFiles>,
    /// The log directory.
    pub dir: PathBuf,
    pub wal_dir: PathBuf,
    pub progress: Arc<RecoveryProgress>,
    /// Segments may hold batches that the write-ahead log has lost.
    pub may_cut_tails: bool,
}

impl Recovery {
    pub(super) fn io_error(&self) -> impl FnOnce(io::Error) -> RecoveryError {
        let path = self.dir.clone();
        |source| RecoveryError::Io { path, source }
    }
}
