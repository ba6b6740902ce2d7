//! A log that lives in memory: for tests, and the model that the log on files is held against.
//!
//! Everything is durable the moment it is submitted, so the high watermark is the log end.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::env::sync::Mutex;
use crate::log::admission::{Admission, admit};
use crate::log::producer_state::{ProducerState, ProducerStateConfig};
use crate::log::transaction_index::{AbortedTxn, overlapping};
use crate::log::waiters::Waiters;
use crate::log::{
    ActiveProducer, AppendError, AppendOrigin, AppendPermit, Appended, BoxFuture, FetchWait,
    FetchedRecords, Isolation, LogConfig, LogOffsets, Next, PartitionLog, PendingAppend, Read,
    ReadError, ReadRequest, TimestampOffset, TopicPartition, WaitRegistration, timestamp,
};
use crate::record::{BatchHeader, ValidatedBatch};

/// A [`PartitionLog`] without files.
pub struct MemoryLog {
    id: TopicPartition,
    state: Mutex<State>,
    waiters: Arc<Waiters>,
}

struct State {
    batches: VecDeque<Stored>,
    log_start_offset: i64,
    log_end_offset: i64,
    size_bytes: u64,
    config: Arc<LogConfig>,
    producers: ProducerState,
    aborted: Vec<AbortedTxn>,
    deleted: bool,
}

struct Stored {
    header: BatchHeader,
    bytes: Bytes,
}

impl MemoryLog {
    pub fn new(id: TopicPartition, config: Arc<LogConfig>) -> Self {
        Self {
            id,
            state: Mutex::new(State {
                batches: VecDeque::new(),
                log_start_offset: 0,
                log_end_offset: 0,
                size_bytes: 0,
                config,
                producers: ProducerState::new(ProducerStateConfig::of_log(86_400_000), 0),
                aborted: Vec::new(),
                deleted: false,
            }),
            waiters: Arc::default(),
        }
    }

    /// Ends the log: waiting polls are woken and every later call answers `Deleted`.
    pub(crate) fn delete(&self) {
        let mut state = self.state.lock();
        state.deleted = true;
        state.batches.clear();
        state.size_bytes = 0;
        drop(state);
        self.waiters.wake_all();
    }
}

impl State {
    fn offsets(&self) -> LogOffsets {
        LogOffsets {
            log_start_offset: self.log_start_offset,
            last_stable_offset: self
                .producers
                .first_unstable_offset()
                .unwrap_or(self.log_end_offset),
            high_watermark: self.log_end_offset,
            log_end_offset: self.log_end_offset,
        }
    }

    fn visible_end(&self, isolation: Isolation) -> i64 {
        let offsets = self.offsets();
        match isolation {
            Isolation::ReadUncommitted => offsets.high_watermark,
            Isolation::ReadCommitted => offsets.last_stable_offset,
        }
    }

    /// The whole batches that are visible and hold offsets from the log start on.
    fn visible(&self, isolation: Isolation) -> impl Iterator<Item = &Stored> {
        let end = self.visible_end(isolation);
        self.batches
            .iter()
            .take_while(move |batch| batch.header.base_offset < end)
    }
}

impl PartitionLog for MemoryLog {
    fn id(&self) -> &TopicPartition {
        &self.id
    }

    fn ready(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }

    fn reserve(
        &self,
        _bytes: usize,
        _origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>> {
        Box::pin(std::future::ready(Ok(AppendPermit::unlimited())))
    }

    fn submit(
        &self,
        _permit: AppendPermit,
        batch: ValidatedBatch,
        origin: AppendOrigin,
        _next: Next,
    ) -> Result<PendingAppend, AppendError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.deleted {
            return Err(AppendError::Deleted);
        }
        let marker = match admit(&state.producers, &self.id, &batch, origin)? {
            Admission::Append(marker) => marker,
            Admission::Duplicate {
                base_offset,
                last_offset,
            } => {
                return Ok(Box::pin(std::future::ready(Ok(Appended {
                    base_offset,
                    last_offset,
                    log_start_offset: state.log_start_offset,
                    duplicate: true,
                }))));
            }
        };
        let bytes = batch.to_bytes(state.log_end_offset, 0);
        let header =
            BatchHeader::parse(&bytes).map_err(|error| AppendError::Storage(error.to_string()))?;
        let appended = Appended {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_start_offset: state.log_start_offset,
            duplicate: false,
        };
        let stable_before = state.offsets().last_stable_offset;
        state.log_end_offset = header.next_offset();
        let completed = state.producers.apply(&header, marker, header.max_timestamp);
        state.producers.on_high_watermark(header.next_offset());
        state
            .aborted
            .extend(completed.as_ref().and_then(AbortedTxn::of));
        let added = bytes.len() as i64;
        state.size_bytes += bytes.len() as u64;
        state.batches.push_back(Stored { header, bytes });
        let stable = state.offsets().last_stable_offset > stable_before;
        drop(guard);
        self.waiters
            .advanced(added, if stable { i64::MAX } else { 0 });
        Ok(Box::pin(std::future::ready(Ok(appended))))
    }

    fn offsets(&self) -> LogOffsets {
        self.state.lock().offsets()
    }

    fn current_offsets(&self) -> BoxFuture<'static, Result<LogOffsets, ReadError>> {
        let state = self.state.lock();
        let offsets = match state.deleted {
            true => Err(ReadError::Deleted),
            false => Ok(state.offsets()),
        };
        Box::pin(std::future::ready(offsets))
    }

    fn leader_epoch(&self) -> i32 {
        0
    }

    fn size_bytes(&self) -> u64 {
        self.state.lock().size_bytes
    }

    fn producers(&self) -> Vec<ActiveProducer> {
        self.state.lock().producers.active()
    }

    fn read(&self, request: ReadRequest) -> Result<Read, ReadError> {
        let state = self.state.lock();
        if state.deleted {
            return Err(ReadError::Deleted);
        }
        let offsets = state.offsets();
        if request.fetch_offset < offsets.log_start_offset
            || request.fetch_offset > offsets.log_end_offset
        {
            return Err(ReadError::OffsetOutOfRange {
                fetch_offset: request.fetch_offset,
                log_start_offset: offsets.log_start_offset,
                high_watermark: offsets.high_watermark,
            });
        }
        let mut records = Vec::new();
        let mut size_bytes = 0;
        let mut next_offset = request.fetch_offset;
        for batch in state
            .visible(request.isolation)
            .skip_while(|batch| batch.header.last_offset() < request.fetch_offset)
        {
            let first = records.is_empty() && request.at_least_one_batch;
            if size_bytes + batch.bytes.len() > request.max_bytes && !first {
                break;
            }
            size_bytes += batch.bytes.len();
            next_offset = batch.header.next_offset();
            records.push(batch.bytes.clone());
        }
        let aborted_transactions = match request.isolation {
            Isolation::ReadUncommitted => Vec::new(),
            Isolation::ReadCommitted => {
                overlapping(&state.aborted, request.fetch_offset, next_offset)
            }
        };
        Ok(Read::Ready(FetchedRecords {
            records,
            size_bytes,
            offsets,
            aborted_transactions,
        }))
    }

    fn watch(
        &self,
        seen_end: i64,
        isolation: Isolation,
        wait: &Arc<FetchWait>,
    ) -> WaitRegistration {
        let state = self.state.lock();
        if state.deleted || state.visible_end(isolation) > seen_end {
            wait.wake();
        }
        self.waiters.register(isolation, wait)
    }

    fn offset_for_timestamp(
        &self,
        timestamp: i64,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>> {
        let state = self.state.lock();
        let found = if state.deleted {
            Err(ReadError::Deleted)
        } else {
            state
                .visible(isolation)
                .filter(|batch| batch.header.max_timestamp >= timestamp)
                .find_map(|batch| {
                    timestamp::first_at_or_after(&batch.bytes, timestamp, state.log_start_offset)
                        .map_err(|error| ReadError::Storage(error.to_string()))
                        .transpose()
                })
                .transpose()
        };
        Box::pin(std::future::ready(found))
    }

    fn offset_of_max_timestamp(
        &self,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>> {
        let state = self.state.lock();
        let newest = state
            .visible(Isolation::ReadUncommitted)
            .reduce(|best, batch| {
                if batch.header.max_timestamp > best.header.max_timestamp {
                    batch
                } else {
                    best
                }
            });
        let found = match newest {
            _ if state.deleted => Err(ReadError::Deleted),
            None => Ok(None),
            Some(batch) => timestamp::first_at_or_after(
                &batch.bytes,
                batch.header.max_timestamp,
                state.log_start_offset,
            )
            .map_err(|error| ReadError::Storage(error.to_string())),
        };
        Box::pin(std::future::ready(found))
    }

    fn end_offset_for_epoch(&self, leader_epoch: i32) -> Option<(i32, i64)> {
        // There is one epoch; of a later one nothing is known, as in Kafka's `LeaderEpochFileCache`.
        (leader_epoch == 0).then(|| (0, self.state.lock().log_end_offset))
    }

    fn delete_records_before(&self, offset: i64) -> BoxFuture<'static, Result<i64, AppendError>> {
        let mut state = self.state.lock();
        let result = if state.deleted {
            Err(AppendError::Deleted)
        } else {
            let offset = offset.clamp(state.log_start_offset, state.log_end_offset);
            state.log_start_offset = offset;
            while let Some(first) = state.batches.front()
                && first.header.last_offset() < offset
            {
                state.size_bytes -= first.bytes.len() as u64;
                state.batches.pop_front();
            }
            Ok(offset)
        };
        Box::pin(std::future::ready(result))
    }

    fn set_config(&self, config: Arc<LogConfig>) {
        self.state.lock().config = config;
    }
}
