//! What users install: made of the binary at hand, installed as they install it, and used.

mod crates;
mod deb;
mod image;
mod lint;
mod npm;
mod python;
mod version;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow};
use compat_tests::Missing;
use compat_tests::broker_process::ottla_binary;
use compat_tests::toolchain::{crate_dir, find, run};

/// A file of the source.
fn source(path: &str) -> PathBuf {
    crate_dir().join("..").join(path)
}

fn read(path: &str) -> Result<String> {
    let path = source(path);
    std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
}

/// The version of the workspace, which stands in one place.
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The binary as it is shipped: without what debuggers need, which is nine tenths of it.
fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let stripped = || -> Result<PathBuf> {
        find("strip")?;
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ottla");
        run(Command::new("strip")
            .arg("-o")
            .arg(&path)
            .arg(ottla_binary()?))?;
        Ok(path)
    };
    let made = BINARY.get_or_init(|| stripped().map_err(|error| format!("{error:#}")));
    made.as_deref().map_err(|error| anyhow!("{error}"))
}

/// `command` as root on a copy of this machine, with a network and processes of its own. Nothing of it stays.
///
/// # Errors
/// [`Missing`] where that cannot be had.
fn on_a_copy(command: &Command) -> Result<Command> {
    let script = source("compat-tests/tests/packages/on_a_copy");
    let copy = || {
        if rustix::process::getuid().is_root() {
            return Command::new(&script);
        }
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "--preserve-env"]).arg(&script);
        sudo
    };
    if let Err(error) = run(copy().arg("true")) {
        return Err(Missing(format!("no copy of this machine can be had: {error:#}")).into());
    }
    let mut copied = copy();
    copied.arg(command.get_program()).args(command.get_args());
    copied.envs(
        command
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    Ok(copied)
}
