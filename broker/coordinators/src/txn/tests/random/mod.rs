//! Random schedules: several producers of each transactional id, batches that come late or twice, lost answers, markers that are
//! written again, crashes, time that passes.
//!
//! The logs of partitions are played by the test with the state of producers that the broker's logs have. What is written comes
//! back after a crash up to some point, in the order of the writes.
//!
//! `TXN_SEED=n` repeats one schedule, `TXN_SCHEDULES=n` runs so many.

mod logs;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::log::VerificationGuard;
use storage::log::producer_state::{ProducerError, Verdict};

use self::logs::{Batch, LOGS, Log, Logs, Marker};
use super::context::*;
use crate::seed::number_from_env;
use crate::txn::*;

const IDS: [&str; 3] = ["a", "b", "c"];
const EXPIRATION_MS: i32 = 300_000;
/// How many there are if nobody says: some seconds.
const SCHEDULES: u64 = 500;

/// What one device write makes durable.
#[derive(Debug, Clone)]
enum Written {
    /// Of the coordinator, with its epoch.
    Unit(Unit, i32),
    /// In a log, within a transaction.
    Batch(usize, Batch),
    /// In a log, by somebody else than the coordinator.
    Marker(usize, Marker),
}

impl Written {
    fn record(&self) -> Option<&TransactionRecord> {
        match self {
            Self::Unit(unit, _) => unit.record.as_ref(),
            Self::Batch(..) | Self::Marker(..) => None,
        }
    }

    /// The markers in it, and the logs that they are for.
    fn markers(&self) -> Vec<(usize, Marker)> {
        match self {
            Self::Unit(unit, coordinator_epoch) => {
                let endings = unit.ending.iter();
                let markers = endings.flat_map(|ending| {
                    let marker = Marker::of(ending, *coordinator_epoch);
                    let partitions = ending.partitions.iter();
                    partitions.map(move |partition| (partition.index as usize, marker))
                });
                markers.collect()
            }
            Self::Marker(log, marker) => vec![(*log, *marker)],
            Self::Batch(..) => Vec::new(),
        }
    }

    fn apply(&self, logs: &mut Logs, now_ms: i64) {
        if let Self::Batch(log, batch) = self {
            logs.append(*log, batch, now_ms);
        }
        for (log, marker) in self.markers() {
            logs.mark(log, marker, now_ms);
        }
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
    next_sequence: BTreeMap<Partition, i32>,
    /// The number of its transaction, if it has sent something in it.
    transaction: Option<u64>,
    /// Batches of its transaction that were acknowledged.
    batches: Vec<u64>,
    /// The batch that it has sent and heard nothing of.
    sending: Option<(Partition, Batch)>,
    /// A batch was given up, and may still come. Its sequence is not to be used again, so the epoch has to change.
    is_gap: bool,
    asked: Option<(Token, Asked)>,
    /// What it asked before its answer was lost.
    lost: Option<Asked>,
}

/// A batch on its way to its log.
#[derive(Debug, Clone)]
struct Sent {
    partition: Partition,
    batch: Batch,
    transactional_id: &'static str,
    is_new: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not come yet.
    Network,
    /// The coordinator is asked.
    Verifying(Token, VerificationGuard),
    /// It is about to be appended.
    Verified(Option<VerificationGuard>),
}

/// What waits until everything before it is durable.
#[derive(Debug)]
enum Held {
    Reply(Token, TransactionReply),
    Batch(u64),
}

struct Simulation {
    random: StdRng,
    config: TransactionConfig,
    shard: TransactionShard,
    coordinator_epoch: i32,
    now_ms: i64,
    wal: Vec<Written>,
    durable: usize,
    held: VecDeque<(usize, Held)>,
    logs: Logs,
    /// The last stable offsets that readers have seen.
    stable: [i64; LOGS],
    clients: Vec<Client>,
    sent: Vec<Sent>,
    questions: usize,
    next_id: i64,
    next_token: u64,
    next_batch: u64,
    next_transaction: u64,
    /// Answers to InitProducerId that named nobody: each pair of id and epoch once.
    given: BTreeSet<(i64, i16)>,
    /// EndTxn under KIP-890: who has asked, and for what.
    ends: BTreeMap<Token, (Producer, bool)>,
    /// Its answers, whether or not they were heard.
    ended: BTreeMap<(i64, i16), (bool, Producer)>,
    /// How much befalls them.
    unrest: f64,
    tally: Tally,
}

/// How often something has happened that a schedule is there for.
type Tally = BTreeMap<&'static str, u64>;

/// All of it: otherwise the schedules would prove less than they seem to.
const HAPPENS: [&str; 9] = [
    "a commit over several logs",
    "an abort over several logs",
    "a new producer id after the last epoch",
    "a batch that is there already",
    "a batch whose guard is gone",
    "a batch that its coordinator refuses",
    "a batch of an old epoch",
    "a marker again",
    "a marker again that is refused",
];

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let config = TransactionConfig {
            id_expiration_ms: EXPIRATION_MS,
            ..TransactionConfig::default()
        };
        // They fence each other, or go their own ways.
        let share_ids = random.random_bool(0.4);
        let clients = (0..random.random_range(1..5)).map(|number| Client {
            id: match share_ids {
                true => IDS[random.random_range(0..2)],
                false => IDS[number % IDS.len()],
            },
            version: [0, 2][random.random_range(0..2)],
            timeout_ms: random.random_range(1_000..60_000),
            producer: None,
            partitions: BTreeSet::new(),
            next_sequence: BTreeMap::new(),
            transaction: None,
            batches: Vec::new(),
            sending: None,
            is_gap: false,
            asked: None,
            lost: None,
        });
        let clients = clients.collect();
        let unrest = [0.1, 0.3, 1.0][random.random_range(0..3)];
        let mut simulation = Self {
            unrest,
            random,
            shard: TransactionShard::new(config.clone()),
            coordinator_epoch: 0,
            config,
            now_ms: 1_000_000,
            wal: Vec::new(),
            durable: 0,
            held: VecDeque::new(),
            logs: Logs::default(),
            stable: [0; LOGS],
            clients,
            sent: Vec::new(),
            questions: 0,
            next_id: 1000,
            next_token: 0,
            next_batch: 0,
            next_transaction: 0,
            given: BTreeSet::new(),
            ends: BTreeMap::new(),
            ended: BTreeMap::new(),
            tally: Tally::new(),
        };
        if simulation.random.random_bool(0.5) {
            simulation.begin_near_the_last_epoch();
        }
        if simulation.random.random_bool(0.3) {
            simulation.begin_with_an_end_under_way();
        }
        simulation.durable = simulation.wal.len();
        simulation.load();
        simulation
    }

    /// Otherwise no schedule would come to it.
    fn begin_near_the_last_epoch(&mut self) {
        let epoch = self.random.random_range(32_760..=32_766);
        let transaction = Transaction {
            producer: producer(1, epoch),
            timeout_ms: TIMEOUT_MS,
            ..Transaction::unused(1, self.now_ms + WALL_AHEAD_MS)
        };
        self.find(IDS[0], transaction);
    }

    /// Kafka has written some of the markers.
    fn begin_with_an_end_under_way(&mut self) {
        let (commit, version) = (
            self.random.random_bool(0.5),
            [0, 2][self.random.random_range(0..2)],
        );
        let (open, epoch_after) = (producer(2, 7), 7 + version / 2);
        let state = match commit {
            true => TransactionState::PrepareCommit,
            false => TransactionState::PrepareAbort,
        };
        let transaction = self.next_transaction();
        for log in 0..LOGS {
            let number = self.next_batch();
            let batch = Batch {
                number,
                transaction,
                producer: open,
                sequence: 0,
                count: 2,
            };
            self.wal.push(Written::Batch(log, batch));
        }
        let partitions = (0..LOGS as i32).map(|index| partition("topic", index));
        let prepared = Transaction {
            producer: producer(2, epoch_after),
            previous_producer_id: 2,
            timeout_ms: TIMEOUT_MS,
            state,
            start_ms: self.now_ms + WALL_AHEAD_MS,
            version,
            partitions: std::sync::Arc::new(partitions.collect()),
            ..Transaction::unused(2, self.now_ms + WALL_AHEAD_MS)
        };
        let marker = Marker::of(&prepared.ending(), 0);
        self.find(IDS[1], prepared);
        for log in 0..self.random.random_range(0..LOGS) {
            self.wal.push(Written::Marker(log, marker));
        }
    }

    /// There is a record in the log.
    fn find(&mut self, id: &str, transaction: Transaction) {
        let record = TransactionRecord {
            transactional_id: id.into(),
            value: Some(transaction),
        };
        let unit = Unit {
            record: Some(record),
            ending: None,
        };
        self.wal.push(Written::Unit(unit, 0));
    }

    fn run(mut self) -> Tally {
        for _ in 0..self.random.random_range(20..500) {
            self.step();
            self.check();
            if self.random.random_bool(0.1) {
                self.check_replay();
            }
        }
        self.settle();
        self.tally
    }

    fn step(&mut self) {
        let index = self.random.random_range(0..self.clients.len());
        match self.random.random_range(0..100) {
            0..40 => self.play(index),
            40..62 => self.deliver(),
            62..82 => self.flush(),
            82..86 => self.answer(),
            _ if !self.random.random_bool(self.unrest) => self.play(index),
            86..90 => {
                let by_ms = [1, 100, 900, 20_000, 70_000][self.random.random_range(0..5)];
                self.advance(by_ms);
            }
            90 => self.advance(i64::from(EXPIRATION_MS)),
            91..93 => self.crash(),
            93..97 => self.mark_again(),
            97..99 => self.forget_silent_producers(),
            // A client forgets what it knows, as after a restart of its own.
            _ => {
                let client = &mut self.clients[index];
                (client.asked, client.lost) = (None, None);
                client.give_up();
            }
        }
    }

    fn tell(&mut self, what: &'static str) {
        assert!(HAPPENS.contains(&what), "{what}");
        *self.tally.entry(what).or_default() += 1;
    }

    fn next_batch(&mut self) -> u64 {
        self.next_batch += 1;
        self.next_batch
    }

    fn next_transaction(&mut self) -> u64 {
        self.next_transaction += 1;
        self.next_transaction
    }

    /// One client does what it may do next.
    fn play(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if let Some((_, asked)) = client.asked.take_if(|_| self.random.random_bool(0.02)) {
            client.lost = Some(asked);
        }
        if client.asked.is_some() {
            return;
        }
        if let Some(lost) = client.lost.take() {
            return self.ask(index, lost);
        }
        let Some(producer) = client.producer else {
            return self.ask(index, Asked::Init(None));
        };
        if client.sending.is_some() {
            return match self.random.random_range(0..60) {
                0 => self.abandon(index, producer),
                1..5 => self.send(index),
                _ => {}
            };
        }
        if client.is_gap {
            return self.ask(index, Asked::Init(Some(producer)));
        }
        let (is_old, has_written) = (client.version == 0, client.transaction.is_some());
        match self.random.random_range(0..30) {
            0 => self.ask(index, Asked::Init(Some(producer))),
            1..8 if is_old => {
                let partition = self.partition();
                self.ask(index, Asked::Add(partition));
            }
            1..22 => self.produce(index, producer),
            22 => self.ask(index, Asked::End(producer, true)),
            23 => self.ask(index, Asked::End(producer, false)),
            _ if has_written => {
                let commit = self.random.random_bool(0.7);
                self.ask(index, Asked::End(producer, commit));
            }
            _ => {}
        }
    }

    fn partition(&mut self) -> Partition {
        partition("topic", self.random.random_range(0..LOGS as i32))
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
        if let (Asked::End(producer, commit), 2) = (&asked, client.version) {
            self.ends.insert(token, (*producer, *commit));
        }
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

    /// A client writes to one of its partitions, if it has any.
    fn produce(&mut self, index: usize, producer: Producer) {
        let partition = self.partition();
        let (number, transaction) = (self.next_batch(), self.next_transaction());
        let count = self.random.random_range(1..4);
        let client = &mut self.clients[index];
        if client.version == 0 && !client.partitions.contains(&partition) {
            return;
        }
        let next = client.next_sequence.entry(partition.clone()).or_default();
        let batch = Batch {
            number,
            transaction: *client.transaction.get_or_insert(transaction),
            producer,
            sequence: *next,
            count,
        };
        *next += count;
        client.sending = Some((partition, batch));
        self.send(index);
    }

    /// Sends what is not acknowledged, perhaps again.
    fn send(&mut self, index: usize) {
        let client = &self.clients[index];
        let (partition, batch) = client.sending.clone().expect("to be sent");
        self.sent.push(Sent {
            partition,
            batch,
            transactional_id: client.id,
            is_new: client.version == 2,
            stage: Stage::Network,
        });
    }

    /// A client waits no longer for the answer to its batch, which is still on its way.
    fn abandon(&mut self, index: usize, producer: Producer) {
        let client = &mut self.clients[index];
        client.sending = None;
        client.is_gap = true;
        self.ask(index, Asked::End(producer, false));
    }

    /// A batch takes its next step: its log is asked, then the coordinator, and it is appended.
    fn deliver(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let place = self.random.random_range(0..self.sent.len());
        self.deliver_at(place);
    }

    fn deliver_at(&mut self, place: usize) {
        match self.sent[place].stage {
            Stage::Network if self.random.random_bool(0.05) => drop(self.sent.remove(place)),
            Stage::Network => self.verify(place),
            Stage::Verifying(..) => {}
            Stage::Verified(guard) => self.append(place, guard),
        }
    }

    fn verify(&mut self, place: usize) {
        let now_ms = self.now_ms;
        let Sent {
            partition,
            batch,
            transactional_id,
            is_new,
            ..
        } = self.sent[place].clone();
        let Producer { id, epoch } = batch.producer;
        let guard = self.log(&partition).producers.begin_verification(
            id,
            epoch,
            batch.sequence,
            is_new,
            now_ms,
        );
        let stage = match guard {
            Err(error) => return self.refuse_sent(place, &error),
            Ok(None) => Stage::Verified(None),
            Ok(Some(guard)) => {
                let adding = if is_new { Adding::Add } else { Adding::Verify };
                let token = self.request(TransactionRequest::AddPartitions(AddPartitions {
                    transactional_id: transactional_id.into(),
                    producer: batch.producer,
                    partitions: vec![partition],
                    adding,
                }));
                Stage::Verifying(token, guard)
            }
        };
        self.sent[place].stage = stage;
    }

    fn append(&mut self, place: usize, guard: Option<VerificationGuard>) {
        let Sent {
            partition, batch, ..
        } = self.sent[place].clone();
        let log = self.log(&partition);
        match log.producers.check(&batch.header(log.end_offset()), guard) {
            Ok(Verdict::Append) => {
                self.write(Written::Batch(partition.index as usize, batch.clone()));
            }
            Ok(Verdict::Duplicate(_)) => self.tell("a batch that is there already"),
            Err(error) => {
                if guard.is_some() && matches!(error, ProducerError::InvalidTxnState { .. }) {
                    self.tell("a batch whose guard is gone");
                }
                return self.refuse_sent(place, &error);
            }
        }
        self.sent.remove(place);
        self.held
            .push_back((self.wal.len(), Held::Batch(batch.number)));
    }

    fn refuse_sent(&mut self, place: usize, error: &ProducerError) {
        if matches!(error, ProducerError::InvalidProducerEpoch { .. }) {
            self.tell("a batch of an old epoch");
        }
        let Sent { batch, .. } = self.sent.remove(place);
        self.refuse(batch.number);
    }

    /// A client hears that its batch is not appended. It aborts, or begins anew.
    fn refuse(&mut self, number: u64) {
        let is_sending = |client: &Client| {
            let sending = client.sending.as_ref();
            sending.is_some_and(|(_, batch)| batch.number == number)
        };
        let Some(index) = self.clients.iter().position(is_sending) else {
            return;
        };
        match (self.clients[index].producer, self.random.random_bool(0.5)) {
            (Some(producer), true) => self.abandon(index, producer),
            _ => self.clients[index].give_up(),
        }
    }

    fn log(&mut self, partition: &Partition) -> &mut Log {
        &mut self.logs.logs[partition.index as usize]
    }

    /// Writes a marker once more that was written before, as tools do.
    fn mark_again(&mut self) {
        let markers: Vec<_> = self.wal.iter().flat_map(Written::markers).collect();
        if markers.is_empty() {
            return;
        }
        let (index, marker) = markers[self.random.random_range(0..markers.len())];
        let log = &self.logs.logs[index];
        if !log.takes(marker) {
            return self.tell("a marker again that is refused");
        }
        let before = log.open();
        let Producer { id, epoch } = marker.producer;
        let is_open = before.get(&id).is_some_and(|(open, _)| *open == epoch);
        if is_open && marker.transaction_version < EPOCH_PER_TRANSACTION {
            // The old protocol cannot tell it from that of the next transaction.
            return;
        }
        self.tell("a marker again");
        self.write(Written::Marker(index, marker));
        assert_eq!(self.logs.logs[index].open(), before, "it changes nothing");
    }

    /// Logs forget who was silent for long. What was sent before does not come any more: nothing is on its way for so long.
    fn forget_silent_producers(&mut self) {
        let now_ms = self.now_ms;
        self.sent.clear();
        for log in &mut self.logs.logs {
            let before = log.open();
            log.producers.remove_expired(now_ms);
            assert_eq!(log.open(), before, "what is open does not expire");
        }
    }

    fn write(&mut self, written: Written) {
        if let Some(record) = written.record() {
            self.check_record(record);
        }
        if let Written::Unit(..) = &written {
            self.check_ending(&written);
        }
        written.apply(&mut self.logs, self.now_ms);
        self.wal.push(written);
    }

    /// A log never refuses a marker of its coordinator.
    fn check_ending(&mut self, written: &Written) {
        let markers = written.markers();
        for (index, marker) in &markers {
            let takes = self.logs.logs[*index].takes(*marker);
            assert!(takes, "log {index} refuses {marker:?}");
        }
        let ends = |(index, marker): &&(usize, Marker)| {
            let open = self.logs.logs[*index].open();
            open.contains_key(&marker.producer.id)
        };
        if markers.iter().filter(ends).count() > 1 {
            self.tell(match markers[0].1.commit {
                true => "a commit over several logs",
                false => "an abort over several logs",
            });
        }
    }

    /// Epochs only grow, an id is never given back, and what is open does not expire.
    fn check_record(&mut self, record: &TransactionRecord) {
        let states = self.wal.iter().filter_map(Written::record);
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
            (Some(now), last) => {
                let mut known = before.iter().filter_map(|record| record.value.as_ref());
                assert!(known.all(|known| known.producer.id != now.producer.id));
                assert!(now.producer.epoch <= 1);
                if last.is_some() {
                    self.tell("a new producer id after the last epoch");
                }
            }
            (None, last) => {
                let last = last.expect("known before it expires");
                assert!(last.state == TransactionState::Empty || last.state.is_complete());
            }
        }
    }

    fn take(&mut self, effects: Effects) {
        for unit in units_of(effects.writes) {
            self.write(Written::Unit(unit, self.coordinator_epoch));
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
        self.answer_with(count);
    }

    fn answer_with(&mut self, count: i64) {
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
        let durable = match self.random.random_bool(0.5) {
            true => self.wal.len(),
            false => self.random.random_range(self.durable..=self.wal.len()),
        };
        self.flush_to(durable);
    }

    fn flush_to(&mut self, durable: usize) {
        for written in &self.wal[self.durable..durable] {
            if let Written::Batch(log, batch) = written {
                self.logs.logs[*log].high_watermark += i64::from(batch.count);
            }
            for (log, _) in written.markers() {
                self.logs.logs[log].high_watermark += 1;
            }
        }
        self.durable = durable;
        for log in &mut self.logs.logs {
            log.producers.on_high_watermark(log.high_watermark);
        }
        while self
            .held
            .front()
            .is_some_and(|(place, _)| *place <= self.durable)
        {
            match self.held.pop_front().expect("there").1 {
                Held::Reply(token, reply) => self.hear(token, reply),
                Held::Batch(number) => self.acknowledge(number),
            }
        }
    }

    fn acknowledge(&mut self, number: u64) {
        for client in &mut self.clients {
            let is_it = |(_, batch): &mut (Partition, Batch)| batch.number == number;
            if let Some((_, batch)) = client.sending.take_if(is_it) {
                client.batches.push(batch.number);
            }
        }
    }

    fn hear(&mut self, token: Token, reply: TransactionReply) {
        let is_it = |sent: &Sent| matches!(sent.stage, Stage::Verifying(of, _) if of == token);
        if let Some(place) = self.sent.iter().position(is_it) {
            return self.hear_of_sent(place, reply);
        }
        if let Some((producer, commit)) = self.ends.remove(&token)
            && let TransactionReply::End(Ok(next)) = &reply
        {
            let answer = (commit, *next);
            let of_transaction = self.ended.entry((producer.id, producer.epoch));
            assert_eq!(*of_transaction.or_insert(answer), answer, "the same again");
        }
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
            (Asked::End(_, commit), TransactionReply::End(Ok(next))) => {
                for batch in client.batches.drain(..) {
                    assert_eq!(
                        self.logs.ended.get(&batch),
                        Some(&commit),
                        "answered means ended so"
                    );
                }
                client.partitions.clear();
                client.transaction = None;
                if client.version == 2 {
                    client.give_up();
                    client.producer = Some(next);
                }
            }
            (_, TransactionReply::Refused(error)) => {
                assert_eq!(error, ErrorCode::CoordinatorNotAvailable);
            }
            // Fenced, or in the wrong state: it begins anew.
            _ => client.give_up(),
        }
    }

    /// The coordinator says whether a batch may come.
    fn hear_of_sent(&mut self, place: usize, reply: TransactionReply) {
        let Stage::Verifying(_, guard) = self.sent[place].stage else {
            panic!("not asked");
        };
        match reply {
            TransactionReply::AddPartitions(outcomes) if outcomes == [Ok(())] => {
                self.sent[place].stage = Stage::Verified(Some(guard));
            }
            TransactionReply::AddPartitions(_) => {
                self.tell("a batch that its coordinator refuses");
                let Sent { batch, .. } = self.sent.remove(place);
                self.refuse(batch.number);
            }
            other => panic!("{other:?}"),
        }
    }

    /// The owner is killed. What was durable is there, and perhaps more of what was written.
    fn crash(&mut self) {
        self.check_replay();
        let left = self.random.random_range(self.durable..=self.wal.len());
        self.wal.truncate(left);
        self.durable = left;
        self.held.clear();
        self.questions = 0;
        self.sent.retain(|sent| sent.stage == Stage::Network);
        for client in &mut self.clients {
            // It may ask again, or write in a transaction of which it does not know what is left.
            if let Some((_, asked)) = client.asked.take() {
                client.lost = Some(asked);
            }
        }
        self.load();
    }

    fn load(&mut self) {
        self.coordinator_epoch += 1;
        self.logs = self.recovered();
        self.shard = self.replayed();
        let effects = self.shard.loaded(&moment(self.now_ms));
        self.take(effects);
        // What was due before is due again.
        self.advance(0);
    }

    fn recovered(&self) -> Logs {
        let mut logs = Logs::default();
        for written in &self.wal {
            written.apply(&mut logs, self.now_ms);
        }
        for log in &mut logs.logs {
            log.high_watermark = log.end_offset();
            log.producers.on_high_watermark(log.high_watermark);
        }
        logs
    }

    fn replayed(&self) -> TransactionShard {
        replayed(&self.config, self.wal.iter().filter_map(Written::record))
    }

    /// A crash that loses nothing changes nothing.
    fn check_replay(&self) {
        assert_eq!(
            durable(&self.replayed()),
            durable(&self.shard),
            "replay is live"
        );
        for (again, log) in self.recovered().logs.iter().zip(&self.logs.logs) {
            assert_eq!(again.open(), log.open(), "so are logs");
        }
    }

    /// What holds after every step.
    fn check(&mut self) {
        for (index, log) in self.logs.logs.iter().enumerate() {
            for (producer_id, (epoch, _)) in log.open() {
                let mut all = self.shard.transactions.values();
                let of_producer = all.find(|known| known.producer.id == producer_id);
                let transaction = of_producer.expect("what is open is known");
                assert_eq!(transaction.state, TransactionState::Ongoing);
                assert_eq!(transaction.producer.epoch, epoch);
                assert!(
                    transaction
                        .partitions
                        .contains(&partition("topic", index as i32))
                );
            }
            let stable = log.last_stable_offset();
            assert!(stable >= self.stable[index], "what is stable stays so");
            self.stable[index] = stable;
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

    /// All that is on its way arrives, time passes, and nobody does anything any more.
    fn settle(&mut self) {
        for client in &mut self.clients {
            client.give_up();
            (client.asked, client.lost) = (None, None);
        }
        for _ in 0..10 {
            for place in (0..self.sent.len()).rev() {
                self.deliver_at(place);
            }
            self.flush_to(self.wal.len());
            self.advance(70_000);
            for _ in 0..std::mem::take(&mut self.questions) {
                self.answer_with(20);
            }
            self.check();
            self.check_replay();
        }
        self.flush_to(self.wal.len());
        assert!(self.sent.is_empty(), "something is still on its way");
        for log in &self.logs.logs {
            assert!(log.open().is_empty(), "something stays open");
            assert_eq!(log.last_stable_offset(), log.end_offset());
        }
        self.advance(2 * i64::from(EXPIRATION_MS));
        assert!(self.shard.transactions.is_empty(), "something stays known");
    }
}

impl Client {
    /// Forgets its transaction, and begins anew.
    fn give_up(&mut self) {
        self.partitions.clear();
        self.next_sequence.clear();
        self.transaction = None;
        self.batches.clear();
        self.sending = None;
        self.is_gap = false;
        self.producer = None;
    }
}

#[test]
fn whatever_happens_the_promises_of_transactions_hold() {
    let seeds = match number_from_env("TXN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from_env("TXN_SCHEDULES").unwrap_or(SCHEDULES),
    };
    let mut tally = Tally::new();
    let is_whole = seeds.end - seeds.start >= SCHEDULES;
    for seed in seeds {
        match std::panic::catch_unwind(|| Simulation::new(seed).run()) {
            Ok(of_seed) => {
                for (what, count) in of_seed {
                    *tally.entry(what).or_default() += count;
                }
            }
            Err(panic) => {
                println!("repeat with TXN_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{tally:#?}");
    let missing = HAPPENS.iter().find(|what| !tally.contains_key(*what));
    assert!(!is_whole || missing.is_none(), "never: {missing:?}");
}
