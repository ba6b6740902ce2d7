//! What a broker connects to the other brokers of its cluster with: as the listener says that they reach each other by, or a
//! file like a client's.
//!
//! Certificates run out while brokers run, so what is in files is read again when listeners read theirs. What cannot be used leaves
//! the old in place, with a warning. A connection that was made with the old is made anew when it is next needed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use console::client_config::{Security, security_of};
use parking_lot::Mutex;
use tracing::{info, warn};

use super::tls::listeners::{Files, Reload, TlsListener, TlsListeners, look_at};
use crate::config::{BetweenBrokersConfig, BrokerConfig, Listener, own_login};

/// See the [module](self).
pub(crate) struct BetweenBrokers {
    /// The listener that brokers reach each other by.
    pub listener: String,
    current: ArcSwap<Security>,
    source: Source,
}

enum Source {
    /// The listener's own keys, which say nothing of certificates if it does not encrypt.
    Listener(Option<Arc<TlsListener>>),
    /// `ottla.cluster.client.config`, and what was last tried of it.
    File(PathBuf, Mutex<Tried>),
}

/// Files that say how to connect, and what tells whether they have changed.
#[derive(Default)]
struct Tried {
    paths: Vec<PathBuf>,
    files: Files,
}

impl BetweenBrokers {
    /// The listener whose certificate is shown to other brokers, too; `None`: there are none, or a file says what is shown.
    pub(crate) fn shown(config: &BrokerConfig, is_alone: bool) -> Option<&Listener> {
        let between: BetweenBrokersConfig = config.section();
        let by_listener = !is_alone && between.client_config.is_none();
        let listener = between.listener(&config.settings, &config.listeners);
        listener.filter(|listener| by_listener && listener.security_protocol.encrypts())
    }

    /// As the settings say. May wait for the disk.
    ///
    /// # Errors
    /// There is no such listener, or the file cannot be read or does not fit it.
    pub(crate) fn open(
        config: &BrokerConfig,
        tls: &TlsListeners,
        is_alone: bool,
    ) -> Result<Self, String> {
        let between: BetweenBrokersConfig = config.section();
        let listener = between.listener(&config.settings, &config.listeners);
        let Some(listener) = listener.or(config.listeners.first().filter(|_| is_alone)) else {
            let what = "no listener is as inter.broker.listener.name or security.inter.broker.protocol says";
            return Err(what.to_owned());
        };
        let (name, protocol) = (&listener.name, listener.security_protocol);
        let (security, source) = match &between.client_config {
            Some(file) => {
                let path = PathBuf::from(file);
                let mut tried = Tried::default();
                let security = tried.read(&path);
                let security = security.map_err(|what| format!("{file}: {what}"))?;
                (security, Source::File(path, Mutex::new(tried)))
            }
            None if is_alone => (Security::default(), Source::Listener(None)),
            None => {
                let tls = tls.get(name).cloned();
                let security = own_security(config, listener, tls.as_deref(), &between.mechanism)?;
                (security, Source::Listener(tls))
            }
        };
        if !is_alone
            && (protocol.encrypts() != security.encrypts()
                || protocol.has_login() != security.logs_in())
        {
            let protocol = protocol.name();
            return Err(format!(
                "brokers reach each other by listener {name}, which is {protocol}: ottla.cluster.client.config has to name a file with security.protocol={protocol}, or inter.broker.listener.name another listener"
            ));
        }
        Ok(Self {
            listener: name.clone(),
            current: ArcSwap::from_pointee(security),
            source,
        })
    }

    /// What a new connection is to be made with. It stays the same for as long as the pointer does.
    pub(crate) fn security(&self) -> Arc<Security> {
        self.current.load_full()
    }

    /// Goes on with what listeners were read again for, and reads a file again that has changed. May wait for the disk.
    pub(crate) fn reload(&self, reload: Reload) {
        match &self.source {
            Source::Listener(tls) => {
                let Some(shown) = tls.as_ref().and_then(|tls| tls.shown_to_brokers()) else {
                    return;
                };
                let old = self.current.load();
                if !old.tls().is_some_and(|old| Arc::ptr_eq(old, &shown)) {
                    self.current.store(Arc::new(old.with_tls(shown)));
                }
            }
            Source::File(path, tried) => {
                let mut tried = tried.lock();
                if reload == Reload::Changed && !tried.has_changed() {
                    return;
                }
                let name = path.display();
                match tried.read(path).and_then(|new| self.check(new)) {
                    Ok(new) => {
                        self.current.store(Arc::new(new));
                        info!(file = %name, "new connections to other brokers are made with what was read again");
                    }
                    Err(what) => warn!(
                        file = %name,
                        "new connections to other brokers are made as before, what is there now cannot be used: {what}"
                    ),
                }
            }
        }
    }

    /// What takes the place of something has to fit the listener as that did.
    fn check(&self, new: Security) -> Result<Security, String> {
        let old = self.current.load();
        let fits = new.encrypts() == old.encrypts() && new.logs_in() == old.logs_in();
        let what = "security.protocol is another one";
        fits.then_some(new).ok_or_else(|| what.to_owned())
    }
}

impl Tried {
    /// Reads a file and those that it names.
    fn read(&mut self, path: &Path) -> Result<Security, String> {
        // Looked at before they are read: whoever changes them meanwhile is seen at the next look.
        self.paths = match security_of(path) {
            Ok((_, paths)) => paths,
            Err(_) if self.paths.is_empty() => vec![path.to_owned()],
            Err(_) => std::mem::take(&mut self.paths),
        };
        self.files = look_at(&self.paths);
        security_of(path).map(|(security, _)| security)
    }

    fn has_changed(&self) -> bool {
        look_at(&self.paths) != self.files
    }
}

/// How a broker connects to others by a listener, as the listener's own keys say, which is how Kafka does it.
fn own_security(
    config: &BrokerConfig,
    listener: &Listener,
    tls: Option<&TlsListener>,
    mechanism: &str,
) -> Result<Security, String> {
    let login = match listener.security_protocol.has_login() {
        true => {
            let login = own_login(&config.settings, &listener.name, mechanism);
            let (user, password) = login.map_err(|error| error.to_string())?;
            Some((mechanism, user, password))
        }
        false => None,
    };
    Security::new(tls.and_then(TlsListener::shown_to_brokers), login)
}
