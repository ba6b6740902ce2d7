//! The crates: packed for a registry, with all that a build needs of them and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use compat_tests::toolchain::run;
use serde_json::Value;
use tempfile::TempDir;

use crate::{source, version};

/// What `cargo install ottla` builds.
const CRATES: [&str; 6] = [
    "ottla",
    "ottla-console",
    "ottla-coordinators",
    "ottla-credentials",
    "ottla-protocol-shim",
    "ottla-storage",
];
/// What crates.io takes.
const MAX_BYTES: u64 = 10 << 20;

fn package(target_dir: &Path, more: &[&str]) -> Result<()> {
    run(Command::new(env!("CARGO"))
        .current_dir(source(""))
        .args(["package", "--workspace", "--exclude", "compat-tests"])
        .args(["--locked", "--allow-dirty", "--target-dir"])
        .arg(target_dir)
        .args(more))
    .map(|_| ())
}

#[test]
fn crates_are_what_a_registry_takes_and_a_build_needs() -> Result<()> {
    let out = TempDir::new()?;
    package(out.path(), &["--no-verify"])?;
    let mut packed = BTreeMap::new();
    for entry in fs::read_dir(out.path().join("package"))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "crate")
        {
            let name = path.file_stem().context("a name")?.to_string_lossy();
            packed.insert(name.into_owned(), path);
        }
    }
    let wanted = CRATES.map(|name| format!("{name}-{}", version()));
    assert!(packed.keys().eq(wanted.iter()), "{packed:?}");
    for (name, path) in &packed {
        let bytes = fs::metadata(path)?.len();
        assert!(bytes < MAX_BYTES, "{name}: {bytes} bytes");
        let mut tar = Command::new("tar");
        run(tar.arg("-xzf").arg(path).arg("-C").arg(out.path()))?;
        let root = out.path().join(name);
        holds_what_it_needs(&root).with_context(|| name.clone())?;
        is_described(&root).with_context(|| name.clone())?;
    }
    Ok(())
}

/// What is in its root, and every file that its code reads while it is built.
fn holds_what_it_needs(root: &Path) -> Result<()> {
    let name = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.file_name().display().to_string());
    let found: BTreeSet<String> = fs::read_dir(root)?.map(name).collect::<Result<_>>()?;
    let made_by_cargo = ["Cargo.lock", "Cargo.toml.orig", ".cargo_vcs_info.json"];
    let found: Vec<_> = found
        .iter()
        .filter(|name| !made_by_cargo.contains(&name.as_str()))
        .collect();
    let wanted = [
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "src",
    ];
    ensure!(found == wanted, "it has {found:?}");
    for text in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
        let (ours, packed) = (fs::read(source(text))?, fs::read(root.join(text))?);
        ensure!(ours == packed, "{text} is not that of the workspace");
    }
    for file in sources(&root.join("src"))? {
        let code = fs::read_to_string(&file)?;
        for reads in ["include_str!(\"", "include_bytes!(\"", "#[path = \""] {
            for after in code.split(reads).skip(1) {
                let read = after.split('"').next().unwrap_or(after);
                let path = file.parent().context("a directory")?.join(read);
                ensure!(path.exists(), "{} reads {read}", file.display());
            }
        }
    }
    Ok(())
}

fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// It says what it is, may be published, and takes all that it needs from a registry: of ours, its own version.
fn is_described(root: &Path) -> Result<()> {
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args([
        "metadata",
        "--no-deps",
        "--format-version=1",
        "--manifest-path",
    ]);
    let told: Value = serde_json::from_str(&run(metadata.arg(root.join("Cargo.toml")))?)?;
    let package = &told["packages"][0];
    ensure!(package["publish"].is_null(), "it may not be published");
    ensure!(
        package["license"] == "MIT OR Apache-2.0",
        "{}",
        package["license"]
    );
    ensure!(package["readme"] == "README.md", "{}", package["readme"]);
    ensure!(package["description"].is_string(), "it has no description");
    for dependency in package["dependencies"].as_array().context("a list")? {
        let name = dependency["name"].as_str().context("a name")?;
        let source = dependency["source"].as_str().unwrap_or("nowhere");
        ensure!(
            source.starts_with("registry+"),
            "{name} comes from {source}"
        );
        if name.starts_with("ottla") {
            ensure!(CRATES.contains(&name), "{name} is not published");
            let required = format!("={}", version());
            ensure!(
                dependency["req"] == required,
                "{name} is {}",
                dependency["req"]
            );
        }
    }
    Ok(())
}

/// As `cargo publish` does before it publishes.
#[test]
#[ignore = "minutes: cargo test -p compat-tests --test packages -- --ignored"]
fn crates_are_built_of_what_is_packed() -> Result<()> {
    package(TempDir::new()?.path(), &[])
}
