//! DeleteTopics (key 20), versions 1-6.
//!
//! Up to v5 by name, from v6 by name or by topic id (KIP-516). Each topic succeeds or fails by itself; one that is named
//! twice fails. Offsets that groups have committed for a deleted topic are forgotten. Without `delete.topic.enable` the
//! answer is TOPIC_DELETION_DISABLED, before v3 INVALID_REQUEST. `__consumer_offsets` can be deleted, as in Kafka: its
//! groups and their offsets are gone.

use std::collections::HashMap;
use std::sync::Arc;

use coordinators::group::DeletedTopic;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use kafka_protocol::messages::delete_topics_response::{
    DeletableTopicResult, DeleteTopicsResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use super::wire;
use crate::context::RequestContext;
use crate::metadata::{MetadataError, TopicRef};
use crate::view::Undeletable;

/// The first version whose clients know that they are above their quota (KIP-599).
const STRICT_SINCE: i16 = 5;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let mut asked = request.topics;
    let names = request.topic_names.into_iter();
    asked.extend(names.map(|name| DeleteTopicState::default().with_name(Some(name))));

    let mut count = HashMap::new();
    for topic in &asked {
        *count.entry(key(topic)).or_insert(0_usize) += 1;
    }
    let mut responses = Vec::with_capacity(asked.len());
    let mut wanted = Vec::with_capacity(asked.len());
    let mut accepted = Vec::with_capacity(asked.len());
    let view = ctx.view();
    for topic in &asked {
        match topic_ref(topic, &mut count) {
            Ok(Some(reference)) => {
                let deletable = view.deletable(reference);
                accepted.push((topic, deletable.map(|topic| wanted.push(topic))));
            }
            Ok(None) => {}
            Err(error) => responses.push(failed(ctx, topic, &error)),
        }
    }
    let metadata = ctx.charged_metadata(STRICT_SINCE);
    let outcomes = metadata.delete_topics(wanted).await;
    let deleted = outcomes.iter().flatten().map(|topic| DeletedTopic {
        name: Arc::clone(&topic.name),
        topic_id: topic.topic_id,
    });
    view.groups().topics_deleted(deleted.collect()).await;
    let mut outcomes = outcomes.into_iter();
    for (topic, deletable) in accepted {
        let outcome = match deletable {
            Ok(()) => outcomes.next().unwrap_or(Err(MetadataError::ShuttingDown)),
            Err(refused) => {
                responses.push(undeletable(ctx, topic, refused));
                continue;
            }
        };
        responses.push(match outcome {
            Ok(deleted) => DeletableTopicResult::default()
                .with_name(Some(TopicName(wire(&deleted.name))))
                .with_topic_id(deleted.topic_id),
            Err(error) => failed(ctx, topic, &error),
        });
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

type Key<'a> = (Option<&'a str>, uuid::Uuid);

fn key(topic: &DeleteTopicState) -> Key<'_> {
    (
        topic.name.as_ref().map(|name| name.as_str()),
        topic.topic_id,
    )
}

/// What is meant; `None` for the repetition of a duplicate that has been refused already.
fn topic_ref<'a>(
    topic: &'a DeleteTopicState,
    count: &mut HashMap<Key<'a>, usize>,
) -> Result<Option<TopicRef>, MetadataError> {
    let invalid = |what: &str| Err(MetadataError::InvalidRequest(what.to_owned()));
    let reference = match key(topic) {
        (Some(name), id) if id.is_nil() => TopicRef::Name(name.to_owned()),
        (Some(_), _) => return invalid("You may not specify both topic name and topic id."),
        (None, id) if id.is_nil() => {
            return invalid("Neither topic name nor id were specified.");
        }
        (None, id) => TopicRef::Id(id),
    };
    match count.get_mut(&key(topic)) {
        Some(0) => Ok(None),
        Some(count) if *count > 1 => {
            *count = 0;
            invalid(match reference {
                TopicRef::Name(_) => "Duplicate topic name.",
                TopicRef::Id(_) => "Duplicate topic id.",
            })
        }
        _ => Ok(Some(reference)),
    }
}

fn undeletable(
    ctx: &RequestContext,
    topic: &DeleteTopicState,
    refused: Undeletable,
) -> DeletableTopicResult {
    let error = match refused.error {
        _ if !ctx.config().new_topics.delete_topic_enable => MetadataError::TopicDeletionDisabled,
        ErrorCode::UnknownTopicId => MetadataError::UnknownTopicId,
        ErrorCode::UnknownTopicOrPartition => MetadataError::UnknownTopic,
        denied => MetadataError::Denied(denied),
    };
    let response = failed(ctx, topic, &error);
    match refused.name {
        Some(name) => response.with_name(Some(TopicName(wire(&name)))),
        None => response,
    }
}

fn failed(
    ctx: &RequestContext,
    topic: &DeleteTopicState,
    error: &MetadataError,
) -> DeletableTopicResult {
    let code = match error {
        MetadataError::TopicDeletionDisabled if ctx.api_version < 3 => ErrorCode::InvalidRequest,
        error => error.code(),
    };
    DeletableTopicResult::default()
        .with_name(topic.name.clone())
        .with_topic_id(topic.topic_id)
        .with_error_code(code as i16)
        .with_error_message(Some(StrBytes::from_string(error.to_string())))
}
