//! Reads runs from where they are, and writes objects, with little in memory at a time.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};

use super::group::Group;
use super::{JobError, Shared};
use crate::log::AppendError;
use crate::object::database::{Fence, LogGroup};
use crate::object::entry::{ObjectId, PartitionId, Place, Run, Source};
use crate::object::in_flight::Unnamed;
use crate::object::object_format::{IndexEntry, footer};
use crate::object::patience::{self, answered};
use crate::object::plan::{Answer, RUN_BYTES, Wanted};

/// A part of an upload. S3 takes none that is smaller, but for the last.
const PART_BYTES: usize = 8 << 20;
/// What is read ahead of all sources together.
const AHEAD_BYTES: u64 = 16 << 20;
/// A GET is not made smaller than this: it would not be faster.
const LEAST_AHEAD_BYTES: u64 = 16 << 10;

/// What runs are in, each read from its beginning to its end, some of it ahead.
pub(super) struct RunReader {
    shared: Arc<Shared>,
    group: LogGroup,
    ahead_bytes: u64,
    /// Up to where each source is needed, and what of it is in memory, from which position on.
    sources: HashMap<Source, (u64, u64, Bytes)>,
}

impl RunReader {
    /// A reader of these runs and no others.
    pub fn new<'a>(
        shared: &Arc<Shared>,
        group: LogGroup,
        runs: impl IntoIterator<Item = &'a Run>,
    ) -> Self {
        let mut sources: HashMap<Source, (u64, u64, Bytes)> = HashMap::new();
        for run in runs {
            if let Some((source, position)) = run.place.source() {
                let end = u64::from(position) + u64::from(run.size_bytes);
                let (needed, ..) = sources.entry(source).or_default();
                *needed = end.max(*needed);
            }
        }
        let ahead_bytes = AHEAD_BYTES / (sources.len() as u64).max(1);
        Self {
            shared: Arc::clone(shared),
            group,
            ahead_bytes: ahead_bytes.max(LEAST_AHEAD_BYTES),
            sources,
        }
    }

    /// The bytes of a run as they are stored.
    ///
    /// # Errors
    /// See [`JobError`]. A run whose bytes are not there is damage.
    pub async fn read(&mut self, run: &Run) -> Result<Bytes, JobError> {
        let Some((source, position)) = run.place.source() else {
            return made(run);
        };
        let (from, to) = (
            u64::from(position),
            u64::from(position) + u64::from(run.size_bytes),
        );
        let (needed, window_from, window) = self.sources.entry(source).or_default();
        let is_there = from >= *window_from && to <= *window_from + window.len() as u64;
        if !is_there {
            match source {
                Source::Row(seq) => {
                    let inline = self.shared.config.log.inline(self.group, seq).await?;
                    *window_from = 0;
                    let trimmed = || JobError::Outdated(format!("row {seq} was trimmed"));
                    *window = inline.ok_or_else(trimmed)?;
                }
                Source::Object(object) => {
                    let end = (from + self.ahead_bytes).min(*needed).max(to);
                    let path = Path::from(object.key());
                    *window_from = from;
                    let get = self.shared.config.objects.get_range(&path, from..end);
                    *window = answered(patience::READING, get).await?;
                }
            }
        }
        let start = from - *window_from;
        let range = start as usize..(start + u64::from(run.size_bytes)) as usize;
        if range.end > window.len() {
            return Err(missing(run, "it is shorter"));
        }
        let bytes = window.slice(range);
        if to >= *needed {
            // Not needed any more.
            *window = Bytes::new();
        }
        Ok(bytes)
    }
}

fn made(run: &Run) -> Result<Bytes, JobError> {
    let Place::Made(marker) = run.place else {
        return Err(missing(run, "it is nowhere"));
    };
    let made = marker.to_batch(run.max_timestamp);
    made.map_err(|error| missing(run, &error.to_string()))
}

fn missing(run: &Run, what: &str) -> JobError {
    JobError::Damaged(format!("{run:?} cannot be read: {what}"))
}

/// The runs of an object that is being written.
pub(super) struct Packer {
    object: ObjectId,
    bytes: u64,
    runs: Vec<Run>,
}

impl Packer {
    pub fn new(object: ObjectId) -> Self {
        Self {
            object,
            bytes: 0,
            runs: Vec::new(),
        }
    }

    /// The runs since the last call: of a partition, which is done.
    pub fn take_runs(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.runs)
    }

    /// A run that stays where it is.
    pub fn keep(&mut self, run: &Run) {
        self.runs.push(*run);
    }

    /// The bytes of a run come behind all others, and make one run with those before it if they can. `None`: the object would be
    /// too large.
    pub fn push(&mut self, run: &Run, size_bytes: usize) -> Option<()> {
        let position = u32::try_from(self.bytes).ok()?;
        let size_bytes = u32::try_from(size_bytes).ok()?;
        position.checked_add(size_bytes)?;
        let moved = Run {
            size_bytes,
            place: Place::Object {
                object: self.object,
                position,
            },
            ..*run
        };
        match self.runs.last_mut() {
            Some(last) if joins(last, &moved) => {
                last.size_bytes += moved.size_bytes;
                last.next_offset = moved.next_offset;
                last.max_timestamp = last.max_timestamp.max(moved.max_timestamp);
            }
            _ => self.runs.push(moved),
        }
        self.bytes += u64::from(size_bytes);
        Some(())
    }
}

/// An object that is being written. It is settled when this is let go, or when the commit that names it is decided.
pub(super) struct ObjectWriter {
    shared: Arc<Shared>,
    fence: Fence,
    object: Unnamed,
    upload: Option<Box<dyn MultipartUpload>>,
    part: BytesMut,
    index: Vec<IndexEntry>,
    pub packer: Packer,
}

impl ObjectWriter {
    pub fn new(shared: &Arc<Shared>) -> Result<Self, JobError> {
        let fence = shared.fence()?;
        let object = Unnamed::begin(&shared.config.in_flight, fence.broker_epoch);
        Ok(Self {
            packer: Packer::new(object.object()),
            fence,
            object,
            shared: Arc::clone(shared),
            upload: None,
            part: BytesMut::new(),
            index: Vec::new(),
        })
    }

    pub fn written_bytes(&self) -> u64 {
        self.packer.bytes
    }

    /// Writes the bytes of a run. Its place is not looked at.
    ///
    /// # Errors
    /// See [`JobError`].
    pub async fn push(
        &mut self,
        partition: PartitionId,
        run: &Run,
        bytes: &Bytes,
    ) -> Result<(), JobError> {
        let full = || JobError::Damaged("an object would be larger than 4 GiB".to_owned());
        match self.index.last_mut() {
            Some(last) if last.partition == partition => last.bytes += bytes.len() as u64,
            _ => self.index.push(IndexEntry {
                partition,
                position: self.written_bytes(),
                bytes: bytes.len() as u64,
            }),
        }
        self.packer.push(run, bytes.len()).ok_or_else(full)?;
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART_BYTES {
            self.send_part().await?;
        }
        Ok(())
    }

    async fn send_part(&mut self) -> Result<(), JobError> {
        let path = Path::from(self.object.object().key());
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                let begin = self.shared.config.objects.put_multipart(&path);
                none.insert(answered(patience::WRITING, begin).await?)
            }
        };
        let part = std::mem::take(&mut self.part).freeze();
        let put = upload.put_part(PutPayload::from_bytes(part));
        answered(patience::WRITING, put).await?;
        Ok(())
    }

    /// Makes the object, if anything was written. Its name stays unsettled until the caller says so.
    ///
    /// # Errors
    /// It may be there or not: it is not to be named.
    pub async fn finish(&mut self) -> Result<(), JobError> {
        if self.written_bytes() == 0 {
            return Ok(());
        }
        self.part.extend_from_slice(&footer(&self.index));
        let path = Path::from(self.object.object().key());
        if self.upload.is_none() {
            let all = std::mem::take(&mut self.part).freeze();
            let payload = PutPayload::from_bytes(all);
            let put = self.shared.config.objects.put(&path, payload);
            answered(patience::WRITING, put).await?;
            return Ok(());
        }
        if !self.part.is_empty() {
            self.send_part().await?;
        }
        if let Some(upload) = &mut self.upload {
            answered(patience::WRITING, upload.complete()).await?;
        }
        Ok(())
    }

    /// Commits what names the object, which is finished, unless this broker has another epoch by now. Whatever comes of it, the
    /// object is settled once that is known.
    ///
    /// # Errors
    /// See [`Group::commit`].
    pub async fn commit(
        self,
        group: &mut Group,
        wanted: &[Wanted],
    ) -> Result<Vec<Result<Answer, AppendError>>, JobError> {
        let object = self.object.name();
        let committed = group.commit(self.fence, wanted).await;
        if !matches!(committed, Err(JobError::InDoubt(_))) {
            self.shared.config.in_flight.settle(&object);
        }
        committed
    }

    /// The object is not wanted.
    pub async fn give_up(mut self) {
        if let Some(mut upload) = self.upload.take()
            && let Err(error) = answered(patience::WRITING, upload.abort()).await
        {
            tracing::debug!(%error, "an upload that is not wanted stays until the store's own rules remove it");
        }
    }
}

/// Whether a run goes on with the one before it, so that both can be one.
fn joins(last: &Run, next: &Run) -> bool {
    let lies_behind = match (last.place, next.place) {
        (
            Place::Object { object, position },
            Place::Object {
                object: other,
                position: behind,
            },
        ) => object == other && position.checked_add(last.size_bytes) == Some(behind),
        _ => false,
    };
    lies_behind
        && last.is_compacted == next.is_compacted
        && (last.is_compacted || last.next_offset == next.base_offset)
        && u64::from(last.size_bytes) + u64::from(next.size_bytes) <= u64::from(RUN_BYTES)
        && u32::try_from(next.next_offset - last.base_offset).is_ok()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn run(base_offset: i64, next_offset: i64, position: u32, size_bytes: u32) -> Run {
        let object = ObjectId {
            broker_epoch: 1,
            id: Uuid::from_u128(1),
        };
        Run {
            base_offset,
            next_offset,
            size_bytes,
            max_timestamp: 5,
            place: Place::Object { object, position },
            is_compacted: false,
        }
    }

    #[test]
    fn runs_are_one_only_where_offsets_and_bytes_go_on_and_up_to_a_mebibyte() {
        let first = run(0, 10, 0, 100);
        assert!(joins(&first, &run(10, 20, 100, RUN_BYTES - 100)));
        assert!(!joins(&first, &run(10, 20, 100, RUN_BYTES - 99)));
        assert!(!joins(&first, &run(11, 20, 100, 1)));
        assert!(!joins(&first, &run(10, 20, 101, 1)));
        let compacted = |run| Run {
            is_compacted: true,
            ..run
        };
        assert!(!joins(&first, &compacted(run(10, 20, 100, 1))));
        assert!(joins(&compacted(first), &compacted(run(15, 20, 100, 1))));
        assert!(!joins(
            &compacted(first),
            &compacted(run(1 << 33, (1 << 33) + 1, 100, 1))
        ));
    }
}
