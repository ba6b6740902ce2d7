//! Whether the batches of a Produce request belong to a transaction that is open (KIP-890).
//!
//! A batch that comes after its transaction has ended would open one in its log that nobody ends, and hold up all who read
//! committed records only. So a log is asked first: if it knows the transaction, the batch may come. If not, it gives a guard,
//! and the transaction's coordinator is asked whether the partition belongs to the transaction, or to add it. The guard goes
//! with the batch. A marker that comes between has taken it away. The coordinator may be another broker, and so may be
//! whoever has written that marker: then the log first takes in what it may not have seen yet. What others write after that may
//! still take the guard away, or end the transaction that the log knew. Then the producer sends the batch again
//! ([`overtaken`]), and the coordinator is asked again.

use bytes::Bytes;
use coordinators::machine::{Partition as InTransaction, Producer};
use coordinators::txn::{Adding, TransactionalId};
use protocol_shim::ErrorCode;
use storage::log::VerificationGuard;
use storage::record::BatchHeader;
use storage::record::validate::only_batch;

use crate::authorizer::Authorized;
use crate::partition::errors;
use crate::partition::registry::Partition;
use crate::view::View;

/// From this version of Produce on, partitions are added to the transaction by the request that writes to them.
const FIRST_ADDING_VERSION: i16 = 12;
/// From this version on, clients know TRANSACTION_ABORTABLE.
const FIRST_ABORTABLE_VERSION: i16 = 11;

/// Why a partition takes no batch of a transaction.
pub(crate) struct Unverified {
    pub(crate) code: ErrorCode,
    pub(crate) message: Option<String>,
}

/// Whose transaction a partition's batch belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Transactional {
    pub(crate) producer: Producer,
    base_sequence: i32,
}

impl Transactional {
    /// `None` if the batch belongs to no transaction, or is none: then it is refused for that.
    pub(crate) fn of(records: &Bytes, zstd_allowed: bool) -> Option<Self> {
        let batch = only_batch(records, zstd_allowed).ok()?;
        let header = BatchHeader::parse(&batch).ok()?;
        header.is_transactional().then_some(Self {
            producer: Producer {
                id: header.producer_id,
                epoch: header.producer_epoch,
            },
            base_sequence: header.base_sequence,
        })
    }
}

/// Asks logs and coordinator about the partitions of a request of this version. All of them are of one producer.
///
/// The answer has a place for each partition: the guard that its batch needs, if it needs one.
pub(crate) async fn verify(
    view: &View<'_>,
    api_version: i16,
    transactional_id: Authorized<TransactionalId>,
    batches: Vec<Option<(&Partition, Transactional)>>,
) -> Vec<Result<Option<VerificationGuard>, Unverified>> {
    let adds = api_version >= FIRST_ADDING_VERSION;
    let mut outcomes = Vec::with_capacity(batches.len());
    let (mut asked, mut places) = (Vec::new(), Vec::new());
    let mut asker = None;
    let logs = batches
        .iter()
        .flatten()
        .map(|(partition, _)| &partition.log);
    let mut caught_up = view.catch_up(logs).await.into_iter();
    for batch in batches {
        let Some((partition, batch)) = batch else {
            outcomes.push(Ok(None));
            continue;
        };
        if let Some(Err(error)) = caught_up.next() {
            // It may take the transaction before for this one.
            outcomes.push(Err(Unverified {
                code: errors::of_read(&error),
                message: Some(error.to_string()),
            }));
            continue;
        }
        let Producer { id, epoch } = batch.producer;
        let log = &partition.log;
        let guard = log.begin_verification(id, epoch, batch.base_sequence, adds);
        if let Ok(Some(_)) = guard {
            let log = log.id();
            asked.push(InTransaction {
                topic: log.topic.clone(),
                topic_id: log.topic_id,
                index: log.partition,
            });
            places.push(outcomes.len());
            asker = Some(batch.producer);
        }
        outcomes.push(guard.map_err(|error| Unverified {
            code: errors::of_append(&error),
            message: Some(error.to_string()),
        }));
    }
    let Some(producer) = asker else {
        return outcomes;
    };
    let adding = match adds {
        true => Adding::Add,
        false => Adding::Verify,
    };
    let answers = view.add_to_transaction(transactional_id, producer, asked, adding);
    for (place, answer) in places.into_iter().zip(answers.await) {
        if let Err(error) = answer {
            view.transaction_stats().verification_failed();
            outcomes[place] = Err(told(error, api_version));
        }
    }
    outcomes
}

/// What a producer is told whose batch was verified, and is refused with INVALID_TXN_STATE because another broker has written to
/// the log since. That error would end the producer, and it may have done nothing wrong. If it has, it is told so when the batch
/// is verified again.
pub(crate) fn overtaken(api_version: i16) -> Unverified {
    told(ErrorCode::ConcurrentTransactions, api_version)
}

/// What a producer is told of a coordinator's error, as by Kafka's broker.
fn told(error: ErrorCode, api_version: i16) -> Unverified {
    let code = match error {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if api_version < FIRST_ABORTABLE_VERSION => {
            ErrorCode::InvalidTxnState
        }
        ErrorCode::ConcurrentTransactions if api_version >= FIRST_ADDING_VERSION => error,
        // It may pass, and this is what old producers try again after.
        ErrorCode::ConcurrentTransactions
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
        error => error,
    };
    let message = match code {
        ErrorCode::NotEnoughReplicas => Some(format!(
            "Unable to verify the partition has been added to the transaction. Underlying error: {error}"
        )),
        ErrorCode::InvalidTxnState => Some("Partition was not added to the transaction".to_owned()),
        _ => None,
    };
    Unverified { code, message }
}
