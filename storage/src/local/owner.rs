//! Whose a log's directory is: `partition.metadata` holds the id of its topic.

use std::io;
use std::path::Path;

use crate::env::fs::{self, Fs};
use crate::env::random::new_uuid;
use crate::local::text_files::topic_id_of;

pub(crate) const METADATA_FILE: &str = "partition.metadata";

/// The topic id in a log's directory; `None` if it has none.
pub(crate) fn owner_of(fs: &dyn Fs, dir: &Path) -> io::Result<Option<uuid::Uuid>> {
    let bytes = fs::if_found(fs::read_all(fs, &dir.join(METADATA_FILE)))?;
    Ok(bytes
        .as_deref()
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(topic_id_of))
}

/// Moves the directory of an earlier topic with the same name out of the way. It stays on disk.
pub(crate) fn set_aside(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{name}.{}-stray", new_uuid().simple());
    tracing::warn!(
        directory = %dir.display(),
        moved_to = name,
        "the directory belongs to another topic of this name and is set aside; to serve it, stop the \
         broker, remove partition.metadata from it, and give it its name back"
    );
    fs.rename(dir, &dir.with_file_name(name))
}
