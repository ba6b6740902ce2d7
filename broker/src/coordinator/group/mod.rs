//! The coordinator of groups: what groups add to the runtime, and how requests reach a group.

#![expect(
    clippy::disallowed_methods,
    reason = "what deletes topics has been checked"
)]

pub(super) mod assignors;
pub(super) mod call;
mod catalog;
mod notes;
pub(crate) mod patterns;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use coordinators::allowance::{Allowance, Priced};
use coordinators::group::{
    Catalog, CommitTxnOffsets, DeletedTopic, GroupConfig, GroupId, GroupShard, Note, OFFSETS_TOPIC,
    Outcome, Question, TopicResult,
};
use coordinators::machine::{Partition, Producer};
use protocol_shim::ErrorCode;
use tracing::debug;

use crate::authorizer::Authorized;
use crate::authorizer::Authorizer;
use crate::coordinator::batches::NO_SEQUENCE;
use crate::coordinator::group::assignors::Assignors;
use crate::coordinator::group::call::GroupCall;
use crate::coordinator::group::notes::Line;
use crate::coordinator::group::patterns::PatternResolver;
use crate::coordinator::routing::Coordinator;
use crate::coordinator::runtime::Outside;
use crate::coordinator::shard::Within;
use crate::coordinator::shards::Shards;
use crate::metadata::Published;
use crate::partition::errors;

/// What the answers to one request about groups may take in memory. It is enough for 100,000 partitions with an offset.
const GROUP_ANSWER_BYTES: usize = 32 << 20;

/// The shards of one `__consumer_offsets`.
pub(crate) type GroupShards = Shards<GroupShard>;

/// Whoever serves the groups.
pub(crate) type GroupCoordinator = Coordinator<Groups>;

/// What groups need that takes longer than a step may.
pub struct Groups {
    config: GroupConfig,
    authorizer: Arc<Authorizer>,
    patterns: PatternResolver,
    assignors: Assignors,
}

impl Groups {
    pub(crate) fn new(config: GroupConfig, authorizer: Arc<Authorizer>) -> Self {
        Self {
            config,
            authorizer,
            patterns: PatternResolver::default(),
            assignors: Assignors::default(),
        }
    }
}

impl Outside for Groups {
    type Machine = GroupShard;
    const TOPIC: &'static str = OFFSETS_TOPIC;
    const NAME: &'static str = "a shard of the groups";

    fn machine(&self) -> GroupShard {
        GroupShard::new(self.config.clone())
    }

    fn catalog(&self, published: &Arc<Published>) -> Arc<dyn Catalog> {
        published.clone()
    }

    fn line(note: Note) -> impl fmt::Display {
        Line(note)
    }

    async fn answer(
        self: Arc<Self>,
        question: Question,
        published: Arc<Published>,
    ) -> Option<Outcome> {
        match question {
            Question::Patterns(asked) => {
                let resolved = self
                    .patterns
                    .resolve_all(asked, published, &self.authorizer);
                let resolved = resolved.await;
                Some(Outcome::Patterns(resolved))
            }
            Question::Target(asked) => self.assignors.compute(asked).await.map(Outcome::Target),
        }
    }
}

impl GroupShards {
    /// Puts a request to one shard and waits for its reply, however long it is parked.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE while the shard, or the log behind it, cannot answer. NOT_COORDINATOR when the log is deleted.
    pub(crate) async fn call_shard<C: GroupCall>(
        &self,
        shard: usize,
        request: C,
    ) -> Result<C::Reply, ErrorCode> {
        C::reply(self.request(shard, request.into_request()).await?)
    }
}

/// What one shard is asked, and where its answers go.
struct OfShard<T> {
    places: Vec<usize>,
    items: Vec<(GroupId, T)>,
}

impl<T> Default for OfShard<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            items: Vec::new(),
        }
    }
}

impl GroupCoordinator {
    /// Finds out what regular expressions match.
    pub(crate) fn patterns(&self) -> &PatternResolver {
        &self.outside().patterns
    }

    /// Forgets what was committed for topics that no longer exist. Forgets everything if `__consumer_offsets` is among them.
    ///
    /// A shard that cannot do so now loses nothing: an offset of another topic id is never given out.
    pub(crate) async fn topics_deleted(&self, topics: Vec<DeletedTopic>) {
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

    /// The partition that has the group's offsets, in which a transaction commits them. Creates `__consumer_offsets` if need
    /// be.
    ///
    /// # Errors
    /// Why the group may not be asked for; COORDINATOR_NOT_AVAILABLE while nothing can answer.
    pub(crate) async fn partition_of(
        &self,
        group: Result<Authorized<GroupId>, ErrorCode>,
    ) -> Result<Partition, ErrorCode> {
        let group_id = group?.into_inner();
        let shards = self.serving().await?;
        let index = i32::try_from(shards.shard_of(&group_id)).unwrap_or(0);
        Ok(Partition {
            topic: OFFSETS_TOPIC.into(),
            topic_id: shards.topic_id(),
            index,
        })
    }

    /// Puts a request to the group's coordinator, creating `__consumer_offsets` if need be. What is wrong with the request alone is
    /// said first, whichever broker that is.
    ///
    /// # Errors
    /// Why the group may not be asked for; NOT_COORDINATOR if another broker has to be asked; COORDINATOR_NOT_AVAILABLE while
    /// nothing can answer.
    pub(crate) async fn call<C: GroupCall>(
        &self,
        group: Result<Authorized<GroupId>, ErrorCode>,
        call: impl FnOnce(GroupId) -> C,
    ) -> Result<C::Reply, ErrorCode> {
        let group_id = group?.into_inner();
        let request = call(group_id.clone()).into_request();
        if let Some(refused) = request.refused(&self.outside().config) {
            return C::reply(refused);
        }
        let (shards, shard) = self.serving_key(&group_id).await?;
        C::reply(shards.request(shard, request).await?)
    }

    /// Commits offsets in a producer's transaction. If it has not written to the group's partition yet, `join` is asked
    /// whether that belongs to the transaction. `supports_epoch_bump`: the client gets a new epoch with each transaction
    /// (KIP-890).
    ///
    /// # Errors
    /// What `join` or the partition's log have against it; COORDINATOR_NOT_AVAILABLE while nothing can answer.
    pub(crate) async fn commit_within(
        &self,
        group: Authorized<GroupId>,
        producer: Producer,
        supports_epoch_bump: bool,
        join: impl AsyncFnOnce(Partition) -> Result<(), ErrorCode>,
        call: impl FnOnce(GroupId) -> CommitTxnOffsets,
    ) -> Result<Vec<TopicResult>, ErrorCode> {
        let group_id = group.into_inner();
        if !group_id.is_valid() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let (shards, shard) = self.serving_key(&group_id).await?;
        let log = shards.log_of(shard)?;
        if !self.runtime().is_alone {
            // Another broker may have ended the transaction before. What cannot be read takes nothing either.
            let _ = log.current_offsets().await;
        }
        let Producer { id, epoch } = producer;
        let guard = log.begin_verification(id, epoch, NO_SEQUENCE, supports_epoch_bump);
        let guard = guard.map_err(|error| errors::of_append(&error))?;
        if guard.is_some() {
            let log = log.id();
            join(Partition {
                topic: log.topic.clone(),
                topic_id: log.topic_id,
                index: log.partition,
            })
            .await?;
        }
        let request = call(group_id).into_request();
        let within = Within { producer, guard };
        let committed = shards.request_within(shard, request, within).await;
        let committed = committed.map_err(|error| match error {
            // Another broker has written to the log since it was asked. The error would end a producer that has done nothing wrong.
            // So it asks again, and is told what the transaction's coordinator says then.
            ErrorCode::InvalidTxnState if !self.runtime().is_alone => {
                ErrorCode::CoordinatorLoadInProgress
            }
            error => error,
        });
        CommitTxnOffsets::reply(committed?)
    }

    /// Puts each of `items` to the shard of its group. Items of one shard share a request. Each item has an outcome, in the
    /// order of the items, however often a group is among them. A group that may not be asked for is refused. All answers
    /// together keep to one allowance.
    pub(crate) async fn call_all<T, R: Priced, C: GroupCall<Reply = Vec<R>>>(
        &self,
        items: Vec<(Result<Authorized<GroupId>, ErrorCode>, T)>,
        mut call: impl FnMut(Vec<(GroupId, T)>, Allowance) -> C,
    ) -> Vec<Result<R, ErrorCode>> {
        let allowed = items.iter().any(|(group, _)| group.is_ok());
        let shards = match allowed {
            true => self.serving().await,
            false => Err(ErrorCode::UnknownServerError),
        };
        let mut outcomes = Vec::with_capacity(items.len());
        let mut by_shard: BTreeMap<usize, OfShard<T>> = BTreeMap::new();
        for (place, (group, item)) in items.into_iter().enumerate() {
            let outcome = match (group, &shards) {
                (Ok(group), Ok(shards)) => {
                    let shard = shards.shard_of(&group);
                    if self.leads(shards, shard) {
                        let of_shard = by_shard.entry(shard).or_default();
                        of_shard.places.push(place);
                        of_shard.items.push((group.into_inner(), item));
                        ErrorCode::UnknownServerError
                    } else {
                        ErrorCode::NotCoordinator
                    }
                }
                (Err(error), _) => error,
                (Ok(_), Err(error)) => *error,
            };
            outcomes.push(Err(outcome));
        }
        let Ok(shards) = shards else {
            return outcomes;
        };
        let mut allowance = Allowance::new(GROUP_ANSWER_BYTES);
        for (shard, OfShard { places, items }) in by_shard {
            match shards.call_shard(shard, call(items, allowance)).await {
                Ok(replies) => {
                    for (place, reply) in places.into_iter().zip(replies) {
                        // The shard has refused what does not fit.
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
}
