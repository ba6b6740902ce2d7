//! DeleteRecords (key 21), versions 0-2.
//!
//! Moves log start offsets up; -1 stands for the high watermark. The new start is durable before it
//! is answered. A topic whose `cleanup.policy` does not say `delete` keeps its records, whatever offset is
//! asked for: they are the last ones of their keys.

use std::sync::Arc;

use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use protocol_shim::error_code::ErrorCode;
use storage::log::{AppendError, BoxFuture};
use uuid::Uuid;

use crate::context::RequestContext;
use crate::metadata::MetadataImage;
use crate::partition::registry::Partition;

const HIGH_WATERMARK: i64 = -1;

pub async fn handle(ctx: &RequestContext, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let image = ctx.broker.metadata.image();
    let found = ctx.broker.partitions.get_all(wanted(&image, &request));
    let mut begun = begin_all(&image, &request, found.await).into_iter();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (asked, begun) in topic.partitions.iter().zip(begun.by_ref()) {
            let deleted = match begun {
                Ok(deletion) => deletion.await.map_err(|error| match error {
                    AppendError::Deleted => ErrorCode::UnknownTopicOrPartition,
                    _ => ErrorCode::KafkaStorageError,
                }),
                Err(error) => Err(error),
            };
            let answer =
                DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            partitions.push(match deleted {
                Ok(low_watermark) => answer.with_low_watermark(low_watermark),
                Err(error) => answer.with_low_watermark(-1).with_error_code(error.into()),
            });
        }
        topics.push(
            DeleteRecordsTopicResult::default()
                .with_name(topic.name)
                .with_partitions(partitions),
        );
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

/// What comes of a deletion, once the new start is durable.
type Deletion = BoxFuture<'static, Result<i64, AppendError>>;

fn wanted(image: &MetadataImage, request: &DeleteRecordsRequest) -> Vec<Option<(Uuid, i32)>> {
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let topic_id = image.topic(&topic.name).map(|known| known.topic_id);
        let partitions = topic.partitions.iter();
        wanted.extend(partitions.map(|asked| Some((topic_id?, asked.partition_index))));
    }
    wanted
}

/// All begin before the first is waited for: their new starts become durable together.
fn begin_all(
    image: &MetadataImage,
    request: &DeleteRecordsRequest,
    found: Vec<Option<Arc<Partition>>>,
) -> Vec<Result<Deletion, ErrorCode>> {
    let mut found = found.into_iter();
    let mut begun = Vec::with_capacity(found.len());
    for topic in &request.topics {
        let is_internal = image
            .topic(&topic.name)
            .is_some_and(|known| known.is_internal());
        for (asked, partition) in topic.partitions.iter().zip(found.by_ref()) {
            begun.push(match partition {
                None => Err(ErrorCode::UnknownTopicOrPartition),
                Some(_) if is_internal => Err(ErrorCode::InvalidTopicException),
                Some(partition) => begin(&partition, asked.offset),
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
