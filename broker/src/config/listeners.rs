//! `listeners`, `advertised.listeners` and `listener.security.protocol.map`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::def::list;
use super::error::ConfigError;
use super::host_port::{HostPort, parse_host_port};
use super::login::mechanisms;
use super::settings::Settings;
use crate::security::sasl::mechanisms::Mechanisms;

const PROTOCOL_MAP: &str = "listener.security.protocol.map";

/// How a listener's clients connect: Kafka's `SecurityProtocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    const ALL: [Self; 4] = [
        Self::Plaintext,
        Self::Ssl,
        Self::SaslPlaintext,
        Self::SaslSsl,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    /// Whether clients have to say who they are.
    pub const fn has_login(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// Whether connections are encrypted.
    pub const fn encrypts(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// By its name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }
}

/// A port that the broker opens, and what clients are told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Upper case, unique: `PLAINTEXT` unless named otherwise.
    pub name: String,
    pub security_protocol: SecurityProtocol,
    /// What its clients log in with, where they have to.
    pub mechanisms: Option<Arc<Mechanisms>>,
    /// Where to listen. `localhost` is 127.0.0.1 and, where there is IPv6, `[::1]`.
    pub bind: HostPort,
    /// Where clients are told to connect. Port 0: the port that was bound.
    pub advertised: HostPort,
}

/// The listeners to open, in the order in which they are configured.
pub(super) fn listeners(settings: &Settings) -> Result<Vec<Listener>, ConfigError> {
    let protocols = protocol_map(settings)?;
    let controller = controller_names(settings);
    let all = parse_endpoints(settings, "listeners")?;
    let binds: Vec<_> = all
        .into_iter()
        .filter(|(name, _)| !controller.contains(name))
        .collect();
    let advertised = match settings.get("advertised.listeners") {
        Some(_) => parse_endpoints(settings, "advertised.listeners")?,
        None => Vec::new(),
    };
    let invalid = |expected: String| settings.invalid("listeners", expected);
    if binds.is_empty() {
        return Err(invalid("expected at least one broker listener".to_owned()));
    }
    for (name, _) in &advertised {
        if !binds.iter().any(|(bound, _)| bound == name) && !controller.contains(name) {
            return Err(settings.invalid(
                "advertised.listeners",
                format!("{name} is not among the listeners"),
            ));
        }
    }
    let mut listeners: Vec<Listener> = Vec::with_capacity(binds.len());
    for (name, bind) in binds {
        let Some(security_protocol) = protocols.get(&name).copied() else {
            return Err(invalid(format!(
                "No security protocol defined for listener {name}"
            )));
        };
        if listeners.iter().any(|other| other.name == name) {
            return Err(invalid(
                "Each listener must have a different name".to_owned(),
            ));
        }
        let clash = |other: &Listener| other.bind.port == bind.port && other.bind.host == bind.host;
        if bind.port != 0 && listeners.iter().any(clash) {
            return Err(invalid(format!("{bind} is listed twice")));
        }
        let explicit = advertised.iter().find(|(other, _)| *other == name);
        let advertised = match explicit {
            Some((_, advertised)) => advertised.clone(),
            None => default_advertised(&bind),
        };
        if matches!(advertised.host.as_str(), "0.0.0.0" | "::" | "") {
            return Err(settings.invalid(if explicit.is_some() {
                    "advertised.listeners"
                } else {
                    "listeners"
                },
                format!(
                    "clients cannot connect to {advertised}; name a host with advertised.listeners or --advertise"
                ),
            ));
        }
        listeners.push(Listener {
            mechanisms: match security_protocol.has_login() {
                true => Some(Arc::new(mechanisms(settings, &name)?)),
                false => None,
            },
            name,
            security_protocol,
            bind,
            advertised,
        });
    }
    check_between_brokers(settings, &listeners)?;
    Ok(listeners)
}

/// The first listener that encrypts or authenticates. The controller's is not opened, but who protects that one means to
/// be protected.
pub(super) fn protected_listener(
    settings: &Settings,
) -> Result<Option<(String, SecurityProtocol)>, ConfigError> {
    let protocols = protocol_map(settings)?;
    let mut protected = all_names(settings).filter_map(|name| {
        let protocol = *protocols.get(&name)?;
        (protocol != SecurityProtocol::Plaintext).then_some((name, protocol))
    });
    Ok(protected.next())
}

/// Every listener that is named, the controller's too.
fn all_names(settings: &Settings) -> impl Iterator<Item = String> {
    let endpoints = settings
        .list("listeners")
        .chain(settings.list("advertised.listeners"));
    let named = endpoints.filter_map(|text| Some(text.split_once("://")?.0.to_uppercase()));
    named.chain(controller_names(settings))
}

/// How a listener's clients connect; the controller's are among the listeners. `None`: there is no such listener.
pub(super) fn protocol_of(settings: &Settings, name: &str) -> Option<SecurityProtocol> {
    let name = name.to_uppercase();
    let is_there = all_names(settings).any(|known| known == name);
    let protocols = protocol_map(settings).ok()?;
    protocols.get(&name).copied().filter(|_| is_there)
}

/// The listeners on which clients say who they are, in lower case; the controller's are not among them.
pub(super) fn names_with_login(settings: &Settings) -> Vec<String> {
    let controllers = controller_names(settings);
    let endpoints = settings.list("listeners");
    let names = endpoints.filter_map(|text| Some(text.split_once("://")?.0.to_uppercase()));
    let has_login = |name: &String| {
        let protocol = protocol_of(settings, name);
        !controllers.contains(name) && protocol.is_some_and(SecurityProtocol::has_login)
    };
    let names = names.filter(has_login);
    names.map(|name| name.to_lowercase()).collect()
}

/// Whether any listener encrypts, the controller's too.
pub(super) fn any_encrypts(settings: &Settings) -> bool {
    all_names(settings)
        .any(|name| protocol_of(settings, &name).is_some_and(SecurityProtocol::encrypts))
}

/// There are no other brokers, but a broker that were to speak with them in another way than any listener does is not what
/// its operator means it to be.
fn check_between_brokers(settings: &Settings, listeners: &[Listener]) -> Result<(), ConfigError> {
    const KEY: &str = "security.inter.broker.protocol";
    let wanted = settings.explicit(KEY).and_then(SecurityProtocol::from_name);
    match wanted {
        None | Some(SecurityProtocol::Plaintext) => Ok(()),
        Some(wanted)
            if listeners
                .iter()
                .any(|listener| listener.security_protocol == wanted) =>
        {
            Ok(())
        }
        Some(_) => Err(settings.invalid(
            KEY,
            "no listener has this security protocol, TLS or SASL".to_owned(),
        )),
    }
}

pub(super) fn controller_names(settings: &Settings) -> Vec<String> {
    let names = settings.list("controller.listener.names");
    names.map(str::to_uppercase).collect()
}

/// Every interface is advertised by this machine's name, as Kafka does it.
fn default_advertised(bind: &HostPort) -> HostPort {
    let mut advertised = bind.clone();
    if advertised.host.is_empty() {
        advertised.host = host_name();
    }
    advertised
}

pub(super) fn host_name() -> String {
    let uname = rustix::system::uname();
    match uname.nodename().to_str() {
        Ok(name) if !name.is_empty() => name.to_owned(),
        _ => "localhost".to_owned(),
    }
}

fn protocol_map(settings: &Settings) -> Result<BTreeMap<String, SecurityProtocol>, ConfigError> {
    let mut map = BTreeMap::new();
    for pair in list(settings.get(PROTOCOL_MAP).unwrap_or("")) {
        let Some((name, protocol)) = pair.split_once(':') else {
            let expected = "expected LISTENER:PROTOCOL,...".to_owned();
            return Err(settings.invalid(PROTOCOL_MAP, expected));
        };
        let protocol = protocol.trim().to_uppercase();
        let Some(protocol) = SecurityProtocol::from_name(&protocol) else {
            let expected = format!("Invalid security protocol `{protocol}`");
            return Err(settings.invalid(PROTOCOL_MAP, expected));
        };
        map.insert(name.trim().to_uppercase(), protocol);
    }
    Ok(map)
}

fn parse_endpoints(
    settings: &Settings,
    key: &'static str,
) -> Result<Vec<(String, HostPort)>, ConfigError> {
    settings
        .list(key)
        .map(parse_endpoint)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| {
            let expected = "expected NAME://host:port,...".to_owned();
            settings.invalid(key, expected)
        })
}

/// Listener and address of `NAME://host:port`.
pub(super) fn parse_endpoint(text: &str) -> Option<(String, HostPort)> {
    let (name, rest) = text.split_once("://")?;
    let named = !name.is_empty() && !name.contains(char::is_whitespace);
    named.then_some((name.to_uppercase(), parse_host_port(rest)?))
}
