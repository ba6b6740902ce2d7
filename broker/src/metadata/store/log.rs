//! Metadata in `__cluster_metadata-0`, a log like any other, written through the same write-ahead log.

use std::sync::Arc;

use bytes::Bytes;
use storage::log::{
    AppendError, AppendOrigin, BoxFuture, FetchWait, Isolation, LogConfig, Next, PartitionLog,
    TopicPartition,
};
use storage::record::{BatchBuilder, ValidatedBatch};
use uuid::Uuid;

use super::{Loaded, MetadataStore, StoreError, not_applied};
use crate::clock::system_ms;
use crate::metadata::record::MetadataRecord;
use crate::replay::{Entry, replay};

const SEGMENT_BYTES: u64 = 64 << 20;

/// The id of the metadata log; Kafka's `Uuid.METADATA_TOPIC_ID`.
pub(crate) fn metadata_log_id() -> TopicPartition {
    TopicPartition {
        topic: crate::metadata::topics::plan::CLUSTER_METADATA_TOPIC.into(),
        topic_id: Uuid::from_u128(1),
        partition: 0,
    }
}

/// No retention shortens the metadata log, for it is the only copy. A snapshot does; segments are small so that it makes some
/// of them superfluous.
pub(crate) fn metadata_log_config() -> LogConfig {
    LogConfig {
        segment_bytes: SEGMENT_BYTES,
        compact: false,
        delete: false,
        retention_ms: -1,
        retention_bytes: -1,
        ..LogConfig::default()
    }
}

/// Metadata in a log of this machine.
pub struct MetadataLog {
    log: Arc<dyn PartitionLog>,
}

impl MetadataLog {
    pub(crate) fn new(log: Arc<dyn PartitionLog>) -> Self {
        Self { log }
    }
}

impl MetadataStore for MetadataLog {
    fn load(&self, from_version: i64) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        Box::pin(async move {
            let mut records = Vec::new();
            let mut damaged = None;
            let end = self.log.offsets().high_watermark;
            let version = replay(&*self.log, from_version, |entry| {
                let Entry::Record(_, record) = entry else {
                    return;
                };
                match MetadataRecord::decode(record.value.unwrap_or_default()) {
                    Ok(decoded) => records.push(decoded),
                    Err(source) => {
                        damaged.get_or_insert(StoreError::Record {
                            offset: record.offset,
                            source,
                        });
                    }
                }
            });
            let version = version.await?;
            if let Some(error) = damaged {
                return Err(error);
            }
            if version < end {
                return Err(StoreError::Corrupt {
                    offset: version,
                    what: "the log gives nothing although it does not end here".to_owned(),
                });
            }
            // Less than asked for, if the log was cut.
            let version = version.min(self.log.offsets().high_watermark);
            Ok(Loaded { records, version })
        })
    }

    fn append<'a>(
        &'a self,
        expected_version: i64,
        records: &'a [MetadataRecord],
    ) -> BoxFuture<'a, Result<i64, StoreError>> {
        Box::pin(async move {
            let bytes = build_batch(records)?;
            let batch = ValidatedBatch::trusted(bytes).map_err(not_applied)?;
            let permit = self
                .log
                .reserve(batch.size_bytes(), AppendOrigin::COORDINATOR)
                .await
                .map_err(not_applied)?;
            let found = self.log.offsets().log_end_offset;
            if found != expected_version {
                return Err(StoreError::Conflict {
                    expected: expected_version,
                    found,
                });
            }
            let pending = self
                .log
                .submit(permit, batch, AppendOrigin::COORDINATOR, Next::Append)
                .map_err(not_applied)?;
            match pending.await {
                Ok(appended) => Ok(appended.last_offset + 1),
                // Once it is submitted, a failure of the disk says nothing about what is on it.
                Err(error @ (AppendError::Storage(_) | AppendError::Indeterminate(_))) => {
                    Err(StoreError::Indeterminate(error.to_string()))
                }
                Err(error) => Err(not_applied(error)),
            }
        })
    }

    fn watch(&self, seen_version: i64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let wait = FetchWait::new(1);
            let isolation = Isolation::ReadUncommitted;
            let _registration = self.log.watch(seen_version, isolation, &wait);
            wait.wait().await;
        })
    }

    fn forget_before(&self, version: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        let forgotten = self.log.delete_records_before(version);
        Box::pin(async move { forgotten.await.map(|_| ()).map_err(not_applied) })
    }
}

fn build_batch(records: &[MetadataRecord]) -> Result<Bytes, StoreError> {
    let now_ms = system_ms();
    let mut builder = BatchBuilder::new();
    for record in records {
        builder.append(now_ms, None, Some(&record.encode()), &[]);
    }
    builder.build().map_err(not_applied)
}
