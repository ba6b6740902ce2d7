//! Transactional ids, state by state: whoever asks, as it stands to the current producer, and in every version.

use anyhow::Result;
use compat_tests::scenario::{Talk, string, topic_name};
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, CreateTopicsRequest, DescribeTransactionsRequest, EndTxnRequest,
    FindCoordinatorRequest, InitProducerIdRequest,
};
use protocol_shim::ErrorCode;

pub const TOPIC: &str = "of-transactions";
const TIMEOUT_MS: i32 = 60_000;
/// The version in which a scenario does what it is not about.
const INIT: i16 = 5;
pub const ADD: i16 = 3;
pub const DESCRIBE: i16 = 0;

/// A producer as its client knows it.
#[derive(Clone, Copy, Debug)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

impl Producer {
    pub fn with_epoch(self, epoch: i16) -> Self {
        Self { epoch, ..self }
    }
}

pub fn init(id: &str, expected: Option<Producer>) -> InitProducerIdRequest {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(string(id).into()))
        .with_transaction_timeout_ms(TIMEOUT_MS);
    match expected {
        None => request,
        Some(producer) => request
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch),
    }
}

fn topics(partitions: &[(&str, i32)]) -> Vec<AddPartitionsToTxnTopic> {
    let topics = partitions.iter().map(|(topic, index)| {
        AddPartitionsToTxnTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![*index])
    });
    topics.collect()
}

pub fn add(id: &str, producer: Producer, partitions: &[(&str, i32)]) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(string(id).into())
        .with_v3_and_below_producer_id(producer.id.into())
        .with_v3_and_below_producer_epoch(producer.epoch)
        .with_v3_and_below_topics(topics(partitions))
}

pub fn end(id: &str, producer: Producer, commit: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(string(id).into())
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_committed(commit)
}

pub fn describe(id: &str) -> DescribeTransactionsRequest {
    DescribeTransactionsRequest::default().with_transactional_ids(vec![string(id).into()])
}

/// A broker whose coordinator answers, and a topic of two partitions.
pub fn begin(talk: &mut Talk<'_>) -> Result<()> {
    let topic = CreatableTopic::default()
        .with_name(topic_name(TOPIC))
        .with_num_partitions(2)
        .with_replication_factor(1);
    // An earlier scenario may have made it.
    talk.quietly(7, &CreateTopicsRequest::default().with_topics(vec![topic]))?;
    talk.wait_for_partitions(TOPIC, 2)?;
    talk.settle("the coordinators of transactions", |talk| {
        let find = FindCoordinatorRequest::default()
            .with_key(string("any"))
            .with_key_type(1);
        let found = talk.quietly(3, &find)?.error_code == 0;
        let group = FindCoordinatorRequest::default().with_key(string("group"));
        let found = found && talk.quietly(3, &group)?.error_code == 0;
        // Every transactional id has a partition of its own to wait for. One that is there has them all.
        let initialized = talk.quietly(INIT, &init("any", None))?.error_code == 0;
        Ok(found && initialized)
    })
}

/// Waits until no markers of an id are on their way. Kafka answers before they are written.
pub fn settled(talk: &mut Talk<'_>, id: &str) -> Result<()> {
    talk.settle("the markers", |talk| {
        let described = talk.quietly(DESCRIBE, &describe(id))?;
        let state = described.transaction_states[0]
            .transaction_state
            .to_string();
        Ok(!state.starts_with("Prepare"))
    })
}

/// A producer, got without being written down. Kafka's has to ask again while it aborts what is open.
pub fn producer(talk: &mut Talk<'_>, id: &str, expected: Option<Producer>) -> Result<Producer> {
    let mut got = None;
    let busy = [
        ErrorCode::ConcurrentTransactions as i16,
        ErrorCode::NotCoordinator as i16,
        ErrorCode::CoordinatorNotAvailable as i16,
        ErrorCode::CoordinatorLoadInProgress as i16,
    ];
    talk.settle("a producer", |talk| {
        let answer = talk.quietly(INIT, &init(id, expected))?;
        got = Some(Producer {
            id: answer.producer_id.0,
            epoch: answer.producer_epoch,
        });
        Ok(!busy.contains(&answer.error_code))
    })?;
    Ok(got.expect("answered"))
}

/// How a transactional id gets into a state.
const STATES: [&str; 5] = [
    "Empty",
    "Ongoing",
    "CompleteCommit",
    "CompleteAbort",
    "Bumped",
];

/// A transactional id in a state, under version 0 of EndTxn, and its producer as it is now. `Bumped` has committed under
/// version 5.
fn in_state(talk: &mut Talk<'_>, id: &str, state: &str) -> Result<Producer> {
    let first = producer(talk, id, None)?;
    // So that there are epochs below.
    let second = producer(talk, id, Some(first))?;
    let current = producer(talk, id, Some(second))?;
    if state == "Empty" {
        return Ok(current);
    }
    talk.quietly(ADD, &add(id, current, &[(TOPIC, 0)]))?;
    let ended = match state {
        "CompleteCommit" => talk.quietly(0, &end(id, current, true))?,
        "CompleteAbort" => talk.quietly(0, &end(id, current, false))?,
        "Bumped" => talk.quietly(5, &end(id, current, true))?,
        _ => return Ok(current),
    };
    settled(talk, id)?;
    match state {
        "Bumped" => Ok(current.with_epoch(ended.producer_epoch)),
        _ => Ok(current),
    }
}

/// Who may ask, as they stand to the current producer.
fn askers(current: Producer) -> [(&'static str, Producer); 5] {
    [
        ("current", current),
        ("the epoch before", current.with_epoch(current.epoch - 1)),
        ("an older one", current.with_epoch(current.epoch - 2)),
        ("a later one", current.with_epoch(current.epoch + 1)),
        (
            "another id",
            Producer {
                id: current.id + 1_000_000,
                ..current
            },
        ),
    ]
}

/// Both tables of EndTxn: every state, every producer, commit and abort, in every version.
pub fn ends(talk: &mut Talk<'_>) -> Result<()> {
    begin(talk)?;
    for version in 0..=5 {
        for state in STATES {
            for commit in [true, false] {
                let id = format!("end-{version}-{state}-{commit}");
                let current = in_state(talk, &id, state)?;
                // Whoever changes something comes last.
                for (who, asking) in askers(current).into_iter().rev() {
                    let what = format!("{state} {commit} {who}");
                    talk.ask(&what, version, &end(&id, asking, commit))?;
                    settled(talk, &id)?;
                }
                talk.ask(&format!("{state} {commit}"), DESCRIBE, &describe(&id))?;
                for (who, asking) in askers(current).into_iter().rev() {
                    let what = format!("{state} {commit} again {who}");
                    talk.ask(&what, version, &end(&id, asking, commit))?;
                    settled(talk, &id)?;
                }
            }
        }
        let nobody = Producer { id: 7, epoch: 0 };
        talk.ask("unknown", version, &end("end-unknown", nobody, true))?;
        talk.ask("empty", version, &end("", nobody, true))?;
    }
    Ok(())
}

/// InitProducerId: every state, every producer.
pub fn inits(talk: &mut Talk<'_>) -> Result<()> {
    begin(talk)?;
    for version in 0..=5 {
        let id = format!("init-{version}");
        producer(talk, &id, None)?;
        talk.ask("the next", version, &init(&id, None))?;
        for timeout_ms in [i32::MIN, -1, 0, 900_001, i32::MAX] {
            let request = init(&id, None).with_transaction_timeout_ms(timeout_ms);
            talk.ask(&format!("timeout {timeout_ms}"), version, &request)?;
        }
        let longest = init(&id, None).with_transaction_timeout_ms(900_000);
        talk.ask("the longest timeout", version, &longest)?;
        talk.ask("the longest timeout", DESCRIBE, &describe(&id))?;
    }
    for version in 3..=5 {
        for state in STATES.into_iter().filter(|state| *state != "Ongoing") {
            let id = format!("init-{version}-{state}");
            let current = in_state(talk, &id, state)?;
            for (who, asking) in askers(current).into_iter().rev() {
                let what = format!("{state} {who}");
                talk.ask(&what, version, &init(&id, Some(asking)))?;
            }
            talk.ask(
                &format!("{state} again"),
                version,
                &init(&id, Some(current)),
            )?;
            talk.ask(state, DESCRIBE, &describe(&id))?;
        }
        let nobody = Producer { id: 7, epoch: 3 };
        let id = format!("init-{version}-unknown");
        producer(talk, &format!("{id}-neighbour"), None)?;
        talk.ask("unknown", version, &init(&id, Some(nobody)))?;
        talk.ask(
            "half an id",
            version,
            &init(&id, Some(nobody)).with_producer_id((-1).into()),
        )?;
        talk.ask(
            "half an epoch",
            version,
            &init(&id, Some(nobody)).with_producer_epoch(-1),
        )?;
    }
    // What is open is aborted. Kafka has to be asked again.
    for who in [None, Some("itself")] {
        let id = format!("init-open-{}", who.unwrap_or("somebody"));
        let current = in_state(talk, &id, "Ongoing")?;
        let next = producer(talk, &id, who.map(|_| current))?;
        let what = format!("{who:?}");
        talk.ask(&what, DESCRIBE, &describe(&id))?;
        talk.ask(&what, 5, &end(&id, current, true))?;
        talk.ask(&what, 5, &init(&id, Some(next)))?;
        talk.ask(&what, 5, &init(&id, Some(next)))?;
        talk.ask(&what, 5, &init(&id, Some(current)))?;
    }
    Ok(())
}

/// AddPartitionsToTxn as brokers ask it, to add and to verify: whose, and which.
pub fn adds(talk: &mut Talk<'_>) -> Result<()> {
    begin(talk)?;
    let lists: [(&str, &[(&str, i32)]); 7] = [
        ("one", &[(TOPIC, 0)]),
        ("both", &[(TOPIC, 0), (TOPIC, 1)]),
        ("none", &[]),
        ("one that is not there", &[(TOPIC, 0), (TOPIC, 7)]),
        ("negative", &[(TOPIC, -1)]),
        ("an unknown topic", &[("of-no-transactions", 0), (TOPIC, 1)]),
        (
            "an internal topic",
            &[("__consumer_offsets", 0), (TOPIC, 1)],
        ),
    ];
    for version in 4..=5 {
        for verify_only in [true, false] {
            for (what, partitions) in lists {
                let id = format!("add-{version}-{verify_only}-{what}");
                let current = in_state(talk, &id, "Empty")?;
                talk.quietly(ADD, &add(&id, current, &[(TOPIC, 1)]))?;
                for (who, asking) in askers(current).into_iter().rev() {
                    let transaction = AddPartitionsToTxnTransaction::default()
                        .with_transactional_id(string(&id).into())
                        .with_producer_id(asking.id.into())
                        .with_producer_epoch(asking.epoch)
                        .with_verify_only(verify_only)
                        .with_topics(topics(partitions));
                    let request =
                        AddPartitionsToTxnRequest::default().with_transactions(vec![transaction]);
                    let what = format!("{what}, {who}, {verify_only}");
                    talk.ask(&what, version, &request)?;
                }
                talk.ask(&format!("{what} {verify_only}"), DESCRIBE, &describe(&id))?;
            }
        }
    }
    Ok(())
}

/// A transaction whose time is up.
pub fn timeout(talk: &mut Talk<'_>) -> Result<()> {
    begin(talk)?;
    let id = "times-out";
    let short = init(id, None).with_transaction_timeout_ms(200);
    talk.quietly(INIT, &short)?;
    let current = talk.quietly(INIT, &short)?;
    let current = Producer {
        id: current.producer_id.0,
        epoch: current.producer_epoch,
    };
    talk.quietly(ADD, &add(id, current, &[(TOPIC, 0)]))?;
    talk.ask("open", DESCRIBE, &describe(id))?;
    talk.settle("the timeout", |talk| {
        let described = talk.quietly(DESCRIBE, &describe(id))?;
        Ok(described.transaction_states[0].transaction_state.as_str() == "CompleteAbort")
    })?;
    talk.ask("timed out", DESCRIBE, &describe(id))?;
    for version in [0, 4, 5] {
        talk.ask("timed out", version, &end(id, current, true))?;
        talk.ask("timed out", version, &end(id, current, false))?;
    }
    talk.ask("timed out", ADD, &add(id, current, &[(TOPIC, 0)]))?;
    talk.ask("timed out", INIT, &init(id, Some(current)))?;
    Ok(())
}
