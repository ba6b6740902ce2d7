//! Transactions as clients of both protocols see them: the old one, and that of KIP-890.

#![allow(clippy::unwrap_used)]

extern crate ottla as broker;

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use broker::broker::Broker;
use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, FetchRequest,
    FindCoordinatorRequest, InitProducerIdRequest, ListOffsetsRequest, OffsetCommitRequest,
    OffsetFetchRequest, TransactionalId, TxnOffsetCommitRequest,
};
use storage::record::{BatchBuilder, RecordSet, batches};
use support::{
    Client, batch, connect, group_id, produce, start_broker_with, start_on, string, topic_name,
};

const TOPIC: &str = "topic";
const GROUP: &str = "group";

async fn start() -> Arc<Broker> {
    start_broker_with(&[("transaction.state.log.num.partitions", "3")]).await
}

/// A transactional producer of the old protocol, or of the new one.
struct Producer {
    client: Client,
    is_new: bool,
    transactional_id: &'static str,
    id: i64,
    epoch: i16,
    /// By partition.
    next_sequence: [i32; 3],
}

impl Producer {
    async fn new(broker: &Arc<Broker>, transactional_id: &'static str, is_new: bool) -> Self {
        Self::with_timeout(broker, transactional_id, is_new, 60_000).await
    }

    async fn with_timeout(
        broker: &Arc<Broker>,
        transactional_id: &'static str,
        is_new: bool,
        timeout_ms: i32,
    ) -> Self {
        let mut client = connect(broker);
        let find = FindCoordinatorRequest::default()
            .with_key_type(1)
            .with_key(string(transactional_id));
        assert_eq!(client.call(3, find).await.error_code, 0);
        let init = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(string(transactional_id))))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let init = client.call(if is_new { 5 } else { 1 }, init).await;
        assert_eq!(init.error_code, 0);
        Self {
            client,
            is_new,
            transactional_id,
            id: init.producer_id.0,
            epoch: init.producer_epoch,
            next_sequence: [0; 3],
        }
    }

    fn transactional_id(&self) -> TransactionalId {
        TransactionalId(string(self.transactional_id))
    }

    /// AddPartitionsToTxn, as clients of the old protocol do before they write.
    async fn add(&mut self, partition: i32) -> i16 {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(topic_name(TOPIC))
            .with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.transactional_id())
            .with_v3_and_below_producer_id(self.id.into())
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![topic]);
        let response = self.client.call(2, request).await;
        response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    }

    fn batch(&mut self, partition: i32, value: &str) -> Bytes {
        let sequence = &mut self.next_sequence[usize::try_from(partition).unwrap()];
        let mut batch = BatchBuilder::new()
            .producer(self.id, self.epoch, *sequence)
            .transactional();
        *sequence += 1;
        batch.append(1_700_000_000_000, None, Some(value.as_bytes()), &[]);
        batch.build().unwrap()
    }

    /// Produce, and nothing before it.
    async fn produce(&mut self, version: i16, partition: i32, value: &str) -> i16 {
        let batch = self.batch(partition, value);
        let request = produce(TOPIC, vec![(partition, batch)])
            .with_transactional_id(Some(self.transactional_id()));
        let response = self.client.call(version, request).await;
        response.responses[0].partition_responses[0].error_code
    }

    /// What a client does to write.
    async fn write(&mut self, partition: i32, value: &str) {
        let version = match self.is_new {
            true => 12,
            false => {
                assert_eq!(self.add(partition).await, 0);
                7
            }
        };
        assert_eq!(self.produce(version, partition, value).await, 0, "{value}");
    }

    async fn end(&mut self, commit: bool) -> i16 {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(self.id.into())
            .with_producer_epoch(self.epoch)
            .with_committed(commit);
        let response = self
            .client
            .call(if self.is_new { 5 } else { 1 }, request)
            .await;
        if response.error_code == 0 && self.is_new {
            assert_eq!(response.producer_id.0, self.id);
            assert_eq!(response.producer_epoch, self.epoch + 1);
            self.epoch = response.producer_epoch;
            self.next_sequence = [0; 3];
        }
        response.error_code
    }

    async fn commit_offset(&mut self, offset: i64) -> i16 {
        if !self.is_new {
            let request = AddOffsetsToTxnRequest::default()
                .with_transactional_id(self.transactional_id())
                .with_producer_id(self.id.into())
                .with_producer_epoch(self.epoch)
                .with_group_id(group_id(GROUP));
            assert_eq!(self.client.call(1, request).await.error_code, 0);
        }
        self.commit_offset_unannounced(offset).await
    }

    /// TxnOffsetCommit, and nothing before it.
    async fn commit_offset_unannounced(&mut self, offset: i64) -> i16 {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(string("")));
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(topic_name(TOPIC))
            .with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_group_id(group_id(GROUP))
            .with_producer_id(self.id.into())
            .with_producer_epoch(self.epoch)
            .with_generation_id(-1)
            .with_topics(vec![topic]);
        let response = self
            .client
            .call(if self.is_new { 5 } else { 2 }, request)
            .await;
        response.topics[0].partitions[0].error_code
    }
}

/// What a reader of a partition gets: values, without those of aborted transactions if it reads what is committed.
async fn read(client: &mut Client, partition: i32, committed: bool) -> Vec<String> {
    let (mut values, mut from) = (Vec::new(), 0);
    while let Some(next) = read_some(client, partition, committed, from, &mut values).await {
        from = next;
    }
    values
}

/// One fetch of it. Gives where the next one begins, if there was anything: what comes from the disk may come in parts.
async fn read_some(
    client: &mut Client,
    partition: i32,
    committed: bool,
    from: i64,
    values: &mut Vec<String>,
) -> Option<i64> {
    let wanted = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(from)
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(topic_name(TOPIC))
        .with_partitions(vec![wanted]);
    let request = FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_isolation_level(i8::from(committed))
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let response = client.call(11, request).await;
    let partition = &response.responses[0].partitions[0];
    assert_eq!(partition.error_code, 0);
    let mut aborted = partition.aborted_transactions.clone().unwrap_or_default();
    let mut next = None;
    let records = partition.records.clone().unwrap_or_default();
    for batch in batches(&records) {
        let batch = batch.unwrap();
        let header = &batch.header;
        next = Some(header.next_offset());
        let ended = |of: &kafka_protocol::messages::fetch_response::AbortedTransaction| {
            of.producer_id.0 == header.producer_id && of.first_offset <= header.base_offset
        };
        if header.is_control() {
            // The marker of the first aborted transaction of this producer ends it.
            if let Some(place) = aborted.iter().position(ended) {
                aborted.remove(place);
            }
            continue;
        }
        if header.is_transactional() && aborted.iter().any(ended) {
            continue;
        }
        let set = RecordSet::open(&Bytes::copy_from_slice(batch.bytes), 1 << 20).unwrap();
        for record in set.iter() {
            let value = record.unwrap().value.unwrap_or_default().to_vec();
            values.push(String::from_utf8(value).unwrap());
        }
    }
    next
}

/// How far a reader of what is committed gets.
async fn last_stable_offset(client: &mut Client, partition: i32) -> i64 {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(TOPIC))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(1)
        .with_topics(vec![topic]);
    client.call(5, request).await.topics[0].partitions[0].offset
}

/// The offset that the group has committed, or the error of a reader that wants a stable one.
async fn committed(client: &mut Client) -> Result<i64, i16> {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(topic_name(TOPIC))
        .with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default()
        .with_group_id(group_id(GROUP))
        .with_require_stable(true)
        .with_topics(Some(vec![topic]));
    let response = client.call(7, request).await;
    let partition = &response.topics[0].partitions[0];
    match partition.error_code {
        0 => Ok(partition.committed_offset),
        error => Err(error),
    }
}

#[tokio::test]
async fn a_transaction_is_read_whole_when_it_is_committed_and_never_when_it_is_aborted() {
    for is_new in [false, true] {
        let broker = start().await;
        let mut reader = connect(&broker);
        reader.create_topic(TOPIC, 3).await;
        let mut producer = Producer::new(&broker, "id", is_new).await;
        producer.write(0, "a").await;
        producer.write(1, "b").await;
        producer.write(0, "c").await;
        assert_eq!(read(&mut reader, 0, true).await, [""; 0]);
        assert_eq!(read(&mut reader, 0, false).await, ["a", "c"]);
        assert_eq!(last_stable_offset(&mut reader, 0).await, 0);
        assert_eq!(producer.end(true).await, 0);
        assert_eq!(read(&mut reader, 0, true).await, ["a", "c"]);
        assert_eq!(read(&mut reader, 1, true).await, ["b"]);
        assert_eq!(last_stable_offset(&mut reader, 0).await, 3);

        producer.write(0, "lost").await;
        producer.write(1, "lost").await;
        assert_eq!(producer.end(false).await, 0);
        producer.write(0, "d").await;
        assert_eq!(producer.end(true).await, 0);
        assert_eq!(read(&mut reader, 0, true).await, ["a", "c", "d"]);
        assert_eq!(read(&mut reader, 1, true).await, ["b"]);
        assert_eq!(read(&mut reader, 0, false).await, ["a", "c", "lost", "d"]);
        // Of another producer, outside of any transaction.
        let plain = produce(TOPIC, vec![(1, batch(&["plain"]))]);
        reader.call(9, plain).await;
        assert_eq!(read(&mut reader, 1, true).await, ["b", "plain"]);
    }
}

#[tokio::test]
async fn the_end_of_a_transaction_that_is_asked_for_again_is_answered_alike() {
    let broker = start().await;
    connect(&broker).create_topic(TOPIC, 3).await;
    let mut old = Producer::new(&broker, "old", false).await;
    old.write(0, "a").await;
    assert_eq!((old.end(true).await, old.end(true).await), (0, 0));
    assert_eq!(old.end(false).await, 48);
    let mut new = Producer::new(&broker, "new", true).await;
    new.write(0, "b").await;
    assert_eq!(new.end(true).await, 0);
    new.epoch -= 1;
    assert_eq!(new.end(true).await, 0);
    assert_eq!(read(&mut connect(&broker), 0, true).await, ["a", "b"]);
}

#[tokio::test]
async fn a_batch_of_a_transaction_that_nobody_has_begun_is_refused() {
    let broker = start().await;
    let mut reader = connect(&broker);
    reader.create_topic(TOPIC, 3).await;
    let mut producer = Producer::new(&broker, "id", false).await;
    for (version, error) in [(3, 48), (10, 48), (11, 120)] {
        assert_eq!(
            producer.produce(version, 0, "late").await,
            error,
            "v{version}"
        );
    }
    let mut unknown = Producer::new(&broker, "other", true).await;
    unknown.id += 1000;
    for (version, error) in [(9, 49), (12, 49)] {
        assert_eq!(unknown.produce(version, 0, "unknown").await, error);
    }
    assert_eq!(read(&mut reader, 0, false).await, [""; 0]);
    assert_eq!(last_stable_offset(&mut reader, 0).await, 0);
}

#[tokio::test]
async fn a_producer_that_was_replaced_writes_nothing_and_ends_nothing() {
    for is_new in [false, true] {
        let broker = start().await;
        let mut reader = connect(&broker);
        reader.create_topic(TOPIC, 3).await;
        let mut zombie = Producer::new(&broker, "id", is_new).await;
        zombie.write(0, "of the zombie").await;
        let mut successor = Producer::new(&broker, "id", is_new).await;
        assert_eq!(successor.id, zombie.id);
        assert!(successor.epoch > zombie.epoch);
        // Its transaction was aborted.
        assert_eq!(last_stable_offset(&mut reader, 0).await, 2);
        let version = if is_new { 12 } else { 7 };
        assert_eq!(zombie.produce(version, 0, "late").await, 47);
        assert_eq!(zombie.produce(version, 1, "late, elsewhere").await, 47);
        successor.write(0, "of the successor").await;
        assert_eq!(zombie.end(true).await, if is_new { 90 } else { 47 });
        assert_eq!(successor.end(true).await, 0);
        assert_eq!(read(&mut reader, 0, true).await, ["of the successor"]);
        assert_eq!(read(&mut reader, 1, false).await, [""; 0]);
    }
}

#[tokio::test]
async fn offsets_of_a_transaction_count_when_it_is_committed() {
    for is_new in [false, true] {
        let broker = start().await;
        let mut reader = connect(&broker);
        reader.create_topic(TOPIC, 3).await;
        let mut producer = Producer::new(&broker, "id", is_new).await;
        assert_eq!(producer.commit_offset(5).await, 0);
        producer.write(0, "a").await;
        assert_eq!(committed(&mut reader).await, Err(88));
        assert_eq!(producer.end(true).await, 0);
        assert_eq!(committed(&mut reader).await, Ok(5));
        assert_eq!(producer.commit_offset(7).await, 0);
        assert_eq!(committed(&mut reader).await, Err(88));
        assert_eq!(producer.end(false).await, 0);
        assert_eq!(committed(&mut reader).await, Ok(5));
        let mut zombie = producer;
        let mut successor = Producer::new(&broker, "id", is_new).await;
        let refused = zombie.commit_offset_unannounced(9).await;
        assert_eq!(refused, 47);
        assert_eq!(successor.commit_offset(8).await, 0);
        assert_eq!(successor.end(true).await, 0);
        assert_eq!(committed(&mut reader).await, Ok(8));
    }
}

#[tokio::test]
async fn a_transaction_that_takes_too_long_is_aborted() {
    let broker = start().await;
    let mut reader = connect(&broker);
    reader.create_topic(TOPIC, 3).await;
    let mut producer = Producer::with_timeout(&broker, "id", true, 200).await;
    producer.write(0, "late").await;
    assert_eq!(last_stable_offset(&mut reader, 0).await, 0);
    let began = Instant::now();
    while last_stable_offset(&mut reader, 0).await == 0 {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "it is never aborted"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It has ended, but not as its producer wants.
    assert_eq!(producer.end(true).await, 48);
    assert_eq!(producer.end(false).await, 0);
    assert_eq!(read(&mut reader, 0, true).await, [""; 0]);
}

/// Runs what blocks beside the broker.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn words(words: &[&std::ffi::OsStr]) -> std::vec::IntoIter<std::ffi::OsString> {
    let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
    words.into_iter()
}

/// A transaction is one value in each of three partitions and an offset of a group; every third one is aborted. Beside it
/// somebody writes without transactions, and a group follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_of_a_broker_under_load_is_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let server = start_on(&path("data")).await;
    let broker = Arc::clone(&server.broker);
    let mut admin = connect(&broker);
    admin.create_topic(TOPIC, 3).await;
    admin.create_topic("plain", 1).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (ended, written) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let transactions = {
        let (broker, stop, ended) = (Arc::clone(&broker), Arc::clone(&stop), Arc::clone(&ended));
        tokio::spawn(async move {
            let mut producer = Producer::new(&broker, "id", true).await;
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                for partition in 0..3 {
                    producer.write(partition, &number.to_string()).await;
                }
                assert_eq!(producer.commit_offset(number + 1).await, 0);
                assert_eq!(producer.end(number % 3 != 2).await, 0);
                number += 1;
                ended.store(number, Ordering::SeqCst);
            }
        })
    };
    let plain = {
        let (broker, stop, written) =
            (Arc::clone(&broker), Arc::clone(&stop), Arc::clone(&written));
        tokio::spawn(async move {
            let mut client = connect(&broker);
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                let text = number.to_string();
                let request = produce("plain", vec![(0, batch(&[&text]))]);
                let answer = client.call(9, request).await;
                assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
                number += 1;
                written.store(number, Ordering::SeqCst);
                follow(&mut client, number).await;
            }
        })
    };
    let mut snapshots = Vec::new();
    for number in 0..2 {
        let wanted = [&ended, &written].map(|count| count.load(Ordering::SeqCst) + 10);
        let now = || [&ended, &written].map(|count| count.load(Ordering::SeqCst));
        while now().iter().zip(wanted).any(|(now, wanted)| *now < wanted) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let before = now();
        let (to, data) = (path(&format!("snapshot{number}")), path("data"));
        let place = to.clone();
        let made = beside(move || {
            let named = [
                "ottla snapshot".as_ref(),
                to.as_os_str(),
                "--data-dir".as_ref(),
                data.as_os_str(),
            ];
            broker::snapshot::command::run_snapshot(words(&named))
        });
        made.await.unwrap().unwrap();
        snapshots.push((place, before));
    }
    stop.store(true, Ordering::Relaxed);
    transactions.await.unwrap();
    plain.await.unwrap();
    drop(admin);
    drop(broker);
    server.shutdown().await.unwrap();
    for (snapshot, before) in snapshots {
        let restored = snapshot.with_extension("restored");
        let named = [
            "ottla restore".as_ref(),
            snapshot.as_os_str(),
            "--data-dir".as_ref(),
            restored.as_os_str(),
        ];
        let named = words(&named);
        beside(move || broker::snapshot::command::run_restore(named))
            .await
            .unwrap()
            .unwrap();
        let server = start_on(&restored).await;
        let broker = Arc::clone(&server.broker);
        // Whatever transaction was open is over now.
        Producer::new(&broker, "id", true).await;
        let mut client = connect(&broker);
        let values = read(&mut client, 0, true).await;
        let last: i64 = values.last().map_or(0, |value| value.parse().unwrap());
        let committed_before = (0..=last).filter(|number| number % 3 != 2);
        let expected: Vec<String> = committed_before.map(|number| number.to_string()).collect();
        assert_eq!(values, expected);
        for partition in 1..3 {
            assert_eq!(read(&mut client, partition, true).await, expected);
        }
        assert_eq!(committed(&mut client).await, Ok(last + 1));
        let acknowledged = (0..before[0]).rfind(|number| number % 3 != 2);
        assert!(Some(last) >= acknowledged, "{last} of {before:?}");
        let end = end_of_plain(&mut client).await;
        let followed = followed(&mut client).await;
        assert!(end >= before[1], "{end} of {before:?}");
        assert!(
            (before[1] - 1..=end).contains(&followed),
            "{followed} of {end}"
        );
        drop(client);
        drop(broker);
        server.shutdown().await.unwrap();
        // The broker that serves its copy has left it alone.
        let named = [
            "ottla snapshot".as_ref(),
            "--verify".as_ref(),
            snapshot.as_os_str(),
        ];
        let named = words(&named);
        beside(move || broker::snapshot::command::run_snapshot(named))
            .await
            .unwrap()
            .unwrap();
    }
}

/// Commits an offset of a group that follows what is written without transactions.
async fn follow(client: &mut Client, offset: i64) {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(string("")));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name("plain"))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id("follower"))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let response = client.call(8, request).await;
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
}

async fn followed(client: &mut Client) -> i64 {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(topic_name("plain"))
        .with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default()
        .with_group_id(group_id("follower"))
        .with_topics(Some(vec![topic]));
    client.call(7, request).await.topics[0].partitions[0].committed_offset
}

async fn end_of_plain(client: &mut Client) -> i64 {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(0)
        .with_timestamp(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name("plain"))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    client.call(5, request).await.topics[0].partitions[0].offset
}
