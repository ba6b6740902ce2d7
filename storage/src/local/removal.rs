//! Removes what was renamed before, so that nobody takes it for what it was.

use std::sync::Arc;

use super::log_dir::{AGAIN_MS, Doomed, LogDir};
use crate::env::fs::{if_found, is_passing};

/// When a removal is tried again that has failed for a reason that may last.
const REMOVED_AGAIN_MS: u64 = 3_600_000;

impl LogDir {
    pub(super) fn remove(self: &Arc<Self>, doomed: Doomed) {
        let (path, removed) = match &doomed {
            Doomed::Directory(path) => (Some(path), if_found(self.fs.remove_dir_all(path))),
            Doomed::Files(paths) => {
                let mut paths = paths.iter();
                let failed = paths.find_map(|path| {
                    let removed = if_found(self.fs.remove_file(path));
                    removed.err().map(|error| (Some(path), Err(error)))
                });
                failed.unwrap_or((None, Ok(None)))
            }
            Doomed::Again(_) => (None, Ok(None)),
        };
        if let Doomed::Again(job) = doomed {
            return job(self);
        }
        if let Err(error) = removed {
            let path = path.map(|path| path.display());
            tracing::warn!(?path, %error, "what was deleted could not be removed; it is tried again");
            let delay_ms = match is_passing(&error) {
                true => AGAIN_MS,
                false => REMOVED_AGAIN_MS,
            };
            self.remove_after(delay_ms, doomed);
        }
    }
}
