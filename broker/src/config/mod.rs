//! Configuration: Kafka's names, types, defaults and messages.
//!
//! [`def`] is a row of a table; [`topic`], [`broker_keys`] and [`resource`] are the tables;
//! [`Settings`] is what was set, as text; [`BrokerConfig`] and [`TopicConfig`] are what the code reads.

mod alone;
mod broker_config;
pub mod broker_keys;
mod connections;
pub mod def;
pub mod dynamic;
pub mod effects;
mod listeners;
mod properties;
pub mod resource;
mod rules;
mod settings;
pub mod topic;

#[cfg(test)]
mod tests;

pub use broker_config::{BrokerConfig, RecordValidation};
pub use connections::ConnectionSettings;
pub use effects::Remark;
pub use listeners::{HostPort, Listener, parse_host_port};
pub use properties::{Properties, read_properties};
pub use settings::{ConfigSource, ConfigSynonym, DynamicSettings, Settings};
pub use topic::{CompressionType, TimestampType, TopicConfig, TopicDefaults};

use std::path::PathBuf;

/// Why the broker cannot start with what it was given; each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}, line {line}: {what}", .path.display())]
    Syntax {
        path: PathBuf,
        line: usize,
        what: String,
    },
    #[error(transparent)]
    InvalidValue(#[from] def::InvalidValue),
    #[error("{key} cannot be ignored, and {why}; remove it to start without")]
    Unserved { key: String, why: &'static str },
    #[error("key {key} is unknown; did you mean {meant}, which must not be ignored?")]
    Misspelt { key: String, meant: &'static str },
}

impl ConfigError {
    fn unserved(key: &str, why: &'static str) -> Self {
        Self::Unserved {
            key: key.to_owned(),
            why,
        }
    }

    /// A value that passed its row's check and is wrong all the same.
    fn invalid(settings: &Settings, key: &'static str, expected: String) -> Self {
        Self::InvalidValue(def::InvalidValue {
            key: key.to_owned(),
            value: settings.get(key).unwrap_or_default().to_owned(),
            expected,
        })
    }
}
