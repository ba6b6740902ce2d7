//! The coordinator of transactions: what transactions add to the runtime, and how requests reach a transactional id.

#![expect(
    clippy::disallowed_methods,
    reason = "each question about a transactional id has been checked"
)]

mod notes;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use coordinators::allowance::{Allowance, Priced};
use coordinators::machine::{Partition, Producer};
use coordinators::txn::{
    AddPartitions, Adding, DescribeTransactions, DescribedTransaction, EndTransaction,
    InitProducer, ListTransactions, ListedTransaction, Measures, Note, Outcome, Question,
    TRANSACTIONS_TOPIC, TransactionConfig, TransactionReply, TransactionRequest, TransactionShard,
    TransactionalId,
};
use protocol_shim::ErrorCode;

use crate::authorizer::Authorized;
use crate::coordinator::routing::Coordinator;
use crate::coordinator::runtime::Outside;
use crate::coordinator::shards::Shards;
use crate::coordinator::txn::notes::Line;
use crate::log_limited;
use crate::metadata::{Metadata, Published};

/// What the answers to one DescribeTransactions may take in memory.
const DESCRIPTION_BYTES: usize = 32 << 20;

/// Whoever serves the transactions.
pub(crate) type TransactionCoordinator = Coordinator<Transactions>;

/// What transactions need that takes longer than a step may.
pub struct Transactions {
    config: TransactionConfig,
    /// Has the producer ids.
    metadata: Metadata,
    catalog: Arc<()>,
}

impl Transactions {
    pub(crate) fn new(config: TransactionConfig, metadata: Metadata) -> Self {
        Self {
            config,
            metadata,
            catalog: Arc::new(()),
        }
    }
}

impl Outside for Transactions {
    type Machine = TransactionShard;
    const TOPIC: &'static str = TRANSACTIONS_TOPIC;
    const NAME: &'static str = "a shard of the transactions";

    fn machine(&self) -> TransactionShard {
        TransactionShard::new(self.config.clone())
    }

    /// A transaction needs to know nothing of the metadata.
    fn catalog(&self, _published: &Arc<Published>) -> Arc<()> {
        Arc::clone(&self.catalog)
    }

    fn line(note: Note) -> impl fmt::Display {
        Line(note)
    }

    async fn answer(self: Arc<Self>, question: Question, _: Arc<Published>) -> Option<Outcome> {
        let Question::ProducerIds { count } = question;
        let mut ids = Vec::with_capacity(count);
        while ids.len() < count {
            match self.metadata.new_producer_id().await {
                Ok(id) => ids.push(id),
                Err(problem) => {
                    log_limited!(error, "cannot allocate a producer id: {problem}");
                    break;
                }
            }
        }
        Some(Outcome::ProducerIds(ids))
    }
}

type Answer<T> = Result<T, ErrorCode>;

/// What a shard has answered, or why it has turned the request away. The reply is that of the request.
macro_rules! expect {
    ($reply:expr, $kind:ident) => {
        match $reply {
            TransactionReply::$kind(reply) => Ok(reply),
            TransactionReply::Refused(error) => Err(error),
            _ => Err(ErrorCode::UnknownServerError),
        }
    };
}

impl TransactionCoordinator {
    /// Makes somebody the producer of a transactional id, and fences whoever was it before.
    ///
    /// # Errors
    /// As Kafka says why not.
    pub(crate) async fn init_producer(
        &self,
        transactional_id: Authorized<TransactionalId>,
        timeout_ms: i32,
        expected: Option<Producer>,
    ) -> Answer<Producer> {
        let request = |transactional_id| {
            TransactionRequest::InitProducer(InitProducer {
                transactional_id,
                timeout_ms,
                expected,
            })
        };
        expect!(self.ask(transactional_id, request).await?, InitProducer)?
    }

    /// Adds partitions to a transaction, or verifies that they are in it. They exist. There is an outcome for each, in their
    /// order; it is durable.
    pub(crate) async fn add_partitions(
        &self,
        transactional_id: Authorized<TransactionalId>,
        producer: Producer,
        partitions: Vec<Partition>,
        adding: Adding,
    ) -> Vec<Answer<()>> {
        let count = partitions.len();
        let request = |transactional_id| {
            TransactionRequest::AddPartitions(AddPartitions {
                transactional_id,
                producer,
                partitions,
                adding,
            })
        };
        let reply = self.ask(transactional_id, request).await;
        let outcomes = reply.and_then(|reply| expect!(reply, AddPartitions));
        outcomes.unwrap_or_else(|error| vec![Err(error); count])
    }

    /// Ends a transaction. Gives the producer as it is afterwards; -1 and -1 if `version` leaves it as it is.
    ///
    /// # Errors
    /// As Kafka says why not.
    pub(crate) async fn end(
        &self,
        transactional_id: Authorized<TransactionalId>,
        producer: Producer,
        commit: bool,
        version: i16,
    ) -> Answer<Producer> {
        let request = |transactional_id| {
            TransactionRequest::End(EndTransaction {
                transactional_id,
                producer,
                commit,
                version,
            })
        };
        expect!(self.ask(transactional_id, request).await?, End)?
    }

    /// What is known of each id, in their order. All together keep to one allowance.
    pub(crate) async fn describe(
        &self,
        ids: Vec<Answer<Authorized<TransactionalId>>>,
    ) -> Vec<Answer<DescribedTransaction>> {
        let shards = match ids.iter().any(Result::is_ok) {
            true => self.serving().await,
            false => Err(ErrorCode::UnknownServerError),
        };
        let mut outcomes = Vec::with_capacity(ids.len());
        let mut by_shard: BTreeMap<usize, Vec<(usize, TransactionalId)>> = BTreeMap::new();
        for (place, id) in ids.into_iter().enumerate() {
            outcomes.push(Err(match (id.and_then(named), &shards) {
                (Ok(id), Ok(shards)) => {
                    let shard = shards.shard_of(&id);
                    if self.leads(shards, shard) {
                        by_shard.entry(shard).or_default().push((place, id));
                        ErrorCode::UnknownServerError
                    } else {
                        ErrorCode::NotCoordinator
                    }
                }
                (Err(error), _) => error,
                (Ok(_), Err(error)) => *error,
            }));
        }
        let Ok(shards) = shards else {
            return outcomes;
        };
        let mut allowance = Allowance::new(DESCRIPTION_BYTES);
        for (shard, asked) in by_shard {
            let (places, transactional_ids): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
            let request = DescribeTransactions {
                transactional_ids,
                allowance,
            };
            match shards.describe(shard, request).await {
                Ok(described) => {
                    for (place, described) in places.into_iter().zip(described) {
                        // What does not fit has been refused already.
                        let _ = allowance.spend(described.price_bytes());
                        outcomes[place] = Ok(described);
                    }
                }
                Err(error) => places
                    .iter()
                    .for_each(|place| outcomes[*place] = Err(error)),
            }
        }
        outcomes
    }

    /// All counts together; zero before the first use.
    ///
    /// # Errors
    /// A shard does not answer.
    pub(crate) async fn measures(&self) -> Answer<Measures> {
        let mut sum = Measures::default();
        let Ok(shards) = self.shards() else {
            return Ok(sum);
        };
        for shard in 0..shards.count() {
            match shards.request(shard, TransactionRequest::Measure).await {
                // Each broker measures what it serves.
                Err(ErrorCode::NotCoordinator) => {}
                reply => sum.add(&*expect!(reply?, Measure)?),
            }
        }
        Ok(sum)
    }

    /// Puts a request to the shard of an id, creating `__transaction_state` if need be. What is wrong with the request alone is said
    /// first, whichever broker has the shard.
    async fn ask(
        &self,
        transactional_id: Authorized<TransactionalId>,
        request: impl FnOnce(TransactionalId) -> TransactionRequest,
    ) -> Answer<TransactionReply> {
        let transactional_id = named(transactional_id)?;
        let request = request(transactional_id.clone());
        request.check(&self.outside().config)?;
        let (shards, shard) = self.serving_key(&transactional_id).await?;
        shards.request(shard, request).await
    }
}

impl Shards<TransactionShard> {
    async fn describe(
        &self,
        shard: usize,
        request: DescribeTransactions,
    ) -> Answer<Vec<DescribedTransaction>> {
        let request = TransactionRequest::Describe(request);
        expect!(self.request(shard, request).await?, Describe)
    }

    /// The ids of one shard that pass.
    ///
    /// # Errors
    /// The shard does not answer.
    pub(crate) async fn list(
        &self,
        shard: usize,
        request: ListTransactions,
    ) -> Answer<Vec<ListedTransaction>> {
        expect!(
            self.request(shard, TransactionRequest::List(request))
                .await?,
            List
        )
    }
}

/// An id that is one.
///
/// # Errors
/// INVALID_REQUEST if it is empty.
fn named(transactional_id: Authorized<TransactionalId>) -> Answer<TransactionalId> {
    match transactional_id.is_empty() {
        true => Err(ErrorCode::InvalidRequest),
        false => Ok(transactional_id.into_inner()),
    }
}
