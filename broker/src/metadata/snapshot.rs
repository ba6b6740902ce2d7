//! The state in place of its history, so that a start reads what is there and not all that ever was.
//!
//! A snapshot is the records that lead from nothing to an image, in the log like any others, between
//! `BeginTransaction` and `EndTransaction` (KIP-868). Once it is durable, the log is cut to begin with it. One that
//! has no end does not count; what follows it begins with `AbortTransaction`.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::image::{ApplyError, MetadataImage, ResourceType};
use super::record::{METADATA_VERSION_FEATURE, MetadataRecord};
use super::store::{MetadataStore, StoreError};

/// A log with no more records than this is short enough.
const SHORT_LOG_RECORDS: usize = 10_000;
/// Records in one append.
const WRITTEN_TOGETHER: usize = 10_000;

/// Whether so many records are too many for this state.
pub fn is_due(records_in_log: usize, image: &MetadataImage) -> bool {
    records_in_log > SHORT_LOG_RECORDS && records_in_log / 2 > record_count(image)
}

/// How many records [`records`] gives, but for the few that are not of topics.
fn record_count(image: &MetadataImage) -> usize {
    image
        .topics()
        .map(|topic| 1 + topic.partition_count.unsigned_abs() as usize + topic.overrides.len())
        .sum()
}

/// The records that lead from an empty image to this one.
pub fn records(image: &MetadataImage) -> impl Iterator<Item = MetadataRecord> {
    let version = MetadataRecord::FeatureLevel {
        name: METADATA_VERSION_FEATURE.to_owned(),
        level: image.metadata_version(),
    };
    let producer_ids = MetadataRecord::ProducerIds {
        broker_id: image.node_id(),
        next_producer_id: image.next_producer_id(),
    };
    let kinds = ResourceType::ALL.into_iter();
    let others = kinds.flat_map(move |kind| {
        image.configured(kind).flat_map(move |name| {
            let overrides = image.overrides(kind, name).iter();
            overrides.map(move |setting| config(kind, name, setting))
        })
    });
    let topics = image.topics().flat_map(move |topic| {
        let created = MetadataRecord::Topic {
            name: topic.name.to_string(),
            topic_id: topic.topic_id,
        };
        let partitions = (0..topic.partition_count).map(|partition| MetadataRecord::Partition {
            topic_id: topic.topic_id,
            partition,
            replicas: vec![image.node_id()],
            leader: image.node_id(),
            leader_epoch: topic.leader_epoch(partition),
        });
        let overrides = topic.overrides.iter();
        let configs = overrides.map(|setting| config(ResourceType::Topic, &topic.name, setting));
        std::iter::once(created).chain(partitions).chain(configs)
    });
    [version, producer_ids]
        .into_iter()
        .chain(others)
        .chain(topics)
}

fn config(kind: ResourceType, name: &str, (key, value): (&String, &String)) -> MetadataRecord {
    MetadataRecord::Config {
        resource_type: kind as i8,
        resource_name: name.to_owned(),
        name: key.clone(),
        value: Some(value.clone()),
    }
}

/// Writes an image as the first records of an empty log.
///
/// # Errors
/// The store does not take them; some may be there.
pub(crate) async fn write_image(
    store: &dyn MetadataStore,
    image: &MetadataImage,
) -> Result<(), StoreError> {
    let mut version = 0;
    let mut records = records(image).peekable();
    while records.peek().is_some() {
        let some: Vec<_> = records.by_ref().take(WRITTEN_TOGETHER).collect();
        version = store.append(version, &some).await?;
    }
    Ok(())
}

/// An image while the log is read that leads to it.
pub struct Replay {
    empty: MetadataImage,
    image: MetadataImage,
    /// All topics that the log tells of.
    topics: HashMap<Uuid, Arc<str>>,
    /// The snapshot that has begun.
    begun: Option<MetadataImage>,
}

impl Replay {
    pub fn new(empty: MetadataImage) -> Self {
        Self {
            image: empty.clone(),
            empty,
            topics: HashMap::new(),
            begun: None,
        }
    }

    /// Takes in the next record of the log.
    ///
    /// # Errors
    /// The record does not fit.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        if let MetadataRecord::Topic { name, topic_id } = record {
            self.topics.insert(*topic_id, Arc::from(name.as_str()));
        }
        match record {
            MetadataRecord::BeginTransaction => self.begun = Some(self.empty.clone()),
            MetadataRecord::AbortTransaction => self.begun = None,
            MetadataRecord::EndTransaction => {
                self.image = self.begun.take().ok_or_else(|| {
                    ApplyError::Inconsistent("a snapshot ends that has not begun".to_owned())
                })?;
            }
            _ => self
                .begun
                .as_mut()
                .unwrap_or(&mut self.image)
                .apply_unsettled(record)?,
        }
        Ok(())
    }

    /// The image, the topics that were deleted on the way to it, and whether the log ends with a snapshot that has no end.
    pub fn finish(mut self) -> (MetadataImage, HashMap<Uuid, Arc<str>>, bool) {
        self.image.settle();
        self.topics
            .retain(|topic_id, _| self.image.topic_by_id(*topic_id).is_none());
        (self.image, self.topics, self.begun.is_some())
    }
}
