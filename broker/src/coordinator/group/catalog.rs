//! The metadata, as groups see it.

use coordinators::group::{Catalog, Name};
use uuid::Uuid;

use crate::metadata::{MetadataImage, ResourceType};

impl Catalog for MetadataImage {
    fn topic(&self, name: &str) -> Option<(Uuid, i32)> {
        self.topic(name)
            .map(|topic| (topic.topic_id, topic.partition_count))
    }

    fn topic_name(&self, topic_id: Uuid) -> Option<Name> {
        self.topic_by_id(topic_id).map(|topic| topic.name.clone())
    }

    fn visit_topic_names(&self, visit: &mut dyn FnMut(&Name)) {
        self.topics().for_each(|topic| visit(&topic.name));
    }

    fn group_setting(&self, group_id: &str, key: &str) -> Option<i32> {
        let own = self.overrides(ResourceType::Group, group_id).get(key);
        // The broker's setting that the group's goes over may have been altered while running.
        let of_all = || {
            let altered = self.overrides(ResourceType::Broker, "");
            altered.get(&format!("group.{key}"))
        };
        own.or_else(of_all)?.trim().parse().ok()
    }
}
