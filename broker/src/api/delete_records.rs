//! DeleteRecords (key 21), versions 0-2.
//!
//! Moves log start offsets up; -1 stands for the high watermark. The new start is durable before it
//! is answered. A topic whose `cleanup.policy` does not say `delete` keeps its records, whatever offset is
//! asked for: they are the last ones of their keys. Of a partition that is named again the last mention counts, and it is
//! answered once.

use std::sync::Arc;

use indexmap::IndexMap;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse, TopicName};
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;
use storage::log::{AppendError, BoxFuture};
use uuid::Uuid;

use crate::authorizer::Authorized;
use crate::context::RequestContext;
use crate::partition::errors;
use crate::partition::registry::Partition;
use crate::view::Topic;

const HIGH_WATERMARK: i64 = -1;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut asked = Asked::new();
    for topic in request.topics {
        let partitions = topic.partitions.iter();
        let offsets = asked.entry(topic.name).or_default();
        offsets.extend(partitions.map(|asked| (asked.partition_index, asked.offset)));
    }
    let view = ctx.view();
    let names = asked.keys();
    let known: Vec<_> = names
        .map(|name| view.topic(name, Operation::Delete))
        .collect();
    let found = view.partitions(wanted(&known, &asked)).await;
    // What another broker has acknowledged can be deleted at this one.
    view.catch_up_with(&found).await;
    let mut begun = begin_all(&known, &asked, found).into_iter();
    let mut topics = Vec::with_capacity(asked.len());
    for (name, offsets) in asked {
        let mut partitions = Vec::with_capacity(offsets.len());
        for (index, begun) in offsets.into_keys().zip(begun.by_ref()) {
            let deleted = match begun {
                Ok(deletion) => deletion.await.map_err(|error| errors::of_append(&error)),
                Err(error) => Err(error),
            };
            let answer = DeleteRecordsPartitionResult::default().with_partition_index(index);
            partitions.push(match deleted {
                Ok(low_watermark) => answer.with_low_watermark(low_watermark),
                Err(error) => answer.with_low_watermark(-1).with_error_code(error.into()),
            });
        }
        topics.push(
            DeleteRecordsTopicResult::default()
                .with_name(name)
                .with_partitions(partitions),
        );
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

/// What comes of a deletion, once the new start is durable.
type Deletion = BoxFuture<'static, Result<i64, AppendError>>;

/// The offset that is asked for of each partition.
type Asked = IndexMap<TopicName, IndexMap<i32, i64>>;

fn wanted(
    known: &[Result<Topic<'_>, ErrorCode>],
    asked: &Asked,
) -> Vec<Result<(Authorized<Uuid>, i32), ErrorCode>> {
    let mut wanted = Vec::new();
    for (topic, offsets) in known.iter().zip(asked.values()) {
        let topic_id = topic.map(|topic| topic.id());
        wanted.extend(offsets.keys().map(|index| Ok((topic_id?, *index))));
    }
    wanted
}

/// All begin before the first is waited for: their new starts become durable together.
fn begin_all(
    known: &[Result<Topic<'_>, ErrorCode>],
    asked: &Asked,
    found: Vec<Result<Arc<Partition>, ErrorCode>>,
) -> Vec<Result<Deletion, ErrorCode>> {
    let mut found = found.into_iter();
    let mut begun = Vec::with_capacity(found.len());
    for (topic, offsets) in known.iter().zip(asked.values()) {
        let is_internal = topic.is_ok_and(|topic| topic.is_internal());
        for (offset, partition) in offsets.values().zip(found.by_ref()) {
            begun.push(match partition {
                Err(error) => Err(error),
                Ok(_) if is_internal => Err(ErrorCode::InvalidTopicException),
                Ok(partition) => begin(&partition, *offset),
            });
        }
    }
    begun
}

fn begin(partition: &Partition, offset: i64) -> Result<Deletion, ErrorCode> {
    if !partition.settings.load().config.log.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let high_watermark = partition.log.offsets().high_watermark;
    let before = if offset == HIGH_WATERMARK {
        high_watermark
    } else {
        offset
    };
    if before < 0 || before > high_watermark {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    Ok(partition.log.delete_records_before(before))
}
