//! The group coordinator: one task per `__consumer_offsets` partition, found by the group's hash.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use storage::log::PartitionLog;
use tokio::sync::{OnceCell, mpsc, oneshot, watch};
use tracing::debug;

use crate::clock::Clock;
use crate::coordinator::call::GroupCall;
use crate::coordinator::load::LoadError;
use crate::coordinator::patterns::PatternResolver;
use crate::coordinator::shard::{self, Command};
use crate::group::{self, DeletedTopic, GroupConfig, GroupError, Token};
use crate::metadata::Metadata;

/// Requests that may wait for one shard; more wait outside, on their connections.
const MAILBOX_REQUESTS: usize = 1024;

/// All shards. There are none until something asks for a group for the first time.
pub struct GroupCoordinator {
    config: GroupConfig,
    metadata: Metadata,
    clock: Clock,
    shutdown: watch::Receiver<bool>,
    shards: OnceCell<Vec<mpsc::Sender<Command>>>,
    load_time: OnceLock<Duration>,
    next_token: AtomicU64,
    patterns: Arc<PatternResolver>,
}

impl GroupCoordinator {
    pub fn new(
        config: GroupConfig,
        metadata: Metadata,
        clock: Clock,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        Self {
            config,
            metadata,
            clock,
            shutdown,
            shards: OnceCell::new(),
            load_time: OnceLock::new(),
            next_token: AtomicU64::new(0),
            patterns: Arc::default(),
        }
    }

    /// Who finds out what regular expressions match.
    pub fn patterns(&self) -> &PatternResolver {
        &self.patterns
    }

    /// Loads one shard from each log, in the order of the partitions, and starts their tasks.
    ///
    /// # Errors
    /// When a log cannot be read back.
    pub async fn start(&self, logs: Vec<Arc<dyn PartitionLog>>) -> Result<(), LoadError> {
        self.shards
            .get_or_try_init(async || {
                let began = Instant::now();
                let mut shards = Vec::with_capacity(logs.len());
                for log in logs {
                    let (mailbox, commands) = mpsc::channel(MAILBOX_REQUESTS);
                    let loaded =
                        shard::load(&*log, &self.config, &self.metadata, &self.clock).await?;
                    let shard = shard::run(
                        log,
                        self.config.clone(),
                        self.metadata.clone(),
                        self.clock.clone(),
                        self.shutdown.clone(),
                        Arc::clone(&self.patterns),
                        loaded,
                        commands,
                    );
                    self.metadata.vital().spawn("a shard of the groups", shard);
                    shards.push(mailbox);
                }
                let _ = self.load_time.set(began.elapsed());
                Ok::<_, LoadError>(shards)
            })
            .await?;
        Ok(())
    }

    pub fn is_started(&self) -> bool {
        self.shards.initialized()
    }

    /// How long it took to load all shards; `None` before [`start`](Self::start).
    pub fn load_time(&self) -> Option<Duration> {
        self.load_time.get().copied()
    }

    /// How many shards there are; none before [`start`](Self::start).
    pub fn shard_count(&self) -> usize {
        self.shards.get().map_or(0, Vec::len)
    }

    /// The shard that owns a group.
    pub fn shard_of(&self, group_id: &str) -> usize {
        let count = i32::try_from(self.shard_count()).unwrap_or(i32::MAX);
        usize::try_from(group::partition_for(group_id, count)).unwrap_or(0)
    }

    /// Puts a request to the shard that owns `group_id` and waits for its reply, however long it is parked.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE while the shard, or the log behind it, cannot answer.
    pub async fn call<C: GroupCall>(
        &self,
        group_id: &str,
        request: C,
    ) -> Result<C::Reply, GroupError> {
        self.call_shard(self.shard_of(group_id), request).await
    }

    /// Puts a request to one shard.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_shard<C: GroupCall>(
        &self,
        shard: usize,
        request: C,
    ) -> Result<C::Reply, GroupError> {
        let unavailable = GroupError::CoordinatorNotAvailable;
        let mailbox = self
            .shards
            .get()
            .and_then(|shards| shards.get(shard))
            .ok_or(unavailable)?;
        let (reply_to, reply) = oneshot::channel();
        let token = Token(self.next_token.fetch_add(1, Ordering::Relaxed));
        let command = Command {
            token,
            request: request.into_request(),
            reply_to,
        };
        mailbox.send(command).await.map_err(|_| unavailable)?;
        let reply = reply.await.map_err(|_| unavailable)?;
        C::reply(reply).ok_or(GroupError::UnknownServerError)
    }

    /// Forgets what was committed for topics that no longer exist.
    ///
    /// A shard that cannot do so now loses nothing: an offset of another topic id is never given out.
    pub async fn topics_deleted(&self, topics: Vec<DeletedTopic>) {
        if topics.is_empty() {
            return;
        }
        for shard in 0..self.shard_count() {
            let forgotten = self.call_shard(shard, topics.clone()).await;
            if let Err(error) | Ok(Some(error)) = forgotten {
                debug!("offsets of deleted topics stay until they expire: {error}");
            }
        }
    }
}
