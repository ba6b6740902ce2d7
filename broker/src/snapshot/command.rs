//! `ottla snapshot` and `ottla restore`: arguments, progress on a terminal, the summary on stdout.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};

use super::manifest::{Manifest, check};
use super::restore::restore;
use crate::control;

/// How often a line on a terminal changes.
const SHOWN_INTERVAL: Duration = Duration::from_millis(200);

/// Copy the data of a broker that runs, as it is at one moment
///
/// Topics, records, settings, users, groups and transactions are those of the same moment, and all that was acknowledged before
/// is among them. Clients are served meanwhile. `ottla restore` makes a data directory of the copy.
#[derive(Debug, Parser)]
#[command(name = "ottla snapshot", version)]
struct SnapshotArguments {
    /// Where the snapshot is to be; empty, or not there yet
    #[arg(value_name = "DEST")]
    directory: PathBuf,

    /// The data directory of the broker
    #[arg(long, value_name = "DIR", default_value = "ottla-data")]
    data_dir: PathBuf,

    /// Make no snapshot, but read the one in DEST and compare all of it with its checksums
    #[arg(long, conflicts_with = "data_dir")]
    verify: bool,
}

/// Make a data directory of a snapshot
///
/// The snapshot stays as it is, and can be restored again. Its files are checked.
#[derive(Debug, Parser)]
#[command(name = "ottla restore", version)]
struct RestoreArguments {
    /// What `ottla snapshot` has made
    #[arg(value_name = "SNAPSHOT")]
    snapshot: PathBuf,

    /// Write here; empty, or not there yet
    #[arg(long, value_name = "DIR", default_value = "ottla-data")]
    data_dir: PathBuf,

    /// Make a cluster of its own of it: for a copy that is to run beside the broker it was made of
    #[arg(long)]
    new_cluster_id: bool,
}

/// Runs `ottla snapshot`; `arguments` begin with its name.
///
/// # Errors
/// The arguments are wrong: clap says how, or asks to have help printed.
pub fn run_snapshot(
    arguments: impl Iterator<Item = OsString>,
) -> Result<Result<(), String>, clap::Error> {
    let arguments = SnapshotArguments::try_parse_from(arguments)?;
    Ok(match arguments.verify {
        true => verified(&arguments),
        false => made(&arguments),
    })
}

/// Runs `ottla restore`; `arguments` begin with its name.
///
/// # Errors
/// See [`run_snapshot`].
pub fn run_restore(
    arguments: impl Iterator<Item = OsString>,
) -> Result<Result<(), String>, clap::Error> {
    let arguments = RestoreArguments::try_parse_from(arguments)?;
    Ok(restored(&arguments))
}

fn made(arguments: &SnapshotArguments) -> Result<(), String> {
    let to = std::path::absolute(&arguments.directory);
    let to = to.map_err(|error| format!("{}: {error}", arguments.directory.display()))?;
    let text = to
        .to_str()
        .ok_or_else(|| format!("{} is not UTF-8", to.display()))?;
    let mut shown = Progress::new("copied");
    let request = json!({ "command": "snapshot", "to": text });
    let answer = control::call(&arguments.data_dir, &request, |progress| {
        shown.show(
            number(progress, "done_bytes"),
            number(progress, "total_bytes"),
        );
    });
    shown.clear();
    let answer = answer.map_err(|error| match error.contains("no broker serves") {
        true => format!(
            "{error}; the directory of a broker that was stopped in order can be copied as it is"
        ),
        false => error,
    })?;
    say(&format!(
        "{} logs in {} files: {} in files that the broker has, too (hard links), {} copied\n\
         commits waited for {} ms, deletion and compaction for {} ms\n\
         `ottla restore {} --data-dir DIR` makes a data directory of it",
        number(&answer, "logs"),
        number(&answer, "files"),
        mib(number(&answer, "linked_bytes")),
        mib(number(&answer, "copied_bytes")),
        number(&answer, "commits_waited_us") as f64 / 1_000.0,
        number(&answer, "changes_waited_us") as f64 / 1_000.0,
        arguments.directory.display(),
    ));
    Ok(())
}

fn verified(arguments: &SnapshotArguments) -> Result<(), String> {
    let manifest = Manifest::read(&arguments.directory)?;
    let mut shown = Progress::new("read");
    let (mut done, total) = (0, manifest.bytes());
    for file in &manifest.files {
        check(&arguments.directory, file)?;
        done += file.bytes;
        shown.show(done, total);
    }
    shown.clear();
    say(&format!(
        "{} is whole: {} files, {}, of cluster {}, made by Ottla {}",
        arguments.directory.display(),
        manifest.files.len(),
        mib(total),
        manifest.cluster_id,
        manifest.release,
    ));
    Ok(())
}

fn restored(arguments: &RestoreArguments) -> Result<(), String> {
    let (from, to) = (&arguments.snapshot, &arguments.data_dir);
    let mut shown = Progress::new("restored");
    let manifest = restore(from, to, arguments.new_cluster_id, |done, total| {
        shown.show(done, total);
    })?;
    shown.clear();
    say(&format!(
        "restored {} files, {}, of cluster {}\nstart it with `ottla --data-dir {}`, and with node.id {}",
        manifest.files.len(),
        mib(manifest.bytes()),
        manifest.cluster_id,
        to.display(),
        manifest.node_id,
    ));
    Ok(())
}

/// A closed stdout is no reason to fail.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// A line on a terminal that says how far it is.
struct Progress {
    what: &'static str,
    is_seen: bool,
    shown: Option<Instant>,
}

impl Progress {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            is_seen: std::io::stderr().is_terminal(),
            shown: None,
        }
    }

    fn show(&mut self, done: u64, total: u64) {
        let is_soon = self
            .shown
            .is_some_and(|shown| shown.elapsed() < SHOWN_INTERVAL);
        if !self.is_seen || is_soon {
            return;
        }
        self.shown = Some(Instant::now());
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        eprint!(
            "\r{percent} % {}, {} of {} ",
            self.what,
            mib(done),
            mib(total)
        );
    }

    fn clear(&self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[2K");
        }
    }
}
