//! Metadata in the table that all brokers of a cluster share.
//!
//! A change takes hold or does not, whatever becomes of the connection to the database: an append that nobody knows the outcome
//! of is asked about under its id until it is known.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use storage::log::BoxFuture;
use storage::object::database::{DatabaseError, Fence, MetadataError, MetadataTable};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{Loaded, MetadataStore, StoreError, not_applied};
use crate::log_limited;
use crate::metadata::record::MetadataRecord;

/// How often it is looked whether another broker has changed something.
const LOOKS: Duration = Duration::from_millis(50);
/// How long to wait after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(250);
/// How long a change waits for a database that does not answer, or for this broker to be registered.
const PATIENCE: Duration = Duration::from_secs(10);

/// Metadata in a table of the cluster's database.
pub(crate) struct SharedMetadata {
    table: Arc<dyn MetadataTable>,
    /// As which broker it is written; `None` while this broker is not registered.
    fence: watch::Receiver<Option<Fence>>,
}

impl SharedMetadata {
    pub(crate) fn new(
        table: Arc<dyn MetadataTable>,
        fence: watch::Receiver<Option<Fence>>,
    ) -> Self {
        Self { table, fence }
    }

    /// Waits until this broker is registered, and not under `refused`.
    async fn fence(&self, refused: Option<Fence>) -> Option<Fence> {
        let mut fence = self.fence.clone();
        let found = fence.wait_for(|fence| fence.is_some() && *fence != refused);
        found.await.ok().and_then(|fence| *fence)
    }

    async fn append_all(
        &self,
        expected_version: i64,
        records: &[Bytes],
    ) -> Result<i64, StoreError> {
        let append_id = Uuid::new_v4();
        let deadline = Instant::now() + PATIENCE;
        let mut is_in_doubt = false;
        let mut refused = None;
        loop {
            let is_late = || Instant::now() >= deadline;
            // What may have been applied has to be known, however long it takes.
            let fence = match is_in_doubt {
                true => self.fence(refused).await,
                false => tokio::time::timeout_at(deadline, self.fence(refused))
                    .await
                    .ok()
                    .flatten(),
            };
            let Some(fence) = fence else {
                let what = "this broker is not registered in the cluster at the moment";
                return Err(match is_in_doubt {
                    true => StoreError::Indeterminate(what.to_owned()),
                    false => not_applied(what),
                });
            };
            let appended = self
                .table
                .append(fence, append_id, expected_version, records);
            let error = match appended.await {
                Ok(version) => return Ok(version),
                Err(MetadataError::Conflict { expected, found }) => {
                    return Err(StoreError::Conflict { expected, found });
                }
                Err(MetadataError::Database(error)) => error,
            };
            match &error {
                DatabaseError::Fenced => {
                    refused = Some(fence);
                    continue;
                }
                DatabaseError::InDoubt(_) => is_in_doubt = true,
                DatabaseError::Refused(_) if !is_in_doubt => return Err(not_applied(error)),
                DatabaseError::Unavailable(_) if !is_in_doubt && is_late() => {
                    return Err(not_applied(error));
                }
                DatabaseError::Refused(_) | DatabaseError::Unavailable(_) => {}
            }
            log_limited!(
                warn,
                "the metadata could not be written, it is tried again: {error}"
            );
            sleep(AFTER_FAILURE).await;
        }
    }
}

impl MetadataStore for SharedMetadata {
    fn load(&self, from_version: i64) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        Box::pin(async move {
            let found = self.table.load(from_version).await;
            let found = found.map_err(|error| StoreError::Unavailable(error.to_string()))?;
            let version = found.version();
            let decoded = found.records.into_iter().zip(found.from_version..);
            let decoded = decoded.map(|(record, offset)| {
                let decoded = MetadataRecord::decode(&record);
                decoded.map_err(|source| StoreError::Record { offset, source })
            });
            let records: Vec<_> = decoded.collect::<Result<_, _>>()?;
            // Whoever comes late finds a snapshot in place of what was forgotten, and nothing else would do.
            let is_cut = found.from_version > from_version;
            if is_cut && !matches!(records.first(), Some(MetadataRecord::BeginTransaction)) {
                return Err(StoreError::Corrupt {
                    offset: found.from_version,
                    what: format!(
                        "what came after version {from_version} is gone, and there is no snapshot in its place"
                    ),
                });
            }
            Ok(Loaded { records, version })
        })
    }

    fn append<'a>(
        &'a self,
        expected_version: i64,
        records: &'a [MetadataRecord],
    ) -> BoxFuture<'a, Result<i64, StoreError>> {
        Box::pin(async move {
            let records: Vec<Bytes> = records
                .iter()
                .map(MetadataRecord::encode)
                .map(Bytes::from)
                .collect();
            self.append_all(expected_version, &records).await
        })
    }

    fn watch(&self, seen_version: i64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                sleep(LOOKS).await;
                match self.table.version().await {
                    Ok(version) if version == seen_version => {}
                    // Below it the database has lost something, which whoever reads it finds out.
                    Ok(_) => return,
                    Err(error) => {
                        log_limited!(
                            warn,
                            "the metadata could not be read, it is tried again: {error}"
                        );
                        sleep(AFTER_FAILURE).await;
                    }
                }
            }
        })
    }

    fn forget_before(&self, version: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let fence = tokio::time::timeout(PATIENCE, self.fence(None)).await;
            let fence = fence.ok().flatten();
            let fence = fence.ok_or_else(|| not_applied("this broker is not registered"))?;
            let forgotten = self.table.forget_before(fence, version);
            forgotten.await.map_err(not_applied)
        })
    }
}
