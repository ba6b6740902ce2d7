//! The broker, as the client of one request may see it.
//!
//! Handlers have no other way to topics, partitions, groups and metadata. They ask for each by its name or id *and* by what
//! is to be done with it. A name that is denied is answered alike, whether there is such a thing or not.

#![expect(clippy::disallowed_methods, reason = "it is what checks")]

use std::ops::Deref;
use std::sync::Arc;

use coordinators::group::GroupId;
use coordinators::machine::{Partition as InTransaction, Producer};
use coordinators::partition_for;
use coordinators::txn::{Adding, TransactionalId};
use kafka_protocol::messages::BrokerId;
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;
use storage::log::{LogOffsets, PartitionLog, ReadError};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::authorizer::{Asker, Audit, Authorized, Named, Resource};
use crate::broker::Broker;
use crate::cluster::view::{CoordinatorKind, Members};
use crate::config::SecurityProtocol;
use crate::coordinator::group::GroupCoordinator;
use crate::coordinator::runtime::Runtime;
use crate::coordinator::stats::TransactionStats;
use crate::coordinator::txn::TransactionCoordinator;
use crate::metadata::operations::{CLUSTER_OPERATIONS, GROUP_OPERATIONS, TOPIC_OPERATIONS};
use crate::metadata::{
    AlterConfig, DelegationToken, Metadata, NewAcls, NewPartitions, NewToken, NewTopic, OldAcls,
    Published, ResourceType, TopicImage, TopicRef,
};
use crate::net::session::{Principal, Session};
use crate::partition::errors;
use crate::partition::registry::Partition;

/// What clients are told who are to come without an epoch.
const NO_LEADER_EPOCH: i32 = -1;

/// See the [module](self). The metadata is that of one moment.
pub(crate) struct View<'a> {
    broker: &'a Broker,
    session: &'a Session,
    /// The name of the API that is asked for.
    api: &'static str,
    metadata: Arc<Published>,
    members: Arc<Members>,
}

/// A topic that the client may use.
#[derive(Clone, Copy)]
pub(crate) struct Topic<'v> {
    image: &'v Arc<TopicImage>,
    id: Authorized<Uuid>,
}

impl Topic<'_> {
    /// The key to its partitions.
    pub(crate) fn id(&self) -> Authorized<Uuid> {
        self.id
    }
}

impl Deref for Topic<'_> {
    type Target = TopicImage;

    fn deref(&self) -> &TopicImage {
        self.image
    }
}

/// Who leads a partition, as clients are told.
pub(crate) struct Leader {
    pub(crate) broker_id: i32,
    pub(crate) epoch: i32,
}

/// A topic that may not be deleted, or is not there.
pub(crate) struct Undeletable {
    pub(crate) error: ErrorCode,
    /// For a client that may at least know the name.
    pub(crate) name: Option<Arc<str>>,
}

impl Named for NewTopic {
    fn resource(&self) -> Resource<'_> {
        Resource::Topic(&self.name)
    }
}

impl Named for NewPartitions {
    fn resource(&self) -> Resource<'_> {
        Resource::Topic(&self.name)
    }
}

impl Named for NewToken {
    fn resource(&self) -> Resource<'_> {
        Resource::User(&self.owner)
    }
}

impl Named for NewAcls {
    fn resource(&self) -> Resource<'_> {
        Resource::Cluster
    }
}

impl Named for OldAcls {
    fn resource(&self) -> Resource<'_> {
        Resource::Cluster
    }
}

impl Named for AlterConfig {
    fn resource(&self) -> Resource<'_> {
        configured(self.resource_type, &self.resource_name)
    }
}

/// What has these settings. Those of brokers and of client metrics are the cluster's.
pub(crate) fn configured(kind: ResourceType, name: &str) -> Resource<'_> {
    match kind {
        ResourceType::Topic => Resource::Topic(name),
        ResourceType::Group => Resource::Group(name),
        ResourceType::Broker | ResourceType::BrokerLogger | ResourceType::ClientMetrics => {
            Resource::Cluster
        }
    }
}

impl<'a> View<'a> {
    /// What the client of `session` may see at this moment.
    pub(crate) fn new(broker: &'a Broker, session: &'a Session, api: &'static str) -> Self {
        Self {
            broker,
            session,
            api,
            metadata: broker.metadata.published(),
            members: broker.cluster.now(),
        }
    }

    fn asker(&self) -> Asker<'_> {
        Asker {
            principal: &self.session.principal,
            host: self.session.peer_addr.ip(),
            acls: self.metadata.image.acls(),
            api: self.api,
            audit: Audit::Asked,
        }
    }

    /// Whether the client may do something.
    #[inline]
    pub(crate) fn allows(&self, operation: Operation, resource: Resource<'_>) -> bool {
        let authorizer = &self.broker.authorizer;
        authorizer.allows(self.asker(), operation, resource)
    }

    /// As [`allows`](Self::allows), of one of many things that are looked at, or of one of several rights that would do.
    #[inline]
    pub(crate) fn shows(&self, operation: Operation, resource: Resource<'_>) -> bool {
        let authorizer = &self.broker.authorizer;
        authorizer.allows(self.asker().filtering(), operation, resource)
    }

    /// Whether there are rules at all.
    pub(crate) fn has_authorizer(&self) -> bool {
        self.broker.authorizer.is_on()
    }

    /// Whether the client may do something to a topic, whichever it is.
    pub(crate) fn allows_on_any_topic(&self, operation: Operation) -> bool {
        let authorizer = &self.broker.authorizer;
        authorizer.allows_on_any_topic(self.asker(), operation)
    }

    /// Whether the client may do something.
    ///
    /// # Errors
    /// What to tell it if not.
    pub(crate) fn check(
        &self,
        operation: Operation,
        resource: Resource<'_>,
    ) -> Result<(), ErrorCode> {
        match self.allows(operation, resource) {
            true => Ok(()),
            false => Err(resource.denied()),
        }
    }

    #[inline]
    fn authorize<T>(
        &self,
        operation: Operation,
        resource: Resource<'_>,
        of: T,
    ) -> Result<Authorized<T>, ErrorCode> {
        let authorizer = &self.broker.authorizer;
        authorizer.authorize(self.asker(), operation, resource, of)
    }

    /// A topic by its name.
    ///
    /// # Errors
    /// TOPIC_AUTHORIZATION_FAILED, whether there is one or not; else UNKNOWN_TOPIC_OR_PARTITION.
    #[inline]
    pub(crate) fn topic(&self, name: &str, operation: Operation) -> Result<Topic<'_>, ErrorCode> {
        let found = self.metadata.image.topic(name);
        let id = found.map(|topic| topic.topic_id);
        let id = self.authorize(operation, Resource::Topic(name), id)?;
        match (found, id.transpose()) {
            (Some(image), Some(id)) => Ok(Topic { image, id }),
            _ => Err(ErrorCode::UnknownTopicOrPartition),
        }
    }

    /// A topic by its id.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_ID: ids are no secret. TOPIC_AUTHORIZATION_FAILED.
    #[inline]
    pub(crate) fn topic_by_id(
        &self,
        topic_id: Uuid,
        operation: Operation,
    ) -> Result<Topic<'_>, ErrorCode> {
        let image = self.metadata.image.topic_by_id(topic_id);
        let image = image.ok_or(ErrorCode::UnknownTopicId)?;
        let id = self.authorize(operation, Resource::Topic(&image.name), topic_id)?;
        Ok(Topic { image, id })
    }

    /// All topics with which the client may do something, by name; from `first` on.
    pub(crate) fn topics_from<'v>(
        &'v self,
        first: &str,
        operation: Operation,
    ) -> impl Iterator<Item = Topic<'v>> {
        self.metadata
            .image
            .topics_from(first)
            .filter_map(move |image| {
                let resource = Resource::Topic(&image.name);
                let (authorizer, asker) = (&self.broker.authorizer, self.asker().filtering());
                let id = authorizer.authorize(asker, operation, resource, image.topic_id);
                Some(Topic {
                    image,
                    id: id.ok()?,
                })
            })
    }

    /// A topic by its name, for a client that may do something to the cluster, and so to each of its topics.
    ///
    /// # Errors
    /// CLUSTER_AUTHORIZATION_FAILED, UNKNOWN_TOPIC_OR_PARTITION.
    pub(crate) fn topic_of_cluster(
        &self,
        name: &str,
        operation: Operation,
    ) -> Result<Topic<'_>, ErrorCode> {
        let found = self.metadata.image.topic(name);
        self.of_cluster(found.ok_or(ErrorCode::UnknownTopicOrPartition)?, operation)
    }

    /// A topic by its id, for a client that may do something to the cluster.
    ///
    /// # Errors
    /// CLUSTER_AUTHORIZATION_FAILED, UNKNOWN_TOPIC_ID.
    pub(crate) fn topic_of_cluster_by_id(
        &self,
        topic_id: Uuid,
        operation: Operation,
    ) -> Result<Topic<'_>, ErrorCode> {
        let found = self.metadata.image.topic_by_id(topic_id);
        self.of_cluster(found.ok_or(ErrorCode::UnknownTopicId)?, operation)
    }

    /// All topics, for a client that may do something to the cluster.
    pub(crate) fn topics_of_cluster(
        &self,
        operation: Operation,
    ) -> impl Iterator<Item = Topic<'_>> {
        let topics = self.metadata.image.topics();
        topics.filter_map(move |image| self.of_cluster(image, operation).ok())
    }

    fn of_cluster<'v>(
        &'v self,
        image: &'v Arc<TopicImage>,
        operation: Operation,
    ) -> Result<Topic<'v>, ErrorCode> {
        let id = self.authorize(operation, Resource::Cluster, image.topic_id)?;
        Ok(Topic { image, id })
    }

    /// A partition of which this broker has the records; its log can be used without blocking.
    ///
    /// # Errors
    /// The topic's; NOT_LEADER_OR_FOLLOWER, UNKNOWN_TOPIC_OR_PARTITION.
    pub(crate) async fn partition(
        &self,
        topic: Result<Topic<'_>, ErrorCode>,
        partition: i32,
    ) -> Result<Arc<Partition>, ErrorCode> {
        let topic_id = topic?.id();
        self.check_leader(*topic_id, partition)?;
        let found = self.broker.partitions.get(topic_id, partition).await;
        found.ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// All partitions that a request names, in its order; each as [`partition`](Self::partition).
    pub(crate) async fn partitions(
        &self,
        mut wanted: Vec<Result<(Authorized<Uuid>, i32), ErrorCode>>,
    ) -> Vec<Result<Arc<Partition>, ErrorCode>> {
        for wanted in &mut wanted {
            if let Ok((topic_id, partition)) = *wanted
                && let Err(error) = self.check_leader(*topic_id, partition)
            {
                *wanted = Err(error);
            }
        }
        self.broker.partitions.get_all(wanted).await
    }

    fn check_leader(&self, topic_id: Uuid, partition: i32) -> Result<(), ErrorCode> {
        match self.members.serves(topic_id, partition) {
            true => Ok(()),
            false => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    /// Who leads a partition for clients in `rack`.
    pub(crate) fn leader(&self, topic: &TopicImage, partition: i32, rack: Option<&str>) -> Leader {
        // Each claim of a coordinator begins an epoch, of which not all brokers hear. Who knows none is not fenced.
        let has_epochs = self.coordination().is_alone || !topic.is_internal();
        Leader {
            broker_id: self.members.leader_for(topic.topic_id, partition, rack),
            epoch: match has_epochs {
                true => self.broker.partitions.leader_epoch(topic, partition),
                false => NO_LEADER_EPOCH,
            },
        }
    }

    /// The broker that has a partition's records in `rack`, if it is another than this one (KIP-392).
    pub(crate) fn nearer(&self, topic_id: Uuid, partition: i32, rack: &str) -> Option<BrokerId> {
        let nearest = self.members.leader_in(topic_id, partition, rack)?;
        (nearest != self.members.me()).then_some(BrokerId(nearest))
    }

    /// The brokers that have a partition's records, and all of them in step.
    pub(crate) fn replicas(&self, topic: &TopicImage, partition: i32) -> Vec<BrokerId> {
        let replicas = self.members.replicas_for(topic.topic_id, partition);
        replicas.iter().copied().map(BrokerId).collect()
    }

    /// Who the brokers are, and which of them does what.
    pub(crate) fn cluster(&self) -> &Members {
        &self.members
    }

    /// The broker that coordinates the group or the transactional id of this name: it leads the partition that has what is
    /// known of it. `None` before there is such a topic.
    pub(crate) fn coordinator_for(&self, kind: CoordinatorKind, key: &str) -> Option<i32> {
        if self.members.is_alone() {
            return Some(self.members.me());
        }
        let topic = self.metadata.image.topic(kind.topic())?;
        let partition = partition_for(key, topic.partition_count);
        Some(self.members.leader_for(topic.topic_id, partition, None))
    }

    /// A group, whichever broker coordinates it.
    ///
    /// # Errors
    /// GROUP_AUTHORIZATION_FAILED, whether there is one or not.
    pub(crate) fn group(
        &self,
        group_id: &str,
        operation: Operation,
    ) -> Result<Authorized<GroupId>, ErrorCode> {
        // Copied, so that it does not pin the request's frame.
        let of = GroupId::from(group_id);
        self.authorize(operation, Resource::Group(group_id), of)
    }

    /// Where groups are served.
    pub(crate) fn groups(&self) -> &'a GroupCoordinator {
        &self.broker.groups
    }

    /// What coordinators work with, for what is to be known to whichever of them has a log.
    pub(crate) fn coordination(&self) -> &'a Runtime {
        self.broker.groups.runtime()
    }

    /// A transactional id, whichever broker coordinates it.
    ///
    /// # Errors
    /// TRANSACTIONAL_ID_AUTHORIZATION_FAILED, whether there is one or not.
    pub(crate) fn transactional_id(
        &self,
        id: &str,
        operation: Operation,
    ) -> Result<Authorized<TransactionalId>, ErrorCode> {
        // Copied, so that it does not pin the request's frame.
        let of = TransactionalId::from(id);
        self.authorize(operation, Resource::TransactionalId(id), of)
    }

    /// A transactional id, for a client that may do something to the cluster.
    ///
    /// # Errors
    /// CLUSTER_AUTHORIZATION_FAILED.
    pub(crate) fn transactional_id_of_cluster(
        &self,
        id: &str,
        operation: Operation,
    ) -> Result<Authorized<TransactionalId>, ErrorCode> {
        self.authorize(operation, Resource::Cluster, TransactionalId::from(id))
    }

    /// Adds partitions to a transaction, or verifies that they are in it, at the broker that coordinates it. There is an
    /// outcome for each, in their order.
    pub(crate) async fn add_to_transaction(
        &self,
        id: Authorized<TransactionalId>,
        producer: Producer,
        partitions: Vec<InTransaction>,
        adding: Adding,
    ) -> Vec<Result<(), ErrorCode>> {
        match self.coordinator_for(CoordinatorKind::Transaction, &id) {
            Some(other) if other != self.members.me() => {
                let (peers, id) = (&self.broker.peers, id.into_inner());
                let added = peers.add_partitions(other, id, producer, partitions, adding);
                added.await
            }
            // Before there is a topic for them, whoever needs it makes it.
            _ => {
                let transactions = self.transactions();
                let added = transactions.add_partitions(id, producer, partitions, adding);
                added.await
            }
        }
    }

    /// Has these logs take in all that was appended to them before the call, also by other brokers, and says which could not.
    pub(crate) async fn catch_up(
        &self,
        logs: impl Iterator<Item = &Arc<dyn PartitionLog>>,
    ) -> Vec<Result<(), ReadError>> {
        match self.coordination().is_alone {
            true => logs.map(|_| Ok(())).collect(),
            false => {
                let asked = ask_all(logs).await.into_iter();
                asked.map(|offsets| offsets.map(drop)).collect()
            }
        }
    }

    /// The ends of the partitions that were found, with all that was appended before the call, also by other brokers.
    pub(crate) async fn current_offsets(
        &self,
        found: Vec<Result<Arc<Partition>, ErrorCode>>,
    ) -> Vec<Result<(Arc<Partition>, LogOffsets), ErrorCode>> {
        let logs = found.iter().flatten().map(|partition| &partition.log);
        let offsets = match self.coordination().is_alone {
            // Nobody else is asked, so nothing is waited for.
            true => {
                let mut offsets = Vec::with_capacity(found.len());
                for log in logs {
                    offsets.push(log.current_offsets().await);
                }
                offsets
            }
            false => ask_all(logs).await,
        };
        let mut offsets = offsets.into_iter();
        let with_offsets = |found: Result<Arc<Partition>, ErrorCode>| {
            let partition = found?;
            // There is one for each.
            let offsets = offsets.next().unwrap_or(Err(ReadError::Deleted));
            let offsets = offsets.map_err(|error| errors::of_read(&error))?;
            Ok((partition, offsets))
        };
        found.into_iter().map(with_offsets).collect()
    }

    /// The same for the partitions that were found. One that cannot be asked says so when it is used.
    pub(crate) async fn catch_up_with(&self, found: &[Result<Arc<Partition>, ErrorCode>]) {
        let partitions = found.iter().flatten();
        self.catch_up(partitions.map(|partition| &partition.log))
            .await;
    }

    /// Where transactions are served.
    pub(crate) fn transactions(&self) -> &'a TransactionCoordinator {
        &self.broker.transactions
    }

    /// Where it is counted what becomes of transactions.
    pub(crate) fn transaction_stats(&self) -> &'a TransactionStats {
        &self.broker.transaction_stats
    }

    /// Where metadata is changed.
    pub(crate) fn metadata(&self) -> &'a Metadata {
        &self.broker.metadata
    }

    /// A change, if the client may make it.
    ///
    /// # Errors
    /// What to tell it if not.
    pub(crate) fn change<T: Named>(
        &self,
        operation: Operation,
        change: T,
    ) -> Result<Authorized<T>, ErrorCode> {
        let authorizer = &self.broker.authorizer;
        authorizer.authorize_change(self.asker(), operation, change)
    }

    /// A change, if the client may make it here or to the whole cluster.
    ///
    /// # Errors
    /// What to tell it if not.
    pub(crate) fn change_or_on_cluster<T: Named>(
        &self,
        operation: Operation,
        change: T,
    ) -> Result<Authorized<T>, ErrorCode> {
        let authorizer = &self.broker.authorizer;
        authorizer.authorize_change_or_on_cluster(self.asker(), operation, change)
    }

    /// The name of a topic, if the client may create it.
    ///
    /// # Errors
    /// TOPIC_AUTHORIZATION_FAILED.
    pub(crate) fn creatable(&self, name: &str) -> Result<Authorized<String>, ErrorCode> {
        let resource = match self.shows(Operation::Create, Resource::Cluster) {
            true => Resource::Cluster,
            false => Resource::Topic(name),
        };
        self.authorize(Operation::Create, resource, name.to_owned())
    }

    /// A topic, if the client may delete it. By its name it is not deleted by a client that may not know of it.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_ID, TOPIC_AUTHORIZATION_FAILED; UNKNOWN_TOPIC_OR_PARTITION for a client that would be told of it.
    pub(crate) fn deletable(&self, topic: TopicRef) -> Result<Authorized<TopicRef>, Undeletable> {
        let by_id = match &topic {
            TopicRef::Name(_) => None,
            TopicRef::Id(id) => {
                let found = self.metadata.image.topic_by_id(*id);
                let found = found.ok_or(Undeletable {
                    error: ErrorCode::UnknownTopicId,
                    name: None,
                })?;
                Some(Arc::clone(&found.name))
            }
        };
        let name = match (&by_id, &topic) {
            (Some(name), _) => name.to_string(),
            (None, TopicRef::Name(name)) => name.clone(),
            (None, TopicRef::Id(_)) => String::new(),
        };
        let may_delete_all = self.shows(Operation::Delete, Resource::Cluster);
        let is_shown = may_delete_all || self.shows(Operation::Describe, Resource::Topic(&name));
        if by_id.is_none() {
            let refused = |error| Err(Undeletable { error, name: None });
            if !is_shown {
                return refused(ErrorCode::TopicAuthorizationFailed);
            }
            if self.metadata.image.topic(&name).is_none() {
                return refused(ErrorCode::UnknownTopicOrPartition);
            }
        }
        let resource = match may_delete_all {
            true => Resource::Cluster,
            false => Resource::Topic(&name),
        };
        let authorized = self.authorize(Operation::Delete, resource, topic);
        authorized.map_err(|error| Undeletable {
            error,
            name: by_id.filter(|_| is_shown),
        })
    }

    /// Whether the client may ask for delegation tokens, or about them: somebody has to know who it is, and it has to have
    /// shown more than a token itself.
    pub(crate) fn may_ask_for_tokens(&self) -> bool {
        let protocol = self.session.listener.security_protocol;
        let is_nobody = self.session.principal == Principal::anonymous();
        match protocol {
            SecurityProtocol::Plaintext => false,
            SecurityProtocol::Ssl if is_nobody => false,
            _ => !self.session.is_by_token(),
        }
    }

    /// A token, if the client may have it: for itself, or for whom it may.
    ///
    /// # Errors
    /// DELEGATION_TOKEN_AUTHORIZATION_FAILED.
    pub(crate) fn new_token(&self, new: NewToken) -> Result<Authorized<NewToken>, ErrorCode> {
        match new.owner == new.requester {
            true => Ok(Authorized::internal(new, "whoever it is may have tokens")),
            false => self.change(Operation::CreateTokens, new),
        }
    }

    /// The delegation tokens that the client may see, by id: its own, those that it may renew or has asked for, and others
    /// that it may describe. Those that are not wanted are not asked about.
    pub(crate) fn tokens<'v>(
        &'v self,
        is_wanted: impl Fn(&DelegationToken) -> bool + 'v,
    ) -> impl Iterator<Item = &'v DelegationToken> {
        let own_name = self.session.principal.to_string();
        let tokens = self.metadata.image.tokens().iter();
        let wanted = tokens
            .map(|token| &**token)
            .filter(move |token| is_wanted(token));
        wanted.filter(move |token| {
            token.concerns(&own_name)
                || self.shows(Operation::Describe, Resource::DelegationToken(&token.id))
                || self.shows(Operation::DescribeTokens, Resource::User(&token.owner))
        })
    }

    /// What the client may do to a topic (KIP-430).
    pub(crate) fn topic_operations(&self, name: &str) -> i32 {
        self.allowed_of(TOPIC_OPERATIONS, Resource::Topic(name))
    }

    /// What the client may do to a group (KIP-430).
    pub(crate) fn group_operations(&self, group_id: &str) -> i32 {
        self.allowed_of(GROUP_OPERATIONS, Resource::Group(group_id))
    }

    /// What the client may do to the cluster (KIP-430): nothing that it is told of, unless it may describe it.
    pub(crate) fn cluster_operations(&self) -> i32 {
        match self.shows(Operation::Describe, Resource::Cluster) {
            true => self.allowed_of(CLUSTER_OPERATIONS, Resource::Cluster),
            false => 0,
        }
    }

    fn allowed_of(&self, operations: i32, resource: Resource<'_>) -> i32 {
        let authorizer = &self.broker.authorizer;
        authorizer.allowed_of(self.asker(), operations, resource)
    }

    pub(crate) fn cluster_id(&self) -> &str {
        self.metadata.image.cluster_id()
    }

    /// All metadata, whatever the client may see of it. Clippy lets few files ask for it: those of APIs whose clients may do
    /// something to the whole cluster, and those that have checked for themselves.
    pub(crate) fn whole_metadata(&self) -> &Arc<Published> {
        &self.metadata
    }
}

/// Side by side: logs may be many, and may have to ask another machine. What they ask at once is one question there.
async fn ask_all(
    logs: impl Iterator<Item = &Arc<dyn PartitionLog>>,
) -> Vec<Result<LogOffsets, ReadError>> {
    let mut asking = JoinSet::new();
    for (at, log) in logs.enumerate() {
        let offsets = log.current_offsets();
        asking.spawn(async move { (at, offsets.await) });
    }
    let mut answers = asking.join_all().await;
    answers.sort_unstable_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, offsets)| offsets).collect()
}
