//! Follows the transactions of a log while compaction reads it (Kafka's CleanedTransactionMetadata): which batches
//! belong to aborted ones, and which markers have outlived the data that they decide on.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use crate::log::transaction_index::AbortedTxn;
use crate::record::{BatchHeader, TransactionResult};

/// What a control batch holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    Marker(TransactionResult),
    /// Its record was removed before.
    Empty,
    /// Not of a transaction.
    Other,
}

/// The transactions that are open at the point the reader has come to.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// Aborted ones that are still to begin, the next one last.
    upcoming: Vec<AbortedTxn>,
    /// By producer id.
    aborted: HashMap<i64, OpenAborted>,
    /// Producers with data of a transaction that was, or will be, committed.
    committed: HashSet<i64>,
    /// Aborted ones with batches left in the log.
    retained: Vec<AbortedTxn>,
}

#[derive(Debug)]
struct OpenAborted {
    txn: AbortedTxn,
    /// Whether any of its batches was seen.
    has_batches: bool,
}

impl Transactions {
    /// Adds aborted transactions that begin or go on where the reader is about to read. Repeated ones do no harm.
    pub fn expect(&mut self, aborted: Vec<AbortedTxn>) {
        self.upcoming.extend(aborted);
        self.upcoming.sort_by_key(|txn| Reverse(txn.first_offset));
    }

    /// Takes note of a batch of records; true if its transaction was aborted.
    pub fn read_data(&mut self, header: &BatchHeader) -> bool {
        self.begin_up_to(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            // An entry whose marker has been passed says nothing of later transactions of the producer.
            Some(open) if header.last_offset() <= open.txn.last_offset => {
                open.has_batches = true;
                true
            }
            _ => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// Takes note of a control batch; true if nothing depends on it any more.
    pub fn read_control(&mut self, header: &BatchHeader, control: Control) -> bool {
        self.begin_up_to(header.last_offset());
        match control {
            Control::Marker(TransactionResult::Abort) => {
                match self.aborted.remove(&header.producer_id) {
                    Some(open) if open.has_batches => {
                        self.retained.push(open.txn);
                        false
                    }
                    _ => true,
                }
            }
            Control::Marker(TransactionResult::Commit) => {
                !self.committed.remove(&header.producer_id)
            }
            Control::Empty => true,
            Control::Other => false,
        }
    }

    /// The aborted transactions whose markers were read, and have to stay, since the last call; in their order.
    pub fn take_retained(&mut self) -> Vec<AbortedTxn> {
        std::mem::take(&mut self.retained)
    }

    fn begin_up_to(&mut self, offset: i64) {
        while let Some(txn) = self.upcoming.pop_if(|txn| txn.first_offset <= offset) {
            let is_open = self
                .aborted
                .get(&txn.producer_id)
                .is_some_and(|open| txn.first_offset <= open.txn.last_offset);
            if !is_open {
                let open = OpenAborted {
                    txn,
                    has_batches: false,
                };
                self.aborted.insert(txn.producer_id, open);
            }
        }
    }
}
