//! Copies the logs, each with the leader epoch that it goes on with.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use storage::env::fs::RealFs;
use storage::local::text_files::{LOG_START_OFFSETS, Offsets, write_offsets};
use storage::log::leader_epoch::LeaderEpochs;

use super::recognise::UNFINISHED;
use super::source::{EPOCHS, Partition, Source};

/// How often it is said how far it has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Copies every partition into `target`, which it creates and marks as unfinished first.
pub(super) fn copy(
    source: &Source,
    target: &Path,
    bytes: u64,
    say: &mut impl FnMut(&str),
) -> io::Result<()> {
    mark(target).map_err(in_file(&target.join(UNFINISHED)))?;
    let mut copied = 0;
    let mut said = Instant::now();
    for partition in &source.partitions {
        let dir = target.join(partition.id.to_string());
        fs::create_dir(&dir).map_err(in_file(&dir))?;
        for path in &partition.files {
            let name = path.file_name().unwrap_or_default();
            copied += fs::copy(path, dir.join(name)).map_err(in_file(path))?;
            if said.elapsed() >= PROGRESS_INTERVAL {
                said = Instant::now();
                let percent = copied.saturating_mul(100).checked_div(bytes).unwrap_or(100);
                say(&format!("{percent} % copied, at {}", partition.id));
            }
        }
        let epochs = dir.join(EPOCHS);
        begin_epoch(&epochs, partition).map_err(in_file(&epochs))?;
    }
    let starts: Offsets = source
        .partitions
        .iter()
        .filter_map(|partition| {
            let key = (partition.id.topic.to_string(), partition.id.partition);
            Some((key, partition.log_start_offset?))
        })
        .collect();
    let path = target.join(LOG_START_OFFSETS);
    write_offsets(&RealFs, &path, &starts).map_err(in_file(&path))
}

fn in_file(path: &Path) -> impl FnOnce(io::Error) -> io::Error + '_ {
    |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Durably, before anything else is there.
fn mark(target: &Path) -> io::Result<()> {
    fs::create_dir_all(target)?;
    let mut file = File::create(target.join(UNFINISHED))?;
    file.write_all(b"ottla import has not finished this directory\n")?;
    file.sync_all()?;
    File::open(target)?.sync_all()
}

/// Has the log begin a leader epoch where it ends, as every new leader does: clients come with what they knew of Kafka's,
/// and take none that is older.
fn begin_epoch(path: &Path, partition: &Partition) -> io::Result<()> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let mut epochs = LeaderEpochs::from_checkpoint(&text).map_err(io::Error::other)?;
    epochs.assign(partition.leader_epoch, partition.end_offset);
    fs::write(path, epochs.to_checkpoint())
}
