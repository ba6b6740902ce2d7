//! The one task that changes metadata.
//!
//! Changes that wait together are planned one after the other, each on what the one before left, and
//! become durable in one append. Only then is the new image published and everybody answered.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::error::MetadataError;
use super::image::MetadataImage;
use super::record::MetadataRecord;
use super::snapshot;
use super::store::{MetadataStore, StoreError};

/// Largest change; Kafka draws its line at 10,000 records for the same reason.
const MAX_CHANGE_BYTES: usize = 8 << 20;
/// No further waiting change joins an append of this size.
const GROUP_BYTES: usize = 1 << 20;
/// What a record takes besides the text in it, generously.
const RECORD_BYTES: usize = 64;
/// Most changes in one append.
const GROUP_COUNT: usize = 64;
/// Records of a snapshot in one append.
const SNAPSHOT_BATCH_RECORDS: usize = 10_000;

/// Opens, deletes and reconfigures logs when an image is about to be published. May wait for the disk.
pub type Observer = Arc<dyn Fn(&MetadataImage, &MetadataImage) + Send + Sync>;

/// Answers who asked for a change, once its fate is known.
pub(super) type Reply = Box<dyn FnOnce(Result<(), MetadataError>) + Send>;
/// Plans a change on the draft of the next image.
pub(super) type Plan = Box<dyn FnOnce(&mut Draft) -> Reply + Send>;

/// A change that waits for its turn.
pub(super) struct Change {
    pub plan: Plan,
    /// About how many resources it looks at.
    pub size: usize,
}

/// A change of more than this is planned where it may take its time: on the other threads clients are served.
const PLANNED_AT_ONCE: usize = 500;

/// The next image while it is being made, and the records that lead to it.
#[derive(Clone)]
pub struct Draft {
    image: MetadataImage,
    records: Vec<MetadataRecord>,
    /// Of all records, and of those before the change that is being planned.
    bytes: usize,
    bytes_before_change: usize,
}

impl Draft {
    pub(super) fn new(image: MetadataImage) -> Self {
        Self {
            image,
            records: Vec::new(),
            bytes: 0,
            bytes_before_change: 0,
        }
    }

    fn begin_change(&mut self) {
        self.bytes_before_change = self.bytes;
    }

    /// Records without text that the change may still have; a plan asks before it makes them.
    pub fn room(&self) -> usize {
        let used = self.bytes - self.bytes_before_change;
        MAX_CHANGE_BYTES.saturating_sub(used) / RECORD_BYTES
    }

    /// The image with everything that was taken in so far.
    pub fn image(&self) -> &MetadataImage {
        &self.image
    }

    /// Takes the records of one planned change in.
    ///
    /// # Errors
    /// The change is too large; the draft is as before.
    pub fn take(&mut self, records: Vec<MetadataRecord>) -> Result<(), MetadataError> {
        let bytes: usize = records.iter().map(approximate_bytes).sum();
        if self.bytes - self.bytes_before_change + bytes > MAX_CHANGE_BYTES {
            return Err(MetadataError::too_large());
        }
        for record in records {
            if let Err(error) = self.image.apply_unsettled(&record) {
                debug_assert!(false, "a planned record does not fit: {error}");
                self.image.settle();
                return Err(MetadataError::Storage(error.to_string()));
            }
            self.records.push(record);
        }
        self.image.settle();
        self.bytes += bytes;
        Ok(())
    }
}

fn approximate_bytes(record: &MetadataRecord) -> usize {
    RECORD_BYTES
        + match record {
            MetadataRecord::Topic { name, .. } | MetadataRecord::FeatureLevel { name, .. } => {
                name.len()
            }
            MetadataRecord::Config {
                resource_name,
                name,
                value,
                ..
            } => resource_name.len() + name.len() + value.as_ref().map_or(0, String::len),
            MetadataRecord::Partition { .. }
            | MetadataRecord::RemoveTopic { .. }
            | MetadataRecord::ProducerIds { .. }
            | MetadataRecord::BeginTransaction
            | MetadataRecord::EndTransaction
            | MetadataRecord::AbortTransaction => 0,
        }
}

pub(super) struct Writer {
    pub store: Box<dyn MetadataStore>,
    pub version: i64,
    /// Since the log start.
    pub records_in_log: usize,
    /// What is appended next has to say that the snapshot that was begun does not count.
    pub snapshot_unfinished: bool,
    /// While anybody else holds it, the log is not shortened: it says what has been deleted.
    pub history: Arc<()>,
    pub image: Arc<ArcSwap<MetadataImage>>,
    pub observer: Observer,
    pub changes: mpsc::Receiver<Change>,
}

impl Writer {
    /// Runs until nobody can ask for changes any more.
    pub async fn run(mut self) {
        let mut failed = self.shorten_log().await;
        while let Some(first) = self.changes.recv().await {
            let old = self.image.load_full();
            let mut draft = Draft::new(MetadataImage::clone(&old));
            let mut replies = Vec::new();
            let mut next = Some(first);
            while let Some(change) = next {
                let (drafted, reply) = planned(change, draft).await;
                draft = drafted;
                replies.push(reply);
                let has_room = draft.bytes < GROUP_BYTES && replies.len() < GROUP_COUNT;
                next = has_room.then(|| self.changes.try_recv().ok()).flatten();
            }
            let outcome = match &failed {
                Some(error) if !draft.records.is_empty() => Err(error.clone()),
                _ => self.commit(old, draft).await,
            };
            if let Err(error @ MetadataError::Indeterminate(_)) = &outcome {
                tracing::error!("{error}; metadata cannot be changed before a restart");
                failed = Some(error.clone());
            }
            for reply in replies {
                reply(outcome.clone());
            }
            if failed.is_none() {
                failed = self.shorten_log().await;
            }
        }
    }

    async fn commit(&mut self, old: Arc<MetadataImage>, draft: Draft) -> Result<(), MetadataError> {
        if draft.records.is_empty() {
            return Ok(());
        }
        let mut records = draft.records;
        if self.snapshot_unfinished {
            records.insert(0, MetadataRecord::AbortTransaction);
        }
        self.append(records).await?;
        self.snapshot_unfinished = false;
        let image = Arc::new(draft.image);
        let (observer, next) = (Arc::clone(&self.observer), Arc::clone(&image));
        if let Err(error) = tokio::task::spawn_blocking(move || observer(&old, &next)).await {
            tracing::error!("the logs did not follow a change of metadata: {error}");
            if let Ok(panic) = error.try_into_panic() {
                // Nobody knows which logs there are now.
                std::panic::resume_unwind(panic);
            }
        }
        self.image.store(image);
        Ok(())
    }

    async fn append(&mut self, records: Vec<MetadataRecord>) -> Result<(), MetadataError> {
        let appended = self.store.append(self.version, &records).await;
        self.version = appended.map_err(|error| match error {
            // The end of the log is not where this writer left it: it is not the only one.
            StoreError::Indeterminate(_) | StoreError::Conflict { .. } => {
                MetadataError::Indeterminate(error.to_string())
            }
            other => MetadataError::Storage(other.to_string()),
        })?;
        self.records_in_log += records.len();
        Ok(())
    }

    /// Lets a snapshot take the place of a long history. The answer is why nothing can be changed any more.
    async fn shorten_log(&mut self) -> Option<MetadataError> {
        let image = self.image.load_full();
        let is_needed = Arc::strong_count(&self.history) > 1;
        if is_needed || !snapshot::is_due(self.records_in_log, &image) {
            return None;
        }
        let records_before = std::mem::take(&mut self.records_in_log);
        match self.write_snapshot(&image).await {
            Ok(()) => {
                let records_after = self.records_in_log;
                tracing::info!(
                    records_before,
                    records_after,
                    "a snapshot of the metadata shortens its log"
                );
                None
            }
            Err(error @ MetadataError::Indeterminate(_)) => {
                tracing::error!("{error}; metadata cannot be changed before a restart");
                Some(error)
            }
            Err(error) => {
                // It is tried again when the log has grown as much once more.
                tracing::warn!(%error, "the metadata log could not be shortened");
                None
            }
        }
    }

    async fn write_snapshot(&mut self, image: &MetadataImage) -> Result<(), MetadataError> {
        let start = self.version;
        let begin = std::iter::once(MetadataRecord::BeginTransaction);
        let end = std::iter::once(MetadataRecord::EndTransaction);
        let mut records = begin.chain(snapshot::records(image)).chain(end).peekable();
        while records.peek().is_some() {
            let batch: Vec<_> = records.by_ref().take(SNAPSHOT_BATCH_RECORDS).collect();
            self.append(batch).await?;
            self.snapshot_unfinished = records.peek().is_some();
        }
        let forgotten = self.store.forget_before(start).await;
        forgotten.map_err(|error| MetadataError::Storage(error.to_string()))
    }
}

async fn planned(change: Change, mut draft: Draft) -> (Draft, Reply) {
    draft.begin_change();
    let Change { plan, size } = change;
    let work = move || {
        let reply = plan(&mut draft);
        (draft, reply)
    };
    if size <= PLANNED_AT_ONCE {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(planned) => planned,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
