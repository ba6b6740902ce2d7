//! A log that lives in memory: for tests, and the model that the log on files is held against.
//!
//! Everything is durable the moment it is submitted, so the high watermark is the log end. Several brokers may have the same
//! log: each has a handle of its own, and all see the same at once.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use bytes::Bytes;

use crate::env::sync::{Mutex, MutexGuard};
use crate::log::admission::{Admission, admit, refused};
use crate::log::leader_epoch::LeaderEpochs;
use crate::log::producer_state::{ProducerState, ProducerStateConfig};
use crate::log::transaction_index::{AbortedTxn, overlapping};
use crate::log::waiters::Waiters;
use crate::log::{
    ActiveProducer, AppendError, AppendOrigin, AppendPermit, Appended, BoxFuture, FetchWait,
    FetchedRecords, Glance, GlanceInside, IfRefused, Isolation, JointError, JointPart, LogConfig,
    LogOffsets, Next, PartitionLog, PendingAppend, Read, ReadError, ReadRequest, TimestampOffset,
    TopicPartition, VerificationGuard, WaitRegistration, timestamp,
};
use crate::record::{BatchHeader, EndTxnMarker, ValidatedBatch};

/// A [`PartitionLog`] without files, in the hands of one broker.
pub struct MemoryLog {
    shared: Arc<Shared>,
    /// The epoch with which this broker's coordinator writes; `None` if no other broker has the log.
    claimed: Option<AtomicI32>,
}

/// What all brokers that have the log see.
pub struct Shared {
    id: TopicPartition,
    state: Mutex<State>,
    waiters: Arc<Waiters>,
}

impl Deref for MemoryLog {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

struct State {
    batches: VecDeque<Stored>,
    log_start_offset: i64,
    log_end_offset: i64,
    size_bytes: u64,
    config: Arc<LogConfig>,
    producers: ProducerState,
    aborted: Vec<AbortedTxn>,
    /// Each claim begins one.
    epochs: LeaderEpochs,
    /// Of all batches, in ms: the clock of this log.
    newest_timestamp: i64,
    deleted: bool,
}

struct Stored {
    header: BatchHeader,
    bytes: Bytes,
}

impl MemoryLog {
    pub(super) fn new(shared: Arc<Shared>, is_alone: bool) -> Self {
        Self {
            shared,
            claimed: (!is_alone).then(AtomicI32::default),
        }
    }

    fn claimed(&self) -> i32 {
        let claimed = self.claimed.as_ref();
        claimed.map_or(i32::MAX, |claimed| claimed.load(Ordering::Acquire))
    }
}

impl Shared {
    pub(super) fn new(id: TopicPartition, config: Arc<LogConfig>) -> Self {
        let mut epochs = LeaderEpochs::new();
        epochs.assign(0, 0);
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
                epochs,
                newest_timestamp: 0,
                deleted: false,
            }),
            waiters: Arc::default(),
        }
    }

    /// Wakes the long polls that have waited for the batch.
    fn tell(&self, taken_in: &TakenIn) {
        let stable_bytes = if taken_in.moves_stable_end {
            i64::MAX
        } else {
            0
        };
        self.waiters.advanced(taken_in.bytes, stable_bytes);
    }

    /// `transaction.partition.verification.enable` is this from now on.
    pub(crate) fn verify_transactions(&self, enabled: bool) {
        self.state.lock().producers.verify_transactions(enabled);
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

/// What becomes of a batch that is let in.
enum Drafted {
    Append(Draft),
    /// Where the original is.
    Duplicate(Appended),
}

/// A batch as it will be stored.
struct Draft {
    stored: Stored,
    marker: Option<EndTxnMarker>,
}

/// What producer and readers are told of a batch that was taken in.
struct TakenIn {
    appended: Appended,
    bytes: i64,
    /// More is visible to read-committed readers.
    moves_stable_end: bool,
}

fn answered(appended: Appended) -> PendingAppend {
    Box::pin(std::future::ready(Ok(appended)))
}

impl State {
    /// Checks a batch. Changes nothing.
    fn draft(
        &self,
        id: &TopicPartition,
        batch: &ValidatedBatch,
        origin: AppendOrigin,
        claimed: i32,
    ) -> Result<Drafted, AppendError> {
        if self.deleted {
            return Err(AppendError::Deleted);
        }
        let current = self.leader_epoch();
        if matches!(origin, AppendOrigin::Coordinator(_)) && claimed < current {
            return Err(AppendError::Fenced {
                partition: id.clone(),
                current,
                got: claimed,
            });
        }
        let marker = match admit(&self.producers, id, batch, origin)? {
            Admission::Append(marker) => marker,
            Admission::Duplicate {
                base_offset,
                last_offset,
            } => {
                return Ok(Drafted::Duplicate(Appended {
                    base_offset,
                    last_offset,
                    log_start_offset: self.log_start_offset,
                    duplicate: true,
                }));
            }
        };
        let bytes = batch.to_bytes(self.log_end_offset, self.leader_epoch());
        let header =
            BatchHeader::parse(&bytes).map_err(|error| AppendError::Storage(error.to_string()))?;
        Ok(Drafted::Append(Draft {
            stored: Stored { header, bytes },
            marker,
        }))
    }

    fn leader_epoch(&self) -> i32 {
        self.epochs.latest().map_or(0, |latest| latest.epoch)
    }

    fn take_in(&mut self, draft: Draft) -> TakenIn {
        let Draft { stored, marker } = draft;
        let header = stored.header;
        let stable_before = self.offsets().last_stable_offset;
        self.log_end_offset = header.next_offset();
        self.newest_timestamp = self.newest_timestamp.max(header.max_timestamp);
        let completed = self.producers.apply(&header, marker, header.max_timestamp);
        self.producers.on_high_watermark(header.next_offset());
        self.aborted
            .extend(completed.as_ref().and_then(AbortedTxn::of));
        let bytes = stored.bytes.len();
        self.size_bytes += bytes as u64;
        self.batches.push_back(stored);
        TakenIn {
            appended: Appended {
                base_offset: header.base_offset,
                last_offset: header.last_offset(),
                log_start_offset: self.log_start_offset,
                duplicate: false,
            },
            bytes: bytes as i64,
            moves_stable_end: self.offsets().last_stable_offset > stable_before,
        }
    }

    fn offsets(&self) -> LogOffsets {
        LogOffsets {
            log_start_offset: self.log_start_offset,
            last_stable_offset: self
                .producers
                .first_unstable_offset()
                .unwrap_or(self.log_end_offset)
                .max(self.log_start_offset),
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
        let mut state = self.state.lock();
        let answer = match state.draft(&self.id, &batch, origin, self.claimed())? {
            Drafted::Duplicate(appended) => return Ok(answered(appended)),
            Drafted::Append(draft) => state.take_in(draft),
        };
        drop(state);
        self.tell(&answer);
        Ok(answered(answer.appended))
    }

    fn begin_verification(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        supports_epoch_bump: bool,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        let mut state = self.state.lock();
        if state.deleted {
            return Err(AppendError::Deleted);
        }
        state
            .producers
            .begin_verification(
                producer_id,
                producer_epoch,
                base_sequence,
                supports_epoch_bump,
                0,
            )
            .map_err(|error| refused(&self.id, error))
    }

    fn check_transaction(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        guard: Option<VerificationGuard>,
    ) -> Result<(), AppendError> {
        let state = self.state.lock();
        if state.deleted {
            return Err(AppendError::Deleted);
        }
        state
            .producers
            .check_transaction(producer_id, producer_epoch, guard)
            .map_err(|error| refused(&self.id, error))
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

    fn glance(&self) -> Option<Glance> {
        let state = self.state.lock();
        let offsets = state.offsets();
        let glance = Glance {
            high_watermark: offsets.high_watermark,
            more: Some(GlanceInside {
                log_start_offset: offsets.log_start_offset,
                size_bytes: state.size_bytes,
            }),
        };
        (!state.deleted).then_some(glance)
    }

    fn leader_epoch(&self) -> i32 {
        self.state.lock().leader_epoch()
    }

    fn claim(&self) -> BoxFuture<'static, Result<i32, AppendError>> {
        let mut state = self.state.lock();
        if state.deleted {
            return Box::pin(std::future::ready(Err(AppendError::Deleted)));
        }
        let mut epoch = state.leader_epoch();
        if let Some(claimed) = &self.claimed {
            epoch += 1;
            let end = state.log_end_offset;
            state.epochs.assign(epoch, end);
            claimed.store(epoch, Ordering::Release);
        }
        Box::pin(std::future::ready(Ok(epoch)))
    }

    fn size_bytes(&self) -> u64 {
        self.state.lock().size_bytes
    }

    fn producers(&self) -> Vec<ActiveProducer> {
        self.state.lock().producers.active()
    }

    fn late_transactions(&self, silent_for_ms: i64) -> usize {
        let state = self.state.lock();
        let now_ms = state.newest_timestamp;
        state.producers.late_transactions(silent_for_ms, now_ms)
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
        // The last stable offset may lie within a batch, where the log begins.
        let is_visible = request.fetch_offset < state.visible_end(request.isolation);
        for batch in state
            .visible(request.isolation)
            .take_while(|_| is_visible)
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
            Isolation::ReadCommitted if records.is_empty() => Vec::new(),
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
                .map(|found| found.filter(|found| found.offset < state.visible_end(isolation)))
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

    fn timestamp_at(&self, offset: i64) -> BoxFuture<'static, Result<Option<i64>, ReadError>> {
        let state = self.state.lock();
        let mut batches = state.visible(Isolation::ReadUncommitted);
        let found = batches.find(|batch| batch.header.last_offset() >= offset);
        let found = found.map(|batch| batch.header.max_timestamp);
        let answer = match state.deleted {
            true => Err(ReadError::Deleted),
            false => Ok(found),
        };
        Box::pin(std::future::ready(answer))
    }

    fn end_offset_for_epoch(&self, leader_epoch: i32) -> Option<(i32, i64)> {
        let state = self.state.lock();
        state
            .epochs
            .end_offset_for(leader_epoch, state.log_end_offset)
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

/// Appends `parts`, each to the log in the same place of `logs`; a log that is gone is `None`.
///
/// # Errors
/// See [`crate::log::LogStore::submit_all`].
pub(super) fn append_all(
    parts: &[JointPart],
    logs: &[Option<Arc<MemoryLog>>],
) -> Result<Vec<Result<PendingAppend, AppendError>>, JointError> {
    // All joint appends lock in this order, so no two of them wait for each other.
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_unstable_by_key(|&part| &parts[part].log);
    let mut answers: Vec<Option<Result<PendingAppend, AppendError>>> = Vec::new();
    answers.resize_with(parts.len(), || None);
    let mut admitted: Vec<(usize, &Arc<MemoryLog>, MutexGuard<'_, State>, Draft)> = Vec::new();
    for at in order {
        let part = &parts[at];
        let outcome = match &logs[at] {
            None => Err(AppendError::Deleted),
            Some(log)
                if admitted
                    .iter()
                    .any(|(_, other, ..)| Arc::ptr_eq(&other.shared, &log.shared)) =>
            {
                let what = format!("two parts of a joint append are for {}", log.id);
                Err(AppendError::Storage(what))
            }
            Some(log) => {
                let state = log.state.lock();
                let drafted = state.draft(&log.id, &part.batch, part.origin, log.claimed());
                drafted.map(|drafted| (log, state, drafted))
            }
        };
        match outcome {
            Ok((log, state, Drafted::Append(draft))) => admitted.push((at, log, state, draft)),
            Ok((_, _, Drafted::Duplicate(appended))) => answers[at] = Some(Ok(answered(appended))),
            Err(error) if part.if_refused == IfRefused::Skip => answers[at] = Some(Err(error)),
            Err(error) => {
                return Err(JointError {
                    part: Some(at),
                    error,
                });
            }
        }
    }
    let mut taken_in = Vec::with_capacity(admitted.len());
    for (at, log, mut state, draft) in admitted {
        taken_in.push((at, log, state.take_in(draft)));
    }
    for (at, log, taken_in) in taken_in {
        log.tell(&taken_in);
        answers[at] = Some(Ok(answered(taken_in.appended)));
    }
    Ok(answers.into_iter().flatten().collect())
}
