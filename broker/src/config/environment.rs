//! What environment variables set.
//!
//! `OTTLA_X_Y` is the key `ottla.x.y`. With `--kafka-env` Kafka's variables count, too, as the image apache/kafka reads them;
//! not without, since laptops have other variables that begin with KAFKA_. It goes as in the image:
//!
//! 1. Some variables stand for others ([`complete`]): `KAFKA_LISTENERS` follows from `KAFKA_ADVERTISED_LISTENERS`, passwords of
//!    keystores stand in files.
//! 2. Names become keys ([`key_of`]).
//! 3. The values are read as those of a properties file, with its escapes. They are UTF-8 here; Kafka garbles what is not ASCII.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use credentials::jaas::{JaasError, JaasFile};
use encoding_rs::UTF_8;
use java_properties::PropertiesIter;

use super::error::ConfigError;
use super::listeners::names_with_login;
use super::login::{ENABLED_MECHANISMS, JAAS_CONFIG, login_module};
use super::properties::{Properties, parse_properties, read_all};
use super::settings::{DynamicSettings, Settings};

const OTTLA: &str = "OTTLA_";
const KAFKA: &str = "KAFKA_";
/// Bitnami's image had it in front of Kafka's keys.
const BITNAMI: &str = "KAFKA_CFG_";
const CLUSTER_ID: &str = "CLUSTER_ID";
/// Of the image, for all who do not set one.
const DEFAULT_CLUSTER_ID: &str = "5L6g3nShT-eMCtK--X86sw";
const MOUNTED: &str = "/mnt/shared/config/server.properties";
const SECRETS: &str = "/etc/kafka/secrets";
const JAAS_OPTION: &str = "-Djava.security.auth.login.config=";

/// Variables that are no keys; `*` at the end stands for any text. Those that are read have another meaning.
#[rustfmt::skip] // a table
const NOT_KEYS: &[&str] = &[
    // Passwords and options of the command line.
    "OTTLA_PASSWORD_*", "OTTLA_KAFKA_ENV",
    // What Ottla's own tests are told.
    "OTTLA_BIN", "OTTLA_FUZZ_*", "OTTLA_SIM_*", "OTTLA_TEST_*",
    // For scripts and JVMs: the image takes them out, too.
    "KAFKA_VERSION", "KAFKA_HEAP_OPTS", "KAFKA_LOG4J_OPTS", "KAFKA_OPTS", "KAFKA_JMX_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_GC_LOG_OPTS", "KAFKA_LOG4J_ROOT_LOGLEVEL", "KAFKA_LOG4J_LOGGERS", "KAFKA_TOOLS_LOG4J_LOGLEVEL", "KAFKA_JMX_HOSTNAME",
    // Kafka passes over keys that it does not know. Here they would be warnings, or take part in what protects.
    "KAFKA_HOME", "KAFKA_JMX_PORT", "KAFKA_CREATE_TOPICS", "KAFKA_CREATE_TOPICS_SEPARATOR",
    "KAFKA_SSL_KEYSTORE_FILENAME", "KAFKA_SSL_KEYSTORE_CREDENTIALS", "KAFKA_SSL_KEY_CREDENTIALS",
    "KAFKA_SSL_TRUSTSTORE_FILENAME", "KAFKA_SSL_TRUSTSTORE_CREDENTIALS",
];

/// How a file is read.
pub type Read<'a> = &'a dyn Fn(&Path) -> std::io::Result<Vec<u8>>;

/// Why the environment cannot be used; one line, which tells no value.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    #[error("{0} is not UTF-8")]
    NotText(String),
    #[error("{variable}: cannot read {}: {source}", .path.display())]
    Unreadable {
        variable: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the environment cannot be read as properties: {0}")]
    Syntax(String),
    #[error("KAFKA_OPTS, {}: {source}", .path.display())]
    Jaas { path: PathBuf, source: JaasError },
    #[error("KAFKA_OPTS, {}: there is neither {listener}.KafkaServer nor KafkaServer", .path.display())]
    NoSection { path: PathBuf, listener: String },
    #[error("CLUSTER_ID: expected letters, digits and -_+/=, 64 at most")]
    ClusterId,
    #[error(
        "KAFKA_LOG4J_ROOT_LOGLEVEL: expected OFF, FATAL, ERROR, WARN, INFO, DEBUG, TRACE or ALL"
    )]
    LogLevel,
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// The variables that may mean something to a broker.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

/// What Kafka's variables say.
#[derive(Debug)]
pub struct KafkaEnvironment {
    /// Those of the file, and the variables over them.
    pub properties: Properties,
    /// There is neither a file nor a variable that says anything: the image has a configuration for that.
    pub is_bare: bool,
    /// For a directory that is new.
    pub cluster_id: String,
    jaas_path: Option<PathBuf>,
}

impl Environment {
    /// What the process was started with.
    ///
    /// # Errors
    /// A variable that would count is not UTF-8.
    pub fn of_process() -> Result<Self, EnvironmentError> {
        let mut variables = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let counts = name.starts_with(OTTLA) || name.starts_with(KAFKA) || name == CLUSTER_ID;
            if counts {
                let value = value.into_string();
                let value = value.map_err(|_| EnvironmentError::NotText(name.clone()))?;
                variables.insert(name, value);
            }
        }
        Ok(Self { variables })
    }

    /// The variables of a test.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            variables: variables.into_iter().map(owned).collect(),
        }
    }

    /// A variable that is set to something.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// Ottla's own keys.
    pub fn ottla(&self) -> Properties {
        let own = self.variables.iter();
        let own = own.filter(|(name, value)| name.starts_with(OTTLA) && is_key(name, value));
        own.map(|(name, value)| (key_of(name), value.trim().to_owned()))
            .collect()
    }

    /// The variable that sets a key, if Kafka's variables count or it is one of ours.
    pub fn variable_of(&self, key: &str, with_kafkas: bool) -> Option<&str> {
        let sets = |name: &&str| match name.starts_with(OTTLA) {
            true => key_of(name) == key,
            false => {
                let rest = name.strip_prefix(BITNAMI).or(name.strip_prefix(KAFKA));
                with_kafkas && rest.is_some_and(|rest| key_of(rest) == key)
            }
        };
        self.variables.keys().map(String::as_str).find(sets)
    }

    /// The level that Kafka's variables ask for, in our words.
    ///
    /// # Errors
    /// There is no such level.
    pub fn kafka_log_level(&self) -> Result<Option<&'static str>, EnvironmentError> {
        let Some(level) = self.get("KAFKA_LOG4J_ROOT_LOGLEVEL") else {
            return Ok(None);
        };
        Ok(Some(match level.trim().to_ascii_uppercase().as_str() {
            "OFF" => "off",
            "FATAL" | "ERROR" => "error",
            "WARN" => "warn",
            "INFO" => "info",
            "DEBUG" => "debug",
            "TRACE" | "ALL" => "trace",
            _ => return Err(EnvironmentError::LogLevel),
        }))
    }

    /// What Kafka's variables say. Without a `file` it is the one that is mounted into the image, if there is one.
    ///
    /// # Errors
    /// A file that is named cannot be read; a value cannot stand in a file of properties.
    pub fn kafka(
        &self,
        file: Option<Properties>,
        read: Read<'_>,
    ) -> Result<KafkaEnvironment, EnvironmentError> {
        let file = match file {
            Some(file) => Some(file),
            None => mounted(read)?,
        };
        let cluster_id = self.get(CLUSTER_ID).unwrap_or(DEFAULT_CLUSTER_ID);
        if !is_cluster_id(cluster_id) {
            return Err(EnvironmentError::ClusterId);
        }
        let mut variables = self.kafkas_own();
        complete(&mut variables, read)?;
        let mut lines = String::new();
        for (name, value) in variables.iter().filter(|(name, value)| is_key(name, value)) {
            let key = key_of(name.strip_prefix(KAFKA).unwrap_or(name));
            lines.extend([&key, "=", value, "\n"]);
        }
        let is_bare = file.is_none() && lines.is_empty();
        let lines = PropertiesIter::new_with_encoding(lines.as_bytes(), UTF_8);
        let mut set = read_all(lines).map_err(|(_, what)| EnvironmentError::Syntax(what))?;
        set.remove("");
        let mut properties = file.unwrap_or_default();
        properties.extend(set);
        let options = self.get("KAFKA_OPTS").unwrap_or_default();
        Ok(KafkaEnvironment {
            properties,
            is_bare,
            cluster_id: cluster_id.to_owned(),
            jaas_path: jaas_path(options),
        })
    }

    /// Kafka's variables under the names that the image apache/kafka has for them.
    fn kafkas_own(&self) -> BTreeMap<String, String> {
        let kafkas = self.variables.iter();
        let (bitnamis, mut kafkas): (BTreeMap<_, _>, BTreeMap<_, _>) = kafkas
            .filter(|(name, _)| name.starts_with(KAFKA))
            .map(|(name, value)| (name.clone(), value.clone()))
            .partition(|(name, _)| name.starts_with(BITNAMI));
        for (name, value) in bitnamis {
            let name = name.replacen(BITNAMI, KAFKA, 1);
            // Names of listeners, which have an underscore.
            let name = name.replace("SASL_SSL", "SASL__SSL");
            let name = name.replace("SASL_PLAINTEXT", "SASL__PLAINTEXT");
            kafkas.entry(name).or_insert(value);
        }
        kafkas
    }
}

impl KafkaEnvironment {
    /// Where nothing is configured at all, the image listens on every interface and has clients connect to localhost.
    pub fn set_listeners(&self, properties: &mut Properties) {
        if self.is_bare && !properties.contains_key("listeners") {
            let mut set =
                |key: &str, value: &str| properties.insert(key.to_owned(), value.to_owned());
            set("listeners", "PLAINTEXT://:9092");
            set("advertised.listeners", "PLAINTEXT://localhost:9092");
        }
    }

    /// Gives each listener that asks for a log-in the modules that the JAAS file of `KAFKA_OPTS` has for it. What is set by a key
    /// of its own counts instead, as with Kafka.
    ///
    /// # Errors
    /// The file cannot be read, or says nothing of such a listener.
    pub fn complete_logins(
        &self,
        properties: &mut Properties,
        read: Read<'_>,
    ) -> Result<(), EnvironmentError> {
        let Some(path) = &self.jaas_path else {
            return Ok(());
        };
        let settings = Settings::unchecked(properties.clone());
        let listeners = names_with_login(&settings);
        if listeners.is_empty() {
            return Ok(());
        }
        let text = read_text("KAFKA_OPTS", path, read)?;
        let file = JaasFile::parse(&text);
        let file = file.map_err(|source| EnvironmentError::Jaas {
            path: path.clone(),
            source,
        })?;
        for listener in listeners {
            let own = file.section(&format!("{listener}.KafkaServer"));
            let modules = own.or_else(|| file.section("KafkaServer"));
            let modules = modules.ok_or_else(|| EnvironmentError::NoSection {
                path: path.clone(),
                listener: listener.clone(),
            })?;
            let none = DynamicSettings::none();
            let mechanisms = settings.of_listener(&listener, ENABLED_MECHANISMS, none);
            for mechanism in super::def::list(mechanisms.unwrap_or_default()) {
                let class = login_module(mechanism);
                let mut modules = modules.iter();
                if let Some(module) = modules.find(|module| Some(module.class.as_str()) == class) {
                    let mechanism = mechanism.to_lowercase();
                    let key = format!("listener.name.{listener}.{mechanism}.{JAAS_CONFIG}");
                    properties.entry(key).or_insert_with(|| module.to_text());
                }
            }
        }
        Ok(())
    }
}

/// What the image's script makes of variables before they become keys.
fn complete(
    variables: &mut BTreeMap<String, String>,
    read: Read<'_>,
) -> Result<(), EnvironmentError> {
    let get = |variables: &BTreeMap<String, String>, name: &str| {
        let value = variables.get(name).cloned();
        value.filter(|value| !value.is_empty())
    };
    let advertised = get(variables, "KAFKA_ADVERTISED_LISTENERS").unwrap_or_default();
    if get(variables, "KAFKA_LISTENERS").is_none() && !advertised.is_empty() {
        variables.insert("KAFKA_LISTENERS".to_owned(), on_every_host(&advertised));
    }
    if !advertised.contains("SSL://") {
        return Ok(());
    }
    let client_auth = get(variables, "KAFKA_SSL_CLIENT_AUTH").unwrap_or_default();
    let asks_clients = client_auth.contains("required") || client_auth.contains("requested");
    let stores = [
        ("KAFKA_SSL_KEYSTORE_FILENAME", "KAFKA_SSL_KEYSTORE_LOCATION"),
        (
            "KAFKA_SSL_TRUSTSTORE_FILENAME",
            "KAFKA_SSL_TRUSTSTORE_LOCATION",
        ),
    ];
    let passwords = [
        (
            "KAFKA_SSL_KEYSTORE_CREDENTIALS",
            "KAFKA_SSL_KEYSTORE_PASSWORD",
        ),
        ("KAFKA_SSL_KEY_CREDENTIALS", "KAFKA_SSL_KEY_PASSWORD"),
        (
            "KAFKA_SSL_TRUSTSTORE_CREDENTIALS",
            "KAFKA_SSL_TRUSTSTORE_PASSWORD",
        ),
    ];
    let counts = |name: &str| asks_clients || !name.contains("TRUSTSTORE");
    for (named, meant) in stores.into_iter().filter(|(name, _)| counts(name)) {
        if let Some(file) = get(variables, named) {
            variables.insert(meant.to_owned(), format!("{SECRETS}/{file}"));
        }
    }
    for (named, meant) in passwords.into_iter().filter(|(name, _)| counts(name)) {
        if let Some(file) = get(variables, named) {
            let text = read_text(named, &Path::new(SECRETS).join(file), read)?;
            variables.insert(meant.to_owned(), text.trim_end_matches('\n').to_owned());
        }
    }
    Ok(())
}

/// The same listeners on every interface of this machine.
fn on_every_host(advertised: &str) -> String {
    let on_every_host = |endpoint: &str| match endpoint.split_once("://") {
        Some((name, address)) => match address.rsplit_once(':') {
            Some((_, port)) => format!("{name}://0.0.0.0:{port}"),
            None => endpoint.to_owned(),
        },
        None => endpoint.to_owned(),
    };
    let endpoints = advertised.split(',').map(on_every_host);
    endpoints.collect::<Vec<_>>().join(",")
}

/// A key by the name of its variable: one underscore is a dot, two are an underscore, three a hyphen.
fn key_of(name: &str) -> String {
    let dotted = name.to_lowercase().replace('_', ".");
    dotted.replace("...", "-").replace("..", "_")
}

fn is_key(name: &str, value: &str) -> bool {
    let covers = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => *pattern == name,
    };
    !NOT_KEYS.iter().any(covers) && !is_service_link(name, value)
}

/// Kubernetes tells every container of every service: one that is called kafka has KAFKA_SERVICE_HOST, KAFKA_PORT and more.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_of_a_port = name.split_once("_PORT_").is_some_and(|(_, rest)| {
        let mut words = rest.split('_');
        let number = words.next().unwrap_or_default();
        let protocol = words.next().unwrap_or_default();
        number.parse::<u16>().is_ok() && ["TCP", "UDP", "SCTP"].contains(&protocol)
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || is_of_a_port
        || name.ends_with("_PORT") && value.contains("://")
}

fn is_cluster_id(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_+/=".contains(c);
    text.len() <= 64 && text.chars().all(legal)
}

fn mounted(read: Read<'_>) -> Result<Option<Properties>, EnvironmentError> {
    let path = Path::new(MOUNTED);
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let path = path.to_owned();
            return Err(ConfigError::Unreadable { path, source }.into());
        }
    };
    let parsed = parse_properties(&text).map_err(|(line, what)| ConfigError::Syntax {
        path: path.to_owned(),
        line,
        what,
    })?;
    // An empty file configures nothing.
    Ok(Some(parsed).filter(|parsed| !parsed.is_empty()))
}

fn jaas_path(options: &str) -> Option<PathBuf> {
    let mut options = options.split_whitespace();
    let path =
        options.find_map(|option| option.trim_matches(['"', '\'']).strip_prefix(JAAS_OPTION))?;
    // A second equals sign has Java read no other file besides.
    let path = path.trim_start_matches('=').trim_matches(['"', '\'']);
    (!path.is_empty()).then(|| PathBuf::from(path))
}

fn read_text(
    variable: &'static str,
    path: &Path,
    read: Read<'_>,
) -> Result<String, EnvironmentError> {
    let text = read(path).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))
    });
    text.map_err(|source| EnvironmentError::Unreadable {
        variable,
        path: path.to_owned(),
        source,
    })
}
