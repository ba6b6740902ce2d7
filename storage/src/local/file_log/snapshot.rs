//! One log's share of a snapshot.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::FileLog;
use super::state::Phase;
use crate::env::fs::{self, Access, Fs};
use crate::local::loader::gaps::GAPS_FILE;
use crate::local::owner::METADATA_FILE;
use crate::local::segment::writer::{EPOCHS_FILE, SIDECAR_SUFFIX, SNAPSHOT_SUFFIX};
use crate::local::segment::{Part, Segment, file_name, offset_of};
use crate::local::text_files::partition_metadata;
use crate::log::transaction_index;

/// Where a log is cut.
pub(crate) struct Cut {
    pub log: Arc<FileLog>,
    pub log_start_offset: i64,
    /// Everything below was durable, and nothing else is taken.
    pub end_offset: i64,
    /// Base offset of the segment that has the last batch, and where that batch ends in it.
    last: Option<(i64, u64)>,
}

/// A file that a snapshot takes.
pub(crate) enum Taken {
    /// As it is. It is never written to again.
    Shared(PathBuf),
    /// How many bytes of it.
    Prefix(PathBuf, u64),
    /// A file of this name with these bytes.
    Made(PathBuf, Vec<u8>),
}

impl FileLog {
    /// Has the log ready to be cut.
    pub fn prepare_cut(self: &Arc<Self>) -> io::Result<()> {
        drop(self.state());
        self.settle_segments()?;
        // Whoever removes or replaces segments at this moment has not seen yet that they are held.
        drop(self.segments_change.lock());
        self.check_cut()
    }

    fn check_cut(&self) -> io::Result<()> {
        let state = self.state.lock();
        match state.check_readable() {
            // It goes, and is no part of the snapshot.
            Err(_) if state.deleting || matches!(state.phase, Phase::Deleted) => Ok(()),
            Err(error) => Err(io::Error::other(format!("{}: {error}", self.id))),
            Ok(()) => Ok(()),
        }
    }

    /// Cuts the log where it is durable at this moment. `None` if there is nothing to cut: nobody has used the log yet, and
    /// so it is empty, or it was deleted.
    pub fn cut(self: &Arc<Self>) -> Option<Cut> {
        if !self.prepared.load(Ordering::Acquire) {
            // Its state may be locked while its directory is read.
            return None;
        }
        let state = self.state.lock();
        if !matches!(state.phase, Phase::Ready) {
            return None;
        }
        let end_offset = state.high_watermark;
        let last_before = |offset: i64| {
            let mut segments = state.segments.iter().rev();
            segments.find(|segment| segment.base_offset < offset)
        };
        let last = match state.tail.back() {
            Some(batch) => {
                let end = batch.position + batch.bytes.len() as u64;
                let segment = last_before(batch.base_offset.saturating_add(1));
                segment.map(|segment| (segment.base_offset, end))
            }
            // All that is durable has been written.
            None => last_before(end_offset)
                .map(|segment| (segment.base_offset, segment.written_bytes())),
        };
        Some(Cut {
            log: Arc::clone(self),
            log_start_offset: state.log_start_offset,
            end_offset,
            last,
        })
    }

    /// Takes hold of the log's files: gives each of them one more name in `staging`, so that they stay whatever becomes of the
    /// log. Segments are neither removed nor replaced since the cut.
    pub fn stage(&self, cut: &Cut, staging: &std::path::Path) -> io::Result<Vec<Taken>> {
        self.write_segments()?;
        // Nothing is written meanwhile.
        let _writer = self.writer.lock();
        self.check_cut()?;
        let fs = &*self.shared.fs;
        let (segments, epochs) = {
            let state = self.state.lock();
            let segments = state.segments.iter();
            let segments: Vec<_> = segments
                .filter(|segment| segment.base_offset <= cut.end_offset)
                .cloned()
                .collect();
            (segments, state.epochs.to_checkpoint())
        };
        let mut taken = vec![
            Taken::Made(
                METADATA_FILE.into(),
                partition_metadata(self.id.topic_id).into_bytes(),
            ),
            Taken::Made(EPOCHS_FILE.into(), epochs.into_bytes()),
        ];
        fs.create_dir_all(staging)?;
        let mut take = |name: PathBuf, limit: Option<u64>| -> io::Result<()> {
            if fs::if_found(fs.hard_link(&self.dir.join(&name), &staging.join(&name)))?.is_some() {
                taken.push(match limit {
                    Some(limit) => Taken::Prefix(name, limit),
                    None => Taken::Shared(name),
                });
            }
            Ok(())
        };
        let (last_base, last_bytes) = cut.last.unwrap_or((i64::MIN, 0));
        for segment in &segments {
            let is_closed = segment.base_offset < last_base;
            for part in Part::ALL {
                let limit = match part {
                    _ if is_closed => None,
                    Part::Log if segment.base_offset == last_base => Some(last_bytes),
                    Part::Log => Some(0),
                    Part::TransactionIndex => Some(aborted_bytes(fs, segment, cut.end_offset)?),
                    // What describes later batches is cut off when the log is loaded.
                    Part::OffsetIndex | Part::TimeIndex => Some(size(fs, segment, part)?),
                };
                take(file_name(segment.base_offset, part.suffix()).into(), limit)?;
            }
        }
        for entry in fs::if_found(fs.list(&self.dir))?.unwrap_or_default() {
            let is_snapshot = [SNAPSHOT_SUFFIX, SIDECAR_SUFFIX].iter().any(|suffix| {
                offset_of(&entry.name, suffix).is_some_and(|offset| offset <= cut.end_offset)
            });
            if is_snapshot || entry.name == GAPS_FILE {
                take(entry.name.into(), Some(u64::MAX))?;
            }
        }
        Ok(taken)
    }
}

fn size(fs: &dyn Fs, segment: &Segment, part: Part) -> io::Result<u64> {
    let file = fs::if_found(fs.open(&segment.path(part), Access::Read))?;
    file.map_or(Ok(0), |file| file.size_bytes())
}

/// How much of an index tells of transactions that end before an offset.
fn aborted_bytes(fs: &dyn Fs, segment: &Segment, end_offset: i64) -> io::Result<u64> {
    let path = segment.path(Part::TransactionIndex);
    let bytes = fs::if_found(fs::read_all(fs, &path))?.unwrap_or_default();
    let aborted = transaction_index::parse(&bytes);
    let below = aborted.partition_point(|txn| txn.last_offset < end_offset);
    Ok((below * transaction_index::ENTRY_BYTES) as u64)
}
