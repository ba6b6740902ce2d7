//! The state in place of its history, so that a start reads what is there and not all that ever was.
//!
//! A snapshot is the records that lead from nothing to an image, in the log like any others, between
//! `BeginTransaction` and `EndTransaction` (KIP-868). Once it is durable, the log is cut to begin with it. One that
//! has no end does not count; what follows it begins with `AbortTransaction`.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::error::ApplyError;
use super::image::MetadataImage;
use super::record::MetadataRecord;
use super::store::{MetadataStore, StoreError};

/// A log with no more records than this is short enough.
const SHORT_LOG_RECORDS: usize = 10_000;
/// Records in one append.
pub(crate) const WRITTEN_TOGETHER: usize = 10_000;

/// Whether a log of `records_in_log` records is too long for this state.
pub(crate) fn is_due(records_in_log: usize, image: &MetadataImage) -> bool {
    records_in_log > SHORT_LOG_RECORDS && records_in_log / 2 > image.record_count()
}

/// An image between its bounds.
pub(crate) fn records(image: &MetadataImage, node_id: i32) -> impl Iterator<Item = MetadataRecord> {
    let begin = std::iter::once(MetadataRecord::BeginTransaction);
    let end = std::iter::once(MetadataRecord::EndTransaction);
    begin.chain(image.records(node_id)).chain(end)
}

/// Writes an image as the first records of an empty log.
///
/// # Errors
/// The store does not take them; some may be there.
pub(crate) async fn write_image(
    store: &dyn MetadataStore,
    image: &MetadataImage,
    node_id: i32,
) -> Result<(), StoreError> {
    let mut version = 0;
    let mut records = image.records(node_id).peekable();
    while records.peek().is_some() {
        let some: Vec<_> = records.by_ref().take(WRITTEN_TOGETHER).collect();
        version = store.append(version, &some).await?;
    }
    Ok(())
}

/// An image while the log is read that leads to it.
pub struct Replay {
    pub image: MetadataImage,
    /// The snapshot that has begun.
    pub begun: Option<MetadataImage>,
    /// All topics that the log tells of.
    topics: HashMap<Uuid, Arc<str>>,
}

impl Replay {
    /// Goes on from an image, and from a snapshot that has begun there.
    pub(crate) fn new(image: MetadataImage, begun: Option<MetadataImage>) -> Self {
        Self {
            image,
            begun,
            topics: HashMap::new(),
        }
    }

    /// Takes in the next record of the log.
    ///
    /// # Errors
    /// The record does not fit.
    pub(crate) fn apply(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        if let MetadataRecord::Topic { name, topic_id } = record {
            self.topics.insert(*topic_id, Arc::from(name.as_str()));
        }
        match record {
            MetadataRecord::BeginTransaction => {
                self.begun = Some(MetadataImage::empty(self.image.cluster_id()));
            }
            MetadataRecord::AbortTransaction => self.begun = None,
            MetadataRecord::EndTransaction => {
                let begun = self.begun.take().ok_or_else(|| {
                    ApplyError::Inconsistent("a snapshot ends that has not begun".to_owned())
                })?;
                // An equal image would make every topic look as if it had changed.
                if begun != self.image {
                    self.image = begun;
                }
            }
            _ => self
                .begun
                .as_mut()
                .unwrap_or(&mut self.image)
                .apply(record)?,
        }
        Ok(())
    }

    /// The topics that were deleted on the way.
    pub(crate) fn deleted_topics(&mut self) -> HashMap<Uuid, Arc<str>> {
        let mut deleted = std::mem::take(&mut self.topics);
        deleted.retain(|topic_id, _| self.image.topic_by_id(*topic_id).is_none());
        deleted
    }
}
