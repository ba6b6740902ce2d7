//! A small file system, for a disk that is full.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::toolchain::run;

/// In memory; gone when it is dropped.
pub struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// Mounts one.
    ///
    /// # Errors
    /// This process may not mount.
    pub fn mount() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("small-disk-").tempdir()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=300m", "none"]);
        run(mount.arg(dir.path())).context("no small disk to fill")?;
        Ok(Self { dir })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still uses it has it to himself.
        let _ = run(Command::new("umount").arg("-l").arg(self.dir.path()));
    }
}
