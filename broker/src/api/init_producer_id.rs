//! InitProducerId (key 22), versions 0-5.
//!
//! Gives an idempotent producer its id; epochs begin at 0. Ids are never given twice, not even after a crash. A transactional
//! producer gets the next epoch of its transactional id (KIP-98), which fences whoever had it before. From v3 on it may say
//! who it is, to go on after an error (KIP-360). Before v4 PRODUCER_FENCED is INVALID_PRODUCER_EPOCH.
//!
//! Deviation: a transaction that is open is aborted before the answer, where Kafka answers CONCURRENT_TRANSACTIONS and lets
//! the client ask again.

use coordinators::machine::Producer;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;

use super::known_to;
use crate::authorizer::Resource;
use crate::context::RequestContext;
use crate::log_limited;

/// No producer id, no epoch.
const NONE: i64 = -1;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    match init(ctx, request).await {
        Ok(producer) => InitProducerIdResponse::default()
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(known_to(ctx.api_version >= 4, error).into())
            .with_producer_id(NONE.into())
            .with_producer_epoch(-1),
    }
}

async fn init(ctx: &RequestContext, request: InitProducerIdRequest) -> Result<Producer, ErrorCode> {
    let view = ctx.view();
    let transactional_id = match &request.transactional_id {
        Some(id) => Some(view.transactional_id(id, Operation::Write)?),
        None if view.allows_on_any_topic(Operation::Write) => None,
        None => {
            view.check(Operation::IdempotentWrite, Resource::Cluster)?;
            None
        }
    };
    // An id and its epoch belong together (KIP-360).
    let expected = match (request.producer_id.0, request.producer_epoch) {
        (NONE, -1) => None,
        (NONE, _) | (_, -1) => return Err(ErrorCode::InvalidRequest),
        (id, epoch) => Some(Producer { id, epoch }),
    };
    if let Some(id) = transactional_id {
        let timeout_ms = request.transaction_timeout_ms;
        let transactions = view.transactions();
        return transactions.init_producer(id, timeout_ms, expected).await;
    }
    match view.metadata().new_producer_id().await {
        Ok(id) => Ok(Producer { id, epoch: 0 }),
        Err(problem) => {
            log_limited!(error, "cannot allocate a producer id: {problem}");
            Err(ErrorCode::CoordinatorNotAvailable)
        }
    }
}
