//! The whole metadata at one moment, immutable once published.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::log::TopicPartition;
use uuid::Uuid;

use super::record::{METADATA_VERSION, METADATA_VERSION_FEATURE, MetadataRecord};
use super::sorted_map::SortedMap;
use crate::config::{BrokerConfig, DynamicSettings, TopicConfig};

/// Topic names that the broker keeps for itself; clients may read them.
pub const INTERNAL_TOPICS: &[&str] = &[
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
];

/// Every partition that was created here is led by this node from the beginning. One that was taken over from another
/// broker goes on with a later epoch than it had there.
pub const LEADER_EPOCH: i32 = 0;

/// What a configuration belongs to; the discriminant is Kafka's on the wire and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum ResourceType {
    Topic = 2,
    /// By node id; the empty name is every broker.
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ResourceType {
    pub const ALL: [Self; 5] = [
        Self::Topic,
        Self::Broker,
        Self::BrokerLogger,
        Self::ClientMetrics,
        Self::Group,
    ];

    pub fn from_wire(value: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i8 == value)
    }
}

/// Settings of one resource, by key.
pub type Overrides = BTreeMap<String, String>;
type OverridesByName = BTreeMap<Arc<str>, Arc<Overrides>>;

/// One topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicImage {
    pub name: Arc<str>,
    pub topic_id: Uuid,
    pub partition_count: i32,
    /// Of the partitions that do not have [`LEADER_EPOCH`].
    leader_epochs: Option<SortedMap<i32, i32>>,
    /// The topic's own settings.
    pub overrides: Arc<Overrides>,
    /// What is in force: its own settings over the broker's.
    pub config: Arc<TopicConfig>,
}

impl TopicImage {
    pub fn is_internal(&self) -> bool {
        INTERNAL_TOPICS.contains(&&*self.name)
    }

    pub fn has_partition(&self, partition: i32) -> bool {
        (0..self.partition_count).contains(&partition)
    }

    /// The leader epoch that the metadata knows of a partition; its log may have a later one.
    pub fn leader_epoch(&self, partition: i32) -> i32 {
        let epochs = self.leader_epochs.as_ref();
        let epoch = epochs.and_then(|epochs| epochs.get(&partition));
        epoch.copied().unwrap_or(LEADER_EPOCH)
    }

    /// What a partition's log is called.
    pub fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: Arc::clone(&self.name),
            topic_id: self.topic_id,
            partition,
        }
    }
}

/// A record that does not fit what came before it; a broker does not start on such a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error(
        "the metadata needs {METADATA_VERSION_FEATURE} {found}, this version knows up to {METADATA_VERSION}"
    )]
    NewerMetadata { found: i16 },
    #[error("{0}")]
    Inconsistent(String),
}

/// All topics, settings and counters.
///
/// Cloning shares everything, and a change of a clone copies next to nothing: it costs about the same with one
/// topic and with 100,000.
#[derive(Clone, Debug)]
pub struct MetadataImage {
    cluster_id: Arc<str>,
    broker: Arc<BrokerConfig>,
    topics: SortedMap<Arc<str>, Arc<TopicImage>>,
    topics_by_id: SortedMap<Uuid, Arc<TopicImage>>,
    /// Names with `.` or `_`, by what they are called in metrics: two may not look the same there.
    metric_names: SortedMap<Arc<str>, Arc<str>>,
    /// Of everything but topics, which carry their own.
    configs: Arc<BTreeMap<ResourceType, OverridesByName>>,
    default_topic_config: Arc<TopicConfig>,
    /// Of all topics.
    partition_count: usize,
    next_producer_id: i64,
    metadata_version: i16,
    /// The broker's settings have changed, and the topics' do not follow yet; those that were set since are named.
    unsettled: Option<Vec<Arc<str>>>,
}

/// Two images are equal when the same records lead to them.
impl PartialEq for MetadataImage {
    fn eq(&self, other: &Self) -> bool {
        self.cluster_id == other.cluster_id
            && self.topics == other.topics
            && self.topics_by_id == other.topics_by_id
            && self.metric_names == other.metric_names
            && self.configs == other.configs
            && self.default_topic_config == other.default_topic_config
            && self.next_producer_id == other.next_producer_id
            && self.metadata_version == other.metadata_version
    }
}

impl MetadataImage {
    /// A cluster without topics.
    pub fn empty(cluster_id: &str, broker: Arc<BrokerConfig>) -> Self {
        let config = broker
            .settings
            .topic_config(&Overrides::new(), DynamicSettings::none());
        Self {
            cluster_id: cluster_id.into(),
            broker,
            topics: SortedMap::default(),
            topics_by_id: SortedMap::default(),
            metric_names: SortedMap::default(),
            configs: Arc::default(),
            default_topic_config: Arc::new(config),
            partition_count: 0,
            next_producer_id: 0,
            metadata_version: 0,
            unsettled: None,
        }
    }

    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    pub fn node_id(&self) -> i32 {
        self.broker.node_id
    }

    /// The broker's static configuration.
    pub fn broker(&self) -> &Arc<BrokerConfig> {
        &self.broker
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    pub fn topic_by_id(&self, topic_id: Uuid) -> Option<&Arc<TopicImage>> {
        self.topics_by_id.get(&topic_id)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.iter().map(|(_, topic)| topic)
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many partitions all topics have.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// Visits each topic id whose topic is not the same in `old` and in this image, with both.
    pub fn changes_since<'a>(
        &'a self,
        old: &'a Self,
        visit: impl FnMut(Option<&'a Arc<TopicImage>>, Option<&'a Arc<TopicImage>>),
    ) {
        SortedMap::differences(&old.topics_by_id, &self.topics_by_id, Arc::ptr_eq, visit);
    }

    /// The topics whose names are not before `first`, by name.
    pub fn topics_from<'a>(&'a self, first: &str) -> impl Iterator<Item = &'a Arc<TopicImage>> {
        self.topics.from(first).map(|(_, topic)| topic)
    }

    /// The topic that a new name could be mistaken for in metrics, where `.` and `_` are the same.
    pub fn colliding_topic(&self, name: &str) -> Option<&str> {
        let found = self.metric_names.get(metric_name(name)?.as_str())?;
        (**found != *name).then_some(&**found)
    }

    /// The settings of a resource other than a topic; empty if there are none.
    pub fn overrides(&self, kind: ResourceType, name: &str) -> &Overrides {
        static NONE: Overrides = Overrides::new();
        if kind == ResourceType::Topic {
            return self.topic(name).map_or(&NONE, |topic| &topic.overrides);
        }
        let of_kind = self.configs.get(&kind);
        of_kind
            .and_then(|of_kind| of_kind.get(name))
            .map_or(&NONE, |overrides| overrides)
    }

    /// The names of all resources of a type, other than topics, that have settings.
    pub fn configured(&self, kind: ResourceType) -> impl Iterator<Item = &str> {
        let of_kind = self.configs.get(&kind).into_iter().flatten();
        of_kind.map(|(name, _)| &**name)
    }

    /// What AlterConfigs changed of the broker's own settings.
    pub fn dynamic_settings(&self) -> DynamicSettings<'_> {
        let node_id = self.broker.node_id.to_string();
        DynamicSettings {
            per_broker: self.overrides(ResourceType::Broker, &node_id),
            cluster_wide: self.overrides(ResourceType::Broker, ""),
        }
    }

    /// The configuration of topics without settings of their own.
    pub fn default_topic_config(&self) -> &Arc<TopicConfig> {
        &self.default_topic_config
    }

    /// The first producer id that has never been given out.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// The level of the records in the log; 0: the log is empty.
    pub fn metadata_version(&self) -> i16 {
        self.metadata_version
    }

    /// Takes one record in.
    ///
    /// # Errors
    /// The record does not fit; the image is unchanged.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        self.apply_unsettled(record)?;
        self.settle();
        Ok(())
    }

    /// Takes a record in without looking at all topics when it changes the broker's settings: many such records cost
    /// that once, in [`settle`](Self::settle). The only way in which an image changes.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub(super) fn apply_unsettled(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        match record {
            MetadataRecord::Topic { name, topic_id } => self.add_topic(name, *topic_id),
            MetadataRecord::Partition {
                topic_id,
                partition,
                leader_epoch,
                ..
            } => self.add_partition(*topic_id, *partition, *leader_epoch),
            MetadataRecord::RemoveTopic { topic_id } => self.remove_topic(*topic_id),
            MetadataRecord::Config {
                resource_type,
                resource_name,
                name,
                value,
            } => self.set_config(*resource_type, resource_name, name, value.as_deref()),
            MetadataRecord::ProducerIds {
                next_producer_id, ..
            } => {
                if *next_producer_id < self.next_producer_id {
                    return Err(ApplyError::Inconsistent(format!(
                        "producer ids go back from {} to {next_producer_id}",
                        self.next_producer_id
                    )));
                }
                self.next_producer_id = *next_producer_id;
                Ok(())
            }
            MetadataRecord::FeatureLevel { name, level } => {
                if name != METADATA_VERSION_FEATURE {
                    return Ok(());
                }
                if *level > METADATA_VERSION {
                    return Err(ApplyError::NewerMetadata { found: *level });
                }
                self.metadata_version = *level;
                Ok(())
            }
            MetadataRecord::BeginTransaction
            | MetadataRecord::EndTransaction
            | MetadataRecord::AbortTransaction => Err(ApplyError::Inconsistent(
                "the bounds of a snapshot are no change".to_owned(),
            )),
        }
    }

    fn add_topic(&mut self, name: &str, topic_id: Uuid) -> Result<(), ApplyError> {
        if self.topic(name).is_some() || self.topic_by_id(topic_id).is_some() {
            return Err(ApplyError::Inconsistent(format!(
                "topic {name} with id {topic_id} is there already"
            )));
        }
        let name: Arc<str> = name.into();
        if let Some(metric_name) = metric_name(&name) {
            let metric_name = metric_name.into();
            self.metric_names.insert(metric_name, Arc::clone(&name));
        }
        self.put_topic(TopicImage {
            name,
            topic_id,
            partition_count: 0,
            leader_epochs: None,
            overrides: Arc::default(),
            config: Arc::clone(&self.default_topic_config),
        });
        Ok(())
    }

    fn add_partition(
        &mut self,
        topic_id: Uuid,
        partition: i32,
        leader_epoch: i32,
    ) -> Result<(), ApplyError> {
        let topic = self.known(topic_id)?;
        if partition != topic.partition_count {
            return Err(ApplyError::Inconsistent(format!(
                "partition {partition} of topic {} follows {} others",
                topic.name, topic.partition_count
            )));
        }
        let mut topic = TopicImage::clone(topic);
        topic.partition_count += 1;
        if leader_epoch != LEADER_EPOCH {
            let epochs = topic.leader_epochs.get_or_insert_default();
            epochs.insert(partition, leader_epoch);
        }
        self.put_topic(topic);
        self.partition_count += 1;
        Ok(())
    }

    fn remove_topic(&mut self, topic_id: Uuid) -> Result<(), ApplyError> {
        let topic = Arc::clone(self.known(topic_id)?);
        if let Some(metric_name) = metric_name(&topic.name) {
            self.metric_names.remove(metric_name.as_str());
        }
        self.topics.remove(&topic.name);
        self.topics_by_id.remove(&topic_id);
        self.partition_count -= topic.partition_count.unsigned_abs() as usize;
        Ok(())
    }

    fn set_config(
        &mut self,
        resource_type: i8,
        resource_name: &str,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), ApplyError> {
        let kind = ResourceType::from_wire(resource_type).ok_or_else(|| {
            ApplyError::Inconsistent(format!("unknown resource type {resource_type}"))
        })?;
        if kind == ResourceType::Topic {
            let topic = self.topic(resource_name).ok_or_else(|| {
                ApplyError::Inconsistent(format!("settings of unknown topic {resource_name}"))
            })?;
            let mut topic = TopicImage::clone(topic);
            set(Arc::make_mut(&mut topic.overrides), name, value);
            topic.config = self.config_of(&topic.overrides);
            if let Some(names) = &mut self.unsettled {
                names.push(Arc::clone(&topic.name));
            }
            self.put_topic(topic);
            return Ok(());
        }
        let configs = Arc::make_mut(&mut self.configs);
        let of_kind = configs.entry(kind).or_default();
        // What nobody else has is changed where it is: a copy for each of many keys would be work times work.
        let overrides = of_kind.entry(resource_name.into()).or_default();
        set(Arc::make_mut(overrides), name, value);
        if overrides.is_empty() {
            of_kind.remove(resource_name);
            if of_kind.is_empty() {
                configs.remove(&kind);
            }
        }
        if kind == ResourceType::Broker {
            self.unsettled.get_or_insert_default();
        }
        Ok(())
    }

    /// Has the topics follow the broker's settings, which are their defaults; whoever shows an image has settled it.
    pub(super) fn settle(&mut self) {
        let Some(set_meanwhile) = self.unsettled.take() else {
            return;
        };
        let settings = &self.broker.settings;
        let default = settings.topic_config(&Overrides::new(), self.dynamic_settings());
        let changed: Vec<Arc<TopicImage>> = if *self.default_topic_config == default {
            // The settings have come back to what they were; what was made of them in between has not.
            let found = set_meanwhile.iter().filter_map(|name| self.topic(name));
            found.cloned().collect()
        } else {
            self.default_topic_config = Arc::new(default);
            self.topics().cloned().collect()
        };
        for topic in changed {
            let mut topic = TopicImage::clone(&topic);
            topic.config = self.config_of(&topic.overrides);
            self.put_topic(topic);
        }
    }

    fn config_of(&self, overrides: &Overrides) -> Arc<TopicConfig> {
        if overrides.is_empty() {
            return Arc::clone(&self.default_topic_config);
        }
        let settings = &self.broker.settings;
        Arc::new(settings.topic_config(overrides, self.dynamic_settings()))
    }

    fn known(&self, topic_id: Uuid) -> Result<&Arc<TopicImage>, ApplyError> {
        self.topic_by_id(topic_id)
            .ok_or_else(|| ApplyError::Inconsistent(format!("unknown topic id {topic_id}")))
    }

    fn put_topic(&mut self, topic: TopicImage) {
        let topic = Arc::new(topic);
        self.topics_by_id.insert(topic.topic_id, Arc::clone(&topic));
        self.topics.insert(Arc::clone(&topic.name), topic);
    }
}

fn set(overrides: &mut Overrides, name: &str, value: Option<&str>) {
    match value {
        Some(value) => overrides.insert(name.to_owned(), value.to_owned()),
        None => overrides.remove(name),
    };
}

/// A name as metrics show it; `None` when it is its own.
fn metric_name(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}
