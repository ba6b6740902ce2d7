//! The small text files of a log directory, as Kafka writes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use uuid::Uuid;

use crate::env::fs::{self, Fs};
use crate::log::{kafka_uuid, parse_kafka_uuid};

/// Where each partition begins; `log-start-offset-checkpoint`.
pub const LOG_START_OFFSETS: &str = "log-start-offset-checkpoint";
/// Up to where each partition is known to be durable; `recovery-point-offset-checkpoint`.
pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// The file with the first dirty offset of each partition; its format is that of the other offset checkpoints.
pub(crate) const CLEANER_OFFSETS: &str = "cleaner-offset-checkpoint";
/// There only between an orderly shutdown and the next start.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

/// An offset for each partition of a directory, by topic and partition.
pub type Offsets = BTreeMap<(String, i32), i64>;

/// Writes an offset checkpoint: version, count, then topic, partition and offset on a line each.
pub fn write_offsets(fs: &dyn Fs, path: &Path, offsets: &Offsets) -> io::Result<()> {
    let mut text = format!("0\n{}\n", offsets.len());
    for ((topic, partition), offset) in offsets {
        writeln!(text, "{topic} {partition} {offset}").map_err(io::Error::other)?;
    }
    fs::replace(fs, path, text.as_bytes())
}

/// Reads an offset checkpoint; one that is not there has no entries.
///
/// # Errors
/// The file cannot be read, or is not an offset checkpoint.
pub fn read_offsets(fs: &dyn Fs, path: &Path) -> io::Result<Offsets> {
    let Some(bytes) = fs::if_found(fs::read_all(fs, path))? else {
        return Ok(Offsets::new());
    };
    let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let text = String::from_utf8(bytes).map_err(|_| malformed("not text"))?;
    let mut lines = text.lines();
    if lines.next() != Some("0") {
        return Err(malformed("unknown version"));
    }
    let count = lines.next().and_then(|line| line.parse().ok());
    let entries = lines
        .map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let topic = fields.next()?.to_owned();
            let partition = fields.next()?.parse().ok()?;
            let offset = fields.next()?.parse().ok()?;
            fields
                .next()
                .is_none()
                .then_some(((topic, partition), offset))
        })
        .collect::<Option<Offsets>>();
    match entries {
        Some(entries) if Some(entries.len()) == count => Ok(entries),
        _ => Err(malformed("malformed line or wrong count")),
    }
}

/// The content of `partition.metadata`: whose directory it is.
pub(crate) fn partition_metadata(topic_id: Uuid) -> String {
    format!("version: 0\ntopic_id: {}", kafka_uuid(topic_id))
}

/// The topic id in a `partition.metadata`.
pub fn topic_id_of(text: &str) -> Option<Uuid> {
    text.lines()
        .find_map(|line| line.strip_prefix("topic_id:"))
        .and_then(|id| parse_kafka_uuid(id.trim()))
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests damage files behind the engine's back"
)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_id_is_written_as_kafka_writes_it_and_read_back() {
        // From a partition.metadata that Kafka wrote, with the id in its usual form.
        let id = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        assert_eq!(kafka_uuid(id), "AQIDBAUGBwgJCgsMDQ4PEA");
        for id in [id, Uuid::nil(), Uuid::max(), Uuid::new_v4()] {
            assert_eq!(parse_kafka_uuid(&kafka_uuid(id)), Some(id));
            assert_eq!(topic_id_of(&partition_metadata(id)), Some(id));
        }
    }

    #[test]
    fn offsets_are_read_back_as_written_and_damage_is_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join(LOG_START_OFFSETS);
        let fs = fs::RealFs;
        assert_eq!(read_offsets(&fs, &path).unwrap(), Offsets::new());
        let offsets = Offsets::from([(("a".into(), 0), 5), (("b-1".into(), 12), i64::MAX)]);
        write_offsets(&fs, &path, &offsets).unwrap();
        assert_eq!(read_offsets(&fs, &path).unwrap(), offsets);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!("0\n2\na 0 5\nb-1 12 {}\n", i64::MAX)
        );
        for damaged in ["1\n0\n", "0\n2\na 0 5\n", "0\n1\na 0\n", "0\n1\na 0 5 6\n"] {
            std::fs::write(&path, damaged).unwrap();
            assert!(read_offsets(&fs, &path).is_err(), "{damaged:?}");
        }
    }
}
