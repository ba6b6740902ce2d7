//! Finds the shard that serves a key, and starts the shards at the first use.

#![expect(clippy::disallowed_methods, reason = "a coordinator works for itself")]

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use protocol_shim::ErrorCode;
use storage::log::PartitionLog;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::coordinator::runtime::{Outside, Runtime};
use crate::coordinator::shard::LoadError;
use crate::coordinator::shards::Shards;
use crate::log_limited;

/// A coordinator as its clients find it. There are no shards before the first use, and none after its topic was deleted.
pub struct Coordinator<O: Outside> {
    runtime: Runtime,
    outside: Arc<O>,
    shards: ArcSwapOption<Shards<O::Machine>>,
    starting: Mutex<()>,
}

impl<O: Outside> Coordinator<O> {
    pub(crate) fn new(outside: O, runtime: Runtime) -> Self {
        Self {
            runtime,
            outside: Arc::new(outside),
            shards: ArcSwapOption::empty(),
            starting: Mutex::default(),
        }
    }

    /// What it works with, as all coordinators do.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(super) fn outside(&self) -> &O {
        &self.outside
    }

    /// Starts a shard for each log of the topic, in the order of the partitions. Does so once for each topic id.
    ///
    /// # Errors
    /// When a log cannot be read back.
    pub(super) async fn start(
        &self,
        topic_id: Uuid,
        logs: Vec<Arc<dyn PartitionLog>>,
    ) -> Result<(), LoadError> {
        let _one_at_a_time = self.starting.lock().await;
        let is_same = |shards: &Arc<Shards<O::Machine>>| shards.topic_id() == topic_id;
        if self.shards.load().as_ref().is_some_and(is_same) {
            return Ok(());
        }
        let shards = Shards::start(&self.runtime, &self.outside, topic_id, logs).await?;
        self.shards.store(Some(Arc::new(shards)));
        Ok(())
    }

    /// The shards.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE before the first use. NOT_COORDINATOR after the topic was deleted: then clients look for the
    /// coordinator, which creates the topic again.
    pub(crate) fn shards(&self) -> Result<Arc<Shards<O::Machine>>, ErrorCode> {
        let shards = self.shards.load_full();
        let shards = shards.ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let image = self.runtime.metadata.image();
        match image.topic_by_id(shards.topic_id()) {
            Some(_) => Ok(shards),
            None => {
                shards.topic_is_gone();
                Err(ErrorCode::NotCoordinator)
            }
        }
    }

    /// How long it took to load all shards.
    pub(crate) fn load_time(&self) -> Option<Duration> {
        self.shards.load().as_ref().map(|shards| shards.load_time())
    }

    /// The shards, started at the first use. After the topic was deleted, a client has to look for the coordinator first.
    pub(super) async fn serving(&self) -> Result<Arc<Shards<O::Machine>>, ErrorCode> {
        match self.shards() {
            Err(ErrorCode::CoordinatorNotAvailable) => {
                self.ensure_started().await?;
                self.shards()
            }
            shards => shards,
        }
    }

    /// The shard that serves a key.
    ///
    /// # Errors
    /// NOT_COORDINATOR if it is another broker's.
    pub(super) async fn serving_key(
        &self,
        key: &str,
    ) -> Result<(Arc<Shards<O::Machine>>, usize), ErrorCode> {
        let shards = self.serving().await?;
        let shard = shards.shard_of(key);
        match self.leads(&shards, shard) {
            true => Ok((shards, shard)),
            false => Err(ErrorCode::NotCoordinator),
        }
    }

    /// Whether a shard is this broker's, by who is there now.
    pub(super) fn leads(&self, shards: &Shards<O::Machine>, shard: usize) -> bool {
        let members = self.runtime.cluster.now();
        let partition = i32::try_from(shard).unwrap_or(i32::MAX);
        members.is_alone() || members.leader_for(shards.topic_id(), partition, None) == members.me()
    }

    /// Makes sure that there are shards: the first use creates the topic.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE if it cannot be created or loaded.
    pub(crate) async fn ensure_started(&self) -> Result<(), ErrorCode> {
        if self.shards().is_ok() {
            return Ok(());
        }
        let created = self.runtime.metadata.ensure_internal_topic(O::TOPIC).await;
        if let Err(error) = created {
            log_limited!(warn, "cannot create {}: {error}", O::TOPIC);
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.load().await.map_err(|error| {
            log_limited!(warn, "cannot load {}: {error}", O::TOPIC);
            ErrorCode::CoordinatorNotAvailable
        })
    }

    /// Starts the shards if the topic is there, and ends those of one that was deleted.
    ///
    /// # Errors
    /// When a log cannot be read back.
    pub(crate) async fn load(&self) -> Result<(), LoadError> {
        let image = self.runtime.metadata.image();
        let Some(topic) = image.topic(O::TOPIC) else {
            // It tells those that there are.
            let _ = self.shards();
            return Ok(());
        };
        // What they hold is looked at when they are loaded: only those of this broker are.
        let found = (0..topic.partition_count)
            .map(|partition| self.runtime.partitions.known(topic.topic_id, partition));
        let logs = found.flatten().map(|found| Arc::clone(&found.log));
        self.start(topic.topic_id, logs.collect()).await
    }
}
