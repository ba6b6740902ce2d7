//! DeleteRecords (key 21), versions 0-2.
//!
//! Moves log start offsets up; -1 stands for the high watermark. The new start is durable before it
//! is answered. A topic whose `cleanup.policy` does not say `delete` keeps its records, whatever offset is
//! asked for: they are the last ones of their keys.

use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use protocol_shim::error_code::ErrorCode;
use storage::log::AppendError;

use crate::context::RequestContext;
use crate::partition::registry::Partition;

const HIGH_WATERMARK: i64 = -1;

pub async fn handle(ctx: &RequestContext, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let image = ctx.broker.metadata.image();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let known = image.topic(&topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let topic_id = known.map(|topic| topic.topic_id);
            let partition = ctx.broker.partitions.find(topic_id, asked.partition_index);
            let deleted = match partition.await {
                Ok(_) if known.is_some_and(|topic| topic.is_internal()) => {
                    Err(ErrorCode::InvalidTopicException)
                }
                Ok(partition) => delete(&partition, asked.offset).await,
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

async fn delete(partition: &Partition, offset: i64) -> Result<i64, ErrorCode> {
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
    partition
        .log
        .delete_records_before(before)
        .await
        .map_err(|error| match error {
            AppendError::Deleted => ErrorCode::UnknownTopicOrPartition,
            _ => ErrorCode::KafkaStorageError,
        })
}
