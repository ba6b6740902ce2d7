//! A partition in memory.

use std::collections::{BTreeMap, BTreeSet};

use compat_tests::checker::{Batch, Isolation, Transaction, Value, Writing};

#[derive(Clone, Copy)]
pub enum Entry {
    Data(Value, Option<Transaction>),
    Marker,
    /// What a broken broker has lost.
    Gone,
}

#[derive(Default)]
pub struct Log {
    pub entries: Vec<Entry>,
    pub batches: Vec<Batch>,
    /// First offset of each open transaction.
    pub open: BTreeMap<Transaction, i64>,
    aborted: BTreeSet<Transaction>,
}

impl Log {
    pub fn high(&self) -> i64 {
        self.entries.len() as i64
    }

    pub fn stable(&self) -> i64 {
        self.open.values().min().copied().unwrap_or(self.high())
    }

    /// Every value has a producer of its own, which writes it in its epoch 0 but for those that are sent again.
    pub fn append(&mut self, entry: Entry) -> i64 {
        self.append_in(0, entry)
    }

    pub fn append_in(&mut self, producer_epoch: i16, entry: Entry) -> i64 {
        let offset = self.high();
        if let Entry::Data(value, _) = entry {
            let first = Writing {
                producer_id: value as i64 & i64::MAX,
                producer_epoch,
                sequence: 0,
            };
            self.batches.push(Batch {
                base_offset: offset,
                last_offset: offset,
                first,
            });
        }
        if let Entry::Data(_, Some(transaction)) = entry {
            self.open.entry(transaction).or_insert(offset);
        }
        self.entries.push(entry);
        offset
    }

    pub fn end(&mut self, transaction: Transaction, commit: bool) {
        if self.open.remove(&transaction).is_some() {
            self.entries.push(Entry::Marker);
            if !commit {
                self.aborted.insert(transaction);
            }
        }
    }

    pub fn read(&self, isolation: Isolation, from: i64, to: i64) -> Vec<(i64, Value)> {
        let committed = isolation == Isolation::ReadCommitted;
        let entries = (from..to).map(|offset| (offset, self.entries[offset as usize]));
        entries
            .filter_map(|(offset, entry)| match entry {
                Entry::Data(_, Some(transaction))
                    if committed && self.aborted.contains(&transaction) =>
                {
                    None
                }
                Entry::Data(value, _) => Some((offset, value)),
                Entry::Marker | Entry::Gone => None,
            })
            .collect()
    }
}
