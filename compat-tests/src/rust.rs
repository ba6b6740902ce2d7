//! Rust clients: the package `clients/CLIENT`, built on first use.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::toolchain::{crate_dir, find, run};

/// Builds `clients/CLIENT` and gives the program. It is no part of the workspace: its dependencies would be built for everybody.
///
/// # Errors
/// [`crate::Missing`] where there is nothing to build C with; the compiler's output where it does not build.
pub fn program(client: &str) -> Result<PathBuf> {
    for tool in ["cc", "make"] {
        find(tool)?;
    }
    let target = crate_dir().join(".cache").join(client);
    // What is up to date, and who builds first, is cargo's own business.
    run(cargo()
        .args(["build", "--locked", "--quiet", "--target-dir"])
        .arg(&target)
        .current_dir(crate_dir().join("clients").join(client)))?;
    Ok(target.join("debug").join(format!("compat-tests-{client}")))
}

/// The cargo that runs the tests.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
