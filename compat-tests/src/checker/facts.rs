//! What a history says, by value and by transaction.

use std::collections::{BTreeMap, HashMap};

use super::history::{
    Action, History, Input, Isolation, Moment, Outcome, Place, Transaction, Value,
};
use super::sent_again::{self, SentAgain};

/// A record that was sent.
pub(super) struct Sent {
    pub value: Value,
    pub outcome: Outcome,
    pub transaction: Option<Transaction>,
    pub input: Option<Input>,
    /// Whoever sends with the same number sends in order. One for each producer of each client.
    pub producer: (u32, u32),
    pub partition: u32,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Committed,
    Aborted,
    Unknown,
}

/// Everything about one transaction.
#[derive(Default)]
pub(super) struct Told {
    /// Positions in [`Facts::sent`].
    pub sends: Vec<usize>,
    /// Group, and what it reads next.
    pub offsets: Vec<(u32, Place)>,
    /// Of the first attempt to commit it.
    pub commit_start: Option<Moment>,
    /// Of the commit that was answered.
    pub committed: Option<Moment>,
    /// An attempt to commit it may have worked although nobody knows.
    doubtful: bool,
}

impl Told {
    pub fn fate(&self) -> Fate {
        if self.committed.is_some() {
            Fate::Committed
        } else if self.doubtful {
            Fate::Unknown
        } else {
            // Nobody has tried to commit it, or who tried was told that it is not committed.
            Fate::Aborted
        }
    }
}

/// The history, sorted by what it is about.
#[derive(Default)]
pub(super) struct Facts {
    /// By start; each producer's in its order.
    pub sent: Vec<Sent>,
    /// Positions in `sent`.
    pub by_value: HashMap<Value, usize>,
    pub transactions: BTreeMap<Transaction, Told>,
    /// Where a value is at the end; the first place of several.
    pub stored: HashMap<Value, Place>,
    /// Those that their client has sent again as new ones.
    pub sent_again: HashMap<Value, SentAgain>,
    /// Where a `read_committed` consumer finds it at the end.
    pub visible: HashMap<Value, Place>,
    /// What `read_committed` consumers have been given, and the end of the first poll that gave it.
    pub read_committed: HashMap<Value, Moment>,
}

impl Facts {
    pub fn of(history: &History) -> Self {
        let mut facts = Self::default();
        let mut producers: HashMap<u32, u32> = HashMap::new();
        for op in &history.ops {
            match &op.action {
                Action::Producer => *producers.entry(op.client).or_default() += 1,
                Action::Send {
                    value,
                    partition,
                    transaction,
                    input,
                    ..
                } => {
                    let producer = producers.get(&op.client).copied().unwrap_or_default();
                    facts.send(Sent {
                        value: *value,
                        outcome: op.outcome,
                        transaction: *transaction,
                        input: *input,
                        producer: (op.client, producer),
                        partition: *partition,
                    });
                }
                Action::SendOffsets {
                    transaction,
                    group,
                    next,
                } => {
                    let told = facts.transactions.entry(*transaction).or_default();
                    if op.outcome != Outcome::Fail {
                        told.offsets.extend(next.iter().map(|next| (*group, *next)));
                    }
                }
                Action::End {
                    transaction,
                    commit,
                } => {
                    let told = facts.transactions.entry(*transaction).or_default();
                    told.end(*commit, op.start, op.end, op.outcome);
                }
                Action::Poll {
                    isolation: Isolation::ReadCommitted,
                    records,
                } => {
                    for (_, value) in records {
                        let first = facts.read_committed.entry(*value).or_insert(op.end);
                        *first = op.end.min(*first);
                    }
                }
                _ => {}
            }
        }
        facts.read(history);
        facts.sent_again = sent_again::find(history, &facts);
        facts
    }

    /// How the transaction of a record ended; a record without one is committed.
    pub fn fate(&self, sent: &Sent) -> Fate {
        sent.transaction
            .and_then(|transaction| self.transactions.get(&transaction))
            .map_or(Fate::Committed, Told::fate)
    }

    fn send(&mut self, sent: Sent) {
        let index = self.sent.len();
        if let Some(transaction) = sent.transaction {
            let told = self.transactions.entry(transaction).or_default();
            told.sends.push(index);
        }
        self.by_value.insert(sent.value, index);
        self.sent.push(sent);
    }

    fn read(&mut self, history: &History) {
        for (&partition, end) in &history.end.partitions {
            let place = |offset| Place { partition, offset };
            for &(offset, value) in &end.uncommitted {
                self.stored.entry(value).or_insert(place(offset));
            }
            let visible = end.committed.iter();
            self.visible
                .extend(visible.map(|&(offset, value)| (value, place(offset))));
        }
    }
}

impl Told {
    fn end(&mut self, commit: bool, start: Moment, end: Moment, outcome: Outcome) {
        if !commit {
            return;
        }
        self.commit_start.get_or_insert(start);
        match outcome {
            Outcome::Ok => {
                self.committed.get_or_insert(end);
            }
            Outcome::Unknown => self.doubtful = true,
            Outcome::Fail => {}
        }
    }
}
