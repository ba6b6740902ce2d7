//! A shard with its owner played by the test: the log, the replies, the clock, producer ids.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::super::*;
pub(super) use crate::machine::{Ending, Machine, Moment, Partition, Producer, Token, Write};
pub(super) use crate::txn::transaction::Transaction;
pub(super) use protocol_shim::ErrorCode;

/// What a crash leaves as a whole or not at all.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) record: Option<TransactionRecord>,
    pub(super) ending: Option<Ending>,
}

/// The units of a step, in their order.
pub(super) fn units_of(writes: Vec<Write<TransactionRecord>>) -> Vec<Unit> {
    let units = writes.into_iter().flat_map(|write| match write {
        Write::Plain(records) => {
            let units = records.into_iter().map(|record| Unit {
                record: Some(record),
                ending: None,
            });
            units.collect()
        }
        Write::Joint { record, ending } => vec![Unit {
            record: Some(record),
            ending: Some(ending),
        }],
        Write::Transactional { .. } => panic!("no transaction writes to this log"),
    });
    units.collect()
}

pub(super) fn moment(steady_ms: i64) -> Moment<()> {
    Moment {
        steady_ms,
        wall_ahead_ms: WALL_AHEAD_MS,
        max_batch_bytes: 1 << 20,
        catalog: Arc::new(()),
    }
}

/// So that a test fails that takes one clock for the other.
pub(super) const WALL_AHEAD_MS: i64 = 1_700_000_000_000;

pub(super) const TIMEOUT_MS: i32 = 60_000;

pub(super) fn partition(topic: &str, index: i32) -> Partition {
    let id = topic
        .bytes()
        .fold(1, |id: u128, byte| id << 8 | u128::from(byte));
    Partition {
        topic: topic.into(),
        topic_id: Uuid::from_u128(id),
        index,
    }
}

pub(super) fn producer(id: i64, epoch: i16) -> Producer {
    Producer { id, epoch }
}

/// A shard as the bytes of these records make it, before it is loaded.
pub(super) fn replayed<'a>(
    config: &TransactionConfig,
    records: impl IntoIterator<Item = &'a TransactionRecord>,
) -> TransactionShard {
    let mut shard = TransactionShard::new(config.clone());
    for record in records {
        let (key, value) = TransactionShard::encode(record).expect("has bytes");
        shard
            .replay(None, &key, value.as_deref())
            .expect("is a record");
    }
    shard
}

/// Everything that a log knows of: what is in memory, without the ids of topics.
pub(super) fn durable(shard: &TransactionShard) -> BTreeMap<TransactionalId, Transaction> {
    let known = shard.transactions.iter().map(|(id, transaction)| {
        let by_topic = transaction.partitions.by_topic().into_iter();
        let names = by_topic.flat_map(|(topic, indexes)| {
            let topic = topic.clone();
            indexes.into_iter().map(move |index| Partition {
                topic: topic.clone(),
                topic_id: Uuid::nil(),
                index,
            })
        });
        let transaction = Transaction {
            partitions: Arc::new(names.collect()),
            ..transaction.clone()
        };
        (id.clone(), transaction)
    });
    known.collect()
}

pub(super) struct TestContext {
    pub(super) config: TransactionConfig,
    pub(super) shard: TransactionShard,
    pub(super) now_ms: i64,
    pub(super) max_batch_bytes: usize,
    pub(super) log: Vec<Unit>,
    pub(super) notes: Vec<Note>,
    /// Whether questions stay unanswered, in `asked`.
    pub(super) hold_ids: bool,
    pub(super) asked: Vec<Question>,
    pub(super) next_id: i64,
    pub(super) replies: BTreeMap<Token, TransactionReply>,
    pub(super) next_token: u64,
}

impl TestContext {
    pub(super) fn new() -> Self {
        let config = TransactionConfig::default();
        Self {
            shard: TransactionShard::new(config.clone()),
            config,
            now_ms: 1_000_000,
            max_batch_bytes: 1 << 20,
            log: Vec::new(),
            notes: Vec::new(),
            hold_ids: false,
            asked: Vec::new(),
            next_id: 1000,
            replies: BTreeMap::new(),
            next_token: 0,
        }
    }

    pub(super) fn now(&self) -> Moment<()> {
        Moment {
            max_batch_bytes: self.max_batch_bytes,
            ..moment(self.now_ms)
        }
    }

    pub(super) fn wall_ms(&self) -> i64 {
        self.now_ms + WALL_AHEAD_MS
    }

    /// The owner's part of a step, and the rule that holds after every one: a replay of the log gives the live state.
    pub(super) fn take(&mut self, effects: Effects) {
        self.log.extend(units_of(effects.writes));
        self.replies.extend(effects.replies);
        self.notes.extend(effects.notes);
        self.asked.extend(effects.questions);
        let records = self.log.iter().filter_map(|unit| unit.record.as_ref());
        let replayed = replayed(&self.config, records);
        assert_eq!(durable(&replayed), durable(&self.shard));
        assert_eq!(replayed.measures.ids, self.shard.measures.ids);
        self.check_timers();
        while !self.hold_ids && !self.asked.is_empty() {
            self.answer();
        }
    }

    /// Every id has a timer, unless it waits for a producer id or for its markers.
    fn check_timers(&self) {
        let timers = self.shard.timers.keys();
        let waits = self.hold_ids || !self.asked.is_empty();
        for (id, transaction) in &self.shard.transactions {
            let is_open = transaction.state == TransactionState::Ongoing;
            assert!(timers.contains_key(id) || is_open && waits, "{id}");
        }
        let is_known = |id| self.shard.transactions.contains_key(id);
        assert!(timers.keys().all(is_known), "a stale timer");
    }

    /// Answers one question.
    pub(super) fn answer(&mut self) {
        let Question::ProducerIds { count } = self.asked.remove(0);
        let first = self.next_id;
        self.next_id += count as i64;
        self.answer_with((first..self.next_id).collect());
    }

    pub(super) fn answer_with(&mut self, ids: Vec<i64>) {
        let effects = self.shard.outcome(&self.now(), Outcome::ProducerIds(ids));
        self.take(effects);
    }

    pub(super) fn send(&mut self, request: TransactionRequest) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        let effects = self.shard.handle(&self.now(), token, request);
        self.take(effects);
        token
    }

    pub(super) fn reply(&mut self, token: Token) -> TransactionReply {
        self.replies.remove(&token).expect("a reply")
    }

    pub(super) fn call(&mut self, request: TransactionRequest) -> TransactionReply {
        let token = self.send(request);
        self.reply(token)
    }

    /// Time passes, and what is due is done.
    pub(super) fn advance(&mut self, ms: i64) {
        let until_ms = self.now_ms + ms;
        while let Some(due_ms) = self
            .shard
            .next_deadline()
            .filter(|due_ms| *due_ms <= until_ms)
        {
            self.now_ms = self.now_ms.max(due_ms);
            let effects = self.shard.on_deadline(&self.now());
            self.take(effects);
        }
        self.now_ms = until_ms;
    }

    /// A crash that leaves the first `units` of the log, and a load.
    pub(super) fn crash(&mut self, units: usize) {
        self.log.truncate(units);
        self.asked.clear();
        let records = self.log.iter().filter_map(|unit| unit.record.as_ref());
        self.shard = replayed(&self.config, records);
        let effects = self.shard.loaded(&self.now());
        self.take(effects);
    }

    pub(super) fn restart(&mut self) {
        self.crash(self.log.len());
    }

    pub(super) fn init(&mut self, id: &str) -> Result<Producer, ErrorCode> {
        self.init_as(id, None)
    }

    pub(super) fn init_as(
        &mut self,
        id: &str,
        expected: Option<Producer>,
    ) -> Result<Producer, ErrorCode> {
        self.init_with(id, expected, TIMEOUT_MS)
    }

    pub(super) fn init_with(
        &mut self,
        id: &str,
        expected: Option<Producer>,
        timeout_ms: i32,
    ) -> Result<Producer, ErrorCode> {
        match self.call(init_request(id, expected, timeout_ms)) {
            TransactionReply::InitProducer(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn add(
        &mut self,
        id: &str,
        producer: Producer,
        partitions: &[Partition],
        adding: Adding,
    ) -> Vec<Result<(), ErrorCode>> {
        let request = AddPartitions {
            transactional_id: id.into(),
            producer,
            partitions: partitions.to_vec(),
            adding,
        };
        match self.call(TransactionRequest::AddPartitions(request)) {
            TransactionReply::AddPartitions(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    /// Begins a transaction with partition 0 of `topic`.
    pub(super) fn begin(&mut self, id: &str, producer: Producer, adding: Adding) {
        let added = self.add(id, producer, &[partition("topic", 0)], adding);
        assert_eq!(added, [Ok(())]);
    }

    pub(super) fn end(
        &mut self,
        id: &str,
        producer: Producer,
        commit: bool,
        version: i16,
    ) -> Result<Producer, ErrorCode> {
        let request = EndTransaction {
            transactional_id: id.into(),
            producer,
            commit,
            version,
        };
        match self.call(TransactionRequest::End(request)) {
            TransactionReply::End(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn describe(&mut self, id: &str) -> Result<Description, ErrorCode> {
        let request = DescribeTransactions {
            transactional_ids: vec![id.into()],
            allowance: crate::allowance::Allowance::unlimited(),
        };
        match self.call(TransactionRequest::Describe(request)) {
            TransactionReply::Describe(mut described) => described.remove(0).outcome,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn state(&mut self, id: &str) -> TransactionState {
        self.describe(id).expect("known").state
    }

    pub(super) fn measures(&mut self) -> Measures {
        match self.call(TransactionRequest::Measure) {
            TransactionReply::Measure(measures) => *measures,
            other => panic!("{other:?}"),
        }
    }

    /// The last state of an id in the log.
    pub(super) fn last(&self, id: &str) -> &Transaction {
        let records = self
            .log
            .iter()
            .rev()
            .filter_map(|unit| unit.record.as_ref());
        let mut of_id = records.filter(|record| &*record.transactional_id == id);
        of_id
            .next()
            .and_then(|record| record.value.as_ref())
            .expect("known")
    }

    /// What the last unit of the log ended.
    pub(super) fn last_ending(&self) -> &Ending {
        let last = self.log.last().expect("not empty");
        last.ending.as_ref().expect("an ending")
    }

    /// Writes a state into the log, as somebody else has left it, and loads it.
    pub(super) fn adopt(&mut self, id: &str, transaction: Transaction) {
        self.log.push(Unit {
            record: Some(TransactionRecord {
                transactional_id: id.into(),
                value: Some(transaction),
            }),
            ending: None,
        });
        self.restart();
    }

    /// A producer at an epoch, with nothing open.
    pub(super) fn adopt_at(&mut self, id: &str, producer: Producer) {
        let mut transaction = Transaction::unused(producer.id, self.wall_ms());
        transaction.producer = producer;
        transaction.previous_producer_id = producer.id;
        transaction.timeout_ms = TIMEOUT_MS;
        self.adopt(id, transaction);
    }
}

pub(super) fn init_request(
    id: &str,
    expected: Option<Producer>,
    timeout_ms: i32,
) -> TransactionRequest {
    TransactionRequest::InitProducer(InitProducer {
        transactional_id: id.into(),
        timeout_ms,
        expected,
    })
}
