//! DescribeTransactions (key 65), version 0 (KIP-664).
//!
//! There are no transactions yet: no transactional id is known. An empty one is INVALID_REQUEST, as in Kafka.

use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;

use crate::authorizer::Resource;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

/// What one answer takes, as a struct and encoded, without its id.
const STATE_BYTES: usize = 256;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DescribeTransactionsRequest,
) -> Result<DescribeTransactionsResponse, Unaffordable> {
    let ids_bytes = ctx.request_bytes;
    ctx.pay(request.transactional_ids.len() * STATE_BYTES + ids_bytes)
        .await?;
    let view = ctx.view();
    let states = request.transactional_ids.into_iter().map(|id| {
        let error = match view.check(Operation::Describe, Resource::TransactionalId(&id)) {
            Err(denied) => denied,
            Ok(()) if id.is_empty() => ErrorCode::InvalidRequest,
            Ok(()) => ErrorCode::TransactionalIdNotFound,
        };
        TransactionState::default()
            .with_transactional_id(id)
            .with_error_code(error.into())
    });
    Ok(DescribeTransactionsResponse::default().with_transaction_states(states.collect()))
}
