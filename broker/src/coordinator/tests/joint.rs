//! The end of a transaction goes to all its logs or to none, and the shards whose logs are among them know of it.

use std::collections::BTreeMap;

use coordinators::machine::{EndTxn, Ending, Partition, Producer, Write};
use storage::record::{BatchBuilder, EndTxnMarker};

use super::runtime::{PRODUCER, Reply, Request, Words, plain, transactional, words_on};
use super::*;
use crate::coordinator::append::marker_batch;
use crate::coordinator::shards::Shards;
use crate::replay::{Entry, replay};

/// Words that tell of endings, words that lend their log, and a log that is nobody's.
struct World {
    runtime: Runtime,
    ends: Shards<Words>,
    lends: Shards<Words>,
    _stop: watch::Sender<bool>,
}

impl World {
    async fn new() -> Self {
        let (stop, shutdown) = watch::channel(false);
        let runtime = runtime(shutdown).await;
        let names = ["ends", "other", "lends", "data"]
            .map(str::to_owned)
            .to_vec();
        let created = runtime.metadata.auto_create(names).await;
        assert!(created.iter().all(Result::is_ok));
        let log = async |topic| words_on(&runtime, Self::log(&runtime, topic).await).await;
        Self {
            ends: log("ends").await,
            lends: log("lends").await,
            runtime,
            _stop: stop,
        }
    }

    async fn log(runtime: &Runtime, topic: &str) -> Arc<dyn PartitionLog> {
        let image = runtime.metadata.image();
        let topic = image.topic(topic).expect("created");
        let topic_id = crate::authorizer::Authorized::internal(topic.topic_id, "a test");
        let found = runtime.partitions.get(topic_id, 0).await;
        Arc::clone(&found.expect("open").log)
    }

    fn partition(&self, topic: &str) -> Partition {
        let image = self.runtime.metadata.image();
        Partition {
            topic: topic.into(),
            topic_id: image
                .topic(topic)
                .map_or(Uuid::nil(), |topic| topic.topic_id),
            index: 0,
        }
    }

    /// Writes something in the producer's transaction, to each log.
    async fn begin(&self) {
        let mut batch = BatchBuilder::new().producer(PRODUCER.id, PRODUCER.epoch, 0);
        batch = batch.transactional();
        batch.append(0, Some(b"k"), None, &[]);
        let batch = ValidatedBatch::trusted(batch.build().expect("built")).expect("a batch");
        let log = Self::log(&self.runtime, "data").await;
        let (permit, origin) = (AppendPermit::unlimited(), AppendOrigin::COORDINATOR);
        let appended = log.submit(permit, batch, origin, Next::Wait);
        appended.expect("let in").await.expect("durable");
        let writes = vec![transactional(PRODUCER, &["lent"])];
        let said = self.lends.request(0, Request::Say(writes)).await;
        assert_eq!(said, Ok(Reply::Said));
    }

    /// Ends it, together with the word "done".
    async fn end(&self, commit: bool, topics: &[&str]) {
        let partitions = topics.iter().map(|topic| self.partition(topic));
        let ending = Ending {
            producer: PRODUCER,
            commit,
            transaction_version: 0,
            partitions: partitions.collect(),
        };
        let record = Some("done".to_owned());
        let writes = vec![Write::Joint { record, ending }, plain(&["after"])];
        let said = self.ends.request(0, Request::Say(writes)).await;
        assert_eq!(said, Ok(Reply::Said));
    }

    /// The words in the log of a topic, and its markers.
    async fn log_of(&self, topic: &str) -> Vec<String> {
        let mut entries = Vec::new();
        let log = Self::log(&self.runtime, topic).await;
        let replayed = replay(&*log, 0, |entry| {
            entries.push(match entry {
                Entry::Record(_, record) => {
                    String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned()
                }
                Entry::Marker(header, EndTxnMarker { result, .. }) => {
                    assert_eq!(header.producer_id, PRODUCER.id);
                    assert_eq!(header.producer_epoch, PRODUCER.epoch);
                    format!("{result:?}")
                }
            });
        });
        replayed.await.expect("read");
        entries
    }

    /// What the lending words know, and what is pending there.
    async fn lent(&self) -> (Vec<String>, BTreeMap<i64, Vec<String>>) {
        match self.lends.request(0, Request::List).await {
            Ok(Reply::Listed(known, pending, _)) => (known, pending),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_ending_is_in_all_its_logs_and_known_to_the_shard_that_has_one_of_them() {
    for (commit, marker) in [(true, "Commit"), (false, "Abort")] {
        let world = World::new().await;
        world.begin().await;
        let data = World::log(&world.runtime, "data").await;
        assert_eq!(data.offsets().last_stable_offset, 0);
        world.end(commit, &["lends", "data"]).await;
        assert_eq!(world.log_of("ends").await, ["done", "after"]);
        assert_eq!(world.log_of("data").await, ["k", marker]);
        assert_eq!(world.log_of("lends").await, ["lent", marker]);
        assert_eq!(data.offsets().last_stable_offset, 2);
        let known = match commit {
            true => vec!["lent".to_owned()],
            false => Vec::new(),
        };
        assert_eq!(world.lent().await, (known, BTreeMap::new()));
        assert_eq!(world.runtime.stats.counts(), [2, 0, 0]);
    }
}

#[tokio::test]
async fn a_topic_that_is_gone_and_the_machines_own_are_left_out() {
    let world = World::new().await;
    world.begin().await;
    // "words" is the topic of the machine.
    world.end(true, &["words", "gone", "data", "data"]).await;
    assert_eq!(world.log_of("ends").await, ["done", "after"]);
    assert_eq!(world.log_of("data").await, ["k", "Commit"]);
    assert_eq!(world.runtime.stats.counts(), [1, 2, 0]);
    // Nobody ended it here.
    assert_eq!(world.lent().await.1.len(), 1);
}

#[tokio::test]
async fn a_shard_whose_log_is_lent_appends_nothing_until_it_has_it_back() {
    let world = World::new().await;
    let log = World::log(&world.runtime, "lends").await;
    let loan = world.runtime.lending.borrow(log.id()).await;
    let loan = loan.expect("it can be lent").expect("a shard has it");
    let said = world.lends.request(0, Request::Say(vec![plain(&["late"])]));
    tokio::pin!(said);
    for _ in 0..100 {
        let waits = std::future::poll_fn(|cx| match said.as_mut().poll(cx) {
            std::task::Poll::Pending => std::task::Poll::Ready(true),
            std::task::Poll::Ready(_) => std::task::Poll::Ready(false),
        });
        assert!(waits.await, "it has appended to a log that is lent");
        tokio::task::yield_now().await;
    }
    assert_eq!(log.offsets().log_end_offset, 0);
    drop(loan);
    assert_eq!(said.await, Ok(Reply::Said));
}

#[tokio::test]
async fn a_marker_that_a_tool_writes_is_known_to_the_shard_when_it_is_answered() {
    let world = World::new().await;
    world.begin().await;
    let end = EndTxn {
        producer_id: PRODUCER.id,
        producer_epoch: PRODUCER.epoch,
        coordinator_epoch: 7,
        commit: true,
    };
    for topic in ["lends", "data"] {
        let log = World::log(&world.runtime, topic).await;
        let append = world.runtime.append_marker(&*log, end, 0).await;
        append.expect("let in").await.expect("durable");
        assert_eq!(log.offsets().last_stable_offset, 2);
        let fenced = EndTxn {
            coordinator_epoch: 6,
            ..end
        };
        let refused = world.runtime.append_marker(&*log, fenced, 0).await;
        let error = refused.err();
        assert_eq!(error, Some(ErrorCode::TransactionCoordinatorFenced));
    }
    let known = vec!["lent".to_owned()];
    assert_eq!(world.lent().await, (known, BTreeMap::new()));
}

#[tokio::test]
async fn a_shard_whose_lent_log_failed_loads_what_is_really_there() {
    let world = World::new().await;
    world.begin().await;
    let log = World::log(&world.runtime, "lends").await;
    let loan = world.runtime.lending.borrow(log.id()).await;
    let end = EndTxn {
        producer_id: PRODUCER.id,
        producer_epoch: PRODUCER.epoch,
        coordinator_epoch: 0,
        commit: true,
    };
    let lost = AppendError::Indeterminate("the disk failed".to_owned());
    let append = Box::pin(std::future::ready(Err(lost)));
    loan.expect("it can be lent")
        .expect("a shard has it")
        .give_back(end, append);
    loop {
        match world.lends.request(0, Request::List).await {
            // What it had applied was lost with the machine.
            Ok(Reply::Listed(known, pending, ends)) => {
                assert_eq!((known.len(), pending.len(), ends.len()), (0, 1, 0));
                break;
            }
            Err(_) => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn endings_of_two_shards_that_borrow_the_same_logs_do_not_wait_for_each_other() {
    let world = World::new().await;
    let on = async |topic| words_on(&world.runtime, World::log(&world.runtime, topic).await).await;
    let (other, _also_lends) = (on("other").await, on("data").await);
    let end = |producer_id: i64, topics: [&str; 2]| {
        let ending = Ending {
            producer: Producer {
                id: producer_id,
                epoch: 0,
            },
            commit: true,
            transaction_version: 0,
            partitions: topics.map(|topic| world.partition(topic)).to_vec(),
        };
        let record = Some("ended".to_owned());
        Request::Say(vec![Write::Joint { record, ending }])
    };
    for round in 0..20 {
        let ended = tokio::join!(
            world.ends.request(0, end(round, ["lends", "data"])),
            other.request(0, end(100 + round, ["data", "lends"])),
        );
        assert_eq!(ended, (Ok(Reply::Said), Ok(Reply::Said)));
    }
}

#[test]
fn a_marker_is_kafkas() {
    let end = EndTxn {
        producer_id: 5,
        producer_epoch: 6,
        coordinator_epoch: 7,
        commit: false,
    };
    let batch = marker_batch(end, 1_234).expect("made");
    let header = &batch.header;
    assert!(header.is_control() && header.is_transactional());
    assert_eq!((header.producer_id, header.producer_epoch), (5, 6));
    assert_eq!(header.base_sequence, -1);
    let marker = EndTxnMarker::of_batch(&batch.bytes).expect("readable");
    assert_eq!(marker.expect("a marker").coordinator_epoch, 7);
}
