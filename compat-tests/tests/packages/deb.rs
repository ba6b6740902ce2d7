//! The Debian package: built, installed by dpkg on a copy of the machine, served as its unit says, removed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use compat_tests::toolchain::{available, find, run};
use tempfile::TempDir;

use crate::{binary, on_a_copy, source};

fn installed(out: &Path) -> Result<Command> {
    find("dpkg-deb")?;
    let python = find("python3")?;
    let mut build = Command::new(source("packaging/deb/build"));
    // A debug build is large, and has not far to go.
    build.envs([
        ("DPKG_DEB_COMPRESSOR_TYPE", "gzip"),
        ("DPKG_DEB_COMPRESSOR_LEVEL", "1"),
    ]);
    run(build.arg(binary()?).arg(out))?;
    let package = std::fs::read_dir(out)?
        .next()
        .context("there is a package")??;
    let mut command = Command::new(python);
    command
        .arg(source("compat-tests/tests/packages/deb.py"))
        .arg(package.path());
    on_a_copy(&command)
}

#[test]
fn dpkg_installs_a_service() -> Result<()> {
    let out = TempDir::new()?;
    let Some(mut installed) = available(installed(out.path()))? else {
        return Ok(());
    };
    assert_eq!(run(&mut installed)?.lines().last(), Some("done"));
    Ok(())
}
