//! The group coordinator: one task per `__consumer_offsets` partition, found by the group's hash.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use storage::log::PartitionLog;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tracing::debug;
use uuid::Uuid;

use crate::clock::Clock;
use crate::coordinator::assignors::Assignors;
use crate::coordinator::call::GroupCall;
use crate::coordinator::load::LoadError;
use crate::coordinator::patterns::PatternResolver;
use crate::coordinator::shard::{self, Command, Surroundings};
use crate::group::{self, DeletedTopic, GroupConfig, GroupError, Token};
use crate::metadata::Metadata;
use crate::partition::registry::PartitionRegistry;

/// Requests that may wait for one shard; more wait outside, on their connections.
const MAILBOX_REQUESTS: usize = 1024;

/// Whoever serves the groups. That is nobody until something asks for a group for the first time, and when
/// `__consumer_offsets` has been deleted.
pub struct GroupCoordinator {
    config: GroupConfig,
    pub(super) metadata: Metadata,
    /// Where the logs of the shards are.
    pub(super) partitions: Arc<PartitionRegistry>,
    clock: Clock,
    shutdown: watch::Receiver<bool>,
    patterns: Arc<PatternResolver>,
    assignors: Arc<Assignors>,
    shards: ArcSwapOption<Shards>,
    starting: Mutex<()>,
}

/// The shards of one `__consumer_offsets`, in the order of its partitions.
pub struct Shards {
    topic_id: Uuid,
    mailboxes: Vec<mpsc::Sender<Command>>,
    load_time: Duration,
    next_token: AtomicU64,
    /// Turns true when the topic is deleted.
    gone: watch::Sender<bool>,
}

impl GroupCoordinator {
    pub fn new(
        config: GroupConfig,
        metadata: Metadata,
        partitions: Arc<PartitionRegistry>,
        clock: Clock,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        Self {
            config,
            metadata,
            partitions,
            clock,
            shutdown,
            patterns: Arc::default(),
            assignors: Arc::default(),
            shards: ArcSwapOption::empty(),
            starting: Mutex::default(),
        }
    }

    /// Who finds out what regular expressions match.
    pub fn patterns(&self) -> &PatternResolver {
        &self.patterns
    }

    /// Loads one shard from each log of the topic, in the order of the partitions, and starts their tasks; once for each
    /// topic id.
    ///
    /// # Errors
    /// When a log cannot be read back.
    pub async fn start(
        &self,
        topic_id: Uuid,
        logs: Vec<Arc<dyn PartitionLog>>,
    ) -> Result<(), LoadError> {
        let _one_at_a_time = self.starting.lock().await;
        let shards = self.shards.load();
        if shards
            .as_ref()
            .is_some_and(|shards| shards.topic_id == topic_id)
        {
            return Ok(());
        }
        let began = Instant::now();
        let gone = watch::Sender::new(false);
        let mut mailboxes = Vec::with_capacity(logs.len());
        for log in logs {
            let (mailbox, commands) = mpsc::channel(MAILBOX_REQUESTS);
            let surroundings = Surroundings {
                config: self.config.clone(),
                metadata: self.metadata.clone(),
                clock: self.clock.clone(),
                patterns: Arc::clone(&self.patterns),
                assignors: Arc::clone(&self.assignors),
                shutdown: self.shutdown.clone(),
                gone: gone.subscribe(),
            };
            let loaded = shard::load(&*log, &surroundings).await?;
            let shard = shard::run(log, surroundings, loaded, commands);
            self.metadata.vital().spawn("a shard of the groups", shard);
            mailboxes.push(mailbox);
        }
        self.shards.store(Some(Arc::new(Shards {
            topic_id,
            mailboxes,
            load_time: began.elapsed(),
            next_token: AtomicU64::new(0),
            gone,
        })));
        Ok(())
    }

    /// Who serves the groups.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE before the first [`start`](Self::start); NOT_COORDINATOR when the topic has been deleted,
    /// until the next one: clients look for the coordinator then, which creates it again.
    pub fn shards(&self) -> Result<Arc<Shards>, GroupError> {
        let shards = self.shards.load_full();
        let shards = shards.ok_or(GroupError::CoordinatorNotAvailable)?;
        let topic = self.metadata.image().topic_by_id(shards.topic_id).cloned();
        match topic {
            Some(_) => Ok(shards),
            None => {
                shards.gone.send_replace(true);
                Err(GroupError::NotCoordinator)
            }
        }
    }

    /// How long it took to load all shards.
    pub fn load_time(&self) -> Option<Duration> {
        self.shards.load().as_ref().map(|shards| shards.load_time)
    }

    /// Forgets what was committed for topics that no longer exist; everything if `__consumer_offsets` is among them.
    ///
    /// A shard that cannot do so now loses nothing: an offset of another topic id is never given out.
    pub async fn topics_deleted(&self, topics: Vec<DeletedTopic>) {
        let Ok(shards) = self.shards() else {
            return;
        };
        if topics.is_empty() {
            return;
        }
        for shard in 0..shards.count() {
            let forgotten = shards.call_shard(shard, topics.clone()).await;
            if let Err(error) | Ok(Some(error)) = forgotten {
                debug!("offsets of deleted topics stay until they expire: {error}");
            }
        }
    }
}

impl Shards {
    pub fn count(&self) -> usize {
        self.mailboxes.len()
    }

    /// The shard that owns a group.
    pub fn shard_of(&self, group_id: &str) -> usize {
        let count = i32::try_from(self.count()).unwrap_or(i32::MAX);
        usize::try_from(group::partition_for(group_id, count)).unwrap_or(0)
    }

    /// Puts a request to the shard that owns `group_id` and waits for its reply, however long it is parked.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE while the shard, or the log behind it, cannot answer; NOT_COORDINATOR when the log is deleted.
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
        let unavailable = || match *self.gone.borrow() {
            true => GroupError::NotCoordinator,
            false => GroupError::CoordinatorNotAvailable,
        };
        let mailbox = self.mailboxes.get(shard).ok_or_else(unavailable)?;
        let (reply_to, reply) = oneshot::channel();
        let token = Token(self.next_token.fetch_add(1, Ordering::Relaxed));
        let command = Command {
            token,
            request: request.into_request(),
            reply_to,
        };
        mailbox.send(command).await.map_err(|_| unavailable())?;
        let reply = reply.await.map_err(|_| unavailable())?;
        C::reply(reply).ok_or(GroupError::UnknownServerError)
    }
}
