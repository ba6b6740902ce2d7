//! OffsetCommit (key 8), versions 2-10.

use super::prelude::*;

structure! {
    OffsetCommitRequest {
        group_id / with_group_id: GroupId [..];
        generation_id_or_member_epoch / with_generation_id_or_member_epoch: i32 [.., ignorable] = -1;
        member_id / with_member_id: StrBytes [.., ignorable];
        group_instance_id / with_group_instance_id: Option<StrBytes> [7..];
        retention_time_ms / with_retention_time_ms: i64 [..=4, ignorable] = -1;
        topics / with_topics: Vec<OffsetCommitRequestTopic> [..];
    }
}

structure! {
    OffsetCommitRequestTopic {
        name / with_name: TopicName [..=9, ignorable];
        topic_id / with_topic_id: Uuid [10.., ignorable];
        partitions / with_partitions: Vec<OffsetCommitRequestPartition> [..];
    }
}

structure! {
    OffsetCommitRequestPartition {
        partition_index / with_partition_index: i32 [..];
        committed_offset / with_committed_offset: i64 [..];
        committed_leader_epoch / with_committed_leader_epoch: i32 [6.., ignorable] = -1;
        committed_metadata / with_committed_metadata: Option<StrBytes> [..];
    }
}

request!(8, OffsetCommitRequest => OffsetCommitResponse);
