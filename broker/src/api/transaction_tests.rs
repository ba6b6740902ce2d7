//! The APIs of transactions through their handlers, on a broker in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::add_partitions_to_txn_response::AddPartitionsToTxnTopicResult;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Encodable;
use protocol_shim::ErrorCode;

use super::*;
use crate::broker::Broker;
use crate::context::RequestContext;
use crate::metadata::NewTopic;

const ID: &str = "my-transactional-id";
const TIMEOUT_MS: i32 = 60_000;

struct Client {
    broker: Arc<Broker>,
    id: i64,
    epoch: i16,
}

impl Client {
    /// A client of a new broker with topics "a" and "b".
    async fn new() -> Self {
        let broker = walk::broker().await;
        for topic in ["a", "b"] {
            let created = broker
                .metadata
                .create_topics(vec![NewTopic::with_defaults(topic)], false);
            created.await.remove(0).expect("created");
        }
        let mut client = Self {
            broker,
            id: -1,
            epoch: -1,
        };
        client.init().await;
        client
    }

    /// The same producer, after a restart of the broker.
    async fn restarted(self) -> Self {
        self.broker.shutdown.send_replace(true);
        let logs = Arc::clone(&self.broker.logs);
        Self {
            broker: walk::broker_on(logs).await,
            ..self
        }
    }

    /// The same producer, which does not know what the other one does.
    fn again(&self) -> Self {
        Self {
            broker: Arc::clone(&self.broker),
            ..*self
        }
    }

    fn at(&self, api_version: i16) -> RequestContext {
        walk::at(&self.broker, api_version)
    }

    async fn init_as(
        &self,
        version: i16,
        request: InitProducerIdRequest,
    ) -> InitProducerIdResponse {
        let request = request
            .with_transactional_id(Some(wire(ID).into()))
            .with_transaction_timeout_ms(TIMEOUT_MS);
        let response = init_producer_id::handle(&self.at(version), request).await;
        encodes(&response, version);
        response
    }

    async fn init(&mut self) {
        let response = self.init_as(5, InitProducerIdRequest::default()).await;
        assert_eq!(response.error_code, 0);
        (self.id, self.epoch) = (response.producer_id.0, response.producer_epoch);
    }

    async fn add(&self, version: i16, topics: &[(&str, i32)]) -> Vec<(String, i16)> {
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(wire(ID).into())
            .with_v3_and_below_producer_id(self.id.into())
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(named(topics));
        let response = add_partitions_to_txn::handle(&self.at(version), request).await;
        let response = response.expect("affordable");
        encodes(&response, version);
        told(response.results_by_topic_v3_and_below)
    }

    async fn add_as_broker(
        &self,
        version: i16,
        topics: &[(&str, i32)],
        verify_only: bool,
    ) -> Vec<(String, i16)> {
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(wire(ID).into())
            .with_producer_id(self.id.into())
            .with_producer_epoch(self.epoch)
            .with_verify_only(verify_only)
            .with_topics(named(topics));
        let request = AddPartitionsToTxnRequest::default().with_transactions(vec![transaction]);
        let response = add_partitions_to_txn::handle(&self.at(version), request).await;
        let mut response = response.expect("affordable");
        encodes(&response, version);
        assert_eq!(response.error_code, 0);
        told(response.results_by_transaction.remove(0).topic_results)
    }

    async fn add_offsets(&self, version: i16) -> i16 {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(wire(ID).into())
            .with_producer_id(self.id.into())
            .with_producer_epoch(self.epoch)
            .with_group_id(wire("group").into());
        let response = add_offsets_to_txn::handle(&self.at(version), request).await;
        encodes(&response, version);
        response.error_code
    }

    async fn end(&self, version: i16, commit: bool) -> EndTxnResponse {
        let request = EndTxnRequest::default()
            .with_transactional_id(wire(ID).into())
            .with_producer_id(self.id.into())
            .with_producer_epoch(self.epoch)
            .with_committed(commit);
        let response = end_txn::handle(&self.at(version), request).await;
        encodes(&response, version);
        response
    }

    async fn describe(&self, id: &str) -> describe_transactions_response::TransactionState {
        let request =
            DescribeTransactionsRequest::default().with_transactional_ids(vec![wire(id).into()]);
        let response = describe_transactions::handle(&self.at(0), request).await;
        let mut response = response.expect("affordable");
        encodes(&response, 0);
        response.transaction_states.remove(0)
    }

    async fn state(&self) -> String {
        self.describe(ID).await.transaction_state.to_string()
    }

    async fn list(
        &self,
        version: i16,
        request: ListTransactionsRequest,
    ) -> ListTransactionsResponse {
        let response = list_transactions::handle(&self.at(version), request).await;
        let response = response.expect("affordable");
        encodes(&response, version);
        response
    }

    /// How many batches there are in partition 0: here they are all markers.
    async fn markers(&self, topic: &str) -> i64 {
        let image = self.broker.metadata.image();
        let topic_id = image.topic(topic).expect("there").topic_id;
        let partition = self.broker.partitions.get(topic_id.into(), 0).await;
        partition.expect("there").log.offsets().high_watermark
    }
}

fn named(topics: &[(&str, i32)]) -> Vec<AddPartitionsToTxnTopic> {
    let topics = topics.iter().map(|(name, index)| {
        AddPartitionsToTxnTopic::default()
            .with_name(TopicName(wire(name)))
            .with_partitions(vec![*index])
    });
    topics.collect()
}

fn told(results: Vec<AddPartitionsToTxnTopicResult>) -> Vec<(String, i16)> {
    let results = results.into_iter().flat_map(|topic| {
        let name = topic.name.to_string();
        let errors = topic.results_by_partition.into_iter();
        errors.map(move |result| (name.clone(), result.partition_error_code))
    });
    results.collect()
}

/// A response must say nothing that its version has no field for.
fn encodes(response: &impl Encodable, version: i16) {
    let encoded = response.encode(&mut BytesMut::new(), version);
    encoded.unwrap_or_else(|error| panic!("version {version}: {error}"));
}

fn errors(told: &[(String, i16)]) -> Vec<i16> {
    told.iter().map(|(_, error)| *error).collect()
}

#[tokio::test(start_paused = true)]
async fn a_transaction_goes_its_way_in_every_version() {
    for version in 0..=5 {
        for commit in [true, false] {
            let mut client = Client::new().await;
            let added = client.add(version.min(3), &[("a", 0), ("b", 0)]).await;
            assert_eq!(errors(&added), [0, 0]);
            assert_eq!(client.add_offsets(version.min(4)).await, 0);
            assert_eq!(client.state().await, "Ongoing");
            let ended = client.end(version, commit).await;
            assert_eq!(ended.error_code, 0);
            let state = if commit {
                "CompleteCommit"
            } else {
                "CompleteAbort"
            };
            assert_eq!(client.state().await, state);
            for topic in ["a", "b", "__consumer_offsets"] {
                assert_eq!(client.markers(topic).await, 1, "{topic}");
            }
            let now = (ended.producer_id.0, ended.producer_epoch);
            let again = client.end(version, commit).await;
            assert_eq!(again, ended, "the same answer");
            match version {
                ..5 => assert_eq!(now, (-1, -1)),
                5.. => {
                    assert_eq!(now, (client.id, client.epoch + 1));
                    client.epoch += 1;
                }
            }
            assert_eq!(
                errors(&client.add(3, &[("a", 0)]).await),
                [0],
                "the next one"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_goes_on_after_a_restart_and_its_end_is_told_again_after_another() {
    for version in 0..=5 {
        let client = Client::new().await;
        client.add(3, &[("a", 0), ("b", 0)]).await;
        let before = client.describe(ID).await;
        let client = client.restarted().await;
        assert_eq!(client.describe(ID).await, before);
        let ended = client.end(version, true).await;
        assert_eq!(ended.error_code, 0);
        assert_eq!(client.markers("a").await, 1);
        let client = client.restarted().await;
        assert_eq!(client.state().await, "CompleteCommit");
        assert_eq!(client.end(version, true).await, ended);
        assert_eq!(client.markers("a").await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_open_for_too_long_is_aborted() {
    let client = Client::new().await;
    client.add(3, &[("a", 0)]).await;
    tokio::time::advance(Duration::from_millis(TIMEOUT_MS as u64)).await;
    while client.state().await == "Ongoing" {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.state().await, "CompleteAbort");
    assert_eq!(client.markers("a").await, 1);
    // As after an abort of its own.
    let told = client.end(5, true).await.error_code;
    assert_eq!(told, ErrorCode::InvalidTxnState as i16);
    assert_eq!(client.end(5, false).await.error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_was_fenced_is_told_so_in_the_words_of_its_version() {
    let zombie = Client::new().await;
    zombie.again().init().await;
    let fenced = |since, version| match version >= since {
        true => ErrorCode::ProducerFenced as i16,
        false => ErrorCode::InvalidProducerEpoch as i16,
    };
    for version in 0..=3 {
        let told = zombie.add(version, &[("a", 0)]).await;
        assert_eq!(errors(&told), [fenced(2, version)]);
    }
    for version in 4..=5 {
        for verify_only in [true, false] {
            let told = zombie.add_as_broker(version, &[("a", 0)], verify_only);
            assert_eq!(errors(&told.await), [fenced(2, version)]);
        }
    }
    for version in 0..=4 {
        assert_eq!(zombie.add_offsets(version).await, fenced(2, version));
    }
    for version in 0..=5 {
        let told = zombie.end(version, true).await;
        assert_eq!(told.error_code, fenced(2, version));
        assert_eq!((told.producer_id.0, told.producer_epoch), (-1, -1));
    }
    for version in 3..=5 {
        let request = InitProducerIdRequest::default()
            .with_producer_id(zombie.id.into())
            .with_producer_epoch(zombie.epoch);
        let told = zombie.init_as(version, request).await;
        assert_eq!(told.error_code, fenced(4, version));
        assert_eq!((told.producer_id.0, told.producer_epoch), (-1, -1));
    }
    assert_eq!(zombie.state().await, "Empty");
}

#[tokio::test(start_paused = true)]
async fn a_producer_gets_all_its_partitions_or_none() {
    let client = Client::new().await;
    let asked = [
        ("a", 0),
        ("a", 7),
        ("no-such-topic", 0),
        ("__transaction_state", 0),
    ];
    for version in 0..=3 {
        let told = client.add(version, &asked).await;
        assert_eq!(errors(&told), [55, 3, 3, 29]);
    }
    for version in 4..=5 {
        let told = client.add_as_broker(version, &asked, false).await;
        assert_eq!(errors(&told), [55, 3, 3, 55]);
    }
    assert_eq!(client.state().await, "Empty");
}

#[tokio::test(start_paused = true)]
async fn a_broker_may_ask_whether_partitions_are_in_a_transaction_and_add_them() {
    for version in 4..=5 {
        let client = Client::new().await;
        let asked = [("a", 0), ("b", 0)];
        let told = client.add_as_broker(version, &asked, true).await;
        assert_eq!(errors(&told), [120, 120]);
        let told = client.add_as_broker(version, &asked[..1], false).await;
        assert_eq!(errors(&told), [0]);
        let told = client.add_as_broker(version, &asked, true).await;
        assert_eq!(errors(&told), [0, 120]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_id_is_no_transactional_id() {
    let client = Client::new().await;
    let invalid = ErrorCode::InvalidRequest as i16;
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(wire("").into()))
        .with_transaction_timeout_ms(TIMEOUT_MS);
    let told = init_producer_id::handle(&client.at(5), init).await;
    assert_eq!(told.error_code, invalid);
    let end = end_txn::handle(&client.at(5), EndTxnRequest::default()).await;
    assert_eq!(end.error_code, invalid);
    let add = AddPartitionsToTxnRequest::default().with_v3_and_below_topics(named(&[("a", 0)]));
    let added = add_partitions_to_txn::handle(&client.at(3), add).await;
    let added = told_of(added.expect("affordable"));
    assert_eq!(added, [invalid]);
    assert_eq!(client.describe("").await.error_code, invalid);
    assert_eq!(client.describe("unknown").await.error_code, 105);
}

fn told_of(response: AddPartitionsToTxnResponse) -> Vec<i16> {
    errors(&told(response.results_by_topic_v3_and_below))
}

#[tokio::test(start_paused = true)]
async fn only_an_id_with_its_epoch_says_who_asks() {
    let client = Client::new().await;
    for (id, epoch) in [(client.id, -1), (-1, client.epoch)] {
        let request = InitProducerIdRequest::default()
            .with_producer_id(id.into())
            .with_producer_epoch(epoch);
        let told = client.init_as(5, request).await;
        assert_eq!(told.error_code, ErrorCode::InvalidRequest as i16);
    }
}

#[tokio::test(start_paused = true)]
async fn transactional_ids_are_listed_by_state_producer_duration_and_pattern() {
    let client = Client::new().await;
    client.add(3, &[("a", 0)]).await;
    let states = |names: &[&str]| {
        let names = names.iter().map(|name| wire(name));
        ListTransactionsRequest::default().with_state_filters(names.collect())
    };
    let ids = |ids: &[i64]| {
        let ids = ids.iter().map(|id| ProducerId(*id));
        ListTransactionsRequest::default().with_producer_id_filters(ids.collect())
    };
    let matching = |pattern: &str| {
        ListTransactionsRequest::default().with_transactional_id_pattern(Some(wire(pattern)))
    };
    let longer = ListTransactionsRequest::default().with_duration_filter(1_000_000);
    let all = ListTransactionsRequest::default;
    for (version, request, count) in [
        (0, all(), 1),
        (0, states(&["Ongoing"]), 1),
        (0, states(&["Empty", "Dead"]), 0),
        (0, states(&["Dead"]), 0),
        (0, states(&["Nonsense"]), 0),
        (0, ids(&[client.id]), 1),
        (0, ids(&[client.id + 1]), 0),
        (1, all().with_duration_filter(-1), 1),
        (1, longer, 0),
        (2, matching(""), 1),
        (2, matching("my-.*"), 1),
        (2, matching("my-"), 0),
    ] {
        let listed = client.list(version, request.clone()).await;
        assert_eq!(listed.error_code, 0);
        assert_eq!(listed.transaction_states.len(), count, "{request:?}");
    }
    let listed = client.list(2, all()).await.transaction_states.remove(0);
    let (id, state) = (listed.transactional_id, listed.transaction_state);
    assert_eq!((id.as_str(), state.as_str()), (ID, "Ongoing"));
    assert_eq!(listed.producer_id.0, client.id);
    let unknown = client.list(0, states(&["Ongoing", "Nonsense"])).await;
    assert_eq!(unknown.unknown_state_filters, [wire("Nonsense")]);
    assert_eq!(client.list(2, matching("(")).await.error_code, 128);
}

#[tokio::test(start_paused = true)]
async fn whoever_looks_for_a_coordinator_of_transactions_finds_it_and_makes_its_topic() {
    let broker = walk::broker().await;
    let client = Client {
        broker,
        id: -1,
        epoch: -1,
    };
    for version in 1..=6 {
        let request = FindCoordinatorRequest::default().with_key_type(1);
        let request = match version {
            ..4 => request.with_key(wire(ID)),
            4.. => request.with_coordinator_keys(vec![wire(ID)]),
        };
        let found = find_coordinator::handle(&client.at(version), request).await;
        let found = found.expect("affordable");
        encodes(&found, version);
        let port = match version {
            ..4 => found.port,
            4.. => found.coordinators[0].port,
        };
        assert_eq!(port, 9092);
    }
    let image = client.broker.metadata.image();
    let topic = image.topic("__transaction_state").expect("made");
    for (key, value) in [
        ("cleanup.policy", "compact"),
        ("compression.type", "uncompressed"),
        ("segment.bytes", "104857600"),
    ] {
        assert_eq!(topic.overrides.get(key).map(String::as_str), Some(value));
    }
    let listed = client.list(2, ListTransactionsRequest::default()).await;
    assert_eq!(listed.transaction_states, []);
}
