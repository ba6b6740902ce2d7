//! TxnOffsetCommit (key 28), versions 0-6.

use super::prelude::*;

structure! {
    TxnOffsetCommitRequest {
        transactional_id / with_transactional_id: TransactionalId [..];
        group_id / with_group_id: GroupId [..];
        producer_id / with_producer_id: ProducerId [..];
        producer_epoch / with_producer_epoch: i16 [..];
        generation_id_or_member_epoch / with_generation_id_or_member_epoch: i32 [3..] = -1;
        member_id / with_member_id: StrBytes [3..];
        group_instance_id / with_group_instance_id: Option<StrBytes> [3..];
        topics / with_topics: Vec<TxnOffsetCommitRequestTopic> [..];
    }
}

structure! {
    TxnOffsetCommitRequestTopic {
        name / with_name: TopicName [..=5, ignorable];
        topic_id / with_topic_id: Uuid [6.., ignorable];
        partitions / with_partitions: Vec<TxnOffsetCommitRequestPartition> [..];
    }
}

structure! {
    TxnOffsetCommitRequestPartition {
        partition_index / with_partition_index: i32 [..];
        committed_offset / with_committed_offset: i64 [..];
        committed_leader_epoch / with_committed_leader_epoch: i32 [2.., ignorable] = -1;
        committed_metadata / with_committed_metadata: Option<StrBytes> [..];
    }
}

request!(28, TxnOffsetCommitRequest => TxnOffsetCommitResponse);

structure! {
    TxnOffsetCommitResponse {
        throttle_time_ms / with_throttle_time_ms: i32 [..];
        topics / with_topics: Vec<TxnOffsetCommitResponseTopic> [..];
    }
}

structure! {
    TxnOffsetCommitResponseTopic {
        name / with_name: TopicName [..=5, ignorable];
        topic_id / with_topic_id: Uuid [6.., ignorable];
        partitions / with_partitions: Vec<TxnOffsetCommitResponsePartition> [..];
    }
}

structure! {
    TxnOffsetCommitResponsePartition {
        partition_index / with_partition_index: i32 [..];
        error_code / with_error_code: i16 [..];
    }
}

response!(28, TxnOffsetCommitResponse);
