//! The listeners that encrypt, and what each of them serves new connections with.
//!
//! Certificates run out while brokers run. What a listener serves is one pointer, which is replaced when all that is new has
//! been read and checked. What cannot be used leaves the old in place, with a warning.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{ClientConfig, ServerConfig};
use tracing::{info, warn};

use super::client_config::to_other_brokers;
use super::server_config::{Identity, TlsError, load};
use super::turns::Turns;
use crate::clock::system_ms;
use crate::config::tls::TlsSettings;
use crate::config::{BrokerConfig, ClientAuth, DynamicSettings, Listener, SecurityProtocol};

/// A certificate that ends within these seconds is worth a warning.
const ENDS_SOON_SECONDS: i64 = 14 * 24 * 60 * 60;

/// The listeners whose connections are encrypted.
#[derive(Default)]
pub struct TlsListeners {
    listeners: Vec<Arc<TlsListener>>,
}

/// One listener.
pub struct TlsListener {
    listener: Listener,
    is_shown_to_brokers: bool,
    current: ArcSwap<Current>,
    /// What was last tried, one at a time.
    tried: Mutex<Tried>,
    pub(super) turns: Arc<Turns>,
}

/// What new connections are served with.
pub(super) struct Current {
    pub config: Arc<ServerConfig>,
    pub settings: TlsSettings,
    identity: Identity,
    /// What this broker connects to others with, if brokers reach each other by the listener.
    to_other_brokers: Option<Arc<ClientConfig>>,
}

struct Tried {
    settings: TlsSettings,
    files: Files,
}

/// What tells a changed file from one that is as it was; `None`: it cannot be looked at.
pub(crate) type Files = Vec<Option<(Option<SystemTime>, u64, u64)>>;

/// Whether files that look as they did are read, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    Changed,
    All,
}

impl TlsListeners {
    /// Reads what every listener needs, and one of them also for connections to other brokers. May wait for the disk.
    ///
    /// # Errors
    /// The first listener that cannot be served, with its name.
    pub(crate) fn open(
        config: &BrokerConfig,
        dynamic: DynamicSettings<'_>,
        shown_to_brokers: Option<&Listener>,
    ) -> Result<Self, String> {
        let turns = Arc::new(Turns::new());
        let encrypted = config.listeners.iter();
        let encrypted = encrypted.filter(|listener| listener.security_protocol.encrypts());
        let opened = encrypted.map(|listener| {
            let is_shown = shown_to_brokers.is_some_and(|shown| shown.name == listener.name);
            let opened = TlsListener::open(listener, is_shown, config, dynamic, &turns);
            opened.map_err(|error| format!("listener {} cannot be served: {error}", listener.name))
        });
        let listeners = opened.map(|opened| opened.map(Arc::new));
        Ok(Self {
            listeners: listeners.collect::<Result<_, _>>()?,
        })
    }

    /// The listener of that name, if it encrypts.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<TlsListener>> {
        let mut listeners = self.listeners.iter();
        listeners.find(|tls| tls.listener.name == name)
    }

    /// Whether all listeners could be served with these settings. May wait for the disk.
    ///
    /// # Errors
    /// What could not, in one line.
    pub(crate) fn check(
        &self,
        config: &BrokerConfig,
        dynamic: DynamicSettings<'_>,
    ) -> Result<(), String> {
        self.listeners.iter().try_for_each(|tls| {
            let settings = tls.settings(config, dynamic, &mut Vec::new());
            let checked = settings.and_then(|settings| tls.load(&settings, &mut Vec::new()));
            let name = &tls.listener.name;
            checked
                .map(|_| ())
                .map_err(|error| format!("listener {name}: {error}"))
        })
    }

    /// Reads again what has changed, and has new connections served with it. May wait for the disk.
    pub(crate) fn reload(
        &self,
        config: &BrokerConfig,
        dynamic: DynamicSettings<'_>,
        reload: Reload,
    ) {
        for tls in &self.listeners {
            tls.reload(config, dynamic, reload);
        }
    }

    /// When the certificate that each listener shows new clients runs out, in seconds since 1970.
    pub(crate) fn expiries(&self) -> Vec<(String, i64)> {
        let listeners = self.listeners.iter();
        let expiry = listeners.map(|tls| {
            let until = tls.current.load().identity.valid_until;
            (tls.listener.name.clone(), until)
        });
        expiry.collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }
}

impl TlsListener {
    fn open(
        listener: &Listener,
        is_shown_to_brokers: bool,
        config: &BrokerConfig,
        dynamic: DynamicSettings<'_>,
        turns: &Arc<Turns>,
    ) -> Result<Self, TlsError> {
        let mut warnings = Vec::new();
        let settings = read_settings(listener, config, dynamic, &mut Vec::new())?;
        let files = look_at(settings.files());
        let current = Current::load(&settings, is_shown_to_brokers, &mut warnings)?;
        tell(listener, &current, &warnings);
        let tls = Self {
            listener: listener.clone(),
            is_shown_to_brokers,
            current: ArcSwap::from_pointee(current),
            tried: Mutex::new(Tried { settings, files }),
            turns: Arc::clone(turns),
        };
        Ok(tls)
    }

    pub(super) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// What this broker connects to others with, if brokers reach each other by the listener and show its certificate.
    pub(crate) fn shown_to_brokers(&self) -> Option<Arc<ClientConfig>> {
        self.current.load().to_other_brokers.clone()
    }

    pub(super) fn security_protocol(&self) -> SecurityProtocol {
        self.listener.security_protocol
    }

    fn settings(
        &self,
        config: &BrokerConfig,
        dynamic: DynamicSettings<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<TlsSettings, TlsError> {
        read_settings(&self.listener, config, dynamic, warnings)
    }

    /// What could take the place of what is served now.
    fn load(
        &self,
        settings: &TlsSettings,
        warnings: &mut Vec<String>,
    ) -> Result<Current, TlsError> {
        let loaded = Current::load(settings, self.is_shown_to_brokers, warnings)?;
        loaded
            .identity
            .check_against(&self.current.load().identity, settings)?;
        Ok(loaded)
    }

    fn reload(&self, config: &BrokerConfig, dynamic: DynamicSettings<'_>, reload: Reload) {
        let mut tried = self.tried.lock();
        let mut warnings = Vec::new();
        let outcome = self
            .settings(config, dynamic, &mut warnings)
            .and_then(|settings| {
                let files = look_at(settings.files());
                let is_same = settings == tried.settings && files == tried.files;
                if is_same && reload == Reload::Changed {
                    return Ok(None);
                }
                *tried = Tried {
                    settings: settings.clone(),
                    files,
                };
                self.load(&settings, &mut warnings).map(Some)
            });
        let name = &self.listener.name;
        match outcome {
            Ok(None) => {}
            Ok(Some(loaded)) => {
                tell(&self.listener, &loaded, &warnings);
                self.current.store(Arc::new(loaded));
                info!(listener = %name, "new connections are served with the certificates that were read again");
            }
            Err(error) => warn!(
                listener = %name,
                "new connections are served with the old certificates, the others cannot be used: {error}"
            ),
        }
    }
}

impl Current {
    fn load(
        settings: &TlsSettings,
        is_shown_to_brokers: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Self, TlsError> {
        let loaded = load(settings, warnings)?;
        let shown = is_shown_to_brokers.then(|| to_other_brokers(settings));
        Ok(Self {
            config: loaded.config,
            settings: settings.clone(),
            identity: loaded.identity,
            to_other_brokers: shown.transpose()?,
        })
    }

    /// Whether clients are asked who they are.
    pub(super) fn asks_clients(&self) -> bool {
        self.settings.client_auth != ClientAuth::None
    }
}

fn read_settings(
    listener: &Listener,
    config: &BrokerConfig,
    dynamic: DynamicSettings<'_>,
    warnings: &mut Vec<String>,
) -> Result<TlsSettings, TlsError> {
    let settings = config.settings.tls(listener, dynamic, warnings);
    settings.map_err(|unusable| TlsError::Setting {
        key: unusable.key,
        why: unusable.why,
    })
}

pub(crate) fn look_at<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Files {
    let look = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok(), found.len(), found.ino()))
    };
    paths.into_iter().map(look).collect()
}

/// What the operator should know of what is served from now on.
fn tell(listener: &Listener, loaded: &Current, warnings: &[String]) {
    let name = &listener.name;
    for warning in warnings {
        warn!(listener = %name, "{warning}");
    }
    let left_seconds = loaded
        .identity
        .valid_until
        .saturating_sub(system_ms() / 1000);
    let days = left_seconds / (24 * 60 * 60);
    if left_seconds <= 0 {
        warn!(listener = %name, "the certificate has expired: clients refuse it");
    } else if left_seconds < ENDS_SOON_SECONDS {
        warn!(listener = %name, "the certificate expires in {days} days");
    }
}
