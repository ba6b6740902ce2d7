//! The broker's settings as text: what was set, over the table's defaults.

use std::collections::BTreeMap;

use super::ConfigError;
use super::broker_keys::{broker_config, broker_configs, broker_synonyms};
use super::def::{ConfigDef, list, parse_bool};
use super::properties::Properties;
use super::topic::{TOPIC_CONFIGS, TopicConfig, TopicConfigDef};

/// Where a value in force comes from; the discriminant is DescribeConfigs' `config_source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    DynamicBrokerLogger = 6,
    ClientMetrics = 7,
    Group = 8,
}

/// One of the places that a value was found at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    pub name: &'static str,
    pub value: String,
    pub source: ConfigSource,
}

/// Broker settings that AlterConfigs changed: for every broker, and for this one.
#[derive(Clone, Copy, Debug)]
pub struct DynamicSettings<'a> {
    pub per_broker: &'a BTreeMap<String, String>,
    pub cluster_wide: &'a BTreeMap<String, String>,
}

static NOTHING: BTreeMap<String, String> = BTreeMap::new();

impl DynamicSettings<'_> {
    /// Nothing was changed.
    pub fn none() -> DynamicSettings<'static> {
        DynamicSettings {
            per_broker: &NOTHING,
            cluster_wide: &NOTHING,
        }
    }
}

/// The checked static settings of a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    set: BTreeMap<String, String>,
}

impl Settings {
    /// Checks every key against its row; the second value is one warning for each key without effect.
    pub(super) fn check(set: Properties) -> Result<(Self, Vec<String>), ConfigError> {
        let mut warnings = Vec::new();
        for (key, value) in &set {
            match broker_config(key) {
                Some(row) => {
                    // An empty value of a key whose default is null means null, as for log.dirs=.
                    if !(value.is_empty() && row.default.is_none()) {
                        row.check(value)?;
                    }
                    if row.unused {
                        warnings.push(format!(
                            "key {key} is known to Kafka but has no effect in Ottla yet"
                        ));
                    }
                }
                None => warnings.push(format!("key {key} is unknown and has no effect")),
            }
        }
        Ok((Self { set }, warnings))
    }

    /// The value in force without dynamic changes; `None` is Kafka's null.
    pub fn get(&self, key: &str) -> Option<&str> {
        match self.explicit(key) {
            Some(value) => Some(value),
            None => broker_config(key).and_then(|row| row.default),
        }
    }

    /// The value only if it was set.
    pub fn explicit(&self, key: &str) -> Option<&str> {
        let value = self.set.get(key)?;
        let null = value.is_empty() && broker_config(key).is_some_and(|row| row.default.is_none());
        (!null).then_some(value.as_str())
    }

    pub(super) fn long(&self, key: &'static str) -> i64 {
        let parsed = self.get(key).and_then(|value| value.trim().parse().ok());
        debug_assert!(parsed.is_some(), "{key} is not a checked number");
        parsed.unwrap_or_default()
    }

    pub(super) fn int(&self, key: &'static str) -> i32 {
        i32::try_from(self.long(key)).unwrap_or(i32::MAX)
    }

    pub(super) fn count(&self, key: &'static str) -> usize {
        usize::try_from(self.long(key)).unwrap_or(0)
    }

    pub(super) fn bool(&self, key: &'static str) -> bool {
        self.get(key).and_then(parse_bool).unwrap_or_default()
    }

    pub(super) fn list(&self, key: &'static str) -> impl Iterator<Item = &str> {
        list(self.get(key).unwrap_or(""))
    }

    /// What a topic key is where the topic does not set it: source, value and all weaker places.
    pub fn topic_default(
        &self,
        row: &'static TopicConfigDef,
        dynamic: DynamicSettings<'_>,
    ) -> (Option<String>, Vec<ConfigSynonym>) {
        let names = row.synonyms.iter().map(|synonym| synonym.broker_key);
        let found = self.synonyms(names, dynamic);
        let value = found.first().and_then(|strongest| {
            let mut synonyms = row.synonyms.iter();
            let factor = synonyms.find(|synonym| synonym.broker_key == strongest.name)?;
            Some(converted(&strongest.value, factor.factor))
        });
        let value = value.or_else(|| row.def.default.map(str::to_owned));
        (value, found)
    }

    /// Every place that gives one broker key a value, the strongest first.
    pub fn broker_value(
        &self,
        row: &'static ConfigDef,
        dynamic: DynamicSettings<'_>,
    ) -> Vec<ConfigSynonym> {
        let names = match broker_synonyms(row.name) {
            [] => vec![row.name],
            names => names.to_vec(),
        };
        let mut found = self.synonyms(names.into_iter(), dynamic);
        // A synonym before the key itself belongs to the key's own answer (Kafka's ConfigHelper).
        let own = found.iter().position(|synonym| synonym.name == row.name);
        found.drain(..own.unwrap_or(found.len()));
        found
    }

    fn synonyms(
        &self,
        names: impl Iterator<Item = &'static str> + Clone,
        dynamic: DynamicSettings<'_>,
    ) -> Vec<ConfigSynonym> {
        let mut found = Vec::new();
        for (source, values) in [
            (ConfigSource::DynamicBroker, dynamic.per_broker),
            (ConfigSource::DynamicDefaultBroker, dynamic.cluster_wide),
        ] {
            for name in names.clone() {
                if let Some(value) = values.get(name) {
                    found.push(ConfigSynonym {
                        name,
                        value: value.clone(),
                        source,
                    });
                }
            }
        }
        for name in names.clone() {
            if let Some(value) = self.explicit(name) {
                found.push(ConfigSynonym {
                    name,
                    value: value.to_owned(),
                    source: ConfigSource::StaticBroker,
                });
            }
        }
        for name in names {
            if let Some(value) = broker_config(name).and_then(|row| row.default) {
                found.push(ConfigSynonym {
                    name,
                    value: value.to_owned(),
                    source: ConfigSource::Default,
                });
            }
        }
        found
    }

    /// A topic's effective configuration: its own settings over the broker's.
    pub fn topic_config(
        &self,
        overrides: &BTreeMap<String, String>,
        dynamic: DynamicSettings<'_>,
    ) -> TopicConfig {
        let mut effective: BTreeMap<&'static str, String> = BTreeMap::new();
        for row in TOPIC_CONFIGS {
            let value = match overrides.get(row.def.name) {
                Some(value) => Some(value.clone()),
                None => self.topic_default(row, dynamic).0,
            };
            if let Some(value) = value {
                effective.insert(row.def.name, value);
            }
        }
        TopicConfig::from_effective(|key| effective.get(key).map(String::as_str))
    }

    /// Keys that were set although no table has them.
    pub fn unknown_keys(&self) -> impl Iterator<Item = &str> {
        let keys = self.set.keys().map(String::as_str);
        keys.filter(|key| !broker_configs().contains_key(key))
    }
}

fn converted(value: &str, factor: i64) -> String {
    match value.trim().parse::<i64>() {
        // Kafka takes any negative number of hours or minutes as "no limit".
        Ok(number) if factor != 1 && number < 0 => "-1".to_owned(),
        Ok(number) if factor != 1 => number.saturating_mul(factor).to_string(),
        _ => value.to_owned(),
    }
}
