//! The metadata, as groups see it.

use uuid::Uuid;

use crate::group::{Catalog, Id};
use crate::metadata::{MetadataImage, ResourceType};

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

    fn group_setting(&self, group_id: &str, key: &str) -> Option<i32> {
        let value = self.overrides(ResourceType::Group, group_id).get(key)?;
        value.trim().parse().ok()
    }
}
