//! ListOffsets (key 2), versions 1-11.

use super::prelude::*;

structure! {
    ListOffsetsRequest {
        replica_id / with_replica_id: BrokerId [..];
        isolation_level / with_isolation_level: i8 [2..];
        topics / with_topics: Vec<ListOffsetsTopic> [..];
        timeout_ms / with_timeout_ms: i32 [10.., ignorable];
    }
}

structure! {
    ListOffsetsTopic {
        name / with_name: TopicName [..];
        partitions / with_partitions: Vec<ListOffsetsPartition> [..];
    }
}

structure! {
    ListOffsetsPartition {
        partition_index / with_partition_index: i32 [..];
        current_leader_epoch / with_current_leader_epoch: i32 [4.., ignorable] = -1;
        timestamp / with_timestamp: i64 [..];
    }
}

request!(2, ListOffsetsRequest => ListOffsetsResponse);

structure! {
    ListOffsetsResponse {
        throttle_time_ms / with_throttle_time_ms: i32 [2.., ignorable];
        topics / with_topics: Vec<ListOffsetsTopicResponse> [..];
    }
}

structure! {
    ListOffsetsTopicResponse {
        name / with_name: TopicName [..];
        partitions / with_partitions: Vec<ListOffsetsPartitionResponse> [..];
    }
}

structure! {
    ListOffsetsPartitionResponse {
        partition_index / with_partition_index: i32 [..];
        error_code / with_error_code: i16 [..];
        timestamp / with_timestamp: i64 [..] = -1;
        offset / with_offset: i64 [..] = -1;
        leader_epoch / with_leader_epoch: i32 [4..] = -1;
    }
}

response!(2, ListOffsetsResponse);
