//! The group coordinator: from a group to the shard that serves it, for whoever has a request. Started at the first use.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use coordinators::group::{
    self, Allowance, Catalog, DeletedTopic, GroupConfig, GroupId, GroupShard, Note, OFFSETS_TOPIC,
    Outcome, Priced, Question,
};
use protocol_shim::ErrorCode;
use storage::log::PartitionLog;
use tokio::sync::Mutex;
use tracing::debug;
use uuid::Uuid;

use crate::coordinator::assignors::Assignors;
use crate::coordinator::call::GroupCall;
use crate::coordinator::notes::Line;
use crate::coordinator::patterns::PatternResolver;
use crate::coordinator::runtime::{Runtime, Shards};
use crate::coordinator::shard::Outside;
use crate::log_limited;
use crate::metadata::MetadataImage;
use crate::partition::registry::PartitionRegistry;
use crate::replay::ReplayError;

/// What the answers to one request about groups may take in memory: about 100,000 partitions with an offset each.
const GROUP_ANSWER_BYTES: usize = 32 << 20;

/// The shards of one `__consumer_offsets`.
pub type GroupShards = Shards<GroupShard>;

/// Whoever serves the groups. That is nobody until something asks for a group for the first time, and when
/// `__consumer_offsets` has been deleted.
pub struct GroupCoordinator {
    runtime: Runtime,
    /// Where the logs of the shards are.
    partitions: Arc<PartitionRegistry>,
    outside: Arc<GroupsOutside>,
    shards: ArcSwapOption<GroupShards>,
    starting: Mutex<()>,
}

/// What groups need that takes longer than a step may.
struct GroupsOutside {
    config: GroupConfig,
    patterns: PatternResolver,
    assignors: Assignors,
}

impl Outside for GroupsOutside {
    type Machine = GroupShard;
    const NAME: &'static str = "a shard of the groups";

    fn machine(&self) -> GroupShard {
        GroupShard::new(self.config.clone())
    }

    fn catalog(&self, image: &Arc<MetadataImage>) -> Arc<dyn Catalog> {
        image.clone()
    }

    fn line(note: Note) -> impl fmt::Display {
        Line(note)
    }

    async fn answer(
        self: Arc<Self>,
        question: Question,
        image: Arc<MetadataImage>,
    ) -> Option<Outcome> {
        match question {
            Question::Patterns(asked) => {
                let resolved = self.patterns.resolve_all(asked, image).await;
                Some(Outcome::Patterns(resolved))
            }
            Question::Target(asked) => self.assignors.compute(asked).await.map(Outcome::Target),
        }
    }
}

impl GroupShards {
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
    ) -> Result<C::Reply, ErrorCode> {
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
    ) -> Result<C::Reply, ErrorCode> {
        C::reply(self.request(shard, request.into_request()).await?)
    }
}

impl GroupCoordinator {
    pub fn new(config: GroupConfig, runtime: Runtime, partitions: Arc<PartitionRegistry>) -> Self {
        Self {
            runtime,
            partitions,
            outside: Arc::new(GroupsOutside {
                config,
                patterns: PatternResolver::default(),
                assignors: Assignors::default(),
            }),
            shards: ArcSwapOption::empty(),
            starting: Mutex::default(),
        }
    }

    /// Who finds out what regular expressions match.
    pub fn patterns(&self) -> &PatternResolver {
        &self.outside.patterns
    }

    /// Starts a shard for each log of the topic, in the order of the partitions; once for each topic id.
    ///
    /// # Errors
    /// When a log cannot be read back.
    pub async fn start(
        &self,
        topic_id: Uuid,
        logs: Vec<Arc<dyn PartitionLog>>,
    ) -> Result<(), ReplayError> {
        let _one_at_a_time = self.starting.lock().await;
        let is_same = |shards: &Arc<GroupShards>| shards.topic_id() == topic_id;
        if self.shards.load().as_ref().is_some_and(is_same) {
            return Ok(());
        }
        let shards = Shards::start(&self.runtime, &self.outside, topic_id, logs).await?;
        self.shards.store(Some(Arc::new(shards)));
        Ok(())
    }

    /// Who serves the groups.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE before the first [`start`](Self::start); NOT_COORDINATOR when the topic has been deleted,
    /// until the next one: clients look for the coordinator then, which creates it again.
    pub fn shards(&self) -> Result<Arc<GroupShards>, ErrorCode> {
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
    pub fn load_time(&self) -> Option<Duration> {
        self.shards.load().as_ref().map(|shards| shards.load_time())
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

    /// Puts a request to the group's coordinator, creating `__consumer_offsets` if need be.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE while nothing can answer.
    pub async fn call<C: GroupCall>(&self, group_id: &str, call: C) -> Result<C::Reply, ErrorCode> {
        self.serving().await?.call(group_id, call).await
    }

    /// Who serves the groups: started at their first use, but not again after `__consumer_offsets` was deleted, before a client
    /// looks for a coordinator.
    async fn serving(&self) -> Result<Arc<GroupShards>, ErrorCode> {
        match self.shards() {
            Err(ErrorCode::CoordinatorNotAvailable) => {
                self.ensure_started().await?;
                self.shards()
            }
            shards => shards,
        }
    }

    /// Puts each of `items` to the shard that owns its group, all of one shard's in one request. One outcome for each, in
    /// the order of the items, however often a group is among them. All answers together keep to one allowance.
    pub async fn call_all<T, R: Priced, C: GroupCall<Reply = Vec<R>>>(
        &self,
        items: Vec<T>,
        group_of: impl Fn(&T) -> &GroupId,
        mut call: impl FnMut(Vec<T>, Allowance) -> C,
    ) -> Vec<Result<R, ErrorCode>> {
        let item_count = items.len();
        let failed = |error| (0..item_count).map(|_| Err(error)).collect();
        let shards = match self.serving().await {
            Ok(shards) => shards,
            Err(error) => return failed(error),
        };
        let mut by_shard: BTreeMap<usize, (Vec<usize>, Vec<T>)> = BTreeMap::new();
        for (place, item) in items.into_iter().enumerate() {
            let shard = shards.shard_of(group_of(&item));
            let (places, items) = by_shard.entry(shard).or_default();
            places.push(place);
            items.push(item);
        }
        let mut allowance = Allowance::new(GROUP_ANSWER_BYTES);
        let mut outcomes: Vec<Result<R, ErrorCode>> = failed(ErrorCode::UnknownServerError);
        for (shard, (places, items)) in by_shard {
            match shards.call_shard(shard, call(items, allowance)).await {
                Ok(replies) => {
                    for (place, reply) in places.into_iter().zip(replies) {
                        // The shard has not let through what does not fit.
                        let _ = allowance.spend(reply.price_bytes());
                        outcomes[place] = Ok(reply);
                    }
                }
                Err(error) => {
                    for place in places {
                        outcomes[place] = Err(error);
                    }
                }
            }
        }
        outcomes
    }

    /// Makes sure that groups can be served: the first use of a group creates `__consumer_offsets`.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE if it cannot be created or loaded.
    pub async fn ensure_started(&self) -> Result<(), ErrorCode> {
        if self.shards().is_ok() {
            return Ok(());
        }
        let created = self
            .runtime
            .metadata
            .ensure_internal_topic(OFFSETS_TOPIC)
            .await;
        if let Err(error) = created {
            log_limited!(warn, "cannot create {OFFSETS_TOPIC}: {error}");
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.load().await.map_err(|error| {
            log_limited!(warn, "cannot load the groups: {error}");
            ErrorCode::CoordinatorNotAvailable
        })
    }

    /// Starts serving the groups if `__consumer_offsets` is there.
    ///
    /// # Errors
    /// When a log cannot be read back.
    pub async fn load(&self) -> Result<(), ReplayError> {
        let image = self.runtime.metadata.image();
        let Some(topic) = image.topic(OFFSETS_TOPIC) else {
            return Ok(());
        };
        let mut logs: Vec<Arc<dyn PartitionLog>> = Vec::new();
        for partition in 0..topic.partition_count {
            let found = self.partitions.get(topic.topic_id, partition).await;
            logs.extend(found.map(|partition| Arc::clone(&partition.log)));
        }
        self.start(topic.topic_id, logs).await
    }
}
