//! From a group to the shard that serves it, for whoever has a request: started at the first use.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::log::PartitionLog;

use crate::coordinator::call::GroupCall;
use crate::coordinator::load::LoadError;
use crate::coordinator::runtime::{GroupCoordinator, Shards};
use crate::group::{Allowance, GroupError, Id, OFFSETS_TOPIC, Priced};
use crate::log_limited;

/// What the answers to one request about groups may take in memory: about 100,000 partitions with an offset each.
const GROUP_ANSWER_BYTES: usize = 32 << 20;

impl GroupCoordinator {
    /// Puts a request to the group's coordinator, creating `__consumer_offsets` if need be.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE while nothing can answer.
    pub async fn call<C: GroupCall>(
        &self,
        group_id: &str,
        call: C,
    ) -> Result<C::Reply, GroupError> {
        self.serving().await?.call(group_id, call).await
    }

    /// Who serves the groups: started at their first use, but not again after `__consumer_offsets` was deleted, before a client
    /// looks for a coordinator.
    async fn serving(&self) -> Result<Arc<Shards>, GroupError> {
        match self.shards() {
            Err(GroupError::CoordinatorNotAvailable) => {
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
        group_of: impl Fn(&T) -> &Id,
        mut call: impl FnMut(Vec<T>, Allowance) -> C,
    ) -> Vec<Result<R, GroupError>> {
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
        let mut outcomes: Vec<Result<R, GroupError>> = failed(GroupError::UnknownServerError);
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
    pub async fn ensure_started(&self) -> Result<(), GroupError> {
        if self.shards().is_ok() {
            return Ok(());
        }
        let created = self.metadata.ensure_internal_topic(OFFSETS_TOPIC).await;
        if let Err(error) = created {
            log_limited!(warn, "cannot create {OFFSETS_TOPIC}: {error}");
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.load().await.map_err(|error| {
            log_limited!(warn, "cannot load the groups: {error}");
            GroupError::CoordinatorNotAvailable
        })
    }

    /// Starts serving the groups if `__consumer_offsets` is there.
    ///
    /// # Errors
    /// When a log cannot be read back.
    pub async fn load(&self) -> Result<(), LoadError> {
        let image = self.metadata.image();
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
