//! What a request, an answer or the passing of time brings about.

use crate::machine::Producer;
use crate::txn::measures::Cause;
use crate::txn::record::TransactionRecord;
use crate::txn::reply::TransactionReply;
use crate::txn::request::TransactionalId;

/// The outcome of one step of a shard.
pub type Effects = crate::machine::Effects<TransactionRecord, TransactionReply, Question, Note>;

/// Something that a shard wants to know and that takes long to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Producer ids that nobody has had before.
    ProducerIds { count: usize },
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Fewer than asked for if there are none to be had.
    ProducerIds(Vec<i64>),
}

/// Something worth a line in the broker's log. The owner puts it into words, since clients chose the names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub transactional_id: TransactionalId,
    pub what: NoteKind,
}

/// What happened to a transactional id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteKind {
    /// A producer has begun to use it. Others that use it are fenced.
    Initialized(Producer),
    /// Its transaction has been aborted, and not by its producer.
    Aborted {
        cause: Cause,
        /// The producer that had begun it.
        producer: Producer,
        open_ms: i64,
    },
    /// It was silent for `transactional.id.expiration.ms`.
    Expired,
}
