//! ListTransactions: which ids pass.

use std::collections::BTreeSet;

use crate::allowance::Priced;
use crate::txn::reply::id_bytes;
use crate::txn::request::TransactionalId;
use crate::txn::transaction::{Transaction, TransactionState};

/// ListTransactions 0-2. What is `None` passes every id. The pattern of version 2 is not among this: matching takes long, so
/// whoever asks does it.
#[derive(Debug, Clone, Default)]
pub struct ListTransactions {
    pub states: Option<BTreeSet<TransactionState>>,
    pub producer_ids: Option<BTreeSet<i64>>,
    /// Version 1 and more: only transactions that began longer ago than this (KIP-994).
    pub longer_than_ms: Option<i64>,
}

impl ListTransactions {
    /// Whether the id passes, when the wall clock says `now_ms`. An id without a transaction passes for one that began long
    /// ago, as in Kafka.
    pub(super) fn passes(&self, transaction: &Transaction, now_ms: i64) -> bool {
        let open_ms = now_ms.saturating_sub(transaction.start_ms);
        let (states, producer_ids) = (self.states.as_ref(), self.producer_ids.as_ref());
        states.is_none_or(|states| states.contains(&transaction.state))
            && producer_ids.is_none_or(|ids| ids.contains(&transaction.producer.id))
            && self
                .longer_than_ms
                .is_none_or(|bound_ms| open_ms > bound_ms)
    }
}

/// One id of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTransaction {
    pub transactional_id: TransactionalId,
    pub producer_id: i64,
    pub state: TransactionState,
}

impl Priced for ListedTransaction {
    fn price_bytes(&self) -> usize {
        id_bytes(&self.transactional_id)
    }
}
