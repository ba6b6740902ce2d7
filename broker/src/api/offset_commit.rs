//! OffsetCommit (key 8), versions 2-10.
//!
//! Commits offsets durably: the response leaves when they are on stable media. Partitions that
//! do not exist get UNKNOWN_TOPIC_OR_PARTITION, the others go on. From v10 topics are named by their ids, and one that
//! does not exist gets UNKNOWN_TOPIC_ID. See [`coordinators::group`].

use coordinators::group::CommitOffsets;
use kafka_protocol::messages::OffsetCommitResponse;
use kafka_protocol::messages::offset_commit_response::OffsetCommitResponsePartition;
use protocol_shim::access::Operation;
use protocol_shim::newer::offset_commit::OffsetCommitRequest;

use super::commit_topics::{answers, commit_topics, known_topics, price_bytes, refused};
use super::owned;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

/// Topics are named by their ids.
const TOPIC_IDS_SINCE: i16 = 10;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: OffsetCommitRequest,
) -> Result<OffsetCommitResponse, Unaffordable> {
    let counts = request.topics.iter().map(|topic| topic.partitions.len());
    let struct_bytes = size_of::<OffsetCommitResponsePartition>();
    ctx.pay(price_bytes(counts, struct_bytes)).await?;
    let view = ctx.view();
    let group = match view.group(&request.group_id, Operation::Read) {
        Ok(group) => group,
        Err(error) => {
            let topics = refused(request.topics, error);
            return Ok(OffsetCommitResponse::default().with_topics(topics));
        }
    };
    let known = known_topics(&view, &request.topics, ctx.api_version >= TOPIC_IDS_SINCE);
    let topics = commit_topics(&request.topics, &known);
    let results = if topics.is_empty() {
        Ok(Vec::new())
    } else {
        let call = |group_id| CommitOffsets {
            group_id,
            generation_id_or_member_epoch: request.generation_id_or_member_epoch,
            member_id: owned(&request.member_id),
            group_instance_id: request.group_instance_id.as_ref().map(owned),
            retention_time_ms: (request.retention_time_ms != -1)
                .then_some(request.retention_time_ms),
            topics,
            api_version: ctx.api_version,
        };
        view.groups().call(Ok(group), call).await
    };
    let topics = answers(&request.topics, &known, results);
    Ok(OffsetCommitResponse::default().with_topics(topics))
}
