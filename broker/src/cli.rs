//! The command line, turned into the properties that the rest of the configuration reads.

use std::path::PathBuf;

use broker::config::{BrokerConfig, ConfigError, Properties, parse_host_port, read_properties};
use clap::Parser;

/// A Kafka-compatible broker in one small binary.
///
/// Without arguments it serves localhost:9092 from ./ottla-data and answers a producer when the record is on
/// stable media.
#[derive(Debug, Parser)]
#[command(name = "ottla", version)]
pub struct Cli {
    /// Listen here; an empty host is every interface [default: localhost:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Vec<String>,

    /// Tell clients to connect here: once for all listeners, or once for each [default: as --listen]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Vec<String>,

    /// Keep all data in this directory [default: ottla-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Keep data in a temporary directory, do not wait for the disk, and remove everything at exit
    #[arg(long, conflicts_with = "data_dir")]
    pub ephemeral: bool,

    /// Serve /metrics and /health over HTTP here [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics_listen: Option<String>,

    /// Read Kafka's server.properties
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Set one key, over the file and the other options
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,

    /// What is logged to stderr: error, warn, info, debug, trace, or RUST_LOG's syntax
    /// [default: RUST_LOG, or info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// Why the arguments cannot be used; one line.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("--{option} {value}: expected HOST:PORT")]
    NotHostPort { option: &'static str, value: String },
    #[error("--override {0}: expected KEY=VALUE")]
    NotKeyValue(String),
    #[error("{given} --advertise for {listeners} listeners: give one, or one for each")]
    AdvertiseCount { given: usize, listeners: usize },
    #[error("--data-dir {}: a directory with a comma in its name is not supported", .0.display())]
    CommaInDirectory(PathBuf),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Cli {
    /// The configuration that the arguments describe, and warnings about keys without effect.
    ///
    /// With `ephemeral_dir` the data goes there and no acknowledgement waits for the disk.
    ///
    /// # Errors
    /// The first argument, or value in the file, that cannot be used.
    pub fn broker_config(
        &self,
        ephemeral_dir: Option<PathBuf>,
    ) -> Result<(BrokerConfig, Vec<String>), CliError> {
        let mut properties = match &self.config {
            Some(file) => read_properties(file)?,
            None => Properties::new(),
        };
        self.set_listeners(&mut properties)?;
        if let Some(value) = &self.metrics_listen {
            if parse_host_port(value).is_none() {
                let option = "metrics-listen";
                let value = value.clone();
                return Err(CliError::NotHostPort { option, value });
            }
            set(&mut properties, "ottla.metrics.listen", value);
        }
        if ephemeral_dir.is_some() {
            set(&mut properties, "ottla.durability", "os");
        }
        if let Some(dir) = ephemeral_dir.as_ref().or(self.data_dir.as_ref()) {
            let text = dir.to_str().filter(|text| !text.contains(','));
            let text = text.ok_or_else(|| CliError::CommaInDirectory(dir.clone()))?;
            set(&mut properties, "log.dirs", text);
        }
        for pair in &self.overrides {
            match pair.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    set(&mut properties, key.trim(), value.trim());
                }
                _ => return Err(CliError::NotKeyValue(pair.clone())),
            }
        }
        let (mut config, warnings) = BrokerConfig::from_properties(properties)?;
        config.ephemeral = ephemeral_dir.is_some();
        Ok((config, warnings))
    }

    fn set_listeners(&self, properties: &mut Properties) -> Result<(), CliError> {
        for (option, values) in [("listen", &self.listen), ("advertise", &self.advertise)] {
            let wrong = values.iter().find(|value| parse_host_port(value).is_none());
            if let Some(value) = wrong {
                let value = value.clone();
                return Err(CliError::NotHostPort { option, value });
            }
        }
        if !self.listen.is_empty() {
            let names = (1..=self.listen.len()).map(listener_name);
            let listeners = names.clone().zip(&self.listen).map(endpoint);
            set(properties, "listeners", &join(listeners));
            let protocols = names.map(|name| format!("{name}:PLAINTEXT"));
            set(
                properties,
                "listener.security.protocol.map",
                &join(protocols),
            );
            properties.remove("advertised.listeners");
        }
        if self.advertise.is_empty() {
            return Ok(());
        }
        let names = configured_names(properties);
        let advertised: Vec<&String> = match self.advertise.as_slice() {
            [one] => vec![one; names.len()],
            each if each.len() == names.len() => each.iter().collect(),
            each => {
                return Err(CliError::AdvertiseCount {
                    given: each.len(),
                    listeners: names.len(),
                });
            }
        };
        let advertised = names.into_iter().zip(advertised).map(endpoint);
        set(properties, "advertised.listeners", &join(advertised));
        Ok(())
    }
}

/// PLAINTEXT, PLAINTEXT_2, PLAINTEXT_3: listener names are unique.
fn listener_name(number: usize) -> String {
    match number {
        1 => "PLAINTEXT".to_owned(),
        _ => format!("PLAINTEXT_{number}"),
    }
}

fn configured_names(properties: &Properties) -> Vec<String> {
    let items = |key: &str| -> Vec<String> {
        let value = properties.get(key).map_or("", String::as_str);
        let items = value.split(',').map(|item| item.trim().to_uppercase());
        items.filter(|item| !item.is_empty()).collect()
    };
    let controllers = items("controller.listener.names");
    let names: Vec<String> = items("listeners")
        .iter()
        .filter_map(|listener| Some(listener.split_once("://")?.0.to_owned()))
        .filter(|name| !controllers.contains(name))
        .collect();
    match names.is_empty() {
        true => vec![listener_name(1)],
        false => names,
    }
}

fn endpoint((name, address): (String, &String)) -> String {
    format!("{name}://{address}")
}

fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}

fn set(properties: &mut Properties, key: &str, value: &str) {
    properties.insert(key.to_owned(), value.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<BrokerConfig, CliError> {
        let program = std::iter::once(&"ottla");
        let cli = Cli::try_parse_from(program.chain(arguments)).expect("arguments");
        Ok(cli.broker_config(None)?.0)
    }

    fn told(arguments: &[&str]) -> Vec<(String, String)> {
        let config = config(arguments).expect("configuration");
        let listeners = config.listeners.iter();
        listeners
            .map(|listener| (listener.bind.to_string(), listener.advertised.to_string()))
            .collect()
    }

    fn pair(bind: &str, advertised: &str) -> (String, String) {
        (bind.to_owned(), advertised.to_owned())
    }

    #[test]
    fn without_arguments_it_serves_localhost_from_ottla_data() {
        assert_eq!(told(&[]), [pair("localhost:9092", "localhost:9092")]);
        let config = config(&[]).expect("configuration");
        assert_eq!(config.data_dir, PathBuf::from("ottla-data"));
    }

    #[test]
    fn each_listen_is_a_listener_that_advertises_itself() {
        assert_eq!(
            told(&["--listen", "127.0.0.1:1", "--listen", "[::1]:2"]),
            [
                pair("127.0.0.1:1", "127.0.0.1:1"),
                pair("[::1]:2", "[::1]:2")
            ]
        );
    }

    #[test]
    fn one_advertise_is_for_every_listener_and_several_are_one_for_each() {
        let two = ["--listen", "a:1", "--listen", "b:2", "--advertise", "x:9"];
        assert_eq!(told(&two), [pair("a:1", "x:9"), pair("b:2", "x:9")]);
        let each = [&two[..], &["--advertise", "y:8"]].concat();
        assert_eq!(told(&each), [pair("a:1", "x:9"), pair("b:2", "y:8")]);
        let wrong = [&each[..], &["--advertise", "z:7"]].concat();
        assert!(matches!(
            config(&wrong),
            Err(CliError::AdvertiseCount { .. })
        ));
    }

    #[test]
    fn every_interface_can_be_listened_on_when_a_host_is_advertised() {
        assert_eq!(
            told(&["--listen", "0.0.0.0:1", "--advertise", "h:1"]),
            [pair("0.0.0.0:1", "h:1")]
        );
        assert!(config(&["--listen", "0.0.0.0:1"]).is_err());
    }

    #[test]
    fn an_override_wins_over_the_other_options() {
        let config = config(&["--data-dir", "a", "--override", "log.dirs=b"]);
        assert_eq!(config.expect("configuration").data_dir, PathBuf::from("b"));
    }

    #[test]
    fn a_wrong_argument_is_named() {
        for (arguments, expected) in [
            (["--listen", "9092"], "--listen 9092: expected HOST:PORT"),
            (["--override", "x"], "--override x: expected KEY=VALUE"),
            (
                ["--override", "num.partitions=x"],
                "Invalid value x for configuration num.partitions: Not a number of type INT",
            ),
        ] {
            let error = config(&arguments).expect_err("refused");
            assert_eq!(error.to_string(), expected);
        }
    }
}
