//! The task of one shard: it drives the state machine, appends its writes and releases its replies.
//!
//! Requests that wait together are handled together, and their writes are appended in as few batches as possible
//! (`batches.rs`). Replies leave in the order in which the machine gave them. Each waits until everything appended before it
//! is durable.

#![expect(
    clippy::disallowed_methods,
    reason = "the coordinator works for itself"
)]

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use coordinators::machine::{EffectsOf, EndTxn, Ending, Machine, Producer, Refused, Token};
use protocol_shim::ErrorCode;
use storage::log::{AppendError, PendingAppend, VerificationGuard};
use storage::record::{BatchBuilder, TransactionResult};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{error, warn};

use crate::coordinator::append::trusted;
use crate::coordinator::batches::{Batch, Batches};
use crate::coordinator::lending::{Lender, Marked};
use crate::coordinator::runtime::{Outside, Surroundings};
use crate::log_limited;
use crate::partition::errors;
use crate::replay::{Entry, ReplayError, replay};

/// Requests handled in one step.
const STEP_REQUESTS: usize = 256;
/// Batches on their way to the disk before the mailbox is left waiting.
const MAX_APPENDS_IN_FLIGHT: usize = 16;
/// If a request has more records than this, they are appended before the next request is handled.
const HEAVY_RECORDS: usize = 1000;
/// How long, and how often, a batch is offered again to a log that does not take it.
const RETRY_FOR: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Pause between attempts to load a shard whose log cannot be read.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

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

/// Replays the log into a new machine.
pub(super) async fn load<O: Outside>(
    around: &Surroundings<O>,
) -> Result<Loaded<O::Machine>, ReplayError> {
    let mut machine = around.outside.machine();
    let log = &*around.log;
    replay(log, 0, |entry| match entry {
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
        Entry::Marker(header, marker) => machine.replay_marker(EndTxn {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            coordinator_epoch: marker.coordinator_epoch,
            commit: marker.result == TransactionResult::Commit,
        }),
    })
    .await?;
    let effects = machine.loaded(&around.now());
    Ok(Loaded { machine, effects })
}

/// A machine that has just been loaded, and what it wants done first.
pub(super) struct Loaded<M: Machine> {
    machine: M,
    effects: EffectsOf<M>,
}

/// Replies that wait for an append, or without one only for the replies before them.
struct Held<P> {
    append: Option<PendingAppend>,
    replies: Vec<(Token, P)>,
}

type Reply<O> = <<O as Outside>::Machine as Machine>::Reply;

struct Runner<O: Outside> {
    around: Surroundings<O>,
    /// What the machine has asked.
    asked: JoinSet<Option<<O::Machine as Machine>::Outcome>>,
    reply_to: HashMap<Token, oneshot::Sender<Result<Reply<O>, ErrorCode>>>,
    held: VecDeque<Held<Reply<O>>>,
    lender: Lender,
}

/// Serves a shard until the broker shuts down or its log is deleted.
pub(super) async fn run<O: Outside>(
    around: Surroundings<O>,
    loaded: Loaded<O::Machine>,
    mut commands: mpsc::Receiver<Command<O::Machine>>,
    lender: Lender,
) {
    let mut runner = Runner {
        around,
        asked: JoinSet::new(),
        reply_to: HashMap::new(),
        held: VecDeque::new(),
        lender,
    };
    let mut next = Some(loaded);
    loop {
        let loaded = match next.take() {
            Some(loaded) => loaded,
            None => match load(&runner.around).await {
                Ok(loaded) => loaded,
                Err(error) => {
                    error!(log = %runner.around.log.id(), "cannot load {}: {error}", O::NAME);
                    if runner.refuse_for(RELOAD_PAUSE, &mut commands).await {
                        continue;
                    }
                    return;
                }
            },
        };
        let Loaded {
            mut machine,
            effects,
        } = loaded;
        match runner.serve(&mut machine, effects, &mut commands).await {
            Ended::Shutdown => return runner.finish(machine, Refused::Unavailable).await,
            Ended::Gone | Ended::AppendFailed(AppendError::Deleted) => {
                // Callers that still wait in the mailbox must learn from `gone` that the log was deleted.
                stopped(&mut runner.around.gone).await;
                return runner.finish(machine, Refused::NotCoordinator).await;
            }
            Ended::AppendFailed(error) => {
                error!(log = %runner.around.log.id(), "records were not written, loading {} again: {error}", O::NAME);
                runner.finish(machine, Refused::Unavailable).await;
            }
        }
    }
}

enum Ended {
    Shutdown,
    /// The log is deleted.
    Gone,
    AppendFailed(AppendError),
}

impl<O: Outside> Runner<O> {
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
        loop {
            if let Err(error) = self.append(step.drain(..), None).await {
                return Ended::AppendFailed(error);
            }
            let deadline = machine
                .next_deadline()
                .map(|at_ms| self.around.runtime.clock.until(at_ms));
            let may_handle = self.held.len() < MAX_APPENDS_IN_FLIGHT;
            tokio::select! {
                biased;
                released = next_durable(&mut self.held), if !self.held.is_empty() => match released {
                    Ok(replies) => self.release(replies),
                    Err(error) => return Ended::AppendFailed(error),
                },
                Some(asked) = self.lender.asked() => {
                    if let Some(Marked { end, append }) = Lender::lend(asked).await {
                        machine.replay_marker(end);
                        let replies = Vec::new();
                        self.held.push_back(Held { append: Some(append), replies });
                    }
                }
                count = commands.recv_many(&mut batch, STEP_REQUESTS), if may_handle => {
                    if count == 0 {
                        return Ended::Shutdown;
                    }
                    if let Err(error) = self.handle(machine, &mut batch, &mut step).await {
                        return Ended::AppendFailed(error);
                    }
                }
                Some(answered) = self.asked.join_next(), if may_handle => match answered {
                    Ok(Some(outcome)) => step.push(machine.outcome(&self.around.now(), outcome)),
                    Ok(None) => {}
                    // Whoever asked would wait for ever.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    // The runtime goes down.
                    Err(_) => {}
                },
                () = stopped(&mut shutdown) => return Ended::Shutdown,
                () = stopped(&mut gone) => return Ended::Gone,
                () = sleep_until(deadline), if may_handle => {
                    step.push(machine.on_deadline(&self.around.now()));
                }
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
        let now = self.around.now();
        for command in requests.drain(..) {
            let (within, token) = (command.within, command.token);
            if let Some(Within { producer, guard }) = within {
                // The log can say what it would let in when it has what came before. The machine must not learn of a write
                // that the log refuses.
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

    /// Submits a batch and lets its replies wait for it, or for those before it if it has no records.
    async fn append_batch(
        &mut self,
        batch: Batch<O::Machine>,
        guard: Option<VerificationGuard>,
    ) -> Result<(), AppendError> {
        if batch.is_empty() && self.held.is_empty() {
            self.release(batch.replies);
            return Ok(());
        }
        let Batch {
            records,
            ending,
            replies,
            ..
        } = batch;
        let append = self.submit(records, ending, guard).await?;
        if append.is_some() || !replies.is_empty() {
            self.held.push_back(Held { append, replies });
        }
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
            let submitted = match (&ending, records.clone()) {
                (Some(ending), record) => self.around.append_jointly(record, ending).await,
                (None, Some(records)) => self.around.append(records, guard).await.map(Some),
                (None, None) => Ok(None),
            };
            match submitted {
                Err(AppendError::Storage(_))
                    if tokio::time::Instant::now() < give_up
                        && !*self.around.runtime.shutdown.borrow() =>
                {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                submitted => return submitted,
            }
        }
    }

    fn release(&mut self, replies: Vec<(Token, Reply<O>)>) {
        for (token, reply) in replies {
            if let Some(reply_to) = self.reply_to.remove(&token) {
                // The client may have gone.
                let _ = reply_to.send(Ok(reply));
            }
        }
    }

    /// Lets what is in flight end and turns parked requests away. The machine is ahead of its log, or the broker stops.
    ///
    /// A machine that is loaded earlier would miss what is not durable yet. What was durable before the first failure has
    /// happened. Later replies may tell of what was lost.
    async fn finish(&mut self, machine: O::Machine, refused: Refused) {
        self.asked.abort_all();
        self.asked.detach_all();
        let mut has_failed = false;
        while let Some(Held { append, replies }) = self.held.pop_front() {
            if let Some(append) = append {
                has_failed |= append.await.is_err();
            }
            match has_failed {
                false => self.release(replies),
                true => {
                    let failed = replies.into_iter();
                    let failed = failed.map(|(token, _)| (token, Reply::<O>::from(refused)));
                    self.release(failed.collect());
                }
            }
        }
        self.release(machine.unload(refused));
        // A step that failed to append never reached `held`. Its requests learn it from their closed channel.
        self.reply_to.clear();
    }

    /// Turns requests away for a while. Says `false` when the broker shuts down or the log is deleted.
    async fn refuse_for(
        &mut self,
        pause: Duration,
        commands: &mut mpsc::Receiver<Command<O::Machine>>,
    ) -> bool {
        let until = tokio::time::Instant::now() + pause;
        let mut shutdown = self.around.runtime.shutdown.clone();
        let mut gone = self.around.gone.clone();
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    // Dropping it tells the caller that the coordinator is not available.
                    Some(command) => drop(command),
                    None => return false,
                },
                // So does dropping this tell who wants to append.
                Some(asked) = self.lender.asked() => drop(asked),
                () = tokio::time::sleep_until(until) => return true,
                () = stopped(&mut shutdown) => return false,
                () = stopped(&mut gone) => return false,
            }
        }
    }
}

/// The error for bytes that no log could take.
fn unfit(error: impl fmt::Display) -> AppendError {
    AppendError::Storage(error.to_string())
}

/// Resolves when the oldest held replies may leave. Dropping it loses nothing. After an error they are still held, and the
/// error is told again.
async fn next_durable<P>(held: &mut VecDeque<Held<P>>) -> Result<Vec<(Token, P)>, AppendError> {
    std::future::poll_fn(|cx| {
        let Some(append) = held.front_mut().and_then(|held| held.append.as_mut()) else {
            return Poll::Ready(Ok(()));
        };
        let outcome = std::task::ready!(Pin::new(&mut *append).poll(cx));
        if let Err(error) = &outcome {
            *append = Box::pin(std::future::ready(Err(error.clone())));
        }
        Poll::Ready(outcome.map(|_| ()))
    })
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
