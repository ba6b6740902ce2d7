//! Python clients: one virtual environment for each pinned set of packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::toolchain::{Missing, crate_dir, prepare_once, run};

/// A virtual environment with one client in it.
pub struct Python {
    interpreter: PathBuf,
    programs: PathBuf,
}

impl Python {
    /// The environment for `clients/CLIENT/requirements-VERSION.txt`, made on first use.
    ///
    /// A `site-VERSION.pth` beside it is run when the environment's Python starts: it gives an old client
    /// what a new Python has taken away, without a change to the client.
    ///
    /// # Errors
    /// [`Missing`] where there is no Python 3 with venv; pip's output where the packages do not install.
    pub fn with(client: &str, version: &str) -> Result<Self> {
        let programs = crate_dir().join("clients").join(client);
        let requirements = programs.join(format!("requirements-{version}.txt"));
        let pinned = fs::read_to_string(&requirements)
            .with_context(|| format!("{}", requirements.display()))?;
        let startup =
            fs::read_to_string(programs.join(format!("site-{version}.pth"))).unwrap_or_default();
        let python = run(Command::new("python3").args(["-c", "import sys; print(sys.version)"]))?;
        let venv = crate_dir()
            .join(".venvs")
            .join(format!("{client}-{version}"));
        prepare_once(&venv, &format!("{python}\n{pinned}\n{startup}"), || {
            make(&venv, &requirements, &startup)
        })?;
        Ok(Self {
            interpreter: venv.join("bin/python"),
            programs,
        })
    }

    /// A program that the packages have brought.
    pub fn installed(&self, program: &str) -> PathBuf {
        self.interpreter.with_file_name(program)
    }

    /// A command that runs a program of the client's directory; what all Python programs share is in `clients/`.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.interpreter);
        command
            .env("PYTHONPATH", crate_dir().join("clients"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg("-u")
            .arg(self.programs.join(program))
            .args(args);
        command
    }
}

fn make(venv: &Path, requirements: &Path, startup: &str) -> Result<()> {
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(venv)
        .output()?;
    if !made.status.success() {
        let reason = String::from_utf8_lossy(&made.stdout);
        // Debian ships venv's second half in a package of its own, python3-venv.
        if reason.contains("ensurepip") {
            return Err(Missing("python3 has no venv (on Debian: python3-venv)".to_owned()).into());
        }
        bail!(
            "python3 -m venv: {reason}{}",
            String::from_utf8_lossy(&made.stderr)
        );
    }
    let python = venv.join("bin/python");
    run(Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ])
        .arg(requirements))?;
    if !startup.is_empty() {
        let packages = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let packages = run(Command::new(&python).args(["-c", packages]))?;
        fs::write(Path::new(packages.trim()).join("startup.pth"), startup)?;
    }
    Ok(())
}
