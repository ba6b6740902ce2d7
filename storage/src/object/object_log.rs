//! One partition, behind the seam.
//!
//! What returns no future is answered from the group's state in memory. Before that is read, a caller who has not waited for
//! [`ready`](PartitionLog::ready) blocks until it is, or until that has failed once.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::engine::{Engine, closed_text};
use super::entry::{PartitionId, Place, Run};
use super::fetcher::FetchError;
use super::group::{Group, Hold, Inner, Load, Submission, blob_of};
use super::group_state::Partition;
use super::pending::{appended, left_open};
use super::plan::{Answer, Want};
use super::run_bytes;
use crate::env::sync::MutexGuard;
use crate::log::waiters::Waiters;
use crate::log::{
    AbortedTransaction, ActiveProducer, AppendError, AppendOrigin, AppendPermit, BoxFuture,
    FetchWait, FetchedRecords, Glance, GlanceInside, Isolation, LogConfig, LogOffsets, Next,
    PartitionLog, PendingAppend, Read, ReadError, ReadRequest, TimestampOffset, TopicPartition,
    VerificationGuard, WaitRegistration, timestamp,
};
use crate::record::{ValidatedBatch, batches};

/// Runs that one read fetches side by side.
const RUNS_AT_A_TIME: usize = 16;
/// How often runs may move on while they are read. Each time takes a job that has moved them, and the delay for which what they were
/// in before is kept; so this is for settings that nobody should have.
const READS: usize = 10;

/// A [`PartitionLog`] in object storage.
#[derive(Clone)]
pub(super) struct ObjectLog {
    pub shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub id: TopicPartition,
    pub partition: PartitionId,
    engine: Arc<Engine>,
    pub group: Arc<Group>,
    pub waiters: Arc<Waiters>,
    /// Deleted by this broker, which need not wait until that is committed.
    is_deleted: AtomicBool,
    /// The epoch of this broker's claim; -1 without one.
    claim: AtomicI32,
}

/// A run, and all that is needed to serve it.
#[derive(Clone)]
struct Wanted {
    run: Run,
    /// The leader epoch of its first batch.
    epoch: i32,
    /// Those that follow, and where they begin.
    next_epochs: Vec<(i64, i32)>,
}

/// Why a read has come to nothing.
enum Missed {
    /// What a run is in is not there any more.
    Gone(Run, String),
    Error(ReadError),
}

impl From<ReadError> for Missed {
    fn from(error: ReadError) -> Self {
        Self::Error(error)
    }
}

/// What a read will be made of.
struct Plan {
    request: ReadRequest,
    runs: Vec<Wanted>,
    offsets: LogOffsets,
    visible_end: i64,
    aborted: Vec<AbortedTransaction>,
}

impl ObjectLog {
    pub fn new(id: TopicPartition, engine: &Arc<Engine>) -> Self {
        let partition = PartitionId::from(&id);
        let group = Arc::clone(engine.group_of(&partition));
        let waiters = Arc::default();
        group.lock().register(partition, &waiters);
        Self {
            shared: Arc::new(Shared {
                id,
                partition,
                engine: Arc::clone(engine),
                group,
                waiters,
                is_deleted: AtomicBool::new(false),
                claim: AtomicI32::new(-1),
            }),
        }
    }

    /// The log is gone for this broker, from now on.
    pub fn delete(&self) {
        let shared = &self.shared;
        shared.is_deleted.store(true, Ordering::Release);
        shared.waiters.wake_all();
        shared.engine.log_configs.remove(&shared.partition);
        let mut inner = shared.group.lock();
        inner.deregister(&shared.partition);
    }

    /// The epoch that its coordinator's batches go by.
    pub fn claim_epoch(&self) -> Option<i32> {
        let claim = self.shared.claim.load(Ordering::Acquire);
        (claim >= 0).then_some(claim)
    }

    pub fn is_deleted(&self) -> bool {
        self.shared.is_deleted.load(Ordering::Acquire)
    }
}

impl Shared {
    /// Resolves when the group is read, or could not be. If it is, it stays so for as long as what this gives.
    fn prepared(&self) -> BoxFuture<'static, Hold> {
        let hold = self.group.hold();
        self.engine.load(&self.group);
        let mut load = self.group.load.subscribe();
        let mut stop = self.engine.stop.subscribe();
        Box::pin(async move {
            let is_tried = |load: &Load| !matches!(load, Load::Unused | Load::Loading);
            tokio::select! {
                _ = load.wait_for(is_tried) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            hold
        })
    }

    /// Blocks until the group is read, or could not be. If it is, it stays so for as long as what this gives.
    pub fn prepare(&self) -> Hold {
        let hold = self.group.hold();
        if self.is_prepared() {
            return hold;
        }
        let (done, prepared) = mpsc::channel();
        let prepare = self.prepared();
        self.engine.spawn(async move {
            let _ = done.send(prepare.await);
        });
        // An error is a store that ends.
        let _ = prepared.recv();
        hold
    }

    fn is_prepared(&self) -> bool {
        !matches!(*self.group.load.borrow(), Load::Unused | Load::Loading)
    }

    /// The group's state.
    ///
    /// # Errors
    /// In words: it is not known.
    fn state(&self) -> Result<MutexGuard<'_, Inner>, String> {
        let mut inner = self.group.lock();
        if !self.is_prepared() {
            drop(inner);
            let _hold = self.prepare();
            inner = self.group.lock();
        }
        match self.group.trouble() {
            None => {
                inner.used();
                Ok(inner)
            }
            Some(what) => Err(what),
        }
    }

    fn appendable(&self) -> Result<MutexGuard<'_, Inner>, AppendError> {
        if self.is_deleted.load(Ordering::Acquire) {
            return Err(AppendError::Deleted);
        }
        if self.engine.is_closing() {
            return Err(AppendError::Storage(closed_text()));
        }
        self.state().map_err(AppendError::Storage)
    }

    fn readable(&self) -> Result<MutexGuard<'_, Inner>, ReadError> {
        if self.is_deleted.load(Ordering::Acquire) {
            return Err(ReadError::Deleted);
        }
        self.state().map_err(ReadError::Storage)
    }

    /// What the partition says, or `otherwise` if it is not known or deleted.
    fn ask<T>(&self, otherwise: T, question: impl FnOnce(Partition<'_>) -> T) -> T {
        if self.is_deleted.load(Ordering::Acquire) {
            return otherwise;
        }
        match self.state() {
            Ok(inner) => match inner.state.partition(self.partition) {
                Some(partition) => question(partition),
                None => otherwise,
            },
            Err(_) => otherwise,
        }
    }

    fn change(&self, want: Want) -> oneshot::Receiver<super::pending::Outcome> {
        self.engine.change(&self.id, want)
    }

    fn corrupt(&self, run: &Run, what: String) -> ReadError {
        ReadError::Corrupt {
            partition: self.id.clone(),
            offset: run.base_offset,
            what,
        }
    }

    /// The bytes of a run, if they are in memory or nowhere.
    fn known_bytes(&self, wanted: &Wanted) -> Result<Option<Bytes>, ReadError> {
        let Wanted { run, .. } = wanted;
        match run_key(self.group.id, run) {
            Some(key) => Ok(self.engine.cache.get(&key)),
            None => run_bytes::make(run, |offset| wanted.epoch_at(offset))
                .map(Some)
                .map_err(|what| self.corrupt(run, what)),
        }
    }

    /// The bytes of a run, from wherever they are.
    async fn bytes_of(&self, wanted: &Wanted) -> Result<Bytes, Missed> {
        if let Some(bytes) = self.known_bytes(wanted)? {
            return Ok(bytes);
        }
        let Wanted { run, .. } = wanted;
        let Some((blob, position)) = run_key(self.group.id, run) else {
            return Err(self.corrupt(run, "it is nowhere".to_owned()).into());
        };
        let start = u64::from(position);
        let range: Range<u64> = start..start + u64::from(run.size_bytes);
        let stored = self.engine.fetcher.fetch(blob, range).await;
        let stored = stored.map_err(|error| match error {
            FetchError::Gone(what) => Missed::Gone(*run, what),
            FetchError::Failed(what) => ReadError::Storage(what).into(),
        })?;
        let bytes = run_bytes::serve(run, &stored, |offset| wanted.epoch_at(offset))
            .map_err(|what| self.corrupt(run, what))?;
        self.engine.cache.insert((blob, position), bytes.clone());
        Ok(bytes)
    }

    /// The bytes of a run that somebody looks something up in: they count as read until he has.
    async fn looked_up(&self, wanted: &Wanted) -> Result<Bytes, Missed> {
        if let Some(bytes) = self.known_bytes(wanted)? {
            return Ok(bytes);
        }
        let room = self.engine.cold_reads.take(wanted.run.size_bytes as usize);
        let room = room.await;
        Ok(room.hold_bytes(self.bytes_of(wanted).await?))
    }

    /// Plans a read. `None`: only the newest state can tell whether the offset is in the log.
    fn plan_read(&self, request: ReadRequest) -> Result<Option<Plan>, ReadError> {
        let inner = self.readable()?;
        let Some(partition) = inner.state.partition(self.partition) else {
            return Err(ReadError::Deleted);
        };
        let offsets = partition.offsets();
        if request.fetch_offset > offsets.log_end_offset {
            return Ok(None);
        }
        if request.fetch_offset < offsets.log_start_offset {
            return Err(out_of_range(&request, &offsets));
        }
        let visible_end = visible_end(&offsets, request.isolation);
        let mut runs = Vec::new();
        let mut bytes = 0;
        if request.fetch_offset < visible_end {
            for run in partition.runs(request.fetch_offset) {
                let is_first = runs.is_empty();
                if run.base_offset >= visible_end || (!is_first && bytes >= request.max_bytes) {
                    break;
                }
                // Of a run that begins long before the offset little may be needed.
                if run.base_offset >= request.fetch_offset {
                    bytes += run.size_bytes as usize;
                }
                runs.push(Wanted::of(&partition, run));
            }
        }
        let aborted = match (request.isolation, runs.last()) {
            (Isolation::ReadCommitted, Some(last)) => {
                let end = last.run.next_offset.min(visible_end);
                partition.aborted(request.fetch_offset, end)
            }
            _ => Vec::new(),
        };
        Ok(Some(Plan {
            request,
            runs,
            offsets,
            visible_end,
            aborted,
        }))
    }

    /// Serves a read as far as its bytes are in memory; `None`: not even its first batch is.
    fn serve_known(&self, plan: &Plan) -> Result<Option<FetchedRecords>, ReadError> {
        let mut records = Records::of(plan);
        for wanted in &plan.runs {
            match self.known_bytes(wanted)? {
                // Of those before it nothing was wanted: there may be a gap.
                None if records.records.is_empty() => return Ok(None),
                None => break,
                Some(bytes) => {
                    if !records
                        .add(&bytes)
                        .map_err(|what| self.corrupt(&wanted.run, what))?
                    {
                        break;
                    }
                }
            }
        }
        Ok(Some(records.finish()))
    }

    /// Serves a read with the bytes of objects.
    async fn serve(self: &Arc<Self>, plan: &Plan) -> Result<FetchedRecords, Missed> {
        let mut records = Records::of(plan);
        // With the first runs there is an answer; whoever wants more asks again.
        let runs = &plan.runs[..plan.runs.len().min(RUNS_AT_A_TIME)];
        let sizes = runs.iter().map(|wanted| wanted.run.size_bytes as usize);
        let room = self.engine.cold_reads.take(sizes.sum()).await;
        let runs = match room.is_overdrawn() {
            true => &runs[..runs.len().min(1)],
            false => runs,
        };
        let mut fetching = JoinSet::new();
        for (at, wanted) in runs.iter().enumerate() {
            let (log, wanted) = (Arc::clone(self), wanted.clone());
            let fetch = async move { (at, log.bytes_of(&wanted).await) };
            fetching.spawn_on(fetch, &self.engine.runtime);
        }
        let mut fetched: Vec<Option<Result<Bytes, Missed>>> = Vec::new();
        fetched.resize_with(runs.len(), || None);
        while let Some(done) = fetching.join_next().await {
            let (at, bytes) = done.map_err(|_| ReadError::Storage(closed_text()))?;
            fetched[at] = Some(bytes);
        }
        for (wanted, bytes) in runs.iter().zip(fetched) {
            let bytes = match bytes {
                Some(Ok(bytes)) => bytes,
                // What comes before it can be served.
                Some(Err(_)) if !records.records.is_empty() => break,
                Some(Err(error)) => return Err(error),
                None => break,
            };
            if !records
                .add(&bytes)
                .map_err(|what| self.corrupt(&wanted.run, what))?
            {
                break;
            }
        }
        Ok(room.hold_as(records.pinned_bytes, records.finish()))
    }

    /// A read that does not find its bytes in memory, or that is of an offset above the end that this broker knows (no plan).
    async fn read_cold(
        self: Arc<Self>,
        request: ReadRequest,
        mut plan: Option<Plan>,
    ) -> Result<FetchedRecords, ReadError> {
        let _hold = self.group.hold();
        if plan.is_none() {
            self.barrier().await?;
        }
        let read = move |log: Arc<Self>| {
            let plan = plan.take();
            async move {
                match plan.map_or_else(|| log.plan_read(request), |plan| Ok(Some(plan)))? {
                    Some(plan) => log.serve(&plan).await,
                    None => Err(out_of_range(&request, &log.offsets_or_empty()).into()),
                }
            }
        };
        self.again_if_gone(read).await
    }

    async fn barrier(&self) -> Result<(), ReadError> {
        let known = self.engine.barrier(self.group.id).await;
        known.map_err(ReadError::Storage)
    }

    /// Reads, and does so again if jobs have moved what was to be read, and this broker did not know.
    ///
    /// What is removed is named by no state any more. So if the newest names a run that is gone, it is lost.
    async fn again_if_gone<T, F>(
        self: Arc<Self>,
        mut read: impl FnMut(Arc<Self>) -> F,
    ) -> Result<T, ReadError>
    where
        F: Future<Output = Result<T, Missed>>,
    {
        let _hold = self.prepared().await;
        let mut gone = None;
        for _ in 0..READS {
            let (run, what) = match read(Arc::clone(&self)).await {
                Ok(found) => return Ok(found),
                Err(Missed::Error(error)) => return Err(error),
                Err(Missed::Gone(run, what)) => (run, what),
            };
            if gone == Some(run) {
                let (from, to) = (run.base_offset, run.next_offset);
                let what = format!("records {from}..{to} of {} are lost: {what}", self.id);
                tracing::error!("{what}");
                return Err(ReadError::Storage(what));
            }
            gone = Some(run);
            self.barrier().await?;
        }
        let what = "what is to be read moves all the time".to_owned();
        Err(ReadError::Storage(what))
    }

    fn offsets_or_empty(&self) -> LogOffsets {
        let empty = LogOffsets {
            log_start_offset: 0,
            last_stable_offset: 0,
            high_watermark: 0,
            log_end_offset: 0,
        };
        self.ask(empty, |partition| partition.offsets())
    }

    /// The first run from an offset on that `fits`, below the visible end.
    fn next_run(
        &self,
        isolation: Isolation,
        find: impl FnOnce(&Partition<'_>, i64) -> Option<Run>,
    ) -> Result<Option<(Wanted, LogOffsets)>, ReadError> {
        let inner = self.readable()?;
        let Some(partition) = inner.state.partition(self.partition) else {
            return Err(ReadError::Deleted);
        };
        let offsets = partition.offsets();
        let end = visible_end(&offsets, isolation);
        let run = find(&partition, end).filter(|run| run.base_offset < end);
        Ok(run.map(|run| (Wanted::of(&partition, run), offsets)))
    }

    async fn find_timestamp(
        self: Arc<Self>,
        wanted_ms: i64,
        isolation: Isolation,
    ) -> Result<Option<TimestampOffset>, Missed> {
        let mut from = i64::MIN;
        loop {
            let next = self.next_run(isolation, |partition, _| {
                let mut runs = partition.runs_with_timestamp(wanted_ms);
                // What was looked at may have become a part of a larger run.
                runs.find(|run| run.next_offset > from)
            })?;
            let Some((wanted, offsets)) = next else {
                return Ok(None);
            };
            let bytes = self.looked_up(&wanted).await?;
            for batch in batches(&bytes) {
                let batch = batch.map_err(|error| self.corrupt(&wanted.run, error.to_string()))?;
                if batch.header.max_timestamp < wanted_ms {
                    continue;
                }
                let whole = bytes.slice_ref(batch.bytes);
                let found =
                    timestamp::first_at_or_after(&whole, wanted_ms, offsets.log_start_offset)
                        .map_err(|error| self.corrupt(&wanted.run, error.to_string()))?;
                if let Some(found) = found {
                    let is_visible = found.offset < visible_end(&offsets, isolation);
                    return Ok(is_visible.then_some(found));
                }
            }
            from = wanted.run.next_offset;
        }
    }

    async fn find_max_timestamp(self: Arc<Self>) -> Result<Option<TimestampOffset>, Missed> {
        let isolation = Isolation::ReadUncommitted;
        let found = self.next_run(isolation, |partition, _| partition.run_of_max_timestamp())?;
        let Some((wanted, offsets)) = found else {
            return Ok(None);
        };
        let bytes = self.looked_up(&wanted).await?;
        for batch in batches(&bytes) {
            let batch = batch.map_err(|error| self.corrupt(&wanted.run, error.to_string()))?;
            let newest = batch.header.max_timestamp;
            if newest == wanted.run.max_timestamp {
                let whole = bytes.slice_ref(batch.bytes);
                let start = offsets.log_start_offset;
                let found = timestamp::first_at_or_after(&whole, newest, start);
                return Ok(found.map_err(|error| self.corrupt(&wanted.run, error.to_string()))?);
            }
        }
        Ok(None)
    }

    async fn find_timestamp_at(self: Arc<Self>, offset: i64) -> Result<Option<i64>, Missed> {
        let isolation = Isolation::ReadUncommitted;
        let found = self.next_run(isolation, |partition, _| partition.runs(offset).next())?;
        let Some((wanted, _)) = found else {
            return Ok(None);
        };
        let bytes = self.looked_up(&wanted).await?;
        for batch in batches(&bytes) {
            let batch = batch.map_err(|error| self.corrupt(&wanted.run, error.to_string()))?;
            if batch.header.last_offset() >= offset {
                return Ok(Some(batch.header.max_timestamp));
            }
        }
        Ok(Some(wanted.run.max_timestamp))
    }
}

impl Wanted {
    fn of(partition: &Partition<'_>, run: Run) -> Self {
        Self {
            run,
            epoch: partition.leader_epoch_at(run.base_offset),
            next_epochs: partition.epochs_within(&run),
        }
    }

    fn epoch_at(&self, offset: i64) -> i32 {
        let mut next = self.next_epochs.iter().rev();
        let begun = next.find(|(from, _)| *from <= offset);
        begun.map_or(self.epoch, |(_, epoch)| *epoch)
    }
}

/// The records of a read as they come together.
struct Records<'a> {
    plan: &'a Plan,
    records: Vec<Bytes>,
    size_bytes: usize,
    /// Of the runs that the records are in.
    pinned_bytes: usize,
    next_offset: i64,
}

impl<'a> Records<'a> {
    fn of(plan: &'a Plan) -> Self {
        Self {
            plan,
            records: Vec::new(),
            size_bytes: 0,
            pinned_bytes: 0,
            next_offset: plan.request.fetch_offset,
        }
    }

    /// Adds the batches of a run; gives whether there is room for more.
    fn add(&mut self, run: &Bytes) -> Result<bool, String> {
        let request = &self.plan.request;
        let (mut start, mut end, mut at) = (None, 0, 0);
        let mut has_room = true;
        for batch in batches(run) {
            let batch = batch.map_err(|error| error.to_string())?;
            let (header, size) = (batch.header, batch.bytes.len());
            at += size;
            if header.last_offset() < request.fetch_offset {
                continue;
            }
            let is_first = self.size_bytes == 0 && request.at_least_one_batch;
            let is_too_much = self.size_bytes + size > request.max_bytes && !is_first;
            if header.base_offset >= self.plan.visible_end || is_too_much {
                has_room = false;
                break;
            }
            start.get_or_insert(at - size);
            end = at;
            self.size_bytes += size;
            self.next_offset = header.next_offset();
        }
        if let Some(start) = start {
            self.records.push(run.slice(start..end));
            self.pinned_bytes += run.len();
        }
        Ok(has_room)
    }

    fn finish(self) -> FetchedRecords {
        let next_offset = self.next_offset;
        let is_empty = self.records.is_empty();
        let aborted = self.plan.aborted.iter().copied();
        FetchedRecords {
            records: self.records,
            size_bytes: self.size_bytes,
            offsets: self.plan.offsets,
            aborted_transactions: aborted
                .filter(|aborted| !is_empty && aborted.first_offset < next_offset)
                .collect(),
        }
    }
}

fn run_key(group: super::database::LogGroup, run: &Run) -> Option<super::cache::RunKey> {
    let seq = match run.place {
        Place::Inline { seq, .. } => seq,
        Place::Object { .. } | Place::Made(_) => 0,
    };
    blob_of(group, seq, run.place)
}

fn visible_end(offsets: &LogOffsets, isolation: Isolation) -> i64 {
    match isolation {
        Isolation::ReadUncommitted => offsets.high_watermark,
        Isolation::ReadCommitted => offsets.last_stable_offset,
    }
}

fn out_of_range(request: &ReadRequest, offsets: &LogOffsets) -> ReadError {
    ReadError::OffsetOutOfRange {
        fetch_offset: request.fetch_offset,
        log_start_offset: offsets.log_start_offset,
        high_watermark: offsets.high_watermark,
    }
}

/// Waits for room in a budget. A batch larger than all of it waits until it is alone.
pub(super) fn reserve(
    room: &Arc<Semaphore>,
    room_bytes: usize,
    bytes: usize,
) -> BoxFuture<'static, Result<AppendPermit, AppendError>> {
    let permits = u32::try_from(bytes.min(room_bytes)).unwrap_or(u32::MAX);
    let room = Arc::clone(room);
    Box::pin(async move {
        let permit = room.acquire_many_owned(permits).await;
        permit
            .map(AppendPermit::of)
            .map_err(|_| AppendError::Storage(closed_text()))
    })
}

impl PartitionLog for ObjectLog {
    fn id(&self) -> &TopicPartition {
        &self.shared.id
    }

    fn ready(&self) -> Option<BoxFuture<'static, ()>> {
        let shared = &self.shared;
        // Who asks is about to use it.
        let hold = shared.group.hold();
        if shared.is_prepared() {
            return None;
        }
        let prepared = shared.prepared();
        Some(Box::pin(async move {
            prepared.await;
            drop(hold);
        }))
    }

    fn reserve(
        &self,
        bytes: usize,
        _origin: AppendOrigin,
    ) -> BoxFuture<'_, Result<AppendPermit, AppendError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let engine = &shared.engine;
            let permit = reserve(&engine.room, engine.config.buffer_bytes, bytes).await?;
            // However long that took, the submission that follows does not have to wait.
            shared.prepared().await;
            Ok(permit)
        })
    }

    fn submit(
        &self,
        permit: AppendPermit,
        batch: ValidatedBatch,
        origin: AppendOrigin,
        _next: Next,
    ) -> Result<PendingAppend, AppendError> {
        let shared = &self.shared;
        let room = permit.into_inner().map(Arc::new);
        let claim = self.claim_epoch();
        let submission = Submission::new(shared.id.clone(), &batch, origin, claim, room)?;
        let (waiting, outcome) = oneshot::channel();
        let mut inner = shared.appendable()?;
        shared
            .engine
            .submit(&shared.group, &mut inner, submission, waiting)?;
        drop(inner);
        Ok(appended(outcome))
    }

    fn begin_verification(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        supports_epoch_bump: bool,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        let now_ms = self.shared.engine.now_ms();
        let mut inner = self.shared.appendable()?;
        inner.begin_verification(
            &self.shared.id,
            producer_id,
            producer_epoch,
            base_sequence,
            supports_epoch_bump,
            now_ms,
        )
    }

    fn check_transaction(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        guard: Option<VerificationGuard>,
    ) -> Result<(), AppendError> {
        let mut inner = self.shared.appendable()?;
        inner.check_transaction(&self.shared.id, producer_id, producer_epoch, guard)
    }

    fn offsets(&self) -> LogOffsets {
        self.shared.offsets_or_empty()
    }

    fn current_offsets(&self) -> BoxFuture<'static, Result<LogOffsets, ReadError>> {
        let shared = Arc::clone(&self.shared);
        let prepared = shared.prepared();
        Box::pin(async move {
            let _hold = prepared.await;
            if shared.is_deleted.load(Ordering::Acquire) {
                return Err(ReadError::Deleted);
            }
            shared.barrier().await?;
            let inner = shared.readable()?;
            inner.offsets(shared.partition).ok_or(ReadError::Deleted)
        })
    }

    fn glance(&self) -> Option<Glance> {
        if self.is_deleted() {
            return None;
        }
        let inner = self.shared.group.known()?;
        let partition = inner.state.partition(self.shared.partition)?;
        let offsets = partition.offsets();
        Some(Glance {
            high_watermark: offsets.high_watermark,
            more: Some(GlanceInside {
                log_start_offset: offsets.log_start_offset,
                size_bytes: partition.size_bytes(),
            }),
        })
    }

    fn leader_epoch(&self) -> i32 {
        self.shared.ask(0, |partition| partition.leader_epoch())
    }

    fn size_bytes(&self) -> u64 {
        self.shared.ask(0, |partition| partition.size_bytes())
    }

    fn read(&self, request: ReadRequest) -> Result<Read, ReadError> {
        let shared = Arc::clone(&self.shared);
        let Some(plan) = shared.plan_read(request)? else {
            return Ok(Read::Cold(Box::pin(shared.read_cold(request, None))));
        };
        match shared.serve_known(&plan)? {
            Some(records) => Ok(Read::Ready(records)),
            None => Ok(Read::Cold(Box::pin(shared.read_cold(request, Some(plan))))),
        }
    }

    fn watch(
        &self,
        seen_end: i64,
        isolation: Isolation,
        wait: &Arc<FetchWait>,
    ) -> WaitRegistration {
        let shared = &self.shared;
        // What is found when the group is read is not news.
        let hold = shared.prepare();
        let registration = shared.waiters.register(isolation, wait);
        // After the registration: nothing falls between the two.
        let end = shared.ask(None, |partition| {
            Some(visible_end(&partition.offsets(), isolation))
        });
        if end.is_none_or(|end| end > seen_end) {
            wait.wake();
        }
        WaitRegistration::new(move || drop((registration, hold)))
    }

    fn offset_for_timestamp(
        &self,
        timestamp: i64,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>> {
        let find = move |log: Arc<Shared>| log.find_timestamp(timestamp, isolation);
        Box::pin(Arc::clone(&self.shared).again_if_gone(find))
    }

    fn offset_of_max_timestamp(
        &self,
    ) -> BoxFuture<'static, Result<Option<TimestampOffset>, ReadError>> {
        let find = |log: Arc<Shared>| log.find_max_timestamp();
        Box::pin(Arc::clone(&self.shared).again_if_gone(find))
    }

    fn timestamp_at(&self, offset: i64) -> BoxFuture<'static, Result<Option<i64>, ReadError>> {
        let find = move |log: Arc<Shared>| log.find_timestamp_at(offset);
        Box::pin(Arc::clone(&self.shared).again_if_gone(find))
    }

    fn end_offset_for_epoch(&self, leader_epoch: i32) -> Option<(i32, i64)> {
        let found = |partition: Partition<'_>| partition.end_offset_for_epoch(leader_epoch);
        self.shared.ask(None, found)
    }

    fn producers(&self) -> Vec<ActiveProducer> {
        self.shared
            .ask(Vec::new(), |partition| partition.producers())
    }

    fn late_transactions(&self, silent_for_ms: i64) -> usize {
        let shared = &self.shared;
        // Whoever counts, uses nothing.
        let Some(inner) = shared.group.known().filter(|_| !self.is_deleted()) else {
            return 0;
        };
        let partition = inner.state.partition(shared.partition);
        partition.map_or(0, |partition| {
            partition.late_transactions(silent_for_ms, shared.engine.now_ms())
        })
    }

    fn claim(&self) -> BoxFuture<'static, Result<i32, AppendError>> {
        let claimed = self.shared.change(Want::Claim);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            match claimed.await.unwrap_or_else(|_| Err(left_open()))? {
                Answer::Claimed(epoch) => {
                    shared.claim.store(epoch, Ordering::Release);
                    Ok(epoch)
                }
                other => Err(AppendError::Storage(format!("a claim came to {other:?}"))),
            }
        })
    }

    fn delete_records_before(&self, offset: i64) -> BoxFuture<'static, Result<i64, AppendError>> {
        if self.is_deleted() {
            return Box::pin(std::future::ready(Err(AppendError::Deleted)));
        }
        let moved = self.shared.change(Want::LogStart { offset });
        Box::pin(async move {
            match moved.await.unwrap_or_else(|_| Err(left_open()))? {
                Answer::LogStart(offset) => Ok(offset),
                other => Err(AppendError::Storage(format!(
                    "a deletion came to {other:?}"
                ))),
            }
        })
    }

    /// What it decides is up to the jobs.
    fn set_config(&self, config: Arc<LogConfig>) {
        if !self.is_deleted() {
            let shared = &self.shared;
            shared.engine.log_configs.set(shared.partition, config);
        }
    }
}
