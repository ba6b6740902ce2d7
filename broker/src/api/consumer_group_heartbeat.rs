//! ConsumerGroupHeartbeat (key 68), versions 0-1.
//!
//! Joins, stays in and leaves a group of the consumer protocol (KIP-848); the response carries the member's
//! assignment when it is news. From v1 members bring their own id (KIP-1082) and may subscribe by regular
//! expression. See [`coordinators::group`].

#![expect(
    clippy::disallowed_methods,
    reason = "leaves out what the member may not describe"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use coordinators::group::{
    Catalog, ConsumerHeartbeat, ConsumerHeartbeatReply, Name, Partitions, ResolvedPattern, Viewer,
};
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;
use uuid::Uuid;

use super::{owned, wire};
use crate::authorizer::Resource;
use crate::context::RequestContext;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let view = ctx.view();
    let named = request.subscribed_topic_names.iter().flatten();
    let is_shown = |name: &str| view.shows(Operation::Describe, Resource::Topic(name));
    let may_describe = |name: &str| view.allows(Operation::Describe, Resource::Topic(name));
    // Before anything is done for the member.
    let group = view
        .group(&request.group_id, Operation::Read)
        .and_then(|group| {
            let mut named = named;
            match named.all(|name| may_describe(name)) {
                true => Ok(group),
                false => Err(ErrorCode::TopicAuthorizationFailed),
            }
        });
    let group = match group {
        Ok(group) => group,
        Err(error) => return refused(error),
    };
    let pattern: Option<Name> = request.subscribed_topic_regex.as_ref().map(owned);
    let resolved = match pattern.as_ref().filter(|pattern| !pattern.is_empty()) {
        None => None,
        Some(pattern) => {
            let published = view.whole_metadata();
            let patterns = view.groups().patterns();
            let matched = patterns.resolve(pattern, &published.image).await;
            // An expression matches what the member may know of, and nothing else.
            let visible = |topics: Arc<BTreeSet<Name>>| {
                let topics = topics.iter().filter(|name| is_shown(name));
                topics.cloned().collect()
            };
            Some(ResolvedPattern {
                topics: matched.map(visible),
                catalog: Arc::clone(published) as Arc<dyn Catalog>,
            })
        }
    };
    let call = |group_id| ConsumerHeartbeat {
        group_id,
        member_id: owned(&request.member_id),
        member_epoch: request.member_epoch,
        instance_id: request.instance_id.as_ref().map(owned),
        rack_id: request.rack_id.as_ref().map(owned),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        client_id: ctx.client_id.clone(),
        client_host: format!("/{}", ctx.session.peer_addr.ip()).into(),
        viewer: Viewer {
            kind: ctx.session.principal.kind.clone(),
            name: ctx.session.principal.name.clone(),
            host: ctx.session.peer_addr.ip(),
        },
        subscribed_topic_names: request
            .subscribed_topic_names
            .as_ref()
            .map(|names| names.iter().map(|name| owned(name)).collect()),
        subscribed_topic_regex: pattern,
        resolved,
        server_assignor: request.server_assignor.as_ref().map(owned),
        owned: request.topic_partitions.as_ref().map(|topics| {
            topics
                .iter()
                .map(|topic| (topic.topic_id, topic.partitions.clone()))
                .collect()
        }),
        api_version: ctx.api_version,
        member_uuid: Uuid::new_v4(),
    };
    match view.groups().call(Ok(group), call).await {
        Ok(reply) => response(reply),
        Err(error) => refused(error),
    }
}

fn refused(error: ErrorCode) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default().with_error_code(error.into())
}

fn response(reply: ConsumerHeartbeatReply) -> ConsumerGroupHeartbeatResponse {
    if let Some(refusal) = reply.refusal {
        return ConsumerGroupHeartbeatResponse::default()
            .with_error_code(refusal.error.into())
            .with_error_message(
                Some(refusal.message)
                    .filter(|text| !text.is_empty())
                    .as_deref()
                    .map(wire),
            );
    }
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(reply.member_id.as_deref().map(wire))
        .with_member_epoch(reply.member_epoch)
        .with_heartbeat_interval_ms(reply.heartbeat_interval_ms)
        .with_assignment(reply.assignment.map(assignment))
}

fn assignment(partitions: Partitions) -> Assignment {
    let topics = partitions.into_iter().map(|(topic_id, partitions)| {
        TopicPartitions::default()
            .with_topic_id(topic_id)
            .with_partitions(partitions.into_iter().collect())
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
