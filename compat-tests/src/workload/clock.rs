//! A wall clock of a broker's own, which can be put forward and back. The machine has only one, and others go by it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use tempfile::NamedTempFile;

use crate::toolchain::{crate_dir, prepare_once, run};

pub(super) struct WallClock {
    library: PathBuf,
    /// By how many seconds it is ahead. The broker has it in its memory.
    step: NamedTempFile,
}

impl WallClock {
    /// One that is right.
    ///
    /// # Errors
    /// [`crate::Missing`] where there is no C compiler.
    pub fn new() -> Result<Self> {
        let source = crate_dir().join("clients/clock/clock.c");
        let dir = crate_dir().join(".cache/clock");
        let library = dir.join("clock.so");
        prepare_once(&dir, &std::fs::read_to_string(&source)?, || {
            let mut compiler = Command::new("cc");
            compiler.args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]);
            run(compiler.arg(&library).arg(&source)).map(drop)
        })?;
        let clock = Self {
            library,
            step: NamedTempFile::new()?,
        };
        clock.step_to(0)?;
        Ok(clock)
    }

    /// What a broker that goes by it has in its environment.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let path = |path: &std::path::Path| path.display().to_string();
        [
            ("LD_PRELOAD", path(&self.library)),
            ("CLOCK_STEP_FILE", path(self.step.path())),
        ]
    }

    /// Puts it so far ahead of the machine's, or back.
    pub fn step_to(&self, seconds: i64) -> Result<()> {
        let file: &File = self.step.as_file();
        Ok(file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }
}
