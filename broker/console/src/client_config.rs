//! `--client-config`: a `client.properties` of Java's clients or a configuration of librdkafka.
//!
//! Keys that protect are either obeyed or refused. Others, such as `linger.ms`, are about clients that this is not.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use credentials::jaas::LoginModule;
use credentials::scram::ScramMechanism;
use credentials::secret::Secret;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::failure::{Result, failed};

/// How to talk to a broker.
#[derive(Clone, Default)]
pub struct Security {
    /// Encrypts.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Logs in.
    pub(crate) login: Option<Login>,
}

impl Security {
    /// What encrypts, and a mechanism with user and password to log in with.
    ///
    /// # Errors
    /// There is no such mechanism.
    pub fn new(
        tls: Option<Arc<ClientConfig>>,
        login: Option<(&str, String, Secret)>,
    ) -> Result<Self, String> {
        let login = login.map(|(mechanism, user, password)| {
            let mechanism = Mechanism::from_name(mechanism)?;
            Ok::<_, String>(Login {
                mechanism,
                user,
                password,
            })
        });
        let login = login.transpose()?;
        Ok(Self { tls, login })
    }

    pub fn encrypts(&self) -> bool {
        self.tls.is_some()
    }

    /// What encrypts.
    pub fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
    }

    /// The same with something else that encrypts.
    #[must_use]
    pub fn with_tls(&self, tls: Arc<ClientConfig>) -> Self {
        Self {
            tls: Some(tls),
            login: self.login.clone(),
        }
    }

    pub fn logs_in(&self) -> bool {
        self.login.is_some()
    }
}

#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) mechanism: Mechanism,
    pub(crate) user: String,
    pub(crate) password: Secret,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mechanism {
    Plain,
    Scram(ScramMechanism),
}

impl Mechanism {
    fn from_name(name: &str) -> Result<Self, String> {
        match name {
            "PLAIN" => Ok(Self::Plain),
            other => ScramMechanism::from_name(other)
                .map(Self::Scram)
                .ok_or_else(|| format!("{other}: expected PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram(scram) => scram.name(),
        }
    }
}

/// What the file says.
pub(crate) struct ClientFile {
    pub(crate) bootstrap: Option<String>,
    pub(crate) security: Security,
}

/// Reads a file.
///
/// # Errors
/// It cannot be read, or asks for what is not served here.
pub(crate) fn read(path: &Path) -> Result<ClientFile> {
    let told = |what: String| failed(format!("--client-config {}: {what}", path.display()));
    parse(path).map_err(told)
}

/// How a file says to talk to a broker, and the files that this is read from: itself and those that it names.
///
/// # Errors
/// It cannot be read, or asks for what is not served here.
pub fn security_of(path: &Path) -> Result<(Security, Vec<PathBuf>), String> {
    let keys = keys_of(path)?;
    let named = [&TRUSTED_FILES[..], &CHAIN_FILES, &KEY_FILES];
    let named = named.into_iter().filter_map(|names| keys.get(names));
    let mut files = vec![path.to_owned()];
    files.extend(named.map(PathBuf::from));
    Ok((keys.read()?.security, files))
}

fn parse(path: &Path) -> Result<ClientFile, String> {
    keys_of(path)?.read()
}

fn keys_of(path: &Path) -> Result<Keys, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let properties = java_properties::read(&text[..])
        .map_err(|error| format!("not in properties syntax: {error}"))?;
    Ok(Keys { properties })
}

struct Keys {
    properties: HashMap<String, String>,
}

/// Keys that name PEM files.
const TRUSTED_FILES: [&str; 2] = ["ssl.truststore.location", "ssl.ca.location"];
const CHAIN_FILES: [&str; 2] = ["ssl.keystore.location", "ssl.certificate.location"];
const KEY_FILES: [&str; 1] = ["ssl.key.location"];

/// Keys that are obeyed, besides those with files below.
const OBEYED: [&str; 17] = [
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.jaas.config",
    "sasl.username",
    "sasl.password",
    "ssl.truststore.type",
    "ssl.truststore.location",
    "ssl.truststore.certificates",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.keystore.type",
    "ssl.keystore.location",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.certificate.location",
    "ssl.key.location",
];

impl Keys {
    fn get(&self, names: &[&str]) -> Option<&str> {
        let values = names.iter().filter_map(|name| self.properties.get(*name));
        values
            .map(|value| value.trim())
            .find(|value| !value.is_empty())
    }

    fn read(&self) -> Result<ClientFile, String> {
        self.refuse_others()?;
        let protocol = self.get(&["security.protocol"]).unwrap_or("PLAINTEXT");
        let (encrypts, logs_in) = match protocol.to_uppercase().as_str() {
            "PLAINTEXT" => (false, false),
            "SSL" => (true, false),
            "SASL_PLAINTEXT" => (false, true),
            "SASL_SSL" => (true, true),
            _ => {
                return Err(format!(
                    "security.protocol={protocol}: expected PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
                ));
            }
        };
        let security = Security {
            tls: encrypts.then(|| self.tls()).transpose()?,
            login: logs_in.then(|| self.login()).transpose()?,
        };
        let bootstrap = self.get(&["bootstrap.servers", "metadata.broker.list"]);
        Ok(ClientFile {
            bootstrap: bootstrap.map(str::to_owned),
            security,
        })
    }

    /// A key that protects is never ignored.
    fn refuse_others(&self) -> Result<(), String> {
        let protects = |key: &str| {
            let families = ["ssl.", "sasl.", "security.", "enable.ssl.", "enable.sasl."];
            families.iter().any(|family| key.starts_with(family))
        };
        let is_usual = |key: &str, value: &str| {
            matches!(
                (key, value),
                ("ssl.endpoint.identification.algorithm", "https" | "HTTPS")
                    | ("enable.ssl.certificate.verification", "true")
            )
        };
        let mut others: Vec<_> = self
            .properties
            .iter()
            .filter(|(key, value)| {
                protects(key) && !OBEYED.contains(&key.as_str()) && !is_usual(key, value)
            })
            .map(|(key, _)| key.as_str())
            .collect();
        others.sort_unstable();
        match others.first() {
            None => Ok(()),
            Some(key) => Err(format!(
                "{key} is not known here; known are {}. Kafka's own tools and kcat take the others",
                OBEYED.join(", ")
            )),
        }
    }

    fn login(&self) -> Result<Login, String> {
        let name = self
            .get(&["sasl.mechanism", "sasl.mechanisms"])
            .ok_or("sasl.mechanism is missing: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")?;
        let mechanism =
            Mechanism::from_name(name).map_err(|why| format!("sasl.mechanism={why}"))?;
        let (user, password) = match self.get(&["sasl.jaas.config"]) {
            Some(text) => {
                let module = LoginModule::parse(text).map_err(|error| error.to_string())?;
                let mut options = module.options;
                let user = options.remove("username");
                (
                    user.map(|user| user.expose().to_owned()),
                    options.remove("password"),
                )
            }
            None => (
                self.get(&["sasl.username"]).map(str::to_owned),
                self.get(&["sasl.password"]).map(Secret::new),
            ),
        };
        match (user, password) {
            (Some(user), Some(password)) => Ok(Login {
                mechanism,
                user,
                password,
            }),
            _ => Err("who logs in? Expected username and password in sasl.jaas.config, or sasl.username and sasl.password".to_owned()),
        }
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        for key in ["ssl.truststore.type", "ssl.keystore.type"] {
            if let Some(kind) = self
                .get(&[key])
                .filter(|kind| !kind.eq_ignore_ascii_case("PEM"))
            {
                return Err(format!(
                    "{key}={kind}: only PEM is read here; `openssl pkcs12 -in STORE -out FILE.pem` makes it of PKCS12"
                ));
            }
        }
        let trusted = self
            .pem(
                &TRUSTED_FILES,
                &["ssl.truststore.certificates", "ssl.ca.pem"],
            )?
            .ok_or("whom to trust? Expected ssl.truststore.location or ssl.ca.location: a PEM file with the certificate of who has issued the broker's, such as ca.pem of `ottla --secure`, or /etc/ssl/certs/ca-certificates.crt")?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&trusted)? {
            roots
                .add(certificate)
                .map_err(|error| format!("{}: {error}", trusted.name))?;
        }
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let chain = self.pem(&CHAIN_FILES, &["ssl.keystore.certificate.chain"])?;
        let Some(chain) = chain else {
            return Ok(Arc::new(builder.with_no_client_auth()));
        };
        let key = self.pem(&KEY_FILES, &["ssl.keystore.key"])?;
        let key = key.as_ref().unwrap_or(&chain);
        let private = PrivateKeyDer::from_pem_slice(&key.bytes)
            .map_err(|error| format!("{}: no private key: {error}", key.name))?;
        let config = builder
            .with_client_auth_cert(certificates(&chain)?, private)
            .map_err(|error| format!("{}: {error}", chain.name))?;
        Ok(Arc::new(config))
    }

    /// The bytes of a file that one of `files` names, or the text of one of `texts`.
    fn pem(&self, files: &[&str], texts: &[&str]) -> Result<Option<Pem>, String> {
        if let Some(file) = self.get(files) {
            let bytes = std::fs::read(PathBuf::from(file));
            let bytes = bytes.map_err(|error| format!("{file}: {error}"))?;
            return Ok(Some(Pem {
                name: file.to_owned(),
                bytes,
            }));
        }
        Ok(self.get(texts).map(|text| Pem {
            name: texts.join(" or "),
            bytes: text.as_bytes().to_vec(),
        }))
    }
}

struct Pem {
    /// Where it is from.
    name: String,
    bytes: Vec<u8>,
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.bytes).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{}: no certificate in PEM", pem.name)),
        Err(error) => Err(format!("{}: {error}", pem.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ClientFile, String> {
        let properties = java_properties::read(text.as_bytes()).unwrap();
        Keys { properties }.read()
    }

    #[test]
    fn java_and_librdkafka_say_the_same_in_their_ways() {
        let java = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\nlinger.ms=5\n\
                    sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
                    username=\"ann\" password=\"se\\\\\"cret\";\nbootstrap.servers=a:1,b:2\n";
        let librdkafka = "security.protocol=sasl_plaintext\nsasl.mechanisms=SCRAM-SHA-512\n\
                          sasl.username=ann\nsasl.password=se\"cret\nmetadata.broker.list=a:1,b:2\n";
        for text in [java, librdkafka] {
            let file = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let login = file.security.login.expect("a login");
            assert_eq!(login.mechanism, Mechanism::Scram(ScramMechanism::Sha512));
            assert_eq!(login.user, "ann");
            assert_eq!(login.password.expose(), "se\"cret");
            assert_eq!(file.bootstrap.as_deref(), Some("a:1,b:2"));
            assert!(file.security.tls.is_none());
        }
    }

    #[test]
    fn what_protects_is_obeyed_or_refused() {
        for (text, expected) in [
            ("security.protocol=TLS", "expected PLAINTEXT, SSL"),
            (
                "ssl.endpoint.identification.algorithm=",
                "ssl.endpoint.identification.algorithm is not known",
            ),
            (
                "enable.ssl.certificate.verification=false",
                "enable.ssl.certificate.verification is not",
            ),
            ("ssl.key.password=x", "ssl.key.password is not known"),
            ("security.protocol=SSL", "whom to trust?"),
            (
                "security.protocol=SSL\nssl.truststore.type=JKS",
                "only PEM is read here",
            ),
            (
                "security.protocol=SSL\nssl.ca.pem=x",
                "no certificate in PEM",
            ),
            (
                "security.protocol=SSL\nssl.ca.location=/nowhere/ca.pem",
                "/nowhere/ca.pem: No such file",
            ),
            (
                "security.protocol=SASL_SSL\nssl.ca.pem=x\nsasl.mechanism=PLAIN",
                "no certificate in PEM",
            ),
            (
                "security.protocol=SASL_PLAINTEXT",
                "sasl.mechanism is missing",
            ),
            (
                "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=GSSAPI",
                "expected PLAIN, SCRAM",
            ),
            (
                "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN",
                "who logs in?",
            ),
        ] {
            let refused = read(text).err().unwrap_or_else(|| panic!("{text}: taken"));
            assert!(refused.contains(expected), "{text}: {refused}");
        }
        assert!(read("ssl.endpoint.identification.algorithm=https").is_ok());
    }
}
