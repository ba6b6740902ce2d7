//! EndTxn: whether a transaction ends, has ended already, or is somebody else's.

use protocol_shim::ErrorCode;

use crate::machine::Producer;
use crate::txn::EPOCH_PER_TRANSACTION;
use crate::txn::request::EndTransaction;
use crate::txn::transaction::TransactionState::*;
use crate::txn::transaction::{LAST_EPOCH, NO_EPOCH, NO_PRODUCER_ID, Transaction};

/// What EndTxn leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The transaction ends now.
    Ends,
    /// It has ended so. The client has not heard the answer.
    Ended(Producer),
}

/// The answer to clients that keep their id and epoch.
pub(super) const UNCHANGED: Producer = Producer {
    id: NO_PRODUCER_ID,
    epoch: NO_EPOCH,
};

pub(super) fn verdict(
    transaction: &Transaction,
    request: &EndTransaction,
) -> Result<Verdict, ErrorCode> {
    match request.version >= EPOCH_PER_TRANSACTION {
        true => verdict_by_epoch(transaction, request),
        false => verdict_by_state(transaction, request),
    }
}

/// Versions 0 to 4. Epochs stay, so the state alone tells a retry from the end of the next transaction. It cannot if the
/// next one has begun already.
fn verdict_by_state(
    transaction: &Transaction,
    request: &EndTransaction,
) -> Result<Verdict, ErrorCode> {
    transaction.check(request.producer)?;
    let is_same = transaction.state.is_commit() == Some(request.commit);
    match transaction.state {
        Ongoing => Ok(Verdict::Ends),
        PrepareCommit | PrepareAbort if is_same => Err(ErrorCode::ConcurrentTransactions),
        CompleteCommit | CompleteAbort if is_same => Ok(Verdict::Ended(UNCHANGED)),
        _ => Err(ErrorCode::InvalidTxnState),
    }
}

/// From version 5 on (KIP-890). Each transaction has an epoch of its own, so the one before is that of a retry.
///
/// Not if the last transaction went by an older version: then the epoch before is that of a producer that was fenced. Kafka takes it
/// for a retry and gives it the epoch of its successor. Batches of the one may then pass for duplicates of the other's.
fn verdict_by_epoch(
    transaction: &Transaction,
    request: &EndTransaction,
) -> Result<Verdict, ErrorCode> {
    let (state, current, asking) = (transaction.state, transaction.producer, request.producer);
    let had_epoch_before = i32::from(asking.epoch) + 1 == i32::from(current.epoch);
    let had_id_before = asking.id == transaction.previous_producer_id
        && asking.epoch == LAST_EPOCH
        && current.epoch == 0;
    if asking.id != current.id && !had_id_before {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    let is_retry =
        transaction.version >= EPOCH_PER_TRANSACTION && (had_epoch_before || had_id_before);
    let is_current = asking.epoch == current.epoch;
    let is_known = match state {
        Empty | Ongoing => is_current,
        PrepareCommit | PrepareAbort => is_retry && had_epoch_before,
        CompleteCommit | CompleteAbort => is_current || is_retry,
    };
    if !is_known {
        return Err(ErrorCode::ProducerFenced);
    }
    let is_same = state.is_commit() == Some(request.commit);
    match state {
        Ongoing => Ok(Verdict::Ends),
        _ if state.is_prepare() && is_same => Err(ErrorCode::ConcurrentTransactions),
        _ if state.is_complete() && is_retry && is_same => Ok(Verdict::Ended(current)),
        // A client may abort before its first write has arrived.
        Empty | CompleteCommit | CompleteAbort if !is_retry && !request.commit => Ok(Verdict::Ends),
        _ => Err(ErrorCode::InvalidTxnState),
    }
}
