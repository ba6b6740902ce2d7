//! What a broker connects to other brokers with, as in Kafka: it shows them what the listener shows clients, and trusts whom the
//! listener trusts.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::server_config::{TlsError, key_entry, provider, trusted, versions};
use super::stores::check_certificates;
use crate::config::tls::TlsSettings;

/// May wait for the disk.
///
/// # Errors
/// The first thing that cannot be used.
pub(crate) fn to_other_brokers(settings: &TlsSettings) -> Result<Arc<ClientConfig>, TlsError> {
    const TRUSTSTORE: &str = "ssl.truststore.location";
    let Some(truststore) = &settings.truststore else {
        let why = "brokers reach each other by this listener, and there is nothing to know another one's certificate by";
        return Err(TlsError::Setting {
            key: TRUSTSTORE,
            why: why.to_owned(),
        });
    };
    let mut roots = RootCertStore::empty();
    for certificate in trusted(truststore)? {
        roots.add(certificate).map_err(|error| TlsError::Setting {
            key: TRUSTSTORE,
            why: error.to_string(),
        })?;
    }
    let (name, entry) = key_entry(&settings.keystore)?;
    if let Err(error) = check_certificates(&entry.chain) {
        return Err(TlsError::Store { name, error });
    }
    let provider = Arc::new(provider(settings, &mut Vec::new())?);
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(settings))
        .map_err(TlsError::NothingInCommon)?
        .with_root_certificates(roots)
        .with_client_auth_cert(entry.chain, entry.key)
        .map_err(|source| TlsError::Key { name, source })?;
    Ok(Arc::new(config))
}
