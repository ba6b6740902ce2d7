//! The task of one shard: drives the state machine, appends its records, releases its replies.
//!
//! Requests that are waiting together are handled together and their records appended as one batch, or as several: none is
//! larger than `max.message.bytes`, unless it is a single record that the shard has made itself.
//! A reply leaves when everything appended before it is durable, in the order the state machine gave them.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use storage::log::{AppendError, AppendOrigin, PartitionLog, PendingAppend};
use storage::record::{BatchBuilder, ValidatedBatch};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{error, warn};

use crate::clock::Clock;
use crate::coordinator::assignors::Assignors;
use crate::coordinator::load::{self, LoadError};
use crate::coordinator::patterns::PatternResolver;
use crate::group::{
    self, BATCH_OVERHEAD_BYTES, Catalog, ComputedTarget, Effects, GroupConfig, GroupError,
    GroupRecord, GroupReply, GroupRequest, GroupShard, KeyValue, PatternsResolved, Token,
};
use crate::log_limited;
use crate::metadata::{Metadata, MetadataImage};

/// Requests handled in one step.
const STEP_REQUESTS: usize = 256;
/// Batches on their way to the disk before the mailbox is left waiting.
const MAX_APPENDS_IN_FLIGHT: usize = 16;
/// So many records of one request are appended at once, before the next request is handled.
const HEAVY_RECORDS: usize = 1000;
/// How long a batch that the log does not take is offered to it again, and how often.
const RETRY_FOR: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Pause between attempts to load a shard whose log cannot be read.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// One request and where its reply goes.
pub(super) struct Command {
    pub token: Token,
    pub request: GroupRequest,
    pub reply_to: oneshot::Sender<GroupReply>,
}

/// What a shard works with.
pub(super) struct Surroundings {
    pub config: GroupConfig,
    pub metadata: Metadata,
    pub clock: Clock,
    pub patterns: Arc<PatternResolver>,
    pub assignors: Arc<Assignors>,
    pub shutdown: watch::Receiver<bool>,
    /// Turns true when the log is deleted.
    pub gone: watch::Receiver<bool>,
}

/// Replays the log into a new shard.
pub(super) async fn load(
    log: &dyn PartitionLog,
    around: &Surroundings,
) -> Result<Loaded, LoadError> {
    let mut shard = GroupShard::new(around.config.clone());
    let image = around.metadata.image();
    shard.set_catalog(image.clone());
    load::for_each_record(log, |header, record| {
        if header.is_control() {
            return;
        }
        let Some(key) = record.key else { return };
        let transaction = header
            .is_transactional()
            .then_some((header.producer_id, header.producer_epoch));
        match GroupRecord::decode(key, record.value, transaction) {
            Ok(Some(record)) => shard.apply(&record),
            // Kinds of groups that are not served yet.
            Ok(None) => {}
            Err(error) => {
                warn!(log = %log.id(), offset = record.offset, "skipping a group record: {error}")
            }
        }
    })
    .await?;
    shard.set_wall_ahead(around.clock.wall_ahead_ms());
    let effects = shard.loaded(around.clock.steady_ms());
    Ok(Loaded {
        shard,
        image,
        effects,
    })
}

/// A shard fresh from its log, and what it wants done first.
pub(super) struct Loaded {
    shard: GroupShard,
    /// The metadata that the shard knows.
    image: Arc<MetadataImage>,
    effects: Effects,
}

/// Replies that wait for an append; without one, only for those before them.
struct Held {
    append: Option<PendingAppend>,
    replies: Vec<(Token, GroupReply)>,
}

/// Records that are appended together, and the replies that wait for them.
#[derive(Default)]
struct Batch {
    records: BatchBuilder,
    bytes: usize,
    replies: Vec<(Token, GroupReply)>,
}

fn encoded_bytes((key, value): &KeyValue) -> usize {
    group::record_bytes(key.len(), value.as_ref().map(Vec::len))
}

struct Runner {
    log: Arc<dyn PartitionLog>,
    around: Surroundings,
    /// What groups have asked about their expressions; one question of a group at a time.
    resolving: JoinSet<PatternsResolved>,
    /// Targets that are computed elsewhere; one of a group at a time.
    computing: JoinSet<Option<ComputedTarget>>,
    reply_to: HashMap<Token, oneshot::Sender<GroupReply>>,
    held: VecDeque<Held>,
}

/// Serves a shard until the broker shuts down or its log is deleted.
pub(super) async fn run(
    log: Arc<dyn PartitionLog>,
    around: Surroundings,
    loaded: Loaded,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut runner = Runner {
        log,
        around,
        resolving: JoinSet::new(),
        computing: JoinSet::new(),
        reply_to: HashMap::new(),
        held: VecDeque::new(),
    };
    let mut next = Some(loaded);
    loop {
        let loaded = match next.take() {
            Some(loaded) => loaded,
            None => match load(&*runner.log, &runner.around).await {
                Ok(loaded) => loaded,
                Err(error) => {
                    error!(log = %runner.log.id(), "cannot load groups: {error}");
                    if runner.refuse_for(RELOAD_PAUSE, &mut commands).await {
                        continue;
                    }
                    return;
                }
            },
        };
        let unavailable = GroupError::CoordinatorNotAvailable;
        match runner.serve(loaded, &mut commands).await {
            Ended::Shutdown(shard) => return runner.finish(*shard, unavailable).await,
            Ended::Gone(shard) | Ended::AppendFailed(shard, AppendError::Deleted) => {
                // Those who still wait in the mailbox must learn from it that this was deleted.
                stopped(&mut runner.around.gone).await;
                return runner.finish(*shard, GroupError::NotCoordinator).await;
            }
            Ended::AppendFailed(shard, error) => {
                error!(log = %runner.log.id(), "group records were not written, loading the groups again: {error}");
                runner.finish(*shard, unavailable).await;
            }
        }
    }
}

enum Ended {
    Shutdown(Box<GroupShard>),
    /// The log is deleted.
    Gone(Box<GroupShard>),
    AppendFailed(Box<GroupShard>, AppendError),
}

impl Runner {
    async fn serve(&mut self, loaded: Loaded, commands: &mut mpsc::Receiver<Command>) -> Ended {
        let Loaded {
            mut shard,
            mut image,
            effects,
        } = loaded;
        let mut step = vec![effects];
        let mut batch = Vec::with_capacity(STEP_REQUESTS);
        let mut shutdown = self.around.shutdown.clone();
        let mut gone = self.around.gone.clone();
        loop {
            if let Err(error) = self.append(step.drain(..)).await {
                return Ended::AppendFailed(Box::new(shard), error);
            }
            let deadline = shard
                .next_deadline()
                .map(|at_ms| self.around.clock.until(at_ms));
            let may_handle = self.held.len() < MAX_APPENDS_IN_FLIGHT;
            tokio::select! {
                biased;
                released = next_durable(&mut self.held), if !self.held.is_empty() => match released {
                    Ok(replies) => self.release(replies),
                    Err(error) => return Ended::AppendFailed(Box::new(shard), error),
                },
                count = commands.recv_many(&mut batch, STEP_REQUESTS), if may_handle => {
                    if count == 0 {
                        return Ended::Shutdown(Box::new(shard));
                    }
                    let newest = self.around.metadata.image();
                    if !Arc::ptr_eq(&newest, &image) {
                        shard.set_catalog(newest.clone());
                        image = newest;
                    }
                    let now_ms = self.around.clock.steady_ms();
                    shard.set_wall_ahead(self.around.clock.wall_ahead_ms());
                    for Command { token, request, reply_to } in batch.drain(..) {
                        self.reply_to.insert(token, reply_to);
                        let effects = shard.handle(now_ms, token, request);
                        let is_heavy = effects.records.len() > HEAVY_RECORDS;
                        step.push(effects);
                        if is_heavy {
                            if let Err(error) = self.append(step.drain(..)).await {
                                return Ended::AppendFailed(Box::new(shard), error);
                            }
                            // Other tasks of this thread want to go on as well.
                            tokio::task::yield_now().await;
                        }
                    }
                    // A full mailbox must not keep time from passing.
                    if shard.next_deadline().is_some_and(|at_ms| at_ms <= now_ms) {
                        step.push(shard.on_deadline(now_ms));
                    }
                }
                Some(resolved) = self.resolving.join_next(), if may_handle => {
                    // It fails only when the runtime goes down.
                    if let Ok(resolved) = resolved {
                        shard.set_wall_ahead(self.around.clock.wall_ahead_ms());
                        step.push(shard.patterns_resolved(self.around.clock.steady_ms(), resolved));
                    }
                }
                Some(computed) = self.computing.join_next(), if may_handle => match computed {
                    Ok(Some(computed)) => {
                        shard.set_wall_ahead(self.around.clock.wall_ahead_ms());
                        step.push(shard.target_computed(self.around.clock.steady_ms(), computed));
                    }
                    Ok(None) => {}
                    // Its group would wait for ever.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => {}
                },
                () = stopped(&mut shutdown) => return Ended::Shutdown(Box::new(shard)),
                () = stopped(&mut gone) => return Ended::Gone(Box::new(shard)),
                () = sleep_until(deadline), if may_handle => {
                    shard.set_wall_ahead(self.around.clock.wall_ahead_ms());
                    step.push(shard.on_deadline(self.around.clock.steady_ms()));
                }
            }
        }
    }

    /// Appends the records of a step, in batches that the log takes, and holds its replies back until they are durable.
    ///
    /// What one request brings about stays in one batch where it fits: then a crash leaves all of it or nothing.
    async fn append(&mut self, step: impl Iterator<Item = Effects>) -> Result<(), AppendError> {
        let max_batch_bytes = Catalog::max_batch_bytes(&*self.around.metadata.image());
        let max_records_bytes = max_batch_bytes.saturating_sub(BATCH_OVERHEAD_BYTES);
        let now_ms = self.around.clock.wall_ms();
        let mut batch = Batch::default();
        for effects in step {
            for asked in effects.resolve {
                let (patterns, image) = (
                    Arc::clone(&self.around.patterns),
                    self.around.metadata.image(),
                );
                self.resolving
                    .spawn(async move { patterns.resolve_all(asked, image).await });
            }
            for asked in effects.assign {
                let assignors = Arc::clone(&self.around.assignors);
                self.computing
                    .spawn(async move { assignors.compute(asked).await });
            }
            for note in effects.notes {
                log_limited!(info, "{note}");
            }
            let mut records = Vec::with_capacity(effects.records.len());
            for record in effects.records {
                match record.encode() {
                    Ok(Some(record)) => records.push(record),
                    // Markers are control batches; no transaction reaches a shard yet.
                    Ok(None) => {
                        return Err(AppendError::Storage("a marker is no record".to_owned()));
                    }
                    Err(error) => return Err(AppendError::Storage(error.to_string())),
                }
            }
            let bytes: usize = records.iter().map(encoded_bytes).sum();
            if batch.bytes + bytes > max_records_bytes {
                self.hold(std::mem::take(&mut batch)).await?;
            }
            for record in &records {
                let bytes = encoded_bytes(record);
                if batch.bytes + bytes > max_records_bytes && !batch.records.is_empty() {
                    self.hold(std::mem::take(&mut batch)).await?;
                }
                let (key, value) = record;
                batch
                    .records
                    .append(now_ms, Some(key), value.as_deref(), &[]);
                batch.bytes += bytes;
            }
            batch.replies.extend(effects.replies);
        }
        self.hold(batch).await
    }

    /// Submits a batch and lets its replies wait for it, or for those before it if it has no records.
    async fn hold(&mut self, batch: Batch) -> Result<(), AppendError> {
        let Batch {
            records, replies, ..
        } = batch;
        if records.is_empty() && self.held.is_empty() {
            self.release(replies);
            return Ok(());
        }
        let append = if records.is_empty() {
            None
        } else {
            Some(self.submit(records).await?)
        };
        if append.is_some() || !replies.is_empty() {
            self.held.push_back(Held { append, replies });
        }
        Ok(())
    }

    /// A refusal that may pass, such as a full disk, is no reason to forget what everybody has been told: try again
    /// for a while.
    async fn submit(&mut self, builder: BatchBuilder) -> Result<PendingAppend, AppendError> {
        let unfit = |error: &dyn std::fmt::Display| AppendError::Storage(error.to_string());
        let bytes = builder.build().map_err(|error| unfit(&error))?;
        let batch = ValidatedBatch::trusted(bytes).map_err(|error| unfit(&error))?;
        let give_up = tokio::time::Instant::now() + RETRY_FOR;
        loop {
            let origin = AppendOrigin::Coordinator;
            let submitted = match self.log.reserve(batch.size_bytes(), origin).await {
                Ok(permit) => self.log.submit_and_commit(permit, batch.clone(), origin),
                Err(error) => Err(error),
            };
            match submitted {
                Err(AppendError::Storage(_))
                    if tokio::time::Instant::now() < give_up && !*self.around.shutdown.borrow() =>
                {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                submitted => return submitted,
            }
        }
    }

    fn release(&mut self, replies: Vec<(Token, GroupReply)>) {
        for (token, reply) in replies {
            if let Some(reply_to) = self.reply_to.remove(&token) {
                // The client may have gone.
                let _ = reply_to.send(reply);
            }
        }
    }

    /// Lets what is in flight end, and turns away who is parked: the shard is ahead of its log, or the broker stops.
    ///
    /// Before that a new shard would miss what is not durable yet. What was durable before the first failure has happened;
    /// behind it a reply may tell of what was lost.
    async fn finish(&mut self, shard: GroupShard, error: GroupError) {
        self.resolving.abort_all();
        self.resolving.detach_all();
        self.computing.abort_all();
        self.computing.detach_all();
        let mut has_failed = false;
        while let Some(Held { append, replies }) = self.held.pop_front() {
            if let Some(append) = append {
                has_failed |= append.await.is_err();
            }
            match has_failed {
                false => self.release(replies),
                true => {
                    let failed = replies.into_iter();
                    let failed = failed.map(|(token, reply)| (token, reply.into_failed(error)));
                    self.release(failed.collect());
                }
            }
        }
        self.release(shard.unload(error));
        // A step that failed to append never reached `held`; its requests learn it from their closed channel.
        self.reply_to.clear();
    }

    /// Turns requests away for a while; false when the broker shuts down or the log is deleted.
    async fn refuse_for(
        &mut self,
        pause: Duration,
        commands: &mut mpsc::Receiver<Command>,
    ) -> bool {
        let until = tokio::time::Instant::now() + pause;
        let mut shutdown = self.around.shutdown.clone();
        let mut gone = self.around.gone.clone();
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    // Dropping it tells the caller that the coordinator is not available.
                    Some(command) => drop(command),
                    None => return false,
                },
                () = tokio::time::sleep_until(until) => return true,
                () = stopped(&mut shutdown) => return false,
                () = stopped(&mut gone) => return false,
            }
        }
    }
}

/// Resolves when the oldest held replies may leave. Dropping it loses nothing.
async fn next_durable(held: &mut VecDeque<Held>) -> Result<Vec<(Token, GroupReply)>, AppendError> {
    std::future::poll_fn(
        |cx| match held.front_mut().and_then(|held| held.append.as_mut()) {
            Some(append) => Pin::new(append).poll(cx).map_ok(|_| ()),
            None => Poll::Ready(Ok(())),
        },
    )
    .await?;
    Ok(held
        .pop_front()
        .map(|held| held.replies)
        .unwrap_or_default())
}

async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the broker is gone altogether.
    let _ = shutdown.wait_for(|down| *down).await;
}

async fn sleep_until(deadline: Option<Duration>) {
    match deadline {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
