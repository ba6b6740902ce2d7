//! The metadata, as groups see it.

use uuid::Uuid;

use crate::group::OFFSETS_TOPIC;
use crate::group::{Catalog, Id};
use crate::metadata::{MetadataImage, ResourceType};

/// Before there is a topic.
const DEFAULT_BATCH_BYTES: usize = 1_048_588;
/// Whatever `max.message.bytes` says: a region of the write-ahead log takes a batch of this size, and a record that the
/// broker makes may be larger.
const MAX_BATCH_BYTES: usize = 16 << 20;

impl Catalog for MetadataImage {
    fn topic(&self, name: &str) -> Option<(Uuid, i32)> {
        self.topic(name)
            .map(|topic| (topic.topic_id, topic.partition_count))
    }

    fn topic_name(&self, topic_id: Uuid) -> Option<Id> {
        self.topic_by_id(topic_id).map(|topic| topic.name.clone())
    }

    fn visit_topic_names(&self, visit: &mut dyn FnMut(&Id)) {
        self.topics().for_each(|topic| visit(&topic.name));
    }

    fn max_batch_bytes(&self) -> usize {
        let topic = self.topic(OFFSETS_TOPIC);
        let of_topic = topic.map(|topic| topic.config.max_message_bytes);
        of_topic.unwrap_or(DEFAULT_BATCH_BYTES).min(MAX_BATCH_BYTES)
    }

    fn group_setting(&self, group_id: &str, key: &str) -> Option<i32> {
        let own = self.overrides(ResourceType::Group, group_id).get(key);
        // The broker's setting that the group's goes over may have been altered while running.
        let of_all = || {
            let altered = self.dynamic_settings().cluster_wide;
            altered.get(&format!("group.{key}"))
        };
        own.or_else(of_all)?.trim().parse().ok()
    }
}
