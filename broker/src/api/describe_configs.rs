//! DescribeConfigs (key 32), versions 1-4: the settings of topics, brokers (KIP-226), broker loggers (KIP-412),
//! client metrics (KIP-714) and groups (KIP-848), with where each value comes from.
//!
//! Every topic key is reported, whether set or not: admin tools read defaults from here. v1 knows synonyms,
//! v3 types and documentation (KIP-569). The empty broker name means what was set for all brokers.
//!
//! Deviations: `ottla.durability` of a topic that does not set its own counts as a default, wherever the broker's comes
//! from, so that no tool takes it to another cluster; Kafka's keys without effect here are reported with Kafka's defaults and say so in their
//! documentation; loggers are parts of Ottla (`log_levels.rs`).

#![expect(clippy::disallowed_methods, reason = "it has checked the resource")]

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

use kafka_protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
    DescribeConfigsSynonym,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;

use crate::config::broker_keys::{broker_config, broker_configs, is_dynamic_only, row_behind};
use crate::config::def::{ConfigDef, Kind, UpdateMode};
use crate::config::resource::{CLIENT_METRICS_CONFIGS, GROUP_CONFIGS};
use crate::config::topic::{TOPIC_CONFIGS, TopicConfigDef};
use crate::config::{BrokerConfig, ConfigSource, ConfigSynonym};
use crate::context::RequestContext;
use crate::log_levels;
use crate::metadata::{
    MetadataError, MetadataImage, Overrides, ResourceType, check_broker_name, validate_topic_name,
};
use crate::net::account::Unaffordable;
use crate::view::{View, configured};

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DescribeConfigsRequest,
) -> Result<DescribeConfigsResponse, Unaffordable> {
    let view = ctx.view();
    let mut tab = ctx.tab();
    let mut seen = HashSet::new();
    let mut room = MAX_ENTRIES;
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        results.push(match entries(ctx.config(), &view, resource, room) {
            Ok(mut entries) => {
                room -= entries.len().min(room);
                let named = resource.configuration_keys.iter().flatten();
                let named: HashSet<&str> = named.map(|key| key.as_str()).collect();
                if !named.is_empty() {
                    entries.retain(|entry| named.contains(&*entry.name));
                }
                let bytes = entries.iter().map(|entry| entry.cost(&request)).sum();
                // What there is may be long. What is named again, or may have any name, is the request's doing.
                let kind = ResourceType::from_wire(resource.resource_type);
                let is_there = matches!(
                    kind,
                    Some(ResourceType::Topic | ResourceType::Broker | ResourceType::BrokerLogger)
                );
                match is_there && seen.insert((resource.resource_type, &resource.resource_name)) {
                    true => tab.add_for_all(bytes).await?,
                    false => tab.add(bytes).await?,
                }
                let entries = entries.into_iter();
                result.with_configs(entries.map(|entry| entry.on_wire(&request)).collect())
            }
            Err(error) => result
                .with_error_code(error.code() as i16)
                .with_error_message(Some(StrBytes::from_string(error.to_string()))),
        });
    }
    Ok(DescribeConfigsResponse::default().with_results(results))
}

/// Settings in one response. A few bytes of a request ask for hundreds of them.
const MAX_ENTRIES: usize = 500_000;

/// One setting in force.
pub(super) struct ConfigEntry {
    pub name: Cow<'static, str>,
    pub value: Option<String>,
    pub source: ConfigSource,
    read_only: bool,
    sensitive: bool,
    /// `None`: nobody knows the key.
    kind: Option<Kind>,
    documentation: &'static str,
    synonyms: Vec<ConfigSynonym>,
}

impl ConfigEntry {
    fn new(row: &'static ConfigDef, value: Option<String>, source: ConfigSource) -> Self {
        Self {
            name: Cow::Borrowed(row.name),
            value: value.filter(|_| !row.is_sensitive()),
            source,
            read_only: false,
            sensitive: row.is_sensitive(),
            kind: Some(row.kind),
            documentation: row.documentation,
            synonyms: Vec::new(),
        }
    }

    /// What it takes in memory and in the response.
    fn cost(&self, request: &DescribeConfigsRequest) -> usize {
        let value_bytes = self.value.as_ref().map_or(0, String::len);
        let structs = size_of::<Self>() + size_of::<DescribeConfigsResourceResult>();
        let documentation = match request.include_documentation {
            true => self.documentation.len(),
            false => 0,
        };
        let synonyms = self.synonyms.iter().map(|synonym| {
            let structs = size_of::<ConfigSynonym>() + size_of::<DescribeConfigsSynonym>();
            structs + synonym.name.len() + 2 * synonym.value.len()
        });
        structs + 2 * (self.name.len() + value_bytes) + documentation + synonyms.sum::<usize>()
    }

    fn on_wire(self, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
        let synonyms = if request.include_synonyms {
            self.synonyms
        } else {
            Vec::new()
        };
        let sensitive = self.sensitive;
        let synonyms = synonyms.into_iter().map(|synonym| {
            let value = (!sensitive).then(|| StrBytes::from_string(synonym.value));
            DescribeConfigsSynonym::default()
                .with_name(StrBytes::from_string(synonym.name.into_owned()))
                .with_value(value)
                .with_source(synonym.source as i8)
        });
        // Of loggers Kafka tells an empty text, asked for or not.
        let is_documented = self.source == ConfigSource::DynamicBrokerLogger
            || request.include_documentation && !self.documentation.is_empty();
        let documentation = is_documented.then(|| StrBytes::from_static_str(self.documentation));
        DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_string(self.name.into_owned()))
            .with_value(self.value.map(StrBytes::from_string))
            .with_read_only(self.read_only)
            .with_config_source(self.source as i8)
            .with_is_sensitive(sensitive)
            .with_synonyms(synonyms.collect())
            .with_config_type(self.kind.map_or(0, |kind| kind as i8))
            .with_documentation(documentation)
    }
}

fn entries(
    node: &BrokerConfig,
    view: &View<'_>,
    resource: &DescribeConfigsResource,
    room: usize,
) -> Result<Vec<ConfigEntry>, MetadataError> {
    let name = resource.resource_name.as_str();
    let invalid = |what: String| Err(MetadataError::InvalidRequest(what));
    if room == 0 {
        return invalid(format!(
            "More than {MAX_ENTRIES} settings were asked for in one request"
        ));
    }
    let kind = ResourceType::from_wire(resource.resource_type);
    if let Some(kind) = kind {
        let allowed = view.check(Operation::DescribeConfigs, configured(kind, name));
        allowed.map_err(MetadataError::Denied)?;
    }
    let image = &view.whole_metadata().image;
    match kind {
        Some(ResourceType::Topic) => {
            validate_topic_name(name)?;
            let topic = image.topic(name).ok_or(MetadataError::UnknownTopic)?;
            Ok(topic_entries(node, image, &topic.overrides))
        }
        Some(ResourceType::Broker) if name.is_empty() => Ok(cluster_wide_entries(node, image)),
        Some(ResourceType::Broker) => {
            check_broker_name(node.node_id, name)?;
            Ok(broker_entries(node, image))
        }
        Some(ResourceType::BrokerLogger) if name.is_empty() => {
            invalid("Broker id must not be empty".to_owned())
        }
        Some(ResourceType::BrokerLogger) => {
            check_broker_name(node.node_id, name)?;
            Ok(logger_entries())
        }
        Some(ResourceType::Group) if name.is_empty() => {
            invalid("Group name must not be empty".to_owned())
        }
        Some(ResourceType::Group) => Ok(group_entries(node, image, name)),
        Some(ResourceType::ClientMetrics) if name.is_empty() => {
            invalid("Client metrics subscription name must not be empty".to_owned())
        }
        Some(ResourceType::ClientMetrics) => Ok(client_metrics_entries(image, name)),
        None => invalid(format!(
            "Unsupported resource type: {}",
            resource.resource_type
        )),
    }
}

/// Every topic key, with what is in force for a topic with these settings; an internal one where it was set.
pub(super) fn topic_entries(
    node: &BrokerConfig,
    image: &MetadataImage,
    overrides: &Overrides,
) -> Vec<ConfigEntry> {
    let settings = &node.settings;
    let dynamic = image.dynamic_settings(node.node_id);
    let shown = |row: &&TopicConfigDef| !row.def.internal || overrides.contains_key(row.def.name);
    let rows = TOPIC_CONFIGS.iter().filter(shown);
    rows.map(|row| {
        let (default, mut synonyms) = settings.topic_default(row, dynamic);
        let own = overrides.get(row.def.name);
        if let Some(value) = own {
            let synonym = ConfigSynonym {
                name: Cow::Borrowed(row.def.name),
                value: value.clone(),
                source: ConfigSource::Topic,
            };
            synonyms.insert(0, synonym);
        }
        let source = synonyms
            .first()
            .map_or(ConfigSource::Default, |synonym| synonym.source);
        let value = own.cloned().or(default);
        ConfigEntry {
            synonyms,
            ..ConfigEntry::new(&row.def, value, source)
        }
    })
    .collect()
}

fn broker_entries(node: &BrokerConfig, image: &MetadataImage) -> Vec<ConfigEntry> {
    let settings = &node.settings;
    let dynamic = image.dynamic_settings(node.node_id);
    let shown = broker_configs().values().filter(|row| !row.internal);
    let shown: BTreeSet<&str> = shown.map(|row| row.name).collect();
    // A key that somebody has set is told, whether Kafka knows it or not.
    let set = settings.set_keys().chain(dynamic.keys());
    let keys: BTreeSet<&str> = set.chain(shown).collect();
    let entry = |key: &str| broker_entry(key, settings.broker_value(key, dynamic));
    keys.into_iter().map(entry).collect()
}

fn cluster_wide_entries(node: &BrokerConfig, image: &MetadataImage) -> Vec<ConfigEntry> {
    let set = image.dynamic_settings(node.node_id).cluster_wide.iter();
    set.map(|(key, value)| {
        let synonym = ConfigSynonym {
            name: Cow::Owned(key.clone()),
            value: value.clone(),
            source: ConfigSource::DynamicDefaultBroker,
        };
        broker_entry(key, vec![synonym])
    })
    .collect()
}

/// One of the broker's settings, with every place where it was found.
///
/// A key that somebody set and nobody knows may be a secret of a plugin: Kafka hides it too.
fn broker_entry(key: &str, synonyms: Vec<ConfigSynonym>) -> ConfigEntry {
    let behind = row_behind(key);
    let row = broker_config(key);
    let sensitive = behind.is_none_or(ConfigDef::is_sensitive);
    let strongest = synonyms.first();
    ConfigEntry {
        name: row.map_or_else(|| Cow::Owned(key.to_owned()), |row| Cow::Borrowed(row.name)),
        value: strongest
            .map(|synonym| synonym.value.clone())
            .filter(|_| !sensitive),
        source: strongest.map_or(ConfigSource::Default, |synonym| synonym.source),
        read_only: row.is_none_or(|row| row.update_mode == UpdateMode::ReadOnly),
        sensitive,
        kind: behind.map(|row| row.kind),
        documentation: match row {
            Some(row) if row.unused && !is_dynamic_only(row) => {
                "Known to Kafka; has no effect in Ottla yet."
            }
            Some(row) => row.documentation,
            None => "",
        },
        synonyms,
    }
}

fn logger_entries() -> Vec<ConfigEntry> {
    let loggers = log_levels::describe().into_iter();
    let entry = |(logger, level): (&'static str, &str)| ConfigEntry {
        name: Cow::Borrowed(logger),
        value: Some(level.to_owned()),
        source: ConfigSource::DynamicBrokerLogger,
        read_only: false,
        sensitive: false,
        kind: None,
        documentation: "",
        synonyms: Vec::new(),
    };
    loggers.map(entry).collect()
}

/// A group's default is the broker's `group.<type>.<key>` where there is one.
fn group_entries(node: &BrokerConfig, image: &MetadataImage, name: &str) -> Vec<ConfigEntry> {
    let settings = &node.settings;
    own_or_default(
        image,
        ResourceType::Group,
        name,
        GROUP_CONFIGS,
        |row| match broker_config(&format!("group.{}", row.name)) {
            Some(row) => settings.broker_value(row.name, image.dynamic_settings(node.node_id)),
            None => Vec::from_iter(row.default.map(|value| ConfigSynonym {
                name: Cow::Borrowed(row.name),
                value: value.to_owned(),
                source: ConfigSource::Default,
            })),
        },
    )
}

/// Client metrics have defaults, but no synonyms for them.
fn client_metrics_entries(image: &MetadataImage, name: &str) -> Vec<ConfigEntry> {
    let kind = ResourceType::ClientMetrics;
    own_or_default(image, kind, name, CLIENT_METRICS_CONFIGS, |_| Vec::new())
}

/// `weaker` gives the places that count where the resource itself says nothing, the strongest first.
fn own_or_default(
    image: &MetadataImage,
    kind: ResourceType,
    name: &str,
    rows: &'static [ConfigDef],
    weaker: impl Fn(&ConfigDef) -> Vec<ConfigSynonym>,
) -> Vec<ConfigEntry> {
    let own_source = match kind {
        ResourceType::Group => ConfigSource::Group,
        _ => ConfigSource::ClientMetrics,
    };
    let overrides = image.overrides(kind, name);
    rows.iter()
        .filter(|row| !row.internal)
        .map(|row| {
            let own = overrides.get(row.name).map(|value| ConfigSynonym {
                name: Cow::Borrowed(row.name),
                value: value.clone(),
                source: own_source,
            });
            let synonyms: Vec<ConfigSynonym> = own.into_iter().chain(weaker(row)).collect();
            let (value, source) = match synonyms.first() {
                Some(strongest) => (Some(strongest.value.clone()), strongest.source),
                None => (row.default.map(str::to_owned), ConfigSource::Default),
            };
            ConfigEntry {
                synonyms,
                ..ConfigEntry::new(row, value, source)
            }
        })
        .collect()
}
