//! The npm packages: packed, installed into a fresh project, used there under Node's own test runner, Vitest and Jest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use compat_tests::toolchain::{available, find, run};
use tempfile::TempDir;

use crate::{binary, source, version};

/// A fresh project with the packages, kafkajs, and what else is named.
fn project(packages: &[&str]) -> Result<TempDir> {
    find("node")?;
    find("npm")?;
    let root = TempDir::new()?;
    let packed = root.path().join("packed");
    let node = |what: &str| run(Command::new("node").args(["-p", what]));
    let platform = node("`${process.platform}-${process.arch}`")?;
    let mut pack = Command::new(source("packaging/npm/pack"));
    run(pack.arg(binary()?).arg(platform.trim()).arg(&packed))?;
    let packages = packages.iter().map(PathBuf::from);
    let tarball = |name: String| packed.join(format!("{name}-{}.tgz", version()));
    let ours = ["ottla".to_owned(), format!("ottla-{}", platform.trim())].map(tarball);

    let project = root.path().join("project");
    run(Command::new("cp")
        .arg("-R")
        .arg(source("compat-tests/tests/packages/npm"))
        .arg(&project))?;
    let mut npm = Command::new("npm");
    npm.current_dir(&project);
    // The other platforms' packages have not been published, as npm finds out by itself: they are optional.
    npm.args([
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--prefer-offline",
        "kafkajs@2.2.4",
    ]);
    run(npm.args(ours).args(packages))?;
    Ok(root)
}

fn in_project(root: &TempDir, program: &str) -> Command {
    let project = root.path().join("project");
    let path = if program == "node" {
        PathBuf::from(program)
    } else {
        project.join("node_modules/.bin").join(program)
    };
    let mut command = Command::new(path);
    command
        .env_remove("OTTLA_BIN")
        .env("CI", "true")
        .current_dir(project);
    command
}

#[test]
fn npm_installs_a_broker_that_tests_start() -> Result<()> {
    let Some(root) = available(project(&[]))? else {
        return Ok(());
    };
    let told = run(in_project(&root, "ottla").arg("--version"))?;
    assert_eq!(told.trim(), format!("ottla {}", version()));
    run(in_project(&root, "node").args(["--test", "node.test.js"]))?;

    let killed = in_project(&root, "node").arg("killed.js").output()?;
    let pid = String::from_utf8_lossy(&killed.stdout).trim().to_owned();
    let pid: u32 = pid
        .parse()
        .with_context(|| String::from_utf8_lossy(&killed.stderr).into_owned())?;
    let process = format!("/proc/{pid}");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while Path::new(&process).exists() {
        assert!(
            std::time::Instant::now() < deadline,
            "the broker {pid} has outlived who started it"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Ok(())
}

/// They are hundreds of packages.
#[test]
#[ignore = "half a minute: cargo test -p compat-tests --test packages -- --ignored"]
fn vitest_and_jest_start_it_for_a_whole_run() -> Result<()> {
    let Some(root) = available(project(&["vite@7.1.12", "vitest@4.0.18", "jest@30.2.0"]))? else {
        return Ok(());
    };
    run(in_project(&root, "vitest").args(["run", "--config", "vitest.config.js"]))?;
    run(in_project(&root, "jest").args(["--config", "jest.config.js"]))?;
    Ok(())
}
