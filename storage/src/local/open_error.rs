//! Why a log directory does not open, in sentences for the operator.

use std::io;
use std::path::{Path, PathBuf};

use crate::env::fs::is_passing;

/// Why a log directory was not opened. Nothing in it was deleted.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("log directory {} is in use by another broker", .dir.display())]
    Locked { dir: PathBuf },
    #[error("log directory {} is not writable: {source}", .dir.display())]
    NotWritable {
        dir: PathBuf,
        source: std::io::Error,
    },
    #[error("{} was written by a newer version of this broker (format {found})", .path.display())]
    NewerFormat { path: PathBuf, found: u16 },
    /// Acknowledged data may be missing in the middle of the write-ahead log.
    #[error("hole in the write-ahead log: {}: {what}", .path.display())]
    HoleInWal { path: PathBuf, what: String },
    /// A file is not what the other files say it is.
    #[error("damaged: {}: {what}", .path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl OpenError {
    /// Whether the start may go well another time.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NotWritable { source, .. } | Self::Io { source, .. } => is_passing(source),
            _ => false,
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
