//! What a shard does for each request.

use protocol_shim::ErrorCode;

use super::{Now, TransactionShard};
use crate::allowance::{Allowance, Priced};
use crate::machine::{Producer, Token};
use crate::txn::EPOCH_PER_TRANSACTION;
use crate::txn::effects::{Effects, Note, NoteKind};
use crate::txn::end::{UNCHANGED, Verdict, verdict};
use crate::txn::list::{ListTransactions, ListedTransaction};
use crate::txn::measures::Cause;
use crate::txn::record::TransactionRecord;
use crate::txn::reply::{DescribedTransaction, Description, TransactionReply, id_bytes};
use crate::txn::request::{
    AddPartitions, Adding, DescribeTransactions, EndTransaction, InitProducer, TransactionRequest,
    TransactionalId,
};
use crate::txn::stock::{NoProducerId, Waiting};
use crate::txn::transaction::{Refusal, Transaction, TransactionState};

impl TransactionShard {
    /// Serves a request, or lets it wait for a producer id.
    pub(super) fn serve(
        &mut self,
        now: Now,
        token: Token,
        request: TransactionRequest,
        effects: &mut Effects,
    ) {
        match self.reply(now, &request, effects) {
            Ok(reply) => effects.reply(token, reply),
            Err(NoProducerId) => self.stock.wait(Waiting::Request(token, request)),
        }
    }

    fn reply(
        &mut self,
        now: Now,
        request: &TransactionRequest,
        effects: &mut Effects,
    ) -> Result<TransactionReply, NoProducerId> {
        Ok(match request {
            TransactionRequest::InitProducer(request) => {
                let producer = self.init_producer(now, request, effects);
                TransactionReply::InitProducer(or_wait(producer)?)
            }
            TransactionRequest::AddPartitions(request) => {
                let count = request.partitions.len();
                let added = self.add_partitions(now, request, effects);
                let added = added.unwrap_or_else(|error| vec![Err(error); count]);
                TransactionReply::AddPartitions(added)
            }
            TransactionRequest::End(request) => {
                let producer = self.end_transaction(now, request, effects);
                TransactionReply::End(or_wait(producer)?)
            }
            TransactionRequest::Describe(request) => {
                TransactionReply::Describe(self.describe(request))
            }
            TransactionRequest::List(request) => TransactionReply::List(self.list(now, request)),
            TransactionRequest::Measure => {
                TransactionReply::Measure(Box::new(self.measures.clone()))
            }
        })
    }

    fn init_producer(
        &mut self,
        now: Now,
        request: &InitProducer,
        effects: &mut Effects,
    ) -> Result<Producer, Refusal> {
        let InitProducer {
            transactional_id,
            timeout_ms,
            expected,
        } = request;
        request.check(&self.config)?;
        let unused;
        let current = match self.transactions.get(transactional_id) {
            Some(current) => current,
            None => {
                unused = Transaction::unused(self.stock.take()?, now.wall_ms);
                &unused
            }
        };
        if let Some(expected) = expected {
            current.check_expected(*expected)?;
        }
        if current.state.is_prepare() {
            return Err(ErrorCode::ConcurrentTransactions.into());
        }
        let is_open = current.state == TransactionState::Ongoing;
        let stock = &mut self.stock;
        let (prepared, next) = if is_open {
            let prepared = current.prepared(false, EPOCH_PER_TRANSACTION, now.wall_ms, stock)?;
            let completed = prepared.completed(now.wall_ms);
            let next = completed.initialized(*expected, *timeout_ms, now.wall_ms, stock)?;
            (Some(prepared), next)
        } else {
            let next = current.initialized(*expected, *timeout_ms, now.wall_ms, stock)?;
            (None, next)
        };
        let producer = next.producer;
        match prepared {
            Some(prepared) => {
                self.end(
                    now,
                    transactional_id,
                    &prepared,
                    next,
                    Cause::Fence,
                    effects,
                );
            }
            None => {
                let record = TransactionRecord {
                    transactional_id: transactional_id.clone(),
                    value: Some(next),
                };
                self.write(now, record, effects)?;
            }
        }
        effects.notes.push(Note {
            transactional_id: transactional_id.clone(),
            what: NoteKind::Initialized(producer),
        });
        Ok(producer)
    }

    fn add_partitions(
        &mut self,
        now: Now,
        request: &AddPartitions,
        effects: &mut Effects,
    ) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
        let partitions = &request.partitions;
        let current = self.checked(&request.transactional_id, request.producer)?;
        if current.state.is_prepare() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let mut in_it = partitions
            .iter()
            .map(|new| current.partitions.contains(new));
        let version = match request.adding {
            Adding::Verify => {
                let outcome = |is_in_it| match is_in_it {
                    true => Ok(()),
                    false => Err(ErrorCode::TransactionAbortable),
                };
                return Ok(in_it.map(outcome).collect());
            }
            Adding::Add => EPOCH_PER_TRANSACTION,
            Adding::AddAhead => 0,
        };
        let is_open = current.state == TransactionState::Ongoing;
        if !(is_open && in_it.all(|is_in_it| is_in_it)) {
            let record = TransactionRecord {
                transactional_id: request.transactional_id.clone(),
                value: Some(current.with(partitions, version, now.wall_ms)),
            };
            self.write(now, record, effects)?;
        }
        Ok(vec![Ok(()); partitions.len()])
    }

    fn end_transaction(
        &mut self,
        now: Now,
        request: &EndTransaction,
        effects: &mut Effects,
    ) -> Result<Producer, Refusal> {
        let transactional_id = &request.transactional_id;
        let current = self.transactions.get(transactional_id);
        let current = current.ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if let Verdict::Ended(producer) = verdict(current, request)? {
            return Ok(producer);
        }
        let (commit, version) = (request.commit, request.version);
        let prepared = current.prepared(commit, version, now.wall_ms, &mut self.stock)?;
        let completed = prepared.completed(now.wall_ms);
        let producer = match version >= EPOCH_PER_TRANSACTION {
            true => completed.producer,
            false => UNCHANGED,
        };
        self.end(
            now,
            transactional_id,
            &prepared,
            completed,
            Cause::Client,
            effects,
        );
        Ok(producer)
    }

    fn checked(
        &self,
        transactional_id: &TransactionalId,
        producer: Producer,
    ) -> Result<&Transaction, ErrorCode> {
        let current = self.transactions.get(transactional_id);
        let current = current.ok_or(ErrorCode::InvalidProducerIdMapping)?;
        current.check(producer)?;
        Ok(current)
    }

    fn describe(&self, request: &DescribeTransactions) -> Vec<DescribedTransaction> {
        let mut allowance = request.allowance;
        let ids = request.transactional_ids.iter();
        let described = ids.map(|transactional_id| DescribedTransaction {
            transactional_id: transactional_id.clone(),
            outcome: self.description(transactional_id, &mut allowance),
        });
        described.collect()
    }

    fn description(
        &self,
        transactional_id: &TransactionalId,
        allowance: &mut Allowance,
    ) -> Result<Description, ErrorCode> {
        let current = self.transactions.get(transactional_id);
        let current = current.ok_or(ErrorCode::TransactionalIdNotFound)?;
        let indexes_bytes = size_of::<i32>() * current.partitions.len();
        allowance.expect_at_least(id_bytes(transactional_id) + indexes_bytes)?;
        let topics = current.partitions.by_topic().into_iter();
        let topics = topics.map(|(name, indexes)| (name.clone(), indexes.into_iter().collect()));
        let described = DescribedTransaction {
            transactional_id: transactional_id.clone(),
            outcome: Ok(Description {
                state: current.state,
                timeout_ms: current.timeout_ms,
                start_ms: current.start_ms,
                producer: current.producer,
                topics: topics.collect(),
            }),
        };
        allowance.spend(described.price_bytes())?;
        described.outcome
    }

    fn list(&self, now: Now, request: &ListTransactions) -> Vec<ListedTransaction> {
        let all = self.transactions.iter();
        let passing = all.filter(|(_, transaction)| request.passes(transaction, now.wall_ms));
        let listed = passing.map(|(transactional_id, transaction)| ListedTransaction {
            transactional_id: transactional_id.clone(),
            producer_id: transaction.producer.id,
            state: transaction.state,
        });
        listed.collect()
    }
}

/// A request that needs a producer id waits for it. Every other refusal is an answer.
fn or_wait<T>(outcome: Result<T, Refusal>) -> Result<Result<T, ErrorCode>, NoProducerId> {
    match outcome {
        Ok(outcome) => Ok(Ok(outcome)),
        Err(Refusal::Error(error)) => Ok(Err(error)),
        Err(Refusal::NoProducerId) => Err(NoProducerId),
    }
}
