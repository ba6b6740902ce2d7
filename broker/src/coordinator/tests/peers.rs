//! A broker asks another one about transactions, over the wire.

use std::collections::BTreeMap;

use coordinators::machine::{Partition, Producer};
use coordinators::txn::{Adding, TransactionalId};
use protocol_shim::ErrorCode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::authorizer::Authorized;
use crate::cluster::view::{Members, Node};
use crate::config::DynamicSettings;
use crate::config::HostPort;
use crate::coordinator::peers::Peers;
use crate::security::between_brokers::BetweenBrokers;
use crate::security::tls::listeners::{Reload, TlsListeners};
use crate::server::Server;

fn node(id: i32, listener: &str, port: u16) -> Node {
    let address = HostPort {
        host: "127.0.0.1".to_owned(),
        port,
    };
    Node {
        id,
        rack: None,
        endpoints: BTreeMap::from([(listener.to_owned(), address)]),
    }
}

fn named(id: &str) -> Authorized<TransactionalId> {
    Authorized::internal(TransactionalId::from(id), "a test")
}

#[tokio::test]
async fn another_broker_adds_partitions_to_its_transactions_and_verifies_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut properties = Properties::new();
    let data_dir = dir.path().join("data");
    properties.insert("log.dirs".to_owned(), data_dir.display().to_string());
    let listener = "PLAINTEXT://127.0.0.1:0".to_owned();
    properties.insert("listeners".to_owned(), listener);
    let config = BrokerConfig::from_properties(properties).expect("valid").0;
    let other = Server::start(config).await.expect("started");
    let created = other
        .broker
        .metadata
        .auto_create(vec!["t".to_owned()])
        .await;
    assert!(created.iter().all(Result::is_ok));
    let image = other.broker.metadata.image();
    let topic_id = image.topic("t").expect("created").topic_id;
    let partition = |index| Partition {
        topic: "t".into(),
        topic_id,
        index,
    };
    let port = other.addresses()[0].port();
    let nodes = vec![node(1, "PLAINTEXT", 1), node(2, "PLAINTEXT", port)];
    let view = Arc::new(ClusterView::of(Members::new(1, nodes, 1)));
    let vital = other.broker.metadata.vital().clone();
    let own = &other.broker.config;
    let between = BetweenBrokers::open(own, &TlsListeners::default(), false).expect("plain");
    let peers = Peers::new(view, between, vital);
    let peers = Arc::new(peers);
    let transactions = &other.broker.transactions;
    let mut producers: Vec<(String, Producer)> = Vec::new();
    for number in 0..20 {
        let id = format!("id-{number}");
        let producer = transactions.init_producer(named(&id), 60_000, None).await;
        producers.push((id, producer.expect("initialized")));
    }
    // Of each transaction several at once: they share requests, in which each is named once.
    for (adding, succeeds) in [
        (Adding::Verify, false),
        (Adding::Add, true),
        (Adding::Verify, true),
    ] {
        let mut asked = JoinSet::new();
        for (id, producer) in producers.iter().cycle().take(60).cloned() {
            let (peers, partitions) = (Arc::clone(&peers), vec![partition(0)]);
            asked.spawn(async move {
                let id = TransactionalId::from(&*id);
                let added = peers.add_partitions(2, id, producer, partitions, adding);
                added.await
            });
        }
        for outcomes in asked.join_all().await {
            let [outcome] = outcomes[..] else {
                panic!("{outcomes:?}")
            };
            assert_eq!(outcome.is_ok(), succeeds, "{adding:?}: {outcome:?}");
        }
    }
    let (id, producer) = producers[0].clone();
    let ask = async |broker_id, partitions| {
        let id = TransactionalId::from(&*id);
        let asked = peers.add_partitions(broker_id, id, producer, partitions, Adding::Add);
        asked.await
    };
    let told = vec![
        Err(ErrorCode::OperationNotAttempted),
        Err(ErrorCode::UnknownTopicOrPartition),
    ];
    assert_eq!(ask(2, vec![partition(0), partition(7)]).await, told);
    let nobody = vec![Err(ErrorCode::CoordinatorNotAvailable)];
    assert_eq!(ask(9, vec![partition(0)]).await, nobody);
    assert_eq!(ask(2, vec![partition(0)]).await, [Ok(())]);
    let stopped = tokio::spawn(other.shutdown());
    stopped.await.expect("no panic").expect("in order");
    assert_eq!(ask(2, vec![partition(0)]).await, nobody);
}

/// Who issues certificates, and one that is issued, with its key.
struct Issued {
    authority: String,
    certificate: CertificateDer<'static>,
    pem: String,
}

fn issued() -> Issued {
    let mut params = CertificateParams::new([]).expect("valid");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(params, key).expect("signed");
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("valid");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "broker");
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &authority).expect("signed");
    Issued {
        authority: authority.pem(),
        certificate: certificate.der().clone(),
        pem: format!("{}{}", certificate.pem(), key.serialize_pem()),
    }
}

/// Forwards to a port, and tells of each connection.
async fn counted(port: u16) -> (u16, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (told, connections) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let _ = told.send(());
            tokio::spawn(async move {
                let there = TcpStream::connect(("127.0.0.1", port)).await;
                let mut there = there.expect("it listens");
                let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
            });
        }
    });
    (address.port(), connections)
}

/// Looks at what it is shown, and hangs up.
async fn shown(own: &Issued, trusted: &[&Issued]) -> (u16, mpsc::UnboundedReceiver<Vec<u8>>) {
    let mut roots = RootCertStore::empty();
    for issued in trusted {
        let authority = CertificateDer::from_pem_slice(issued.authority.as_bytes());
        roots.add(authority.expect("PEM")).expect("a certificate");
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
    let key = PrivateKeyDer::from_pem_slice(own.pem.as_bytes()).expect("a key");
    let config = ServerConfig::builder()
        .with_client_cert_verifier(verifier.expect("roots"))
        .with_single_cert(vec![own.certificate.clone()], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("valid")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (told, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                let certificates = stream.get_ref().1.peer_certificates();
                let _ = told.send(certificates.expect("it was asked for")[0].to_vec());
            }
        }
    });
    (address.port(), seen)
}

#[tokio::test]
async fn brokers_reach_each_other_with_certificates_that_were_renewed_while_they_ran() {
    for has_file in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
        let (old, new) = (issued(), issued());
        write("store.pem", &old.pem);
        write("trust.pem", &old.authority);
        let files = format!(
            "ssl.keystore.type=PEM\nssl.keystore.location={}\n\
             ssl.truststore.type=PEM\nssl.truststore.location={}\n",
            path("store.pem"),
            path("trust.pem")
        );
        write(
            "client.properties",
            &format!("security.protocol=SSL\n{files}"),
        );
        let mut text = format!(
            "listeners=SSL://127.0.0.1:0\nlog.dirs={}\nssl.client.auth=required\n{files}",
            path("data")
        );
        if has_file {
            text += &format!(
                "ottla.cluster.client.config={}\n",
                path("client.properties")
            );
        }
        let properties = java_properties::read(text.as_bytes()).expect("properties");
        let properties = properties.into_iter().collect();
        let config = BrokerConfig::from_properties(properties).expect("valid").0;
        let none = DynamicSettings::none();
        let tls = TlsListeners::open(&config, none, BetweenBrokers::shown(&config, false));
        let tls = tls.expect("readable");
        let between = BetweenBrokers::open(&config, &tls, false).expect("readable");
        let other = Server::start(config.clone()).await.expect("started");
        let (through, mut connections) = counted(other.addresses()[0].port()).await;
        let (looking, mut seen) = shown(&old, &[&old, &new]).await;
        let (renewed, mut seen_renewed) = shown(&new, &[&old, &new]).await;
        let nodes = [(1, 1), (2, through), (3, looking), (4, renewed)];
        let nodes = nodes.map(|(id, port)| node(id, "SSL", port)).to_vec();
        let view = Arc::new(ClusterView::of(Members::new(1, nodes, 1)));
        let vital = other.broker.metadata.vital().clone();
        let peers = Peers::new(view, between, vital);
        let ask = async |broker_id| {
            let (id, producer) = (TransactionalId::from("id"), Producer { id: 7, epoch: 0 });
            let partition = Partition {
                topic: "t".into(),
                topic_id: uuid::Uuid::nil(),
                index: 0,
            };
            let asked = peers.add_partitions(broker_id, id, producer, vec![partition], Adding::Add);
            asked.await
        };
        let answered = [Err(ErrorCode::UnknownTopicOrPartition)];
        let not_reached = [Err(ErrorCode::CoordinatorNotAvailable)];
        let reload = async || {
            other.broker.reload_tls(Reload::Changed).await;
            tls.reload(&config, none, Reload::Changed);
            peers.reload(Reload::Changed);
        };
        for _ in 0..2 {
            assert_eq!(ask(2).await, answered);
        }
        assert_eq!(connections.len(), 1);
        assert_eq!(ask(3).await, not_reached, "it hangs up");
        assert_eq!(seen.recv().await.as_deref(), Some(&*old.certificate));
        assert_eq!(ask(4).await, not_reached, "it is not trusted");
        // What cannot be used leaves the old in place.
        write("store.pem", "no certificate");
        reload().await;
        assert_eq!(ask(2).await, answered);
        write("store.pem", &new.pem);
        write("trust.pem", &new.authority);
        reload().await;
        for _ in 0..2 {
            assert_eq!(ask(2).await, answered);
        }
        assert_eq!(connections.len(), 2, "the connection is made anew, once");
        assert_eq!(ask(4).await, not_reached, "it hangs up");
        assert_eq!(
            seen_renewed.recv().await.as_deref(),
            Some(&*new.certificate)
        );
        connections.close();
        let stopped = tokio::spawn(other.shutdown());
        stopped.await.expect("no panic").expect("in order");
    }
}
