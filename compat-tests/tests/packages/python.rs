//! The wheel: built, installed into a fresh environment, used there by pytest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use compat_tests::toolchain::{available, find, run};
use tempfile::TempDir;

use crate::{binary, source, version};

const CLIENTS: [&str; 3] = [
    "kafka-python==3.0.12",
    "pytest==9.0.2",
    "pytest-xdist==3.8.0",
];

struct Installed {
    root: TempDir,
}

impl Installed {
    /// A fresh environment, in which nothing but pip has put what is there.
    fn new() -> Result<Self> {
        find("python3")?;
        let root = TempDir::new()?;
        let wheels = root.path().join("wheels");
        let mut build = Command::new("python3");
        build.env("OTTLA_BIN", binary()?);
        build.args([
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--wheel-dir",
        ]);
        run(build.arg(&wheels).arg(copy_of_the_source(&root)?))?;
        let wheel = std::fs::read_dir(&wheels)?
            .next()
            .context("there is a wheel")??;
        let name = wheel.file_name().to_string_lossy().into_owned();
        ensure!(
            name.starts_with(&format!("ottla-{}-py3-none-", version())),
            "{name}"
        );
        ensure!(!name.contains("-any."), "{name}: it has a binary");

        let venv = root.path().join("venv");
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let mut pip = Command::new(venv.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        run(pip.arg(wheel.path()).args(CLIENTS))?;
        Ok(Self { root })
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.root.path().join("venv/bin").join(name));
        command
            .env_remove("OTTLA_BIN")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("TOLD", self.told())
            .current_dir(source("compat-tests/tests/packages/python"));
        command
    }

    fn pytest(&self, args: &[&str]) -> Result<Output> {
        let mut pytest = self.program("pytest");
        Ok(pytest
            .args(["-q", "-p", "no:cacheprovider"])
            .args(args)
            .output()?)
    }

    fn told(&self) -> PathBuf {
        self.root.path().join("told")
    }
}

/// Building leaves files in the source, which is not this test's.
fn copy_of_the_source(root: &TempDir) -> Result<PathBuf> {
    let copy = root.path().join("source/packaging/python");
    std::fs::create_dir_all(copy.parent().context("it has a parent")?)?;
    run(Command::new("cp")
        .arg("-R")
        .arg(source("packaging/python"))
        .arg(&copy))?;
    std::fs::copy(source("Cargo.toml"), root.path().join("source/Cargo.toml"))?;
    Ok(copy)
}

fn text(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    format!(
        "{}\n{stdout}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    )
}

fn is_running(pid: i64) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// A process that ends by itself is not gone at once.
fn ends(pid: i64) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while is_running(pid) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    !is_running(pid)
}

#[test]
fn pip_installs_a_broker_that_pytest_starts() -> Result<()> {
    let Some(installed) = available(Installed::new())? else {
        return Ok(());
    };
    let told = run(installed.program("ottla").arg("--version"))?;
    assert_eq!(told.trim(), format!("ottla {}", version()));

    let alone = installed.pytest(&["test_with_ottla.py"])?;
    assert!(alone.status.success(), "{}", text(&alone));
    assert!(text(&alone).contains("3 passed"), "{}", text(&alone));
    let spread = installed.pytest(&["-n", "2", "--dist", "each", "test_with_ottla.py"])?;
    assert!(spread.status.success(), "{}", text(&spread));
    // Each worker has a broker of its own, and none is left.
    let told = std::fs::read_to_string(installed.told())?;
    let lines = told.lines().map(serde_json::from_str::<serde_json::Value>);
    let mut brokers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let pid = line["pid"].as_i64().context("a process")?;
        brokers.insert(line["worker"].to_string(), pid);
        assert!(!is_running(pid), "{line}: it was stopped");
    }
    let workers: Vec<&String> = brokers.keys().collect();
    assert_eq!(workers, ["\"alone\"", "\"gw0\"", "\"gw1\""]);
    assert_ne!(brokers["\"gw0\""], brokers["\"gw1\""]);

    let arguments = "ottla_args=--log-level=debug";
    let failing = installed.pytest(&["-o", arguments, "test_that_fails.py"])?;
    assert_eq!(failing.status.code(), Some(1), "{}", text(&failing));
    let shown = text(&failing);
    let sections = shown.matches("Ottla's log of this test").count();
    assert_eq!(
        sections, 1,
        "the log is shown for the test that has the broker: {shown}"
    );
    assert!(
        shown.contains("Produce") && shown.contains("2 failed"),
        "{shown}"
    );
    let wrong = installed.pytest(&["-o", "ottla_config=num.partitions", "test_that_fails.py"])?;
    let wrong = text(&wrong);
    assert!(
        wrong.contains("ottla_config: num.partitions: expected KEY=VALUE"),
        "{wrong}"
    );
    without_pytest(&installed)
}

fn without_pytest(installed: &Installed) -> Result<()> {
    let plain = run(installed.program("python").args(["plain.py", "plain"]))?;
    let plain: serde_json::Value = serde_json::from_str(plain.trim())?;
    let binary = installed.root.path().join("venv/bin/ottla");
    assert_eq!(plain["binary"], binary.display().to_string());
    for pid in plain["pids"].as_array().context("two brokers")? {
        assert!(!is_running(pid.as_i64().context("a process")?), "{plain}");
    }
    let refused = plain["refused"].as_str().unwrap_or_default();
    assert!(
        refused.contains("exit code 2") && refused.contains("num.partitions"),
        "{refused}"
    );
    println!("a broker was ready after {} s", plain["start_seconds"]);

    let killed = installed
        .program("python")
        .args(["plain.py", "killed"])
        .output()?;
    let pid = String::from_utf8_lossy(&killed.stdout).trim().parse();
    let pid = pid.with_context(|| text(&killed))?;
    assert!(ends(pid), "the broker {pid} has outlived who started it");
    Ok(())
}
