//! Consumer groups, classic and KIP-848, and the offsets they commit.

use crate::guard::field::*;

/// OffsetCommit (8), versions 2-9.
pub(crate) const OFFSET_COMMIT: Shape = &[
    string("group_id"),
    int32("generation_id_or_member_epoch"),
    string("member_id"),
    string("group_instance_id").since(7).nullable(),
    int64("retention_time_ms").until(4),
    array("topics").of(&[
        string("name"),
        array("partitions").of(&[
            int32("partition_index"),
            int64("committed_offset"),
            int32("committed_leader_epoch").since(6),
            string("committed_metadata").nullable(),
        ]),
    ]),
];

/// OffsetFetch (9), versions 1-9.
pub(crate) const OFFSET_FETCH: Shape = &[
    string("group_id").until(7),
    array("topics")
        .until(7)
        .nullable_since(2)
        .of(&[string("name"), int32_array("partition_indexes")]),
    array("groups").since(8).of(&[
        string("group_id"),
        string("member_id").since(9).nullable(),
        int32("member_epoch").since(9),
        array("topics")
            .nullable()
            .of(&[string("name"), int32_array("partition_indexes")]),
    ]),
    boolean("require_stable").since(7),
];

/// FindCoordinator (10), versions 0-6.
pub(crate) const FIND_COORDINATOR: Shape = &[
    string("key").until(3),
    int8("key_type").since(1),
    string_array("coordinator_keys").since(4),
];

/// JoinGroup (11), versions 0-9.
pub(crate) const JOIN_GROUP: Shape = &[
    string("group_id"),
    int32("session_timeout_ms"),
    int32("rebalance_timeout_ms").since(1),
    string("member_id"),
    string("group_instance_id").since(5).nullable(),
    string("protocol_type"),
    array("protocols").of(&[string("name"), bytes("metadata")]),
    string("reason").since(8).nullable(),
];

/// Heartbeat (12), versions 0-4.
pub(crate) const HEARTBEAT: Shape = &[
    string("group_id"),
    int32("generation_id"),
    string("member_id"),
    string("group_instance_id").since(3).nullable(),
];

/// LeaveGroup (13), versions 0-5.
pub(crate) const LEAVE_GROUP: Shape = &[
    string("group_id"),
    string("member_id").until(2),
    array("members").since(3).of(&[
        string("member_id"),
        string("group_instance_id").nullable(),
        string("reason").since(5).nullable(),
    ]),
];

/// SyncGroup (14), versions 0-5.
pub(crate) const SYNC_GROUP: Shape = &[
    string("group_id"),
    int32("generation_id"),
    string("member_id"),
    string("group_instance_id").since(3).nullable(),
    string("protocol_type").since(5).nullable(),
    string("protocol_name").since(5).nullable(),
    array("assignments").of(&[string("member_id"), bytes("assignment")]),
];

/// DescribeGroups (15), versions 0-6.
pub(crate) const DESCRIBE_GROUPS: Shape = &[
    string_array("groups"),
    boolean("include_authorized_operations").since(3),
];

/// ListGroups (16), versions 0-5.
pub(crate) const LIST_GROUPS: Shape = &[
    string_array("states_filter").since(4),
    string_array("types_filter").since(5),
];

/// DeleteGroups (42), versions 0-2.
pub(crate) const DELETE_GROUPS: Shape = &[string_array("groups_names")];

/// OffsetDelete (47), versions 0-0.
pub(crate) const OFFSET_DELETE: Shape = &[
    string("group_id"),
    array("topics").of(&[
        string("name"),
        array("partitions").of(&[int32("partition_index")]),
    ]),
];

/// ConsumerGroupHeartbeat (68), versions 0-1.
pub(crate) const CONSUMER_GROUP_HEARTBEAT: Shape = &[
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
];

/// ConsumerGroupDescribe (69), versions 0-1.
pub(crate) const CONSUMER_GROUP_DESCRIBE: Shape = &[
    string_array("group_ids"),
    boolean("include_authorized_operations"),
];
