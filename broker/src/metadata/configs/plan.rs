//! Which settings AlterConfigs may change: rules and messages are Kafka's (`ConfigurationControlManager`,
//! `ConfigAdminManager`, `DynamicBrokerConfig`).

use std::collections::BTreeSet;

use super::group::check_group_settings;
use super::{Overrides, ResourceType, config_record};
use crate::config::BrokerConfig;
use crate::config::broker_keys::broker_config;
use crate::config::def::{ConfigDef, Kind, list};
use crate::config::dynamic::{Change, check_change};
use crate::config::resource::{CLIENT_METRICS_CONFIGS, GROUP_CONFIGS, client_matches};
use crate::config::topic::{topic_config, validate_topic_config};
use crate::metadata::error::MetadataError;
use crate::metadata::image::MetadataImage;
use crate::metadata::record::MetadataRecord;
use crate::metadata::topics::plan::validate_topic_name;

/// Always set for all brokers since KIP-966: the record is there from the first start on.
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// Longest value of one key.
const MAX_VALUE_BYTES: usize = 32_767;

/// What happens to one key (KIP-339).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Set,
    Delete,
    /// Adds to a list what is not in it.
    Append,
    /// Takes from a list what is in it.
    Subtract,
}

/// What happens to the settings of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// These and no others (AlterConfigs).
    Replace(Vec<(String, Option<String>)>),
    /// Key by key (IncrementalAlterConfigs).
    Incremental(Vec<(String, Operation, Option<String>)>),
}

impl ConfigChange {
    /// The keys that are to change.
    pub(crate) fn keys(&self) -> Vec<&String> {
        match self {
            Self::Replace(configs) => configs.iter().map(|(key, _)| key).collect(),
            Self::Incremental(configs) => configs.iter().map(|(key, ..)| key).collect(),
        }
    }

    fn names(&self, key: &str) -> bool {
        self.keys().into_iter().any(|name| name == key)
    }
}

/// A change of one resource's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterConfig {
    pub resource_type: ResourceType,
    pub resource_name: String,
    pub change: ConfigChange,
}

/// The records that make a resource's settings what is asked for; none if they are that already.
pub(crate) fn plan_alter(
    node: &BrokerConfig,
    image: &MetadataImage,
    alter: &AlterConfig,
) -> Result<Vec<MetadataRecord>, MetadataError> {
    check_resource(node, alter.resource_type, &alter.resource_name)?;
    let old = image.overrides(alter.resource_type, &alter.resource_name);
    let new = changed(alter, old)?;
    for (key, value) in &new {
        check_length(key, value)?;
    }
    check_settings(node, image, alter, old, &new)?;
    // As Kafka: what cannot be right for any topic is told first.
    if alter.resource_type == ResourceType::Topic && image.topic(&alter.resource_name).is_none() {
        return Err(MetadataError::NoSuchTopic(alter.resource_name.clone()));
    }

    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    Ok(keys
        .into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| {
            let value = new.get(key).map(String::as_str);
            config_record(alter.resource_type, &alter.resource_name, key, value)
        })
        .collect())
}

/// The record that sets `min.insync.replicas` for all brokers, where there is none yet.
pub(crate) fn plan_min_insync_replicas(
    node: &BrokerConfig,
    image: &MetadataImage,
) -> Option<MetadataRecord> {
    let of_all = image.overrides(ResourceType::Broker, "");
    let value = node.settings.get(MIN_INSYNC_REPLICAS)?;
    let is_missing = !of_all.contains_key(MIN_INSYNC_REPLICAS);
    is_missing.then(|| config_record(ResourceType::Broker, "", MIN_INSYNC_REPLICAS, Some(value)))
}

fn check_length(key: &str, value: &str) -> Result<(), MetadataError> {
    if value.len() <= MAX_VALUE_BYTES {
        return Ok(());
    }
    Err(MetadataError::InvalidConfig(format!(
        "The value of {key} is longer than {MAX_VALUE_BYTES} bytes"
    )))
}

fn check_resource(
    node: &BrokerConfig,
    kind: ResourceType,
    name: &str,
) -> Result<(), MetadataError> {
    let invalid = |what: String| Err(MetadataError::InvalidRequest(what));
    match kind {
        ResourceType::Topic if name.is_empty() => {
            invalid("Default topic resources are not allowed.".to_owned())
        }
        ResourceType::Topic => Ok(validate_topic_name(name)?),
        ResourceType::Broker | ResourceType::BrokerLogger => check_broker_name(node.node_id, name),
        ResourceType::Group if name.is_empty() => {
            invalid("Default group resources are not allowed.".to_owned())
        }
        ResourceType::ClientMetrics if name.is_empty() => {
            invalid("Subscription name can't be empty".to_owned())
        }
        ResourceType::Group | ResourceType::ClientMetrics => Ok(()),
    }
}

/// Brokers are named by their number; the empty name is all of them.
pub(crate) fn check_broker_name(expected: i32, name: &str) -> Result<(), MetadataError> {
    match name.parse::<i32>() {
        _ if name.is_empty() => Ok(()),
        Ok(id) if id == expected => Ok(()),
        Ok(_) => Err(MetadataError::InvalidRequest(format!(
            "Unexpected broker id, expected {expected} or empty string, but received {name}"
        ))),
        Err(_) => Err(MetadataError::InvalidRequest(format!(
            "Broker id must be an integer, but it is: {name}"
        ))),
    }
}

/// What the settings of a resource become.
pub(crate) fn changed(alter: &AlterConfig, old: &Overrides) -> Result<Overrides, MetadataError> {
    let keys = alter.change.keys();
    if keys.iter().collect::<BTreeSet<_>>().len() != keys.len() {
        return Err(MetadataError::InvalidRequest(
            "Error due to duplicate config keys".to_owned(),
        ));
    }
    let null =
        |key: &str| MetadataError::InvalidRequest(format!("Null value not supported for : {key}"));
    match &alter.change {
        ConfigChange::Replace(configs) => configs
            .iter()
            .map(|(key, value)| Ok((key.clone(), value.clone().ok_or_else(|| null(key))?)))
            .collect(),
        ConfigChange::Incremental(configs) => {
            let mut new = old.clone();
            for (key, operation, value) in configs {
                if *operation == Operation::Delete {
                    new.remove(key);
                    continue;
                }
                let value = value.as_deref().ok_or_else(|| null(key))?;
                check_length(key, value)?;
                let value = match operation {
                    Operation::Append | Operation::Subtract => {
                        edited_list(alter.resource_type, key, *operation, value, old)?
                    }
                    Operation::Set | Operation::Delete => value.to_owned(),
                };
                new.insert(key.clone(), value);
            }
            Ok(new)
        }
    }
}

fn edited_list(
    kind: ResourceType,
    key: &str,
    operation: Operation,
    value: &str,
    old: &Overrides,
) -> Result<String, MetadataError> {
    let row = row_of(kind, key);
    if row.is_none() && kind == ResourceType::Broker {
        let what = format!("Unknown config name: {key}");
        return Err(MetadataError::InvalidConfig(what));
    }
    if !row.is_some_and(|row| row.kind == Kind::List) {
        let verb = if operation == Operation::Append {
            "APPEND"
        } else {
            "SUBTRACT"
        };
        return Err(MetadataError::InvalidConfig(format!(
            "Can't {verb} to key {key} because its type is not LIST."
        )));
    }
    let default = row.and_then(|row| row.default).unwrap_or("");
    let current = old.get(key).map_or(default, String::as_str);
    let mut items: Vec<&str> = list(current).collect();
    if operation == Operation::Append {
        let mut present: BTreeSet<&str> = items.iter().copied().collect();
        items.extend(list(value).filter(|item| present.insert(*item)));
    } else {
        let named: BTreeSet<&str> = list(value).collect();
        items.retain(|item| !named.contains(item));
    }
    Ok(items.join(","))
}

fn row_of(kind: ResourceType, key: &str) -> Option<&'static ConfigDef> {
    match kind {
        ResourceType::Topic => topic_config(key).map(|row| &row.def),
        ResourceType::Broker => broker_config(key),
        ResourceType::Group => GROUP_CONFIGS.iter().find(|row| row.name == key),
        ResourceType::ClientMetrics => CLIENT_METRICS_CONFIGS.iter().find(|row| row.name == key),
        ResourceType::BrokerLogger => None,
    }
}

fn check_settings(
    node: &BrokerConfig,
    image: &MetadataImage,
    alter: &AlterConfig,
    old: &Overrides,
    new: &Overrides,
) -> Result<(), MetadataError> {
    match alter.resource_type {
        ResourceType::Topic => validate_topic_config(new)
            .map_err(|error| MetadataError::InvalidConfig(error.to_string())),
        ResourceType::Broker => check_broker_settings(node, image, alter, old, new),
        ResourceType::BrokerLogger => match new.keys().next() {
            Some(logger) => Err(MetadataError::InvalidConfig(format!(
                "Logger {logger} does not exist!"
            ))),
            None => Ok(()),
        },
        ResourceType::Group => check_group_settings(node, new),
        ResourceType::ClientMetrics => check_client_metrics(new),
    }
}

/// Only what can change while the broker runs; a key that nobody knows is kept, as Kafka does for plugins.
fn check_broker_settings(
    node: &BrokerConfig,
    image: &MetadataImage,
    alter: &AlterConfig,
    old: &Overrides,
    new: &Overrides,
) -> Result<(), MetadataError> {
    let set = new
        .iter()
        .filter(|(key, value)| old.get(*key) != Some(*value));
    let for_one_broker = !alter.resource_name.is_empty();
    let change = Change {
        set: set
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect(),
        for_one_broker,
    };
    let before = image.dynamic_settings(node.node_id);
    let mut after = before;
    match for_one_broker {
        true => after.per_broker = new,
        false => after.cluster_wide = new,
    }
    check_change(&node.settings, &change, before, after).map_err(MetadataError::InvalidRequest)?;

    // It is set for the cluster, and for it alone (KIP-966).
    let what = match for_one_broker {
        true if alter.change.names(MIN_INSYNC_REPLICAS) => {
            "Broker-level min.insync.replicas cannot be altered while ELR is enabled."
        }
        false
            if old.contains_key(MIN_INSYNC_REPLICAS) && !new.contains_key(MIN_INSYNC_REPLICAS) =>
        {
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled."
        }
        _ => return Ok(()),
    };
    Err(MetadataError::InvalidConfig(what.to_owned()))
}

fn check_client_metrics(new: &Overrides) -> Result<(), MetadataError> {
    for (key, value) in new {
        let row = row_of(ResourceType::ClientMetrics, key).ok_or_else(|| {
            MetadataError::InvalidRequest(format!("Unknown client metrics configuration: {key}"))
        })?;
        if key == "interval.ms" && row.check(value).is_err() {
            return Err(MetadataError::InvalidRequest(format!(
                "Invalid value {value} for interval.ms, interval must be between 100 and 3600000 (1 hour)"
            )));
        }
        if key == "match"
            && let Err(pattern) = client_matches(value)
        {
            return Err(MetadataError::InvalidConfig(format!(
                "Illegal client matching pattern: {pattern}"
            )));
        }
    }
    Ok(())
}
