//! The metadata, as groups see it.

use coordinators::group::{Catalog, Name};
use uuid::Uuid;

use crate::metadata::{Published, ResourceType};

impl Catalog for Published {
    fn topic(&self, name: &str) -> Option<(Uuid, i32)> {
        self.image
            .topic(name)
            .map(|topic| (topic.topic_id, topic.partition_count))
    }

    fn topic_name(&self, topic_id: Uuid) -> Option<Name> {
        let topic = self.image.topic_by_id(topic_id);
        topic.map(|topic| topic.name.clone())
    }

    fn visit_topic_names(&self, visit: &mut dyn FnMut(&Name)) {
        self.image.topics().for_each(|topic| visit(&topic.name));
    }

    fn group_setting(&self, group_id: &str, key: &str) -> Option<i32> {
        let own = self.image.overrides(ResourceType::Group, group_id).get(key);
        // Otherwise the broker's own setting counts, which may have been altered while it runs.
        let of_broker = || self.dynamic_settings().get(&format!("group.{key}"));
        let value = own.map(String::as_str).or_else(of_broker);
        value?.trim().parse().ok()
    }
}
