//! Topics, partitions, records and configs.

use crate::guard::field::*;

/// CreateTopics (19), versions 2-7.
pub(crate) const CREATE_TOPICS: Shape = &[
    array("topics").of(&[
        string("name"),
        int32("num_partitions"),
        int16("replication_factor"),
        array("assignments").of(&[int32("partition_index"), int32_array("broker_ids")]),
        array("configs").of(&[string("name"), string("value").nullable()]),
    ]),
    int32("timeout_ms"),
    boolean("validate_only"),
];

/// DeleteTopics (20), versions 1-6.
pub(crate) const DELETE_TOPICS: Shape = &[
    array("topics")
        .since(6)
        .of(&[string("name").nullable(), uuid("topic_id")]),
    string_array("topic_names").until(5),
    int32("timeout_ms"),
];

/// DeleteRecords (21), versions 0-2.
pub(crate) const DELETE_RECORDS: Shape = &[
    array("topics").of(&[
        string("name"),
        array("partitions").of(&[int32("partition_index"), int64("offset")]),
    ]),
    int32("timeout_ms"),
];

/// DescribeConfigs (32), versions 1-4.
pub(crate) const DESCRIBE_CONFIGS: Shape = &[
    array("resources").of(&[
        int8("resource_type"),
        string("resource_name"),
        string_array("configuration_keys").nullable(),
    ]),
    boolean("include_synonyms"),
    boolean("include_documentation").since(3),
];

/// AlterConfigs (33), versions 0-2.
pub(crate) const ALTER_CONFIGS: Shape = &[
    array("resources").of(&[
        int8("resource_type"),
        string("resource_name"),
        array("configs").of(&[string("name"), string("value").nullable()]),
    ]),
    boolean("validate_only"),
];

/// CreatePartitions (37), versions 0-3.
pub(crate) const CREATE_PARTITIONS: Shape = &[
    array("topics").of(&[
        string("name"),
        int32("count"),
        array("assignments")
            .nullable()
            .of(&[int32_array("broker_ids")]),
    ]),
    int32("timeout_ms"),
    boolean("validate_only"),
];

/// IncrementalAlterConfigs (44), versions 0-1.
pub(crate) const INCREMENTAL_ALTER_CONFIGS: Shape = &[
    array("resources").of(&[
        int8("resource_type"),
        string("resource_name"),
        array("configs").of(&[
            string("name"),
            int8("config_operation"),
            string("value").nullable(),
        ]),
    ]),
    boolean("validate_only"),
];

/// ListConfigResources (74), versions 0-1.
pub(crate) const LIST_CONFIG_RESOURCES: Shape = &[int8_array("resource_types").since(1)];

/// DescribeTopicPartitions (75), versions 0-0.
pub(crate) const DESCRIBE_TOPIC_PARTITIONS: Shape = &[
    array("topics").of(&[string("name")]),
    int32("response_partition_limit"),
    structure("cursor")
        .nullable()
        .of(&[string("topic_name"), int32("partition_index")]),
];
