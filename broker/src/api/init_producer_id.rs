//! InitProducerId (key 22), versions 0-5.
//!
//! Gives an idempotent producer its id; epochs begin at 0. Ids are never given twice, not even after
//! a crash.
//!
//! Deviations: transactional ids are refused, since transactions are not served.

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;

use crate::authorizer::Resource;
use crate::context::RequestContext;
use crate::log_limited;

/// No producer id, no epoch.
const NONE: i64 = -1;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let refused = |error: ErrorCode| {
        InitProducerIdResponse::default()
            .with_error_code(error.into())
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
    };
    let view = ctx.view();
    let allowed = match &request.transactional_id {
        Some(id) => view.check(Operation::Write, Resource::TransactionalId(id)),
        None if view.allows_on_any_topic(Operation::Write) => Ok(()),
        None => view.check(Operation::IdempotentWrite, Resource::Cluster),
    };
    if let Err(denied) = allowed {
        return refused(denied);
    }
    // An id and its epoch belong together (KIP-360).
    if (request.producer_id.0 == NONE) != (i64::from(request.producer_epoch) == NONE) {
        return refused(ErrorCode::InvalidRequest);
    }
    match request.transactional_id {
        Some(id) if id.is_empty() => return refused(ErrorCode::InvalidRequest),
        Some(_) => return refused(ErrorCode::TransactionalIdAuthorizationFailed),
        None => {}
    }
    match view.metadata().new_producer_id().await {
        Ok(producer_id) => InitProducerIdResponse::default()
            .with_producer_id(producer_id.into())
            .with_producer_epoch(0),
        Err(problem) => {
            log_limited!(error, "cannot allocate a producer id: {problem}");
            refused(ErrorCode::CoordinatorNotAvailable)
        }
    }
}
