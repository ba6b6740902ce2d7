//! Whose a data directory is, found out without touching anything in it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::config::{Properties, read_properties};
use crate::snapshot;

/// In a directory that an import has not finished.
pub(crate) const UNFINISHED: &str = "import-unfinished";
/// In the comment of an Ottla directory's `meta.properties`.
const OUR_MARK: &str = "Written by Ottla";
pub(super) const META_PROPERTIES: &str = "meta.properties";
/// What a broker locks while it runs.
pub(super) const LOCK_FILE: &str = ".lock";
/// Kafka has one of these, or a log, in every directory that it has used.
const KAFKA_FILES: [&str; 6] = [
    "cleaner-offset-checkpoint",
    "recovery-point-offset-checkpoint",
    "replication-offset-checkpoint",
    "log-start-offset-checkpoint",
    "bootstrap.checkpoint",
    ".kafka_cleanshutdown",
];
/// In the directory of each log that has been written to.
const LOG_FILES: [&str; 2] = ["partition.metadata", "leader-epoch-checkpoint"];

/// Whose a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Empty, not there, or holding nothing that a broker would write.
    Nobody,
    Ottla,
    /// An import into it was cut short.
    UnfinishedImport,
    /// A snapshot, or what is left of one, or of a restore.
    Snapshot,
    Kafka(Foreign),
}

/// A directory of Apache Kafka. As text: what to do, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    pub dir: PathBuf,
    /// It has a metadata log: Kafka without ZooKeeper.
    pub is_kraft: bool,
    pub is_running: bool,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = self.dir.display();
        write!(f, "{dir} is a data directory of Apache Kafka")?;
        if self.is_running {
            write!(f, ", which is running on it")?;
        }
        write!(
            f,
            "; nothing in it was touched. Choose another --data-dir; "
        )?;
        let first = if self.is_running {
            "stop Kafka, and "
        } else {
            ""
        };
        match self.is_kraft {
            true => write!(
                f,
                "to take its topics and groups over, {first}run `ottla import {dir} --data-dir TARGET`"
            ),
            false => write!(
                f,
                "docs/moving-from-kafka.md tells how to take its topics over"
            ),
        }
    }
}

/// Whose `dir` is. Nothing is opened for writing.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn owner(dir: &Path) -> io::Result<Owner> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Owner::Nobody),
        Err(error) => return Err(error),
    };
    if dir.join(UNFINISHED).exists() {
        return Ok(Owner::UnfinishedImport);
    }
    if snapshot::is_snapshot(dir) {
        return Ok(Owner::Snapshot);
    }
    match fs::read(dir.join(META_PROPERTIES)) {
        Ok(text) if String::from_utf8_lossy(&text).contains(OUR_MARK) => return Ok(Owner::Ottla),
        Ok(_) => return Ok(Owner::Kafka(foreign(dir))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // The first start is cut short between the two.
    if dir.join("wal").is_dir() {
        return Ok(Owner::Ottla);
    }
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let is_kafkas = match entry.file_type()?.is_dir() {
            true => is_log(&entry.path(), &name.to_string_lossy()),
            false => KAFKA_FILES.iter().any(|known| name == *known),
        };
        if is_kafkas {
            return Ok(Owner::Kafka(foreign(dir)));
        }
    }
    Ok(Owner::Nobody)
}

fn foreign(dir: &Path) -> Foreign {
    Foreign {
        dir: dir.to_owned(),
        is_kraft: dir.join("__cluster_metadata-0").is_dir() || version(dir) == Some(1),
        is_running: is_locked(&dir.join(LOCK_FILE)),
    }
}

/// Of `meta.properties`: 0 with ZooKeeper, 1 without.
fn version(dir: &Path) -> Option<i32> {
    let properties: Properties = read_properties(&dir.join(META_PROPERTIES)).ok()?;
    properties.get("version")?.parse().ok()
}

/// Whether a directory is that of a log with something in it.
fn is_log(dir: &Path, name: &str) -> bool {
    let number = name.rsplit_once('-').map_or("", |(_, number)| number);
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name());
    names.any(|name| {
        let is_segment = Path::new(&name)
            .extension()
            .is_some_and(|found| found == "log");
        is_segment || LOG_FILES.iter().any(|known| name == *known)
    })
}

/// Whether another process has the lock that Kafka takes. What cannot be found out counts as no.
pub(super) fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    let wanted = Flock::from(FlockType::WriteLock);
    matches!(fcntl_getlk(&file, &wanted), Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("created");
            fs::write(path, text).expect("written");
        }
        dir
    }

    fn kafka(files: &[(&str, &str)]) -> Option<(bool, bool)> {
        let dir = tree(files);
        match owner(dir.path()).expect("read") {
            Owner::Kafka(found) => Some((found.is_kraft, found.is_running)),
            _ => None,
        }
    }

    const ZOOKEEPER: (&str, &str) = (
        META_PROPERTIES,
        "#\n#Sat Nov 28 10:00:00 UTC 2026\ncluster.id=Ls_ZqBt2SK6cucelTd2B4g\nversion=0\nbroker.id=0\n",
    );
    const KRAFT: (&str, &str) = (
        META_PROPERTIES,
        "#\n#Sat Nov 28 10:00:00 UTC 2026\ncluster.id=Ls_ZqBt2SK6cucelTd2B4g\nversion=1\nnode.id=1\n",
    );

    #[test]
    fn every_directory_that_kafka_has_used_is_kafkas() {
        let segment = ("t-0/00000000000000000000.log", "");
        let tag = ("t-0/partition.metadata", "version: 0\ntopic_id: x");
        let epochs = (
            "some.topic-with-dashes-12/leader-epoch-checkpoint",
            "0\n0\n",
        );
        let empty_checkpoint = ("cleaner-offset-checkpoint", "");
        let lock = (LOCK_FILE, "");
        assert_eq!(kafka(&[ZOOKEEPER, segment, lock]), Some((false, false)));
        // Kafka 2.x, whose directories have no topic ids; one with its meta.properties lost; formatted, never started.
        assert_eq!(
            kafka(&[ZOOKEEPER, epochs, empty_checkpoint]),
            Some((false, false))
        );
        for file in [segment, tag, epochs, empty_checkpoint] {
            assert_eq!(kafka(&[file]), Some((false, false)), "{file:?}");
        }
        assert_eq!(
            kafka(&[KRAFT, ("bootstrap.checkpoint", "")]),
            Some((true, false))
        );
        let quorum = ("__cluster_metadata-0/quorum-state", "{}");
        assert_eq!(kafka(&[KRAFT, quorum, segment]), Some((true, false)));
        // An earlier Ottla has made this one in a directory of Kafka's.
        assert_eq!(
            kafka(&[KRAFT, ("wal/checkpoint-a", "")]),
            Some((true, false))
        );
    }

    #[test]
    fn what_is_ours_or_nobodys_is_not_kafkas() {
        let of = |files: &[(&str, &str)]| owner(tree(files).path()).expect("read");
        let ours = (
            META_PROPERTIES,
            "#\n#Written by Ottla\nversion=1\nnode.id=1\n",
        );
        let segment = ("t-0/00000000000000000000.log", "");
        assert_eq!(of(&[ours, segment]), Owner::Ottla);
        assert_eq!(of(&[("wal/ring-0", ""), (LOCK_FILE, "")]), Owner::Ottla);
        assert_eq!(of(&[(UNFINISHED, ""), segment]), Owner::UnfinishedImport);
        for nobodys in [
            &[][..],
            &[(LOCK_FILE, "")],
            &[("lost+found/x", "")],
            &[("notes.txt", ""), ("photos-2024/cat.jpg", "")],
        ] {
            assert_eq!(of(nobodys), Owner::Nobody, "{nobodys:?}");
        }
        let not_there = Path::new("/nowhere/at/all");
        assert_eq!(owner(not_there).expect("read"), Owner::Nobody);
    }

    #[test]
    fn what_to_do_is_one_line() {
        for (is_kraft, is_running) in [(true, true), (true, false), (false, true), (false, false)] {
            let foreign = Foreign {
                dir: "/var/kafka".into(),
                is_kraft,
                is_running,
            };
            let text = foreign.to_string();
            assert_eq!(text.lines().count(), 1);
            assert_eq!(text.contains("ottla import /var/kafka"), is_kraft, "{text}");
            assert_eq!(text.contains("running"), is_running, "{text}");
        }
    }
}
