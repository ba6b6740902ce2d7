//! EndTxn (key 26), versions 0-5.
//!
//! Commits or aborts a transaction. From v5 on (KIP-890) the producer has another epoch afterwards, or another id when there
//! is none left; an answer that was lost is given again. Before v2 PRODUCER_FENCED is INVALID_PRODUCER_EPOCH.
//!
//! The transaction has ended in all its partitions when this is answered. Kafka answers before, and refuses the producer's
//! next transaction for a while.

use coordinators::machine::Producer;
use coordinators::txn::EPOCH_PER_TRANSACTION;
use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse};
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;

use super::known_to;
use crate::context::RequestContext;

pub(crate) async fn handle(ctx: &RequestContext, request: EndTxnRequest) -> EndTxnResponse {
    match end(ctx, &request).await {
        Ok(producer) if ctx.api_version >= 5 => EndTxnResponse::default()
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch),
        Ok(_) => EndTxnResponse::default(),
        Err(error) => {
            let error = known_to(ctx.api_version >= 2, error);
            EndTxnResponse::default().with_error_code(error.into())
        }
    }
}

async fn end(ctx: &RequestContext, request: &EndTxnRequest) -> Result<Producer, ErrorCode> {
    let view = ctx.view();
    let transactional_id = view.transactional_id(&request.transactional_id, Operation::Write)?;
    let producer = Producer {
        id: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let version = match ctx.api_version {
        ..5 => 0,
        5.. => EPOCH_PER_TRANSACTION,
    };
    let transactions = view.transactions();
    let ended = transactions.end(transactional_id, producer, request.committed, version);
    ended.await
}
