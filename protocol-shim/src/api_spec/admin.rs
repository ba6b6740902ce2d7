//! Topics, partitions, records and configs.

use super::{ApiSpec, api};
use crate::access::Access::{Named, OnCluster};
use crate::access::Operation::DescribeConfigs;
use crate::api_spec::ApiClass::Admin;
use crate::guard::field::*;

#[rustfmt::skip] // one line for an API, then the fields of its requests
pub(super) static APIS: &[ApiSpec] = &[
    api(19, "CreateTopics", (2, 7), 5, Admin, Named).body(&[
        array("topics").of(&[
            string("name"),
            int32("num_partitions"),
            int16("replication_factor"),
            array("assignments").of(&[int32("partition_index"), int32_array("broker_ids")]),
            array("configs").of(&[string("name"), string("value").nullable()]),
        ]),
        int32("timeout_ms"),
        boolean("validate_only"),
    ]),
    api(20, "DeleteTopics", (1, 6), 4, Admin, Named).body(&[
        array("topics")
            .since(6)
            .of(&[string("name").nullable(), uuid("topic_id")]),
        string_array("topic_names").until(5),
        int32("timeout_ms"),
    ]),
    api(21, "DeleteRecords", (0, 2), 2, Admin, Named).body(&[
        array("topics").of(&[
            string("name"),
            array("partitions").of(&[int32("partition_index"), int64("offset")]),
        ]),
        int32("timeout_ms"),
    ]),
    api(32, "DescribeConfigs", (1, 4), 4, Admin, Named).body(&[
        array("resources").of(&[
            int8("resource_type"),
            string("resource_name"),
            string_array("configuration_keys").nullable(),
        ]),
        boolean("include_synonyms"),
        boolean("include_documentation").since(3),
    ]),
    api(33, "AlterConfigs", (0, 2), 2, Admin, Named).body(&[
        array("resources").of(&[
            int8("resource_type"),
            string("resource_name"),
            array("configs").of(&[string("name"), string("value").nullable()]),
        ]),
        boolean("validate_only"),
    ]),
    api(37, "CreatePartitions", (0, 3), 2, Admin, Named).body(&[
        array("topics").of(&[
            string("name"),
            int32("count"),
            array("assignments")
                .nullable()
                .of(&[int32_array("broker_ids")]),
        ]),
        int32("timeout_ms"),
        boolean("validate_only"),
    ]),
    api(44, "IncrementalAlterConfigs", (0, 1), 1, Admin, Named).body(&[
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
    ]),
    api(74, "ListConfigResources", (0, 1), 0, Admin, OnCluster(DescribeConfigs)).body(&[int8_array("resource_types").since(1)]),
    api(75, "DescribeTopicPartitions", (0, 0), 0, Admin, Named).body(&[
        array("topics").of(&[string("name")]),
        int32("response_partition_limit"),
        structure("cursor")
            .nullable()
            .of(&[string("topic_name"), int32("partition_index")]),
    ]),
];
