//! Which topics may be created, grown and deleted: rules and messages are Kafka's (`ReplicationControlManager`).
//!
//! Each `plan_…` looks at an image and gives the records of one change; nothing here waits or writes.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::error::MetadataError;
use super::image::{
    INTERNAL_TOPICS, LEADER_EPOCH, MetadataImage, Overrides, ResourceType, TopicImage,
};
use super::record::MetadataRecord;
use crate::config::topic::validate_topic_config;

/// The metadata log's own name; no topic may have it.
pub const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";
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
    pub(super) fn size(&self) -> usize {
        let partitions = match &self.placement {
            Placement::Counts { partitions, .. } => usize::try_from(*partitions).unwrap_or(1),
            Placement::Manual(assignments) => assignments.len(),
        };
        1 + partitions + self.configs.len()
    }

    /// A topic with the broker's default partitions and settings.
    pub fn with_defaults(name: &str) -> Self {
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
pub fn default_topic(image: &MetadataImage, name: &str) -> NewTopic {
    let key = match name {
        "__consumer_offsets" => "offsets.topic.num.partitions",
        "__transaction_state" => "transaction.state.log.num.partitions",
        "__share_group_state" => "share.coordinator.state.topic.num.partitions",
        _ => return NewTopic::with_defaults(name),
    };
    let partitions = image.broker().settings.get(key);
    let partitions = partitions.and_then(|value| value.trim().parse().ok());
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
    /// About how much there is to look at: no more than can be added to a topic that has none.
    pub(super) fn size(&self) -> usize {
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
pub fn validate_topic_name(name: &str) -> Result<(), MetadataError> {
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

/// The records that create a topic with this id; at most `room` of them.
pub fn plan_create(
    image: &MetadataImage,
    topic: &NewTopic,
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
    let configs = config_overrides(image, topic)?;
    let partition_count = partition_count(image, &topic.placement)?;
    check_limits(image, name, 1, partition_count)?;
    if partition_count as usize + configs.len() + 1 > room {
        return Err(MetadataError::too_large());
    }

    let created = MetadataRecord::Topic {
        name: name.clone(),
        topic_id,
    };
    let partitions =
        (0..partition_count).map(|partition| partition_record(image, topic_id, partition));
    let configs = configs
        .into_iter()
        .map(|(key, value)| MetadataRecord::Config {
            resource_type: ResourceType::Topic as i8,
            resource_name: name.clone(),
            name: key,
            value: Some(value),
        });
    Ok(std::iter::once(created)
        .chain(partitions)
        .chain(configs)
        .collect())
}

/// Whether there may be so many more. Without its own topics the broker could not serve those that there are.
fn check_limits(
    image: &MetadataImage,
    name: &str,
    topics: usize,
    partitions: i32,
) -> Result<(), MetadataError> {
    if INTERNAL_TOPICS.contains(&name) {
        return Ok(());
    }
    let broker = image.broker();
    let added = [
        ("topics", image.topic_count(), topics, broker.max_topics),
        (
            "partitions",
            image.partition_count(),
            partitions.unsigned_abs() as usize,
            broker.max_partitions,
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

fn config_overrides(image: &MetadataImage, topic: &NewTopic) -> Result<Overrides, MetadataError> {
    let mut overrides = internal_topic_defaults(image, &topic.name);
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

/// What an internal topic is created with, whoever creates it.
fn internal_topic_defaults(image: &MetadataImage, name: &str) -> Overrides {
    let settings = &image.broker().settings;
    let segment_bytes = match name {
        "__consumer_offsets" => settings.get("offsets.topic.segment.bytes"),
        "__transaction_state" => settings.get("transaction.state.log.segment.bytes"),
        "__share_group_state" => settings.get("share.coordinator.state.topic.segment.bytes"),
        _ => return Overrides::new(),
    };
    // Kafka takes any size here; a topic's own setting has a lower bound.
    let segment_bytes = segment_bytes.and_then(|value| value.trim().parse::<i64>().ok());
    let segment_bytes = segment_bytes.unwrap_or(100 << 20).max(1 << 20);
    [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("segment.bytes", segment_bytes.to_string()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

fn partition_count(image: &MetadataImage, placement: &Placement) -> Result<i32, MetadataError> {
    match placement {
        Placement::Counts {
            partitions,
            replication_factor,
        } => {
            check_replication_factor(image, *replication_factor)?;
            match *partitions {
                -1 => Ok(image.broker().num_partitions),
                count if count > 0 => Ok(count),
                _ => Err(MetadataError::InvalidPartitions(
                    "Number of partitions was set to an invalid non-positive value.".to_owned(),
                )),
            }
        }
        Placement::Manual(assignments) => {
            let by_partition: BTreeMap<i32, &Vec<i32>> = assignments
                .iter()
                .map(|(partition, replicas)| (*partition, replicas))
                .collect();
            let consecutive = by_partition.keys().copied().eq(0..assignments.len() as i32);
            if !consecutive {
                return Err(MetadataError::InvalidReplicaAssignment(
                    "partitions should be a consecutive 0-based integer sequence".to_owned(),
                ));
            }
            for replicas in by_partition.values() {
                check_replicas(image, replicas)?;
            }
            Ok(assignments.len() as i32)
        }
    }
}

fn check_replication_factor(image: &MetadataImage, factor: i16) -> Result<(), MetadataError> {
    if factor == 0 || factor < -1 {
        return Err(MetadataError::InvalidReplicationFactor(
            "Replication factor must be larger than 0, or -1 to use the default value.".to_owned(),
        ));
    }
    if factor > 1 && !image.broker().accept_any_replication_factor {
        return Err(MetadataError::InvalidReplicationFactor(format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor of \
             {factor} cannot be reached because only 1 broker(s) are registered."
        )));
    }
    Ok(())
}

fn check_replicas(image: &MetadataImage, replicas: &[i32]) -> Result<(), MetadataError> {
    let refused = |what: String| {
        Err(MetadataError::InvalidReplicaAssignment(format!(
            "The manual partition assignment includes {what}"
        )))
    };
    if replicas.is_empty() {
        return refused("an empty replica list.".to_owned());
    }
    let accept_any = image.broker().accept_any_replication_factor;
    let mut seen = std::collections::BTreeSet::new();
    for &broker in replicas {
        if broker < 0 || (broker != image.node_id() && !accept_any) {
            return refused(format!(
                "broker {broker}, but no such broker is registered."
            ));
        }
        if !seen.insert(broker) {
            return refused(format!("the broker {broker} more than once."));
        }
    }
    Ok(())
}

fn partition_record(image: &MetadataImage, topic_id: Uuid, partition: i32) -> MetadataRecord {
    MetadataRecord::Partition {
        topic_id,
        partition,
        replicas: vec![image.node_id()],
        leader: image.node_id(),
        leader_epoch: LEADER_EPOCH,
    }
}

/// The records that grow a topic; at most `room` of them.
pub fn plan_partitions(
    image: &MetadataImage,
    request: &NewPartitions,
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
        for replicas in assignments {
            check_replicas(image, replicas)?;
        }
    }
    check_limits(image, &request.name, 0, added)?;
    if added as usize > room {
        return Err(MetadataError::too_large());
    }
    Ok((current..request.count)
        .map(|partition| partition_record(image, topic.topic_id, partition))
        .collect())
}

/// The topic that a deletion means, if it may be deleted.
pub fn plan_delete(
    image: &MetadataImage,
    topic: &TopicRef,
) -> Result<MetadataRecord, MetadataError> {
    if !image.broker().delete_topic_enable {
        return Err(MetadataError::TopicDeletionDisabled);
    }
    let topic: &TopicImage = match topic {
        TopicRef::Name(name) => image.topic(name).ok_or(MetadataError::UnknownTopic)?,
        TopicRef::Id(id) => image
            .topic_by_id(*id)
            .ok_or(MetadataError::UnknownTopicId)?,
    };
    Ok(MetadataRecord::RemoveTopic {
        topic_id: topic.topic_id,
    })
}

/// A new topic id; never one that Kafka's tools would take for an option (`Uuid.randomUuid`).
pub fn new_topic_id() -> Uuid {
    loop {
        let id = Uuid::new_v4();
        let dash_first = id.as_bytes()[0] >> 2 == 62;
        if !dash_first {
            return id;
        }
    }
}
