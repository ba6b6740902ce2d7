//! AddOffsetsToTxn (key 25), versions 0-4.
//!
//! Announces that a transaction will commit offsets of a group: adds the partition of `__consumer_offsets` that has them.
//! Clients of KIP-890 leave this out. Before v2 PRODUCER_FENCED is INVALID_PRODUCER_EPOCH.

use coordinators::machine::Producer;
use coordinators::txn::Adding;
use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;

use super::known_to;
use crate::context::RequestContext;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let error = add(ctx, &request).await.err().unwrap_or_default();
    AddOffsetsToTxnResponse::default().with_error_code(known_to(ctx.api_version >= 2, error).into())
}

async fn add(ctx: &RequestContext, request: &AddOffsetsToTxnRequest) -> Result<(), ErrorCode> {
    let view = ctx.view();
    let transactional_id = view.transactional_id(&request.transactional_id, Operation::Write)?;
    let group = view.group(&request.group_id, Operation::Read);
    let partition = view.groups().partition_of(group).await?;
    let producer = Producer {
        id: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let transactions = view.transactions();
    let added = transactions.add_partitions(
        transactional_id,
        producer,
        vec![partition],
        Adding::AddAhead,
    );
    added.await.into_iter().collect()
}
