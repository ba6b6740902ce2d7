//! A broker in memory, its clients, and their history. It can be broken in one way.

use std::collections::BTreeMap;

use compat_tests::checker::{
    Action, FinalPartition, History, Input, Isolation, Kind, Moment, Op, Outcome, Place,
    Transaction, Value,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::log::{Entry, Log};

/// Read by the processing clients, one each.
const INPUTS: u32 = 2;
const PARTITIONS: u32 = 5;
const GROUP: u32 = 0;
/// Some that only write, then some that only read, then those that process.
const WRITERS: u32 = 3;
const READERS: u32 = 3;
/// Between two steps; operations of different clients may overlap by less.
const STEP: Moment = 10;

#[derive(Default)]
struct Client {
    busy_until: Moment,
    open: Option<Transaction>,
    positions: BTreeMap<u32, i64>,
}

/// The broker, its clients and what has happened.
pub struct Model {
    random: StdRng,
    logs: Vec<Log>,
    offsets: BTreeMap<u32, i64>,
    /// Transactions of clients that are gone, not timed out yet, and the offsets that each has sent.
    left: Vec<Transaction>,
    pending: BTreeMap<Transaction, (u32, i64)>,
    clients: Vec<Client>,
    now: Moment,
    last_value: Value,
    last_transaction: Transaction,
    broken: Option<Kind>,
    /// How often it has done what it is broken for.
    pub sins: u32,
    ops: Vec<Op>,
}

/// What a model does in so many steps.
pub fn run(seed: u64, steps: u32, broken: Option<Kind>) -> (History, u32) {
    let mut model = Model {
        random: StdRng::seed_from_u64(seed),
        logs: (0..PARTITIONS).map(|_| Log::default()).collect(),
        offsets: BTreeMap::new(),
        left: Vec::new(),
        pending: BTreeMap::new(),
        clients: (0..WRITERS + READERS + INPUTS)
            .map(|_| Client::default())
            .collect(),
        now: 0,
        last_value: 0,
        last_transaction: 0,
        broken,
        sins: 0,
        ops: Vec::new(),
    };
    for _ in 0..steps {
        model.step();
    }
    model.finish()
}

impl Model {
    fn step(&mut self) {
        self.now += STEP;
        let client = self.random.random_range(0..WRITERS + READERS + INPUTS);
        if self.clients[client as usize].busy_until >= self.now {
            return;
        }
        match client {
            0..WRITERS => self.write(client),
            _ if client < WRITERS + READERS => self.look(client),
            _ => self.process(client),
        }
        if self.random.random_bool(0.05) && !self.left.is_empty() {
            let transaction = self.left.remove(0);
            self.ended(transaction, false);
        }
    }

    /// Whether the broker fails this time: rarely, and only if it is broken so.
    fn sins(&mut self, kind: Kind) -> bool {
        let now = self.broken == Some(kind) && self.random.random_bool(0.2);
        self.sins += u32::from(now);
        now
    }

    /// A client's next operation cannot have its effect before the last one has ended.
    fn wait_for(&mut self, client: u32) {
        let busy_until = self.clients[client as usize].busy_until;
        self.now = self.now.max(busy_until + 1);
    }

    /// Writes operations down that have their effect now.
    fn told(&mut self, client: u32, outcome: Outcome, actions: Vec<Action>) {
        let early = self.random.random_range(0..STEP / 2);
        let end = self.now + self.random.random_range(0..3 * STEP);
        let client_ = &mut self.clients[client as usize];
        let start = (self.now - early).max(client_.busy_until);
        client_.busy_until = end;
        self.ops.extend(actions.into_iter().map(|action| Op {
            client,
            start,
            end,
            outcome,
            action,
        }));
    }

    fn write(&mut self, client: u32) {
        let open = self.clients[client as usize].open;
        match self.random.random_range(0..10) {
            0..6 => self.send(client, open),
            6 if open.is_none() => {
                self.clients[client as usize].open = Some(self.new_transaction());
            }
            7 => self.die(client),
            _ => {
                if let Some(transaction) = open {
                    self.end(client, transaction);
                }
            }
        }
    }

    fn new_transaction(&mut self) -> Transaction {
        self.last_transaction += 1;
        self.last_transaction
    }

    /// Some records to some partitions. What is unknown is stored or not.
    fn send(&mut self, client: u32, transaction: Option<Transaction>) {
        let count = self.random.random_range(1..4);
        let partition = self.random.random_range(0..PARTITIONS);
        let lost_answer = self.random.random_bool(0.1);
        let stored = !lost_answer || self.random.random();
        let outcome = if lost_answer {
            Outcome::Unknown
        } else {
            Outcome::Ok
        };
        let mut values: Vec<Value> = (1..=count).map(|n| self.last_value + n).collect();
        self.last_value += count;
        let sent = values.clone();
        if count > 1 && stored && self.sins(Kind::ReorderedSend) {
            values.reverse();
        }
        let mut offsets = BTreeMap::new();
        for value in values {
            if stored {
                offsets.insert(value, self.store(partition, value, transaction, outcome));
            }
        }
        // The client has given up the first, and sends the others again in a new epoch.
        if lost_answer && stored && transaction.is_none() && self.random.random() {
            for value in &sent[1..] {
                let log = &mut self.logs[partition as usize];
                log.append_in(1, Entry::Data(*value, None));
            }
        }
        let send = |value: &Value| Action::Send {
            value: *value,
            partition,
            offset: offsets.get(value).copied().filter(|_| !lost_answer),
            transaction,
            input: None,
        };
        self.told(client, outcome, sent.iter().map(send).collect());
        if lost_answer {
            // Its client gives up the transaction, and begins anew without.
            self.die(client);
        }
    }

    /// Puts one record into a log, and gives the offset that the client is told.
    fn store(
        &mut self,
        partition: u32,
        value: Value,
        transaction: Option<Transaction>,
        outcome: Outcome,
    ) -> i64 {
        let lose = outcome == Outcome::Ok && self.sins(Kind::LostWrite);
        let twice = self.sins(Kind::Duplicate);
        let phantom = self.sins(Kind::Phantom);
        let log = &mut self.logs[partition as usize];
        let before = log.entries.last().copied();
        let mut offset = log.append(Entry::Data(value, transaction));
        if lose {
            log.entries[offset as usize] = Entry::Gone;
        }
        if twice {
            log.append(Entry::Data(value, transaction));
        }
        if phantom {
            log.append(Entry::Data(u64::MAX - value, None));
        }
        if outcome == Outcome::Ok
            && matches!(before, Some(Entry::Data(..)))
            && self.sins(Kind::DivergingOffset)
        {
            offset -= 1;
        }
        offset
    }

    /// The client ends without a word; the broker ends its transaction some time later.
    fn die(&mut self, client: u32) {
        self.wait_for(client);
        self.left.extend(self.clients[client as usize].open.take());
        self.told(client, Outcome::Ok, vec![Action::Producer]);
    }

    fn end(&mut self, client: u32, transaction: Transaction) {
        self.wait_for(client);
        let commit = self.random.random_bool(0.7);
        let answered = self.random.random_bool(0.9);
        let arrives = answered || self.random.random();
        if arrives {
            self.ended(transaction, commit);
        } else {
            self.left.push(transaction);
        }
        self.clients[client as usize].open = None;
        let outcome = if answered {
            Outcome::Ok
        } else {
            Outcome::Unknown
        };
        let end = Action::End {
            transaction,
            commit,
        };
        self.told(client, outcome, vec![end]);
        if !answered {
            self.wait_for(client);
            self.told(client, Outcome::Ok, vec![Action::Producer]);
        }
    }

    /// All logs get their markers, and the group its offset.
    fn ended(&mut self, transaction: Transaction, commit: bool) {
        let is_open = |log: &&mut Log| log.open.contains_key(&transaction);
        let parts = self.logs.iter_mut().filter(is_open).count();
        let spared = if commit && parts > 1 && self.sins(Kind::TornTransaction) {
            Some(false)
        } else {
            None
        };
        let forgotten = parts > 0 && self.sins(Kind::StuckTransaction);
        let revived = !commit && parts > 0 && self.sins(Kind::AbortedRead);
        let ways = self.logs.iter_mut().filter(is_open).enumerate();
        for (part, log) in ways {
            match (part, spared) {
                (0, Some(other_way)) => log.end(transaction, other_way),
                (0, None) if forgotten => {}
                _ => log.end(transaction, commit || revived),
            }
        }
        let Some((partition, next)) = self.pending.remove(&transaction) else {
            return;
        };
        let dropped = commit && self.sins(Kind::ProcessedTwice);
        let taken = !commit && self.sins(Kind::NeverProcessed);
        if commit && !dropped || taken {
            self.offsets.insert(partition, next);
        }
    }

    /// A reader reads, gets other partitions, or asks for offsets.
    fn look(&mut self, client: u32) {
        let partition = self.random.random_range(0..PARTITIONS);
        match self.random.random_range(0..10) {
            0 => self.assign(client),
            1 => {
                let log = &self.logs[partition as usize];
                let (mut high, mut stable) = (log.high(), log.stable());
                if stable > 0 && self.sins(Kind::StableOffsetBack) {
                    stable /= 2;
                }
                if high > 0 && self.sins(Kind::HighWatermarkBack) {
                    high /= 2;
                    stable = stable.min(high);
                }
                let ends = Action::ReadEnds {
                    partition,
                    high,
                    stable,
                };
                self.told(client, Outcome::Ok, vec![ends]);
            }
            2 => self.read_offset(client),
            _ => {
                let isolation = isolation_of(client);
                if let Some(records) = self.poll(client, isolation) {
                    self.told(
                        client,
                        Outcome::Ok,
                        vec![Action::Poll { isolation, records }],
                    );
                }
            }
        }
    }

    fn read_offset(&mut self, client: u32) {
        let partition = self.random.random_range(0..INPUTS);
        let Some(mut offset) = self.offsets.get(&partition).copied() else {
            return;
        };
        if offset > 0 && self.sins(Kind::GroupOffsetBack) {
            offset /= 2;
        }
        let next = Place { partition, offset };
        let read = Action::ReadOffset { group: GROUP, next };
        self.told(client, Outcome::Ok, vec![read]);
    }

    fn assign(&mut self, client: u32) {
        let first = self.random.random_range(0..PARTITIONS);
        let partitions = (first..PARTITIONS).map(|partition| {
            let high = self.logs[partition as usize].high();
            (partition, high / 2)
        });
        let positions: BTreeMap<u32, i64> = partitions.collect();
        let assigned = positions.iter().map(|(p, offset)| (*p, Some(*offset)));
        let assign = Action::Assign(assigned.collect());
        self.clients[client as usize].positions = positions;
        self.told(client, Outcome::Ok, vec![assign]);
    }

    /// Some records of one of the partitions that the client has.
    fn poll(&mut self, client: u32, isolation: Isolation) -> Option<Vec<(Place, Value)>> {
        self.wait_for(client);
        let positions = &self.clients[client as usize].positions;
        let index = self.random.random_range(0..positions.len().max(1));
        let (&partition, &from) = positions.iter().nth(index)?;
        let log = &self.logs[partition as usize];
        let (high, mut to) = (log.high(), log.stable());
        if isolation == Isolation::ReadUncommitted || (to < high && self.sins(Kind::EarlyRead)) {
            to = high;
        }
        let to = to.min(from + self.random.random_range(1..6)).max(from);
        let log = &self.logs[partition as usize];
        let mut read = log.read(isolation, from, to);
        if read.len() > 1 && self.sins(Kind::ReorderedPoll) {
            read.reverse();
        }
        if read.len() > 2 && self.sins(Kind::SkippedPoll) {
            read.remove(1);
        }
        let positions = &mut self.clients[client as usize].positions;
        positions.insert(partition, to);
        let place = |offset| Place { partition, offset };
        Some(
            read.into_iter()
                .map(|(o, value)| (place(o), value))
                .collect(),
        )
    }

    /// Reads some records and writes one for each, in a transaction with the offset of what it has read.
    fn process(&mut self, client: u32) {
        let input = client - WRITERS - READERS;
        let from = self.offsets.get(&input).copied().unwrap_or_default();
        // One reads on from where the group is: its own transaction must be over.
        if self.left.iter().any(|open| self.pending.contains_key(open)) {
            return;
        }
        let assign = Action::Assign(vec![(input, Some(from))]);
        self.clients[client as usize].positions = BTreeMap::from([(input, from)]);
        self.told(client, Outcome::Ok, vec![assign]);
        let isolation = Isolation::ReadCommitted;
        let records = self.poll(client, isolation).unwrap_or_default();
        if records.is_empty() {
            return;
        }
        let poll = Action::Poll {
            isolation,
            records: records.clone(),
        };
        self.told(client, Outcome::Ok, vec![poll]);
        let transaction = self.new_transaction();
        for (_, value) in &records {
            self.wait_for(client);
            self.last_value += 1;
            let made = self.last_value;
            let partition = self.random.random_range(INPUTS..PARTITIONS);
            let offset = self.store(partition, made, Some(transaction), Outcome::Ok);
            let send = Action::Send {
                value: made,
                partition,
                offset: Some(offset),
                transaction: Some(transaction),
                input: Some(Input {
                    group: GROUP,
                    value: *value,
                }),
            };
            self.told(client, Outcome::Ok, vec![send]);
        }
        let next = Place {
            partition: input,
            offset: self.clients[client as usize].positions[&input],
        };
        self.wait_for(client);
        self.pending.insert(transaction, (input, next.offset));
        let offsets = Action::SendOffsets {
            transaction,
            group: GROUP,
            next: vec![next],
        };
        self.told(client, Outcome::Ok, vec![offsets]);
        self.end(client, transaction);
    }

    fn finish(mut self) -> (History, u32) {
        let open = self
            .clients
            .iter_mut()
            .filter_map(|client| client.open.take());
        let left: Vec<Transaction> = open.chain(std::mem::take(&mut self.left)).collect();
        for transaction in left {
            self.ended(transaction, false);
        }
        let mut history = History {
            ops: self.ops,
            ..History::default()
        };
        history.ops.sort_by_key(|op| op.start);
        for (partition, log) in (0..).zip(&self.logs) {
            let end = FinalPartition {
                high: log.high(),
                stable: log.stable(),
                uncommitted: log.read(Isolation::ReadUncommitted, 0, log.high()),
                committed: log.read(Isolation::ReadCommitted, 0, log.stable()),
                batches: log.batches.clone(),
            };
            history.end.partitions.insert(partition, end);
        }
        let offsets = self.offsets.iter();
        history.end.offsets = offsets.map(|(p, next)| ((GROUP, *p), *next)).collect();
        (history, self.sins)
    }
}

fn isolation_of(client: u32) -> Isolation {
    if client.is_multiple_of(2) {
        Isolation::ReadCommitted
    } else {
        Isolation::ReadUncommitted
    }
}
