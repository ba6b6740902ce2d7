//! `ottla-snapshot.json`: what a snapshot has to have. It is there from the beginning, and names files when all of them are.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

use crc_fast::{CrcAlgorithm, Digest};
use serde_json::{Value, json};
use storage::log::{SNAPSHOT_MANIFEST, SnapshotFile};

/// The format that is written, and the newest that is read.
const FORMAT: u64 = 1;
const BUFFER_BYTES: usize = 1 << 20;

/// What a snapshot is, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Of Ottla.
    pub release: String,
    pub cluster_id: String,
    pub node_id: i32,
    /// In ms since 1970.
    pub made_ms: i64,
    pub files: Vec<SnapshotFile>,
}

/// Says, durably, that a directory is not finished. One of several who try can.
pub(super) fn mark_unfinished(dir: &Path) -> io::Result<()> {
    let mut file = File::create_new(dir.join(SNAPSHOT_MANIFEST))?;
    let content = json!({ "format": FORMAT, "complete": false });
    file.write_all(format!("{content:#}\n").as_bytes())?;
    file.sync_all()?;
    File::open(dir)?.sync_all()
}

/// The directory is whole, and no snapshot.
pub(super) fn remove_mark(dir: &Path) -> io::Result<()> {
    fs::remove_file(dir.join(SNAPSHOT_MANIFEST))?;
    File::open(dir)?.sync_all()
}

fn put(dir: &Path, content: &Value) -> io::Result<()> {
    let path = dir.join(SNAPSHOT_MANIFEST);
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(format!("{content:#}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(dir)?.sync_all()
}

impl Manifest {
    /// Writes it durably: from now on the snapshot is whole.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let files = self.files.iter().map(|file| {
            let path = file.path.to_str().ok_or_else(|| {
                io::Error::other(format!("{} is not UTF-8", file.path.display()))
            })?;
            let crc = format!("{:08x}", file.crc);
            Ok(json!({ "path": path, "bytes": file.bytes, "crc32c": crc, "shared": file.is_shared }))
        });
        let files = files.collect::<io::Result<Vec<Value>>>()?;
        put(
            dir,
            &json!({
                "format": FORMAT,
                "complete": true,
                "release": self.release,
                "cluster_id": self.cluster_id,
                "node_id": self.node_id,
                "made_ms": self.made_ms,
                "files": files,
            }),
        )
    }

    /// Reads what a whole snapshot says of itself.
    ///
    /// # Errors
    /// The directory is no snapshot, or none that can be relied on; one line for the operator.
    pub fn read(dir: &Path) -> Result<Self, String> {
        let path = dir.join(SNAPSHOT_MANIFEST);
        let shown = path.display();
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "{} is not a snapshot: it has no {SNAPSHOT_MANIFEST}",
                dir.display()
            ),
            _ => format!("{shown}: {error}"),
        })?;
        let damaged = |what: &str| format!("{shown} is damaged: {what}");
        let content: Value =
            serde_json::from_str(&text).map_err(|error| damaged(&error.to_string()))?;
        let field = |value: &Value, key: &str| {
            let found = value.get(key).cloned();
            found.ok_or_else(|| damaged(&format!("there is no {key}")))
        };
        let text = |value: &Value, key: &str| {
            let found = field(value, key)?;
            let found = found.as_str().map(str::to_owned);
            found.ok_or_else(|| damaged(&format!("{key} is not text")))
        };
        let number = |value: &Value, key: &str| {
            let found = field(value, key)?.as_i64();
            found.ok_or_else(|| damaged(&format!("{key} is not a number")))
        };
        let format = field(&content, "format")?.as_u64().unwrap_or(0);
        if format > FORMAT {
            return Err(format!(
                "{shown} has format {format}, and this release reads up to {FORMAT}: take the release of Ottla that made it, {}",
                text(&content, "release").unwrap_or_else(|_| "or a later one".to_owned())
            ));
        }
        if field(&content, "complete")? != Value::Bool(true) {
            return Err(format!(
                "{} is not a whole snapshot: it was broken off; remove it",
                dir.display()
            ));
        }
        let files = field(&content, "files")?;
        let files = files
            .as_array()
            .ok_or_else(|| damaged("files is not a list"))?;
        let file = |value: &Value| {
            let path = PathBuf::from(text(value, "path")?);
            let is_below = |part| matches!(part, Component::Normal(_));
            if path.as_os_str().is_empty() || !path.components().all(is_below) {
                return Err(damaged(&format!("{} is outside of it", path.display())));
            }
            let crc = u32::from_str_radix(&text(value, "crc32c")?, 16);
            Ok(SnapshotFile {
                path,
                bytes: u64::try_from(number(value, "bytes")?).map_err(|_| damaged("bytes"))?,
                crc: crc.map_err(|_| damaged("crc32c"))?,
                is_shared: field(value, "shared")? == Value::Bool(true),
            })
        };
        Ok(Self {
            release: text(&content, "release")?,
            cluster_id: text(&content, "cluster_id")?,
            node_id: i32::try_from(number(&content, "node_id")?).map_err(|_| damaged("node_id"))?,
            made_ms: number(&content, "made_ms")?,
            files: files.iter().map(file).collect::<Result<_, String>>()?,
        })
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Whether a file in `dir` is what the manifest says.
///
/// # Errors
/// It is not, or it cannot be read; one line for the operator.
pub(super) fn check(dir: &Path, file: &SnapshotFile) -> Result<(), String> {
    let path = dir.join(&file.path);
    let shown = path.display();
    let (bytes, crc) = crc_of(&path).map_err(|error| format!("{shown}: {error}"))?;
    if bytes != file.bytes {
        return Err(format!(
            "{shown} is damaged: it has {bytes} bytes instead of {}",
            file.bytes
        ));
    }
    match crc == file.crc {
        true => Ok(()),
        false => Err(format!(
            "{shown} is damaged: its CRC-32C is {crc:08x} instead of {:08x}",
            file.crc
        )),
    }
}

/// The length and the CRC-32C of a file.
pub(super) fn crc_of(path: &Path) -> io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, digest.finalize() as u32)),
            count => {
                digest.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
}
