//! What reads keys, certificates and rules about their names, as entry points for fuzzers. No part of the API.
//!
//! Each takes any bytes and must return: without a panic, and without memory that the bytes merely claim.

use credentials::secret::Secret;
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use super::distinguished_name::rfc2253;
use super::mapping::MappingRules;
use super::{jks, stores};

/// A file with a key or with certificates, PEM or Java's own format. Nothing that makes a password slow to try is undone: the
/// file says how slow.
pub fn store(bytes: &[u8]) {
    let _ = stores::pem_certificates(bytes);
    let _ = stores::pem_key(bytes, None);
    if let Ok(store) = jks::read(bytes, Some("secret")).or_else(|_| jks::read(bytes, None)) {
        for entry in store.keys {
            let _ = jks::open_key(&entry.encrypted, "secret");
        }
    }
}

/// The same in PKCS12 and with encrypted keys, which a file can make slow.
pub fn slow_store(bytes: &[u8]) {
    let password = Secret::new("secret");
    let _ = stores::pem_key(bytes, Some(&password));
    let _ = stores::open_keystore(bytes, &password, None);
    let _ = stores::open_truststore(bytes, Some(&password));
}

/// A certificate, or a name of one alone.
pub fn name(bytes: &[u8]) {
    if let Ok((_, certificate)) = parse_x509_certificate(bytes) {
        let _ = rfc2253(certificate.subject());
    }
    if let Ok((_, name)) = X509Name::from_der(bytes) {
        let _ = rfc2253(&name);
    }
}

/// `ssl.principal.mapping.rules`, and behind a NUL a name.
pub fn mapping(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (rules, name) = text.split_once('\0').unwrap_or((&text, "CN=ann,OU=a"));
    if let Ok(rules) = MappingRules::parse(rules) {
        let _ = rules.apply(name);
    }
}
