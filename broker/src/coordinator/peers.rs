//! Asks other brokers about the transactions that they coordinate (KIP-890).
//!
//! A partition and the transaction that writes to it are coordinated by different brokers, as a rule. So whoever has the
//! partition asks AddPartitionsToTxn of whoever has the transaction, as Kafka's brokers do: the answer may take a write, which
//! is the coordinator's alone. There is one connection to a broker and one request under way. What is asked meanwhile goes
//! together in the next one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use console::client_config::Security;
use console::connection::Connection;
use coordinators::machine::{Partition, Producer};
use coordinators::txn::{Adding, TransactionalId};
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, TopicName, TransactionalId as WireId,
};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use protocol_shim::ErrorCode;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::view::ClusterView;
use crate::log_limited;
use crate::security::between_brokers::BetweenBrokers;
use crate::security::tls::listeners::Reload;
use crate::vital::Vital;

/// Questions that wait for one broker; who asks more waits for a place among them.
const WAITING: usize = 1024;
/// How long another broker has for each step, before its transactions are said to have no coordinator.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to the other brokers.
pub(crate) struct Peers {
    cluster: Arc<ClusterView>,
    between: Arc<BetweenBrokers>,
    vital: Vital,
    /// By broker.
    ways: Mutex<HashMap<i32, mpsc::Sender<Question>>>,
}

struct Question {
    id: TransactionalId,
    producer: Producer,
    partitions: Vec<Partition>,
    adding: Adding,
    answer: oneshot::Sender<Vec<Result<(), ErrorCode>>>,
}

impl Peers {
    pub(crate) fn new(cluster: Arc<ClusterView>, between: BetweenBrokers, vital: Vital) -> Self {
        Self {
            cluster,
            between: Arc::new(between),
            vital,
            ways: Mutex::default(),
        }
    }

    /// Has connections made with what is in files now. May wait for the disk.
    pub(crate) fn reload(&self, reload: Reload) {
        self.between.reload(reload);
    }

    /// Has a broker add partitions to a transaction, or verify that they are in it. There is an outcome for each, in their
    /// order: COORDINATOR_NOT_AVAILABLE if it does not answer, which is safe to ask again.
    pub(crate) async fn add_partitions(
        &self,
        broker_id: i32,
        id: TransactionalId,
        producer: Producer,
        partitions: Vec<Partition>,
        adding: Adding,
    ) -> Vec<Result<(), ErrorCode>> {
        let count = partitions.len();
        let (answer, answered) = oneshot::channel();
        let question = Question {
            id,
            producer,
            partitions,
            adding,
            answer,
        };
        // Whoever was to answer may have ended.
        let _ = self.way_to(broker_id).send(question).await;
        let answers = answered.await.ok();
        answers.unwrap_or_else(|| vec![Err(ErrorCode::CoordinatorNotAvailable); count])
    }

    fn way_to(&self, broker_id: i32) -> mpsc::Sender<Question> {
        let mut ways = self.ways.lock();
        if let Some(way) = ways.get(&broker_id).filter(|way| !way.is_closed()) {
            return way.clone();
        }
        let (way, questions) = mpsc::channel(WAITING);
        let asker = Asker {
            cluster: Arc::clone(&self.cluster),
            broker_id,
            between: Arc::clone(&self.between),
            connection: None,
        };
        self.vital
            .spawn("a connection to another broker", asker.run(questions));
        ways.insert(broker_id, way.clone());
        way
    }
}

/// Who asks one broker.
struct Asker {
    cluster: Arc<ClusterView>,
    broker_id: i32,
    between: Arc<BetweenBrokers>,
    /// With what it was made with.
    connection: Option<(Connection, Arc<Security>)>,
}

impl Asker {
    /// Runs until nobody can ask any more, or the broker is gone.
    async fn run(mut self, mut questions: mpsc::Receiver<Question>) {
        let mut waiting = Vec::new();
        loop {
            let room = WAITING - waiting.len();
            if waiting.is_empty() && questions.recv_many(&mut waiting, room).await == 0 {
                return;
            }
            while waiting.len() < WAITING
                && let Ok(question) = questions.try_recv()
            {
                waiting.push(question);
            }
            // A request names a transactional id once: the next question about it waits.
            let mut named = HashSet::new();
            let (asked, later): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|question| named.insert(question.id.clone()));
            waiting = later;
            match self.ask(&asked).await {
                Ok(response) => answer(asked, &response),
                Err(why) => {
                    let broker = self.broker_id;
                    log_limited!(
                        warn,
                        "broker {broker} was not asked about transactions: {why}"
                    );
                    // They learn it from their closed channels.
                    drop(asked);
                }
            }
        }
    }

    async fn ask(&mut self, questions: &[Question]) -> Result<AddPartitionsToTxnResponse, String> {
        let transactions = questions.iter().map(to_wire).collect();
        let request = AddPartitionsToTxnRequest::default().with_transactions(transactions);
        let security = self.between.security();
        if let Some((connection, made_with)) = &mut self.connection
            && Arc::ptr_eq(made_with, &security)
            && let Ok(response) = connection.call(request.clone()).await
        {
            return Ok(response);
        }
        // There was none, or one with old certificates, or the broker has been started anew. To be asked twice is no matter to it.
        self.connection = None;
        let mut connection = self.connect(&security).await?;
        let response = connection.call(request).await;
        let response = response.map_err(|error| error.text())?;
        self.connection = Some((connection, security));
        Ok(response)
    }

    async fn connect(&mut self, security: &Security) -> Result<Connection, String> {
        let listener = &self.between.listener;
        let address = self.cluster.now().address_of(self.broker_id, listener);
        let address =
            address.ok_or_else(|| format!("it has no listener {listener} that is known"))?;
        let opened = Connection::open(&address, security, PATIENCE).await;
        opened.map_err(|error| error.text())
    }
}

fn to_wire(question: &Question) -> AddPartitionsToTxnTransaction {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &question.partitions {
        topics
            .entry(&partition.topic)
            .or_default()
            .push(partition.index);
    }
    let topics = topics.into_iter().map(|(name, indexes)| {
        AddPartitionsToTxnTopic::default()
            .with_name(TopicName(text(name)))
            .with_partitions(indexes)
    });
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(WireId(text(&question.id)))
        .with_producer_id(question.producer.id.into())
        .with_producer_epoch(question.producer.epoch)
        .with_verify_only(question.adding == Adding::Verify)
        .with_topics(topics.collect())
}

fn answer(asked: Vec<Question>, response: &AddPartitionsToTxnResponse) {
    let mut told: HashMap<(&str, &str, i32), ErrorCode> = HashMap::new();
    for transaction in &response.results_by_transaction {
        for topic in &transaction.topic_results {
            for partition in &topic.results_by_partition {
                let key = (
                    transaction.transactional_id.as_str(),
                    topic.name.as_str(),
                    partition.partition_index,
                );
                let error = ErrorCode::from_code(partition.partition_error_code);
                told.insert(key, error.unwrap_or(ErrorCode::UnknownServerError));
            }
        }
    }
    for question in asked {
        let outcomes = question.partitions.iter().map(|partition| {
            let key = (&*question.id, &*partition.topic, partition.index);
            match told.get(&key) {
                Some(ErrorCode::None) => Ok(()),
                Some(error) => Err(*error),
                // As Kafka's broker: it would be told the same for ever.
                None if response.error_code != 0 => Err(ErrorCode::InvalidTxnState),
                None => Err(ErrorCode::UnknownServerError),
            }
        });
        let outcomes = outcomes.collect();
        // The client may have gone.
        let _ = question.answer.send(outcomes);
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
