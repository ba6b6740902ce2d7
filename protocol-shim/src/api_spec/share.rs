//! Share groups (KIP-932), client side and coordinator side.

use super::{ApiSpec, api};
use crate::access::Access::{Named, OnCluster};
use crate::access::Operation::ClusterAction;
use crate::api_spec::ApiClass::Share;
use crate::guard::field::*;

#[rustfmt::skip] // one line for an API, then the fields of its requests
pub(super) static APIS: &[ApiSpec] = &[
    api(76, "ShareGroupHeartbeat", (1, 1), 0, Share, Named).body(&[
        string("group_id"),
        string("member_id"),
        int32("member_epoch"),
        string("rack_id").nullable(),
        string_array("subscribed_topic_names").nullable(),
    ]),
    api(77, "ShareGroupDescribe", (1, 1), 0, Share, Named).body(&[
        string_array("group_ids"),
        boolean("include_authorized_operations"),
    ]),
    api(78, "ShareFetch", (1, 1), 0, Share, Named).body(&[
        string("group_id").nullable(),
        string("member_id").nullable(),
        int32("share_session_epoch"),
        int32("max_wait_ms"),
        int32("min_bytes"),
        int32("max_bytes"),
        int32("max_records"),
        int32("batch_size"),
        array("topics").of(&[
            uuid("topic_id"),
            array("partitions").of(&[
                int32("partition_index"),
                array("acknowledgement_batches").of(&[
                    int64("first_offset"),
                    int64("last_offset"),
                    int8_array("acknowledge_types"),
                ]),
            ]),
        ]),
        array("forgotten_topics_data").of(&[uuid("topic_id"), int32_array("partitions")]),
    ]),
    api(79, "ShareAcknowledge", (1, 1), 0, Share, Named).body(&[
        string("group_id").nullable(),
        string("member_id").nullable(),
        int32("share_session_epoch"),
        array("topics").of(&[
            uuid("topic_id"),
            array("partitions").of(&[
                int32("partition_index"),
                array("acknowledgement_batches").of(&[
                    int64("first_offset"),
                    int64("last_offset"),
                    int8_array("acknowledge_types"),
                ]),
            ]),
        ]),
    ]),
    api(83, "InitializeShareGroupState", (0, 0), 0, Share, OnCluster(ClusterAction)).body(&[
        string("group_id"),
        array("topics").of(&[
            uuid("topic_id"),
            array("partitions").of(&[
                int32("partition"),
                int32("state_epoch"),
                int64("start_offset"),
            ]),
        ]),
    ]),
    api(84, "ReadShareGroupState", (0, 0), 0, Share, OnCluster(ClusterAction)).body(&[
        string("group_id"),
        array("topics").of(&[
            uuid("topic_id"),
            array("partitions").of(&[int32("partition"), int32("leader_epoch")]),
        ]),
    ]),
    api(85, "WriteShareGroupState", (0, 0), 0, Share, OnCluster(ClusterAction)).body(&[
        string("group_id"),
        array("topics").of(&[
            uuid("topic_id"),
            array("partitions").of(&[
                int32("partition"),
                int32("state_epoch"),
                int32("leader_epoch"),
                int64("start_offset"),
                array("state_batches").of(&[
                    int64("first_offset"),
                    int64("last_offset"),
                    int8("delivery_state"),
                    int16("delivery_count"),
                ]),
            ]),
        ]),
    ]),
    api(86, "DeleteShareGroupState", (0, 0), 0, Share, OnCluster(ClusterAction)).body(&[
        string("group_id"),
        array("topics").of(&[
            uuid("topic_id"),
            array("partitions").of(&[int32("partition")]),
        ]),
    ]),
    api(87, "ReadShareGroupStateSummary", (0, 0), 0, Share, OnCluster(ClusterAction)).body(&[
        string("group_id"),
        array("topics").of(&[
            uuid("topic_id"),
            array("partitions").of(&[int32("partition"), int32("leader_epoch")]),
        ]),
    ]),
    api(90, "DescribeShareGroupOffsets", (0, 0), 0, Share, Named).body(&[array("groups").of(&[
        string("group_id"),
        array("topics")
            .nullable()
            .of(&[string("topic_name"), int32_array("partitions")]),
    ])]),
    api(91, "AlterShareGroupOffsets", (0, 0), 0, Share, Named).body(&[
        string("group_id"),
        array("topics").of(&[
            string("topic_name"),
            array("partitions").of(&[int32("partition_index"), int64("start_offset")]),
        ]),
    ]),
    api(92, "DeleteShareGroupOffsets", (0, 0), 0, Share, Named).body(&[
        string("group_id"),
        array("topics").of(&[string("topic_name")]),
    ]),
];
