//! Random schedules: several producers of each transactional id, lost answers, crashes, time that passes.
//!
//! The logs of partitions are played by the test. They have what the coordinator relies on: a marker ends a transaction and
//! fences older epochs, and what is written comes back after a crash up to some point, in the order of the writes.
//!
//! `TXN_SEED=n` repeats one schedule, `TXN_SCHEDULES=n` runs so many.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::context::*;
use crate::seed::number_from_env;
use crate::txn::*;

const IDS: [&str; 2] = ["a", "b"];
const TOPICS: i32 = 4;
const EXPIRATION_MS: i32 = 300_000;

/// What one device write makes durable.
#[derive(Debug, Clone)]
enum Written {
    Unit(Unit),
    /// A value in a partition, within a transaction.
    Value(Partition, Producer, u64),
}

/// What all partitions hold of one producer id.
#[derive(Debug, Clone, Default)]
struct OfProducer {
    epoch: i16,
    open: BTreeMap<Partition, Vec<u64>>,
}

/// The logs of all partitions.
#[derive(Debug, Default)]
struct Logs {
    producers: BTreeMap<i64, OfProducer>,
    /// Values whose transaction has ended, and whether it was committed.
    ended: BTreeMap<u64, bool>,
}

impl Logs {
    fn apply(&mut self, written: &Written) {
        match written {
            Written::Value(partition, producer, value) => {
                let known = self.producers.entry(producer.id).or_default();
                assert!(producer.epoch >= known.epoch, "a log takes no older epoch");
                known.epoch = producer.epoch;
                known
                    .open
                    .entry(partition.clone())
                    .or_default()
                    .push(*value);
            }
            Written::Unit(unit) => {
                let Some(ending) = &unit.ending else { return };
                let known = self.producers.entry(ending.producer.id).or_default();
                assert!(
                    ending.producer.epoch >= known.epoch,
                    "a marker is never too old"
                );
                known.epoch = ending.producer.epoch;
                for partition in &ending.partitions {
                    let by_name = |open: &Partition| {
                        open.topic == partition.topic && open.index == partition.index
                    };
                    let open: Vec<_> = known
                        .open
                        .keys()
                        .filter(|open| by_name(open))
                        .cloned()
                        .collect();
                    for partition in open {
                        for value in known.open.remove(&partition).unwrap_or_default() {
                            let before = self.ended.insert(value, ending.commit);
                            assert_eq!(before, None, "ended twice");
                        }
                    }
                }
            }
        }
    }

    fn epoch(&self, producer_id: i64) -> i16 {
        self.producers
            .get(&producer_id)
            .map_or(0, |known| known.epoch)
    }
}

/// A request under way.
#[derive(Debug, Clone)]
enum Asked {
    Init(Option<Producer>),
    Add(Partition),
    End(Producer, bool),
}

#[derive(Debug)]
struct Client {
    id: &'static str,
    version: i16,
    timeout_ms: i32,
    producer: Option<Producer>,
    /// Partitions that it may write to.
    partitions: BTreeSet<Partition>,
    /// Values of its transaction that were acknowledged.
    values: Vec<u64>,
    asked: Option<(Token, Asked)>,
    /// What it asked before its answer was lost.
    lost: Option<Asked>,
}

/// What waits until everything before it is durable.
#[derive(Debug)]
enum Held {
    Reply(Token, TransactionReply),
    Value(usize, Producer, u64),
}

struct Simulation {
    random: StdRng,
    config: TransactionConfig,
    shard: TransactionShard,
    now_ms: i64,
    wal: Vec<Written>,
    durable: usize,
    held: VecDeque<(usize, Held)>,
    logs: Logs,
    clients: Vec<Client>,
    questions: usize,
    next_id: i64,
    next_token: u64,
    next_value: u64,
    /// Answers to InitProducerId that named nobody: each pair of id and epoch once.
    given: BTreeSet<(i64, i16)>,
    /// Answers to EndTxn under KIP-890.
    ended: BTreeMap<(i64, i16), (bool, Producer)>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let config = TransactionConfig {
            id_expiration_ms: EXPIRATION_MS,
            ..TransactionConfig::default()
        };
        let clients = (0..random.random_range(1..6)).map(|_| Client {
            id: IDS[random.random_range(0..2)],
            version: [0, 2][random.random_range(0..2)],
            timeout_ms: random.random_range(1_000..60_000),
            producer: None,
            partitions: BTreeSet::new(),
            values: Vec::new(),
            asked: None,
            lost: None,
        });
        let clients = clients.collect();
        let mut simulation = Self {
            random,
            shard: TransactionShard::new(config.clone()),
            config,
            now_ms: 1_000_000,
            wal: Vec::new(),
            durable: 0,
            held: VecDeque::new(),
            logs: Logs::default(),
            clients,
            questions: 0,
            next_id: 1000,
            next_token: 0,
            next_value: 0,
            given: BTreeSet::new(),
            ended: BTreeMap::new(),
        };
        if simulation.random.random_bool(0.5) {
            simulation.begin_near_the_last_epoch();
        }
        simulation
    }

    /// Otherwise no schedule would come to it.
    fn begin_near_the_last_epoch(&mut self) {
        let epoch = self.random.random_range(32_760..=32_766);
        let mut transaction = Transaction::unused(1, self.now_ms + WALL_AHEAD_MS);
        transaction.producer.epoch = epoch;
        transaction.timeout_ms = TIMEOUT_MS;
        let record = TransactionRecord {
            transactional_id: IDS[0].into(),
            value: Some(transaction),
        };
        let unit = Unit {
            record: Some(record),
            ending: None,
        };
        self.wal.push(Written::Unit(unit));
        self.durable = self.wal.len();
        self.load();
    }

    fn run(&mut self) {
        for _ in 0..self.random.random_range(20..300) {
            self.step();
            self.check();
        }
        self.settle();
    }

    fn step(&mut self) {
        let index = self.random.random_range(0..self.clients.len());
        match self.random.random_range(0..100) {
            0..70 => self.play(index),
            70..80 => self.flush(),
            80..85 => self.answer(),
            85..93 => {
                let by_ms = [1, 100, 900, 20_000, 70_000][self.random.random_range(0..5)];
                self.advance(by_ms);
            }
            93..94 => self.advance(i64::from(EXPIRATION_MS)),
            94..97 => self.crash(),
            // A client forgets what it knows, as after a restart of its own.
            _ => {
                let client = &mut self.clients[index];
                (client.producer, client.asked, client.lost) = (None, None, None);
                client.partitions.clear();
                client.values.clear();
            }
        }
    }

    /// One client does what it may do next.
    fn play(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.asked.is_some() {
            return;
        }
        if let Some(lost) = client.lost.take() {
            return self.ask(index, lost);
        }
        let Some(producer) = client.producer else {
            return self.ask(index, Asked::Init(None));
        };
        match self.random.random_range(0..10) {
            0 => self.ask(index, Asked::Init(Some(producer))),
            1..4 if self.clients[index].version == 0 => {
                let partition = self.partition();
                self.ask(index, Asked::Add(partition));
            }
            1..7 => self.produce(index, producer),
            _ => {
                let commit = self.random.random_bool(0.6);
                self.ask(index, Asked::End(producer, commit));
            }
        }
    }

    fn partition(&mut self) -> Partition {
        partition("topic", self.random.random_range(0..TOPICS))
    }

    fn ask(&mut self, index: usize, asked: Asked) {
        let client = &mut self.clients[index];
        let transactional_id: TransactionalId = client.id.into();
        let request = match &asked {
            Asked::Init(expected) => init_request(client.id, *expected, client.timeout_ms),
            Asked::Add(partition) => TransactionRequest::AddPartitions(AddPartitions {
                transactional_id,
                producer: client.producer.expect("initialized"),
                partitions: vec![partition.clone()],
                adding: Adding::AddAhead,
            }),
            Asked::End(producer, commit) => TransactionRequest::End(EndTransaction {
                transactional_id,
                producer: *producer,
                commit: *commit,
                version: client.version,
            }),
        };
        let token = Token(self.next_token);
        client.asked = Some((token, asked));
        self.request(request);
    }

    fn request(&mut self, request: TransactionRequest) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        let effects = self.shard.handle(&moment(self.now_ms), token, request);
        let is_refused = effects.replies.iter().any(|(_, reply)| match reply {
            TransactionReply::InitProducer(outcome) | TransactionReply::End(outcome) => {
                outcome.is_err()
            }
            TransactionReply::AddPartitions(outcomes) => outcomes.iter().any(Result::is_err),
            _ => false,
        });
        assert!(
            !is_refused || effects.writes.is_empty(),
            "a refusal changes nothing"
        );
        self.take(effects);
        token
    }

    /// Produce: the coordinator is asked, then the log takes the value if no newer epoch has written.
    fn produce(&mut self, index: usize, producer: Producer) {
        let client = &self.clients[index];
        let (id, is_new) = (client.id, client.version == 2);
        let ahead = client.partitions.iter().next().cloned();
        let partition = match (is_new, ahead) {
            (true, _) => self.partition(),
            (false, Some(partition)) => partition,
            (false, None) => return,
        };
        let token = self.request(TransactionRequest::AddPartitions(AddPartitions {
            transactional_id: id.into(),
            producer,
            partitions: vec![partition.clone()],
            adding: if is_new { Adding::Add } else { Adding::Verify },
        }));
        // The log is written behind it, so there is no need to wait until this is durable.
        let place = self
            .held
            .iter()
            .position(|(_, held)| matches!(held, Held::Reply(of, _) if *of == token));
        let (_, answer) = self
            .held
            .remove(place.expect("answered at once"))
            .expect("there");
        let Held::Reply(_, TransactionReply::AddPartitions(outcomes)) = answer else {
            panic!("{answer:?}");
        };
        if outcomes[0].is_err() || producer.epoch < self.logs.epoch(producer.id) {
            return self.clients[index].give_up();
        }
        let value = self.next_value;
        self.next_value += 1;
        self.write(Written::Value(partition, producer, value));
        let held = Held::Value(index, producer, value);
        self.held.push_back((self.wal.len(), held));
    }

    fn write(&mut self, written: Written) {
        if let Written::Unit(Unit {
            record: Some(record),
            ..
        }) = &written
        {
            self.check_record(record);
        }
        self.logs.apply(&written);
        self.wal.push(written);
    }

    /// Epochs only grow, an id is never given back, and what is open does not expire.
    fn check_record(&self, record: &TransactionRecord) {
        let states = self.wal.iter().filter_map(|written| match written {
            Written::Unit(Unit {
                record: Some(before),
                ..
            }) => Some(before),
            _ => None,
        });
        let of_id = states.filter(|before| before.transactional_id == record.transactional_id);
        let before: Vec<&TransactionRecord> = of_id.collect();
        let last = before.last().and_then(|record| record.value.as_ref());
        match (&record.value, last) {
            (Some(now), Some(last)) if now.producer.id == last.producer.id => {
                assert!(now.producer.epoch >= last.producer.epoch);
                let is_bump = now.producer.epoch > last.producer.epoch;
                let fenced_and_next = last.state == TransactionState::Ongoing;
                let most = 1 + i16::from(fenced_and_next && now.state == TransactionState::Empty);
                assert!(!is_bump || now.producer.epoch - last.producer.epoch <= most);
            }
            (Some(now), _) => {
                let mut known = before.iter().filter_map(|record| record.value.as_ref());
                assert!(known.all(|known| known.producer.id != now.producer.id));
                assert!(now.producer.epoch <= 1);
            }
            (None, last) => {
                let last = last.expect("known before it expires");
                assert!(last.state == TransactionState::Empty || last.state.is_complete());
            }
        }
    }

    fn take(&mut self, effects: Effects) {
        for unit in units_of(effects.writes) {
            self.write(Written::Unit(unit));
        }
        self.questions += effects.questions.len();
        let place = self.wal.len();
        let replies = effects.replies.into_iter();
        self.held
            .extend(replies.map(|(token, reply)| (place, Held::Reply(token, reply))));
    }

    /// Producer ids come, or none.
    fn answer(&mut self) {
        if self.questions == 0 {
            return;
        }
        self.questions -= 1;
        let count = match self.random.random_bool(0.8) {
            true => self.random.random_range(1..20),
            false => 0,
        };
        let ids = (self.next_id..self.next_id + count).collect();
        self.next_id += count;
        let moment = moment(self.now_ms);
        let effects = self.shard.outcome(&moment, Outcome::ProducerIds(ids));
        self.take(effects);
    }

    fn advance(&mut self, by_ms: i64) {
        self.now_ms += by_ms;
        if self
            .shard
            .next_deadline()
            .is_some_and(|due_ms| due_ms <= self.now_ms)
        {
            let effects = self.shard.on_deadline(&moment(self.now_ms));
            self.take(effects);
        }
    }

    /// Some of what is written becomes durable, and replies leave.
    fn flush(&mut self) {
        self.durable = self.random.random_range(self.durable..=self.wal.len());
        while self
            .held
            .front()
            .is_some_and(|(place, _)| *place <= self.durable)
        {
            match self.held.pop_front().expect("there").1 {
                Held::Reply(token, reply) => self.hear(token, reply),
                Held::Value(index, producer, value) => {
                    let client = &mut self.clients[index];
                    if client.producer == Some(producer) && client.lost.is_none() {
                        client.values.push(value);
                    }
                }
            }
        }
    }

    fn hear(&mut self, token: Token, reply: TransactionReply) {
        let mut clients = self.clients.iter_mut();
        let asking = |client: &&mut Client| {
            client
                .asked
                .as_ref()
                .is_some_and(|(asked, _)| *asked == token)
        };
        let Some(client) = clients.find(asking) else {
            return;
        };
        let (_, asked) = client.asked.take().expect("asked");
        match (asked, reply) {
            (Asked::Init(expected), TransactionReply::InitProducer(Ok(producer))) => {
                client.give_up();
                client.producer = Some(producer);
                let is_new = self.given.insert((producer.id, producer.epoch));
                assert!(is_new || expected.is_some(), "given twice");
            }
            (Asked::Add(partition), TransactionReply::AddPartitions(outcomes)) => match outcomes[0]
            {
                Ok(()) => drop(client.partitions.insert(partition)),
                Err(_) => client.give_up(),
            },
            (Asked::End(producer, commit), TransactionReply::End(Ok(next))) => {
                for value in client.values.drain(..) {
                    assert_eq!(
                        self.logs.ended.get(&value),
                        Some(&commit),
                        "answered means ended so"
                    );
                }
                client.partitions.clear();
                if client.version == 2 {
                    client.producer = Some(next);
                    let answer = (commit, next);
                    let before = self
                        .ended
                        .entry((producer.id, producer.epoch))
                        .or_insert(answer);
                    assert_eq!(*before, answer, "the same answer again");
                }
            }
            (_, TransactionReply::Refused(error)) => {
                assert_eq!(error, ErrorCode::CoordinatorNotAvailable);
            }
            // Fenced, or in the wrong state: it begins anew.
            _ => client.give_up(),
        }
    }

    /// The owner is killed. What was durable is there, and perhaps more of what was written.
    fn crash(&mut self) {
        let left = self.random.random_range(self.durable..=self.wal.len());
        self.wal.truncate(left);
        self.durable = left;
        self.held.clear();
        self.questions = 0;
        for client in &mut self.clients {
            // It may ask again, or write in a transaction of which it does not know what is left.
            if let Some((_, asked)) = client.asked.take() {
                client.lost = Some(asked);
            }
        }
        self.load();
    }

    fn load(&mut self) {
        self.logs = Logs::default();
        self.wal.iter().for_each(|written| self.logs.apply(written));
        self.shard = self.replayed();
        let effects = self.shard.loaded(&moment(self.now_ms));
        self.take(effects);
        // What was due before is due again.
        self.advance(0);
    }

    fn replayed(&self) -> TransactionShard {
        let records = self.wal.iter().filter_map(|written| match written {
            Written::Unit(unit) => unit.record.as_ref(),
            Written::Value(..) => None,
        });
        replayed(&self.config, records)
    }

    /// What holds after every step.
    fn check(&mut self) {
        assert_eq!(
            durable(&self.replayed()),
            durable(&self.shard),
            "replay is live"
        );
        for (producer_id, known) in &self.logs.producers {
            for partition in known.open.keys() {
                let mut all = self.shard.transactions.values();
                let of_producer = all.find(|known| known.producer.id == *producer_id);
                let transaction = of_producer.expect("what is open is known");
                assert_eq!(transaction.state, TransactionState::Ongoing);
                assert_eq!(transaction.producer.epoch, known.epoch);
                assert!(transaction.partitions.contains(partition));
            }
        }
        let is_late = |transaction: &Transaction| {
            let until_ms = transaction.start_ms + i64::from(transaction.timeout_ms);
            transaction.state == TransactionState::Ongoing
                && transaction.producer.epoch < 32_766
                && until_ms < self.now_ms + WALL_AHEAD_MS
        };
        assert!(
            !self.shard.transactions.values().any(is_late),
            "every transaction ends"
        );
    }

    /// Time passes, and nobody does anything any more.
    fn settle(&mut self) {
        for _ in 0..10 {
            self.advance(70_000);
            let count = std::mem::take(&mut self.questions);
            for _ in 0..count {
                let ids = (self.next_id..self.next_id + 20).collect();
                self.next_id += 20;
                let moment = moment(self.now_ms);
                let effects = self.shard.outcome(&moment, Outcome::ProducerIds(ids));
                self.take(effects);
            }
            self.check();
        }
        let open = self
            .logs
            .producers
            .values()
            .any(|known| !known.open.is_empty());
        assert!(!open, "something stays open");
        self.advance(2 * i64::from(EXPIRATION_MS));
        assert!(self.shard.transactions.is_empty(), "something stays known");
    }
}

impl Client {
    /// Forgets its transaction, and begins anew.
    fn give_up(&mut self) {
        self.partitions.clear();
        self.values.clear();
        self.producer = None;
    }
}

#[test]
fn whatever_happens_the_promises_of_transactions_hold() {
    let seeds = match number_from_env("TXN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from_env("TXN_SCHEDULES").unwrap_or(1_000),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| Simulation::new(seed).run());
        if let Err(panic) = outcome {
            println!("repeat with TXN_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
