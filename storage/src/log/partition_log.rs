//! The seam between the broker and whatever keeps one partition: [`PartitionLog`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::{
    ActiveProducer, AppendError, AppendOrigin, AppendPermit, FetchWait, Glance, Isolation,
    LogConfig, LogOffsets, Next, PendingAppend, Read, ReadError, ReadRequest, TimestampOffset,
    TopicPartition, VerificationGuard, WaitRegistration,
};
use crate::record::ValidatedBatch;

/// A future behind a pointer: what an object-safe trait returns instead of `async fn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An append-only log of record batches: one partition.
///
/// To append, `reserve().await`, then `submit()`: the order of `submit` calls is the order of offsets. Readers see nothing
/// before it is durable.
///
/// What returns no future answers from memory and never waits for a disk or another machine, once the log is
/// [`ready`](Self::ready).
pub trait PartitionLog: Send + Sync {
    fn id(&self) -> &TopicPartition;

    /// Waits until the log knows what it holds; `None` if it does. An engine on files has to look at them before the first
    /// use, one that others append to has to read what they did.
    ///
    /// Whatever else is called before that has to find it out first, and may block.
    fn ready(&self) -> Option<BoxFuture<'static, ()>>;

    /// Waits until the log takes `bytes` more: this is where back-pressure is felt. The last of the disk is kept for the
    /// broker's own records.
    fn reserve(
        &self,
        bytes: usize,
        origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>>;

    /// Appends one validated batch and gives it its offsets, without waiting until it is durable.
    ///
    /// A duplicate of an idempotent batch resolves, when the original is durable, to the original's offset. `next` says
    /// whether it is worth waiting for more before the batch is committed; it changes no outcome.
    ///
    /// # Errors
    /// The batch was refused, and nothing was appended.
    fn submit(
        &self,
        permit: AppendPermit,
        batch: ValidatedBatch,
        origin: AppendOrigin,
        next: Next,
    ) -> Result<PendingAppend, AppendError>;

    /// Prepares to ask the transaction's coordinator whether this log is part of the producer's transaction (KIP-890).
    ///
    /// `None` if the transaction is open here already, or if nobody is to be asked
    /// (`transaction.partition.verification.enable`). Else the guard goes with the first batch
    /// when the coordinator has agreed ([`AppendOrigin`]). A marker that comes between takes the guard away, so a late
    /// batch cannot open a transaction that nobody will end. `supports_epoch_bump`: the client gets a new epoch with each
    /// transaction.
    ///
    /// # Errors
    /// The producer's epoch is older than the log knows, or the log cannot be used.
    fn begin_verification(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        supports_epoch_bump: bool,
    ) -> Result<Option<VerificationGuard>, AppendError>;

    /// Whether a transactional batch of this producer and guard would be let in now, but for its sequence.
    ///
    /// # Errors
    /// What `submit` would answer.
    fn check_transaction(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        guard: Option<VerificationGuard>,
    ) -> Result<(), AppendError>;

    /// The offsets as this log knows them. Those of a log that cannot be used are those of an empty one.
    fn offsets(&self) -> LogOffsets;

    /// The offsets that include everything appended before the call, by whoever appends to the log. When it resolves, all
    /// other answers are at least as new.
    ///
    /// # Errors
    /// The log cannot be used, now or for good. A caller for whom an empty log would be an answer asks here, and not
    /// [`offsets`](Self::offsets).
    fn current_offsets(&self) -> BoxFuture<'static, Result<LogOffsets, ReadError>>;

    /// What is known of the log at this moment; `None` where that is nothing, as of a log that was not used since the start.
    /// Never waits, and has nothing looked at: for whoever only looks on.
    fn glance(&self) -> Option<Glance>;

    fn leader_epoch(&self) -> i32;

    /// Bytes that the log takes, and those that are still on their way to where they will stay.
    fn size_bytes(&self) -> u64;

    fn read(&self, request: ReadRequest) -> Result<Read, ReadError>;

    /// Registers a long poll that has seen the log up to `seen_end` (exclusive, by `isolation`).
    ///
    /// If more is visible already, the poll is woken at once.
    fn watch(&self, seen_end: i64, isolation: Isolation, wait: &Arc<FetchWait>)
    -> WaitRegistration;

    /// The first record with a timestamp of at least `timestamp`, among the visible ones.
    fn offset_for_timestamp(
        &self,
        timestamp: i64,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>>;

    /// The record with the largest timestamp (ListOffsets -3).
    fn offset_of_max_timestamp(
        &self,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>>;

    /// The largest timestamp of the batch that holds the record at `offset`, or of the next one if that is gone. `None`: there
    /// is none that is visible.
    fn timestamp_at(&self, offset: i64) -> BoxFuture<'static, Result<Option<i64>, ReadError>>;

    /// The largest epoch that is not above `leader_epoch`, and where it ends (OffsetForLeaderEpoch).
    fn end_offset_for_epoch(&self, leader_epoch: i32) -> Option<(i32, i64)>;

    /// The idempotent producers that the log knows, in the order of their ids (DescribeProducers, KIP-664).
    fn producers(&self) -> Vec<ActiveProducer>;

    /// How many transactions are open here whose producers have been silent for longer than `silent_for_ms`: longer than any
    /// timeout, they hang. A log that was not used since the start knows of none.
    fn late_transactions(&self, silent_for_ms: i64) -> usize;

    /// Takes the log over, for a coordinator that keeps its state in it; resolves, when durable, to the leader epoch of the claim,
    /// which is above those of all claims before. Afterwards the log lets in no batch of [`AppendOrigin::Coordinator`] from whoever
    /// claimed it earlier: [`AppendError::Fenced`]. What those had appended is there for the claimant to read.
    ///
    /// Where only one broker appends there is nobody to be fenced, and the epoch is that of the log.
    fn claim(&self) -> BoxFuture<'static, Result<i32, AppendError>> {
        Box::pin(std::future::ready(Ok(self.leader_epoch())))
    }

    /// Moves the log start offset up (DeleteRecords); resolves to the new one when durable.
    fn delete_records_before(&self, offset: i64) -> BoxFuture<'static, Result<i64, AppendError>>;

    /// Takes a changed topic configuration into use.
    fn set_config(&self, config: Arc<LogConfig>);
}
