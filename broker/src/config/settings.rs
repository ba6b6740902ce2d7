//! The broker's settings as text: what was set, over the table's defaults.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::broker_keys::{broker_config, broker_synonyms, row_behind};
use super::def::{InvalidValue, list};
use super::effects::{self, Finding, Remark};
use super::error::ConfigError;
use super::properties::Properties;
use super::section::Section;
use super::topic::TopicConfigDef;

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
    pub name: Cow<'static, str>,
    pub value: String,
    pub source: ConfigSource,
}

/// Broker settings that AlterConfigs changed: for every broker, and for this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DynamicSettings<'a> {
    pub per_broker: &'a BTreeMap<String, String>,
    pub cluster_wide: &'a BTreeMap<String, String>,
}

static NOTHING: BTreeMap<String, String> = BTreeMap::new();

impl<'a> DynamicSettings<'a> {
    /// Every key that was changed; one that was for this broker and for all comes twice.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        let keys = self.per_broker.keys().chain(self.cluster_wide.keys());
        keys.map(String::as_str)
    }

    /// What a key was changed to: what is set for this broker goes over what is set for all.
    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        let of_broker = self.per_broker.get(key);
        let found = of_broker.or_else(|| self.cluster_wide.get(key));
        found.map(String::as_str)
    }

    /// Nothing was changed.
    pub(crate) fn none() -> DynamicSettings<'static> {
        DynamicSettings {
            per_broker: &NOTHING,
            cluster_wide: &NOTHING,
        }
    }
}

/// The checked static settings of a broker.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    set: BTreeMap<String, String>,
}

/// Without the values, among which are passwords.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.set.keys()).finish()
    }
}

impl Settings {
    /// Checks every key against its row. A key that protects and is not served is refused.
    pub(super) fn check(set: Properties) -> Result<(Self, Vec<Remark>), ConfigError> {
        let mut remarks = Vec::new();
        let mut idle = Vec::new();
        for (key, value) in &set {
            // What the code reads comes from `key` itself; of a listener's key only the type is looked at.
            if let Some(row) = row_behind(key)
                // An empty value of a key whose default is null means null, as for log.dirs=.
                && !(value.is_empty() && row.default.is_none())
            {
                row.check(value)?;
            }
            match effects::find(key, value)? {
                Finding::Fine => {}
                Finding::Idle => idle.push(key.as_str()),
                Finding::Warning(text) => remarks.push(Remark::Warning(text)),
            }
        }
        if !idle.is_empty() {
            let text = format!("keys with nothing to do in Ottla: {}", idle.join(", "));
            remarks.push(Remark::Info(text));
        }
        Ok((Self { set }, remarks))
    }

    /// Settings that are only looked at.
    pub(super) fn unchecked(set: Properties) -> Self {
        Self { set }
    }

    /// Sets a key to what the start has found out.
    pub(super) fn put(&mut self, key: &str, value: String) {
        self.set.insert(key.to_owned(), value);
    }

    /// The value in force without dynamic changes; `None` is Kafka's null.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        match self.explicit(key) {
            Some(value) => Some(value),
            None => broker_config(key).and_then(|row| row.default),
        }
    }

    /// The value in force with dynamic changes, of this key alone.
    pub(crate) fn effective<'a>(
        &'a self,
        key: &str,
        dynamic: DynamicSettings<'a>,
    ) -> Option<&'a str> {
        dynamic.get(key).or_else(|| self.get(key))
    }

    /// A section, with what is in force with dynamic changes. What does not pass its row's check counts as the default.
    pub(crate) fn section<S: Section>(&self, dynamic: DynamicSettings<'_>) -> S {
        S::read(&|key| {
            let row = broker_config(key);
            let is_valid = |value: &&str| row.is_some_and(|row| row.check(value).is_ok());
            let value = self.effective(key, dynamic).filter(is_valid);
            value.or_else(|| row?.default)
        })
    }

    /// Refuses a value that passed the check of its row and cannot be used.
    pub(super) fn invalid(&self, key: &'static str, expected: String) -> ConfigError {
        ConfigError::InvalidValue(InvalidValue {
            key: key.to_owned(),
            value: self.get(key).unwrap_or_default().to_owned(),
            expected,
        })
    }

    /// The value only if it was set.
    pub(crate) fn explicit(&self, key: &str) -> Option<&str> {
        let value = self.set.get(key)?;
        let null = value.is_empty() && broker_config(key).is_some_and(|row| row.default.is_none());
        (!null).then_some(value.as_str())
    }

    /// The value of a key for one listener: `listener.name.LISTENER.KEY`, else `KEY`, else the default.
    pub(crate) fn of_listener<'a>(
        &'a self,
        listener: &str,
        key: &str,
        dynamic: DynamicSettings<'a>,
    ) -> Option<&'a str> {
        let own = self.own_of_listener(listener, key, dynamic);
        own.or_else(|| self.effective(key, dynamic))
    }

    /// The value that is set for one listener alone.
    pub(crate) fn own_of_listener<'a>(
        &'a self,
        listener: &str,
        key: &str,
        dynamic: DynamicSettings<'a>,
    ) -> Option<&'a str> {
        let own = format!("listener.name.{}.{key}", listener.to_lowercase());
        dynamic.get(&own).or_else(|| self.explicit(&own))
    }

    pub(super) fn int(&self, key: &'static str) -> i32 {
        let parsed = self.get(key).and_then(|value| value.trim().parse().ok());
        debug_assert!(parsed.is_some(), "{key} is not a checked number");
        parsed.unwrap_or_default()
    }

    pub(super) fn list(&self, key: &'static str) -> impl Iterator<Item = &str> {
        list(self.get(key).unwrap_or(""))
    }

    /// What a topic key is where the topic does not set it, and the places that Kafka names for it.
    ///
    /// Those are not all that count: of `log.retention.ms` and `.hours` it names what follows the first one, and
    /// nothing where only the other is set (`ConfigHelper.configSynonyms`).
    pub(crate) fn topic_default(
        &self,
        row: &'static TopicConfigDef,
        dynamic: DynamicSettings<'_>,
    ) -> (Option<String>, Vec<ConfigSynonym>) {
        let names: Vec<&str> = row
            .synonyms
            .iter()
            .map(|synonym| synonym.broker_key)
            .collect();
        let found = self.synonyms(&names, dynamic);
        let value = found.first().and_then(|strongest| {
            let mut synonyms = row.synonyms.iter();
            let factor = synonyms.find(|synonym| synonym.broker_key == strongest.name)?;
            Some(converted(&strongest.value, factor.factor))
        });
        let value = value.or_else(|| row.def.default.map(str::to_owned));
        // MirrorMaker creates a topic elsewhere with what is no default here, and nobody else knows our own key.
        let told = names.first().filter(|first| !first.starts_with("ottla."));
        let told = told.map(|first| from(first, found));
        (value, told.unwrap_or_default())
    }

    /// Every place that gives one broker key a value, the strongest first; `key` may be one for a listener.
    pub(crate) fn broker_value(
        &self,
        key: &str,
        dynamic: DynamicSettings<'_>,
    ) -> Vec<ConfigSynonym> {
        let mut names = vec![key];
        match row_behind(key) {
            Some(row) if row.name != key => names.push(row.name),
            Some(row) if !broker_synonyms(row.name).is_empty() => {
                names = broker_synonyms(row.name).to_vec();
            }
            _ => {}
        }
        from(key, self.synonyms(&names, dynamic))
    }

    fn synonyms(&self, names: &[&str], dynamic: DynamicSettings<'_>) -> Vec<ConfigSynonym> {
        let mut found = Vec::new();
        let mut add = |name: &str, value: Option<&str>, source| {
            let Some(value) = value else {
                return;
            };
            let known = broker_config(name).map(|row| Cow::Borrowed(row.name));
            found.push(ConfigSynonym {
                name: known.unwrap_or_else(|| Cow::Owned(name.to_owned())),
                value: value.to_owned(),
                source,
            });
        };
        for (source, values) in [
            (ConfigSource::DynamicBroker, dynamic.per_broker),
            (ConfigSource::DynamicDefaultBroker, dynamic.cluster_wide),
        ] {
            for name in names {
                add(name, values.get(*name).map(String::as_str), source);
            }
        }
        for name in names {
            add(name, self.explicit(name), ConfigSource::StaticBroker);
        }
        for name in names {
            let default = broker_config(name).and_then(|row| row.default);
            add(name, default, ConfigSource::Default);
        }
        found
    }

    /// Every key that was set.
    pub(crate) fn set_keys(&self) -> impl Iterator<Item = &str> {
        self.set.keys().map(String::as_str)
    }
}

/// A synonym before the key itself belongs to the answer for that one (Kafka's `ConfigHelper`).
fn from(key: &str, mut found: Vec<ConfigSynonym>) -> Vec<ConfigSynonym> {
    let own = found.iter().position(|synonym| synonym.name == key);
    found.drain(..own.unwrap_or(found.len()));
    found
}

fn converted(value: &str, factor: i64) -> String {
    match value.trim().parse::<i64>() {
        // Kafka takes any negative number of hours or minutes as "no limit".
        Ok(number) if factor != 1 && number < 0 => "-1".to_owned(),
        Ok(number) if factor != 1 => number.saturating_mul(factor).to_string(),
        _ => value.to_owned(),
    }
}
