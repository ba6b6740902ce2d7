//! ListTransactions (key 66), versions 0-2 (KIP-664, KIP-994, KIP-1152).
//!
//! All transactional ids that the client may describe, by state, by producer id, from v1 on by how long their transaction has
//! been open, and from v2 on by a regular expression for the whole id. States that Kafka does not know are told as such. An
//! expression that cannot be compiled is INVALID_REGULAR_EXPRESSION.

#![expect(
    clippy::disallowed_methods,
    reason = "leaves out what the client may not describe"
)]

use std::sync::Arc;

use coordinators::pattern::NamePattern;
use coordinators::txn::{self, ListTransactions, ListedTransaction};
use kafka_protocol::messages::list_transactions_response::TransactionState;
use kafka_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;

use super::{PART_BYTES, wire};
use crate::authorizer::Resource;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

/// States that Kafka knows and no transaction is ever in.
const UNUSED_STATES: [&str; 2] = ["Dead", "PrepareEpochFence"];

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: ListTransactionsRequest,
) -> Result<ListTransactionsResponse, Unaffordable> {
    let refused =
        |error: ErrorCode| Ok(ListTransactionsResponse::default().with_error_code(error.into()));
    let (filter, unknown) = filter(&request);
    let response = ListTransactionsResponse::default().with_unknown_state_filters(unknown);
    let pattern = match request.transactional_id_pattern {
        Some(pattern) if !pattern.is_empty() => match compiled(pattern).await {
            Ok(pattern) => Some(pattern),
            Err(error) => return refused(error),
        },
        _ => None,
    };
    let view = ctx.view();
    // Before the first producer has asked for one there are no shards, and no transactional ids.
    let Ok(shards) = view.transactions().shards() else {
        return Ok(response);
    };
    let mut states = Vec::new();
    for shard in 0..shards.count() {
        let mut listed = match shards.list(shard, filter.clone()).await {
            Ok(listed) => listed,
            // Another broker has it, and is asked as well.
            Err(ErrorCode::NotCoordinator) => continue,
            Err(error) => return refused(error),
        };
        listed.retain(|listed| {
            let resource = Resource::TransactionalId(&listed.transactional_id);
            view.shows(Operation::Describe, resource)
        });
        if let Some(pattern) = &pattern {
            listed = matching(Arc::clone(pattern), listed).await;
        }
        let names = listed
            .iter()
            .map(|listed| 2 * listed.transactional_id.len());
        ctx.pay_for_all(PART_BYTES * listed.len() + names.sum::<usize>())
            .await?;
        states.extend(listed.into_iter().map(|listed| {
            TransactionState::default()
                .with_transactional_id(wire(&listed.transactional_id).into())
                .with_producer_id(listed.producer_id.into())
                .with_transaction_state(StrBytes::from_static_str(listed.state.name()))
        }));
    }
    Ok(response.with_transaction_states(states))
}

/// What is to be listed, and the states among it that there are not.
fn filter(request: &ListTransactionsRequest) -> (ListTransactions, Vec<StrBytes>) {
    let named = |name: &StrBytes| {
        let mut states = txn::TransactionState::ALL.into_iter();
        states.find(|state| state.name() == name.as_str())
    };
    let names = &request.state_filters;
    let is_unknown =
        |name: &&StrBytes| named(name).is_none() && !UNUSED_STATES.contains(&name.as_str());
    let mut unknown: Vec<StrBytes> = names.iter().filter(is_unknown).cloned().collect();
    unknown.sort_unstable();
    unknown.dedup();
    let producer_ids = request.producer_id_filters.iter().map(|id| id.0);
    let filter = ListTransactions {
        states: (!names.is_empty()).then(|| names.iter().filter_map(named).collect()),
        producer_ids: Some(producer_ids.collect())
            .filter(|ids: &std::collections::BTreeSet<i64>| !ids.is_empty()),
        longer_than_ms: Some(request.duration_filter).filter(|bound_ms| *bound_ms >= 0),
    };
    (filter, unknown)
}

/// Compiles an expression, which takes some milliseconds, on a thread for it.
async fn compiled(pattern: StrBytes) -> Result<Arc<NamePattern>, ErrorCode> {
    let compiled = tokio::task::spawn_blocking(move || NamePattern::compile(&pattern));
    match compiled.await {
        Ok(compiled) => compiled
            .map(Arc::new)
            .map_err(|_| ErrorCode::InvalidRegularExpression),
        // The runtime goes down.
        Err(_) => Err(ErrorCode::CoordinatorNotAvailable),
    }
}

/// Those of a shard whose id matches, which may take long to find out: on a thread for it.
async fn matching(
    pattern: Arc<NamePattern>,
    mut listed: Vec<ListedTransaction>,
) -> Vec<ListedTransaction> {
    let matched = tokio::task::spawn_blocking(move || {
        listed.retain(|listed| pattern.matches(&listed.transactional_id));
        listed
    });
    matched.await.unwrap_or_default()
}
