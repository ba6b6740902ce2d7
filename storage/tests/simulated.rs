//! The simulated worlds, run as a part of `cargo test`.
//!
//! They need another build of the engine, with the simulation's locks, threads and time, so they are test programs of their
//! own (`sim.rs`, `sim_calls.rs`, `sim_compaction.rs`) and Cargo leaves them out of a plain `cargo test`. Here it is called
//! again for them.

#![cfg(not(feature = "simulation"))]

use std::path::Path;
use std::process::Command;

#[test]
fn the_simulated_worlds_hold() {
    let executable = std::env::current_exe().expect("this program is a file");
    let target_dir = executable
        .ancestors()
        .find(|dir| dir.ends_with("debug") || dir.ends_with("release"))
        .and_then(Path::parent)
        .expect("Cargo builds into target/PROFILE");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // Of the whole workspace: so other crates have the features that they were built with already.
        .args(["test", "--workspace", "--locked"])
        .args(["--features", "ottla-storage/simulation"])
        .args(["--test", "sim", "--test", "sim_calls"])
        .args(["--test", "sim_compaction"])
        .arg("--target-dir")
        .arg(target_dir)
        .args(["--", "--show-output"]);
    let output = cargo.output().expect("Cargo starts");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
