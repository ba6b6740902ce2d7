//! The command line, turned into the properties that the rest of the configuration reads.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use broker::config::{
    BrokerConfig, ConfigError, Environment, EnvironmentError, FirstTopic, FirstTopicError,
    Properties, Remark, parse_host_port, read_properties,
};
use broker::secure::{self, Secured};
use broker::security::first_users::{FirstUser, FirstUserError};
use clap::builder::BoolishValueParser;
use clap::{CommandFactory as _, Parser};
use credentials::secret::Secret;

use crate::ready::ReadyFormat;

/// A Kafka-compatible broker in one small binary.
///
/// Without arguments it serves localhost:9092 from ./ottla-data and answers a producer when the record is on
/// stable media.
#[derive(Debug, Parser)]
#[command(
    name = "ottla",
    version,
    after_help = "\
Examples:
  ottla                                          localhost:9092, data in ./ottla-data
  ottla --ephemeral --listen localhost:0         for a test: any free port, nothing left behind
  ottla --listen 0.0.0.0:9092 --advertise broker.example.org:9092 --data-dir /var/lib/ottla
  ottla --secure                                 localhost:9092 for those who know the password in ottla-data/secure
  ottla --tls-cert broker.pem --tls-key broker.key    localhost:9092, encrypted
  ottla server.properties --override num.partitions=3
  ottla --cluster-database postgres://ottla@db/ottla --cluster-objects s3://bucket --rack a    one of several brokers

Commands (ottla COMMAND --help):
  topics, groups, produce, consume, configs, acls, users, quotas, health
                          ask a broker on localhost:9092, or at --bootstrap HOST:PORT; any Kafka will do
  import                  take over the data directory of a Kafka
  snapshot, restore       copy the data of a broker while it serves, and make a data directory of the copy
  completions             complete command lines in bash, zsh and fish
A file with the name of a command is ./NAME."
)]
pub struct Cli {
    /// Kafka's server.properties; options win over it
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,

    /// Listen here, also as NAME://HOST:PORT; an empty host is every interface, port 0 any free one; repeat it for
    /// several; SSL://HOST:PORT encrypts [default: localhost:9092]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub listen: Vec<String>,

    /// Tell clients to connect here: once for all listeners, or once for each [default: as --listen]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub advertise: Vec<String>,

    /// Encrypt, ask clients who they are, and let them do what they are allowed to and no more. Makes the certificates, the
    /// user admin and files for clients in DIR/secure
    #[arg(long, conflicts_with_all = ["tls_cert", "sasl_user"])]
    pub secure: bool,

    /// Encrypt with this certificate and those that it was issued by: a PEM file, which may have the key, too; read
    /// again when it changes. What --listen opens without a name is encrypted then
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert: a PEM file [default: in the same file]
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Let in only clients whose certificate was issued by one of these: a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,

    /// Keep all data in this directory [default: ottla-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Keep data in a temporary directory, do not wait for the disk, and remove everything at exit
    #[arg(long, conflicts_with = "data_dir")]
    pub ephemeral: bool,

    /// Be one of the brokers that share this PostgreSQL database: postgres://user@host/database. See docs/cluster.md
    #[arg(long, value_name = "URL")]
    pub cluster_database: Option<String>,

    /// The object store that they share: s3://bucket/prefix
    #[arg(long, value_name = "URL")]
    pub cluster_objects: Option<String>,

    /// Where the broker is, such as its zone; clients in the same rack are served by it
    #[arg(long, value_name = "RACK")]
    pub rack: Option<String>,

    /// Serve metrics and health over HTTP here, or nowhere: off [default: localhost:9404 if it is free and the broker is
    /// open to everybody, and not --ephemeral]
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics_listen: Option<String>,

    /// The same as FILE
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Set one key of server.properties, over the file and the other options
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,

    /// Read KAFKA_ variables and CLUSTER_ID as the image apache/kafka does, over FILE or /mnt/shared/config/server.properties, and
    /// say that the broker is ready in Kafka's words, too
    #[arg(long, env = "OTTLA_KAFKA_ENV", value_parser = BoolishValueParser::new())]
    pub kafka_env: bool,

    /// Make a topic before clients can connect; one that is there stays as it is; repeat it for several
    #[arg(long, value_name = "NAME:PARTITIONS[:POLICY]")]
    pub create_topic: Vec<String>,

    /// Make a user before the first start, as kafka-storage does: SCRAM-SHA-512=[name=NAME,password=PASSWORD]. Without
    /// password= it is in OTTLA_PASSWORD_NAME or in --password-file. A user that is there stays as it is
    #[arg(long, value_name = "USER")]
    pub add_scram: Vec<String>,

    /// Let nobody in but this user: with PLAIN or SCRAM. The password is in OTTLA_PASSWORD_NAME or in
    /// --password-file
    #[arg(long, value_name = "NAME", conflicts_with_all = ["file", "config", "kafka_env"])]
    pub sasl_user: Option<String>,

    /// The first line of this file is the password of --add-scram and --sasl-user
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// Stop when standard input ends: for a program that starts a broker with a pipe, and may be killed
    #[arg(long)]
    pub stop_with_stdin: bool,

    /// Write the line on stdout that says that the broker is ready as text or as JSON
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = ReadyFormat::Text)]
    pub ready_format: ReadyFormat,

    /// What is logged to stderr: off, error, warn, info, debug, trace, or RUST_LOG's syntax
    /// [default: RUST_LOG, or info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// How a line of the log is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// for people, in colours on a terminal
    Human,
    /// one JSON object
    Json,
}

/// The command line without the `console`'s commands.
pub fn serving() -> clap::Command {
    let about = |name, about| clap::Command::new(name).about(about);
    Cli::command().subcommands([
        broker::import::command::command_line(),
        about("snapshot", "Copy the data of a broker while it serves"),
        about("restore", "Make a data directory of a snapshot"),
    ])
}

/// What to say of a first word that looks like a command and is none, nor a file.
pub fn slip(word: &OsStr) -> Option<String> {
    let word = word.to_str()?;
    let is_word = word.starts_with(|first: char| first.is_ascii_lowercase())
        && word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if !is_word || LOCAL.contains(&word) || Path::new(word).exists() {
        return None;
    }
    let commands: Vec<String> = console::names().chain(LOCAL.map(str::to_owned)).collect();
    let alike = |command: &&String| strsim::jaro(word, command) > 0.7;
    let nearest = commands
        .iter()
        .filter(alike)
        .max_by(|one, other| strsim::jaro(word, one).total_cmp(&strsim::jaro(word, other)));
    let meant = nearest.map_or_else(String::new, |name| format!("; was `ottla {name}` meant?"));
    Some(format!(
        "{word}: there is no such command, and no such file to serve with{meant}; ottla --help tells both"
    ))
}

/// Commands that are about this machine.
const LOCAL: [&str; 3] = ["import", "restore", "snapshot"];

/// Why the arguments cannot be used; one line.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("--{option} {value}: expected HOST:PORT")]
    NotHostPort { option: &'static str, value: String },
    #[error("--metrics-listen {0}: expected HOST:PORT, or off")]
    NoMetricsListen(String),
    #[error("--override {0}: expected KEY=VALUE")]
    NotKeyValue(String),
    #[error("{given} --advertise for {listeners} listeners: give one, or one for each")]
    AdvertiseCount { given: usize, listeners: usize },
    #[error(
        "--listen {address} would be open, and listener {name} of the file has security protocol {protocol}: \
         write {protocol}://{address}"
    )]
    Open {
        address: String,
        name: String,
        protocol: &'static str,
    },
    #[error("--{option} {}: a name that is not UTF-8 is not supported", .path.display())]
    NotText { option: &'static str, path: PathBuf },
    #[error("--data-dir {}: a directory with a comma in its name is not supported", .0.display())]
    CommaInDirectory(PathBuf),
    #[error("--add-scram: {0}")]
    AddScram(FirstUserError),
    #[error("--sasl-user: {0}")]
    SaslUser(FirstUserError),
    #[error("--password-file {}: {source}", .path.display())]
    PasswordFile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("--secure says {0} itself: remove the key, or configure the broker without --secure")]
    SecuredAlready(String),
    #[error(
        "--secure, and listener {name} has security protocol {protocol}: give it without a name, or as SASL_SSL://{address}"
    )]
    NotSecured {
        name: String,
        protocol: String,
        address: String,
    },
    #[error("{option}: {error}")]
    FirstTopic {
        option: &'static str,
        error: FirstTopicError,
    },
    #[error("{error} (set by {variable})")]
    Variable {
        error: ConfigError,
        variable: String,
    },
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Cli {
    /// The configuration that the arguments describe, and what there is to say about keys without effect.
    ///
    /// With `ephemeral_dir` the data goes there and no acknowledgement waits for the disk.
    ///
    /// # Errors
    /// The first argument, variable, or value in the file, that cannot be used.
    pub fn broker_config(
        &self,
        ephemeral_dir: Option<PathBuf>,
        environment: &Environment,
    ) -> Result<(BrokerConfig, Vec<Remark>), CliError> {
        let file = self.config.as_ref().or(self.file.as_ref());
        let file = file.map(|file| read_properties(file)).transpose()?;
        let (mut properties, kafka) = match self.kafka_env {
            true => {
                let kafka = environment.kafka(file, &read)?;
                (kafka.properties.clone(), Some(kafka))
            }
            false => (file.unwrap_or_default(), None),
        };
        properties.extend(environment.ottla());
        let before_options = properties.clone();
        if self.secure {
            let overrides = self.overrides.iter();
            let overrides = overrides.filter_map(|pair| Some(pair.split_once('=')?.0.trim()));
            let keys = properties.keys().map(String::as_str).chain(overrides);
            if let Some(key) = secure::own_key(keys) {
                return Err(CliError::SecuredAlready(key.to_owned()));
            }
        }
        self.set_tls(&mut properties)?;
        self.set_listeners(&mut properties)?;
        if let Some(kafka) = &kafka {
            kafka.set_listeners(&mut properties);
        }
        self.require_certificates(&mut properties);
        if let Some(value) = &self.metrics_listen {
            if value != "off" && parse_host_port(value).is_none() {
                return Err(CliError::NoMetricsListen(value.clone()));
            }
            set(&mut properties, "ottla.metrics.listen", value);
        }
        for (key, value) in [
            ("ottla.cluster.database.url", &self.cluster_database),
            ("ottla.cluster.objects.url", &self.cluster_objects),
            ("broker.rack", &self.rack),
        ] {
            if let Some(value) = value {
                set(&mut properties, key, value);
            }
        }
        if ephemeral_dir.is_some() && !properties.contains_key("ottla.cluster.database.url") {
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
        if self.secure {
            let data_dir = BrokerConfig::data_dir_of(&properties);
            for (key, value) in Secured::properties(&data_dir) {
                set(&mut properties, key, &value);
            }
        }
        if let Some(kafka) = &kafka {
            kafka.complete_logins(&mut properties, &read)?;
        }
        let is_as_before = |key: &str| properties.get(key) == before_options.get(key);
        let configured = BrokerConfig::from_properties(properties.clone());
        let (mut config, remarks) = configured.map_err(|error| {
            // Who has set a variable looks for its name.
            let key = error.key().filter(|key| is_as_before(key));
            let variable = key.and_then(|key| environment.variable_of(key, self.kafka_env));
            match variable.map(str::to_owned) {
                Some(variable) => CliError::Variable { error, variable },
                None => CliError::Config(error),
            }
        })?;
        config.cluster_id = kafka.map(|kafka| kafka.cluster_id);
        self.add_first_topics(&mut config, environment)?;
        config.secure = self.secure;
        config.ephemeral = ephemeral_dir.is_some();
        config.first_users = self.first_users()?;
        Ok((config, remarks))
    }

    /// Options win over the stores of the file, of which nothing may be left.
    fn set_tls(&self, properties: &mut Properties) -> Result<(), CliError> {
        let text = |option, path: &PathBuf| {
            let text = path.to_str().map(str::to_owned);
            let path = path.clone();
            text.ok_or(CliError::NotText { option, path })
        };
        if let Some(path) = &self.tls_cert {
            properties.retain(|key, _| !key.starts_with("ssl.key"));
            set(properties, "ssl.keystore.type", "PEM");
            set(
                properties,
                "ssl.keystore.location",
                &text("tls-cert", path)?,
            );
        }
        if let Some(path) = &self.tls_key {
            set(
                properties,
                "ottla.ssl.key.location",
                &text("tls-key", path)?,
            );
        }
        if let Some(path) = &self.tls_client_ca {
            properties.retain(|key, _| !key.starts_with("ssl.truststore."));
            set(properties, "ssl.truststore.type", "PEM");
            set(
                properties,
                "ssl.truststore.location",
                &text("tls-client-ca", path)?,
            );
        }
        Ok(())
    }

    /// Each listener is told by its name: one of SASL_SSL goes by no other key.
    fn require_certificates(&self, properties: &mut Properties) {
        if self.tls_client_ca.is_none() {
            return;
        }
        for name in configured_names(properties) {
            let listener = Address {
                name: Some(name.clone()),
                address: String::new(),
            };
            if listener.protocol(properties).ends_with("SSL") {
                let key = format!("listener.name.{}.ssl.client.auth", name.to_lowercase());
                set(properties, &key, "required");
            }
        }
    }

    /// The topics that `--create-topic` and `KAFKA_CREATE_TOPICS` name.
    fn add_first_topics(
        &self,
        config: &mut BrokerConfig,
        environment: &Environment,
    ) -> Result<(), CliError> {
        let of_option = |option, error| CliError::FirstTopic { option, error };
        let mut topics = Vec::new();
        for entry in &self.create_topic {
            let topic = FirstTopic::parse_option(entry);
            topics.push(topic.map_err(|error| of_option("--create-topic", error))?);
        }
        const VARIABLE: &str = "KAFKA_CREATE_TOPICS";
        if let Some(text) = environment.get(VARIABLE).filter(|_| self.kafka_env) {
            let separator = environment.get("KAFKA_CREATE_TOPICS_SEPARATOR");
            let named = FirstTopic::parse_variable(text, separator);
            topics.extend(named.map_err(|error| of_option(VARIABLE, error))?);
        }
        let option = match self.create_topic.is_empty() {
            true => VARIABLE,
            false => "--create-topic",
        };
        let added = config.make_first_topics(topics);
        added.map_err(|error| of_option(option, error))
    }

    /// The users that `--add-scram` and `--sasl-user` name.
    fn first_users(&self) -> Result<Vec<FirstUser>, CliError> {
        let in_file = match &self.password_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|source| CliError::PasswordFile {
                    path: path.clone(),
                    source,
                })?;
                text.lines().next().map(Secret::new)
            }
        };
        let password_of = |user: &str| {
            let in_environment = std::env::var(credentials::password_variable(user)).ok();
            in_environment.map(Secret::new).or_else(|| in_file.clone())
        };
        let added = self.add_scram.iter();
        let added = added.map(|text| FirstUser::parse(text, password_of));
        let mut users: Vec<_> = added
            .collect::<Result<_, _>>()
            .map_err(CliError::AddScram)?;
        if let Some(name) = &self.sasl_user {
            let named = FirstUser::of_name(name, password_of);
            users.extend(named.map_err(CliError::SaslUser)?);
        }
        Ok(users)
    }

    fn set_listeners(&self, properties: &mut Properties) -> Result<(), CliError> {
        let mut listen = addresses("listen", &self.listen)?;
        if self.sasl_user.is_some() {
            let mechanisms = "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN";
            set(properties, "sasl.enabled.mechanisms", mechanisms);
        }
        let advertise = addresses("advertise", &self.advertise)?;
        let encrypts = self.secure || self.tls_cert.is_some();
        let unnamed = match (encrypts, self.secure || self.sasl_user.is_some()) {
            (true, true) => "SASL_SSL",
            (true, false) => "SSL",
            (false, true) => "SASL_PLAINTEXT",
            (false, false) => "PLAINTEXT",
        };
        if unnamed != "PLAINTEXT" && listen.is_empty() && !properties.contains_key("listeners") {
            listen = addresses("listen", &["localhost:9092".to_owned()])?;
        }
        if !listen.is_empty() {
            let named = listen.iter().zip(1..).map(|(one, number)| Address {
                name: Some(
                    one.name
                        .clone()
                        .unwrap_or_else(|| listener_name(unnamed, number)),
                ),
                address: one.address.clone(),
            });
            let named: Vec<Address> = named.collect();
            if self.secure {
                check_secured(properties, &named)?;
            }
            refuse_open(properties, &named)?;
            set(properties, "listeners", &join(&named));
            let protocols = named.iter().map(|one| {
                let name = one.name.as_deref().unwrap_or_default();
                format!("{name}:{}", one.protocol(properties))
            });
            let protocols = protocols.collect::<Vec<_>>().join(",");
            set(properties, "listener.security.protocol.map", &protocols);
            properties.remove("advertised.listeners");
        }
        if advertise.is_empty() {
            return Ok(());
        }
        let names = configured_names(properties);
        let advertised: Vec<&Address> = match advertise.as_slice() {
            [one] if one.name.is_none() => vec![one; names.len()],
            each if each.len() == names.len() || each.iter().all(|one| one.name.is_some()) => {
                each.iter().collect()
            }
            each => {
                return Err(CliError::AdvertiseCount {
                    given: each.len(),
                    listeners: names.len(),
                });
            }
        };
        let advertised = advertised
            .into_iter()
            .zip(names.iter().map(Some).chain(std::iter::repeat(None)));
        let advertised = advertised.map(|(one, name)| Address {
            name: one.name.clone().or_else(|| name.cloned()),
            address: one.address.clone(),
        });
        set(
            properties,
            "advertised.listeners",
            &join(&advertised.collect::<Vec<_>>()),
        );
        Ok(())
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// A secured broker has no door without a lock.
fn check_secured(properties: &Properties, listen: &[Address]) -> Result<(), CliError> {
    for one in listen {
        let protocol = one.protocol(properties);
        if protocol != "SASL_SSL" {
            return Err(CliError::NotSecured {
                name: one.name.clone().unwrap_or_default(),
                protocol: protocol.to_owned(),
                address: one.address.clone(),
            });
        }
    }
    Ok(())
}

/// `HOST:PORT`, or `NAME://HOST:PORT` as in Kafka's `listeners`.
#[derive(Clone)]
struct Address {
    /// Upper case.
    name: Option<String>,
    address: String,
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        let (name, address) = match text.split_once("://") {
            Some((name, address)) => (Some(name.to_uppercase()), address),
            None => (None, text),
        };
        let named = name.as_ref().is_none_or(|name| !name.is_empty());
        (named && parse_host_port(address).is_some()).then(|| Self {
            name,
            address: address.to_owned(),
        })
    }

    /// Its security protocol: what the file says of its name, else what it is called after.
    fn protocol<'a>(&'a self, properties: &'a Properties) -> &'a str {
        let name = self.name.as_deref().unwrap_or_default();
        let map = properties.get("listener.security.protocol.map");
        let mut pairs = map.map_or("", String::as_str).split(',');
        let mapped = pairs.find_map(|pair| {
            let (listener, protocol) = pair.split_once(':')?;
            let is_it = listener.trim().eq_ignore_ascii_case(name);
            is_it.then_some(protocol.trim())
        });
        let is_numbered = |rest: &str| {
            let number = rest.strip_prefix('_').unwrap_or("x");
            rest.is_empty() || number.bytes().all(|byte| byte.is_ascii_digit())
        };
        let mut protected = ["SSL", "SASL_PLAINTEXT", "SASL_SSL"].into_iter();
        let named = protected.find(|protocol| name.strip_prefix(protocol).is_some_and(is_numbered));
        mapped.or(named).unwrap_or("PLAINTEXT")
    }
}

/// Never opens a listener in place of one that the file protects.
fn refuse_open(properties: &Properties, listen: &[Address]) -> Result<(), CliError> {
    let is_open = |one: &&Address| one.protocol(properties).eq_ignore_ascii_case("PLAINTEXT");
    let Some(open) = listen.iter().find(is_open) else {
        return Ok(());
    };
    match BrokerConfig::protected_listener(properties)? {
        None => Ok(()),
        Some((name, protocol)) => Err(CliError::Open {
            address: open.address.clone(),
            name,
            protocol: protocol.name(),
        }),
    }
}

fn addresses(option: &'static str, values: &[String]) -> Result<Vec<Address>, CliError> {
    let parse = |value: &String| {
        Address::parse(value).ok_or_else(|| CliError::NotHostPort {
            option,
            value: value.clone(),
        })
    };
    values.iter().map(parse).collect()
}

/// PLAINTEXT, PLAINTEXT_2, PLAINTEXT_3: listener names are unique.
fn listener_name(protocol: &str, number: usize) -> String {
    match number {
        1 => protocol.to_owned(),
        _ => format!("{protocol}_{number}"),
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
        true => vec![listener_name("PLAINTEXT", 1)],
        false => names,
    }
}

fn join(addresses: &[Address]) -> String {
    let endpoint = |one: &Address| {
        let name = one.name.as_deref().unwrap_or_default();
        format!("{name}://{}", one.address)
    };
    addresses.iter().map(endpoint).collect::<Vec<_>>().join(",")
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
        Ok(cli.broker_config(None, &Environment::default())?.0)
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
    fn a_listener_may_be_named_as_in_kafkas_listeners() {
        let named = ["--listen", "PLAINTEXT://127.0.0.1:1,inner://127.0.0.1:2"];
        assert_eq!(
            told(&named),
            [
                pair("127.0.0.1:1", "127.0.0.1:1"),
                pair("127.0.0.1:2", "127.0.0.1:2")
            ]
        );
        let names: Vec<String> = {
            let listeners = config(&named).expect("configuration").listeners;
            listeners
                .into_iter()
                .map(|listener| listener.name)
                .collect()
        };
        assert_eq!(names, ["PLAINTEXT", "INNER"]);
        let one = [&named[..], &["--advertise", "INNER://x:9"]].concat();
        assert_eq!(
            told(&one),
            [
                pair("127.0.0.1:1", "127.0.0.1:1"),
                pair("127.0.0.1:2", "x:9")
            ]
        );
        let unknown = [&named[..], &["--advertise", "OUTER://x:9"]].concat();
        let refused = config(&unknown).expect_err("unknown").to_string();
        assert!(
            refused.contains("OUTER is not among the listeners"),
            "{refused}"
        );
        for protocol in ["SSL", "SASL_PLAINTEXT", "SASL_SSL"] {
            let listen = format!("{protocol}://127.0.0.1:1");
            let refused = config(&["--listen", &listen]).expect_err("no TLS, no mechanism");
            assert!(refused.to_string().contains(protocol), "{refused}");
        }
        let scram = "sasl.enabled.mechanisms=SCRAM-SHA-256";
        let listen = [
            "--listen",
            "SASL_PLAINTEXT://127.0.0.1:1",
            "--override",
            scram,
        ];
        let listeners = config(&listen).expect("configuration").listeners;
        assert!(listeners[0].mechanisms.is_some());
    }

    #[test]
    fn options_do_not_take_the_locks_from_the_listeners_of_a_file() {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("server.properties");
        for (line, locked) in [
            ("listeners=SSL://:9092", true),
            (
                "listener.security.protocol.map=PLAINTEXT:SASL_PLAINTEXT",
                true,
            ),
            ("advertised.listeners=SASL_SSL://h:9092", true),
            ("listeners=PLAINTEXT://:9092", false),
        ] {
            std::fs::write(&file, line).expect("written");
            let file = file.to_str().expect("text");
            let outcome = config(&["--listen", "127.0.0.1:1", file]);
            assert_eq!(outcome.is_err(), locked, "{line}: {outcome:?}");
        }
    }

    #[test]
    fn options_for_certificates_encrypt_what_has_no_name() {
        let cert = ["--tls-cert", "broker.pem", "--tls-key", "broker.key"];
        let protocols = |arguments: &[&str]| -> Vec<(String, &'static str)> {
            let config = config(&[&cert[..], arguments].concat()).expect("configuration");
            let listeners = config.listeners.into_iter();
            listeners
                .map(|one| (one.name, one.security_protocol.name()))
                .collect()
        };
        let named = |name: &str, protocol| (name.to_owned(), protocol);
        assert_eq!(protocols(&[]), [named("SSL", "SSL")]);
        assert_eq!(
            protocols(&["--listen", "h:1,h:2,PLAINTEXT://localhost:3,IN://h:4"]),
            [
                named("SSL", "SSL"),
                named("SSL_2", "SSL"),
                named("PLAINTEXT", "PLAINTEXT"),
                named("IN", "PLAINTEXT"),
            ]
        );
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("server.properties");
        let text = "listeners=IN://h:1\nlistener.security.protocol.map=IN:SSL,OUT:SSL\n\
                    ssl.keystore.location=/x\nssl.keystore.password=x\nssl.client.auth=required\n\
                    ssl.truststore.location=/y\nssl.truststore.password=y";
        std::fs::write(&file, text).expect("written");
        let file = file.to_str().expect("text");
        assert_eq!(protocols(&[file]), [named("IN", "SSL")]);
        let ca = ["--tls-client-ca", "ca.pem", "--listen", "OUT://h:2", file];
        assert_eq!(protocols(&ca), [named("OUT", "SSL")]);
        let open = config(&["--listen", "h:1", file]).expect_err("open");
        assert!(open.to_string().contains("SSL://h:1"), "{open}");
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
    fn a_secured_broker_is_said_with_one_word_and_has_no_open_door() {
        let alone = config(&["--secure"]).expect("configuration");
        assert!(alone.secure);
        let told = |config: &BrokerConfig| -> Vec<String> {
            let listeners = config.listeners.iter();
            listeners
                .map(|one| format!("{} {} {}", one.name, one.security_protocol.name(), one.bind))
                .collect()
        };
        assert_eq!(told(&alone), ["SASL_SSL SASL_SSL localhost:9092"]);
        let two = config(&["--secure", "--listen", "a:1,b:2", "--advertise", "c:3"]);
        let two = two.expect("configuration");
        assert_eq!(
            told(&two),
            ["SASL_SSL SASL_SSL a:1", "SASL_SSL_2 SASL_SSL b:2"]
        );
        assert!(two.host_names().contains(&"c".to_owned()));
        let open = config(&["--secure", "--listen", "PLAINTEXT://a:1"]).expect_err("open");
        assert!(open.to_string().contains("SASL_SSL://a:1"), "{open}");
        for key in [
            "super.users=User:x",
            "ssl.client.auth=none",
            "listeners=SASL_SSL://a:1",
        ] {
            let refused = config(&["--secure", "--override", key]).expect_err("said twice");
            let expected = key.split_once('=').expect("a key").0;
            assert!(refused.to_string().contains(expected), "{refused}");
        }
        assert!(config(&["--secure", "--override", "num.partitions=3"]).is_ok());
    }

    #[test]
    fn a_certificate_is_required_of_clients_that_log_in_too() {
        for (user, key) in [
            (&[][..], "listener.name.ssl.ssl.client.auth"),
            (
                &["--sasl-user", "ann"],
                "listener.name.sasl_ssl.ssl.client.auth",
            ),
        ] {
            let tls = ["ottla", "--tls-cert", "a.pem", "--tls-client-ca", "b.pem"];
            let cli = Cli::try_parse_from(tls.iter().chain(user)).expect("arguments");
            let mut properties = Properties::new();
            cli.set_tls(&mut properties).expect("text");
            cli.set_listeners(&mut properties).expect("addresses");
            cli.require_certificates(&mut properties);
            assert_eq!(properties.get(key).map(String::as_str), Some("required"));
        }
    }

    #[test]
    fn a_user_of_the_command_line_has_its_password_elsewhere() {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("password");
        std::fs::write(&file, "canary\nnot this\n").expect("written");
        let file = file.to_str().expect("text");
        let with_file = ["--sasl-user", "ann", "--password-file", file];
        let with_file = config(&[&with_file[..], &["--listen", "a:1", "--listen", "b:2"]].concat());
        let with_file = with_file.expect("configuration");
        let names: Vec<_> = with_file
            .first_users
            .iter()
            .map(|user| &user.name)
            .collect();
        assert_eq!(names, ["ann", "ann"]);
        assert!(
            with_file
                .listeners
                .iter()
                .all(|one| one.mechanisms.is_some())
        );
        assert!(!format!("{with_file:?}").contains("canary"));
        let one = config(&["--sasl-user", "ann", "--password-file", file]).expect("configuration");
        assert_eq!(one.listeners[0].name, "SASL_PLAINTEXT");
        assert_eq!(one.listeners[0].bind.to_string(), "localhost:9092");
        for (arguments, expected) in [
            (
                ["--sasl-user", "ann"],
                "there is no password for ann: set OTTLA_PASSWORD_ANN",
            ),
            (
                ["--add-scram", "SCRAM-SHA-256=[name=ann]"],
                "--add-scram: there is no password",
            ),
            (["--add-scram", "x"], "expected SCRAM-SHA-256=[name="),
        ] {
            let refused = config(&arguments).expect_err("refused").to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    fn in_environment(
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<(BrokerConfig, Vec<Remark>), String> {
        let program = std::iter::once(&"ottla");
        let cli = Cli::try_parse_from(program.chain(arguments)).expect("arguments");
        let environment = Environment::of(variables.iter().copied());
        let config = cli.broker_config(None, &environment);
        config.map_err(|error| error.to_string())
    }

    #[test]
    fn a_variable_wins_over_the_file_and_an_option_over_both() {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("server.properties");
        std::fs::write(
            &file,
            "num.partitions=2\nottla.max.topics=7\nlog.dirs=/file",
        )
        .expect("written");
        let file = file.to_str().expect("text");
        let variables = [
            ("KAFKA_NUM_PARTITIONS", "3"),
            ("OTTLA_MAX_TOPICS", "8"),
            ("KAFKA_LOG_DIRS", "/variable"),
            ("CLUSTER_ID", "of-the-variable"),
        ];
        let told = |arguments: &[&str]| {
            let (config, _) = in_environment(arguments, &variables).expect("configuration");
            let new = &config.new_topics;
            let dir = config.data_dir.display().to_string();
            (new.num_partitions, new.max_topics, dir, config.cluster_id)
        };
        let dir = |dir: &str| dir.to_owned();
        let cluster = Some("of-the-variable".to_owned());
        assert_eq!(told(&[file]), (2, 8, dir("/file"), None));
        assert_eq!(
            told(&[file, "--kafka-env"]),
            (3, 8, dir("/variable"), cluster.clone())
        );
        let options = ["--data-dir", "/option", "--override", "num.partitions=5"];
        let all = [&["--kafka-env", file], &options[..]].concat();
        assert_eq!(told(&all), (5, 8, dir("/option"), cluster));
    }

    #[test]
    fn a_variable_that_cannot_be_used_is_named() {
        for (arguments, variable, value, expected) in [
            (
                &["--kafka-env"][..],
                "KAFKA_NUM_PARTITIONS",
                "x",
                "(set by KAFKA_NUM_PARTITIONS)",
            ),
            (
                &["--kafka-env"],
                "KAFKA_CFG_NUM_PARTITIONS",
                "x",
                "(set by KAFKA_CFG_NUM_PARTITIONS)",
            ),
            (&[], "OTTLA_DURABILITY", "fast", "(set by OTTLA_DURABILITY)"),
            (
                &["--kafka-env"],
                "KAFKA_CREATE_TOPICS",
                "a",
                "KAFKA_CREATE_TOPICS: a: expected",
            ),
            (
                &["--create-topic", "a:x"],
                "X",
                "",
                "--create-topic: a:x: expected",
            ),
            (
                &["--create-topic", "a:1", "--create-topic", "a:2"],
                "X",
                "",
                "a is named twice",
            ),
        ] {
            let refused = in_environment(arguments, &[(variable, value)]).expect_err(variable);
            assert!(refused.contains(expected), "{refused}");
        }
        // The option is to blame.
        let option = ["--override", "num.partitions=y", "--kafka-env"];
        let refused = in_environment(&option, &[("KAFKA_NUM_PARTITIONS", "x")]).expect_err("y");
        assert!(!refused.contains("KAFKA_NUM_PARTITIONS"), "{refused}");
    }

    #[test]
    fn topics_are_named_by_options_and_by_kafkas_variable() {
        let variables = [("KAFKA_CREATE_TOPICS", "b:2:1:compact")];
        let names = |arguments: &[&str]| -> Vec<(String, i32)> {
            let (config, _) = in_environment(arguments, &variables).expect("configuration");
            let topics = config.first_topics.into_iter();
            topics.map(|topic| (topic.name, topic.partitions)).collect()
        };
        let topic = |name: &str, partitions| (name.to_owned(), partitions);
        let option = ["--create-topic", "a:1:compact,delete"];
        assert_eq!(names(&option), [topic("a", 1)]);
        let both = [&option[..], &["--kafka-env"]].concat();
        assert_eq!(names(&both), [topic("a", 1), topic("b", 2)]);
    }

    #[test]
    fn a_key_that_nobody_knows_is_told_with_the_one_that_is_meant_whoever_sets_it() {
        let warned = |arguments: &[&str], variables: &[(&str, &str)]| {
            let (_, remarks) = in_environment(arguments, variables).expect("configuration");
            format!("{remarks:?}")
        };
        let meant = "did you mean log.retention.hours?";
        let option = ["--override", "log.retention.hour=3"];
        assert!(warned(&option, &[]).contains(meant));
        assert!(warned(&["--kafka-env"], &[("KAFKA_LOG_RETENTION_HOUR", "3")]).contains(meant));
        let own = warned(&[], &[("OTTLA_MAX_TOPIC", "3")]);
        assert!(own.contains("did you mean ottla.max.topics?"), "{own}");
        assert_eq!(warned(&[], &[("KAFKA_LOG_RETENTION_HOUR", "3")]), "[]");
    }

    #[test]
    fn an_image_may_be_started_with_options_for_tls() {
        let (config, _) = in_environment(
            &["--kafka-env", "--tls-cert", "a.pem", "--tls-key", "a.key"],
            &[],
        )
        .expect("configuration");
        let names: Vec<_> = config
            .listeners
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(names, ["SSL"], "nothing is open besides");
        let (bare, _) = in_environment(&["--kafka-env"], &[]).expect("configuration");
        assert_eq!(bare.listeners[0].bind.to_string(), ":9092");
        assert_eq!(bare.listeners[0].advertised.to_string(), "localhost:9092");
    }

    #[test]
    fn a_slip_is_told_from_a_file_and_an_option() {
        let meant = slip("topcs".as_ref()).expect("a slip");
        assert!(meant.contains("was `ottla topics` meant?"), "{meant}");
        assert!(slip("serve".as_ref()).is_some());
        // This crate's own directory is where its tests run.
        for other in [
            "src",
            "import",
            "server.properties",
            "a/b",
            "--ephemeral",
            "",
        ] {
            assert_eq!(slip(other.as_ref()), None, "{other}");
        }
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
