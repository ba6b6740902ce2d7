//! `--secure`: a broker that encrypts and knows its clients, without a line of configuration.
//!
//! `secure/` in the data directory has what that takes:
//!
//! | file | what |
//! |---|---|
//! | `ca.pem`, `ca-key.pem` | a certificate authority of this broker alone; clients trust the first |
//! | `server.pem` | the broker's key and certificate, made anew at every start, and long before it runs out |
//! | `admin.password` | of the first user, `admin`, who may do everything |
//! | `client.properties` | for Java and Kafka's tools: `--command-config` |
//! | `librdkafka.conf` | for kcat (`-F`) and confluent-kafka |
//! | `kafka-python.json` | keyword arguments of kafka-python's clients |
//!
//! What holds a secret is readable by its owner alone. Remove a file and the next start makes it again.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::HostPort;
use crate::security::first_users::FirstUser;
use credentials::scram::{ScramMechanism, random_text};
use credentials::secret::Secret;

/// Where the files are, in the data directory.
pub(crate) const DIR: &str = "secure";
const AUTHORITY: &str = "ca.pem";
const AUTHORITY_KEY: &str = "ca-key.pem";
/// The broker's key and certificate.
const SERVER: &str = "server.pem";
const PASSWORD: &str = "admin.password";
/// A password that the user may not have yet.
const NEW_PASSWORD: &str = "admin.password-to-be";
/// The user who may do everything.
pub const ADMIN: &str = "admin";
/// Keys that say what `--secure` says itself.
pub const OWN_KEYS: &[&str] = &[
    "allow.everyone.if.no.acl.found",
    "authorizer.",
    "listener.",
    "listeners",
    "sasl.",
    "ssl.",
    "super.users",
];

const CA_YEARS: i64 = 20;
/// As long as common verifiers accept.
const CERTIFICATE_DAYS: i64 = 397;
/// With so many days left there is a new one: whatever stops that is told for months before clients notice.
const RENEWED_DAYS_BEFORE: i64 = CERTIFICATE_DAYS / 3;
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Why there is no secured broker; one line.
#[derive(Debug, thiserror::Error)]
pub enum SecureError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("{} or the file of its key is gone: the next start makes another authority, which no client trusts yet", .0.display())]
    NoAuthority(PathBuf),
    #[error("--secure says {0} itself: remove the key, or configure the broker without --secure")]
    Configured(String),
}

/// The files of a secured broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secured {
    dir: PathBuf,
    /// The names and addresses that clients connect to.
    hosts: Vec<String>,
    /// Of [`ADMIN`].
    pub password: Secret,
    /// The user may have another one so far.
    is_new: bool,
}

impl Secured {
    /// Has the certificates and the password ready. `hosts` are the names and addresses that clients connect to.
    ///
    /// # Errors
    /// A file cannot be read or written, or is not what it was.
    pub fn prepare(data_dir: &Path, hosts: &[String]) -> Result<Self, SecureError> {
        let dir = data_dir.join(DIR);
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&dir);
        made.map_err(of(&dir))?;
        // Client files are used from anywhere.
        let dir = dir.canonicalize().map_err(of(&dir))?;
        let known = read(&dir.join(PASSWORD))?;
        let secured = Self {
            is_new: known.is_none(),
            password: match known {
                Some(text) => Secret::new(text.trim()),
                None => new_password(&dir.join(NEW_PASSWORD))?,
            },
            hosts: hosts.to_vec(),
            dir,
        };
        let authority = match secured.authority()? {
            Some(authority) => authority,
            None => secured.new_authority()?,
        };
        secured.issue(authority)?;
        Ok(secured)
    }

    /// Replaces the certificate if it runs out in the months after `now_seconds` (since 1970), or cannot be read. The authority
    /// stays the one that clients trust. Gives whether there is a new one.
    ///
    /// # Errors
    /// The authority is not there any more, or a file cannot be read or written.
    pub(crate) fn renew(&self, now_seconds: i64) -> Result<bool, SecureError> {
        let path = self.dir.join(SERVER);
        let until = read(&path)?.and_then(|text| valid_until(&text));
        let due_from = now_seconds + RENEWED_DAYS_BEFORE * DAY_SECONDS;
        if until.is_some_and(|until| until > due_from) {
            return Ok(false);
        }
        let authority = self.authority()?;
        let missing = || SecureError::NoAuthority(self.dir.join(AUTHORITY));
        self.issue(authority.ok_or_else(missing)?)?;
        Ok(true)
    }

    /// What server.properties would say of a broker whose data is in `data_dir`.
    pub fn properties(data_dir: &Path) -> [(&'static str, String); 6] {
        let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
        let keystore = data_dir.join(DIR).join(SERVER);
        [
            ("ssl.keystore.type", "PEM".to_owned()),
            ("ssl.keystore.location", keystore.display().to_string()),
            ("sasl.enabled.mechanisms", "SCRAM-SHA-512".to_owned()),
            ("authorizer.class.name", authorizer.to_owned()),
            ("super.users", format!("User:{ADMIN}")),
            ("allow.everyone.if.no.acl.found", "false".to_owned()),
        ]
    }

    /// The first user. One that is there already stays as it is, unless its password is lost.
    pub(crate) fn admin(&self) -> FirstUser {
        let admin = FirstUser::new(ADMIN, ScramMechanism::Sha512, self.password.clone());
        match self.is_new {
            true => admin.replacing(),
            false => admin,
        }
    }

    /// The user has the password from now on. Until then a start that is cut short leaves it under another name, and the next
    /// one sets it again.
    ///
    /// # Errors
    /// The file cannot be renamed.
    pub(crate) fn keep_password(&self) -> Result<(), SecureError> {
        if !self.is_new {
            return Ok(());
        }
        let path = self.dir.join(PASSWORD);
        let kept = fs::rename(self.dir.join(NEW_PASSWORD), &path);
        kept.and_then(|()| sync_dir(&path)).map_err(of(&path))
    }

    /// Writes what clients need to connect to `bootstrap`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_client_files(&self, bootstrap: &[HostPort]) -> Result<(), SecureError> {
        let bootstrap: Vec<String> = bootstrap.iter().map(ToString::to_string).collect();
        let (bootstrap, ca) = (bootstrap.join(","), self.path(AUTHORITY));
        let password = self.password.expose();
        self.write(
            "client.properties",
            &format!(
                "bootstrap.servers={bootstrap}\n\
                 security.protocol=SASL_SSL\n\
                 ssl.truststore.type=PEM\n\
                 ssl.truststore.location={ca}\n\
                 sasl.mechanism=SCRAM-SHA-512\n\
                 sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
                 username=\"{ADMIN}\" password=\"{password}\";\n"
            ),
        )?;
        self.write(
            "librdkafka.conf",
            &format!(
                "bootstrap.servers={bootstrap}\n\
                 security.protocol=SASL_SSL\n\
                 ssl.ca.location={ca}\n\
                 sasl.mechanism=SCRAM-SHA-512\n\
                 sasl.username={ADMIN}\n\
                 sasl.password={password}\n"
            ),
        )?;
        let python = serde_json::json!({
            "bootstrap_servers": bootstrap,
            "security_protocol": "SASL_SSL",
            "ssl_cafile": ca,
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": ADMIN,
            "sasl_plain_password": password,
        });
        self.write("kafka-python.json", &format!("{python:#}\n"))
    }

    /// The directory of the files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// The authority's certificate and key. They are made together: the first start may have been cut short between them.
    fn authority(&self) -> Result<Option<(String, KeyPair)>, SecureError> {
        let (path, key_path) = (self.dir.join(AUTHORITY), self.dir.join(AUTHORITY_KEY));
        match (read(&path)?, read(&key_path)?) {
            (Some(ca), Some(key)) => Ok(Some((ca, KeyPair::from_pem(&key)?))),
            _ => Ok(None),
        }
    }

    fn new_authority(&self) -> Result<(String, KeyPair), SecureError> {
        let key = KeyPair::generate()?;
        let mut params = params("Ottla of this data directory", CA_YEARS * 365);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = params.self_signed(&key)?.pem();
        self.write(AUTHORITY_KEY, &key.serialize_pem())?;
        self.write(AUTHORITY, &ca)?;
        Ok((ca, key))
    }

    /// Puts a new certificate in place of what is there.
    fn issue(&self, (ca, key): (String, KeyPair)) -> Result<(), SecureError> {
        let issuer = Issuer::from_ca_cert_pem(&ca, key)?;
        self.write(SERVER, &certificate(&issuer, &self.hosts)?)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), SecureError> {
        write(&self.dir.join(name), text)
    }
}

/// The first key of these that `--secure` says itself.
pub fn own_key<'a>(keys: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let is_own = |key: &&str| {
        OWN_KEYS.iter().any(|own| match own.ends_with('.') {
            true => key.starts_with(own),
            false => key == own,
        })
    };
    keys.into_iter().find(is_own)
}

/// The password that a start which was cut short has made, or else a new one, which goes there.
fn new_password(path: &Path) -> Result<Secret, SecureError> {
    if let Some(text) = read(path)? {
        return Ok(Secret::new(text.trim()));
    }
    let text = random_text();
    write(path, &format!("{text}\n"))?;
    Ok(Secret::new(text))
}

fn params(name: &str, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = time::OffsetDateTime::now_utc();
    // Clocks differ.
    params.not_before = now - time::Duration::days(1);
    params.not_after = now + time::Duration::days(days);
    params
}

/// A key and a certificate for these hosts, as PEM.
fn certificate(issuer: &Issuer<'_, KeyPair>, hosts: &[String]) -> Result<String, SecureError> {
    let key = KeyPair::generate()?;
    let mut params = params("Ottla", CERTIFICATE_DAYS);
    for host in hosts {
        params.subject_alt_names.push(match host.parse() {
            Ok(address) => rcgen::SanType::IpAddress(address),
            Err(_) => rcgen::SanType::DnsName(host.as_str().try_into()?),
        });
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer)?;
    Ok(key.serialize_pem() + &certificate.pem())
}

/// When a certificate runs out, in seconds since 1970; `None`: this is none.
fn valid_until(pem: &str) -> Option<i64> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Puts a whole file, which its owner alone can read, in place of what is there.
fn write(path: &Path, text: &str) -> Result<(), SecureError> {
    let new = path.with_added_extension("new");
    let write = || {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_dir(path)
    };
    write().map_err(of(path))
}

/// Makes a name in the directory of `path` as durable as the file.
fn sync_dir(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}

/// `None`: there is no such file.
fn read(path: &Path) -> Result<Option<String>, SecureError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(of(path)(error)),
    }
}

fn of(path: &Path) -> impl FnOnce(io::Error) -> SecureError {
    let path = path.to_owned();
    |source| SecureError::File { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

    use super::*;

    fn hosts() -> Vec<String> {
        ["localhost", "127.0.0.1", "::1", "broker.example"]
            .map(str::to_owned)
            .to_vec()
    }

    fn text(secured: &Secured, name: &str) -> String {
        fs::read_to_string(secured.dir().join(name)).expect("a file")
    }

    /// Whether a client that trusts `ca` connects to a broker with this key and certificate by this name.
    fn is_trusted(ca: &str, server: &str, host: &str) -> bool {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(ca.as_bytes()).expect("a certificate");
        roots.add(ca).expect("an authority");
        let certificate = CertificateDer::from_pem_slice(server.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(server.as_bytes()).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate], key);
        let mut server = ServerConnection::new(Arc::new(config.expect("fit"))).expect("a server");
        let config = ClientConfig::builder().with_root_certificates(roots);
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let config = Arc::new(config.with_no_client_auth());
        let mut client = ClientConnection::new(config, name).expect("a client");
        while client.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).expect("written");
            server.read_tls(&mut &bytes[..]).expect("read");
            server.process_new_packets().expect("a client's words");
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).expect("written");
            client.read_tls(&mut &bytes[..]).expect("read");
            if client.process_new_packets().is_err() {
                return false;
            }
        }
        true
    }

    #[test]
    fn clients_that_trust_the_authority_connect_by_each_host_and_no_other() {
        let dir = tempfile::tempdir().expect("directory");
        let secured = Secured::prepare(dir.path(), &hosts()).expect("prepared");
        let (ca, server) = (text(&secured, "ca.pem"), text(&secured, "server.pem"));
        for host in hosts() {
            assert!(is_trusted(&ca, &server, &host), "{host}");
        }
        assert!(!is_trusted(&ca, &server, "other.example"));
        let other = tempfile::tempdir().expect("directory");
        let other = Secured::prepare(other.path(), &hosts()).expect("prepared");
        assert!(!is_trusted(&text(&other, "ca.pem"), &server, "localhost"));
        assert_ne!(other.password, secured.password);
    }

    #[test]
    fn another_start_keeps_the_authority_and_the_password_and_renews_the_certificate() {
        let dir = tempfile::tempdir().expect("directory");
        let cut_short = Secured::prepare(dir.path(), &hosts()).expect("prepared");
        let first = Secured::prepare(dir.path(), &hosts()).expect("prepared");
        assert_eq!(first, cut_short, "its password is set again");
        first.keep_password().expect("kept");
        let names = ["ca.pem", "ca-key.pem", "admin.password", "server.pem"];
        let before = names.map(|name| text(&first, name));
        let more = ["new.example".to_owned()];
        let again = Secured::prepare(dir.path(), &more).expect("prepared");
        let after = names.map(|name| text(&again, name));
        assert_eq!(before[..3], after[..3]);
        assert_eq!((&again.password, again.is_new), (&first.password, false));
        assert!(is_trusted(&before[0], &after[3], "new.example"));
        fs::remove_file(again.dir().join(PASSWORD)).expect("removed");
        let lost = Secured::prepare(dir.path(), &more).expect("prepared");
        assert!(lost.is_new && lost.password != first.password);
        // A first start that was cut short.
        fs::remove_file(again.dir().join("ca.pem")).expect("removed");
        let anew = Secured::prepare(dir.path(), &more).expect("prepared");
        let (ca, server) = (text(&anew, "ca.pem"), text(&anew, "server.pem"));
        assert!(is_trusted(&ca, &server, "new.example"));
    }

    #[test]
    fn a_certificate_is_renewed_months_before_its_end_by_the_authority_that_clients_know() {
        let dir = tempfile::tempdir().expect("directory");
        let secured = Secured::prepare(dir.path(), &hosts()).expect("prepared");
        let (ca, first) = (text(&secured, AUTHORITY), text(&secured, SERVER));
        let now = crate::clock::system_ms() / 1000;
        let days = |days: i64| now + days * DAY_SECONDS;
        let is_new = |now_seconds| secured.renew(now_seconds).expect("renewed");
        assert!(!is_new(now) && !is_new(days(264)));
        assert_eq!(text(&secured, SERVER), first);
        assert!(is_new(days(266)));
        let second = text(&secured, SERVER);
        assert!(second != first && is_trusted(&ca, &second, "broker.example"));
        for spoilt in [Some("no certificate"), Some(""), None] {
            let path = secured.dir().join(SERVER);
            match spoilt {
                Some(spoilt) => fs::write(path, spoilt).expect("written"),
                None => fs::remove_file(path).expect("removed"),
            }
            assert!(is_new(now) && !is_new(now), "{spoilt:?}");
        }
        // Another authority is one that no client trusts.
        let last = text(&secured, SERVER);
        fs::remove_file(secured.dir().join(AUTHORITY_KEY)).expect("removed");
        assert!(!is_new(now));
        let error = secured.renew(days(300)).expect_err("no authority");
        assert!(error.to_string().contains(AUTHORITY), "{error}");
        assert_eq!(text(&secured, AUTHORITY), ca);
        assert_eq!(text(&secured, SERVER), last);
    }

    #[test]
    fn what_holds_a_secret_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("directory");
        let secured = Secured::prepare(dir.path(), &hosts()).expect("prepared");
        let bootstrap = ["localhost:9092", "[::1]:9093"]
            .map(|text| crate::config::parse_host_port(text).expect("an address"));
        secured.write_client_files(&bootstrap).expect("written");
        secured.keep_password().expect("kept");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(secured.dir()), 0o700);
        let mut count = 0;
        for entry in fs::read_dir(secured.dir()).expect("a directory") {
            assert_eq!(mode(&entry.expect("an entry").path()), 0o600);
            count += 1;
        }
        assert_eq!(count, 7);
        for name in ["client.properties", "librdkafka.conf", "kafka-python.json"] {
            let text = text(&secured, name);
            assert!(text.contains(secured.password.expose()), "{name}");
            assert!(text.contains("localhost:9092,[::1]:9093"), "{name}");
        }
        assert!(!format!("{secured:?}").contains(secured.password.expose()));
    }

    #[test]
    fn keys_that_it_says_itself_are_found() {
        for (key, is_own) in [
            ("listeners", true),
            ("listener.name.x.ssl.client.auth", true),
            ("ssl.client.auth", true),
            ("super.users", true),
            ("num.partitions", false),
            ("advertised.listeners", false),
        ] {
            assert_eq!(own_key([key]).is_some(), is_own, "{key}");
        }
    }
}
