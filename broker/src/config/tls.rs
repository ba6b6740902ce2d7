//! What the keys of a listener say of TLS: Kafka's `SslConfigs` and `DefaultSslEngineFactory`, without reading any file.

use std::path::PathBuf;

use super::broker_keys::{is_of_listeners, listener_key};
use super::broker_row::{BrokerRow, kafka, own_null};
use super::def::{Kind, list};
use super::effects::{Remark, asks_for_nothing};
use super::error::ConfigError;
use super::listeners::{Listener, SecurityProtocol, any_encrypts, protocol_of};
use super::settings::{DynamicSettings, Settings};
use crate::security::tls::mapping::MappingRules;
use credentials::secret::Secret;

/// A private key that is in a file of its own.
const KEY_LOCATION: &str = "ottla.ssl.key.location";

/// The keys of TLS, which are read for one listener at a time.
#[rustfmt::skip] // a table
pub(super) static TLS: &[BrokerRow] = &[
    kafka("ssl.keystore.location")
        .doc("File with the broker's private key and the chain of its certificate."),
    kafka("ssl.keystore.type")
        .doc("PEM, PKCS12 or JKS. Which of the latter two a file is, it says itself."),
    kafka("ssl.keystore.password")
        .doc("Password of a keystore that is no PEM file."),
    kafka("ssl.key.password")
        .doc("Password of the private key; unset: that of the keystore, or the key is not encrypted."),
    kafka("ssl.keystore.key")
        .doc("The private key itself, as PEM (PKCS#8)."),
    kafka("ssl.keystore.certificate.chain")
        .doc("The chain of the broker's certificate itself, as PEM."),
    own_null(KEY_LOCATION, Kind::String)
        .doc("PEM file with the private key, if ssl.keystore.location is a PEM file of the certificates alone."),
    kafka("ssl.truststore.location")
        .doc("File with the certificates that clients, or who issued theirs, are known by."),
    kafka("ssl.truststore.type")
        .doc("As ssl.keystore.type."),
    kafka("ssl.truststore.password")
        .doc("Password of a truststore that is no PEM file."),
    kafka("ssl.truststore.certificates")
        .doc("The certificates of the truststore themselves, as PEM."),
    kafka("ssl.client.auth")
        .doc("Whether clients show a certificate: none, requested or required. For a SASL_SSL listener it counts with the listener's prefix alone."),
    kafka("ssl.enabled.protocols")
        .doc("Versions of TLS; there are TLSv1.2 and TLSv1.3."),
    kafka("ssl.cipher.suites")
        .doc("Cipher suites by their IANA names; empty: all that are safe."),
    kafka("ssl.principal.mapping.rules")
        .doc("From the name in a client's certificate to its principal: DEFAULT, or RULE:pattern/replacement/[LU]; the first that matches counts."),
    kafka("ssl.allow.dn.changes")
        .doc("Whether another keystore may have another distinguished name."),
    kafka("ssl.allow.san.changes")
        .doc("Whether another keystore may lack subject alternative names that the present one has."),
];

/// What is set for one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    pub keystore: Keystore,
    pub truststore: Option<Truststore>,
    pub client_auth: ClientAuth,
    pub tls12: bool,
    pub tls13: bool,
    /// By their IANA names; `None`: all.
    pub cipher_suites: Option<Vec<String>>,
    pub mapping_rules: MappingRules,
    pub allow_dn_changes: bool,
    pub allow_san_changes: bool,
}

/// Where the broker's private key and certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keystore {
    /// PKCS12 or JKS.
    Store {
        path: PathBuf,
        password: Secret,
        key_password: Option<Secret>,
    },
    Pem {
        path: PathBuf,
        /// `None`: in the same file.
        key_path: Option<PathBuf>,
        key_password: Option<Secret>,
    },
    Inline {
        key: Secret,
        chain: Secret,
        key_password: Option<Secret>,
    },
}

/// Where the certificates are that clients are known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truststore {
    /// PKCS12 or JKS.
    Store {
        path: PathBuf,
        password: Option<Secret>,
    },
    Pem {
        path: PathBuf,
    },
    Inline {
        certificates: Secret,
    },
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    Requested,
    Required,
}

/// A key of the listener that cannot be used as it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub key: &'static str,
    pub why: String,
}

impl Settings {
    /// What is set for a listener that encrypts, and what the operator should know of it.
    ///
    /// # Errors
    /// The key that cannot be used, or is missing.
    pub(crate) fn tls(
        &self,
        listener: &Listener,
        dynamic: DynamicSettings<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<TlsSettings, Unusable> {
        let values = ListenerValues {
            protocol: listener.security_protocol,
            value: &|key| self.of_listener(&listener.name, key, dynamic),
            own: &|key| self.own_of_listener(&listener.name, key, dynamic),
        };
        TlsSettings::read(&values, warnings)
    }
}

/// Holds the keys of TLS against the listeners that there are.
///
/// # Errors
/// A listener cannot encrypt with what is set, or there is none that a key could be for: its operator believes to be
/// protected.
pub(super) fn check(
    settings: &Settings,
    listeners: &[Listener],
) -> Result<Vec<Remark>, ConfigError> {
    for key in settings.set_keys() {
        let why = why_without_tls(settings, key);
        let asks = settings.explicit(key).is_some_and(|value| {
            let base = listener_key(key).map_or(key, |(_, base)| base);
            !asks_for_nothing(base, value)
        });
        if let Some(why) = why.filter(|_| asks) {
            return Err(ConfigError::unserved(key, why));
        }
    }
    let mut remarks = Vec::new();
    for listener in listeners
        .iter()
        .filter(|listener| listener.security_protocol.encrypts())
    {
        let mut warnings = Vec::new();
        let read = settings.tls(listener, DynamicSettings::none(), &mut warnings);
        read.map_err(|Unusable { key, why }| ConfigError::Listener {
            listener: listener.name.clone(),
            key: key.to_owned(),
            why,
        })?;
        let remark = |warning| Remark::Warning(format!("listener {}: {warning}", listener.name));
        remarks.extend(warnings.into_iter().map(remark));
    }
    Ok(remarks)
}

/// Whether a change of this key, which may be one for a listener, changes what listeners encrypt with.
pub(crate) fn is_certificate_key(key: &str) -> bool {
    is_of_listeners(listener_key(key).map_or(key, |(_, base)| base))
}

/// Why a key of TLS is for no listener; `None`: it is for one, or is no such key.
pub(super) fn why_without_tls(settings: &Settings, key: &str) -> Option<&'static str> {
    let (listener, base) = match listener_key(key) {
        Some((listener, base)) => (Some(listener), base),
        None => (None, key),
    };
    if !is_of_listeners(base) {
        return None;
    }
    match listener.map(|name| protocol_of(settings, name)) {
        None if any_encrypts(settings) => None,
        None => Some("no listener has TLS: its security protocol would be SSL"),
        Some(None) => Some("there is no listener of that name, with or without TLS"),
        Some(Some(protocol)) if !protocol.encrypts() => {
            Some("that listener has no TLS: its security protocol would be SSL")
        }
        Some(Some(_)) => None,
    }
}

/// Values of a listener's keys.
pub(crate) struct ListenerValues<'a> {
    pub protocol: SecurityProtocol,
    /// The listener's own, else the one for all, else the default.
    pub value: &'a dyn Fn(&str) -> Option<&'a str>,
    /// The listener's own alone.
    pub own: &'a dyn Fn(&str) -> Option<&'a str>,
}

impl ListenerValues<'_> {
    /// Java's null is an empty value.
    fn text(&self, key: &str) -> Option<&str> {
        (self.value)(key)
            .map(str::trim)
            .filter(|text| !text.is_empty())
    }

    fn secret(&self, key: &str) -> Option<Secret> {
        (self.value)(key)
            .filter(|text| !text.is_empty())
            .map(Secret::new)
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }
}

fn unusable<T>(key: &'static str, why: impl Into<String>) -> Result<T, Unusable> {
    Err(Unusable {
        key,
        why: why.into(),
    })
}

impl TlsSettings {
    /// Reads the keys of a listener, and adds what the operator should know.
    ///
    /// # Errors
    /// The key that cannot be used, or is missing.
    pub(crate) fn read(
        values: &ListenerValues<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Unusable> {
        let client_auth = client_auth(values, warnings)?;
        let truststore = truststore(values)?;
        if client_auth != ClientAuth::None && truststore.is_none() {
            return unusable(
                "ssl.client.auth",
                "clients are to show a certificate, and there is no ssl.truststore.location to know it by",
            );
        }
        let (tls12, tls13) = versions(values, warnings)?;
        const RULES: &str = "ssl.principal.mapping.rules";
        let rules = values.text(RULES).unwrap_or_default();
        let mapping_rules = MappingRules::parse(rules);
        Ok(Self {
            keystore: keystore(values)?,
            truststore,
            client_auth,
            tls12,
            tls13,
            cipher_suites: values
                .text("ssl.cipher.suites")
                .map(|suites| list(suites).map(str::to_owned).collect()),
            mapping_rules: mapping_rules.or_else(|why| unusable(RULES, why))?,
            allow_dn_changes: flag(values, "ssl.allow.dn.changes"),
            allow_san_changes: flag(values, "ssl.allow.san.changes"),
        })
    }

    /// The files that it is made from.
    pub(crate) fn files(&self) -> Vec<&PathBuf> {
        let keystore = match &self.keystore {
            Keystore::Store { path, .. } => vec![path],
            Keystore::Pem { path, key_path, .. } => [path].into_iter().chain(key_path).collect(),
            Keystore::Inline { .. } => Vec::new(),
        };
        let truststore = self
            .truststore
            .iter()
            .filter_map(|truststore| match truststore {
                Truststore::Store { path, .. } | Truststore::Pem { path } => Some(path),
                Truststore::Inline { .. } => None,
            });
        keystore.into_iter().chain(truststore).collect()
    }
}

fn flag(values: &ListenerValues<'_>, key: &str) -> bool {
    values
        .text(key)
        .is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

fn client_auth(
    values: &ListenerValues<'_>,
    warnings: &mut Vec<String>,
) -> Result<ClientAuth, Unusable> {
    const KEY: &str = "ssl.client.auth";
    let parse = |text: &str| match text.to_ascii_lowercase().as_str() {
        "none" => Ok(ClientAuth::None),
        "requested" => Ok(ClientAuth::Requested),
        "required" => Ok(ClientAuth::Required),
        _ => unusable(KEY, "expected none, requested or required"),
    };
    let for_all = values.text(KEY).map_or(Ok(ClientAuth::None), parse)?;
    if values.protocol == SecurityProtocol::SaslSsl && (values.own)(KEY).is_none() {
        if for_all != ClientAuth::None {
            warnings.push(format!(
                "{KEY} is for SSL listeners alone; a SASL_SSL listener asks for certificates with listener.name.LISTENER.{KEY}"
            ));
        }
        return Ok(ClientAuth::None);
    }
    Ok(for_all)
}

fn versions(
    values: &ListenerValues<'_>,
    warnings: &mut Vec<String>,
) -> Result<(bool, bool), Unusable> {
    const KEY: &str = "ssl.enabled.protocols";
    let Some(text) = values.text(KEY) else {
        return Ok((true, true));
    };
    let (mut tls12, mut tls13) = (false, false);
    for version in list(text) {
        match version {
            "TLSv1.2" => tls12 = true,
            "TLSv1.3" => tls13 = true,
            "TLSv1" | "TLSv1.1" | "SSLv3" | "SSLv2Hello" => warnings.push(format!(
                "{KEY} names {version}, which is not safe and not offered"
            )),
            _ => return unusable(KEY, format!("expected TLSv1.2 and TLSv1.3, not {version}")),
        }
    }
    match tls12 || tls13 {
        true => Ok((tls12, tls13)),
        false => unusable(
            KEY,
            "expected TLSv1.2, TLSv1.3 or both: older ones are not safe",
        ),
    }
}

/// A store's type; `true`: PEM.
fn is_pem(values: &ListenerValues<'_>, key: &'static str) -> Result<bool, Unusable> {
    let kind = values.text(key).unwrap_or("JKS").to_ascii_uppercase();
    match kind.as_str() {
        "PEM" => Ok(true),
        "JKS" | "PKCS12" => Ok(false),
        _ => unusable(key, "expected PEM, PKCS12 or JKS"),
    }
}

fn keystore(values: &ListenerValues<'_>) -> Result<Keystore, Unusable> {
    const LOCATION: &str = "ssl.keystore.location";
    const KEY: &str = "ssl.keystore.key";
    const CHAIN: &str = "ssl.keystore.certificate.chain";
    const PASSWORD: &str = "ssl.keystore.password";
    let is_pem = is_pem(values, "ssl.keystore.type")?;
    let password = values.secret(PASSWORD);
    let key_password = values.secret("ssl.key.password");
    let key_path = values.path(KEY_LOCATION);
    if is_pem && password.is_some() {
        let why = "a PEM keystore has no password of its own; that of the key is ssl.key.password";
        return unusable(PASSWORD, why);
    }
    match (
        values.path(LOCATION),
        values.secret(KEY),
        values.secret(CHAIN),
    ) {
        (Some(_), Some(_), _) => unusable(
            LOCATION,
            "ssl.keystore.key is set as well, and one is expected",
        ),
        (Some(_), _, Some(_)) => unusable(
            LOCATION,
            "ssl.keystore.certificate.chain is set as well, and one is expected",
        ),
        (None, Some(_), Some(_)) if !is_pem => {
            unusable(KEY, "it is PEM, and ssl.keystore.type is not")
        }
        (None, Some(key), Some(chain)) => Ok(Keystore::Inline {
            key,
            chain,
            key_password,
        }),
        (None, Some(_), None) => unusable(KEY, "there is no ssl.keystore.certificate.chain"),
        (None, None, Some(_)) => unusable(CHAIN, "there is no ssl.keystore.key"),
        (None, None, None) => unusable(
            LOCATION,
            "the listener is to encrypt, and there is no certificate: set it, or ssl.keystore.key and ssl.keystore.certificate.chain",
        ),
        (Some(path), None, None) if is_pem => Ok(Keystore::Pem {
            path,
            key_path,
            key_password,
        }),
        (Some(_), None, None) if key_path.is_some() => {
            unusable(KEY_LOCATION, "it goes with ssl.keystore.type=PEM alone")
        }
        (Some(path), None, None) => match password {
            Some(password) => Ok(Keystore::Store {
                path,
                password,
                key_password,
            }),
            None => unusable(
                LOCATION,
                "there is no ssl.keystore.password (or set ssl.keystore.type=PEM)",
            ),
        },
    }
}

fn truststore(values: &ListenerValues<'_>) -> Result<Option<Truststore>, Unusable> {
    const LOCATION: &str = "ssl.truststore.location";
    const CERTIFICATES: &str = "ssl.truststore.certificates";
    const PASSWORD: &str = "ssl.truststore.password";
    let is_pem = is_pem(values, "ssl.truststore.type")?;
    let password = values.secret(PASSWORD);
    match (values.path(LOCATION), values.secret(CERTIFICATES)) {
        (Some(_), Some(_)) => unusable(
            LOCATION,
            "ssl.truststore.certificates is set as well, and one is expected",
        ),
        (None, Some(_)) if !is_pem => {
            unusable(CERTIFICATES, "it is PEM, and ssl.truststore.type is not")
        }
        (_, _) if is_pem && password.is_some() => {
            unusable(PASSWORD, "a PEM truststore has no password")
        }
        (None, Some(certificates)) => Ok(Some(Truststore::Inline { certificates })),
        (Some(path), None) if is_pem => Ok(Some(Truststore::Pem { path })),
        (Some(path), None) => Ok(Some(Truststore::Store { path, password })),
        (None, None) if password.is_some() => {
            unusable(PASSWORD, "there is no ssl.truststore.location")
        }
        (None, None) => Ok(None),
    }
}
