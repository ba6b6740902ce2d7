//! A broker asks another one about transactions, over the wire.

use std::collections::BTreeMap;

use console::client_config::Security;
use coordinators::machine::{Partition, Producer};
use coordinators::txn::{Adding, TransactionalId};
use protocol_shim::ErrorCode;
use tokio::task::JoinSet;

use super::*;
use crate::authorizer::Authorized;
use crate::cluster::view::{Members, Node};
use crate::config::HostPort;
use crate::coordinator::peers::Peers;
use crate::server::Server;

fn node(id: i32, port: u16) -> Node {
    let address = HostPort {
        host: "127.0.0.1".to_owned(),
        port,
    };
    Node {
        id,
        rack: None,
        endpoints: BTreeMap::from([("PLAINTEXT".to_owned(), address)]),
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
    let nodes = vec![node(1, 1), node(2, port)];
    let view = Arc::new(ClusterView::of(Members::new(1, nodes, 1)));
    let vital = other.broker.metadata.vital().clone();
    let peers = Peers::new(view, "PLAINTEXT".to_owned(), Security::default(), vital);
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
