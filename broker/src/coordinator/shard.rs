//! The task of one shard: drives the state machine, appends its records, releases its replies.
//!
//! Requests that are waiting together are handled together and their records appended as one batch.
//! A reply leaves when everything appended before it is durable, in the order the state machine gave them.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use storage::log::{AppendError, AppendOrigin, PartitionLog, PendingAppend};
use storage::record::{BatchBuilder, ValidatedBatch};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, warn};

use crate::clock::Clock;
use crate::coordinator::load::{self, LoadError};
use crate::group::{
    Effects, GroupConfig, GroupError, GroupRecord, GroupReply, GroupRequest, GroupShard, Token,
};
use crate::log_limited;
use crate::metadata::{Metadata, MetadataImage};

/// Requests handled in one step.
const STEP_REQUESTS: usize = 256;
/// Batches on their way to the disk before the mailbox is left waiting.
const MAX_APPENDS_IN_FLIGHT: usize = 16;
/// Pause between attempts to load a shard whose log cannot be read.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// One request and where its reply goes.
pub(super) struct Command {
    pub token: Token,
    pub request: GroupRequest,
    pub reply_to: oneshot::Sender<GroupReply>,
}

/// Replays the log into a new shard.
pub(super) async fn load(
    log: &dyn PartitionLog,
    config: &GroupConfig,
    metadata: &Metadata,
    clock: &Clock,
) -> Result<Loaded, LoadError> {
    let mut shard = GroupShard::new(config.clone());
    let image = metadata.image();
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
    let effects = shard.loaded(clock.now_ms());
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

struct Runner {
    log: Arc<dyn PartitionLog>,
    metadata: Metadata,
    clock: Clock,
    shutdown: watch::Receiver<bool>,
    reply_to: HashMap<Token, oneshot::Sender<GroupReply>>,
    held: VecDeque<Held>,
}

/// Serves a shard until the broker shuts down.
pub(super) async fn run(
    log: Arc<dyn PartitionLog>,
    config: GroupConfig,
    metadata: Metadata,
    clock: Clock,
    shutdown: watch::Receiver<bool>,
    loaded: Loaded,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut runner = Runner {
        log,
        metadata,
        clock,
        shutdown,
        reply_to: HashMap::new(),
        held: VecDeque::new(),
    };
    let mut next = Some(loaded);
    loop {
        let loaded = match next.take() {
            Some(loaded) => loaded,
            None => match load(&*runner.log, &config, &runner.metadata, &runner.clock).await {
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
        match runner.serve(loaded, &mut commands).await {
            Ended::Shutdown(shard) => return runner.finish(*shard).await,
            Ended::AppendFailed(shard, error) => {
                error!(log = %runner.log.id(), "group records were not written, loading the groups again: {error}");
                runner.give_up(*shard);
            }
        }
    }
}

enum Ended {
    Shutdown(Box<GroupShard>),
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
        let mut shutdown = self.shutdown.clone();
        loop {
            if let Err(error) = self.append(step.drain(..)).await {
                return Ended::AppendFailed(Box::new(shard), error);
            }
            let deadline = shard.next_deadline().map(|at_ms| self.clock.until(at_ms));
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
                    let newest = self.metadata.image();
                    if !Arc::ptr_eq(&newest, &image) {
                        shard.set_catalog(newest.clone());
                        image = newest;
                    }
                    let now_ms = self.clock.now_ms();
                    for Command { token, request, reply_to } in batch.drain(..) {
                        self.reply_to.insert(token, reply_to);
                        step.push(shard.handle(now_ms, token, request));
                    }
                    // A full mailbox must not keep time from passing.
                    if shard.next_deadline().is_some_and(|at_ms| at_ms <= now_ms) {
                        step.push(shard.on_deadline(now_ms));
                    }
                }
                () = stopped(&mut shutdown) => return Ended::Shutdown(Box::new(shard)),
                () = sleep_until(deadline), if may_handle => {
                    step.push(shard.on_deadline(self.clock.now_ms()));
                }
            }
        }
    }

    /// Appends the records of a step as one batch and holds its replies back until they are durable.
    async fn append(&mut self, step: impl Iterator<Item = Effects>) -> Result<(), AppendError> {
        let mut builder = BatchBuilder::new();
        let mut replies = Vec::new();
        let now_ms = self.clock.now_ms();
        for effects in step {
            for note in effects.notes {
                log_limited!(info, "{note}");
            }
            for record in effects.records {
                match record.encode() {
                    Ok(Some((key, value))) => {
                        builder.append(now_ms, Some(&key), value.as_deref(), &[])
                    }
                    // Markers are control batches; no transaction reaches a shard yet.
                    Ok(None) => {
                        return Err(AppendError::Storage("a marker is no record".to_owned()));
                    }
                    Err(error) => return Err(AppendError::Storage(error.to_string())),
                }
            }
            replies.extend(effects.replies);
        }
        if builder.is_empty() && self.held.is_empty() {
            self.release(replies);
            return Ok(());
        }
        let append = if builder.is_empty() {
            None
        } else {
            Some(self.submit(builder).await?)
        };
        if append.is_some() || !replies.is_empty() {
            self.held.push_back(Held { append, replies });
        }
        Ok(())
    }

    async fn submit(&mut self, builder: BatchBuilder) -> Result<PendingAppend, AppendError> {
        let unfit = |error: &dyn std::fmt::Display| AppendError::Storage(error.to_string());
        let bytes = builder.build().map_err(|error| unfit(&error))?;
        let batch = ValidatedBatch::trusted(bytes).map_err(|error| unfit(&error))?;
        let permit = self.log.reserve(batch.size_bytes()).await?;
        self.log
            .submit_and_commit(permit, batch, AppendOrigin::Coordinator)
    }

    fn release(&mut self, replies: Vec<(Token, GroupReply)>) {
        for (token, reply) in replies {
            if let Some(reply_to) = self.reply_to.remove(&token) {
                // The client may have gone.
                let _ = reply_to.send(reply);
            }
        }
    }

    /// Releases what becomes durable and turns away who is parked, so that their connections can end.
    async fn finish(&mut self, shard: GroupShard) {
        while !self.held.is_empty() {
            match next_durable(&mut self.held).await {
                Ok(replies) => self.release(replies),
                Err(_) => break,
            }
        }
        self.give_up(shard);
    }

    /// Tells everyone who waits to try again: the shard is ahead of its log, or the broker stops.
    fn give_up(&mut self, shard: GroupShard) {
        let error = GroupError::CoordinatorNotAvailable;
        let held = std::mem::take(&mut self.held)
            .into_iter()
            .flat_map(|held| held.replies);
        let failed = held
            .map(|(token, reply)| (token, reply.into_failed(error)))
            .collect();
        self.release(failed);
        self.release(shard.unload(error));
        // A step that failed to append never reached `held`; its requests learn it from their closed channel.
        self.reply_to.clear();
    }

    /// Turns requests away for a while; false when the broker shuts down.
    async fn refuse_for(
        &mut self,
        pause: Duration,
        commands: &mut mpsc::Receiver<Command>,
    ) -> bool {
        let until = tokio::time::Instant::now() + pause;
        let mut shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    // Dropping it tells the caller that the coordinator is not available.
                    Some(command) => drop(command),
                    None => return false,
                },
                () = tokio::time::sleep_until(until) => return true,
                () = stopped(&mut shutdown) => return false,
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
