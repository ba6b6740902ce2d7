//! The shards of one kind of coordinator: a task for each partition of its topic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coordinators::machine::{Machine, Refused, Token};
use coordinators::partition_for;
use protocol_shim::ErrorCode;
use storage::log::PartitionLog;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::coordinator::runtime::{Outside, Runtime, Surroundings};
use crate::coordinator::shard::{self, Command, LoadError, Within};

/// Requests that may wait for one shard. The callers of others wait.
const MAILBOX_REQUESTS: usize = 1024;

/// The way to one shard.
struct Shard<M: Machine> {
    log: Arc<dyn PartitionLog>,
    mailbox: mpsc::Sender<Command<M>>,
}

/// The shards of one topic, in the order of its partitions.
pub(crate) struct Shards<M: Machine> {
    topic_id: Uuid,
    shards: Vec<Shard<M>>,
    load_time: Duration,
    next_token: AtomicU64,
    /// Turns true when the topic is deleted.
    gone: watch::Sender<bool>,
}

impl<M: Machine> Shards<M> {
    /// Starts a task for each log of the topic, in the order of the partitions. If no other broker has these logs, all shards
    /// are loaded first. Else each task sees to it that its own is, when it is to serve it.
    ///
    /// # Errors
    /// When a log cannot be read back.
    pub(crate) async fn start<O: Outside<Machine = M>>(
        runtime: &Runtime,
        outside: &Arc<O>,
        topic_id: Uuid,
        logs: Vec<Arc<dyn PartitionLog>>,
    ) -> Result<Self, LoadError> {
        let began = Instant::now();
        let gone = watch::Sender::new(false);
        let mut shards = Vec::with_capacity(logs.len());
        for log in logs {
            let (mailbox, commands) = mpsc::channel(MAILBOX_REQUESTS);
            let surroundings = Surroundings {
                log: Arc::clone(&log),
                runtime: runtime.clone(),
                outside: Arc::clone(outside),
                gone: gone.subscribe(),
            };
            let loaded = match runtime.is_alone {
                true => Some(shard::load(&surroundings).await?),
                false => None,
            };
            let shard = shard::run(surroundings, loaded, commands);
            runtime.metadata.vital().spawn(O::NAME, shard);
            shards.push(Shard { log, mailbox });
        }
        Ok(Self {
            topic_id,
            shards,
            load_time: began.elapsed(),
            next_token: AtomicU64::new(0),
            gone,
        })
    }

    pub(crate) fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    pub(crate) fn count(&self) -> usize {
        self.shards.len()
    }

    /// The shard that serves this key, such as the id of a group.
    pub(crate) fn shard_of(&self, key: &str) -> usize {
        let count = i32::try_from(self.count()).unwrap_or(i32::MAX);
        usize::try_from(partition_for(key, count)).unwrap_or(0)
    }

    /// How long it took to load all shards.
    pub(crate) fn load_time(&self) -> Duration {
        self.load_time
    }

    /// Notes that the topic is deleted. From now on everybody is told [`Refused::NotCoordinator`].
    pub(crate) fn topic_is_gone(&self) {
        self.gone.send_replace(true);
    }

    /// The log of one shard, which others may have gone on writing since it was last looked at.
    ///
    /// # Errors
    /// The shard is not there.
    pub(crate) fn log_of(&self, shard: usize) -> Result<&Arc<dyn PartitionLog>, ErrorCode> {
        let shard = self.shards.get(shard).ok_or_else(|| self.refused())?;
        Ok(&shard.log)
    }

    /// Puts a request to one shard and waits for its reply, however long it is parked.
    ///
    /// # Errors
    /// The shard is not there, or another broker's, or ended before it could answer.
    pub(crate) async fn request(
        &self,
        shard: usize,
        request: M::Request,
    ) -> Result<M::Reply, ErrorCode> {
        self.put(shard, request, None).await
    }

    /// Puts a request to one shard that writes in a transaction.
    ///
    /// # Errors
    /// As [`request`](Self::request); or the log takes nothing of that transaction.
    pub(crate) async fn request_within(
        &self,
        shard: usize,
        request: M::Request,
        within: Within,
    ) -> Result<M::Reply, ErrorCode> {
        self.put(shard, request, Some(within)).await
    }

    async fn put(
        &self,
        shard: usize,
        request: M::Request,
        within: Option<Within>,
    ) -> Result<M::Reply, ErrorCode> {
        let mailbox = &self
            .shards
            .get(shard)
            .ok_or_else(|| self.refused())?
            .mailbox;
        let (reply_to, reply) = oneshot::channel();
        let token = Token(self.next_token.fetch_add(1, Ordering::Relaxed));
        let command = Command {
            token,
            request,
            within,
            reply_to,
        };
        mailbox.send(command).await.map_err(|_| self.refused())?;
        reply.await.map_err(|_| self.refused())?
    }

    fn refused(&self) -> ErrorCode {
        let refused = match *self.gone.borrow() {
            true => Refused::NotCoordinator,
            false => Refused::Unavailable,
        };
        refused.into()
    }
}
