//! AddPartitionsToTxn (key 24), versions 0-5.
//!
//! Announces which partitions a transaction will write to. Up to v3 a producer asks, for its own transaction. It gets all of
//! them or none: those that it may not write to, or that are not there, are told apart from the others, which are
//! OPERATION_NOT_ATTEMPTED. From v4 on (KIP-890) a broker asks, for many transactions; it may ask whether partitions are in
//! them without adding any. Before v2 PRODUCER_FENCED is INVALID_PRODUCER_EPOCH.

use coordinators::machine::{Partition, Producer};
use coordinators::txn::{Adding, TransactionalId};
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;

use super::{PART_BYTES, known_to};
use crate::authorizer::{Authorized, Resource};
use crate::context::RequestContext;
use crate::coordinator::txn::TransactionCoordinator;
use crate::metadata::INTERNAL_TOPICS;
use crate::net::account::Unaffordable;
use crate::view::Topic;

/// A partition on its way to its transaction, its outcome, and its result encoded.
const PARTITION_BYTES: usize = size_of::<Result<Partition, ErrorCode>>()
    + size_of::<Partition>()
    + 2 * size_of::<Result<(), ErrorCode>>()
    + size_of::<AddPartitionsToTxnPartitionResult>()
    + 8;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: AddPartitionsToTxnRequest,
) -> Result<AddPartitionsToTxnResponse, Unaffordable> {
    match ctx.api_version {
        ..4 => of_producer(ctx, request).await,
        4.. => of_broker(ctx, request.transactions).await,
    }
}

/// Up to version 3.
async fn of_producer(
    ctx: &RequestContext,
    request: AddPartitionsToTxnRequest,
) -> Result<AddPartitionsToTxnResponse, Unaffordable> {
    let topics = &request.v3_and_below_topics;
    ctx.pay(cost(topics)).await?;
    let view = ctx.view();
    let asked = Asked {
        transactional_id: view
            .transactional_id(&request.v3_and_below_transactional_id, Operation::Write),
        producer: Producer {
            id: request.v3_and_below_producer_id.0,
            epoch: request.v3_and_below_producer_epoch,
        },
        topics,
        adding: Adding::AddAhead,
        knows_fencing: ctx.api_version >= 2,
    };
    let writable = |name: &str| match INTERNAL_TOPICS.contains(&name) {
        true => Err(ErrorCode::TopicAuthorizationFailed),
        false => view.topic(name, Operation::Write),
    };
    let results = asked.add(view.transactions(), writable).await;
    Ok(AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results))
}

/// From version 4 on.
async fn of_broker(
    ctx: &RequestContext,
    transactions: Vec<AddPartitionsToTxnTransaction>,
) -> Result<AddPartitionsToTxnResponse, Unaffordable> {
    let costs = transactions.iter();
    let costs = costs.map(|transaction| PART_BYTES + cost(&transaction.topics));
    ctx.pay(costs.sum()).await?;
    let view = ctx.view();
    if let Err(denied) = view.check(Operation::ClusterAction, Resource::Cluster) {
        return Ok(AddPartitionsToTxnResponse::default().with_error_code(denied.into()));
    }
    let mut results = Vec::with_capacity(transactions.len());
    for transaction in transactions {
        let asked = Asked {
            transactional_id: view.transactional_id_of_cluster(
                &transaction.transactional_id,
                Operation::ClusterAction,
            ),
            producer: Producer {
                id: transaction.producer_id.0,
                epoch: transaction.producer_epoch,
            },
            topics: &transaction.topics,
            adding: match transaction.verify_only {
                true => Adding::Verify,
                false => Adding::Add,
            },
            knows_fencing: true,
        };
        let known = |name: &str| view.topic_of_cluster(name, Operation::ClusterAction);
        let topic_results = asked.add(view.transactions(), known).await;
        results.push(
            AddPartitionsToTxnResult::default()
                .with_transactional_id(transaction.transactional_id)
                .with_topic_results(topic_results),
        );
    }
    Ok(AddPartitionsToTxnResponse::default().with_results_by_transaction(results))
}

/// What is asked of one transaction.
struct Asked<'a> {
    transactional_id: Result<Authorized<TransactionalId>, ErrorCode>,
    producer: Producer,
    topics: &'a [AddPartitionsToTxnTopic],
    adding: Adding,
    /// Whether the version knows PRODUCER_FENCED.
    knows_fencing: bool,
}

impl Asked<'_> {
    async fn add<'v>(
        self,
        transactions: &TransactionCoordinator,
        find: impl Fn(&str) -> Result<Topic<'v>, ErrorCode>,
    ) -> Vec<AddPartitionsToTxnTopicResult> {
        let found = self.topics.iter().flat_map(|topic| {
            let found = find(&topic.name);
            let indexes = topic.partitions.iter();
            indexes.map(move |index| partition(&found, *index))
        });
        let found: Vec<Result<Partition, ErrorCode>> = found.collect();
        let outcomes: Vec<Result<(), ErrorCode>> = match self.transactional_id {
            Err(denied) => vec![Err(denied); found.len()],
            Ok(_) if found.iter().any(Result::is_err) => {
                let outcome = |found: &Result<_, ErrorCode>| match found {
                    Ok(_) => Err(ErrorCode::OperationNotAttempted),
                    Err(error) => Err(*error),
                };
                found.iter().map(outcome).collect()
            }
            Ok(id) => {
                let partitions = found.into_iter().flatten().collect();
                let added = transactions.add_partitions(id, self.producer, partitions, self.adding);
                added.await
            }
        };
        let known =
            |outcome: Result<(), _>| outcome.map_err(|error| known_to(self.knows_fencing, error));
        results(self.topics, outcomes.into_iter().map(known))
    }
}

fn partition(topic: &Result<Topic<'_>, ErrorCode>, index: i32) -> Result<Partition, ErrorCode> {
    let topic = (*topic)?;
    match topic.has_partition(index) {
        true => Ok(Partition {
            topic: topic.name.clone(),
            topic_id: topic.topic_id,
            index,
        }),
        false => Err(ErrorCode::UnknownTopicOrPartition),
    }
}

/// The outcomes of all partitions that a request names, in its order.
fn results(
    topics: &[AddPartitionsToTxnTopic],
    mut outcomes: impl Iterator<Item = Result<(), ErrorCode>>,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let results = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(&mut outcomes);
        let partitions = partitions.map(|(index, outcome)| {
            let error = outcome.err().unwrap_or_default();
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*index)
                .with_partition_error_code(error.into())
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions.collect())
    });
    results.collect()
}

fn cost(topics: &[AddPartitionsToTxnTopic]) -> usize {
    let partitions = topics.iter().map(|topic| topic.partitions.len());
    PART_BYTES * topics.len() + PARTITION_BYTES * partitions.sum::<usize>()
}
