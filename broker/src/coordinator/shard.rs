//! The task of one shard: it drives the state machine, appends its writes and releases its replies.
//!
//! Requests that wait together are handled together, and their writes are appended in as few batches as possible
//! (`batches.rs`). Replies leave in the order in which the machine gave them. Each waits until everything appended before it
//! is durable.
//!
//! Where there are other brokers, each has a task for each shard. The one that the cluster's view names claims the log, loads
//! and serves; the others turn requests away. That two of them serve for a while does no harm: the log takes what the last one
//! writes that has claimed it, and a reply without a write leaves when the log has said that nobody else has.

#![expect(
    clippy::disallowed_methods,
    reason = "the coordinator works for itself"
)]

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use coordinators::machine::{EffectsOf, EndTxn, Ending, Machine, Producer, Refused, Token};
use protocol_shim::ErrorCode;
use storage::log::{
    AppendError, Appended, BoxFuture, PartitionLog, PendingAppend, ReadError, VerificationGuard,
};
use storage::record::{BatchBuilder, BatchHeader, EndTxnMarker, TransactionResult};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::coordinator::append::trusted;
use crate::coordinator::batches::{Batch, Batches};
use crate::coordinator::runtime::{Outside, Surroundings};
use crate::log_limited;
use crate::partition::errors;
use crate::replay::{Entry, ReplayError, read_on};

/// Requests handled in one step.
const STEP_REQUESTS: usize = 256;
/// Batches on their way to the disk before the mailbox is left waiting.
const MAX_APPENDS_IN_FLIGHT: usize = 16;
/// If a request has more records than this, they are appended before the next request is handled.
const HEAVY_RECORDS: usize = 1000;
/// How long, and how often, a batch is offered again to a log that does not take it, or a log is asked that does not answer.
const RETRY_FOR: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Pause between attempts to load a shard whose log cannot be read.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);
/// Pause before a log is claimed again that another broker has claimed although it is this one's by the view. It doubles each
/// time. So two brokers with different views leave each other time to serve, and more of it the longer they differ.
const FIRST_RECLAIM_PAUSE: Duration = Duration::from_millis(250);
const LAST_RECLAIM_PAUSE: Duration = Duration::from_secs(8);

/// One request and where its reply goes.
pub(super) struct Command<M: Machine> {
    pub(super) token: Token,
    pub(super) request: M::Request,
    pub(super) within: Option<Within>,
    pub(super) reply_to: oneshot::Sender<Result<M::Reply, ErrorCode>>,
}

/// A transaction that a request writes in, and the guard with which it may begin in the shard's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Within {
    pub(crate) producer: Producer,
    pub(crate) guard: Option<VerificationGuard>,
}

/// Why a shard could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot be claimed: {0}")]
    Claim(AppendError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

/// A machine that has just been loaded, and what it wants done first.
pub(super) struct Loaded<M: Machine> {
    machine: M,
    effects: EffectsOf<M>,
    /// The epoch with which the log was claimed.
    claimed: i32,
    /// The machine knows what stands below this offset.
    followed: i64,
}

/// Claims the log and replays it into a new machine.
///
/// # Errors
/// The log cannot be claimed, or not be read.
pub(super) async fn load<O: Outside>(
    around: &Surroundings<O>,
) -> Result<Loaded<O::Machine>, LoadError> {
    let log = &*around.log;
    if let Some(ready) = log.ready() {
        ready.await;
    }
    let claimed = log.claim().await.map_err(LoadError::Claim)?;
    let mut machine = around.outside.machine();
    let offsets = log.current_offsets().await.map_err(ReplayError::from)?;
    let (from, followed) = (offsets.log_start_offset, offsets.high_watermark);
    read_on(log, from, followed, |entry| match entry {
        Entry::Record(header, record) => {
            let Some(key) = record.key else { return };
            let producer = header.is_transactional().then_some(Producer {
                id: header.producer_id,
                epoch: header.producer_epoch,
            });
            if let Err(error) = machine.replay(producer, key, record.value) {
                warn!(log = %log.id(), offset = record.offset, "skipping a record: {error}");
            }
        }
        Entry::Marker(header, marker) => machine.replay_marker(end_of(header, marker)),
    })
    .await?;
    let effects = machine.loaded(&around.now());
    Ok(Loaded {
        machine,
        effects,
        claimed,
        followed,
    })
}

fn end_of(header: &BatchHeader, marker: EndTxnMarker) -> EndTxn {
    EndTxn {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        coordinator_epoch: marker.coordinator_epoch,
        commit: marker.result == TransactionResult::Commit,
    }
}

/// What replies wait for.
enum Proof {
    /// For those before them.
    None,
    Append(PendingAppend),
    /// That nobody else had claimed the log when they were given. The log is asked when those before them have left.
    Claim(Option<BoxFuture<'static, Result<(), AppendError>>>),
}

/// Replies, and what they wait for.
struct Held<P> {
    proof: Proof,
    /// If it is an append in a transaction: whose, and how many writes of the machine it has.
    writes_of: Option<(Producer, usize)>,
    replies: Vec<(Token, P)>,
}

type Reply<O> = <<O as Outside>::Machine as Machine>::Reply;

struct Runner<O: Outside> {
    around: Arc<Surroundings<O>>,
    /// What the machine has asked.
    asked: JoinSet<Option<<O::Machine as Machine>::Outcome>>,
    reply_to: HashMap<Token, oneshot::Sender<Result<Reply<O>, ErrorCode>>>,
    held: VecDeque<Held<Reply<O>>>,
    /// See [`Loaded`].
    claimed: i32,
    followed: i64,
    reclaim_pause: Duration,
}

/// Serves a shard whenever it is this broker's, until the broker shuts down or the log is deleted.
pub(super) async fn run<O: Outside>(
    around: Surroundings<O>,
    loaded: Option<Loaded<O::Machine>>,
    mut commands: mpsc::Receiver<Command<O::Machine>>,
) {
    let mut gone = around.gone.clone();
    let mut runner = Runner {
        around: Arc::new(around),
        asked: JoinSet::new(),
        reply_to: HashMap::new(),
        held: VecDeque::new(),
        claimed: 0,
        followed: 0,
        reclaim_pause: FIRST_RECLAIM_PAUSE,
    };
    let mut next = loaded;
    loop {
        let loaded = match next.take() {
            Some(loaded) => loaded,
            None => match runner.take_over(&mut commands).await {
                Some(loaded) => loaded,
                None => return,
            },
        };
        let Loaded {
            mut machine,
            effects,
            claimed,
            followed,
        } = loaded;
        (runner.claimed, runner.followed) = (claimed, followed);
        let since = Instant::now();
        let log = runner.around.log.id().clone();
        match runner.serve(&mut machine, effects, &mut commands).await {
            Ended::Shutdown => return runner.finish(machine, Refused::Unavailable).await,
            Ended::Gone | Ended::Failed(AppendError::Deleted) => {
                // Callers that still wait in the mailbox must learn from `gone` that the log was deleted.
                stopped(&mut gone).await;
                return runner.finish(machine, Refused::NotCoordinator).await;
            }
            Ended::Left => {
                info!(%log, "{} is another broker's now", O::NAME);
                runner.finish(machine, Refused::NotCoordinator).await;
            }
            Ended::Failed(error @ AppendError::Fenced { .. }) => {
                log_limited!(info, %log, "{} is no longer served: {error}", O::NAME);
                runner.finish(machine, Refused::NotCoordinator).await;
                if since.elapsed() > 2 * LAST_RECLAIM_PAUSE {
                    runner.reclaim_pause = FIRST_RECLAIM_PAUSE;
                }
                let pause = tokio::time::sleep(runner.reclaim_pause);
                runner.reclaim_pause = (2 * runner.reclaim_pause).min(LAST_RECLAIM_PAUSE);
                let paused = runner.refuse(Refused::NotCoordinator, pause, &mut commands);
                if paused.await.is_none() {
                    return;
                }
            }
            Ended::Failed(error) => {
                error!(%log, "records were not written, loading {} again: {error}", O::NAME);
                runner.finish(machine, Refused::Unavailable).await;
            }
        }
    }
}

enum Ended {
    Shutdown,
    /// The log is deleted.
    Gone,
    /// The log is another broker's, by the view.
    Left,
    /// An append failed, or another broker has claimed the log.
    Failed(AppendError),
}

impl<O: Outside> Runner<O> {
    /// Waits until the shard is this broker's, and loads it. `None` when the broker shuts down or the log is deleted.
    async fn take_over(
        &mut self,
        commands: &mut mpsc::Receiver<Command<O::Machine>>,
    ) -> Option<Loaded<O::Machine>> {
        loop {
            if !self.around.is_ours() {
                let ours = until_ours(Arc::clone(&self.around), true);
                self.refuse(Refused::NotCoordinator, ours, commands).await?;
            }
            let loaded = match self.around.runtime.is_alone {
                // Requests wait: there is nobody else to ask, nor anybody who would be told why.
                true => Some(load(&self.around).await),
                false => {
                    let lost = until_ours(Arc::clone(&self.around), false);
                    let around = Arc::clone(&self.around);
                    let loading = async move {
                        tokio::select! {
                            loaded = load(&around) => Some(loaded),
                            () = lost => None,
                        }
                    };
                    self.refuse(Refused::Loading, loading, commands).await?
                }
            };
            match loaded {
                Some(Ok(loaded)) => return Some(loaded),
                Some(Err(LoadError::Claim(AppendError::Deleted))) => {
                    let pause = tokio::time::sleep(RELOAD_PAUSE);
                    self.refuse(Refused::NotCoordinator, pause, commands)
                        .await?;
                }
                Some(Err(error)) => {
                    let log = self.around.log.id();
                    error!(%log, "cannot load {}: {error}", O::NAME);
                    let pause = tokio::time::sleep(RELOAD_PAUSE);
                    self.refuse(Refused::Unavailable, pause, commands).await?;
                }
                // It is another broker's again.
                None => {}
            }
        }
    }

    async fn serve(
        &mut self,
        machine: &mut O::Machine,
        loaded: EffectsOf<O::Machine>,
        commands: &mut mpsc::Receiver<Command<O::Machine>>,
    ) -> Ended {
        let mut step = vec![loaded];
        let mut batch = Vec::with_capacity(STEP_REQUESTS);
        let mut shutdown = self.around.runtime.shutdown.clone();
        let mut gone = self.around.gone.clone();
        let lost = until_ours(Arc::clone(&self.around), false);
        tokio::pin!(lost);
        loop {
            if let Err(error) = self.append(step.drain(..), None).await {
                return Ended::Failed(error);
            }
            let deadline = machine
                .next_deadline()
                .map(|at_ms| self.around.runtime.clock.until(at_ms));
            let may_handle = self.held.len() < MAX_APPENDS_IN_FLIGHT;
            let stepped = tokio::select! {
                biased;
                proven = next_proven(&mut self.held, &self.around.log, self.claimed), if !self.held.is_empty() => {
                    self.let_go(machine, proven).await
                }
                () = &mut lost => return Ended::Left,
                count = commands.recv_many(&mut batch, STEP_REQUESTS), if may_handle => {
                    if count == 0 {
                        return Ended::Shutdown;
                    }
                    self.handle(machine, &mut batch, &mut step).await
                }
                Some(answered) = self.asked.join_next(), if may_handle => match answered {
                    Ok(Some(outcome)) => {
                        step.push(machine.outcome(&self.around.now(), outcome));
                        Ok(())
                    }
                    Ok(None) => Ok(()),
                    // Whoever asked would wait for ever.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    // The runtime goes down.
                    Err(_) => Ok(()),
                },
                () = stopped(&mut shutdown) => return Ended::Shutdown,
                () = stopped(&mut gone) => return Ended::Gone,
                () = sleep_until(deadline), if may_handle => {
                    step.push(machine.on_deadline(&self.around.now()));
                    Ok(())
                }
            };
            if let Err(error) = stepped {
                return Ended::Failed(error);
            }
        }
    }

    /// Handles requests that wait together. What they bring about is appended, or added to the step.
    async fn handle(
        &mut self,
        machine: &mut O::Machine,
        requests: &mut Vec<Command<O::Machine>>,
        step: &mut Vec<EffectsOf<O::Machine>>,
    ) -> Result<(), AppendError> {
        let mut now = self.around.now();
        for command in requests.drain(..) {
            let (within, token) = (command.within, command.token);
            if machine.depends_on_markers(&command.request) {
                self.append(step.drain(..), None).await?;
                self.catch_up(machine).await?;
                now = self.around.now();
            }
            if let Some(Within { producer, guard }) = within {
                // The log can say what it would let in when it has what came before.
                self.append(step.drain(..), None).await?;
                let log = &self.around.log;
                if let Err(error) = log.check_transaction(producer.id, producer.epoch, guard) {
                    let _ = command.reply_to.send(Err(errors::of_append(&error)));
                    continue;
                }
            }
            self.reply_to.insert(token, command.reply_to);
            let effects = machine.handle(&now, token, command.request);
            let is_heavy = effects.record_count() > HEAVY_RECORDS;
            step.push(effects);
            if is_heavy || within.is_some() {
                let guard = within.and_then(|within| within.guard);
                self.append(step.drain(..), guard).await?;
            }
            if is_heavy {
                // Other tasks of this thread want to go on as well.
                tokio::task::yield_now().await;
            }
        }
        // A full mailbox must not keep time from passing.
        let is_due = |at_ms| at_ms <= now.steady_ms;
        if machine.next_deadline().is_some_and(is_due) {
            step.push(machine.on_deadline(&now));
        }
        Ok(())
    }

    /// Appends the writes of a step, in batches that the log takes, and holds its replies back until they are durable.
    async fn append(
        &mut self,
        step: impl Iterator<Item = EffectsOf<O::Machine>>,
        guard: Option<VerificationGuard>,
    ) -> Result<(), AppendError> {
        let published = self.around.runtime.metadata.published();
        let mut batches = Batches::new(
            self.around.max_batch_bytes(&published),
            self.around.runtime.clock.wall_ms(),
        );
        for effects in step {
            for question in effects.questions {
                let outside = Arc::clone(&self.around.outside);
                self.asked
                    .spawn(outside.answer(question, Arc::clone(&published)));
            }
            for note in effects.notes {
                log_limited!(info, "{}", O::line(note));
            }
            let full = batches
                .add(effects.writes, effects.replies)
                .map_err(unfit)?;
            for batch in full {
                self.append_batch(batch, guard).await?;
            }
        }
        self.append_batch(batches.finish(), guard).await
    }

    /// Submits a batch and lets its replies wait for it. Those without one wait for the replies before them, and for the log's
    /// word that it is still this broker's.
    async fn append_batch(
        &mut self,
        batch: Batch<O::Machine>,
        guard: Option<VerificationGuard>,
    ) -> Result<(), AppendError> {
        let writes_of = batch.transactional_writes();
        let Batch {
            records,
            ending,
            replies,
            ..
        } = batch;
        let proof = match self.submit(records, ending, guard).await {
            Ok(Some(append)) => Proof::Append(append),
            // It has its place behind those that are on their way.
            Err(error) if writes_of.is_some() && is_end_of_transaction(&error) => {
                Proof::Append(Box::pin(std::future::ready(Err(error))))
            }
            Err(error) => return Err(error),
            Ok(None) if replies.is_empty() => return Ok(()),
            Ok(None) if !self.around.runtime.is_alone => {
                // The last ones may not have asked yet. Then they ask late enough for these as well.
                if let Some(last) = self.held.back_mut()
                    && matches!(last.proof, Proof::Claim(None))
                {
                    last.replies.extend(replies);
                    return Ok(());
                }
                Proof::Claim(None)
            }
            Ok(None) if self.held.is_empty() => {
                self.release(replies);
                return Ok(());
            }
            Ok(None) => Proof::None,
        };
        self.held.push_back(Held {
            proof,
            writes_of,
            replies,
        });
        Ok(())
    }

    /// Submits a batch to the log. A refusal that may pass, such as a full disk, is no reason to forget what everybody has been
    /// told. So this tries again for a while.
    async fn submit(
        &mut self,
        records: BatchBuilder,
        ending: Option<Ending>,
        guard: Option<VerificationGuard>,
    ) -> Result<Option<PendingAppend>, AppendError> {
        let records = match records.is_empty() {
            true => None,
            false => Some(trusted(records)?),
        };
        let give_up = tokio::time::Instant::now() + RETRY_FOR;
        loop {
            let Some(records) = records.clone() else {
                return Ok(None);
            };
            let around = &self.around;
            let submitted = match &ending {
                Some(ending) => around.append_jointly(records, ending, self.claimed).await,
                None => around.append(records, guard).await,
            };
            match submitted {
                Err(AppendError::Storage(_))
                    if tokio::time::Instant::now() < give_up
                        && !*self.around.runtime.shutdown.borrow() =>
                {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                submitted => return submitted.map(Some),
            }
        }
    }

    /// Lets the oldest replies go, if what they wait for has come. The machine is told what has come into the log before them.
    async fn let_go(
        &mut self,
        machine: &mut O::Machine,
        proven: Result<Option<Appended>, AppendError>,
    ) -> Result<(), AppendError> {
        let of_transaction = self
            .held
            .front()
            .is_some_and(|held| held.writes_of.is_some());
        match proven {
            Err(error) if !(of_transaction && is_end_of_transaction(&error)) => Err(error),
            proven => {
                let Some(held) = self.held.pop_front() else {
                    return Ok(());
                };
                if let Ok(Some(appended)) = &proven {
                    self.follow(machine, appended.base_offset).await?;
                    self.followed = self.followed.max(appended.last_offset + 1);
                }
                if let Some((producer, writes)) = held.writes_of {
                    for _ in 0..writes {
                        machine.settled(producer, proven.is_ok());
                    }
                }
                match proven {
                    Ok(_) => self.release(held.replies),
                    Err(error) => self.refuse_all(held.replies, errors::of_append(&error)),
                }
                Ok(())
            }
        }
    }

    /// Has the machine know of all transactions that have ended before the call.
    async fn catch_up(&mut self, machine: &mut O::Machine) -> Result<(), AppendError> {
        let log = Arc::clone(&self.around.log);
        let end = match self.around.runtime.is_alone {
            true => log.offsets().high_watermark,
            false => {
                log.current_offsets()
                    .await
                    .map_err(unreadable)?
                    .high_watermark
            }
        };
        // Where its own batches are it learns from these.
        while self.followed < end && !self.held.is_empty() {
            let proven = next_proven(&mut self.held, &log, self.claimed).await;
            self.let_go(machine, proven).await?;
        }
        self.follow(machine, end).await
    }

    /// Reads the log up to an offset, and tells the machine of the markers. There are none of its own batches.
    async fn follow(&mut self, machine: &mut O::Machine, to: i64) -> Result<(), AppendError> {
        if self.followed >= to {
            return Ok(());
        }
        let log = &*self.around.log;
        let from = self.followed.max(log.offsets().log_start_offset);
        let read = read_on(log, from, to, |entry| match entry {
            Entry::Marker(header, marker) => machine.replay_marker(end_of(header, marker)),
            Entry::Record(..) => {}
        });
        read.await.map_err(|error| match error {
            ReplayError::Read(error) => unreadable(error),
            error @ ReplayError::Batch { .. } => AppendError::Storage(error.to_string()),
        })?;
        self.followed = to;
        still_claimed(log, self.claimed)
    }

    fn release(&mut self, replies: Vec<(Token, Reply<O>)>) {
        for (token, reply) in replies {
            if let Some(reply_to) = self.reply_to.remove(&token) {
                // The client may have gone.
                let _ = reply_to.send(Ok(reply));
            }
        }
    }

    fn refuse_all(&mut self, replies: Vec<(Token, Reply<O>)>, why: ErrorCode) {
        for (token, _) in replies {
            if let Some(reply_to) = self.reply_to.remove(&token) {
                let _ = reply_to.send(Err(why));
            }
        }
    }

    /// Turns parked requests away and lets what is in flight end. The machine is ahead of its log, the log is another broker's,
    /// or the broker stops.
    ///
    /// A machine that is loaded earlier would miss what is not durable yet. What was durable before the first failure has
    /// happened. Later replies may tell of what was lost.
    async fn finish(&mut self, machine: O::Machine, refused: Refused) {
        self.asked.abort_all();
        self.asked.detach_all();
        self.release(machine.unload(refused));
        let mut has_failed = false;
        while !self.held.is_empty() && !has_failed {
            let proven = next_proven(&mut self.held, &self.around.log, self.claimed).await;
            let of_transaction = self
                .held
                .front()
                .is_some_and(|held| held.writes_of.is_some());
            match proven {
                Err(error) if of_transaction && is_end_of_transaction(&error) => {
                    let replies = self.held.pop_front().map(|held| held.replies);
                    self.refuse_all(replies.unwrap_or_default(), errors::of_append(&error));
                }
                Err(_) => has_failed = true,
                Ok(_) => {
                    let replies = self.held.pop_front().map(|held| held.replies);
                    self.release(replies.unwrap_or_default());
                }
            }
        }
        for Held { proof, replies, .. } in std::mem::take(&mut self.held) {
            // Whether it has happened is nobody's business any more, but the next machine has to see it if it has.
            if let Proof::Append(append) = proof {
                let _ = append.await;
            }
            let replies = replies.into_iter();
            let replies = replies.map(|(token, _)| (token, Reply::<O>::from(refused)));
            self.release(replies.collect());
        }
        // A step that failed to append never reached `held`. Its requests are told here.
        for (_, reply_to) in self.reply_to.drain() {
            let _ = reply_to.send(Err(refused.into()));
        }
    }

    /// Turns requests away until something has come. `None` when the broker shuts down or the log is deleted.
    async fn refuse<T>(
        &mut self,
        refused: Refused,
        until: impl Future<Output = T>,
        commands: &mut mpsc::Receiver<Command<O::Machine>>,
    ) -> Option<T> {
        let mut shutdown = self.around.runtime.shutdown.clone();
        let mut gone = self.around.gone.clone();
        tokio::pin!(until);
        loop {
            tokio::select! {
                biased;
                come = &mut until => return Some(come),
                command = commands.recv() => {
                    let Command { reply_to, .. } = command?;
                    let _ = reply_to.send(Err(refused.into()));
                }
                () = stopped(&mut shutdown) => return None,
                () = stopped(&mut gone) => return None,
            }
        }
    }
}

/// The error for bytes that no log could take.
fn unfit(error: impl fmt::Display) -> AppendError {
    AppendError::Storage(error.to_string())
}

/// What a log that cannot be read means to what was to be appended.
fn unreadable(error: ReadError) -> AppendError {
    match error {
        ReadError::Deleted => AppendError::Deleted,
        error => AppendError::Storage(error.to_string()),
    }
}

/// Whether a log has refused a batch because the transaction that it belongs to has ended.
fn is_end_of_transaction(error: &AppendError) -> bool {
    matches!(
        error,
        AppendError::InvalidTxnState { .. } | AppendError::InvalidProducerEpoch { .. }
    )
}

/// Resolves when the oldest held replies may leave, to where their batch stands, if they have one. Dropping it loses nothing.
/// After an error it is told again.
async fn next_proven<P>(
    held: &mut VecDeque<Held<P>>,
    log: &Arc<dyn PartitionLog>,
    claimed: i32,
) -> Result<Option<Appended>, AppendError> {
    std::future::poll_fn(|cx: &mut Context<'_>| {
        let Some(Held { proof, .. }) = held.front_mut() else {
            return Poll::Ready(Ok(None));
        };
        let outcome = match proof {
            Proof::None => Ok(None),
            Proof::Append(append) => ready!(Pin::new(append).poll(cx)).map(Some),
            Proof::Claim(asked) => {
                let asked = asked.get_or_insert_with(|| claim_stands(Arc::clone(log), claimed));
                ready!(Pin::new(asked).poll(cx)).map(|()| None)
            }
        };
        if let Err(error) = &outcome {
            *proof = Proof::Append(Box::pin(std::future::ready(Err(error.clone()))));
        }
        Poll::Ready(outcome)
    })
    .await
}

/// Asks a log whether it was claimed by anybody else before the call.
fn claim_stands(
    log: Arc<dyn PartitionLog>,
    claimed: i32,
) -> BoxFuture<'static, Result<(), AppendError>> {
    Box::pin(async move {
        let give_up = tokio::time::Instant::now() + RETRY_FOR;
        loop {
            match log.current_offsets().await {
                Ok(_) => return still_claimed(&*log, claimed),
                Err(ReadError::Storage(_)) if tokio::time::Instant::now() < give_up => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(error) => return Err(unreadable(error)),
            }
        }
    })
}

/// Whether the log knows of no later claim.
///
/// # Errors
/// It does.
fn still_claimed(log: &dyn PartitionLog, claimed: i32) -> Result<(), AppendError> {
    match log.leader_epoch() {
        current if current == claimed => Ok(()),
        current => Err(AppendError::Fenced {
            partition: log.id().clone(),
            current,
            got: claimed,
        }),
    }
}

/// Resolves when the shard is this broker's by the view, or when it is not.
async fn until_ours<O: Outside>(around: Arc<Surroundings<O>>, ours: bool) {
    let mut changes = around.runtime.cluster.watch();
    loop {
        changes.borrow_and_update();
        if around.is_ours() == ours {
            return;
        }
        if changes.changed().await.is_err() {
            // The broker is gone altogether.
            std::future::pending::<()>().await;
        }
    }
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
