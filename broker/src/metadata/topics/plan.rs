//! Which topics may be created, grown and deleted: rules and messages are Kafka's (`ReplicationControlManager`).
//!
//! Each `plan_…` looks at an image and gives the records of one change; nothing here waits or writes.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use uuid::Uuid;

use super::{INTERNAL_TOPICS, LEADER_EPOCH, TopicImage, partition_record};
use crate::config::BrokerConfig;
use crate::config::topic::validate_topic_config;
use crate::metadata::configs::{Overrides, ResourceType, config_records};
use crate::metadata::error::MetadataError;
use crate::metadata::image::MetadataImage;
use crate::metadata::record::MetadataRecord;

/// The metadata log's own name; no topic may have it.
pub(crate) const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";
const MAX_NAME_LENGTH: usize = 249;

/// Where the partitions of a new topic are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// -1 means the broker's default (KIP-464).
    Counts {
        partitions: i32,
        replication_factor: i16,
    },
    /// Partition and its replicas.
    Manual(Vec<(i32, Vec<i32>)>),
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    pub placement: Placement,
    pub configs: Vec<(String, Option<String>)>,
}

impl NewTopic {
    /// About how much there is to look at.
    pub(in crate::metadata) fn size(&self) -> usize {
        let partitions = match &self.placement {
            Placement::Counts { partitions, .. } => usize::try_from(*partitions).unwrap_or(1),
            Placement::Manual(assignments) => assignments.len(),
        };
        1 + partitions + self.configs.len()
    }

    /// A topic with the broker's default partitions and settings.
    pub(crate) fn with_defaults(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            placement: Placement::Counts {
                partitions: -1,
                replication_factor: -1,
            },
            configs: Vec::new(),
        }
    }
}

/// What a topic is that is created because a client asked for it.
pub(crate) fn default_topic(node: &BrokerConfig, name: &str) -> NewTopic {
    let unread = |key| node.settings.get(key)?.trim().parse().ok();
    let partitions = match name {
        "__consumer_offsets" => Some(node.new_topics.offsets_topic_num_partitions),
        "__transaction_state" => Some(node.new_topics.transaction_state_log_num_partitions),
        "__share_group_state" => unread("share.coordinator.state.topic.num.partitions"),
        _ => return NewTopic::with_defaults(name),
    };
    NewTopic {
        placement: Placement::Counts {
            partitions: partitions.unwrap_or(-1),
            replication_factor: -1,
        },
        ..NewTopic::with_defaults(name)
    }
}

/// A topic to be grown to `count` partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartitions {
    pub name: String,
    pub count: i32,
    /// The replicas of each added partition.
    pub assignments: Option<Vec<Vec<i32>>>,
}

impl NewPartitions {
    /// About how much there is to look at, at most.
    pub(in crate::metadata) fn size(&self) -> usize {
        1 + usize::try_from(self.count).unwrap_or(0)
    }
}

/// How a request names a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicRef {
    Name(String),
    Id(Uuid),
}

/// Whether a topic may have this name.
pub(crate) fn validate_topic_name(name: &str) -> Result<(), MetadataError> {
    let invalid = |what: String| {
        Err(MetadataError::InvalidTopic(format!(
            "Topic name is invalid: {what}"
        )))
    };
    if name.is_empty() {
        return invalid("the empty string is not allowed".to_owned());
    }
    if name == "." || name == ".." {
        return invalid(format!("'{name}' is not allowed"));
    }
    if name.chars().count() > MAX_NAME_LENGTH {
        return invalid(format!(
            "the length of '{name}' is longer than the max allowed length {MAX_NAME_LENGTH}"
        ));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.chars().all(legal) {
        return invalid(format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    Ok(())
}

/// The records that create a topic with this id; at most `room` of them. `registered` are the brokers of a cluster.
pub(crate) fn plan_create(
    node: &BrokerConfig,
    image: &MetadataImage,
    topic: &NewTopic,
    registered: Option<&BTreeSet<i32>>,
    topic_id: Uuid,
    room: usize,
) -> Result<Vec<MetadataRecord>, MetadataError> {
    let name = &topic.name;
    if name == CLUSTER_METADATA_TOPIC {
        return Err(MetadataError::InvalidRequest(format!(
            "Creation of internal topic {name} is prohibited."
        )));
    }
    validate_topic_name(name)?;
    if image.topic(name).is_some() {
        return Err(MetadataError::TopicExists(name.clone()));
    }
    if let Some(other) = image.colliding_topic(name) {
        return Err(MetadataError::InvalidTopic(format!(
            "Topic '{name}' collides with existing topic: {other}"
        )));
    }
    let configs = config_overrides(node, topic)?;
    let partition_count = partition_count(node, registered, &topic.placement)?;
    check_limits(node, image, name, 1, partition_count)?;
    if partition_count as usize + configs.len() + 1 > room {
        return Err(MetadataError::too_large());
    }

    let created = MetadataRecord::Topic {
        name: name.clone(),
        topic_id,
    };
    let partitions = new_partitions(node, topic_id, 0..partition_count);
    let configs = config_records(ResourceType::Topic, name, &configs);
    Ok(std::iter::once(created)
        .chain(partitions)
        .chain(configs)
        .collect())
}

/// Refuses topics and partitions beyond the limits. The broker's own topics have none: without them it could not serve the
/// others.
fn check_limits(
    node: &BrokerConfig,
    image: &MetadataImage,
    name: &str,
    topics: usize,
    partitions: i32,
) -> Result<(), MetadataError> {
    if INTERNAL_TOPICS.contains(&name) {
        return Ok(());
    }
    let added = [
        (
            "topics",
            image.topic_count(),
            topics,
            node.new_topics.max_topics,
        ),
        (
            "partitions",
            image.partition_count(),
            partitions.unsigned_abs() as usize,
            node.new_topics.max_partitions,
        ),
    ];
    for (what, present, more, limit) in added {
        if more > 0 && present.saturating_add(more) > limit {
            return Err(MetadataError::PolicyViolation(format!(
                "Topic '{name}' would make {} {what} of {present}, more than ottla.max.{what} allows: {limit}.",
                present.saturating_add(more),
            )));
        }
    }
    Ok(())
}

fn config_overrides(node: &BrokerConfig, topic: &NewTopic) -> Result<Overrides, MetadataError> {
    let mut overrides = internal_topic_defaults(node, &topic.name);
    for (key, value) in &topic.configs {
        let Some(value) = value else {
            return Err(MetadataError::InvalidConfig(format!(
                "Null value not supported for topic configs: {key}"
            )));
        };
        overrides.insert(key.clone(), value.clone());
    }
    validate_topic_config(&overrides)
        .map_err(|error| MetadataError::InvalidConfig(error.to_string()))?;
    Ok(overrides)
}

/// The settings that an internal topic is created with.
fn internal_topic_defaults(node: &BrokerConfig, name: &str) -> Overrides {
    let unread = |key| node.settings.get(key)?.trim().parse().ok();
    let segment_bytes: Option<i32> = match name {
        "__consumer_offsets" => Some(node.new_topics.offsets_topic_segment_bytes),
        "__transaction_state" => Some(node.new_topics.transaction_state_log_segment_bytes),
        "__share_group_state" => unread("share.coordinator.state.topic.segment.bytes"),
        _ => return Overrides::new(),
    };
    // Kafka takes any size here; a topic's own setting has a lower bound.
    let segment_bytes = segment_bytes.unwrap_or(100 << 20).max(1 << 20);
    let compression_type = match name {
        "__transaction_state" => "uncompressed",
        _ => "producer",
    };
    [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", compression_type.to_owned()),
        ("segment.bytes", segment_bytes.to_string()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

fn partition_count(
    node: &BrokerConfig,
    registered: Option<&BTreeSet<i32>>,
    placement: &Placement,
) -> Result<i32, MetadataError> {
    match placement {
        Placement::Counts {
            partitions,
            replication_factor,
        } => {
            check_replication_factor(node, *replication_factor)?;
            match *partitions {
                -1 => Ok(node.new_topics.num_partitions),
                count if count > 0 => Ok(count),
                _ => Err(MetadataError::InvalidPartitions(
                    "Number of partitions was set to an invalid non-positive value.".to_owned(),
                )),
            }
        }
        Placement::Manual(assignments) => {
            let refused = |what: String| Err(MetadataError::InvalidReplicaAssignment(what));
            let mut assigned = BTreeSet::new();
            let mut counts = None;
            for (partition, replicas) in assignments {
                if !assigned.insert(*partition) {
                    return refused(format!(
                        "Found multiple manual partition assignments for partition {partition}"
                    ));
                }
                check_replicas(node, registered, replicas, &mut counts)?;
            }
            if !assigned.into_iter().eq(0..assignments.len() as i32) {
                let what = "partitions should be a consecutive 0-based integer sequence";
                return refused(what.to_owned());
            }
            Ok(assignments.len() as i32)
        }
    }
}

fn check_replication_factor(node: &BrokerConfig, factor: i16) -> Result<(), MetadataError> {
    if factor == 0 || factor < -1 {
        return Err(MetadataError::InvalidReplicationFactor(
            "Replication factor must be larger than 0, or -1 to use the default value.".to_owned(),
        ));
    }
    if factor > 1 && !node.new_topics.accept_any_replication_factor {
        return Err(MetadataError::InvalidReplicationFactor(format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor of \
             {factor} cannot be reached because only 1 broker(s) are registered."
        )));
    }
    Ok(())
}

/// Whether there are these brokers, and as many as of the partitions before; which of them has what is not kept.
fn check_replicas(
    node: &BrokerConfig,
    registered: Option<&BTreeSet<i32>>,
    replicas: &[i32],
    count_before: &mut Option<usize>,
) -> Result<(), MetadataError> {
    let refused = |what: String| {
        Err(MetadataError::InvalidReplicaAssignment(format!(
            "The manual partition assignment includes {what}"
        )))
    };
    if replicas.is_empty() {
        return refused("an empty replica list.".to_owned());
    }
    let accept_any = node.new_topics.accept_any_replication_factor;
    let is_registered = |broker: i32| match registered {
        Some(registered) => registered.contains(&broker),
        None => broker == node.node_id || (broker >= 0 && accept_any),
    };
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    for (at, &broker) in sorted.iter().enumerate() {
        if !is_registered(broker) {
            return refused(format!(
                "broker {broker}, but no such broker is registered."
            ));
        }
        if at > 0 && sorted[at - 1] == broker {
            return refused(format!("the broker {broker} more than once."));
        }
    }
    let (count, before) = (sorted.len(), count_before.replace(sorted.len()));
    match before {
        Some(before) if before != count => refused(format!(
            "a partition with {count} replica(s), but this is not consistent with previous partitions, \
             which have {before} replica(s)."
        )),
        _ => Ok(()),
    }
}

/// Partitions that this broker leads from their beginning.
fn new_partitions(
    node: &BrokerConfig,
    topic_id: Uuid,
    partitions: Range<i32>,
) -> impl Iterator<Item = MetadataRecord> {
    let leader = node.node_id;
    partitions.map(move |partition| partition_record(topic_id, partition, leader, LEADER_EPOCH))
}

/// The records that grow a topic; at most `room` of them. `registered` are the brokers of a cluster.
pub(crate) fn plan_partitions(
    node: &BrokerConfig,
    image: &MetadataImage,
    request: &NewPartitions,
    registered: Option<&BTreeSet<i32>>,
    room: usize,
) -> Result<Vec<MetadataRecord>, MetadataError> {
    let topic = image
        .topic(&request.name)
        .ok_or(MetadataError::UnknownTopic)?;
    let current = topic.partition_count;
    if request.count == current {
        return Err(MetadataError::InvalidPartitions(format!(
            "Topic already has {current} partition(s)."
        )));
    }
    if request.count < current {
        return Err(MetadataError::InvalidPartitions(format!(
            "The topic {} currently has {current} partition(s); {} would not be an increase.",
            request.name, request.count
        )));
    }
    if topic.is_internal() {
        // A group belongs to the partition that its id hashes to: more partitions would move it.
        return Err(MetadataError::InvalidRequest(format!(
            "The number of partitions of internal topic {} cannot be changed.",
            request.name
        )));
    }
    let added = request.count - current;
    if let Some(assignments) = &request.assignments {
        if assignments.len() != added as usize {
            return Err(MetadataError::InvalidReplicaAssignment(format!(
                "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            )));
        }
        let mut counts = None;
        for replicas in assignments {
            check_replicas(node, registered, replicas, &mut counts)?;
        }
    }
    check_limits(node, image, &request.name, 0, added)?;
    if added as usize > room {
        return Err(MetadataError::too_large());
    }
    Ok(new_partitions(node, topic.topic_id, current..request.count).collect())
}

/// The topic that a deletion means, if it may be deleted, and the record that deletes it.
pub(crate) fn plan_delete(
    node: &BrokerConfig,
    image: &MetadataImage,
    topic: &TopicRef,
) -> Result<(Arc<TopicImage>, MetadataRecord), MetadataError> {
    if !node.new_topics.delete_topic_enable {
        return Err(MetadataError::TopicDeletionDisabled);
    }
    let topic = match topic {
        TopicRef::Name(name) => image.topic(name).ok_or(MetadataError::UnknownTopic)?,
        TopicRef::Id(id) => image
            .topic_by_id(*id)
            .ok_or(MetadataError::UnknownTopicId)?,
    };
    let topic_id = topic.topic_id;
    let record = MetadataRecord::RemoveTopic { topic_id };
    Ok((Arc::clone(topic), record))
}

/// A new topic id; never one that Kafka's tools would take for an option (`Uuid.randomUuid`).
pub(crate) fn new_topic_id() -> Uuid {
    loop {
        let id = Uuid::new_v4();
        let dash_first = id.as_bytes()[0] >> 2 == 62;
        if !dash_first {
            return id;
        }
    }
}
