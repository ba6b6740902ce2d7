//! What the suites need besides Rust, and what happens where it is missing.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Something this machine does not have; the test that needs it is skipped, or fails when `CI=true`.
#[derive(Debug)]
pub struct Missing(pub String);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// Gives what `found` holds, or `None` and a `SKIPPED` line where the toolchain is missing.
///
/// # Errors
/// Any error other than [`Missing`]; and [`Missing`] too when `CI=true`, where a suite that silently
/// does not run would look like one that passes.
pub fn available<T>(found: Result<T>) -> Result<Option<T>> {
    let error = match found {
        Ok(found) => return Ok(Some(found)),
        Err(error) => error,
    };
    match error.downcast::<Missing>() {
        Ok(missing) if in_ci() => bail!("missing, and CI=true: {missing}"),
        Ok(missing) => {
            skip(&missing.0);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// Prints why the running test does nothing. Written past the test harness's capture: it must be seen.
pub fn skip(reason: &str) {
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    // Nothing can be done about a closed stderr, and the test's outcome does not depend on it.
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {reason}");
}

/// Whether `CI=true`.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// The directory of this crate, where `clients/`, `.venvs/` and `.cache/` are.
pub fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Prepares `dir` once, however many test processes ask at the same time.
///
/// `inputs` is everything the result depends on; the directory is made anew when they change.
///
/// # Errors
/// What `prepare` gives. A directory left half-made is removed before the next attempt.
pub fn prepare_once(dir: &Path, inputs: &str, prepare: impl FnOnce() -> Result<()>) -> Result<()> {
    let parent = dir.parent().context("a prepared directory has a parent")?;
    fs::create_dir_all(parent)?;
    let lock_path = dir.with_extension("lock");
    let lock = File::create(&lock_path).with_context(|| format!("{}", lock_path.display()))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;

    let marker = dir.join(".complete");
    if fs::read_to_string(&marker).is_ok_and(|made_from| made_from == inputs) {
        return Ok(());
    }
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    prepare()?;
    fs::write(marker, inputs)?;
    Ok(())
}

/// Runs a preparing command to its end.
///
/// # Errors
/// [`Missing`] when the program does not exist; its whole output when it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Missing(format!("{program} is not installed")).into());
        }
        Err(error) => return Err(error).context(program),
    };
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}\n{stdout}\n{stderr}", output.status);
    }
    Ok(stdout)
}

/// The program `name` on the PATH.
///
/// # Errors
/// [`Missing`] when there is none.
pub fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Missing(format!("{name} is not installed")).into())
}
