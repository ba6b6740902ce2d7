//! How the batches of a shard get into its log: alone, or together with the markers of a transaction in the logs of others,
//! all of them or none.

#![expect(clippy::disallowed_methods, reason = "a coordinator works for itself")]

use coordinators::machine::{EndTxn, Ending, Partition};
use protocol_shim::ErrorCode;
use storage::log::{
    AppendError, AppendOrigin, IfRefused, JointPart, Next, PartitionLog, PendingAppend,
    TopicPartition, VerificationGuard,
};
use storage::record::{BatchBuilder, EndTxnMarker, TransactionResult, ValidatedBatch};
use tracing::debug;

use super::batches::NO_SEQUENCE;
use super::runtime::{Outside, Runtime, Surroundings};
use crate::authorizer::Authorized;
use crate::partition::errors;

impl<O: Outside> Surroundings<O> {
    /// Appends a batch to the shard's log. A batch that begins a transaction there needs a guard.
    ///
    /// # Errors
    /// Nothing was appended.
    pub(super) async fn append(
        &self,
        batch: ValidatedBatch,
        guard: Option<VerificationGuard>,
    ) -> Result<PendingAppend, AppendError> {
        let origin = AppendOrigin::Coordinator(guard);
        let permit = self.log.reserve(batch.size_bytes(), origin).await?;
        self.log.submit(permit, batch, origin, Next::Wait)
    }

    /// Appends `record` and the markers of `ending`. Gives the append of the record. Shards whose logs are among those with a
    /// marker come upon it there.
    ///
    /// # Errors
    /// Nothing was appended.
    pub(super) async fn append_jointly(
        &self,
        record: ValidatedBatch,
        ending: &Ending,
        claimed: i32,
    ) -> Result<PendingAppend, AppendError> {
        let marked = self.logs_of(&ending.partitions).await;
        let end = EndTxn {
            producer_id: ending.producer.id,
            producer_epoch: ending.producer.epoch,
            coordinator_epoch: claimed,
            commit: ending.commit,
        };
        let marker = marker_batch(end, self.runtime.clock.wall_ms())?;
        let markers = marked.iter().map(|log| JointPart {
            log: log.clone(),
            batch: marker.clone(),
            origin: AppendOrigin::Marker {
                transaction_version: ending.transaction_version,
            },
            if_refused: IfRefused::Skip,
        });
        let mut parts: Vec<_> = markers.collect();
        parts.push(JointPart {
            log: self.log.id().clone(),
            batch: record,
            origin: AppendOrigin::COORDINATOR,
            if_refused: IfRefused::FailAll,
        });
        // It may not have been used for a while.
        if let Some(ready) = self.log.ready() {
            ready.await;
        }
        let bytes = parts.iter().map(|part| part.batch.size_bytes()).sum();
        let logs = &self.runtime.logs;
        let permit = logs.reserve(bytes, AppendOrigin::COORDINATOR).await?;
        let answers = logs
            .submit_all(permit, parts)
            .map_err(|error| error.error)?;
        let stats = &self.runtime.stats;
        let mut answers = answers.into_iter();
        for (log, answer) in marked.into_iter().zip(&mut answers) {
            match answer {
                Ok(_) => stats.marker_written(),
                Err(error) => {
                    stats.markers_skipped(1);
                    debug!(%log, "no marker for {:?}: {error}", ending.producer);
                }
            }
        }
        let missing = || AppendError::Storage("a part has no answer".to_owned());
        answers.next().unwrap_or_else(|| Err(missing()))
    }

    /// The logs of those partitions that there are, in order. The machine's own topic is not among them: nobody writes there
    /// in a transaction.
    async fn logs_of(&self, partitions: &[Partition]) -> Vec<TopicPartition> {
        let image = self.runtime.metadata.image();
        let wanted = partitions.iter().map(|partition| {
            let topic = match partition.topic_id.is_nil() {
                true => image.topic(&partition.topic),
                false => image.topic_by_id(partition.topic_id),
            };
            let topic = topic.filter(|topic| *topic.name != *O::TOPIC);
            let topic = topic.ok_or(ErrorCode::UnknownTopicOrPartition)?;
            let topic_id = Authorized::internal(topic.topic_id, "the end of a transaction");
            Ok((topic_id, partition.index))
        });
        let found = self.runtime.partitions.get_all(wanted.collect()).await;
        let found = found.into_iter().flatten();
        let mut logs: Vec<_> = found.map(|partition| partition.log.id().clone()).collect();
        let without_log = partitions.len() - logs.len();
        self.runtime.stats.markers_skipped(without_log);
        logs.sort_unstable_by_key(|log| (log.topic_id, log.partition));
        logs.dedup();
        logs
    }
}

impl Runtime {
    /// Ends a producer's transaction in one log, whatever its coordinator knows of it.
    ///
    /// # Errors
    /// Nothing was appended; why.
    pub(crate) async fn append_marker(
        &self,
        log: &dyn PartitionLog,
        end: EndTxn,
        transaction_version: i16,
    ) -> Result<PendingAppend, ErrorCode> {
        let refused = |error: AppendError| errors::of_append(&error);
        let marker = marker_batch(end, self.clock.wall_ms()).map_err(refused)?;
        let origin = AppendOrigin::Marker {
            transaction_version,
        };
        let permit = log.reserve(marker.size_bytes(), origin).await;
        let append = log.submit(permit.map_err(refused)?, marker, origin, Next::Append);
        let append = append.map_err(refused)?;
        self.stats.marker_written();
        Ok(append)
    }
}

/// A control batch that ends a producer's transaction (KIP-98).
///
/// # Errors
/// It could not be made, which does not happen.
pub(crate) fn marker_batch(end: EndTxn, now_ms: i64) -> Result<ValidatedBatch, AppendError> {
    let marker = EndTxnMarker {
        result: match end.commit {
            true => TransactionResult::Commit,
            false => TransactionResult::Abort,
        },
        coordinator_epoch: end.coordinator_epoch,
    };
    let mut batch = BatchBuilder::new()
        .producer(end.producer_id, end.producer_epoch, NO_SEQUENCE)
        .transactional()
        .control();
    batch.append(now_ms, Some(&marker.key()), Some(&marker.value()), &[]);
    trusted(batch)
}

/// A batch of the broker's own.
///
/// # Errors
/// No log could take it.
pub(super) fn trusted(batch: BatchBuilder) -> Result<ValidatedBatch, AppendError> {
    let unfit = |error: &dyn std::fmt::Display| AppendError::Storage(error.to_string());
    let bytes = batch.build().map_err(|error| unfit(&error))?;
    ValidatedBatch::trusted(bytes).map_err(|error| unfit(&error))
}
