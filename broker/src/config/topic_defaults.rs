//! What is in force for topics on a broker with its own settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::settings::{DynamicSettings, Settings};
use super::topic::{TOPIC_CONFIGS, TopicConfig};

/// What is in force for topics that set nothing themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicDefaults {
    by_key: BTreeMap<&'static str, String>,
    pub config: Arc<TopicConfig>,
}

impl TopicDefaults {
    /// The defaults of topics on a broker with these settings.
    pub(crate) fn new(settings: &Settings, dynamic: DynamicSettings<'_>) -> Self {
        let rows = TOPIC_CONFIGS.iter();
        let values = rows.filter_map(|row| {
            let (value, _) = settings.topic_default(row, dynamic);
            Some((row.def.name, value?))
        });
        let by_key: BTreeMap<_, _> = values.collect();
        let config = TopicConfig::from_effective(|key| by_key.get(key).map(String::as_str));
        Self {
            config: Arc::new(config),
            by_key,
        }
    }

    /// What is in force for a topic with settings of its own, which go over these.
    pub(crate) fn under(&self, overrides: &BTreeMap<String, String>) -> Arc<TopicConfig> {
        if overrides.is_empty() {
            return Arc::clone(&self.config);
        }
        let value = |key: &str| overrides.get(key).or_else(|| self.by_key.get(key));
        let config = TopicConfig::from_effective(|key| value(key).map(String::as_str));
        Arc::new(config)
    }
}
