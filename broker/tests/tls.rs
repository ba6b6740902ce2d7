//! Listeners that encrypt: who gets in, who does not, and what the others notice of it.

#![allow(clippy::unwrap_used)]

extern crate ottla as broker;

mod support;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::config::{BrokerConfig, Properties};
use broker::secure::Secured;
use broker::security::tls::listeners::Reload;
use broker::server::Server;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeDelegationTokenRequest, FetchRequest, MetadataRequest,
};
use protocol_shim::newer::api_versions::ApiVersionsRequest;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use support::{Client, batch, produce, string, topic_name};

const FETCH: i16 = 12;
const METADATA: i16 = 9;
const PRODUCE: i16 = 9;
const NONE: i16 = 0;
const INVALID_REQUEST: i16 = 42;
const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

/// Who issues certificates.
type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate with its key, as PEM.
struct Issued {
    certificate: String,
    key: String,
}

impl Issued {
    fn by(authority: &Authority, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    fn for_broker(authority: &Authority, name: &str) -> Self {
        Self::by(authority, named(name, &["localhost"]))
    }

    fn for_client(authority: &Authority, name: &str) -> Self {
        Self::by(authority, named(name, &[]))
    }

    fn both(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }
}

fn named(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Acme");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A broker, the directory of its certificates, and who has issued them.
struct Fixture {
    running: Server,
    dir: TempDir,
    authority: Authority,
}

impl Fixture {
    async fn start(properties: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = authority("Those who issue");
        let store = dir.path().join("store.pem");
        let trust = dir.path().join("trust.pem");
        std::fs::write(&store, Issued::for_broker(&authority, "broker").both()).unwrap();
        std::fs::write(&trust, authority.pem()).unwrap();
        let data = dir.path().join("data");
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let (store, trust, data) = (path(&store), path(&trust), path(&data));
        let defaults = [
            ("listeners", "SSL://127.0.0.1:0"),
            ("log.dirs", &data),
            ("offsets.topic.num.partitions", "3"),
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.location", &store),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", &trust),
        ];
        let all = defaults.iter().chain(properties);
        let all: Properties = all
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        let (config, _) = BrokerConfig::from_properties(all).unwrap();
        Self {
            running: Server::start(config).await.unwrap(),
            dir,
            authority,
        }
    }

    fn address(&self) -> SocketAddr {
        self.running.addresses()[0]
    }

    /// A client that trusts those who have issued the broker's certificate.
    fn client(&self) -> Tls {
        Tls::new(&self.authority.pem())
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.dir.path().join(file), text).unwrap();
    }

    async fn reload(&self) {
        self.running.broker.reload_tls(Reload::Changed).await;
    }
}

/// How a client connects.
struct Tls {
    trusted: RootCertStore,
    shown: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    version: &'static SupportedProtocolVersion,
}

impl Tls {
    fn new(trusted: &str) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        Self {
            trusted: roots,
            shown: None,
            version: &TLS13,
        }
    }

    fn showing(mut self, pem: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes());
        let chain = chain.collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        self.shown = Some((chain, key));
        self
    }

    fn in_version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.version = version;
        self
    }

    fn connector(self) -> TlsConnector {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_protocol_versions(&[self.version]).unwrap();
        let builder = builder.with_root_certificates(self.trusted);
        let config = match self.shown {
            // Whoever else the broker trusts: not to ask for it first is up to the client.
            Some((chain, key)) => {
                let provider = default_provider();
                let key = provider.key_provider.load_private_key(key).unwrap();
                let certified = rustls::sign::CertifiedKey::new(chain, key);
                let always = rustls::sign::SingleCertAndKey::from(certified);
                builder.with_client_cert_resolver(Arc::new(always))
            }
            None => builder.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(config))
    }

    async fn connect(self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        connect(&self.connector(), address).await
    }

    /// Whether a client is answered.
    async fn served(self, address: SocketAddr) -> bool {
        match self.connect(address).await {
            Ok(stream) => is_answered(stream).await,
            Err(_) => false,
        }
    }
}

async fn connect(
    connector: &TlsConnector,
    address: SocketAddr,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    connector.connect(name, stream).await
}

/// In TLS 1.3 a client learns that it is refused when it reads.
async fn is_answered(mut stream: TlsStream<TcpStream>) -> bool {
    let versions = b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff";
    if stream.write_all(versions).await.is_err() || stream.flush().await.is_err() {
        return false;
    }
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.is_ok()
}

#[tokio::test]
async fn requests_are_served_over_both_versions_and_large_answers_arrive_whole() {
    let fixture = Fixture::start(&[]).await;
    for version in [&TLS12, &TLS13] {
        let tls = fixture.client().in_version(version);
        let stream = tls.connect(fixture.address()).await.unwrap();
        let mut client = Client::new(stream);
        let name = if version == &TLS12 { "old" } else { "new" };
        client.create_topic(name, 1).await;
        let record = "x".repeat(300_000);
        for _ in 0..4 {
            let answer = client
                .call(PRODUCE, produce(name, vec![(0, batch(&[&record]))]))
                .await;
            assert_eq!(answer.responses[0].partition_responses[0].error_code, NONE);
        }
        // Read in pieces: the last bytes of an answer must not wait for the next request.
        client.read_slowly(100_000, Duration::from_millis(5));
        let partition = FetchPartition::default().with_partition_max_bytes(8 << 20);
        let topic = FetchTopic::default()
            .with_topic(topic_name(name))
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_bytes(8 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let answer = client.call(FETCH, request).await;
        let records = answer.responses[0].partitions[0].records.as_ref();
        assert!(records.is_some_and(|records| records.len() > 1_200_000));
    }
}

#[tokio::test]
async fn a_client_is_who_its_certificate_says_and_nobody_without_one() {
    let properties = [
        ("ottla.metrics.listen", "127.0.0.1:0"),
        ("ssl.client.auth", "requested"),
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ),
        ("super.users", "User:ALICE"),
        (
            "ssl.principal.mapping.rules",
            "RULE:CN=(a.*),O=.*/$1/U,RULE:CN=b.*/alice/",
        ),
    ];
    let fixture = Fixture::start(&properties).await;
    for (name, expected) in [
        (Some("alice"), NONE),
        (Some("bob"), TOPIC_AUTHORIZATION_FAILED),
        (None, TOPIC_AUTHORIZATION_FAILED),
    ] {
        let mut tls = fixture.client();
        if let Some(name) = name {
            tls = tls.showing(&Issued::for_client(&fixture.authority, name).both());
        }
        let mut client = Client::new(tls.connect(fixture.address()).await.unwrap());
        let topic = CreatableTopic::default()
            .with_name(topic_name("theirs"))
            .with_num_partitions(1)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let response = client.call(5, request).await;
        let code = response.topics[0].error_code;
        let is_expected =
            code == expected || expected != NONE && code == CLUSTER_AUTHORIZATION_FAILED;
        assert!(is_expected, "{name:?}: {code}");
        // There are no delegation tokens here, and somebody that nobody knows has nothing to do with them.
        let tokens = DescribeDelegationTokenRequest::default();
        let code = client.call(3, tokens).await.error_code;
        let expected = if name.is_some() { 61 } else { 64 };
        assert_eq!(code, expected, "{name:?}");
    }
    let nameless = Issued::for_client(&fixture.authority, "dora");
    let tls = fixture.client().showing(&nameless.both());
    assert!(!tls.served(fixture.address()).await, "no rule is for it");

    let metrics = metrics(fixture.running.metrics_addresses()[0]).await;
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {metrics}"));
        line.trim().parse::<f64>().unwrap()
    };
    let login = |result: &str| {
        let labels = format!("listener=\"SSL\",mechanism=\"SSL\",result=\"{result}\"");
        value(&format!("ottla_authentications_total{{{labels}}}"))
    };
    assert_eq!((login("success"), login("failure")), (3.0, 1.0));
    let expiry = "ottla_tls_certificate_expiry_timestamp_seconds{listener=\"SSL\"}";
    let end = date_time_ymd(2990, 1, 1).unix_timestamp() as f64;
    assert!(value(expiry) > end, "rcgen's certificates last until 4096");
}

async fn metrics(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn only_certificates_that_are_trusted_get_in() {
    let fixture = Fixture::start(&[("ssl.client.auth", "required")]).await;
    let own =
        authority("A certificate that marks itself as an authority, as openssl req -x509 makes it");
    let own_pem = format!("{}{}", own.pem(), own.key().serialize_pem());
    let first_version = include_str!("../src/security/tls/fixtures/version-1.pem");
    let mut expired = named("late", &[]);
    expired.not_after = date_time_ymd(2020, 1, 1);
    let mut early = named("early", &[]);
    early.not_before = date_time_ymd(3000, 1, 1);
    early.not_after = date_time_ymd(3001, 1, 1);
    let mut late_own = named("late and own", &[]);
    late_own.not_after = date_time_ymd(2020, 1, 1);
    let late_key = KeyPair::generate().unwrap();
    let late_own = late_own.self_signed(&late_key).unwrap();
    let late_pem = format!("{}{}", late_own.pem(), late_key.serialize_pem());
    let stranger = Issued::for_client(&authority("Somebody else"), "alice");
    let authority = &fixture.authority;
    let trusted = [
        authority.pem(),
        own.pem(),
        first_version.to_owned(),
        late_own.pem(),
    ]
    .concat();
    let trusted: String = trusted.replace("PRIVATE KEY", "SOMETHING ELSE");
    fixture.write("trust.pem", &trusted);
    fixture.reload().await;
    // A certificate of one, the key of another.
    let alice = Issued::for_client(authority, "alice");
    let stolen = format!("{}{}", own.pem(), alice.key);
    let cases = [
        (alice.both(), true, "issued"),
        (own_pem, true, "in the truststore, and an authority"),
        (
            first_version.to_owned(),
            true,
            "in the truststore, X.509 version 1",
        ),
        (Issued::by(authority, expired).both(), false, "expired"),
        (Issued::by(authority, early).both(), false, "not valid yet"),
        (late_pem, false, "in the truststore, and expired"),
        (stranger.both(), false, "issued by somebody else"),
        (stolen, false, "without its key"),
    ];
    for version in [&TLS12, &TLS13] {
        for (pem, expected, what) in &cases {
            let tls = fixture.client().in_version(version).showing(pem);
            let is_served = tls.served(fixture.address()).await;
            assert_eq!(is_served, *expected, "{what}, {version:?}");
        }
        let without = fixture.client().in_version(version);
        assert!(!without.served(fixture.address()).await, "without any");
    }
}

#[tokio::test]
async fn versions_and_ciphers_are_those_that_are_set() {
    let properties = [
        ("ssl.enabled.protocols", "TLSv1.2"),
        (
            "ssl.cipher.suites",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_NULL_MD5",
        ),
    ];
    let fixture = Fixture::start(&properties).await;
    let address = fixture.address();
    assert!(!fixture.client().in_version(&TLS13).served(address).await);
    let stream = fixture
        .client()
        .in_version(&TLS12)
        .connect(address)
        .await
        .unwrap();
    let suite = stream
        .get_ref()
        .1
        .negotiated_cipher_suite()
        .unwrap()
        .suite();
    assert_eq!(
        format!("{suite:?}"),
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    );
}

/// The bytes of a handshake's first message.
async fn client_hello(fixture: &Fixture) -> Vec<u8> {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let connector = fixture.client().connector();
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = tokio::spawn(async move { connector.connect(name, ours).await.is_ok() });
    let mut hello = vec![0; 1 << 16];
    let length = theirs.read(&mut hello).await.unwrap();
    connecting.abort();
    hello.truncate(length);
    hello
}

#[tokio::test]
async fn a_handshake_that_is_cut_anywhere_harms_nobody() {
    let fixture = Fixture::start(&[]).await;
    let hello = client_hello(&fixture).await;
    for length in 0..hello.len() {
        let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
        stream.write_all(&hello[..length]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
    assert!(fixture.client().served(fixture.address()).await);
}

#[tokio::test]
async fn bytes_of_another_protocol_get_no_answer_at_all() {
    let fixture = Fixture::start(&[]).await;
    for bytes in [
        &b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x80\x2e\x01\0\x02\0\x15\0\0\0\x10",
        b"\xff",
    ] {
        let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"", "{bytes:?}");
    }
}

#[tokio::test]
async fn strangers_have_little_time_and_the_oldest_gives_way() {
    let properties = [
        ("ottla.authentication.timeout.ms", "1500"),
        ("ottla.unauthenticated.connections.max", "2"),
    ];
    let fixture = Fixture::start(&properties).await;
    let hello = client_hello(&fixture).await;
    let began = Instant::now();
    let mut strangers = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(fixture.address()).await.unwrap();
        stream.write_all(&hello[..100]).await.unwrap();
        // It has its place when the next one comes.
        let mut byte = [0; 1];
        let soon = Duration::from_millis(100);
        let _ = tokio::time::timeout(soon, stream.peek(&mut byte)).await;
        strangers.push(stream);
    }
    let mut ends = Vec::new();
    for mut stream in strangers {
        let _ = stream.read_to_end(&mut Vec::new()).await;
        ends.push(began.elapsed());
    }
    assert!(
        ends[0] < Duration::from_millis(1300),
        "the oldest: {ends:?}"
    );
    assert!(
        ends[1] >= Duration::from_millis(1500),
        "in its time: {ends:?}"
    );
    assert!(fixture.client().served(fixture.address()).await);
}

fn serial(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn another_certificate_is_served_at_once_and_a_wrong_one_is_not() {
    let fixture = Fixture::start(&[]).await;
    let address = fixture.address();
    let connector = fixture.client().connector();
    let shown = || async {
        let stream = connect(&fixture.client().connector(), address)
            .await
            .unwrap();
        serial(&stream)
    };
    // A session of before is not gone on with after.
    let mut kinds = Vec::new();
    for round in 0..3 {
        if round == 2 {
            fixture.write(
                "store.pem",
                &Issued::for_broker(&fixture.authority, "broker").both(),
            );
            fixture.reload().await;
        }
        let stream = connect(&connector, address).await.unwrap();
        let mut client = Client::new(stream);
        client.call(METADATA, MetadataRequest::default()).await;
        let stream = connect(&connector, address).await.unwrap();
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
        assert!(is_answered(stream).await);
    }
    assert_eq!(kinds[1], HandshakeKind::Resumed, "{kinds:?}");
    let old = shown().await;
    for (text, what) in [
        ("no certificate".to_owned(), "nothing that is one"),
        (
            Issued::for_broker(&fixture.authority, "another").both(),
            "another name",
        ),
        (
            Issued::by(&fixture.authority, named("broker", &["elsewhere"])).both(),
            "without a host's name",
        ),
    ] {
        fixture.write("store.pem", &text);
        fixture.reload().await;
        assert_eq!(shown().await, old, "{what}");
    }
    fixture.write(
        "store.pem",
        &Issued::for_broker(&fixture.authority, "broker").both(),
    );
    fixture.reload().await;
    assert_ne!(shown().await, old);
}

#[tokio::test]
async fn alter_configs_changes_the_store_of_a_listener_and_refuses_what_cannot_be_used() {
    let fixture = Fixture::start(&[]).await;
    let address = fixture.address();
    let mut client = Client::new(fixture.client().connect(address).await.unwrap());
    let other = fixture.dir.path().join("other.pem");
    let wrong = fixture.dir.path().join("wrong.pem");
    fixture.write(
        "other.pem",
        &Issued::for_broker(&fixture.authority, "broker").both(),
    );
    fixture.write(
        "wrong.pem",
        &Issued::for_broker(&fixture.authority, "another").both(),
    );
    let old = serial(&fixture.client().connect(address).await.unwrap());
    for (path, expected) in [
        (Path::new("/no/such/file"), INVALID_REQUEST),
        (&wrong, INVALID_REQUEST),
        (&other, NONE),
    ] {
        let config = AlterableConfig::default()
            .with_name(string("listener.name.ssl.ssl.keystore.location"))
            .with_value(Some(string(path.to_str().unwrap().to_owned().leak())));
        let resource = AlterConfigsResource::default()
            .with_resource_type(4)
            .with_resource_name(string("1"))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let response = client.call(1, request).await;
        let response = &response.responses[0];
        assert_eq!(response.error_code, expected, "{response:?}");
        let shown = serial(&fixture.client().connect(address).await.unwrap());
        assert_eq!(shown == old, expected != NONE, "{path:?}");
    }
    // The same name again, and another certificate behind it.
    let before = serial(&fixture.client().connect(address).await.unwrap());
    fixture.write(
        "other.pem",
        &Issued::for_broker(&fixture.authority, "broker").both(),
    );
    let config = AlterableConfig::default()
        .with_name(string("listener.name.ssl.ssl.keystore.location"))
        .with_value(Some(string(other.to_str().unwrap().to_owned().leak())));
    let resource = AlterConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(string("1"))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    assert_eq!(client.call(1, request).await.responses[0].error_code, NONE);
    assert_ne!(
        serial(&fixture.client().connect(address).await.unwrap()),
        before
    );
}

/// How long a client has to wait beside 10,000 handshakes: `cargo test -p ottla --release --test tls -- --ignored --nocapture`,
/// with `RSA_BITS=4096` for a certificate that takes longer to sign with.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute, and measures"]
async fn handshakes_hold_up_nobody_else() {
    let fixture = Fixture::start(&[("ottla.unauthenticated.connections.max", "100000")]).await;
    if let Ok(bits) = std::env::var("RSA_BITS") {
        let size = match bits.as_str() {
            "2048" => rcgen::RsaKeySize::_2048,
            _ => rcgen::RsaKeySize::_4096,
        };
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap();
        let certificate = named("broker", &["localhost"]).signed_by(&key, &fixture.authority);
        let both = format!("{}{}", certificate.unwrap().pem(), key.serialize_pem());
        fixture.write("store.pem", &both);
        fixture.reload().await;
    }
    let address = fixture.address();
    let mut pinger = Client::new(fixture.client().connect(address).await.unwrap());
    let connector = fixture.client().connector();
    let began = Instant::now();
    // Clients on a runtime of their own: what they compute is not the broker's.
    let crowd = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut crowd = tokio::task::JoinSet::new();
            let mut done = 0;
            while done < 10_000 {
                while crowd.len() < 200 {
                    let connector = connector.clone();
                    crowd.spawn(async move { connect(&connector, address).await.is_ok() });
                }
                done += usize::from(crowd.join_next().await.unwrap().unwrap());
            }
        });
    });
    let mut waits = Vec::new();
    while !crowd.is_finished() {
        let asked = Instant::now();
        pinger.call(2, ApiVersionsRequest::default()).await;
        waits.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    waits.sort();
    let worst = waits.last().unwrap();
    let usual = waits[waits.len() / 2];
    println!(
        "10,000 handshakes in {:?}; {} pings: usually {usual:?}, at worst {worst:?}",
        began.elapsed(),
        waits.len()
    );
}

/// For how many days from now on the certificate is good that a broker shows to clients that trust `ca`.
async fn days_left(ca: &str, address: SocketAddr) -> i64 {
    let stream = Tls::new(ca).connect(address).await.unwrap();
    let (_, session) = stream.get_ref();
    let certificate = &session.peer_certificates().unwrap()[0];
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).unwrap();
    let until = certificate.validity().not_after.timestamp();
    (until - broker::clock::system_ms() / 1000) / (24 * 60 * 60)
}

#[tokio::test]
async fn the_certificate_of_a_secured_broker_is_renewed_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let own = [
        ("listeners", "SASL_SSL://localhost:0".to_owned()),
        ("log.dirs", data.to_str().unwrap().to_owned()),
        ("offsets.topic.num.partitions", "3".to_owned()),
    ];
    let all = own.into_iter().chain(Secured::properties(&data));
    let all: Properties = all.map(|(key, value)| (key.to_owned(), value)).collect();
    let (mut config, _) = BrokerConfig::from_properties(all).unwrap();
    config.secure = true;
    let hosts = config.host_names();
    let running = Server::start(config).await.unwrap();
    let address = running.addresses()[0];
    let file = |name: &str| data.join("secure").join(name);
    let text = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    let (ca, ca_key) = (text("ca.pem"), text("ca-key.pem"));
    assert!(days_left(&ca, address).await > 390);

    // As it is a year later.
    let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&ca_key).unwrap()).unwrap();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Ottla");
    let end = broker::clock::system_ms() / 1000 + 10 * 24 * 60 * 60 + 60;
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(end as u64);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let old = format!("{}{}", key.serialize_pem(), certificate.pem());
    for by_signal in [true, false] {
        std::fs::write(file("server.pem"), &old).unwrap();
        running.broker.reload_tls(Reload::All).await;
        assert_eq!(days_left(&ca, address).await, 10);
        if by_signal {
            running.reload().await;
        } else {
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(2 * 60 * 60)).await;
            tokio::time::resume();
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while days_left(&ca, address).await < 390 {
            assert!(Instant::now() < deadline, "by signal: {by_signal}");
        }
    }
    assert_eq!(text("ca.pem"), ca);
    running.shutdown().await.unwrap();
}
