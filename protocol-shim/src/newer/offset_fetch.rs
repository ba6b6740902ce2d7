//! OffsetFetch (key 9), versions 1-10.

use super::prelude::*;

structure! {
    OffsetFetchRequest {
        group_id / with_group_id: GroupId [..=7];
        topics / with_topics: Option<Vec<OffsetFetchRequestTopic>> [..=7] = Some(Vec::new());
        groups / with_groups: Vec<OffsetFetchRequestGroup> [8..];
        require_stable / with_require_stable: bool [7..];
    }
}

structure! {
    OffsetFetchRequestGroup {
        group_id / with_group_id: GroupId [8..];
        member_id / with_member_id: Option<StrBytes> [9.., ignorable];
        member_epoch / with_member_epoch: i32 [9.., ignorable] = -1;
        topics / with_topics: Option<Vec<OffsetFetchRequestTopics>> [8..] = Some(Vec::new());
    }
}

structure! {
    OffsetFetchRequestTopics {
        name / with_name: TopicName [8..=9, ignorable];
        topic_id / with_topic_id: Uuid [10.., ignorable];
        partition_indexes / with_partition_indexes: Vec<i32> [8..];
    }
}

structure! {
    OffsetFetchRequestTopic {
        name / with_name: TopicName [..=7];
        partition_indexes / with_partition_indexes: Vec<i32> [..=7];
    }
}

request!(9, OffsetFetchRequest => OffsetFetchResponse);
