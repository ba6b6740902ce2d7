//! The version of the workspace stands in one place, and where another tool wants it, it is the same.

use std::process::Command;

use anyhow::{Context as _, Result};
use compat_tests::toolchain::run;

use crate::{binary, read, version};

#[test]
fn whatever_is_released_has_the_version_of_the_workspace() -> Result<()> {
    let told = run(Command::new(binary()?).arg("--version"))?;
    assert_eq!(told.trim(), format!("ottla {}", version()));

    let npm: serde_json::Value = serde_json::from_str(&read("packaging/npm/ottla/package.json")?)?;
    assert_eq!(npm["version"], version());
    let platforms = npm["optionalDependencies"].as_object();
    let platforms = platforms.context("there are packages of platforms")?;
    for (package, wanted) in platforms {
        assert_eq!(wanted, version(), "{package}");
    }

    let chart = read("packaging/helm/ottla/Chart.yaml")?;
    for key in ["version", "appVersion"] {
        let line = format!("{key}: {}", version());
        assert!(chart.lines().any(|each| each == line), "Chart.yaml: {line}");
    }
    Ok(())
}
