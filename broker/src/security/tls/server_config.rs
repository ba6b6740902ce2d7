//! From a listener's settings to what rustls serves it with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::{NoClientAuth, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ServerConfig, SupportedProtocolVersion};
use x509_parser::parse_x509_certificate;

use super::client_verifier::ClientVerifier;
use super::distinguished_name::rfc2253;
use super::stores::{
    KeyEntry, StoreError, check_certificates, open_keystore, open_truststore, pem_certificates,
    pem_key,
};
use crate::config::tls::{ClientAuth, Keystore, TlsSettings, Truststore};

/// Why a listener cannot be served with what it has been given.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{name} {error}")]
    Store { name: String, error: StoreError },
    #[error("the first certificate of {0} is not that of the private key")]
    OtherKey(String),
    #[error("the private key of {name} cannot be used: {source}")]
    Key { name: String, source: rustls::Error },
    #[error("ssl.cipher.suites leaves nothing that is supported; there are {0}")]
    NoCipherSuite(String),
    #[error("ssl.cipher.suites and ssl.enabled.protocols leave nothing in common: {0}")]
    NothingInCommon(rustls::Error),
    #[error(
        "the distinguished name would change from {old} to {new}; ssl.allow.dn.changes=true allows that"
    )]
    DistinguishedName { old: String, new: String },
    #[error("the subject alternative names would lack {0}; ssl.allow.san.changes=true allows that")]
    AlternativeNames(String),
    #[error("{key}: {why}")]
    Setting { key: &'static str, why: String },
}

/// What a listener is served with.
pub(super) struct Loaded {
    pub config: Arc<ServerConfig>,
    pub identity: Identity,
}

/// What clients know the broker by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub distinguished_name: String,
    pub alternative_names: BTreeSet<String>,
    /// Seconds since 1970.
    pub valid_until: i64,
}

impl Identity {
    /// # Errors
    /// Clients that know `old` would not know this one, and the settings do not allow that.
    pub(super) fn check_against(&self, old: &Self, settings: &TlsSettings) -> Result<(), TlsError> {
        let (old_name, new_name) = (&old.distinguished_name, &self.distinguished_name);
        if !settings.allow_dn_changes && !old_name.eq_ignore_ascii_case(new_name) {
            return Err(TlsError::DistinguishedName {
                old: old_name.clone(),
                new: new_name.clone(),
            });
        }
        let mut missing = old.alternative_names.difference(&self.alternative_names);
        match missing.next() {
            Some(name) if !settings.allow_san_changes => {
                Err(TlsError::AlternativeNames(name.clone()))
            }
            _ => Ok(()),
        }
    }

    fn of(certificate: &CertificateDer<'_>) -> Result<Self, StoreError> {
        let (_, certificate) = parse_x509_certificate(certificate)
            .map_err(|error| StoreError::NotACertificate(error.to_string()))?;
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let names = alternative
            .iter()
            .flat_map(|names| &names.value.general_names);
        Ok(Self {
            distinguished_name: rfc2253(certificate.subject()),
            alternative_names: names.map(ToString::to_string).collect(),
            valid_until: certificate.validity().not_after.timestamp(),
        })
    }
}

/// Reads the files of a listener and checks all of it. May wait for the disk.
///
/// # Errors
/// The first thing that cannot be used.
pub(super) fn load(settings: &TlsSettings, warnings: &mut Vec<String>) -> Result<Loaded, TlsError> {
    let provider = Arc::new(provider(settings, warnings)?);
    let (name, entry) = key_entry(&settings.keystore)?;
    let in_store = |error| TlsError::Store {
        name: name.clone(),
        error,
    };
    check_certificates(&entry.chain).map_err(in_store)?;
    let leaf = entry
        .chain
        .first()
        .ok_or_else(|| in_store(StoreError::NoCertificate))?;
    let identity = Identity::of(leaf).map_err(in_store)?;
    let key = provider.key_provider.load_private_key(entry.key);
    let key = key.map_err(|source| TlsError::Key {
        name: name.clone(),
        source,
    })?;
    if key
        .public_key()
        .is_some_and(|public| Some(&*public) != public_key(leaf).as_deref())
    {
        return Err(TlsError::OtherKey(name));
    }
    let versions = versions(settings);
    let trusted = settings.truststore.as_ref().map(trusted).transpose()?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(TlsError::NothingInCommon)?;
    let is_required = settings.client_auth == ClientAuth::Required;
    let builder = match (settings.client_auth, trusted) {
        (ClientAuth::None, _) | (_, None) => {
            builder.with_client_cert_verifier(Arc::new(NoClientAuth))
        }
        (_, Some(trusted)) => {
            let verifier = ClientVerifier::new(trusted, is_required, &provider);
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
    };
    let certified = SingleCertAndKey::from(CertifiedKey::new(entry.chain, key));
    let mut config = builder.with_cert_resolver(Arc::new(certified));
    config.ignore_client_order = settings.cipher_suites.is_some();
    if settings.client_auth != ClientAuth::None {
        // A resumed session would let in who is no longer trusted, or whose certificate has expired.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Loaded {
        config: Arc::new(config),
        identity,
    })
}

pub(super) fn versions(settings: &TlsSettings) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(settings.tls13, &TLS13), (settings.tls12, &TLS12)];
    let versions = all.into_iter();
    versions
        .filter_map(|(is_on, version)| is_on.then_some(version))
        .collect()
}

/// The ciphers that the settings leave.
pub(super) fn provider(
    settings: &TlsSettings,
    warnings: &mut Vec<String>,
) -> Result<CryptoProvider, TlsError> {
    let mut provider = aws_lc_rs::default_provider();
    let Some(wanted) = &settings.cipher_suites else {
        return Ok(provider);
    };
    let supported = provider.cipher_suites;
    let names = || supported.iter().map(|suite| iana_name(suite.suite()));
    provider.cipher_suites = Vec::new();
    for name in wanted {
        match supported
            .iter()
            .find(|suite| iana_name(suite.suite()) == *name)
        {
            Some(suite) => provider.cipher_suites.push(*suite),
            None => warnings.push(format!(
                "ssl.cipher.suites names {name}, which is not offered"
            )),
        }
    }
    match provider.cipher_suites.is_empty() {
        true => Err(TlsError::NoCipherSuite(
            names().collect::<Vec<_>>().join(", "),
        )),
        false => Ok(provider),
    }
}

/// As Java and IANA call it.
fn iana_name(suite: CipherSuite) -> String {
    format!("{suite:?}").replace("TLS13_", "TLS_")
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// The store's name for people, and what it holds.
pub(super) fn key_entry(keystore: &Keystore) -> Result<(String, KeyEntry), TlsError> {
    let (name, entry) = match keystore {
        Keystore::Store {
            path,
            password,
            key_password,
        } => (
            path.display().to_string(),
            open_keystore(&read(path)?, password, key_password.as_ref()),
        ),
        Keystore::Pem {
            path,
            key_path,
            key_password,
        } => {
            let chain = read(path)?;
            let key_file = key_path.as_deref().unwrap_or(path);
            let key = pem_key(&read(key_file)?, key_password.as_ref());
            let in_file = |path: &Path, error| TlsError::Store {
                name: path.display().to_string(),
                error,
            };
            let entry = KeyEntry {
                key: key.map_err(|error| in_file(key_file, error))?,
                chain: pem_certificates(&chain).map_err(|error| in_file(path, error))?,
            };
            (path.display().to_string(), Ok(entry))
        }
        Keystore::Inline {
            key,
            chain,
            key_password,
        } => {
            let entry = pem_key(key.expose().as_bytes(), key_password.as_ref()).and_then(|key| {
                let chain = pem_certificates(chain.expose().as_bytes())?;
                Ok(KeyEntry { key, chain })
            });
            (
                "ssl.keystore.key with ssl.keystore.certificate.chain".to_owned(),
                entry,
            )
        }
    };
    match entry {
        Ok(entry) => Ok((name, entry)),
        Err(error) => Err(TlsError::Store { name, error }),
    }
}

pub(super) fn trusted(truststore: &Truststore) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let (name, trusted) = match truststore {
        Truststore::Store { path, password } => (
            path.display().to_string(),
            open_truststore(&read(path)?, password.as_ref()),
        ),
        Truststore::Pem { path } => (path.display().to_string(), pem_certificates(&read(path)?)),
        Truststore::Inline { certificates } => (
            "ssl.truststore.certificates".to_owned(),
            pem_certificates(certificates.expose().as_bytes()),
        ),
    };
    let checked = trusted.and_then(|trusted| check_certificates(&trusted).map(|()| trusted));
    checked.map_err(|error| TlsError::Store { name, error })
}

/// The DER `SubjectPublicKeyInfo` of a certificate.
fn public_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    Some(certificate.public_key().raw.to_vec())
}
