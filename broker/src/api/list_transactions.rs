//! ListTransactions (key 66), versions 0-2 (KIP-664, KIP-994, KIP-1152).
//!
//! There are no transactions yet, so none is listed; states that Kafka does not know are told as such. v2 can filter by
//! a regular expression: one that cannot be compiled is INVALID_REGULAR_EXPRESSION.

use kafka_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};
use protocol_shim::ErrorCode;
use regex::RegexBuilder;

use crate::context::RequestContext;

/// Names of Kafka's `TransactionState`.
const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];
/// Compiling a pattern may take no more memory, and with it time, than this.
const PATTERN_BYTES_MAX: usize = 32 << 10;

pub(crate) async fn handle(
    _ctx: &RequestContext,
    request: ListTransactionsRequest,
) -> ListTransactionsResponse {
    let pattern = request.transactional_id_pattern.as_deref().unwrap_or("");
    let compiled = RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .build();
    if compiled.is_err() {
        return ListTransactionsResponse::default()
            .with_error_code(ErrorCode::InvalidRegularExpression.into());
    }
    let mut unknown = request.state_filters;
    unknown.retain(|state| !STATES.contains(&state.as_str()));
    unknown.sort_unstable();
    unknown.dedup();
    ListTransactionsResponse::default().with_unknown_state_filters(unknown)
}
