//! What is in force for the topics on this broker: their own settings, over those of the broker.

use std::sync::Arc;

use uuid::Uuid;

use super::image::MetadataImage;
use super::sorted_map::SortedMap;
use super::topics::TopicImage;
use crate::config::{BrokerConfig, DynamicSettings, TopicConfig, TopicDefaults};

/// An image, and what it means on this broker.
#[derive(Clone, Debug)]
pub struct Published {
    pub image: Arc<MetadataImage>,
    pub topic_configs: TopicConfigs,
    node_id: i32,
}

impl Published {
    /// A cluster without topics.
    pub(super) fn empty(image: MetadataImage, node: &BrokerConfig) -> Self {
        let dynamic = image.dynamic_settings(node.node_id);
        let defaults = TopicDefaults::new(&node.settings, dynamic);
        let topic_configs = TopicConfigs {
            defaults: Arc::new(defaults),
            own: SortedMap::default(),
        };
        Self {
            image: Arc::new(image),
            topic_configs,
            node_id: node.node_id,
        }
    }

    /// What AlterConfigs changed of this broker's own settings.
    pub(crate) fn dynamic_settings(&self) -> DynamicSettings<'_> {
        self.image.dynamic_settings(self.node_id)
    }

    /// The same for a later image. It costs work only for topics that differ, unless the broker's settings do.
    pub(super) fn next(&self, image: MetadataImage, node: &BrokerConfig) -> Self {
        let topic_configs = self.topic_configs.following(&self.image, &image, node);
        Self {
            image: Arc::new(image),
            topic_configs,
            node_id: self.node_id,
        }
    }
}

/// The configurations of all topics. Cloning shares them.
#[derive(Clone, Debug)]
pub struct TopicConfigs {
    defaults: Arc<TopicDefaults>,
    /// Of the topics with settings of their own.
    own: SortedMap<Uuid, Arc<TopicConfig>>,
}

impl TopicConfigs {
    /// What is in force for a topic.
    pub(crate) fn of(&self, topic: &TopicImage) -> Arc<TopicConfig> {
        match self.own.get(&topic.topic_id) {
            Some(own) => Arc::clone(own),
            // The topic may be newer than what is known here.
            None => self.defaults.under(&topic.overrides),
        }
    }

    /// What is in force for topics without settings of their own.
    pub(crate) fn default(&self) -> &TopicConfig {
        &self.defaults.config
    }

    /// Whether the broker's settings mean the same for topics, so that only topics that differ have another configuration.
    pub(crate) fn has_defaults_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.defaults, &other.defaults)
    }

    fn following(&self, old: &MetadataImage, new: &MetadataImage, node: &BrokerConfig) -> Self {
        let dynamic = new.dynamic_settings(node.node_id);
        if old.dynamic_settings(node.node_id) != dynamic {
            let defaults = TopicDefaults::new(&node.settings, dynamic);
            if defaults != *self.defaults {
                return Self::all(defaults, new);
            }
        }
        let mut next = self.clone();
        new.changes_since(old, |before, after| match (before, after) {
            (Some(before), Some(after)) if before.overrides == after.overrides => {}
            (_, Some(topic)) if !topic.overrides.is_empty() => {
                let own = self.defaults.under(&topic.overrides);
                next.own.insert(topic.topic_id, own);
            }
            (_, Some(topic)) | (Some(topic), None) => next.own.remove(&topic.topic_id),
            (None, None) => {}
        });
        next
    }

    fn all(defaults: TopicDefaults, image: &MetadataImage) -> Self {
        let mut own = SortedMap::default();
        let topics = image.topics();
        for topic in topics.filter(|topic| !topic.overrides.is_empty()) {
            own.insert(topic.topic_id, defaults.under(&topic.overrides));
        }
        Self {
            defaults: Arc::new(defaults),
            own,
        }
    }
}
