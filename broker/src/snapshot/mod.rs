//! Backup while serving: `ottla snapshot` and `ottla restore`.
//!
//! The engine copies its logs as of one moment; metadata, groups and transactions are logs, so they are of the same moment.
//! What is added here is what says of a directory that it is a whole snapshot, and how a data directory is made of it.
//!
//! A snapshot is no data directory. A broker would write into it, and then it would be a backup no more. Its segments may also
//! be the running broker's own files under another name. So a start on one is refused, and `ottla restore` makes a directory of
//! it, in which the same files have names again, or copies.

pub mod command;
mod manifest;
mod restore;

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use storage::log::{SNAPSHOT_MANIFEST, Snapshot, SnapshotFile, SnapshotProgress};

use crate::broker::Broker;
use crate::metadata::MetaProperties;
use crate::release::RELEASE;
use crate::secure;
use manifest::{Manifest, crc_of};

/// Whether `dir` is a snapshot, or what is left of one, or of a restore.
pub(crate) fn is_snapshot(dir: &Path) -> bool {
    dir.join(SNAPSHOT_MANIFEST).exists()
}

/// Makes a snapshot of a broker that runs, and says what it is. Blocks.
pub(crate) fn make(
    broker: &Broker,
    to: &Path,
    watch: &mut dyn FnMut(SnapshotProgress) -> ControlFlow<()>,
) -> Result<Value, String> {
    let config = &broker.config;
    let identity = MetaProperties::load_or_create(&config.data_dir, config.node_id, None)
        .map_err(|error| error.to_string())?;
    check_place(&config.data_dir, to)?;
    begin(to).map_err(|error| format!("{}: {error}", to.display()))?;
    let made = || {
        let snapshot = broker.logs.snapshot(to, watch);
        let mut copied = snapshot.map_err(|error| error.to_string())?;
        add_secrets(&config.data_dir, to, &mut copied)
            .and_then(|()| {
                let manifest = Manifest {
                    release: RELEASE.to_owned(),
                    cluster_id: identity.cluster_id,
                    node_id: config.node_id,
                    made_ms: broker.clock.wall_ms(),
                    files: std::mem::take(&mut copied.files),
                };
                manifest.write(to).map(|()| (manifest, copied))
            })
            .map_err(|error| format!("no snapshot in {}: {error}", to.display()))
    };
    let (manifest, copied) = made().inspect_err(|_| {
        // What cannot be removed says that it is not finished.
        let _ = fs::remove_dir_all(to);
    })?;
    tracing::info!(
        to = %to.display(),
        logs = copied.logs,
        linked_bytes = copied.linked_bytes,
        copied_bytes = copied.copied_bytes,
        commits_waited_us = copied.commits_waited.as_micros(),
        changes_waited_ms = copied.changes_waited.as_millis(),
        "made a snapshot"
    );
    Ok(json!({
        "logs": copied.logs,
        "files": manifest.files.len(),
        "linked_bytes": copied.linked_bytes,
        "copied_bytes": copied.copied_bytes,
        "commits_waited_us": copied.commits_waited.as_micros() as u64,
        "changes_waited_us": copied.changes_waited.as_micros() as u64,
    }))
}

/// Refuses a place that is not empty, or in the data directory.
fn check_place(data_dir: &Path, to: &Path) -> Result<(), String> {
    let shown = to.display();
    if !to.is_absolute() {
        return Err(format!("{shown} is not an absolute path"));
    }
    let there = to.ancestors().find_map(|path| path.canonicalize().ok());
    let data_dir = data_dir.canonicalize().map_err(|error| error.to_string())?;
    if there.is_some_and(|there| there.starts_with(&data_dir)) {
        return Err(format!(
            "{shown} lies in the data directory: choose another place"
        ));
    }
    empty(to)
}

/// Whether nothing is in `dir`, or there is none.
fn empty(dir: &Path) -> Result<(), String> {
    let shown = dir.display();
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{shown}: {error}")),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) if dir.join(SNAPSHOT_MANIFEST).exists() => Err(format!(
                "{shown} has a snapshot already, or what is left of one: remove it, or choose another place"
            )),
            Some(_) => Err(format!("{shown} is not empty: choose another place")),
        },
    }
}

/// Makes the directory, its owner's alone, and says in it that it is not finished before anything else is in it.
fn begin(dir: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    manifest::mark_unfinished(dir)
}

/// Copies the certificates and passwords of `--secure`: without them clients would trust the restored broker no more.
fn add_secrets(data_dir: &Path, to: &Path, copied: &mut Snapshot) -> io::Result<()> {
    let from = data_dir.join(secure::DIR);
    let entries = match fs::read_dir(&from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let target = to.join(secure::DIR);
    fs::DirBuilder::new().mode(0o700).create(&target)?;
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        let path = PathBuf::from(secure::DIR).join(entry.file_name());
        let mut from = fs::File::open(entry.path())?;
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(to.join(&path))?;
        io::copy(&mut from, &mut file)?;
        file.sync_all()?;
        let (bytes, crc) = crc_of(&to.join(&path))?;
        copied.copied_bytes += bytes;
        copied.files.push(SnapshotFile {
            path,
            bytes,
            crc,
            is_shared: false,
        });
    }
    fs::File::open(&target)?.sync_all()
}

#[cfg(test)]
mod tests;
