//! Producer ids, handed out one by one from blocks that are reserved durably.

use std::ops::Range;

use tokio::sync::Mutex;

use super::error::ApplyError;
use super::record::MetadataRecord;
use super::{Metadata, MetadataError};

/// How many ids a block has, as Kafka's `ProducerIdsBlock`. A kill -9 wastes this many at most.
const BLOCK_SIZE: i64 = 1000;

/// The first producer id that has never been given out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProducerIdsImage {
    pub next: i64,
}

impl ProducerIdsImage {
    pub(crate) fn set_next(&mut self, next: i64) -> Result<(), ApplyError> {
        if next < self.next {
            return Err(ApplyError::Inconsistent(format!(
                "producer ids go back from {} to {next}",
                self.next
            )));
        }
        self.next = next;
        Ok(())
    }

    pub(crate) fn records(&self, broker_id: i32) -> impl Iterator<Item = MetadataRecord> {
        [producer_ids(broker_id, self.next)].into_iter()
    }

    /// The record that takes `count` ids out of circulation, and the first of them.
    pub(crate) fn plan_block(
        &self,
        broker_id: i32,
        count: i64,
    ) -> Result<(MetadataRecord, i64), MetadataError> {
        let next = self.next.checked_add(count).ok_or_else(|| {
            MetadataError::PolicyViolation("all producer ids have been used".to_owned())
        })?;
        Ok((producer_ids(broker_id, next), self.next))
    }
}

fn producer_ids(broker_id: i32, next_producer_id: i64) -> MetadataRecord {
    MetadataRecord::ProducerIds {
        broker_id,
        next_producer_id,
    }
}

/// What is left of the current block.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    // Held while a block is being reserved: everybody who needs an id then needs that block.
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    pub(crate) async fn next(&self, metadata: &Metadata) -> Result<i64, MetadataError> {
        let mut block = self.block.lock().await;
        if let Some(id) = block.next() {
            return Ok(id);
        }
        let first = metadata.allocate_producer_ids(BLOCK_SIZE).await?;
        *block = first + 1..first + BLOCK_SIZE;
        Ok(first)
    }
}
