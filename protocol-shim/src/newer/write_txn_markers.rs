//! WriteTxnMarkers (key 27), versions 1-2.

use super::prelude::*;

structure! {
    WriteTxnMarkersRequest {
        markers / with_markers: Vec<WritableTxnMarker> [..];
    }
}

structure! {
    WritableTxnMarker {
        producer_id / with_producer_id: ProducerId [..];
        producer_epoch / with_producer_epoch: i16 [..];
        transaction_result / with_transaction_result: bool [..];
        topics / with_topics: Vec<WritableTxnMarkerTopic> [..];
        coordinator_epoch / with_coordinator_epoch: i32 [..];
        transaction_version / with_transaction_version: i8 [2.., ignorable];
    }
}

structure! {
    WritableTxnMarkerTopic {
        name / with_name: TopicName [..];
        partition_indexes / with_partition_indexes: Vec<i32> [..];
    }
}

request!(27, WriteTxnMarkersRequest => WriteTxnMarkersResponse);

structure! {
    WriteTxnMarkersResponse {
        markers / with_markers: Vec<WritableTxnMarkerResult> [..];
    }
}

structure! {
    WritableTxnMarkerResult {
        producer_id / with_producer_id: ProducerId [..];
        topics / with_topics: Vec<WritableTxnMarkerTopicResult> [..];
    }
}

structure! {
    WritableTxnMarkerTopicResult {
        name / with_name: TopicName [..];
        partitions / with_partitions: Vec<WritableTxnMarkerPartitionResult> [..];
    }
}

structure! {
    WritableTxnMarkerPartitionResult {
        partition_index / with_partition_index: i32 [..];
        error_code / with_error_code: i16 [..];
    }
}

response!(27, WriteTxnMarkersResponse);
