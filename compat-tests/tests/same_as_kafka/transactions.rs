//! Transactions: who may write, what belongs to one, how it ends, and who sees it.
//!
//! Kafka answers EndTxn before it has written the markers, and CONCURRENT_TRANSACTIONS until it has. So before a scenario
//! goes on it waits until Kafka says that the transaction is complete.

use anyhow::{Result, ensure};
use bytes::Bytes;
use compat_tests::scenario::{Talk, string, topic_name};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest,
    DescribeTransactionsRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest,
    InitProducerIdRequest, ListOffsetsRequest, ListTransactionsRequest,
};
use protocol_shim::newer::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use storage::record::BatchBuilder;
use uuid::Uuid;

use super::offsets::fetch_request;
use super::produce::request;

const CONCURRENT_TRANSACTIONS: i16 = 51;
/// COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR.
const NOT_READY: [i16; 3] = [14, 15, 16];

/// A transactional producer.
#[derive(Clone)]
struct Producer {
    transactional_id: String,
    id: i64,
    epoch: i16,
}

impl Producer {
    /// One that has not begun anything. Nothing of this is written down.
    fn new(talk: &mut Talk<'_>, transactional_id: &str) -> Result<Self> {
        let find = FindCoordinatorRequest::default()
            .with_key(string(transactional_id))
            .with_key_type(1);
        talk.settle("the coordinator of transactions", |talk| {
            Ok(talk.quietly(3, &find)?.error_code == 0)
        })?;
        let mut found = None;
        talk.settle("a producer id", |talk| {
            let answer = talk.quietly(3, &init(transactional_id))?;
            let waits = NOT_READY.contains(&answer.error_code);
            ensure!(waits || answer.error_code == 0, "{answer:?}");
            found = Some((answer.producer_id.0, answer.producer_epoch));
            Ok(!waits)
        })?;
        let (id, epoch) = found.unwrap_or_default();
        let transactional_id = transactional_id.to_owned();
        Ok(Self {
            transactional_id,
            id,
            epoch,
        })
    }

    fn add(&self, topics: &[(&str, &[i32])]) -> AddPartitionsToTxnRequest {
        let topics = topics.iter().map(|(name, partitions)| {
            AddPartitionsToTxnTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions.to_vec())
        });
        AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(string(&self.transactional_id).into())
            .with_v3_and_below_producer_id(self.id.into())
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(topics.collect())
    }

    fn add_offsets(&self, group: &str) -> AddOffsetsToTxnRequest {
        AddOffsetsToTxnRequest::default()
            .with_transactional_id(string(&self.transactional_id).into())
            .with_producer_id(self.id.into())
            .with_producer_epoch(self.epoch)
            .with_group_id(string(group).into())
    }

    fn end(&self, commit: bool) -> EndTxnRequest {
        EndTxnRequest::default()
            .with_transactional_id(string(&self.transactional_id).into())
            .with_producer_id(self.id.into())
            .with_producer_epoch(self.epoch)
            .with_committed(commit)
    }

    fn batch(&self, sequence: i32) -> Result<Bytes> {
        let mut batch = BatchBuilder::new()
            .producer(self.id, self.epoch, sequence)
            .transactional();
        batch.append(1_700_000_000_000, Some(b"key"), Some(b"value"), &[]);
        Ok(batch.build()?)
    }

    /// Waits until the transaction has begun or ended. Nothing of this is written down.
    fn wait_until_complete(&self, talk: &mut Talk<'_>) -> Result<()> {
        let describe = DescribeTransactionsRequest::default()
            .with_transactional_ids(vec![string(&self.transactional_id).into()]);
        talk.settle("the markers", |talk| {
            let answer = talk.quietly(0, &describe)?;
            let state = &answer.transaction_states[0].transaction_state;
            Ok(!state.starts_with("Prepare"))
        })
    }

    /// Ends the transaction and takes over the epoch that the answer tells.
    fn ends(&mut self, talk: &mut Talk<'_>, what: &str, version: i16, commit: bool) -> Result<()> {
        let answer = talk.ask(what, version, &self.end(commit))?;
        if answer.error_code == 0 && version >= 5 {
            (self.id, self.epoch) = (answer.producer_id.0, answer.producer_epoch);
        }
        self.wait_until_complete(talk)
    }

    /// Puts a partition into the transaction. Nothing of this is written down.
    fn begin(&self, talk: &mut Talk<'_>, topic: &str, partition: i32) -> Result<()> {
        let add = self.add(&[(topic, &[partition])]);
        talk.settle("a partition in the transaction", |talk| {
            let answer = talk.quietly(3, &add)?;
            let error = answer.results_by_topic_v3_and_below[0].results_by_partition[0]
                .partition_error_code;
            ensure!(error == 0 || error == CONCURRENT_TRANSACTIONS, "{answer:?}");
            Ok(error == 0)
        })
    }
}

fn init(transactional_id: &str) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(Some(string(transactional_id).into()))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1)
}

/// InitProducerId of transactional ids that have no open transaction.
pub fn init_producers(talk: &mut Talk<'_>) -> Result<()> {
    Producer::new(talk, "init")?;
    for version in 0..=5 {
        let id = format!("init-{version}");
        talk.ask("new", version, &init(&id))?;
        talk.ask("known", version, &init(&id))?;
        for timeout_ms in [0, -1, 900_000, 900_001] {
            let request = init(&id).with_transaction_timeout_ms(timeout_ms);
            talk.ask(&format!("timeout {timeout_ms}"), version, &request)?;
        }
        if version < 3 {
            continue;
        }
        let Producer {
            id: known, epoch, ..
        } = Producer::new(talk, &id)?;
        for (what, producer_id, producer_epoch) in [
            ("current", known, epoch),
            ("the same again", known, epoch),
            ("an older epoch", known, epoch - 1),
            ("a later epoch", known, epoch + 5),
            ("another id", known + 1_000, epoch),
            ("no id", -1, epoch),
            ("no epoch", known, -1),
        ] {
            let request = init(&id)
                .with_producer_id(producer_id.into())
                .with_producer_epoch(producer_epoch);
            talk.ask(what, version, &request)?;
        }
        let unknown = init(&format!("init-unknown-{version}"))
            .with_producer_id(known.into())
            .with_producer_epoch(3);
        talk.ask("unknown, with an id", version, &unknown)?;
    }
    Ok(())
}

/// AddPartitionsToTxn and AddOffsetsToTxn.
pub fn add(talk: &mut Talk<'_>) -> Result<()> {
    const TOPIC: &str = "added";
    talk.create_topic(TOPIC, 4)?;
    for version in 0..=3 {
        let producer = Producer::new(talk, &format!("adds-{version}"))?;
        let of = |id: i64, epoch: i16| Producer {
            id: producer.id + id,
            epoch: producer.epoch + epoch,
            ..producer.clone()
        };
        let nobody = Producer {
            transactional_id: "adds-nobody".to_owned(),
            ..producer.clone()
        };
        let nameless = Producer {
            transactional_id: String::new(),
            ..producer.clone()
        };
        let known: &[(&str, &[i32])] = &[(TOPIC, &[0, 1])];
        for (what, request) in [
            ("unknown partition", producer.add(&[(TOPIC, &[0, 9])])),
            (
                "unknown topic",
                producer.add(&[(TOPIC, &[0]), ("nowhere", &[0])]),
            ),
            (
                "internal topic",
                producer.add(&[(TOPIC, &[0]), ("__consumer_offsets", &[0])]),
            ),
            ("another id", of(1_000, 0).add(known)),
            ("a later epoch", of(0, 1).add(known)),
            ("an older epoch", of(0, -1).add(known)),
            ("an unknown transactional id", nobody.add(known)),
            ("no transactional id", nameless.add(known)),
            ("two", producer.add(known)),
            ("the same again", producer.add(known)),
            ("one more", producer.add(&[(TOPIC, &[2])])),
            ("nothing", producer.add(&[])),
        ] {
            talk.ask(what, version, &request)?;
        }
        producer.clone().ends(talk, "after them", 3, true)?;
    }
    for version in 0..=4 {
        let producer = Producer::new(talk, &format!("adds-offsets-{version}"))?;
        let later = Producer {
            epoch: producer.epoch + 1,
            ..producer.clone()
        };
        let other = Producer {
            id: producer.id + 1_000,
            ..producer.clone()
        };
        let nobody = Producer {
            transactional_id: "adds-nobody".to_owned(),
            ..producer.clone()
        };
        for (what, request) in [
            ("a later epoch", later.add_offsets("added-group")),
            ("another id", other.add_offsets("added-group")),
            (
                "an unknown transactional id",
                nobody.add_offsets("added-group"),
            ),
            ("a group", producer.add_offsets("added-group")),
            ("the same again", producer.add_offsets("added-group")),
            ("no group", producer.add_offsets("")),
        ] {
            talk.ask(what, version, &request)?;
        }
        producer.clone().ends(talk, "after them", 3, false)?;
    }
    Ok(())
}

/// EndTxn in all states.
pub fn end(talk: &mut Talk<'_>) -> Result<()> {
    const TOPIC: &str = "ended";
    talk.create_topic(TOPIC, 2)?;
    for version in 0..=5 {
        let id = format!("ends-{version}");
        let mut producer = Producer::new(talk, &id)?;
        producer.ends(talk, "commit of nothing", version, true)?;
        producer.ends(talk, "abort of nothing", version, false)?;
        for commit in [true, false] {
            let word = if commit { "commit" } else { "abort" };
            producer = Producer::new(talk, &id)?;
            producer.begin(talk, TOPIC, 0)?;
            for (what, other) in [
                (
                    "another id",
                    Producer {
                        id: producer.id + 1_000,
                        ..producer.clone()
                    },
                ),
                (
                    "a later epoch",
                    Producer {
                        epoch: producer.epoch + 1,
                        ..producer.clone()
                    },
                ),
                (
                    "an older epoch",
                    Producer {
                        epoch: producer.epoch - 1,
                        ..producer.clone()
                    },
                ),
            ] {
                talk.ask(&format!("{word}, {what}"), version, &other.end(commit))?;
            }
            let before = producer.clone();
            producer.ends(talk, word, version, commit)?;
            talk.ask(&format!("{word} again"), version, &before.end(commit))?;
            talk.ask(
                &format!("{word}, then the opposite"),
                version,
                &before.end(!commit),
            )?;
            producer.ends(
                talk,
                &format!("{word}, then {word} of nothing"),
                version,
                commit,
            )?;
        }
    }
    let nobody = Producer {
        transactional_id: "ends-nobody".to_owned(),
        id: 5,
        epoch: 0,
    };
    for version in 0..=5 {
        talk.ask("an unknown transactional id", version, &nobody.end(true))?;
    }
    Ok(())
}

/// What readers get of transactions that are open, committed and aborted; batches that come too late.
pub fn read(talk: &mut Talk<'_>) -> Result<()> {
    for (version, end_version) in [(9, 3), (11, 3), (12, 5)] {
        let name = format!("read-transactions-{version}");
        let topic = (name.as_str(), talk.create_topic(&name, 2)?);
        let mut producer = Producer::new(talk, &format!("read-{version}"))?;
        let zombie = producer.clone();
        let produce = |producer: &Producer, partition: i32, sequence: i32| -> Result<_> {
            let batch = producer.batch(sequence)?;
            let id = Some(string(&producer.transactional_id).into());
            Ok(request(version, topic, &[(partition, batch)]).with_transactional_id(id))
        };
        if version < 12 {
            talk.ask("not in a transaction", version, &produce(&producer, 0, 0)?)?;
            producer.begin(talk, topic.0, 0)?;
        }
        talk.ask("in a transaction", version, &produce(&producer, 0, 0)?)?;
        talk.ask("the same again", version, &produce(&producer, 0, 0)?)?;
        talk.ask("out of order", version, &produce(&producer, 0, 5)?)?;
        look(talk, "open", topic)?;
        producer.ends(talk, "commit", end_version, true)?;
        look(talk, "committed", topic)?;
        let mut sequence = if end_version >= 5 { 0 } else { 1 };
        if version < 12 {
            talk.ask("after the end", version, &produce(&producer, 0, sequence)?)?;
            producer.begin(talk, topic.0, 0)?;
        }
        talk.ask("in the next", version, &produce(&producer, 0, sequence)?)?;
        sequence += 1;
        talk.ask("more of it", version, &produce(&producer, 0, sequence)?)?;
        producer.ends(talk, "abort", end_version, false)?;
        look(talk, "aborted", topic)?;
        let successor = Producer::new(talk, &producer.transactional_id)?;
        talk.ask("fenced", version, &produce(&zombie, 0, 7)?)?;
        talk.ask("fenced, elsewhere", version, &produce(&zombie, 1, 0)?)?;
        talk.ask("fenced end", end_version, &zombie.end(true))?;
        if version < 12 {
            successor.begin(talk, topic.0, 0)?;
        }
        talk.ask("of the successor", version, &produce(&successor, 0, 0)?)?;
        look(talk, "open again", topic)?;
        let names = vec![
            TopicRequest::default()
                .with_name(topic_name(topic.0))
                .with_partition_indexes(vec![0, 1]),
        ];
        talk.ask(
            "producers",
            0,
            &DescribeProducersRequest::default().with_topics(names),
        )?;
        successor
            .clone()
            .ends(talk, "commit of the successor", end_version, true)?;
        look(talk, "all", topic)?;
    }
    Ok(())
}

/// Fetch and ListOffsets with both isolations.
fn look(talk: &mut Talk<'_>, what: &str, topic: (&str, Uuid)) -> Result<()> {
    // Of several brokers another may have written the markers: who tells the end of a log has seen all of it.
    talk.wait_for_partitions(topic.0, 2)?;
    for isolation in [0, 1] {
        let word = ["uncommitted", "committed"][usize::from(isolation == 1)];
        for offset in [2, 3] {
            let partition = FetchPartition::default()
                .with_partition(0)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(1 << 20);
            let wanted = FetchTopic::default()
                .with_topic(topic_name(topic.0))
                .with_partitions(vec![partition]);
            let fetch = FetchRequest::default()
                .with_replica_id((-1).into())
                .with_max_bytes(1 << 20)
                .with_isolation_level(isolation)
                .with_session_epoch(-1)
                .with_topics(vec![wanted]);
            talk.ask(&format!("{what}, {word}, from {offset}"), 12, &fetch)?;
        }
        for timestamp in [-1, -2, 1_700_000_000_000] {
            let partition = ListOffsetsPartition::default()
                .with_partition_index(0)
                .with_timestamp(timestamp);
            let wanted = ListOffsetsTopic::default()
                .with_name(topic_name(topic.0))
                .with_partitions(vec![partition]);
            let list = ListOffsetsRequest::default()
                .with_replica_id((-1).into())
                .with_isolation_level(isolation)
                .with_topics(vec![wanted]);
            talk.ask(&format!("{what}, {word}, at {timestamp}"), 7, &list)?;
        }
    }
    Ok(())
}

/// TxnOffsetCommit, and OffsetFetch while a transaction is open.
pub fn commit_offsets(talk: &mut Talk<'_>) -> Result<()> {
    const TOPIC: &str = "transactional-offsets";
    let topic_id = talk.create_topic(TOPIC, 2)?;
    for version in 0..=6 {
        let group = format!("transactional-group-{version}");
        let mut producer = Producer::new(talk, &format!("commits-{version}"))?;
        let commit = |producer: &Producer, topic: &str, partition: i32, offset: i64| {
            let partition = TxnOffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(offset)
                .with_committed_metadata(Some(string("noted")));
            let topic = TxnOffsetCommitRequestTopic::default()
                .with_name(topic_name(topic))
                .with_topic_id(if topic == TOPIC {
                    topic_id
                } else {
                    Uuid::from_u128(99)
                })
                .with_partitions(vec![partition]);
            TxnOffsetCommitRequest::default()
                .with_transactional_id(string(&producer.transactional_id).into())
                .with_group_id(string(&group).into())
                .with_producer_id(producer.id.into())
                .with_producer_epoch(producer.epoch)
                .with_topics(vec![topic])
        };
        let fetch = |talk: &mut Talk<'_>, what: &str| -> Result<()> {
            for require_stable in [false, true] {
                let request = fetch_request(7, &group, Some(&[(TOPIC, &[0, 1])]))
                    .with_require_stable(require_stable);
                talk.ask(&format!("{what}, stable {require_stable}"), 7, &request)?;
            }
            Ok(())
        };
        if version < 5 {
            let late = commit(&producer, TOPIC, 0, 1);
            talk.ask("not in a transaction", version, &late)?;
            talk.ask("the group", version.min(3), &producer.add_offsets(&group))?;
        }
        for (what, request) in [
            ("unknown topic", commit(&producer, "nowhere", 0, 1)),
            ("unknown partition", commit(&producer, TOPIC, 9, 1)),
            (
                "no group",
                commit(&producer, TOPIC, 0, 1).with_group_id(string("").into()),
            ),
            ("an offset", commit(&producer, TOPIC, 0, 5)),
            ("another", commit(&producer, TOPIC, 1, 6)),
        ] {
            talk.ask(what, version, &request)?;
        }
        if version >= 3 {
            let of_member = commit(&producer, TOPIC, 0, 1).with_member_id(string("nobody"));
            talk.ask("unknown member", version, &of_member)?;
            let of_generation = commit(&producer, TOPIC, 0, 1)
                .with_generation_id_or_member_epoch(7)
                .with_member_id(string("nobody"));
            talk.ask("unknown generation", version, &of_generation)?;
        }
        fetch(talk, "open")?;
        let end_version = if version >= 5 { 5 } else { 3 };
        producer.ends(talk, "commit", end_version, true)?;
        fetch(talk, "committed")?;
        if version < 5 {
            talk.ask(
                "the group again",
                version.min(3),
                &producer.add_offsets(&group),
            )?;
        }
        talk.ask("to be aborted", version, &commit(&producer, TOPIC, 0, 50))?;
        fetch(talk, "open again")?;
        producer.ends(talk, "abort", end_version, false)?;
        fetch(talk, "aborted")?;
        Producer::new(talk, &producer.transactional_id)?;
        talk.ask("fenced", version, &commit(&producer, TOPIC, 0, 70))?;
    }
    Ok(())
}

/// DescribeTransactions and ListTransactions.
pub fn describe(talk: &mut Talk<'_>) -> Result<()> {
    const TOPIC: &str = "described-transactions";
    talk.create_topic(TOPIC, 3)?;
    let mut producer = Producer::new(talk, "described")?;
    let ids = ["described", "described-nobody", ""];
    let describe = DescribeTransactionsRequest::default()
        .with_transactional_ids(ids.map(|id| string(id).into()).to_vec());
    talk.ask("empty", 0, &describe)?;
    producer.begin(talk, TOPIC, 2)?;
    producer.begin(talk, TOPIC, 0)?;
    talk.ask("ongoing", 0, &describe)?;
    let id = producer.id;
    for version in 0..=2 {
        let mine = || ListTransactionsRequest::default().with_producer_id_filters(vec![id.into()]);
        talk.ask("of a producer", version, &mine())?;
        let state = |state: &str| mine().with_state_filters(vec![string(state)]);
        talk.ask("in a state", version, &state("Ongoing"))?;
        talk.ask("in another", version, &state("Empty"))?;
        talk.ask("in one that is none", version, &state("Nowhere"))?;
        if version >= 1 {
            talk.ask("for long", version, &mine().with_duration_filter(3_600_000))?;
            talk.ask("for any time", version, &mine().with_duration_filter(0))?;
        }
        if version >= 2 {
            for pattern in ["described", "desc.*", "escribe", ""] {
                let pattern = Some(string(pattern));
                let request = mine().with_transactional_id_pattern(pattern);
                talk.ask("like a pattern", version, &request)?;
            }
            let bad = mine().with_transactional_id_pattern(Some(string("(")));
            talk.ask("like no pattern", version, &bad)?;
        }
    }
    producer.ends(talk, "commit", 3, true)?;
    talk.ask("complete", 0, &describe)?;
    Ok(())
}
