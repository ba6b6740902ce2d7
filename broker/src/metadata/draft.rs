//! The next image while it is being made.

use std::sync::Arc;

use super::error::MetadataError;
use super::image::MetadataImage;
use super::record::MetadataRecord;
use crate::config::BrokerConfig;

/// Largest change; Kafka draws its line at 10,000 records for the same reason.
const MAX_CHANGE_BYTES: usize = 8 << 20;
/// What a record takes besides the text in it, generously.
const RECORD_BYTES: usize = 64;

/// The next image, and the records that lead to it.
#[derive(Clone)]
pub(super) struct Draft {
    node: Arc<BrokerConfig>,
    image: MetadataImage,
    records: Vec<MetadataRecord>,
    /// Of all records, and of those before the change that is being planned.
    bytes: usize,
    bytes_before_change: usize,
}

impl Draft {
    pub(crate) fn new(image: MetadataImage, node: Arc<BrokerConfig>) -> Self {
        Self {
            node,
            image,
            records: Vec::new(),
            bytes: 0,
            bytes_before_change: 0,
        }
    }

    pub(crate) fn begin_change(&mut self) {
        self.bytes_before_change = self.bytes;
    }

    /// How many records without text the change may still have; a plan asks before it makes them.
    pub(crate) fn room(&self) -> usize {
        let used = self.bytes - self.bytes_before_change;
        MAX_CHANGE_BYTES.saturating_sub(used) / RECORD_BYTES
    }

    /// About how much was taken in so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The image with everything that was taken in so far.
    pub(crate) fn image(&self) -> &MetadataImage {
        &self.image
    }

    /// The configuration of the broker that plans.
    pub(crate) fn node(&self) -> &BrokerConfig {
        &self.node
    }

    /// Takes the records of one planned change in, and says before them which records the log may hold.
    ///
    /// # Errors
    /// The change is too large; the draft is as before.
    pub(crate) fn take(&mut self, records: Vec<MetadataRecord>) -> Result<(), MetadataError> {
        let bytes_of = |record: &MetadataRecord| RECORD_BYTES + record.text_bytes();
        let bytes: usize = records.iter().map(bytes_of).sum();
        if self.bytes - self.bytes_before_change + bytes > MAX_CHANGE_BYTES {
            return Err(MetadataError::too_large());
        }
        for record in records {
            if let Some(stamp) = self.image.features.plan_level(record.level()) {
                self.add(stamp)?;
            }
            self.add(record)?;
        }
        self.bytes += bytes;
        Ok(())
    }

    fn add(&mut self, record: MetadataRecord) -> Result<(), MetadataError> {
        if let Err(error) = self.image.apply(&record) {
            debug_assert!(false, "a planned record does not fit: {error}");
            return Err(MetadataError::Storage(error.to_string()));
        }
        self.records.push(record);
        Ok(())
    }

    pub(crate) fn finish(self) -> (MetadataImage, Vec<MetadataRecord>) {
        (self.image, self.records)
    }
}
