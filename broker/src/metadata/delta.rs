//! What changed between two images, as far as logs are concerned.

use std::sync::Arc;

use storage::log::{LogConfig, TopicPartition};

use super::image::{MetadataImage, TopicImage};

/// Logs to open, to delete and to reconfigure, in the order of the topics' names.
#[derive(Debug, Default)]
pub struct LogChanges {
    pub opened: Vec<(TopicPartition, Arc<LogConfig>)>,
    pub deleted: Vec<TopicPartition>,
    pub reconfigured: Vec<(TopicPartition, Arc<LogConfig>)>,
}

impl LogChanges {
    /// Costs one comparison per topic and work only for those that differ.
    pub fn between(old: &MetadataImage, new: &MetadataImage) -> Self {
        let mut changes = Self::default();
        for topic in old.topics() {
            if new.topic_by_id(topic.topic_id).is_none() {
                let all = (0..topic.partition_count).map(|partition| topic.partition(partition));
                changes.deleted.extend(all);
            }
        }
        for topic in new.topics() {
            match old.topic_by_id(topic.topic_id) {
                Some(before) if Arc::ptr_eq(before, topic) => {}
                Some(before) => {
                    changes.open(topic, before.partition_count);
                    if before.config.log != topic.config.log {
                        let kept = 0..before.partition_count;
                        let kept = kept.map(|partition| {
                            (topic.partition(partition), Arc::clone(&topic.config.log))
                        });
                        changes.reconfigured.extend(kept);
                    }
                }
                None => changes.open(topic, 0),
            }
        }
        changes
    }

    fn open(&mut self, topic: &TopicImage, from_partition: i32) {
        let added = from_partition..topic.partition_count;
        let added =
            added.map(|partition| (topic.partition(partition), Arc::clone(&topic.config.log)));
        self.opened.extend(added);
    }
}
