//! Transactions: who may write under which transactional id, and how each transaction ends.
//!
//! A [`TransactionShard`] holds all transactional ids that hash to one partition of `__transaction_state`
//! ([`partition_for`](crate::partition_for)). It is a [`Machine`](crate::machine::Machine), which says how its owner drives
//! it. In addition:
//!
//! * **Ending**: a transaction ends in one step. Its markers and the record that completes it are one
//!   [`Write::Joint`](crate::machine::Write::Joint), so a crash leaves the transaction open or ended, and nothing in between.
//!   Kafka answers before the markers are written; a shard answers after them.
//! * **Producer ids**: a shard keeps a few at hand. When it runs low it asks [`Question::ProducerIds`]. A request that needs
//!   an id while there is none waits for the answer.
//!
//! # What is durable
//!
//! Everything: a record says all there is to know of a transactional id, and a replay of the records gives the same state.
//! Only the ids of topics are not in the records, as in Kafka. After a restart, a transaction knows its partitions by name.
//!
//! # What is not as in Kafka
//!
//! * InitProducerId on an open transaction aborts it and answers in the same step. Kafka tells the client to try again.
//!   Both give the same epochs.
//! * InitProducerId on an open transaction with an epoch that is not the current one is refused. In Kafka it aborts the
//!   transaction of whoever came later.
//! * A transaction that is open for too long is aborted when its time is up, not at the next round of a timer.
//! * The last epoch of a producer survives a restart, in a tagged field that Kafka skips.

mod config;
mod effects;
mod end;
mod list;
mod measures;
mod partitions;
mod record;
mod reply;
mod request;
mod shard;
mod stock;
mod transaction;

#[cfg(test)]
mod tests;

pub use config::TransactionConfig;
pub use effects::{Effects, Note, NoteKind, Outcome, Question};
pub use list::{ListTransactions, ListedTransaction};
pub use measures::{Cause, Ended, Measures};
pub use record::TransactionRecord;
pub use reply::*;
pub use request::*;
pub use shard::TransactionShard;
pub use transaction::TransactionState;

/// The topic that the state of transactions lives in.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// The transactions of a producer that is given a new epoch with each of them (KIP-890).
pub const EPOCH_PER_TRANSACTION: i16 = 2;
