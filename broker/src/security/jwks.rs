//! Where the keys of tokens come from: a file, or a URL that is asked again and again (KIP-768).

use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::Request;
use hyper::body::{Body as _, Bytes};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::tokens::KeySet;

/// More bytes are no set of keys.
const MAX_BYTES: usize = 1 << 20;
/// How long the keys are waited for.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// How soon after the last time an unknown key may have them read again: anybody can make one up.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Where systems keep the certificates that they trust.
const TRUSTED: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// `sasl.oauthbearer.jwks.endpoint.url`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    File(PathBuf),
    Url {
        is_encrypted: bool,
        host: String,
        port: u16,
        path: String,
    },
}

impl KeySource {
    /// `file:`, `http:` or `https:`. `None`: something else.
    pub fn parse(url: &str) -> Option<Self> {
        if let Some(rest) = url.strip_prefix("file:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            return path.starts_with('/').then(|| Self::File(path.into()));
        }
        let (scheme, rest) = url.split_once("://")?;
        let (is_encrypted, port) = match scheme {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return None,
        };
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let has_port = authority
            .rsplit_once(':')
            .filter(|(host, _)| !host.ends_with(':'));
        let (host, port) = match has_port {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, port),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_host = !host.is_empty() && !host.contains(['@', '?', '#', ' ']);
        is_host.then(|| Self::Url {
            is_encrypted,
            host: host.to_owned(),
            port,
            path: if path.is_empty() {
                "/".to_owned()
            } else {
                path.to_owned()
            },
        })
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    async fn fetch(&self) -> Result<KeySet, String> {
        let text = match self {
            Self::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
                let read = read.map_err(|error| error.to_string())?;
                read.map_err(|error| error.to_string())?
            }
            Self::Url {
                is_encrypted,
                host,
                port,
                path,
            } => {
                let fetching = fetch(*is_encrypted, host, *port, path);
                let fetched = timeout(FETCH_TIMEOUT, fetching).await;
                fetched.map_err(|_| format!("no answer within {FETCH_TIMEOUT:?}"))??
            }
        };
        match text.len() > MAX_BYTES {
            true => Err("is larger than 1 MiB".to_owned()),
            false => KeySet::read(&text).map_err(str::to_owned),
        }
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = File::open(path)?.take(MAX_BYTES as u64 + 1);
    io::BufReader::new(file).read_to_end(&mut text)?;
    Ok(text)
}

async fn fetch(is_encrypted: bool, host: &str, port: u16, path: &str) -> Result<Vec<u8>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.map_err(|error| text(&error))?;
    if !is_encrypted {
        return get(stream, host, path).await;
    }
    let name = match host.parse::<IpAddr>() {
        Ok(ip) => ServerName::IpAddress(ip.into()),
        Err(_) => ServerName::try_from(host.to_owned()).map_err(|error| text(&error))?,
    };
    let trusted = trusted()?;
    let config = ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ));
    let config = config.with_safe_default_protocol_versions();
    let config = config.map_err(|error| text(&error))?;
    let config = config.with_root_certificates(trusted).with_no_client_auth();
    let connected = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    get(connected.map_err(|error| text(&error))?, host, path).await
}

/// The certificates that the system trusts, or those of `SSL_CERT_FILE`.
fn trusted() -> Result<RootCertStore, String> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let there = TRUSTED.iter().map(PathBuf::from).find(|path| path.exists());
    let path = named
        .or(there)
        .ok_or("the system has no list of trusted certificates")?;
    let unreadable = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let certificates = CertificateDer::pem_file_iter(&path).map_err(|error| unreadable(&error))?;
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates.filter_map(Result::ok));
    Ok(store)
}

async fn get<S>(stream: S, host: &str, path: &str) -> Result<Vec<u8>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| text(&error))?;
    let asking = async {
        let request = Request::get(path)
            .header("host", host)
            .header("accept", "application/json")
            .body(String::new());
        let response = sender
            .send_request(request.map_err(|error| text(&error))?)
            .await;
        let mut response = response.map_err(|error| text(&error))?;
        if !response.status().is_success() {
            return Err(format!("answers {}", response.status()));
        }
        let mut body = Vec::new();
        let incoming = response.body_mut();
        loop {
            let frame =
                std::future::poll_fn(|cx| std::pin::Pin::new(&mut *incoming).poll_frame(cx));
            let Some(frame) = frame.await else {
                return Ok(body);
            };
            let frame = frame.map_err(|error| text(&error))?;
            let data: Bytes = frame.into_data().unwrap_or_default();
            body.extend_from_slice(&data);
            if body.len() > MAX_BYTES {
                return Err("is larger than 1 MiB".to_owned());
            }
        }
    };
    let driving = tokio::spawn(connection);
    let asked = asking.await;
    driving.abort();
    asked
}

/// The keys of one listener, as they are now.
pub struct TokenKeys {
    source: KeySource,
    refresh: Duration,
    keys: ArcSwap<KeySet>,
    /// When they were read last; held while they are.
    read_at: Mutex<Option<Instant>>,
}

impl TokenKeys {
    pub(crate) fn new(source: KeySource, refresh: Duration) -> Self {
        Self {
            source,
            refresh,
            keys: ArcSwap::default(),
            read_at: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    /// Reads the keys for the first time.
    ///
    /// # Errors
    /// The file cannot be used. A server may be up later.
    pub(crate) async fn begin(&self) -> Result<(), String> {
        let read = self.read().await;
        match (&self.source, read) {
            (KeySource::File(path), Err(what)) => Err(format!("{}: {what}", path.display())),
            _ => Ok(()),
        }
    }

    /// Reads them again, unless that was done a moment ago.
    pub(crate) async fn read_again(&self) {
        let mut read_at = self.read_at.lock().await;
        if read_at.is_none_or(|at| at.elapsed() >= AGAIN_AFTER) {
            *read_at = Some(Instant::now());
            let _ = self.fetch().await;
        }
    }

    /// Reads them from time to time, for as long as somebody needs them.
    pub(crate) async fn keep_up(self: Arc<Self>) {
        let weak = Arc::downgrade(&self);
        drop(self);
        loop {
            let Some(keys) = weak.upgrade() else {
                return;
            };
            let wait = match keys.keys.load().is_empty() {
                // They could not be read yet.
                true => AGAIN_AFTER.min(keys.refresh),
                false => keys.refresh,
            };
            drop(keys);
            tokio::time::sleep(wait).await;
            if let Some(keys) = weak.upgrade() {
                let _ = keys.read().await;
            }
        }
    }

    async fn read(&self) -> Result<(), String> {
        let mut read_at = self.read_at.lock().await;
        *read_at = Some(Instant::now());
        self.fetch().await
    }

    async fn fetch(&self) -> Result<(), String> {
        match self.source.fetch().await {
            Ok(keys) => {
                self.keys.store(Arc::new(keys));
                Ok(())
            }
            Err(what) => {
                tracing::warn!(
                    target: "ottla::authentication",
                    source = ?self.source,
                    "the keys of tokens could not be read; those that there are stay: {what}"
                );
                Err(what)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::security::tokens::tests::Issuer;

    #[test]
    fn a_source_is_a_file_or_a_url() {
        let url = |is_encrypted, host: &str, port, path: &str| {
            Some(KeySource::Url {
                is_encrypted,
                host: host.to_owned(),
                port,
                path: path.to_owned(),
            })
        };
        for (text, expected) in [
            (
                "file:///a/b",
                Some(KeySource::File(Path::new("/a/b").into())),
            ),
            ("file:/a", Some(KeySource::File(Path::new("/a").into()))),
            ("https://h/keys?x=1", url(true, "h", 443, "/keys?x=1")),
            ("http://h:81", url(false, "h", 81, "/")),
            ("http://[::1]:81/k", url(false, "::1", 81, "/k")),
            ("https://[::1]/k", url(true, "::1", 443, "/k")),
            ("file:a", None),
            ("ftp://h/", None),
            ("https:///k", None),
            ("https://u:p@h/k", None),
            ("https://h:x/k", None),
            ("", None),
        ] {
            assert_eq!(KeySource::parse(text), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn keys_are_fetched_and_kept_when_there_are_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let good = json!({ "keys": [Issuer::new().jwk("one")] }).to_string();
        let server = tokio::spawn(async move {
            for (status, body) in [("200 OK", good.as_str()), ("500 No", ""), ("200 OK", "{}")] {
                let (mut stream, _) = listener.accept().await.expect("accepted");
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.expect("read");
                assert!(request[..read].starts_with(b"GET /keys HTTP/1.1\r\n"));
                let length = body.len();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.expect("written");
            }
        });
        let source = KeySource::parse(&format!("http://127.0.0.1:{port}/keys")).expect("a URL");
        let keys = TokenKeys::new(source, Duration::from_secs(3600));
        assert!(keys.now().is_empty());
        keys.begin().await.expect("begun");
        assert_eq!(keys.now().len(), 1);
        // An unknown key has them read again, but not at once.
        keys.read_again().await;
        assert!(keys.read().await.is_err());
        assert!(keys.read().await.is_err());
        assert_eq!(keys.now().len(), 1, "the old ones stay");
        server.await.expect("all was asked");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_stops_the_start() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("keys");
        let keys = || TokenKeys::new(KeySource::File(path.clone()), Duration::from_secs(1));
        assert!(keys().begin().await.is_err());
        std::fs::write(&path, "{\"keys\":[]}").expect("written");
        let refused = keys().begin().await.expect_err("no keys");
        assert!(refused.contains("no key"), "{refused}");
        std::fs::write(
            &path,
            json!({ "keys": [Issuer::new().jwk("a")] }).to_string(),
        )
        .expect("written");
        keys().begin().await.expect("read");
    }
}
