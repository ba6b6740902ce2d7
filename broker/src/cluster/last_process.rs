//! Which process this broker was before.
//!
//! A broker that was killed has its lease until that ends, and nobody else is given its id before: it may be there, and two
//! machines may have been given one id by mistake. The next process of the same data directory need not wait for it. The directory
//! is locked, so the last one is gone. And if it was not, as when a machine was copied with its directory, nothing could come of
//! it but that one of the two stops: the database takes nothing any more from whoever has not registered last.
//!
//! So a process notes its incarnation in the directory, and the next one names it when it registers
//! ([`Registration::replaces`](storage::object::database::Registration)). Without the file, as in a container whose directory is
//! new, the broker waits.

use std::path::{Path, PathBuf};

use storage::env::fs::{self, Fs as _, LockGuard, RealFs};
use storage::local::OpenError;
use tracing::warn;
use uuid::Uuid;

const LOCK_FILE: &str = ".lock";
const INCARNATION_FILE: &str = "incarnation";

/// The data directory of a broker in a cluster, which is this process's alone until it is dropped.
pub(crate) struct LastProcess {
    path: PathBuf,
    /// `None`: nobody knows.
    pub(super) incarnation: Option<Uuid>,
    lock: Option<LockGuard>,
}

impl LastProcess {
    /// Looks who was here. A broker of a cluster serves without its directory, too: one that cannot be written is a warning.
    ///
    /// # Errors
    /// [`OpenError::Locked`]: another process is here now.
    pub(super) fn of(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(INCARNATION_FILE);
        match RealFs.lock(&dir.join(LOCK_FILE)) {
            Ok(Some(lock)) => Ok(Self {
                incarnation: read(&path),
                path,
                lock: Some(lock),
            }),
            Ok(None) => Err(OpenError::Locked {
                dir: dir.to_owned(),
            }),
            Err(error) => {
                warn!(
                    dir = %dir.display(), %error,
                    "the data directory cannot be locked: after a kill this broker will have to wait for its old lease"
                );
                Ok(Self {
                    path,
                    incarnation: None,
                    lock: None,
                })
            }
        }
    }

    /// This process has registered.
    pub(super) fn is_now(&self, incarnation: Uuid) {
        if self.lock.is_none() {
            return;
        }
        let text = format!("{incarnation}\n");
        if let Err(error) = fs::replace(&RealFs, &self.path, text.as_bytes()) {
            let path = self.path.display();
            warn!(%path, %error, "after a kill this broker will have to wait for its old lease");
        }
    }
}

fn read(path: &Path) -> Option<Uuid> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_finds_the_one_before_and_no_other_beside_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let id = Uuid::from_u128(7);
        let first = LastProcess::of(dir.path()).expect("free");
        assert_eq!(first.incarnation, None);
        first.is_now(id);
        let beside = LastProcess::of(dir.path());
        assert!(matches!(beside, Err(OpenError::Locked { .. })));
        drop(first);
        let second = LastProcess::of(dir.path()).expect("free again");
        assert_eq!(second.incarnation, Some(id));
        drop(second);
        std::fs::write(dir.path().join(INCARNATION_FILE), "").expect("torn");
        let third = LastProcess::of(dir.path()).expect("free again");
        assert_eq!(third.incarnation, None);
    }
}
