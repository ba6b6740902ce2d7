//! Makes a data directory of a snapshot.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use storage::env::fs::RealFs;
use storage::local::text_files::{RECOVERY_POINTS, read_offsets};
use storage::log::SnapshotFile;
use storage::log::leader_epoch::LeaderEpochs;

use super::manifest::{self, Manifest, check};
use super::{begin, empty};
use crate::metadata::MetaProperties;
use crate::release;

/// The file of a log's leader epochs.
const EPOCHS: &str = "leader-epoch-checkpoint";

/// Makes a data directory of a snapshot. `progress` is told the bytes that are there, and of how many.
///
/// # Errors
/// One line for the operator. A target that was begun says that it is not finished.
pub(super) fn restore(
    snapshot: &Path,
    target: &Path,
    new_cluster: bool,
    mut progress: impl FnMut(u64, u64),
) -> Result<Manifest, String> {
    let mut manifest = Manifest::read(snapshot)?;
    let absolute = |path: &Path| {
        let there = path.ancestors().find_map(|path| path.canonicalize().ok());
        there.unwrap_or_default()
    };
    if absolute(target).starts_with(absolute(snapshot)) {
        return Err(format!(
            "{} lies in the snapshot: choose another --data-dir",
            target.display()
        ));
    }
    empty(target)?;
    let of_target = |error: io::Error| format!("{}: {error}", target.display());
    begin(target).map_err(of_target)?;
    let (mut done, total) = (0, manifest.bytes());
    for file in &manifest.files {
        take(snapshot, target, file)
            .map_err(|error| format!("{}: {error}", target.join(&file.path).display()))?;
        // Read where it is going to be used.
        check(target, file)?;
        done += file.bytes;
        progress(done, total);
    }
    begin_epochs(target).map_err(of_target)?;
    if new_cluster {
        manifest.cluster_id = MetaProperties::random(manifest.node_id).cluster_id;
    }
    MetaProperties::create(target, &manifest.cluster_id, manifest.node_id).map_err(of_target)?;
    release::leave(target, &manifest.release).map_err(of_target)?;
    let finish = || {
        rustix::fs::syncfs(File::open(target)?)?;
        manifest::remove_mark(target)
    };
    finish().map_err(of_target)?;
    Ok(manifest)
}

/// Puts a file into the target: under one more name if it is never written to again, and if that is possible.
fn take(snapshot: &Path, target: &Path, file: &SnapshotFile) -> io::Result<()> {
    let (from, to) = (snapshot.join(&file.path), target.join(&file.path));
    if let Some(dir) = to.parent().filter(|dir| !dir.is_dir()) {
        fs::create_dir_all(dir)?;
        let mode = fs::metadata(from.parent().unwrap_or(snapshot))?.permissions();
        fs::set_permissions(dir, mode)?;
    }
    if file.is_shared && fs::hard_link(&from, &to).is_ok() {
        return Ok(());
    }
    fs::copy(&from, &to).map(|_| ())
}

/// Has each log begin a leader epoch where it ends. Clients may have seen offsets behind that, which are going to be given
/// again to other records; they find that out by the epoch (KIP-320).
fn begin_epochs(target: &Path) -> io::Result<()> {
    let ends: BTreeMap<_, _> = read_offsets(&RealFs, &target.join(RECOVERY_POINTS))?;
    for ((topic, partition), end_offset) in ends {
        let path = target.join(format!("{topic}-{partition}")).join(EPOCHS);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        let mut epochs = LeaderEpochs::from_checkpoint(&text).map_err(io::Error::other)?;
        let latest = epochs.latest().map_or(0, |latest| latest.epoch);
        epochs.assign(latest.saturating_add(1), end_offset);
        // The snapshot's own file stays as it is: this one was copied.
        let mut file = File::create(&path)?;
        file.write_all(epochs.to_checkpoint().as_bytes())?;
    }
    Ok(())
}
