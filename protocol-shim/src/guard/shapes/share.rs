//! Share groups (KIP-932), client side and coordinator side.

use crate::guard::field::*;

/// ShareGroupHeartbeat (76), versions 1-1.
pub(crate) const SHARE_GROUP_HEARTBEAT: Shape = &[
    string("group_id"),
    string("member_id"),
    int32("member_epoch"),
    string("rack_id").nullable(),
    string_array("subscribed_topic_names").nullable(),
];

/// ShareGroupDescribe (77), versions 1-1.
pub(crate) const SHARE_GROUP_DESCRIBE: Shape = &[
    string_array("group_ids"),
    boolean("include_authorized_operations"),
];

/// ShareFetch (78), versions 1-1.
pub(crate) const SHARE_FETCH: Shape = &[
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
];

/// ShareAcknowledge (79), versions 1-1.
pub(crate) const SHARE_ACKNOWLEDGE: Shape = &[
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
];

/// InitializeShareGroupState (83), versions 0-0.
pub(crate) const INITIALIZE_SHARE_GROUP_STATE: Shape = &[
    string("group_id"),
    array("topics").of(&[
        uuid("topic_id"),
        array("partitions").of(&[
            int32("partition"),
            int32("state_epoch"),
            int64("start_offset"),
        ]),
    ]),
];

/// ReadShareGroupState (84), versions 0-0.
pub(crate) const READ_SHARE_GROUP_STATE: Shape = &[
    string("group_id"),
    array("topics").of(&[
        uuid("topic_id"),
        array("partitions").of(&[int32("partition"), int32("leader_epoch")]),
    ]),
];

/// WriteShareGroupState (85), versions 0-0.
pub(crate) const WRITE_SHARE_GROUP_STATE: Shape = &[
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
];

/// DeleteShareGroupState (86), versions 0-0.
pub(crate) const DELETE_SHARE_GROUP_STATE: Shape = &[
    string("group_id"),
    array("topics").of(&[
        uuid("topic_id"),
        array("partitions").of(&[int32("partition")]),
    ]),
];

/// ReadShareGroupStateSummary (87), versions 0-0.
pub(crate) const READ_SHARE_GROUP_STATE_SUMMARY: Shape = &[
    string("group_id"),
    array("topics").of(&[
        uuid("topic_id"),
        array("partitions").of(&[int32("partition"), int32("leader_epoch")]),
    ]),
];

/// DescribeShareGroupOffsets (90), versions 0-0.
pub(crate) const DESCRIBE_SHARE_GROUP_OFFSETS: Shape = &[array("groups").of(&[
    string("group_id"),
    array("topics")
        .nullable()
        .of(&[string("topic_name"), int32_array("partitions")]),
])];

/// AlterShareGroupOffsets (91), versions 0-0.
pub(crate) const ALTER_SHARE_GROUP_OFFSETS: Shape = &[
    string("group_id"),
    array("topics").of(&[
        string("topic_name"),
        array("partitions").of(&[int32("partition_index"), int64("start_offset")]),
    ]),
];

/// DeleteShareGroupOffsets (92), versions 0-0.
pub(crate) const DELETE_SHARE_GROUP_OFFSETS: Shape = &[
    string("group_id"),
    array("topics").of(&[string("topic_name")]),
];
