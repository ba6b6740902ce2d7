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

/// The tests that a client has of itself.
pub struct OwnTests {
    pub version: String,
    pub program: PathBuf,
    /// Where they expect to run.
    pub dir: PathBuf,
}

/// Builds the tests of a package of a client that `clients/go/` uses. Go's proxy serves them with the client.
///
/// # Errors
/// [`crate::Missing`] where there is no Go; the compiler's output where they do not build.
pub fn own_tests(module: &str, package: &str) -> Result<OwnTests> {
    find("go")?;
    let go = |arguments: &[&str]| {
        let mut go = Command::new("go");
        go.current_dir(crate_dir().join("clients/go"));
        run(go.args(arguments))
    };
    go(&["mod", "download", module])?;
    let found = go(&["list", "-m", "-f", "{{.Version}} {{.Dir}}", module])?;
    let (version, dir) = found.trim().split_once(' ').context("it is there")?;
    let dir = Path::new(dir).join(package);
    let name = package.replace('/', "-");
    let built = crate_dir().join(".cache").join(format!("tests-of-{name}"));
    let program = built.join("tests");
    prepare_once(&built, version, || {
        let mut build = Command::new("go");
        build
            .current_dir(&dir)
            .args(["test", "-c", "-o"])
            .arg(&program);
        run(&mut build).map(|_| ())
    })?;
    Ok(OwnTests {
        version: version.to_owned(),
        program,
        dir,
    })
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
