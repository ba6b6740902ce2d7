//! The end of a transaction goes to all its logs or to none, and the shards whose logs are among them come upon it there.

use std::collections::BTreeMap;

use coordinators::machine::{EndTxn, Ending, Partition, Producer, Write};
use storage::record::{BatchBuilder, EndTxnMarker};

use super::runtime::{PRODUCER, Reply, Request, Words, plain, transactional, words_on};
use super::*;
use crate::coordinator::append::marker_batch;
use crate::coordinator::shard::Within;
use crate::coordinator::shards::Shards;
use crate::replay::{Entry, replay};

/// Words that tell of endings, words whose log gets markers, and a log that is nobody's.
struct World {
    runtime: Runtime,
    ends: Shards<Words>,
    marked: Shards<Words>,
    _stop: watch::Sender<bool>,
}

impl World {
    async fn new() -> Self {
        let (stop, shutdown) = watch::channel(false);
        let runtime = runtime(shutdown).await;
        let names = ["ends", "other", "marked", "data"]
            .map(str::to_owned)
            .to_vec();
        let created = runtime.metadata.auto_create(names).await;
        assert!(created.iter().all(Result::is_ok));
        let log = async |topic| words_on(&runtime, Self::log(&runtime, topic).await).await;
        Self {
            ends: log("ends").await,
            marked: log("marked").await,
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
        let said = self.marked.request(0, Request::Say(writes)).await;
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
        let record = "done".to_owned();
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

    /// What the marked words know, and what is pending there.
    async fn known(&self) -> (Vec<String>, BTreeMap<i64, Vec<String>>) {
        match self.marked.request(0, Request::List).await {
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
        world.end(commit, &["marked", "data"]).await;
        assert_eq!(world.log_of("ends").await, ["done", "after"]);
        assert_eq!(world.log_of("data").await, ["k", marker]);
        assert_eq!(world.log_of("marked").await, ["lent", marker]);
        assert_eq!(data.offsets().last_stable_offset, 2);
        let known = match commit {
            true => vec!["lent".to_owned()],
            false => Vec::new(),
        };
        assert_eq!(world.known().await, (known, BTreeMap::new()));
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
    assert_eq!(world.known().await.1.len(), 1);
}

#[tokio::test]
async fn a_marker_that_a_tool_writes_is_known_to_the_shard_afterwards() {
    let world = World::new().await;
    world.begin().await;
    let end = EndTxn {
        producer_id: PRODUCER.id,
        producer_epoch: PRODUCER.epoch,
        coordinator_epoch: 7,
        commit: true,
    };
    for topic in ["marked", "data"] {
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
    assert_eq!(world.known().await, (known, BTreeMap::new()));
}

#[tokio::test]
async fn a_shard_that_wrote_behind_a_marker_comes_to_what_its_log_says() {
    let log = TestLog::new();
    let (_stop, shutdown) = watch::channel(false);
    let runtime = runtime(shutdown).await;
    let shards = Arc::new(words_on(&runtime, log.clone()).await);
    let say = |write| {
        let shards = Arc::clone(&shards);
        tokio::spawn(async move { shards.request(0, Request::Say(vec![write])).await })
    };
    let said = say(transactional(PRODUCER, &["first"])).await;
    assert_eq!(said.expect("no panic"), Ok(Reply::Said));
    *log.holds.lock() = true;
    let late = say(plain(&["late"]));
    log.until_in_flight(1).await;
    let end = EndTxn {
        producer_id: PRODUCER.id,
        producer_epoch: PRODUCER.epoch,
        coordinator_epoch: 0,
        commit: true,
    };
    // Past the test log: it does not wait for what is in flight.
    let append = runtime.append_marker(&*log.inner, end, 0).await;
    append.expect("let in").await.expect("durable");
    let second = say(transactional(PRODUCER, &["second"]));
    log.until_in_flight(2).await;
    log.release().await;
    assert_eq!(late.await.expect("no panic"), Ok(Reply::Said));
    assert_eq!(second.await.expect("no panic"), Ok(Reply::Said));
    let live = shards.request(0, Request::List).await.expect("answered");
    let pending = BTreeMap::from([(PRODUCER.id, vec!["second".to_owned()])]);
    let known = vec!["late".to_owned(), "first".to_owned()];
    assert_eq!(live, Reply::Listed(known, pending, vec![end]));
    assert_eq!(log.loads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_write_whose_transaction_has_ended_on_its_way_is_refused_alone() {
    let verifying = memory::open();
    let inner = verifying.open_log(TestLog::new().id().clone(), Arc::default());
    let log = TestLog::over(inner.expect("open"));
    let (_stop, shutdown) = watch::channel(false);
    let runtime = runtime(shutdown).await;
    let shards = Arc::new(words_on(&runtime, log.clone()).await);
    let Producer { id, epoch } = PRODUCER;
    let guard = log.begin_verification(id, epoch, -1, false);
    let within = Within {
        producer: PRODUCER,
        guard: guard.expect("not fenced"),
    };
    let say = |word: &'static str| {
        let shards = Arc::clone(&shards);
        let request = Request::Say(vec![transactional(PRODUCER, &[word])]);
        tokio::spawn(async move { shards.request_within(0, request, within).await })
    };
    assert_eq!(say("first").await.expect("no panic"), Ok(Reply::Said));
    *log.holds.lock() = true;
    let late = say("late");
    log.until_in_flight(1).await;
    let end = EndTxn {
        producer_id: id,
        producer_epoch: epoch,
        coordinator_epoch: 0,
        commit: true,
    };
    let append = runtime.append_marker(&*log.inner, end, 0).await;
    append.expect("let in").await.expect("durable");
    let plain = {
        let shards = Arc::clone(&shards);
        let request = Request::Say(vec![plain(&["plain"])]);
        tokio::spawn(async move { shards.request(0, request).await })
    };
    log.until_in_flight(2).await;
    log.release().await;
    let refused = late.await.expect("no panic");
    assert_eq!(refused, Err(ErrorCode::InvalidTxnState));
    assert_eq!(plain.await.expect("no panic"), Ok(Reply::Said));
    let known = vec!["plain".to_owned(), "first".to_owned()];
    let listed = shards.request(0, Request::List).await;
    assert_eq!(listed, Ok(Reply::Listed(known, BTreeMap::new(), vec![end])));
    assert_eq!(
        log.loads.load(Ordering::Relaxed),
        1,
        "nothing was loaded again"
    );
}

#[tokio::test]
async fn endings_of_two_shards_in_the_same_logs_do_not_wait_for_each_other() {
    let world = World::new().await;
    let on = async |topic| words_on(&world.runtime, World::log(&world.runtime, topic).await).await;
    let (other, _also_marked) = (on("other").await, on("data").await);
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
        let record = "ended".to_owned();
        Request::Say(vec![Write::Joint { record, ending }])
    };
    for round in 0..20 {
        let ended = tokio::join!(
            world.ends.request(0, end(round, ["marked", "data"])),
            other.request(0, end(100 + round, ["data", "marked"])),
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
