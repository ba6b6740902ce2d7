//! What comes out of a [`TransactionShard`](super::TransactionShard).

use protocol_shim::ErrorCode;

use crate::allowance::{Priced, STRUCT_BYTES, text_bytes};
use crate::id::Name;
use crate::machine::{Producer, Refused};
use crate::txn::list::ListedTransaction;
use crate::txn::measures::Measures;
use crate::txn::request::TransactionalId;
use crate::txn::transaction::TransactionState;

/// The reply to the [request](super::TransactionRequest) of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionReply {
    /// The producer's id and epoch from now on.
    InitProducer(Result<Producer, ErrorCode>),
    /// One for each partition, in their order.
    AddPartitions(Vec<Result<(), ErrorCode>>),
    /// The producer's id and epoch from now on; -1 and -1 if they stay.
    End(Result<Producer, ErrorCode>),
    /// One for each id, in their order.
    Describe(Vec<DescribedTransaction>),
    List(Vec<ListedTransaction>),
    Measure(Box<Measures>),
    /// The owner turned the request away.
    Refused(ErrorCode),
}

impl From<Refused> for TransactionReply {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused.into())
    }
}

/// DescribeTransactions response, one id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedTransaction {
    pub transactional_id: TransactionalId,
    /// What is known of the id, or why nothing is told.
    pub outcome: Result<Description, ErrorCode>,
}

/// What is known of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub state: TransactionState,
    pub timeout_ms: i32,
    /// When the transaction began that is open or was the last one; -1 if there was none.
    pub start_ms: i64,
    pub producer: Producer,
    /// What the open transaction has written to.
    pub topics: Vec<(Name, Vec<i32>)>,
}

impl Priced for DescribedTransaction {
    fn price_bytes(&self) -> usize {
        let topics = self.outcome.iter().flat_map(|known| &known.topics);
        let topics = topics.map(|(name, indexes)| topic_bytes(name, indexes.len()));
        id_bytes(&self.transactional_id) + topics.sum::<usize>()
    }
}

/// What one id takes in an answer, without its topics.
pub(super) fn id_bytes(transactional_id: &TransactionalId) -> usize {
    STRUCT_BYTES + text_bytes(transactional_id)
}

/// What one topic takes: its partitions in the reply, in the wire struct, and encoded.
pub(super) fn topic_bytes(name: &Name, partition_count: usize) -> usize {
    STRUCT_BYTES + text_bytes(name) + 3 * size_of::<i32>() * partition_count
}
