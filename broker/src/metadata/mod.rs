//! Metadata: topics, settings, producer ids. Everything durable about it is a log.
//!
//! Readers take the `MetadataImage` once per request; changes go through [`Metadata`]'s methods to one
//! writer task, which appends to the `__cluster_metadata` log before anybody sees them.

#![expect(clippy::disallowed_methods, reason = "metadata is its own")]

mod acls;
mod configs;
mod draft;
mod error;
mod features;
mod image;
mod meta_properties;
pub(crate) mod operations;
mod primitives;
mod producer_ids;
mod quotas;
mod recently_deleted;
mod record;
mod scram;
mod snapshot;
mod sorted_map;
mod store;
mod tokens;
mod topic_configs;
mod topics;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use acls::{MAX_ACLS_PER_CHANGE, NewAcls, OldAcls};
pub(crate) use configs::plan::plan_alter;
pub(crate) use configs::plan::{AlterConfig, ConfigChange, Operation, changed, check_broker_name};
pub(crate) use configs::{Overrides, ResourceType};
pub(crate) use error::{ApplyError, MetadataError};
pub(crate) use features::metadata_version;
pub(crate) use image::MetadataImage;
pub use meta_properties::{MetaProperties, MetaPropertiesError};
pub(crate) use primitives::Input;
pub(crate) use quotas::plan::{AlterQuotas, plan_quotas};
pub(crate) use quotas::{EntityType, Part, QuotaEntity, QuotaKey, QuotasImage};
pub(crate) use record::{METADATA_VERSION, MetadataRecord, QuotaName, RecordError};
pub(crate) use scram::Credentials as ScramCredentials;
pub(crate) use scram::plan::{AlterScram, Altered as AlteredScram, SaltedPassword};
pub(crate) use snapshot::write_image;
pub use sorted_map::SortedMap;
pub(crate) use store::{
    MetadataLog, MetadataStore, SharedMetadata, StoreError, metadata_log_config, metadata_log_id,
};
pub(crate) use tokens::plan::{NewToken, TokenChange, TokenWish, new_token_id};
pub use tokens::{DelegationToken, TokensImage};
pub(crate) use topic_configs::Published;
pub(crate) use topics::partition_record;
pub(crate) use topics::plan::{
    CLUSTER_METADATA_TOPIC, NewPartitions, NewTopic, Placement, TopicRef, validate_topic_name,
};
pub(crate) use topics::{INTERNAL_TOPICS, LEADER_EPOCH, TopicImage};
pub(crate) use writer::Observer;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use protocol_shim::ErrorCode;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::authorizer::Authorized;
use crate::cluster::membership::Membership;
use crate::config::{BrokerConfig, FirstTopic};
use crate::quota::mutations::Mutations;
use crate::security::first_users::FirstUser;
use crate::vital::Vital;
use draft::Draft;
use producer_ids::ProducerIds;
use recently_deleted::RecentlyDeleted;
use snapshot::Replay;
use topics::plan;
use writer::{Asked, Change, Writer};

/// Changes that may wait for the writer; further ones wait to be queued.
const MAILBOX_SIZE: usize = 256;

/// Expired delegation tokens in one change.
const REMOVED_TOGETHER: usize = 10_000;

/// Why metadata cannot be opened; the broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot read the metadata log: {0}")]
    Load(#[from] StoreError),
    #[error("cannot start on this metadata log: record {index}: {what}")]
    Replay { index: usize, what: String },
}

/// Topics that were deleted before the start, by id. The log keeps what it says of them until this is dropped.
pub struct DeletedTopics {
    pub topics: HashMap<Uuid, Arc<str>>,
    _history: Arc<()>,
}

/// The metadata of a running broker. Cloning shares it.
#[derive(Clone)]
pub struct Metadata {
    published: Arc<ArcSwap<Published>>,
    changes: mpsc::Sender<Box<dyn Change>>,
    producer_ids: Arc<ProducerIds>,
    recently_deleted: Arc<RecentlyDeleted>,
    vital: Vital,
    version: watch::Sender<Option<i64>>,
    /// The cluster whose brokers have to know of a change before its client does.
    members: Option<Arc<Membership>>,
    /// What changes of partitions are charged to.
    mutations: Option<Arc<Mutations>>,
}

impl Metadata {
    /// Loads everything, shows it to the observer as one change from an empty image, and starts the writer. The topics that the
    /// log knows as deleted come along.
    ///
    /// The writer ends when the last clone is dropped. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// The log cannot be read, is inconsistent, or was written by a newer version.
    pub(crate) async fn open_with_history(
        store: Box<dyn MetadataStore>,
        cluster_id: &str,
        config: Arc<BrokerConfig>,
        observer: Observer,
    ) -> Result<(Self, DeletedTopics), OpenError> {
        let loaded = store.load(0).await?;
        let empty = MetadataImage::empty(cluster_id);
        let mut replay = Replay::new(empty.clone(), None);
        for (index, record) in loaded.records.iter().enumerate() {
            replay.apply(record).map_err(|error| OpenError::Replay {
                index,
                what: error.to_string(),
            })?;
        }
        let topics = replay.deleted_topics();
        let nothing = Published::empty(empty, &config);
        let found = nothing.next(replay.image, &config);
        observer(&nothing, &found);
        let published = Arc::new(ArcSwap::from_pointee(found));
        let (changes, mailbox) = mpsc::channel(MAILBOX_SIZE);
        let version = watch::Sender::new(Some(loaded.version));
        let history = Arc::new(());
        let writer = Writer {
            store,
            node: config,
            version: loaded.version,
            records_in_log: loaded.records.len(),
            begun: replay.begun,
            history: Arc::clone(&history),
            published: Arc::clone(&published),
            seen: version.clone(),
            observer,
            changes: mailbox,
            failed: None,
        };
        let vital = Vital::default();
        vital.spawn("the metadata writer", writer.run());
        let metadata = Self {
            published,
            changes,
            producer_ids: Arc::default(),
            recently_deleted: Arc::default(),
            vital,
            version,
            members: None,
            mutations: None,
        };
        metadata.ensure_min_insync_replicas().await;
        let deleted = DeletedTopics {
            topics,
            _history: history,
        };
        Ok((metadata, deleted))
    }

    /// The broker's own tasks. The first of them is the writer of the metadata.
    pub fn vital(&self) -> &Vital {
        &self.vital
    }

    /// The same metadata, whose changes are answered when every broker of the cluster has followed them.
    pub(crate) fn in_cluster(self, members: Option<Arc<Membership>>) -> Self {
        Self { members, ..self }
    }

    /// The version that is published here: how many records there have ever been. `None`: what follows cannot be read.
    pub fn version(&self) -> watch::Receiver<Option<i64>> {
        self.version.subscribe()
    }

    /// The same metadata, whose changes of partitions count for a client; what is above its quota may be refused.
    pub(crate) fn charging(&self, mutations: Option<Arc<Mutations>>) -> Self {
        Self {
            mutations,
            ..self.clone()
        }
    }

    /// From the first start on `min.insync.replicas` is set for all brokers, as in Kafka (KIP-966).
    async fn ensure_min_insync_replicas(&self) {
        let changed = self.change(1, |draft| {
            let record = configs::plan::plan_min_insync_replicas(draft.node(), draft.image());
            record.map_or(Ok(()), |record| draft.take(vec![record]))
        });
        // Only DescribeConfigs tells the difference; the next start tries again.
        if let Err(error) = changed.await.and_then(|taken| taken) {
            tracing::warn!(%error, "min.insync.replicas could not be set for the cluster");
        }
    }

    /// Everything at this moment. Load it once per request: two loads may differ.
    pub(crate) fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.published.load().image)
    }

    /// The image at this moment, with what it means on this broker.
    pub(crate) fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// Creates each topic that may be created; the results are in the order of the request.
    ///
    /// A name that occurs twice is refused each time. With `validate_only` nothing happens.
    pub(crate) async fn create_topics(
        &self,
        topics: Vec<impl Into<Authorized<NewTopic>>>,
        validate_only: bool,
    ) -> Vec<Result<Arc<TopicImage>, MetadataError>> {
        let topics = all_of(topics);
        let count = topics.len();
        let size = topics.iter().map(NewTopic::size).sum();
        let mutations = self.mutations.clone();
        let names_brokers = |topic: &NewTopic| matches!(topic.placement, Placement::Manual(_));
        let registered = match self.registered(topics.iter().any(names_brokers)).await {
            Ok(registered) => registered,
            Err(error) => return each(Err(error), count),
        };
        let planned = self.change(size, move |draft| {
            let names = occurrences(topics.iter().map(|topic| topic.name.as_str()));
            let mut scratch = None;
            let draft = target(draft, validate_only, &mut scratch);
            let create = |(place, topic): (usize, &NewTopic)| {
                refuse_duplicate(&names, &topic.name)?;
                let charge = |count| charge(&mutations, place, count);
                create_topic(draft, topic, registered.as_ref(), &charge)
            };
            topics.iter().enumerate().map(create).collect()
        });
        each(planned.await, count)
    }

    /// Deletes each topic that may be deleted; the results are in the order of the request.
    pub(crate) async fn delete_topics(
        &self,
        topics: Vec<impl Into<Authorized<TopicRef>>>,
    ) -> Vec<Result<Arc<TopicImage>, MetadataError>> {
        let topics = all_of(topics);
        let count = topics.len();
        let mutations = self.mutations.clone();
        let planned = self.change(count, move |draft| {
            let delete = |(place, topic): (usize, &TopicRef)| {
                let (found, record) = plan::plan_delete(draft.node(), draft.image(), topic)?;
                let partitions = usize::try_from(found.partition_count).unwrap_or(0);
                charge(&mutations, place, partitions)?;
                draft.take(vec![record])?;
                Ok(found)
            };
            topics.iter().enumerate().map(delete).collect()
        });
        let deleted = each(planned.await, count);
        let names = deleted.iter().flatten().map(|topic| &topic.name);
        self.recently_deleted.note(names);
        deleted
    }

    /// Grows each topic that may grow; the results are in the order of the request.
    pub(crate) async fn create_partitions(
        &self,
        requests: Vec<impl Into<Authorized<NewPartitions>>>,
        validate_only: bool,
    ) -> Vec<Result<(), MetadataError>> {
        let requests = all_of(requests);
        let count = requests.len();
        let size = requests.iter().map(NewPartitions::size).sum();
        let mutations = self.mutations.clone();
        let names_brokers = |request: &NewPartitions| request.assignments.is_some();
        let registered = match self.registered(requests.iter().any(names_brokers)).await {
            Ok(registered) => registered,
            Err(error) => return each(Err(error), count),
        };
        let planned = self.change(size, move |draft| {
            let names = occurrences(requests.iter().map(|request| request.name.as_str()));
            let mut scratch = None;
            let draft = target(draft, validate_only, &mut scratch);
            let grow = |(place, request): (usize, &NewPartitions)| {
                refuse_duplicate(&names, &request.name)?;
                let (node, image, room) = (draft.node(), draft.image(), draft.room());
                let registered = registered.as_ref();
                let records = plan::plan_partitions(node, image, request, registered, room)?;
                charge(&mutations, place, records.len())?;
                draft.take(records)
            };
            requests.iter().enumerate().map(grow).collect()
        });
        each(planned.await, count)
    }

    /// The brokers of the cluster, also those that are not there now, if somebody wants to know; `None` on one machine.
    pub(crate) async fn registered(
        &self,
        is_wanted: bool,
    ) -> Result<Option<BTreeSet<i32>>, MetadataError> {
        match &self.members {
            Some(members) if is_wanted => {
                let registered = members.registered().await;
                let failed = |error| MetadataError::Storage(format!("{error}"));
                registered.map(Some).map_err(failed)
            }
            _ => Ok(None),
        }
    }

    /// Changes the settings of each resource that allows it; the results are in the order of the request.
    pub(crate) async fn alter_configs(
        &self,
        alters: Vec<impl Into<Authorized<AlterConfig>>>,
        validate_only: bool,
    ) -> Vec<Result<(), MetadataError>> {
        let alters = all_of(alters);
        let count = alters.len();
        let size = alters.iter().map(|alter| match alter.resource_type {
            // The broker's settings are every topic's.
            ResourceType::Broker => self.image().topic_count(),
            _ => 1,
        });
        let size = size.sum();
        let planned = self.change(size, move |draft| {
            let mut scratch = None;
            let draft = target(draft, validate_only, &mut scratch);
            let alter = |alter: &AlterConfig| {
                let records = plan_alter(draft.node(), draft.image(), alter)?;
                draft.take(records)
            };
            alters.iter().map(alter).collect()
        });
        each(planned.await, count)
    }

    /// Changes the quotas of each entity that allows it; the results are in the order of the request.
    ///
    /// As in Kafka, of an entity that is named again the first mention counts, and the others fail.
    pub(crate) async fn alter_quotas(
        &self,
        alters: Vec<AlterQuotas>,
        validate_only: bool,
    ) -> Vec<Result<(), MetadataError>> {
        let count = alters.len();
        let planned = self.change(count, move |draft| {
            let mut scratch = None;
            let draft = target(draft, validate_only, &mut scratch);
            let alter = |alter: &AlterQuotas| {
                let records = plan_quotas(draft.image().quotas(), alter)?;
                draft.take(records)
            };
            alters.iter().map(alter).collect()
        });
        each(planned.await, count)
    }

    /// Changes the SCRAM credentials of each user that allows it, by Kafka's rules. Each user is told once.
    ///
    /// # Errors
    /// Nothing was changed, or nobody knows.
    pub(crate) async fn alter_scram(
        &self,
        alters: Vec<AlterScram>,
    ) -> Result<Vec<AlteredScram>, MetadataError> {
        let size = alters.len();
        self.change(size, move |draft| {
            let (told, records) = scram::plan::plan_alter(draft.image().scram(), &alters);
            draft.take(records)?;
            Ok(told)
        })
        .await?
    }

    /// Makes a delegation token.
    ///
    /// # Errors
    /// POLICY_VIOLATION: there are too many. Or the log has failed.
    pub(crate) async fn create_token(
        &self,
        new: impl Into<Authorized<NewToken>>,
    ) -> Result<DelegationToken, ErrorCode> {
        let new = new.into().into_inner();
        let planned = self.change(1, move |draft| {
            let token = tokens::plan::plan_create(draft.image().tokens(), &new)?;
            let taken = draft.take(vec![token.record()]);
            taken.map_err(|error| error.code())?;
            Ok(token)
        });
        planned.await.map_err(|error| error.code())?
    }

    /// Renews or ends a delegation token, if who wants it may. Says when it holds no longer.
    ///
    /// # Errors
    /// See [`plan_change`](tokens::plan::plan_change). Or the log has failed.
    pub(crate) async fn change_token(&self, change: TokenChange) -> Result<i64, ErrorCode> {
        let planned = self.change(1, move |draft| {
            let tokens = draft.image().tokens();
            let (record, expires_at_ms) = tokens::plan::plan_change(tokens, &change)?;
            let taken = draft.take(vec![record]);
            taken.map_err(|error| error.code())?;
            Ok(expires_at_ms)
        });
        planned.await.map_err(|error| error.code())?
    }

    /// Removes the delegation tokens that hold no longer. Says how many.
    ///
    /// # Errors
    /// The log has failed.
    pub(crate) async fn remove_expired_tokens(&self, now_ms: i64) -> Result<usize, MetadataError> {
        let mut removed = 0;
        loop {
            let expired = self.change(self.image().tokens().record_count(), move |draft| {
                let room = draft.room().min(REMOVED_TOGETHER);
                let tokens = draft.image().tokens();
                let records = tokens::plan::plan_removal(tokens, now_ms, room);
                let count = records.len();
                draft.take(records).map(|()| count)
            });
            match expired.await?? {
                0 => return Ok(removed),
                count => removed += count,
            }
        }
    }

    /// Makes access control entries; those that are there already stay as they are.
    ///
    /// # Errors
    /// There are too many of them, or the log has failed. Nothing is made then.
    pub(crate) async fn create_acls(
        &self,
        new: impl Into<Authorized<NewAcls>>,
    ) -> Result<(), MetadataError> {
        let NewAcls(acls) = new.into().into_inner();
        let planned = self.change(acls.len(), move |draft| {
            let mut room = MAX_ACLS_PER_CHANGE;
            let mut next = draft.clone();
            for acl in &acls {
                if let Some(record) = next.image().acls.plan_create(acl) {
                    room = room.checked_sub(1).ok_or_else(acls::too_many)?;
                    next.take(vec![record]).map_err(|_| acls::too_many())?;
                }
            }
            *draft = next;
            Ok(())
        });
        planned.await?
    }

    /// Deletes access control entries; one that is gone already is passed over.
    ///
    /// # Errors
    /// The log has failed. Nothing is deleted then.
    pub(crate) async fn delete_acls(
        &self,
        old: impl Into<Authorized<OldAcls>>,
    ) -> Result<(), MetadataError> {
        let OldAcls(ids) = old.into().into_inner();
        let planned = self.change(ids.len(), move |draft| {
            let records = ids
                .iter()
                .filter_map(|id| draft.image().acls.plan_delete(*id));
            let records = records.collect();
            draft.take(records)
        });
        planned.await?
    }

    /// Makes the users that the command line names. What somebody has already stays as it is, unless
    /// it is to be replaced.
    ///
    /// # Errors
    /// They could not be made; one line for the operator.
    pub(crate) async fn make_first_users(&self, users: &[FirstUser]) -> Result<(), String> {
        let image = self.image();
        let is_new = |user: &&FirstUser| {
            user.replaces() || image.scram().get(user.mechanism(), &user.name).is_none()
        };
        for user in users.iter().filter(is_new) {
            let made = user.clone();
            let alter = tokio::task::spawn_blocking(move || made.alter()).await;
            let alter = alter.map_err(|error| error.to_string())?;
            let told = self.alter_scram(vec![alter]).await;
            let told = told.map_err(|error| error.to_string())?;
            if let Some((_, Err(refusal))) = told.first() {
                return Err(refusal.message.to_owned());
            }
        }
        Ok(())
    }

    /// Makes the topics that the start names, all of them or none. One that is there stays as it is.
    ///
    /// # Errors
    /// They could not be made; one line for the operator.
    pub(crate) async fn make_first_topics(&self, topics: &[FirstTopic]) -> Result<(), String> {
        let image = self.image();
        let mut new: Vec<NewTopic> = Vec::new();
        for topic in topics {
            match image.topic(&topic.name) {
                None => new.push(topic.into()),
                Some(there) if there.partition_count == topic.partitions => {}
                Some(there) => tracing::info!(
                    "topic {} stays as it is, with {} partitions",
                    there.name,
                    there.partition_count
                ),
            }
        }
        for validate_only in [true, false] {
            let asked = new.iter().cloned();
            let asked = asked.map(|topic| Authorized::internal(topic, "the start names it"));
            let made = self.create_topics(asked.collect(), validate_only).await;
            for (topic, outcome) in new.iter().zip(made) {
                outcome.map_err(|error| format!("{}: {error}", topic.name))?;
            }
        }
        Ok(())
    }

    /// Whether a topic of this name was deleted a moment ago, and nobody has been told yet.
    pub(crate) fn tell_deleted(&self, name: &str) -> bool {
        self.recently_deleted.tell(name)
    }

    /// The topics, created with the broker's defaults where they are not there: for auto-creation by clients.
    ///
    /// Whether it is allowed is the caller's business; two callers at once create a topic once. Internal topics
    /// get their own settings and number of partitions. The results are in the order of the names.
    pub(crate) async fn auto_create(
        &self,
        names: Vec<impl Into<Authorized<String>>>,
    ) -> Vec<Result<Arc<TopicImage>, MetadataError>> {
        let names = all_of(names);
        let image = self.image();
        let there = names.iter().map(|name| image.topic(name).cloned());
        if let Some(there) = there.collect::<Option<Vec<_>>>() {
            return there.into_iter().map(Ok).collect();
        }
        drop(image);
        let count = names.len();
        let mutations = self.mutations.clone();
        let planned = self.change(count, move |draft| {
            let ensure = |(place, name): (usize, &String)| match draft.image().topic(name) {
                Some(topic) => Ok(Arc::clone(topic)),
                None => {
                    let topic = plan::default_topic(draft.node(), name);
                    create_topic(draft, &topic, None, &|count| {
                        charge(&mutations, place, count)
                    })
                }
            };
            names.iter().enumerate().map(ensure).collect()
        });
        each(planned.await, count)
    }

    /// An internal topic, created compacted and with its own number of partitions if it is not there.
    ///
    /// `__consumer_offsets` has `offsets.topic.num.partitions`, `__transaction_state` and
    /// `__share_group_state` those of their keys.
    pub(crate) async fn ensure_internal_topic(
        &self,
        name: &str,
    ) -> Result<Arc<TopicImage>, MetadataError> {
        let name = Authorized::internal(name.to_owned(), "the broker's own topic");
        let mut created = self.auto_create(vec![name]).await;
        created.pop().unwrap_or(Err(MetadataError::UnknownTopic))
    }

    /// Takes `count` producer ids out of circulation for good, durably, and returns the first. No other broker has to know.
    pub(crate) async fn allocate_producer_ids(&self, count: i64) -> Result<i64, MetadataError> {
        let planned = self.change_here(1, move |draft| {
            let (node_id, ids) = (draft.node().node_id, &draft.image().producer_ids);
            let (record, first) = ids.plan_block(node_id, count)?;
            draft.take(vec![record])?;
            Ok(first)
        });
        let (planned, _) = planned.await?;
        planned
    }

    /// A producer id that nobody has had before, not even before a kill -9.
    pub(crate) async fn new_producer_id(&self) -> Result<i64, MetadataError> {
        self.producer_ids.next(self).await
    }

    /// Plans a change in the writer's turn and waits until it is durable and published, at every broker of the cluster.
    async fn change<T: Send + 'static>(
        &self,
        size: usize,
        plan: impl FnMut(&mut Draft) -> T + Send + 'static,
    ) -> Result<T, MetadataError> {
        let (planned, version) = self.change_here(size, plan).await?;
        if let Some(members) = &self.members {
            members.all_have_seen(version).await;
        }
        Ok(planned)
    }

    /// Plans a change in the writer's turn and waits until it is durable and published here; gives the version that holds it.
    /// It is planned again if somebody else has changed the metadata meanwhile.
    async fn change_here<T: Send + 'static>(
        &self,
        size: usize,
        plan: impl FnMut(&mut Draft) -> T + Send + 'static,
    ) -> Result<(T, i64), MetadataError> {
        let (reply, outcome) = oneshot::channel();
        let change = Asked {
            size,
            plan,
            planned: None,
            reply,
        };
        let sent = self.changes.send(Box::new(change)).await;
        sent.map_err(|_| MetadataError::ShuttingDown)?;
        outcome.await.map_err(|_| MetadataError::ShuttingDown)?
    }
}

/// The draft itself, or a copy that is thrown away after validation.
fn target<'a>(
    draft: &'a mut Draft,
    validate_only: bool,
    scratch: &'a mut Option<Draft>,
) -> &'a mut Draft {
    if validate_only {
        scratch.insert(draft.clone())
    } else {
        draft
    }
}

/// Charges for the partitions of the change at a place of its request.
fn charge(
    mutations: &Option<Arc<Mutations>>,
    place: usize,
    partitions: usize,
) -> Result<(), MetadataError> {
    match mutations {
        Some(mutations) if !mutations.charge(place, partitions) => Err(MetadataError::Throttled),
        _ => Ok(()),
    }
}

fn create_topic(
    draft: &mut Draft,
    topic: &NewTopic,
    registered: Option<&BTreeSet<i32>>,
    charge: &dyn Fn(usize) -> Result<(), MetadataError>,
) -> Result<Arc<TopicImage>, MetadataError> {
    let topic_id = plan::new_topic_id();
    let (node, image, room) = (draft.node(), draft.image(), draft.room());
    let records = plan::plan_create(node, image, topic, registered, topic_id, room)?;
    let is_partition =
        |record: &&MetadataRecord| matches!(record, MetadataRecord::Partition { .. });
    charge(records.iter().filter(is_partition).count())?;
    draft.take(records)?;
    let created = draft.image().topic_by_id(topic_id).cloned();
    created.ok_or(MetadataError::UnknownTopicId)
}

fn occurrences<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

fn refuse_duplicate(names: &BTreeMap<String, usize>, name: &str) -> Result<(), MetadataError> {
    match names.get(name) {
        Some(count) if *count > 1 => Err(MetadataError::InvalidRequest(
            "Duplicate topic name.".to_owned(),
        )),
        _ => Ok(()),
    }
}

fn all_of<T>(authorized: Vec<impl Into<Authorized<T>>>) -> Vec<T> {
    let authorized = authorized.into_iter().map(Into::into);
    authorized.map(Authorized::into_inner).collect()
}

/// One failure of the whole change is the failure of each part.
fn each<T>(
    planned: Result<Vec<Result<T, MetadataError>>, MetadataError>,
    count: usize,
) -> Vec<Result<T, MetadataError>> {
    planned.unwrap_or_else(|error| (0..count).map(|_| Err(error.clone())).collect())
}
