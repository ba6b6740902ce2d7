//! DescribeTransactions (key 65), version 0 (KIP-664).
//!
//! What is known of transactional ids. An unknown one is TRANSACTIONAL_ID_NOT_FOUND, an empty one INVALID_REQUEST. Partitions
//! of topics that the client may not describe are left out.
//!
//! Deviation: when the answer has become too large, the ids that are left are COORDINATOR_LOAD_IN_PROGRESS.

use coordinators::txn::Description;
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;

use super::{PART_BYTES, pay_for_described, wire};
use crate::authorizer::Resource;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;
use crate::view::View;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DescribeTransactionsRequest,
) -> Result<DescribeTransactionsResponse, Unaffordable> {
    let ids = request.transactional_ids;
    ctx.pay(PART_BYTES * ids.len() + ctx.request_bytes).await?;
    let view = ctx.view();
    let asked = ids
        .iter()
        .map(|id| view.transactional_id(id, Operation::Describe));
    let described = view.transactions().describe(asked.collect()).await;
    pay_for_described(ctx, &described).await?;
    let states = ids.into_iter().zip(described).map(|(id, described)| {
        let outcome = described.and_then(|described| described.outcome);
        let state = match outcome {
            Ok(known) => state(&view, known),
            Err(error) => TransactionState::default().with_error_code(error.into()),
        };
        state.with_transactional_id(id)
    });
    Ok(DescribeTransactionsResponse::default().with_transaction_states(states.collect()))
}

fn state(view: &View<'_>, known: Description) -> TransactionState {
    let may_describe = |name: &str| view.shows(Operation::Describe, Resource::Topic(name));
    let topics = known.topics.into_iter();
    let topics = topics.filter(|(name, _)| may_describe(name));
    let topics = topics.map(|(name, partitions)| {
        TopicData::default()
            .with_topic(wire(&name).into())
            .with_partitions(partitions)
    });
    TransactionState::default()
        .with_transaction_state(StrBytes::from_static_str(known.state.name()))
        .with_transaction_timeout_ms(known.timeout_ms)
        .with_transaction_start_time_ms(known.start_ms)
        .with_producer_id(known.producer.id.into())
        .with_producer_epoch(known.producer.epoch)
        .with_topics(topics.collect())
}
