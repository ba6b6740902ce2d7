//! Go clients: the programs of the module `clients/go/`, built on first use.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::toolchain::{crate_dir, find, prepare_once, run};

/// Builds `clients/go/CLIENT` and gives the program.
///
/// # Errors
/// [`crate::Missing`] where there is no Go; the compiler's output where it does not build.
pub fn program(client: &str) -> Result<PathBuf> {
    find("go")?;
    let module = crate_dir().join("clients/go");
    let mut inputs = String::new();
    for dir in [".", "across", "capability", client] {
        inputs += &sources(&module.join(dir))?;
    }
    let dir = crate_dir().join(".cache").join(client);
    let program = dir.join("program");
    prepare_once(&dir, &inputs, || {
        let mut build = Command::new("go");
        build
            .current_dir(&module)
            .args(["build", "-o"])
            .arg(&program)
            .arg(format!("./{client}"));
        run(&mut build).map(|_| ())
    })?;
    Ok(program)
}

/// All files of a directory, one behind the other.
pub(crate) fn sources(dir: &Path) -> Result<String> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    paths
        .iter()
        .map(|path| Ok(std::fs::read_to_string(path)?))
        .collect()
}
