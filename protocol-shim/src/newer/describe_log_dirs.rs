//! DescribeLogDirs (key 35), versions 1-5.

use super::prelude::*;

structure! {
    DescribeLogDirsRequest {
        topics / with_topics: Option<Vec<DescribableLogDirTopic>> [..] = Some(Vec::new());
    }
}

structure! {
    DescribableLogDirTopic {
        topic / with_topic: TopicName [..];
        partitions / with_partitions: Vec<i32> [..];
    }
}

request!(35, DescribeLogDirsRequest => DescribeLogDirsResponse);

structure! {
    DescribeLogDirsResponse {
        throttle_time_ms / with_throttle_time_ms: i32 [..];
        error_code / with_error_code: i16 [3.., ignorable];
        results / with_results: Vec<DescribeLogDirsResult> [..];
    }
}

structure! {
    DescribeLogDirsResult {
        error_code / with_error_code: i16 [..];
        log_dir / with_log_dir: StrBytes [..];
        topics / with_topics: Vec<DescribeLogDirsTopic> [..];
        total_bytes / with_total_bytes: i64 [4.., ignorable] = -1;
        usable_bytes / with_usable_bytes: i64 [4.., ignorable] = -1;
        is_cordoned / with_is_cordoned: bool [5.., ignorable];
    }
}

structure! {
    DescribeLogDirsTopic {
        name / with_name: TopicName [..];
        partitions / with_partitions: Vec<DescribeLogDirsPartition> [..];
    }
}

structure! {
    DescribeLogDirsPartition {
        partition_index / with_partition_index: i32 [..];
        partition_size / with_partition_size: i64 [..];
        offset_lag / with_offset_lag: i64 [..];
        is_future_key / with_is_future_key: bool [..];
    }
}

response!(35, DescribeLogDirsResponse);
