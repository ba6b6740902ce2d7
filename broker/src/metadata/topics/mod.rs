//! The topics at one moment, with their own settings.

pub(super) mod plan;

use std::sync::Arc;

use storage::log::TopicPartition;
use uuid::Uuid;

use super::configs::{Overrides, ResourceType, config_records, set};
use super::error::ApplyError;
use super::record::MetadataRecord;
use super::sorted_map::SortedMap;

/// Topic names that the broker keeps for itself; clients may read them.
pub(crate) const INTERNAL_TOPICS: &[&str] = &[
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
];

/// The leader epoch of a partition that was created here. One that was taken over from another broker goes on with a later
/// epoch than it had there.
pub(crate) const LEADER_EPOCH: i32 = 0;

/// One topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicImage {
    pub name: Arc<str>,
    pub topic_id: Uuid,
    pub partition_count: i32,
    /// The leader epochs of partitions that do not have [`LEADER_EPOCH`].
    leader_epochs: Option<SortedMap<i32, i32>>,
    /// The topic's own settings. [`TopicConfigs`](super::TopicConfigs) say what is in force on this broker.
    pub overrides: Arc<Overrides>,
}

impl TopicImage {
    pub(crate) fn is_internal(&self) -> bool {
        INTERNAL_TOPICS.contains(&&*self.name)
    }

    pub(crate) fn has_partition(&self, partition: i32) -> bool {
        (0..self.partition_count).contains(&partition)
    }

    /// The leader epoch that the metadata knows of a partition; its log may have a later one.
    pub(crate) fn leader_epoch(&self, partition: i32) -> i32 {
        let epochs = self.leader_epochs.as_ref();
        let epoch = epochs.and_then(|epochs| epochs.get(&partition));
        epoch.copied().unwrap_or(LEADER_EPOCH)
    }

    /// What a partition's log is called.
    pub(crate) fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: Arc::clone(&self.name),
            topic_id: self.topic_id,
            partition,
        }
    }
}

/// All topics.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TopicsImage {
    by_name: SortedMap<Arc<str>, Arc<TopicImage>>,
    by_id: SortedMap<Uuid, Arc<TopicImage>>,
    /// Names with `.` or `_`, by what metrics call them. Two topics must not look alike there.
    metric_names: SortedMap<Arc<str>, Arc<str>>,
    /// Of all topics.
    pub partition_count: usize,
}

impl TopicsImage {
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.by_name.get(name)
    }

    pub(crate) fn by_id(&self, topic_id: Uuid) -> Option<&Arc<TopicImage>> {
        self.by_id.get(&topic_id)
    }

    /// All topics, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.by_name.iter().map(|(_, topic)| topic)
    }

    /// The topics whose names are not before `first`, by name.
    pub(crate) fn from<'a>(&'a self, first: &str) -> impl Iterator<Item = &'a Arc<TopicImage>> {
        self.by_name.from(first).map(|(_, topic)| topic)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Visits each topic id whose topic is not the same in `old` and in this image, with both.
    pub(crate) fn changes_since<'a>(
        &'a self,
        old: &'a Self,
        visit: impl FnMut(Option<&'a Arc<TopicImage>>, Option<&'a Arc<TopicImage>>),
    ) {
        SortedMap::differences(&old.by_id, &self.by_id, Arc::ptr_eq, visit);
    }

    /// The topic that a new name could be mistaken for in metrics, where `.` and `_` are the same.
    pub(crate) fn colliding(&self, name: &str) -> Option<&str> {
        let found = self.metric_names.get(metric_name(name)?.as_str())?;
        (**found != *name).then_some(&**found)
    }

    pub(crate) fn add(&mut self, name: &str, topic_id: Uuid) -> Result<(), ApplyError> {
        if self.get(name).is_some() || self.by_id(topic_id).is_some() {
            return Err(ApplyError::Inconsistent(format!(
                "topic {name} with id {topic_id} is there already"
            )));
        }
        let name: Arc<str> = name.into();
        if let Some(metric_name) = metric_name(&name) {
            let metric_name = metric_name.into();
            self.metric_names.insert(metric_name, Arc::clone(&name));
        }
        self.put(TopicImage {
            name,
            topic_id,
            partition_count: 0,
            leader_epochs: None,
            overrides: Arc::default(),
        });
        Ok(())
    }

    pub(crate) fn add_partition(
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
        self.put(topic);
        self.partition_count += 1;
        Ok(())
    }

    pub(crate) fn remove(&mut self, topic_id: Uuid) -> Result<(), ApplyError> {
        let topic = Arc::clone(self.known(topic_id)?);
        if let Some(metric_name) = metric_name(&topic.name) {
            self.metric_names.remove(metric_name.as_str());
        }
        self.by_name.remove(&topic.name);
        self.by_id.remove(&topic_id);
        self.partition_count -= topic.partition_count.unsigned_abs() as usize;
        Ok(())
    }

    /// Sets one of a topic's own settings, or takes it back.
    pub(crate) fn set_config(
        &mut self,
        topic: &str,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), ApplyError> {
        let topic = self.get(topic).ok_or_else(|| {
            ApplyError::Inconsistent(format!("settings of unknown topic {topic}"))
        })?;
        let mut topic = TopicImage::clone(topic);
        set(Arc::make_mut(&mut topic.overrides), name, value);
        self.put(topic);
        Ok(())
    }

    /// The records that lead from no topics to these, all of whose partitions `leader` has.
    pub(crate) fn records(&self, leader: i32) -> impl Iterator<Item = MetadataRecord> {
        self.iter().flat_map(move |topic| {
            let created = MetadataRecord::Topic {
                name: topic.name.to_string(),
                topic_id: topic.topic_id,
            };
            let partitions = (0..topic.partition_count).map(move |partition| {
                let leader_epoch = topic.leader_epoch(partition);
                partition_record(topic.topic_id, partition, leader, leader_epoch)
            });
            let configs = config_records(ResourceType::Topic, &topic.name, &topic.overrides);
            std::iter::once(created).chain(partitions).chain(configs)
        })
    }

    /// How many records [`records`](Self::records) gives.
    pub(crate) fn record_count(&self) -> usize {
        let configs = self.iter().map(|topic| topic.overrides.len());
        self.len() + self.partition_count + configs.sum::<usize>()
    }

    fn known(&self, topic_id: Uuid) -> Result<&Arc<TopicImage>, ApplyError> {
        self.by_id(topic_id)
            .ok_or_else(|| ApplyError::Inconsistent(format!("unknown topic id {topic_id}")))
    }

    fn put(&mut self, topic: TopicImage) {
        let topic = Arc::new(topic);
        self.by_id.insert(topic.topic_id, Arc::clone(&topic));
        self.by_name.insert(Arc::clone(&topic.name), topic);
    }
}

/// A partition that one broker has and leads.
pub(crate) fn partition_record(
    topic_id: Uuid,
    partition: i32,
    leader: i32,
    leader_epoch: i32,
) -> MetadataRecord {
    MetadataRecord::Partition {
        topic_id,
        partition,
        replicas: vec![leader],
        leader,
        leader_epoch,
    }
}

/// A name as metrics show it; `None` when it is its own.
fn metric_name(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}
