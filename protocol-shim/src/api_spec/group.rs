//! Consumer groups, classic and KIP-848, and the offsets they commit.

use super::{ApiSpec, api};
use crate::access::Access::Named;
use crate::api_spec::ApiClass::Group;
use crate::api_spec::NEVER;
use crate::guard::field::*;

#[rustfmt::skip] // one line for an API, then the fields of its requests
pub(super) static APIS: &[ApiSpec] = &[
    api(8, "OffsetCommit", (2, 10), 8, Group, Named).body(&[
        string("group_id"),
        int32("generation_id_or_member_epoch"),
        string("member_id"),
        string("group_instance_id").since(7).nullable(),
        int64("retention_time_ms").until(4),
        array("topics").of(&[
            string("name").until(9),
            uuid("topic_id").since(10),
            array("partitions").of(&[
                int32("partition_index"),
                int64("committed_offset"),
                int32("committed_leader_epoch").since(6),
                string("committed_metadata").nullable(),
            ]),
        ]),
    ]),
    api(9, "OffsetFetch", (1, 10), 6, Group, Named).body(&[
        string("group_id").until(7),
        array("topics")
            .until(7)
            .nullable_since(2)
            .of(&[string("name"), int32_array("partition_indexes")]),
        array("groups").since(8).of(&[
            string("group_id"),
            string("member_id").since(9).nullable(),
            int32("member_epoch").since(9),
            array("topics").nullable().of(&[
                string("name").until(9),
                uuid("topic_id").since(10),
                int32_array("partition_indexes"),
            ]),
        ]),
        boolean("require_stable").since(7),
    ]),
    api(10, "FindCoordinator", (0, 6), 3, Group, Named).body(&[
        string("key").until(3),
        int8("key_type").since(1),
        string_array("coordinator_keys").since(4),
    ]),
    api(11, "JoinGroup", (0, 9), 6, Group, Named).body(&[
        string("group_id"),
        int32("session_timeout_ms"),
        int32("rebalance_timeout_ms").since(1),
        string("member_id"),
        string("group_instance_id").since(5).nullable(),
        string("protocol_type"),
        array("protocols").of(&[string("name"), bytes("metadata")]),
        string("reason").since(8).nullable(),
    ]),
    api(12, "Heartbeat", (0, 4), 4, Group, Named).body(&[
        string("group_id"),
        int32("generation_id"),
        string("member_id"),
        string("group_instance_id").since(3).nullable(),
    ]),
    api(13, "LeaveGroup", (0, 5), 4, Group, Named).body(&[
        string("group_id"),
        string("member_id").until(2),
        array("members").since(3).of(&[
            string("member_id"),
            string("group_instance_id").nullable(),
            string("reason").since(5).nullable(),
        ]),
    ]),
    api(14, "SyncGroup", (0, 5), 4, Group, Named).body(&[
        string("group_id"),
        int32("generation_id"),
        string("member_id"),
        string("group_instance_id").since(3).nullable(),
        string("protocol_type").since(5).nullable(),
        string("protocol_name").since(5).nullable(),
        array("assignments").of(&[string("member_id"), bytes("assignment")]),
    ]),
    api(15, "DescribeGroups", (0, 6), 5, Group, Named).body(&[
        string_array("groups"),
        boolean("include_authorized_operations").since(3),
    ]),
    api(16, "ListGroups", (0, 5), 3, Group, Named).body(&[
        string_array("states_filter").since(4),
        string_array("types_filter").since(5),
    ]),
    api(42, "DeleteGroups", (0, 3), 2, Group, Named).body(&[string_array("groups_names")]),
    api(47, "OffsetDelete", (0, 0), NEVER, Group, Named).body(&[
        string("group_id"),
        array("topics").of(&[
            string("name"),
            array("partitions").of(&[int32("partition_index")]),
        ]),
    ]),
    api(68, "ConsumerGroupHeartbeat", (0, 1), 0, Group, Named).body(&[
        string("group_id"),
        string("member_id"),
        int32("member_epoch"),
        string("instance_id").nullable(),
        string("rack_id").nullable(),
        int32("rebalance_timeout_ms"),
        string_array("subscribed_topic_names").nullable(),
        string("subscribed_topic_regex").since(1).nullable(),
        string("server_assignor").nullable(),
        array("topic_partitions")
            .nullable()
            .of(&[uuid("topic_id"), int32_array("partitions")]),
    ]),
    api(69, "ConsumerGroupDescribe", (0, 1), 0, Group, Named).body(&[
        string_array("group_ids"),
        boolean("include_authorized_operations"),
    ]),
];
