//! ListOffsets (key 2), versions 1-11.
//!
//! Timestamps below zero ask for a place: -1 latest (the last stable offset for read-committed
//! clients), -2 earliest, -3 the record with the largest timestamp (KIP-734), -4 earliest local
//! (KIP-405), -5 latest tiered (KIP-1005), -6 earliest that waits to be tiered (KIP-1023): nothing is tiered, so -1 is
//! answered to both. Any other one asks for the first record at or after it. A topic is answered once; a partition that is
//! named again is refused, also once.

use indexmap::IndexMap;
use indexmap::map::Entry;
use kafka_protocol::messages::TopicName;
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;
use protocol_shim::newer::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use storage::log::{Isolation, LogOffsets, ReadError, TimestampOffset};

use crate::context::RequestContext;
use crate::partition::errors;
use crate::partition::registry::{Partition, check_leader_epoch};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let isolation = match request.isolation_level {
        1 => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    };
    let view = ctx.view();
    let named = each_once(request);
    let wanted = named.iter().flat_map(|(name, partitions)| {
        let topic = view.topic(name, Operation::Describe);
        let topic_id = topic.map(|topic| topic.id());
        let asked = partitions.keys();
        asked.map(move |index| Ok((topic_id?, *index)))
    });
    let found = view.partitions(wanted.collect()).await;
    let mut found = view.current_offsets(found).await.into_iter();
    let mut topics = Vec::with_capacity(named.len());
    for (name, asked_partitions) in named {
        let mut partitions = Vec::with_capacity(asked_partitions.len());
        for asked in asked_partitions.into_values() {
            let found = found.next();
            let found = found.unwrap_or(Err(ErrorCode::UnknownTopicOrPartition));
            let (asked, found) = match asked {
                Asked::Once(asked) => (asked, found),
                Asked::Again(asked) => match found {
                    Err(denied @ ErrorCode::TopicAuthorizationFailed) => (asked, Err(denied)),
                    _ => (asked, Err(ErrorCode::InvalidRequest)),
                },
            };
            let found = match found {
                Ok((partition, offsets)) => {
                    find(&partition, offsets, &asked, isolation, ctx.api_version).await
                }
                Err(error) => Err(error),
            };
            let answer =
                ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            partitions.push(match found {
                Ok(found) => answer
                    .with_timestamp(found.timestamp)
                    .with_offset(found.offset)
                    .with_leader_epoch(if ctx.api_version >= 4 {
                        found.leader_epoch
                    } else {
                        -1
                    }),
                Err(error) => answer.with_error_code(error.into()),
            });
        }
        topics.push(
            ListOffsetsTopicResponse::default()
                .with_name(name)
                .with_partitions(partitions),
        );
    }
    ListOffsetsResponse::default().with_topics(topics)
}

enum Asked {
    Once(ListOffsetsPartition),
    Again(ListOffsetsPartition),
}

/// What is asked for, each topic and each of its partitions once.
fn each_once(request: ListOffsetsRequest) -> IndexMap<TopicName, IndexMap<i32, Asked>> {
    let mut named: IndexMap<TopicName, IndexMap<i32, Asked>> = IndexMap::new();
    for topic in request.topics {
        let partitions = named.entry(topic.name).or_default();
        for asked in topic.partitions {
            match partitions.entry(asked.partition_index) {
                Entry::Vacant(place) => {
                    place.insert(Asked::Once(asked));
                }
                Entry::Occupied(mut place) => {
                    place.insert(Asked::Again(asked));
                }
            }
        }
    }
    named
}

const NOT_FOUND: TimestampOffset = TimestampOffset {
    timestamp: -1,
    offset: -1,
    leader_epoch: -1,
};

async fn find(
    partition: &Partition,
    offsets: LogOffsets,
    asked: &ListOffsetsPartition,
    isolation: Isolation,
    api_version: i16,
) -> Result<TimestampOffset, ErrorCode> {
    let log = &partition.log;
    check_leader_epoch(&**log, asked.current_leader_epoch)?;
    let place = |offset| TimestampOffset {
        timestamp: -1,
        offset,
        leader_epoch: log.leader_epoch(),
    };
    let found = match asked.timestamp {
        LATEST => {
            return Ok(place(match isolation {
                Isolation::ReadUncommitted => offsets.high_watermark,
                Isolation::ReadCommitted => offsets.last_stable_offset,
            }));
        }
        EARLIEST => return Ok(place(offsets.log_start_offset)),
        EARLIEST_LOCAL if api_version >= 8 => return Ok(place(offsets.log_start_offset)),
        LATEST_TIERED if api_version >= 9 => return Ok(NOT_FOUND),
        EARLIEST_PENDING_UPLOAD if api_version >= 11 => return Ok(NOT_FOUND),
        MAX_TIMESTAMP if api_version >= 7 => {
            let found = log.offset_of_max_timestamp().await;
            let is_visible = |found: &TimestampOffset| match isolation {
                Isolation::ReadUncommitted => true,
                Isolation::ReadCommitted => found.offset < log.offsets().last_stable_offset,
            };
            found.map(|found| found.filter(is_visible))
        }
        below_zero if below_zero < 0 => return Err(ErrorCode::UnsupportedVersion),
        timestamp => log.offset_for_timestamp(timestamp, isolation).await,
    };
    match found {
        Ok(found) => Ok(found.unwrap_or(NOT_FOUND)),
        Err(ReadError::OffsetOutOfRange { .. }) => Ok(NOT_FOUND),
        Err(error) => Err(errors::of_read(&error)),
    }
}
