//! Keys and certificates out of the files that operators have: PEM, PKCS12 and Java's own format.

use p12_keystore::{CertificateBag, Pkcs12Archive};
use pem::Pem;
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::parse_x509_certificate;

use super::jks;
use credentials::secret::Secret;

/// A private key and the chain of its certificate, the certificate itself first.
#[derive(Debug)]
pub(super) struct KeyEntry {
    pub key: PrivateKeyDer<'static>,
    pub chain: Vec<CertificateDer<'static>>,
}

/// Why a store cannot be used. The text goes on from the name of the store.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("holds no private key")]
    NoKey,
    #[error("holds {0} private keys, and one is expected")]
    SeveralKeys(usize),
    #[error("holds no certificate")]
    NoCertificate,
    #[error("holds no certificate of its private key")]
    OtherCertificate,
    #[error("holds something that is no certificate: {0}")]
    NotACertificate(String),
    #[error("holds an encrypted private key, and there is no ssl.key.password")]
    NoKeyPassword,
    #[error("holds a private key that the password does not open")]
    KeyPassword,
    #[error("cannot be opened: the password is wrong, or the file is damaged")]
    Password,
    #[error(
        "holds a private key that is encrypted in an unknown way; convert it with openssl pkcs8 -topk8 -v2 aes256"
    )]
    KeyEncryption,
    #[error("holds a private key of an unknown kind, {0}")]
    KeyKind(String),
    #[error("cannot be read: {0}")]
    Malformed(String),
    #[error("is a PEM file: set the store's type to PEM")]
    IsPem,
    #[error("is neither PKCS12 nor JKS")]
    UnknownFormat,
    #[error(
        "is a JCEKS file, which is not supported; convert it with keytool -importkeystore -deststoretype pkcs12"
    )]
    Jceks,
}

type Result<T> = std::result::Result<T, StoreError>;

/// The certificates of a PEM text, in their order.
pub(super) fn pem_certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let sections = pem_sections(text)?.into_iter();
    let is_certificate = |section: &Pem| section.tag() == "CERTIFICATE";
    let certificates = sections
        .filter(is_certificate)
        .map(|section| section.into_contents().into());
    let certificates: Vec<_> = certificates.collect();
    match certificates.is_empty() {
        true => Err(StoreError::NoCertificate),
        false => Ok(certificates),
    }
}

/// The one private key of a PEM text.
pub(super) fn pem_key(text: &[u8], password: Option<&Secret>) -> Result<PrivateKeyDer<'static>> {
    let mut keys = pem_sections(text)?;
    keys.retain(|section| section.tag().ends_with("PRIVATE KEY"));
    let key = one(&mut keys)?;
    match key.tag() {
        "PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs8(key.into_contents().into())),
        // OpenSSL's older encryption stands in a header.
        "RSA PRIVATE KEY" | "EC PRIVATE KEY" if key.headers().get("DEK-Info").is_some() => {
            Err(StoreError::KeyEncryption)
        }
        "RSA PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs1(key.into_contents().into())),
        "EC PRIVATE KEY" => Ok(PrivateKeyDer::Sec1(key.into_contents().into())),
        "ENCRYPTED PRIVATE KEY" => decrypted(key.contents(), password),
        other => Err(StoreError::KeyKind(other.to_owned())),
    }
}

/// The parts of a PEM text; between them there may be anything.
fn pem_sections(text: &[u8]) -> Result<Vec<Pem>> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let begun = text
        .windows(BEGIN.len())
        .filter(|part| *part == BEGIN)
        .count();
    let sections =
        pem::parse_many(text).map_err(|error| StoreError::Malformed(error.to_string()))?;
    match sections.len() == begun {
        true => Ok(sections),
        false => Err(StoreError::Malformed("a part of it has no end".to_owned())),
    }
}

/// Opens PKCS#8's own encryption.
fn decrypted(der: &[u8], password: Option<&Secret>) -> Result<PrivateKeyDer<'static>> {
    let password = password.ok_or(StoreError::NoKeyPassword)?;
    let Ok(encrypted) = EncryptedPrivateKeyInfoRef::try_from(der) else {
        return decrypted_as_of_pkcs12(der, password.expose());
    };
    match encrypted.decrypt(password.expose()) {
        Ok(key) => Ok(PrivateKeyDer::Pkcs8(key.as_bytes().to_vec().into())),
        Err(pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed)) => {
            Err(StoreError::KeyPassword)
        }
        // What does not end in the right padding is known at once, what does by chance is no key.
        Err(pkcs8::Error::Asn1(_)) => Err(StoreError::KeyPassword),
        Err(_) => Err(StoreError::KeyEncryption),
    }
}

/// Opens the encryption of PKCS12, which Java and older versions of OpenSSL use in PEM files, too: in a store with nothing but the key.
fn decrypted_as_of_pkcs12(der: &[u8], password: &str) -> Result<PrivateKeyDer<'static>> {
    use p12_keystore::error::Error;
    match Pkcs12Archive::from_pkcs12(&pkcs12_with(der), password) {
        Ok(mut archive) => {
            let key = one(&mut archive.keys)?;
            Ok(PrivateKeyDer::Pkcs8(key.key.as_der().to_vec().into()))
        }
        // What does not end in the right padding is known at once, what does by chance is no key.
        Err(Error::UnpadError | Error::DerError(_) | Error::InvalidPrivateKey) => {
            Err(StoreError::KeyPassword)
        }
        Err(_) => Err(StoreError::KeyEncryption),
    }
}

/// A PKCS12 store with an encrypted key and no checksum (RFC 7292).
fn pkcs12_with(encrypted_key: &[u8]) -> Vec<u8> {
    const SEQUENCE: u8 = 0x30;
    const FIRST: u8 = 0xa0;
    const OCTETS: u8 = 0x04;
    const VERSION: &[u8] = &[0x02, 1, 3];
    /// 1.2.840.113549.1.7.1, and .1.12.10.1.2.
    const DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
    const ENCRYPTED_KEY: &[u8] = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02";
    let within = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        let length = content.len().to_be_bytes();
        let first = length.iter().position(|byte| *byte != 0);
        let header = match &length[first.unwrap_or(length.len() - 1)..] {
            short @ [..0x80] => [&[tag], short].concat(),
            long => [&[tag, 0x80 | long.len() as u8], long].concat(),
        };
        [header, content].concat()
    };
    let data = |content: &[u8]| {
        let octets = within(OCTETS, &[content]);
        within(SEQUENCE, &[DATA, &within(FIRST, &[&octets])])
    };
    let key = within(SEQUENCE, &[ENCRYPTED_KEY, &within(FIRST, &[encrypted_key])]);
    let safe = data(&within(SEQUENCE, &[&key]));
    let all = data(&within(SEQUENCE, &[&safe]));
    within(SEQUENCE, &[VERSION, &all])
}

/// What a store that is no PEM file is, by its first bytes. Java looks at them, too, whatever the type says.
enum Format {
    Pkcs12,
    Jks,
}

fn format(file: &[u8]) -> Result<Format> {
    match file {
        [0xfe, 0xed, 0xfe, 0xed, ..] => Ok(Format::Jks),
        [0xce, 0xce, 0xce, 0xce, ..] => Err(StoreError::Jceks),
        [0x30, ..] => Ok(Format::Pkcs12),
        _ if file.windows(11).any(|part| part == b"-----BEGIN ") => Err(StoreError::IsPem),
        _ => Err(StoreError::UnknownFormat),
    }
}

/// The private key of a keystore and its chain.
pub(super) fn open_keystore(
    file: &[u8],
    password: &Secret,
    key_password: Option<&Secret>,
) -> Result<KeyEntry> {
    let (keys, certificates) = match format(file)? {
        Format::Jks => {
            let store = jks::read(file, Some(password.expose()))?;
            let mut entries = store.keys;
            let entry = one(&mut entries)?;
            let key_password = key_password.unwrap_or(password);
            let key = jks::open_key(&entry.encrypted, key_password.expose())?;
            return Ok(KeyEntry {
                key: PrivateKeyDer::Pkcs8(key.into()),
                chain: entry.chain.into_iter().map(CertificateDer::from).collect(),
            });
        }
        // Keys have the store's password.
        Format::Pkcs12 => {
            let archive = open_pkcs12(file, password.expose())?;
            (archive.keys, archive.certs)
        }
    };
    let mut keys = keys;
    let key = one(&mut keys)?;
    let key_id = key.local_key_id.map(|id| id.0);
    let chain = chain(&certificates, |certificate| {
        key_id.is_some() && certificate.local_key_id == key_id
    });
    Ok(KeyEntry {
        key: PrivateKeyDer::Pkcs8(key.key.as_der().to_vec().into()),
        chain: chain.ok_or(StoreError::OtherCertificate)?,
    })
}

fn one<T>(entries: &mut Vec<T>) -> Result<T> {
    match entries.len() {
        0 => Err(StoreError::NoKey),
        1 => Ok(entries.remove(0)),
        several => Err(StoreError::SeveralKeys(several)),
    }
}

/// The certificate that `is_leaf` picks, and those that it was issued by.
fn chain(
    certificates: &[CertificateBag],
    is_leaf: impl Fn(&CertificateBag) -> bool,
) -> Option<Vec<CertificateDer<'static>>> {
    let mut left: Vec<&CertificateBag> = certificates.iter().collect();
    let leaf = left.iter().position(|certificate| is_leaf(certificate))?;
    let mut chain = vec![left.swap_remove(leaf)];
    while let Some(issuer) = chain.last().map(|last| last.cert.issuer()) {
        match left.iter().position(|other| other.cert.subject() == issuer) {
            Some(next) => chain.push(left.swap_remove(next)),
            None => break,
        }
    }
    let chain = chain.into_iter().map(certificate_of);
    Some(chain.collect())
}

fn certificate_of(bag: &CertificateBag) -> CertificateDer<'static> {
    bag.cert.as_der().to_vec().into()
}

/// The certificates of a truststore, at least one.
pub(super) fn open_truststore(
    file: &[u8],
    password: Option<&Secret>,
) -> Result<Vec<CertificateDer<'static>>> {
    let trusted: Vec<CertificateDer<'static>> = match format(file)? {
        // Java trusts the certificate of a key, too, but not who issued it.
        Format::Jks => {
            let store = jks::read(file, password.map(Secret::expose))?;
            let of_keys = store
                .keys
                .into_iter()
                .filter_map(|entry| entry.chain.into_iter().next());
            let all = store.trusted.into_iter().chain(of_keys);
            all.map(CertificateDer::from).collect()
        }
        Format::Pkcs12 => {
            let archive = open_pkcs12(file, password.map_or("", Secret::expose))?;
            let is_marked = archive.certs.iter().any(|certificate| certificate.trusted);
            let is_trusted = |certificate: &&CertificateBag| {
                let is_of_key = archive.keys.iter().any(|key| {
                    let id = key.local_key_id.as_ref().map(|id| &id.0);
                    id.is_some() && id == certificate.local_key_id.as_ref()
                });
                // Other programs than Java's mark nothing.
                let is_list = archive.keys.is_empty() && !is_marked;
                certificate.trusted || is_of_key || is_list
            };
            archive
                .certs
                .iter()
                .filter(is_trusted)
                .map(certificate_of)
                .collect()
        }
    };
    match trusted.is_empty() {
        true => Err(StoreError::NoCertificate),
        false => Ok(trusted),
    }
}

fn open_pkcs12(file: &[u8], password: &str) -> Result<Pkcs12Archive> {
    use p12_keystore::error::Error;
    Pkcs12Archive::from_pkcs12(file, password).map_err(|error| match error {
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => StoreError::Password,
        error => StoreError::Malformed(error.to_string()),
    })
}

/// Refuses bytes that are no certificate, which nobody would look at before the first client comes.
pub(super) fn check_certificates(certificates: &[CertificateDer<'_>]) -> Result<()> {
    for certificate in certificates {
        parse_x509_certificate(certificate)
            .map_err(|error| StoreError::NotACertificate(error.to_string()))?;
    }
    Ok(())
}
