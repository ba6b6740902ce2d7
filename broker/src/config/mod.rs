//! Configuration: Kafka's names, types, defaults and messages.
//!
//! A section is a struct that the code reads, made from the rows of its keys. [`broker_keys`], [`topic`] and [`resource`] are the
//! tables of all rows. `Settings` is what was set, as text.

mod alone;
mod authorization;
mod between_brokers;
mod broker_config;
pub mod broker_keys;
mod broker_row;
mod cluster;
mod connections;
pub mod def;
pub(crate) mod dynamic;
pub(crate) mod effects;
mod engine;
mod environment;
mod error;
mod first_topics;
mod groups;
mod host_port;
mod listeners;
mod login;
mod new_topics;
mod properties;
mod quotas;
pub mod resource;
mod rules;
mod section;
mod serving;
mod settings;
mod start_keys;
pub mod tls;
mod tokens;
pub mod topic;
mod topic_defaults;
mod transactions;

#[cfg(test)]
mod tests;

pub(crate) use authorization::AuthorizationConfig;
pub(crate) use between_brokers::BetweenBrokersConfig;
pub use broker_config::BrokerConfig;
pub use cluster::{ClusterConfig, ClusterStores};
pub(crate) use connections::ConnectionSettings;
pub use dynamic::changes_while_running;
pub use effects::Remark;
pub use environment::{Environment, EnvironmentError, KafkaEnvironment};
pub use error::ConfigError;
pub use first_topics::{FirstTopic, FirstTopicError};
pub use host_port::{HostPort, parse_host_port};
pub(crate) use listeners::Listener;
pub use listeners::SecurityProtocol;
pub(crate) use login::own_login;
pub use properties::{Properties, read_properties};
pub(crate) use quotas::{QuotaSettings, RateSettings};
pub(crate) use serving::{MetricsListen, RecordValidation};
#[cfg(test)]
use settings::Settings;
pub(crate) use settings::{ConfigSource, ConfigSynonym, DynamicSettings};
pub(crate) use tls::{ClientAuth, is_certificate_key};
pub(crate) use tokens::TokensConfig;
pub(crate) use topic::{CompressionType, TimestampType, TopicConfig};
pub(crate) use topic_defaults::TopicDefaults;
