//! The log behind the seam.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::FileLog;
use super::plan::ReadPlan;
use super::search::Search;
use super::state::State;
use crate::env::fs::Fs;
use crate::log::admission::refused;
use crate::log::{
    ActiveProducer, AppendError, AppendOrigin, AppendPermit, BoxFuture, FetchWait, Glance,
    GlanceInside, Isolation, LogConfig, LogOffsets, Next, PartitionLog, PendingAppend, Read,
    ReadError, ReadRequest, TimestampOffset, TopicPartition, VerificationGuard, WaitRegistration,
};
use crate::record::ValidatedBatch;

/// The seam's handle on a [`FileLog`].
pub(crate) struct FileLogHandle(pub Arc<FileLog>);

impl PartitionLog for FileLogHandle {
    fn id(&self) -> &TopicPartition {
        &self.0.id
    }

    fn ready(&self) -> Option<BoxFuture<'static, ()>> {
        if self.0.prepared.load(Ordering::Acquire) {
            return None;
        }
        let (sender, done) = oneshot::channel();
        let log = Arc::clone(&self.0);
        self.0.shared.pool.load(move || {
            drop(log.state());
            let _ = sender.send(());
        });
        // An error means that the directory was closed; the log says so itself.
        Some(Box::pin(async move { done.await.unwrap_or_default() }))
    }

    fn reserve(
        &self,
        bytes: usize,
        origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>> {
        self.0.shared.reserve(bytes, origin)
    }

    fn submit(
        &self,
        permit: AppendPermit,
        batch: ValidatedBatch,
        origin: AppendOrigin,
        next: Next,
    ) -> Result<PendingAppend, AppendError> {
        self.0.append(permit, batch, origin, next)
    }

    fn begin_verification(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        supports_epoch_bump: bool,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        let now_ms = self.0.shared.clock.now_ms();
        let mut state = self.0.state();
        state.check_appendable()?;
        self.0
            .producers(&mut state)
            .begin_verification(
                producer_id,
                producer_epoch,
                base_sequence,
                supports_epoch_bump,
                now_ms,
            )
            .map_err(|error| refused(&self.0.id, error))
    }

    fn check_transaction(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        guard: Option<VerificationGuard>,
    ) -> Result<(), AppendError> {
        let mut state = self.0.state();
        state.check_appendable()?;
        self.0
            .producers(&mut state)
            .check_transaction(producer_id, producer_epoch, guard)
            .map_err(|error| refused(&self.0.id, error))
    }

    fn offsets(&self) -> LogOffsets {
        self.0.state().offsets()
    }

    fn current_offsets(&self) -> BoxFuture<'static, Result<LogOffsets, ReadError>> {
        let state = self.0.state();
        let offsets = state.check_readable().map(|()| state.offsets());
        Box::pin(std::future::ready(offsets))
    }

    fn glance(&self) -> Option<Glance> {
        let log = &self.0;
        // Of a log that is being looked at for the first time the lock is held over I/O.
        if !log.prepared.load(Ordering::Acquire) {
            let closed_at = log.shared.closed_at.lock().get(&log.key()).copied();
            return closed_at.map(|high_watermark| Glance {
                high_watermark,
                more: None,
            });
        }
        let state = log.state.lock();
        state.check_readable().ok()?;
        let offsets = state.offsets();
        Some(Glance {
            high_watermark: offsets.high_watermark,
            more: Some(GlanceInside {
                log_start_offset: offsets.log_start_offset,
                size_bytes: state.size_bytes,
            }),
        })
    }

    fn leader_epoch(&self) -> i32 {
        self.0.state().leader_epoch()
    }

    fn size_bytes(&self) -> u64 {
        self.0.state().size_bytes
    }

    fn producers(&self) -> Vec<ActiveProducer> {
        self.0.state().producers.active()
    }

    fn late_transactions(&self, silent_for_ms: i64) -> usize {
        // Whoever counts must not wait for the disk: the log is not loaded for it.
        let state = self.0.state.lock();
        let now_ms = self.0.shared.clock.now_ms();
        state.producers.late_transactions(silent_for_ms, now_ms)
    }

    fn read(&self, request: ReadRequest) -> Result<Read, ReadError> {
        let plan = self.0.state().plan_read(&request)?;
        match plan {
            ReadPlan::Ready(records) => Ok(Read::Ready(records)),
            ReadPlan::Cold(cold) => Ok(self.0.read_segments(cold, request)),
        }
    }

    fn watch(
        &self,
        seen_end: i64,
        isolation: Isolation,
        wait: &Arc<FetchWait>,
    ) -> WaitRegistration {
        let state = self.0.state();
        let registration = self.0.waiters.register(isolation, wait);
        if state.check_readable().is_err() || state.visible_end(isolation) > seen_end {
            wait.wake();
        }
        registration
    }

    fn offset_for_timestamp(
        &self,
        timestamp: i64,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>> {
        let plan = move |state: &State| state.plan_search(isolation);
        let job = move |search: &Search, fs: &dyn Fs, id: &TopicPartition| {
            search.first_at_or_after(fs, id, timestamp)
        };
        self.0.search(plan, job)
    }

    fn offset_of_max_timestamp(
        &self,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>> {
        let plan = |state: &State| state.plan_search(Isolation::ReadUncommitted);
        self.0.search(plan, Search::max)
    }

    fn timestamp_at(&self, offset: i64) -> BoxFuture<'static, Result<Option<i64>, ReadError>> {
        self.0.timestamp_at(offset)
    }

    fn end_offset_for_epoch(&self, leader_epoch: i32) -> Option<(i32, i64)> {
        let state = self.0.state();
        if leader_epoch == state.leader_epoch() {
            return Some((leader_epoch, state.high_watermark));
        }
        let (epoch, end) = state
            .epochs
            .end_offset_for(leader_epoch, state.high_watermark)?;
        Some((epoch, end.min(state.high_watermark)))
    }

    fn delete_records_before(&self, offset: i64) -> BoxFuture<'static, Result<i64, AppendError>> {
        self.0.move_log_start(offset)
    }

    fn set_config(&self, config: Arc<LogConfig>) {
        let mut state = self.0.state.lock();
        state.config = config;
        self.0.note_dirty(&state);
        drop(state);
        self.0.check_retention_at(0);
    }
}
