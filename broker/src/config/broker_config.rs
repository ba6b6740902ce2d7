//! The broker's configuration as the code reads it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use storage::local::LocalConfig;

use super::alone::check_alone;
use super::authorization::check_authorizer;
use super::cluster::{ClusterConfig, ClusterStores};
use super::effects::Remark;
use super::error::ConfigError;
use super::first_topics::{FirstTopic, FirstTopicError};
use super::listeners::{Listener, SecurityProtocol, host_name, listeners, protected_listener};
use super::login::{AuthenticationConfig, check_used};
use super::new_topics::NewTopicsConfig;
use super::properties::Properties;
use super::rules::check_together;
use super::section::Section;
use super::serving::ServingConfig;
use super::settings::{DynamicSettings, Settings};
use super::tls;
use crate::security::first_users::FirstUser;

/// A broker's static configuration.
///
/// Groups, the engine and connections have sections that they read themselves, see [`BrokerConfig::section`]. What topics use is
/// in `TopicDefaults`. Dynamic changes live in the metadata image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// `node.id`; of a cluster's broker that is not given one, what the database gives.
    pub node_id: i32,
    /// What is shared with other brokers; `None`: the broker is on its own.
    pub cluster: Option<ClusterStores>,
    /// `listeners`, with what `advertised.listeners` says about each; at least one.
    pub listeners: Vec<Listener>,
    /// `log.dirs` or `log.dir`
    pub data_dir: PathBuf,
    /// The directory is removed at exit; set by the command line, not by a key.
    pub ephemeral: bool,
    /// The cluster of a data directory that is new; set by the environment, not by a key.
    pub cluster_id: Option<String>,
    /// Users to make if they are not there; set by the command line, not by a key.
    pub first_users: Vec<FirstUser>,
    /// Topics to make if they are not there; set by the command line and the environment, not by a key.
    pub first_topics: Vec<FirstTopic>,
    /// What `--secure` needs is made at the start; set by the command line, too.
    pub secure: bool,
    pub serving: ServingConfig,
    pub authentication: AuthenticationConfig,
    pub new_topics: NewTopicsConfig,
    /// Every key as text.
    pub settings: Settings,
}

impl BrokerConfig {
    /// A part of the configuration that somebody else reads.
    pub fn section<S: Section>(&self) -> S {
        self.settings.section(DynamicSettings::none())
    }

    /// The id that the operator has given; `None`: none.
    pub fn given_node_id(&self) -> Option<i32> {
        let keys = ["node.id", "broker.id"];
        let is_given = keys.iter().any(|key| self.settings.explicit(key).is_some());
        is_given.then_some(self.node_id)
    }

    /// The database has given this id.
    pub(crate) fn take_node_id(&mut self, node_id: i32) {
        self.node_id = node_id;
        self.settings.put("node.id", node_id.to_string());
    }

    /// Has topics made before clients can connect.
    ///
    /// # Errors
    /// One is named twice, or is to have more copies than there are.
    pub fn make_first_topics(&mut self, topics: Vec<FirstTopic>) -> Result<(), FirstTopicError> {
        FirstTopic::check_all(&topics, self.new_topics.accept_any_replication_factor)?;
        self.first_topics = topics;
        Ok(())
    }

    /// What clients may call this broker: names and addresses, each once.
    pub fn host_names(&self) -> Vec<String> {
        let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let listeners = self.listeners.iter();
        let told = listeners.flat_map(|one| [&one.bind.host, &one.advertised.host]);
        let every = ["", "0.0.0.0", "::"];
        let told = told.filter(|host| !every.contains(&host.as_str()));
        let hosts = own.into_iter().chain([host_name()]).chain(told.cloned());
        Vec::from_iter(BTreeSet::from_iter(hosts))
    }

    /// How the engine opens the data directory.
    pub fn engine(&self) -> LocalConfig {
        LocalConfig {
            dir: self.data_dir.clone(),
            live: self.settings.live(DynamicSettings::none()),
            ..self.section()
        }
    }

    /// The first listener that encrypts or authenticates, whatever else the properties say. Options may put other listeners
    /// in its place, but never an open one.
    ///
    /// # Errors
    /// The protocols cannot be read.
    pub fn protected_listener(
        properties: &Properties,
    ) -> Result<Option<(String, SecurityProtocol)>, ConfigError> {
        protected_listener(&Settings::unchecked(properties.clone()))
    }

    /// Where the data of a broker with these properties is, as an absolute path.
    pub fn data_dir_of(properties: &Properties) -> PathBuf {
        let settings = Settings::unchecked(properties.clone());
        let dir = data_dir(&settings).unwrap_or_default();
        std::path::absolute(&dir).unwrap_or(dir)
    }

    /// Checks and reads properties; the second value is what the operator is told about keys without effect.
    ///
    /// # Errors
    /// The first value that cannot be used, with its key and what was expected; a key that protects and is not
    /// served.
    pub fn from_properties(properties: Properties) -> Result<(Self, Vec<Remark>), ConfigError> {
        let (settings, mut remarks) = Settings::check(properties)?;
        let explicit = |key: &str| settings.explicit(key);
        let node_id = match (explicit("node.id"), explicit("broker.id")) {
            (None, Some(_)) => settings.int("broker.id"),
            _ => settings.int("node.id"),
        };
        check_alone(&settings, node_id)?;
        check_authorizer(&settings)?;
        let value = |key: &str| settings.get(key).map(str::to_owned);
        check_together(&value).map_err(|misfit| settings.invalid(misfit.key, misfit.what))?;
        let cluster: ClusterConfig = settings.section(DynamicSettings::none());
        let cluster = cluster.stores(&settings)?;
        let mut new_topics: NewTopicsConfig = settings.section(DynamicSettings::none());
        // How many copies there are is the object store's business.
        new_topics.accept_any_replication_factor |= cluster.is_some();
        let config = Self {
            node_id,
            cluster,
            listeners: listeners(&settings)?,
            data_dir: data_dir(&settings)?,
            ephemeral: false,
            cluster_id: None,
            first_users: Vec::new(),
            first_topics: Vec::new(),
            secure: false,
            serving: settings.section(DynamicSettings::none()),
            authentication: settings.section(DynamicSettings::none()),
            new_topics,
            settings,
        };
        config.check_replication_factor()?;
        remarks.extend(check_used(&config.settings, &config.listeners)?);
        remarks.extend(tls::check(&config.settings, &config.listeners)?);
        Ok((config, remarks))
    }

    /// A stock server.properties with replication factor 3 must not make every topic fail.
    fn check_replication_factor(&self) -> Result<(), ConfigError> {
        let factor = self.new_topics.default_replication_factor;
        if factor == 1 || (factor > 1 && self.new_topics.accept_any_replication_factor) {
            return Ok(());
        }
        let expected = "a single node stores one copy: expected 1, or \
                        ottla.accept.any.replication.factor=true";
        let key = "default.replication.factor";
        Err(self.settings.invalid(key, expected.to_owned()))
    }
}

impl Default for BrokerConfig {
    /// What `ottla` without arguments runs with.
    fn default() -> Self {
        let (config, _) = Self::from_properties(Properties::new())
            .expect("the defaults are valid, a test says so");
        config
    }
}

fn data_dir(settings: &Settings) -> Result<PathBuf, ConfigError> {
    let key = match settings.get("log.dirs") {
        Some(_) => "log.dirs",
        None => "log.dir",
    };
    let mut dirs = settings.list(key);
    match (dirs.next(), dirs.next()) {
        (Some(dir), None) => Ok(PathBuf::from(dir)),
        (Some(_), Some(_)) => {
            let expected = "expected one directory; Ottla keeps all data in one".to_owned();
            Err(settings.invalid(key, expected))
        }
        _ => {
            let expected = "expected a directory".to_owned();
            Err(settings.invalid(key, expected))
        }
    }
}
