//! `ottla configs`

use clap::{Subcommand, ValueEnum};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use serde_json::json;

use crate::cluster::Cluster;
use crate::connection::{Connection, text};
use crate::failure::{Result, check, failed, usage};
use crate::page::{Output, Table, line};

const SET: i8 = 0;
const DELETE: i8 = 1;

/// What has settings; the discriminant is Kafka's.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[repr(i8)]
pub(crate) enum Kind {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

/// Show and change settings of topics, brokers and groups
#[derive(Debug, Subcommand)]
pub(crate) enum Configs {
    /// What has been set, and with --all what holds
    Describe {
        kind: Kind,
        /// A topic, a group, the id of a broker, or `default` for all brokers
        name: String,
        /// Also what nobody has set
        #[arg(long)]
        all: bool,
    },
    /// Set keys
    Set {
        kind: Kind,
        name: String,
        #[arg(value_name = "KEY=VALUE", required = true, value_parser = crate::parse_pair)]
        pairs: Vec<(String, String)>,
    },
    /// Set keys back to what they are without
    Delete {
        kind: Kind,
        name: String,
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
}

impl Configs {
    pub(crate) async fn run(self, cluster: &mut Cluster, output: Output) -> Result<()> {
        match self {
            Self::Describe { kind, name, all } => {
                let mut table = Table::new(&["key", "value", "source", "read_only", "sensitive"]);
                for config in describe(cluster, kind, &name).await? {
                    if all || is_set(&config) {
                        table.row([
                            json!(config.name.as_str()),
                            json!(config.value.as_ref().map(|value| value.as_str())),
                            json!(source(config.config_source)),
                            json!(config.read_only),
                            json!(config.is_sensitive),
                        ]);
                    }
                }
                output.table(&table);
                Ok(())
            }
            Self::Set { kind, name, pairs } => {
                let changes: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| (key.as_str(), Some(value.as_str())))
                    .collect();
                change(cluster, kind, &name, &changes).await?;
                line(&format!("changed {name}"));
                Ok(())
            }
            Self::Delete { kind, name, keys } => {
                let changes: Vec<_> = keys.iter().map(|key| (key.as_str(), None)).collect();
                change(cluster, kind, &name, &changes).await?;
                line(&format!("changed {name}"));
                Ok(())
            }
        }
    }
}

/// Somebody has set it for this very thing, or for all brokers.
pub(crate) fn is_set(config: &DescribeConfigsResourceResult) -> bool {
    matches!(config.config_source, 1 | 2 | 3 | 6 | 7 | 8)
}

/// Kafka's name of where a value is from.
pub(crate) fn source(code: i8) -> &'static str {
    match code {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        5 => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "CLIENT_METRICS_CONFIG",
        8 => "GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}

/// The settings of one thing, in the order of their names.
///
/// # Errors
/// It is not there, or may not be seen.
pub(crate) async fn describe(
    cluster: &mut Cluster,
    kind: Kind,
    name: &str,
) -> Result<Vec<DescribeConfigsResourceResult>> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind as i8)
        .with_resource_name(text(resource_name(kind, name)))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true);
    let broker = responsible(cluster, kind, name).await?;
    let answer = broker.call(request).await?;
    let mut results = answer.results.into_iter();
    let result = results
        .next()
        .ok_or_else(|| failed(format!("{name}: the broker left it out")))?;
    check(
        &format!("settings of {name}"),
        result.error_code,
        result.error_message.as_ref(),
    )?;
    let mut configs = result.configs;
    configs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(configs)
}

/// Sets keys, and those without a value back.
///
/// # Errors
/// The broker refuses; then nothing is changed.
pub(crate) async fn change(
    cluster: &mut Cluster,
    kind: Kind,
    name: &str,
    changes: &[(&str, Option<&str>)],
) -> Result<()> {
    let configs = changes.iter().map(|(key, value)| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(if value.is_some() { SET } else { DELETE })
            .with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind as i8)
        .with_resource_name(text(resource_name(kind, name)))
        .with_configs(configs.collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let broker = responsible(cluster, kind, name).await?;
    let answer = broker.call(request).await?;
    for changed in &answer.responses {
        let what = format!("change {name}");
        check(&what, changed.error_code, changed.error_message.as_ref())?;
    }
    Ok(())
}

fn resource_name(kind: Kind, name: &str) -> &str {
    match (kind, name) {
        (Kind::Broker, "default") => "",
        _ => name,
    }
}

/// A broker knows its own settings; any broker knows the others.
async fn responsible<'a>(
    cluster: &'a mut Cluster,
    kind: Kind,
    name: &str,
) -> Result<&'a mut Connection> {
    match kind {
        Kind::Broker | Kind::BrokerLogger if !resource_name(kind, name).is_empty() => {
            let id = name.parse().map_err(|_| {
                usage(format!(
                    "{name}: expected the id of a broker, or default for all brokers"
                ))
            })?;
            cluster.broker(id).await
        }
        _ => Ok(cluster.any()),
    }
}
