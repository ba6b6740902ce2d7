//! What goes into a [`TransactionShard`](super::TransactionShard): one struct per request, free of wire types.
//!
//! A shard keeps the ids and the names of topics. They must be copies of their own. A slice of a request frame would pin the
//! frame for as long as the transaction is known.

use protocol_shim::ErrorCode;

use crate::allowance::Allowance;
use crate::id::ids;
use crate::machine::{Partition, Producer};
use crate::txn::config::TransactionConfig;
use crate::txn::list::ListTransactions;

ids! {
    /// `transactional.id`.
    TransactionalId;
}

/// A request to the transactions of one shard.
#[derive(Debug, Clone)]
pub enum TransactionRequest {
    /// InitProducerId, with a transactional id.
    InitProducer(InitProducer),
    /// AddPartitionsToTxn and AddOffsetsToTxn, and what Produce and TxnOffsetCommit need of them.
    AddPartitions(AddPartitions),
    /// EndTxn.
    End(EndTransaction),
    /// DescribeTransactions, of the ids that live in this shard.
    Describe(DescribeTransactions),
    /// ListTransactions, this shard's part.
    List(ListTransactions),
    /// What there is to measure.
    Measure,
}

impl TransactionRequest {
    /// Checks what can be checked without the transaction: any broker refuses it, whichever coordinates the id, as in Kafka.
    ///
    /// # Errors
    /// What to answer.
    pub fn check(&self, config: &TransactionConfig) -> Result<(), ErrorCode> {
        match self {
            Self::InitProducer(request) => request.check(config),
            _ => Ok(()),
        }
    }
}

/// InitProducerId 0-5.
#[derive(Debug, Clone)]
pub struct InitProducer {
    pub transactional_id: TransactionalId,
    pub timeout_ms: i32,
    /// Version 3 and more: who asks, if it has been initialized before (KIP-360).
    pub expected: Option<Producer>,
}

impl InitProducer {
    pub(super) fn check(&self, config: &TransactionConfig) -> Result<(), ErrorCode> {
        match (1..=config.max_timeout_ms).contains(&self.timeout_ms) {
            true => Ok(()),
            false => Err(ErrorCode::InvalidTransactionTimeout),
        }
    }
}

/// Partitions that a producer writes to in its transaction.
#[derive(Debug, Clone)]
pub struct AddPartitions {
    pub transactional_id: TransactionalId,
    pub producer: Producer,
    /// They exist.
    pub partitions: Vec<Partition>,
    pub adding: Adding,
}

/// What is to be done with partitions of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adding {
    /// They must be in it (KIP-890, part 1).
    Verify,
    /// They are added by the request that writes to them: Produce 12, TxnOffsetCommit 5 (KIP-890, part 2).
    Add,
    /// They are added before the request that writes to them, as clients did before.
    AddAhead,
}

/// EndTxn 0-5.
#[derive(Debug, Clone)]
pub struct EndTransaction {
    pub transactional_id: TransactionalId,
    pub producer: Producer,
    pub commit: bool,
    /// 2 (KIP-890) for version 5 of the API, else 0.
    pub version: i16,
}

/// DescribeTransactions 0.
#[derive(Debug, Clone)]
pub struct DescribeTransactions {
    pub transactional_ids: Vec<TransactionalId>,
    pub allowance: Allowance,
}
