//! Producer ids, handed out one by one from blocks that are reserved durably.

use std::ops::Range;

use tokio::sync::Mutex;

use super::{Metadata, MetadataError};

/// Ids of one block: what a kill -9 wastes at most. Kafka's `ProducerIdsBlock` has as many.
const BLOCK_SIZE: i64 = 1000;

/// What is left of the current block.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    // Held while a block is being reserved: everybody who needs an id then needs that block.
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    pub async fn next(&self, metadata: &Metadata) -> Result<i64, MetadataError> {
        let mut block = self.block.lock().await;
        if let Some(id) = block.next() {
            return Ok(id);
        }
        let first = metadata.allocate_producer_ids(BLOCK_SIZE).await?;
        *block = first + 1..first + BLOCK_SIZE;
        Ok(first)
    }
}
