//! Produce, fetch and what clients ask before they do either.

use super::{ApiSpec, api};
use crate::access::Access::{Named, Open};
use crate::api_spec::ApiClass::Data;
use crate::guard::field::*;

#[rustfmt::skip] // one line for an API, then the fields of its requests
pub(super) static APIS: &[ApiSpec] = &[
    api(0, "Produce", (3, 13), 9, Data, Named).body(&[
        string("transactional_id").nullable(),
        int16("acks"),
        int32("timeout_ms"),
        array("topic_data").of(&[
            string("name").until(12),
            uuid("topic_id").since(13),
            array("partition_data").of(&[int32("index"), records("records").nullable()]),
        ]),
    ]).advertised_from(0),
    api(1, "Fetch", (4, 18), 12, Data, Named).body(&[
        string("cluster_id").since(12).nullable().tag(0),
        int32("replica_id").until(14),
        structure("replica_state")
            .since(15)
            .tag(1)
            .of(&[int32("replica_id"), int64("replica_epoch")]),
        int32("max_wait_ms"),
        int32("min_bytes"),
        int32("max_bytes"),
        int8("isolation_level"),
        int32("session_id").since(7),
        int32("session_epoch").since(7),
        array("topics").of(&[
            string("topic").until(12),
            uuid("topic_id").since(13),
            array("partitions").of(&[
                int32("partition"),
                int32("current_leader_epoch").since(9),
                int64("fetch_offset"),
                int32("last_fetched_epoch").since(12),
                int64("log_start_offset").since(5),
                int32("partition_max_bytes"),
                uuid("replica_directory_id").since(17).tag(0),
                int64("high_watermark").since(18).tag(1),
            ]),
        ]),
        array("forgotten_topics_data").since(7).of(&[
            string("topic").until(12),
            uuid("topic_id").since(13),
            int32_array("partitions"),
        ]),
        string("rack_id").since(11),
    ]),
    api(2, "ListOffsets", (1, 11), 6, Data, Named).body(&[
        int32("replica_id"),
        int8("isolation_level").since(2),
        array("topics").of(&[
            string("name"),
            array("partitions").of(&[
                int32("partition_index"),
                int32("current_leader_epoch").since(4),
                int64("timestamp"),
            ]),
        ]),
        int32("timeout_ms").since(10),
    ]),
    api(3, "Metadata", (0, 13), 9, Data, Named).body(&[
        array("topics").nullable_since(1).of(&[
            uuid("topic_id").since(10),
            string("name").nullable_since(10),
        ]),
        boolean("allow_auto_topic_creation").since(4),
        boolean("include_cluster_authorized_operations")
            .since(8)
            .until(10),
        boolean("include_topic_authorized_operations").since(8),
    ]),
    api(18, "ApiVersions", (0, 5), 3, Data, Open).body(&[
        string("client_software_name").since(3),
        string("client_software_version").since(3),
        string("cluster_id").since(5).nullable(),
        int32("node_id").since(5),
    ]),
    api(23, "OffsetForLeaderEpoch", (2, 4), 4, Data, Named).body(&[
        int32("replica_id").since(3),
        array("topics").of(&[
            string("topic"),
            array("partitions").of(&[
                int32("partition"),
                int32("current_leader_epoch"),
                int32("leader_epoch"),
            ]),
        ]),
    ]),
];
