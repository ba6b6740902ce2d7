//! Go clients: one module each under `clients/`, built on first use.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::toolchain::{crate_dir, find, prepare_once, run};

/// Builds `clients/CLIENT` and gives the program.
///
/// # Errors
/// [`crate::Missing`] where there is no Go; the compiler's output where it does not build.
pub fn program(client: &str) -> Result<PathBuf> {
    find("go")?;
    let module = crate_dir().join("clients").join(client);
    let mut inputs = String::new();
    for name in ["main.go", "go.mod", "go.sum"] {
        let path = module.join(name);
        inputs += &std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    }
    let dir = crate_dir().join(".cache").join(client);
    let program = dir.join("program");
    prepare_once(&dir, &inputs, || {
        let mut build = Command::new("go");
        build
            .current_dir(&module)
            .args(["build", "-o"])
            .arg(&program)
            .arg(".");
        run(&mut build).map(|_| ())
    })?;
    Ok(program)
}
