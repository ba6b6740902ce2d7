#![allow(clippy::unwrap_used)]

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use super::distinguished_name::rfc2253;
use super::mapping::MappingRules;
use super::stores::{
    KeyEntry, StoreError, open_keystore, open_truststore, pem_certificates, pem_key,
};
use credentials::secret::Secret;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("fixtures/", $name)).as_slice()
    };
}

const NAMES_OF_JAVA: &str = include_str!("fixtures/names_of_java.txt");
const MAPPINGS_OF_KAFKA: &str = include_str!("fixtures/mappings_of_kafka.txt");

/// Text in which `\uXXXX` stands for a UTF-16 unit.
fn unescaped(text: &str) -> String {
    let mut units = Vec::new();
    let mut parts = text.split("\\u");
    units.extend(parts.next().unwrap().encode_utf16());
    for part in parts {
        let (number, rest) = part.split_at(4);
        units.push(u16::from_str_radix(number, 16).unwrap());
        units.extend(rest.encode_utf16());
    }
    String::from_utf16(&units).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

#[test]
fn a_name_is_written_as_java_writes_it() {
    let mut names = 0;
    for line in NAMES_OF_JAVA.lines() {
        let (der, expected) = line.split_once('\t').unwrap();
        let der = hex(der);
        let (_, name) = X509Name::from_der(&der).unwrap();
        assert_eq!(rfc2253(&name), unescaped(expected), "{line}");
        names += 1;
    }
    assert!(names > 100, "{names}");
}

/// Kafka fails for some rules when it starts, and for some when a client comes; both are a refusal here.
#[test]
fn rules_map_a_name_as_kafka_maps_it() {
    let mut outcomes = [0; 3];
    for line in MAPPINGS_OF_KAFKA.lines() {
        let fields: Vec<String> = line.split('\t').map(unescaped).collect();
        let [rules, name, expected] = fields.as_slice() else {
            panic!("{line}");
        };
        let mapped = MappingRules::parse(rules).map(|rules| rules.apply(name));
        let (outcome, expected) = match expected.strip_prefix('=') {
            Some(principal) => (0, Ok(Some(principal.to_owned()))),
            None if expected == "-" => (1, Ok(None)),
            None => (2, Err(())),
        };
        outcomes[outcome] += 1;
        assert_eq!(mapped.map_err(|_| ()), expected, "{line}");
    }
    assert!(outcomes.iter().all(|count| *count > 50), "{outcomes:?}");
}

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

fn certificate() -> CertificateDer<'static> {
    pem_certificates(fixture!("certificate.pem"))
        .unwrap()
        .remove(0)
}

#[test]
fn every_kind_of_store_gives_the_same_key_and_certificate() {
    let password = secret("changeit");
    let key = |entry: KeyEntry| {
        assert_eq!(entry.chain, [certificate()]);
        let PrivateKeyDer::Pkcs8(key) = entry.key else {
            panic!("{:?}", entry.key);
        };
        key.secret_pkcs8_der().to_vec()
    };
    let expected = key(open_keystore(fixture!("key.p12"), &password, None).unwrap());
    for store in [fixture!("key.jks"), fixture!("key-of-java-8.p12")] {
        assert_eq!(
            key(open_keystore(store, &password, None).unwrap()),
            expected
        );
    }
    let own = secret("secret-of-the-key");
    let other = fixture!("other-key-password.jks");
    assert_eq!(
        key(open_keystore(other, &password, Some(&own)).unwrap()),
        expected
    );
    for encrypted in [
        fixture!("encrypted-key.pem"),
        fixture!("encrypted-key-of-java.pem"),
    ] {
        let encrypted = pem_key(encrypted, Some(&password)).unwrap();
        let PrivateKeyDer::Pkcs8(encrypted) = encrypted else {
            panic!("{encrypted:?}");
        };
        assert_eq!(encrypted.secret_pkcs8_der(), expected);
    }
    for store in [
        fixture!("trust.p12"),
        fixture!("trust.jks"),
        fixture!("trust-of-openssl.p12"),
        fixture!("key.p12"),
    ] {
        assert_eq!(
            open_truststore(store, Some(&password)),
            Ok(vec![certificate()])
        );
    }
    assert_eq!(
        open_truststore(fixture!("trust.jks"), None),
        Ok(vec![certificate()])
    );
}

#[test]
fn a_store_that_cannot_be_used_says_why() {
    let (right, wrong) = (secret("changeit"), secret("wrong"));
    let refused = |store: &[u8], password: &Secret, key: Option<&Secret>| {
        open_keystore(store, password, key).unwrap_err()
    };
    for store in [
        fixture!("key.p12"),
        fixture!("key.jks"),
        fixture!("key-of-java-8.p12"),
    ] {
        assert_eq!(refused(store, &wrong, None), StoreError::Password);
    }
    let other = fixture!("other-key-password.jks");
    assert_eq!(refused(other, &right, None), StoreError::KeyPassword);
    for store in [fixture!("trust.p12"), fixture!("trust.jks")] {
        assert_eq!(refused(store, &right, None), StoreError::NoKey);
    }
    assert_eq!(
        refused(fixture!("certificate.pem"), &right, None),
        StoreError::IsPem
    );
    assert_eq!(
        refused(b"\xce\xce\xce\xce", &right, None),
        StoreError::Jceks
    );
    assert_eq!(refused(b"", &right, None), StoreError::UnknownFormat);

    let encrypted = fixture!("encrypted-key.pem");
    assert_eq!(
        pem_key(encrypted, None).unwrap_err(),
        StoreError::NoKeyPassword
    );
    for encrypted in [encrypted, fixture!("encrypted-key-of-java.pem")] {
        assert_eq!(
            pem_key(encrypted, Some(&wrong)).unwrap_err(),
            StoreError::KeyPassword
        );
    }
    // PBE-SHA1-RC4-128, which no program writes unasked: the algorithm's number ends in 1 instead of 3.
    let mut unknown = pem::parse(fixture!("encrypted-key-of-java.pem"))
        .unwrap()
        .into_contents();
    let number = [42, 134, 72, 134, 247, 13, 1, 12, 1, 3];
    let at = unknown
        .windows(number.len())
        .position(|part| part == number);
    unknown[at.unwrap() + number.len() - 1] = 1;
    let unknown = pem::encode(&pem::Pem::new("ENCRYPTED PRIVATE KEY", unknown));
    assert_eq!(
        pem_key(unknown.as_bytes(), Some(&right)).unwrap_err(),
        StoreError::KeyEncryption
    );
    assert_eq!(
        pem_key(fixture!("certificate.pem"), None).unwrap_err(),
        StoreError::NoKey
    );
    assert_eq!(
        pem_certificates(encrypted).unwrap_err(),
        StoreError::NoCertificate
    );
    let two = [encrypted, encrypted].concat();
    assert_eq!(
        pem_key(&two, Some(&right)).unwrap_err(),
        StoreError::SeveralKeys(2)
    );
}

#[test]
fn a_store_that_is_cut_anywhere_is_refused() {
    let password = secret("changeit");
    for store in [fixture!("key.p12"), fixture!("key.jks")] {
        for length in 0..store.len() {
            assert!(
                open_keystore(&store[..length], &password, None).is_err(),
                "{length}"
            );
        }
    }
    for length in 0..fixture!("trust.jks").len() {
        let cut = &fixture!("trust.jks")[..length];
        assert!(open_truststore(cut, Some(&password)).is_err(), "{length}");
    }
    let pem = fixture!("certificate.pem");
    let last = pem.len() - 7;
    for length in 0..last {
        assert!(pem_certificates(&pem[..length]).is_err(), "{length}");
    }
}

/// As properties files have it.
#[test]
fn pem_may_stand_on_one_line() {
    let text = String::from_utf8(fixture!("certificate.pem").to_vec()).unwrap();
    let line = text.replace(['\n', '\r'], " ");
    assert_eq!(pem_certificates(line.as_bytes()).unwrap(), [certificate()]);
}
