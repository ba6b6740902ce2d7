//! What the answers look like that Ottla's own clients read: one row for each API.
//!
//! A broker may lie as well as a client: its counts are held against the bytes that there are, before the decoder believes
//! them. The shapes are facts from Kafka's message definitions, as those of requests are; `guard/tests` holds them against
//! the decoder in all versions.

use kafka_protocol::messages::ApiKey;

use super::field::{
    Shape, array, boolean, bytes, float64, int8, int16, int32, int32_array, int64, string,
    string_array, structure, uuid,
};

/// The shape of an API's responses, if anybody here reads them.
pub(crate) fn shape(api_key: i16) -> Option<Shape> {
    let row = SHAPES.iter().find(|(key, _)| *key == api_key);
    row.map(|(_, shape)| *shape)
}

/// By API key.
pub(crate) const SHAPES: &[(i16, Shape)] = &[
    (
        ApiKey::Produce as i16,
        &[
            array("responses").of(&[
                string("name").until(12),
                uuid("topic_id").since(13),
                array("partition_responses").of(&[
                    int32("index"),
                    int16("error_code"),
                    int64("base_offset"),
                    int64("log_append_time_ms"),
                    int64("log_start_offset").since(5),
                    array("record_errors")
                        .of(&[
                            int32("batch_index"),
                            string("batch_index_error_message").nullable(),
                        ])
                        .since(8),
                    string("error_message").since(8).nullable(),
                    structure("current_leader")
                        .of(&[int32("leader_id"), int32("leader_epoch")])
                        .since(10)
                        .tag(0),
                ]),
            ]),
            int32("throttle_time_ms"),
            array("node_endpoints")
                .of(&[
                    int32("node_id"),
                    string("host"),
                    int32("port"),
                    string("rack").nullable(),
                ])
                .since(10)
                .tag(0),
        ],
    ),
    (
        ApiKey::Fetch as i16,
        &[
            int32("throttle_time_ms"),
            int16("error_code").since(7),
            int32("session_id").since(7),
            array("responses").of(&[
                string("topic").until(12),
                uuid("topic_id").since(13),
                array("partitions").of(&[
                    int32("partition_index"),
                    int16("error_code"),
                    int64("high_watermark"),
                    int64("last_stable_offset"),
                    int64("log_start_offset").since(5),
                    structure("diverging_epoch")
                        .of(&[int32("epoch"), int64("end_offset")])
                        .since(12)
                        .tag(0),
                    structure("current_leader")
                        .of(&[int32("leader_id"), int32("leader_epoch")])
                        .since(12)
                        .tag(1),
                    structure("snapshot_id")
                        .of(&[int64("end_offset"), int32("epoch")])
                        .since(12)
                        .tag(2),
                    array("aborted_transactions")
                        .of(&[int64("producer_id"), int64("first_offset")])
                        .nullable(),
                    int32("preferred_read_replica").since(11),
                    bytes("records").nullable(),
                ]),
            ]),
            array("node_endpoints")
                .of(&[
                    int32("node_id"),
                    string("host"),
                    int32("port"),
                    string("rack").nullable(),
                ])
                .since(16)
                .tag(0),
        ],
    ),
    (
        ApiKey::ListOffsets as i16,
        &[
            int32("throttle_time_ms").since(2),
            array("topics").of(&[
                string("name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int16("error_code"),
                    int64("timestamp"),
                    int64("offset"),
                    int32("leader_epoch").since(4),
                ]),
            ]),
        ],
    ),
    (
        ApiKey::Metadata as i16,
        &[
            int32("throttle_time_ms").since(3),
            array("brokers").of(&[
                int32("node_id"),
                string("host"),
                int32("port"),
                string("rack").since(1).nullable(),
            ]),
            string("cluster_id").since(2).nullable(),
            int32("controller_id").since(1),
            array("topics").of(&[
                int16("error_code"),
                string("name").nullable(),
                uuid("topic_id").since(10),
                boolean("is_internal").since(1),
                array("partitions").of(&[
                    int16("error_code"),
                    int32("partition_index"),
                    int32("leader_id"),
                    int32("leader_epoch").since(7),
                    int32_array("replica_nodes"),
                    int32_array("isr_nodes"),
                    int32_array("offline_replicas").since(5),
                ]),
                int32("topic_authorized_operations").since(8),
            ]),
            int32("cluster_authorized_operations").since(8).until(10),
            int16("error_code").since(13),
        ],
    ),
    (
        ApiKey::OffsetCommit as i16,
        &[
            int32("throttle_time_ms").since(3),
            array("topics").of(&[
                string("name").until(9),
                uuid("topic_id").since(10),
                array("partitions").of(&[int32("partition_index"), int16("error_code")]),
            ]),
        ],
    ),
    (
        ApiKey::OffsetFetch as i16,
        &[
            int32("throttle_time_ms").since(3),
            array("topics")
                .of(&[
                    string("name"),
                    array("partitions").of(&[
                        int32("partition_index"),
                        int64("committed_offset"),
                        int32("committed_leader_epoch").since(5),
                        string("metadata").nullable(),
                        int16("error_code"),
                    ]),
                ])
                .until(7),
            int16("error_code").since(2).until(7),
            array("groups")
                .of(&[
                    string("group_id"),
                    array("topics").of(&[
                        string("name").until(9),
                        uuid("topic_id").since(10),
                        array("partitions").of(&[
                            int32("partition_index"),
                            int64("committed_offset"),
                            int32("committed_leader_epoch"),
                            string("metadata").nullable(),
                            int16("error_code"),
                        ]),
                    ]),
                    int16("error_code"),
                ])
                .since(8),
        ],
    ),
    (
        ApiKey::FindCoordinator as i16,
        &[
            int32("throttle_time_ms").since(1),
            int16("error_code").until(3),
            string("error_message").since(1).until(3).nullable(),
            int32("node_id").until(3),
            string("host").until(3),
            int32("port").until(3),
            array("coordinators")
                .of(&[
                    string("key"),
                    int32("node_id"),
                    string("host"),
                    int32("port"),
                    int16("error_code"),
                    string("error_message").nullable(),
                ])
                .since(4),
        ],
    ),
    (
        ApiKey::JoinGroup as i16,
        &[
            int32("throttle_time_ms").since(2),
            int16("error_code"),
            int32("generation_id"),
            string("protocol_type").since(7).nullable(),
            string("protocol_name").nullable(),
            string("leader"),
            boolean("skip_assignment").since(9),
            string("member_id"),
            array("members").of(&[
                string("member_id"),
                string("group_instance_id").since(5).nullable(),
                bytes("metadata"),
            ]),
        ],
    ),
    (
        ApiKey::Heartbeat as i16,
        &[int32("throttle_time_ms").since(1), int16("error_code")],
    ),
    (
        ApiKey::LeaveGroup as i16,
        &[
            int32("throttle_time_ms").since(1),
            int16("error_code"),
            array("members")
                .of(&[
                    string("member_id"),
                    string("group_instance_id").nullable(),
                    int16("error_code"),
                ])
                .since(3),
        ],
    ),
    (
        ApiKey::SyncGroup as i16,
        &[
            int32("throttle_time_ms").since(1),
            int16("error_code"),
            string("protocol_type").since(5).nullable(),
            string("protocol_name").since(5).nullable(),
            bytes("assignment"),
        ],
    ),
    (
        ApiKey::DescribeGroups as i16,
        &[
            int32("throttle_time_ms").since(1),
            array("groups").of(&[
                int16("error_code"),
                string("error_message").since(6).nullable(),
                string("group_id"),
                string("group_state"),
                string("protocol_type"),
                string("protocol_data"),
                array("members").of(&[
                    string("member_id"),
                    string("group_instance_id").since(4).nullable(),
                    string("client_id"),
                    string("client_host"),
                    bytes("member_metadata"),
                    bytes("member_assignment"),
                ]),
                int32("authorized_operations").since(3),
            ]),
        ],
    ),
    (
        ApiKey::ListGroups as i16,
        &[
            int32("throttle_time_ms").since(1),
            int16("error_code"),
            array("groups").of(&[
                string("group_id"),
                string("protocol_type"),
                string("group_state").since(4),
                string("group_type").since(5),
            ]),
        ],
    ),
    (
        ApiKey::SaslHandshake as i16,
        &[int16("error_code"), string_array("mechanisms")],
    ),
    (
        ApiKey::ApiVersions as i16,
        &[
            int16("error_code"),
            array("api_keys").of(&[int16("api_key"), int16("min_version"), int16("max_version")]),
            int32("throttle_time_ms").since(1),
            array("supported_features")
                .of(&[string("name"), int16("min_version"), int16("max_version")])
                .since(3)
                .tag(0),
            int64("finalized_features_epoch").since(3).tag(1),
            array("finalized_features")
                .of(&[
                    string("name"),
                    int16("max_version_level"),
                    int16("min_version_level"),
                ])
                .since(3)
                .tag(2),
            boolean("zk_migration_ready").since(3).tag(3),
        ],
    ),
    (
        ApiKey::CreateTopics as i16,
        &[
            int32("throttle_time_ms"),
            array("topics").of(&[
                string("name"),
                uuid("topic_id").since(7),
                int16("error_code"),
                string("error_message").nullable(),
                int16("topic_config_error_code").since(5).tag(0),
                int32("num_partitions").since(5),
                int16("replication_factor").since(5),
                array("configs")
                    .of(&[
                        string("name"),
                        string("value").nullable(),
                        boolean("read_only"),
                        int8("config_source"),
                        boolean("is_sensitive"),
                    ])
                    .since(5)
                    .nullable(),
            ]),
        ],
    ),
    (
        ApiKey::DeleteTopics as i16,
        &[
            int32("throttle_time_ms"),
            array("responses").of(&[
                string("name").nullable(),
                uuid("topic_id").since(6),
                int16("error_code"),
                string("error_message").since(5).nullable(),
            ]),
        ],
    ),
    (
        ApiKey::DeleteRecords as i16,
        &[
            int32("throttle_time_ms"),
            array("topics").of(&[
                string("name"),
                array("partitions").of(&[
                    int32("partition_index"),
                    int64("low_watermark"),
                    int16("error_code"),
                ]),
            ]),
        ],
    ),
    (
        ApiKey::AddPartitionsToTxn as i16,
        &[
            int32("throttle_time_ms"),
            int16("error_code").since(4),
            array("results_by_transaction")
                .of(&[
                    string("transactional_id"),
                    array("topic_results").of(&[
                        string("name"),
                        array("results_by_partition")
                            .of(&[int32("partition_index"), int16("partition_error_code")]),
                    ]),
                ])
                .since(4),
            array("results_by_topic_v3_and_below")
                .of(&[
                    string("name"),
                    array("results_by_partition")
                        .of(&[int32("partition_index"), int16("partition_error_code")]),
                ])
                .until(3),
        ],
    ),
    (
        ApiKey::DescribeAcls as i16,
        &[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
            array("resources").of(&[
                int8("resource_type"),
                string("resource_name"),
                int8("pattern_type"),
                array("acls").of(&[
                    string("principal"),
                    string("host"),
                    int8("operation"),
                    int8("permission_type"),
                ]),
            ]),
        ],
    ),
    (
        ApiKey::CreateAcls as i16,
        &[
            int32("throttle_time_ms"),
            array("results").of(&[int16("error_code"), string("error_message").nullable()]),
        ],
    ),
    (
        ApiKey::DeleteAcls as i16,
        &[
            int32("throttle_time_ms"),
            array("filter_results").of(&[
                int16("error_code"),
                string("error_message").nullable(),
                array("matching_acls").of(&[
                    int16("error_code"),
                    string("error_message").nullable(),
                    int8("resource_type"),
                    string("resource_name"),
                    int8("pattern_type"),
                    string("principal"),
                    string("host"),
                    int8("operation"),
                    int8("permission_type"),
                ]),
            ]),
        ],
    ),
    (
        ApiKey::DescribeConfigs as i16,
        &[
            int32("throttle_time_ms"),
            array("results").of(&[
                int16("error_code"),
                string("error_message").nullable(),
                int8("resource_type"),
                string("resource_name"),
                array("configs").of(&[
                    string("name"),
                    string("value").nullable(),
                    boolean("read_only"),
                    int8("config_source"),
                    boolean("is_sensitive"),
                    array("synonyms").of(&[
                        string("name"),
                        string("value").nullable(),
                        int8("source"),
                    ]),
                    int8("config_type").since(3),
                    string("documentation").since(3).nullable(),
                ]),
            ]),
        ],
    ),
    (
        ApiKey::SaslAuthenticate as i16,
        &[
            int16("error_code"),
            string("error_message").nullable(),
            bytes("auth_bytes"),
            int64("session_lifetime_ms").since(1),
        ],
    ),
    (
        ApiKey::CreatePartitions as i16,
        &[
            int32("throttle_time_ms"),
            array("results").of(&[
                string("name"),
                int16("error_code"),
                string("error_message").nullable(),
            ]),
        ],
    ),
    (
        ApiKey::DeleteGroups as i16,
        &[
            int32("throttle_time_ms"),
            array("results").of(&[string("group_id"), int16("error_code")]),
        ],
    ),
    (
        ApiKey::IncrementalAlterConfigs as i16,
        &[
            int32("throttle_time_ms"),
            array("responses").of(&[
                int16("error_code"),
                string("error_message").nullable(),
                int8("resource_type"),
                string("resource_name"),
            ]),
        ],
    ),
    (
        ApiKey::OffsetDelete as i16,
        &[
            int16("error_code"),
            int32("throttle_time_ms"),
            array("topics").of(&[
                string("name"),
                array("partitions").of(&[int32("partition_index"), int16("error_code")]),
            ]),
        ],
    ),
    (
        ApiKey::DescribeClientQuotas as i16,
        &[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
            array("entries")
                .of(&[
                    array("entity").of(&[string("entity_type"), string("entity_name").nullable()]),
                    array("values").of(&[string("key"), float64("value")]),
                ])
                .nullable(),
        ],
    ),
    (
        ApiKey::AlterClientQuotas as i16,
        &[
            int32("throttle_time_ms"),
            array("entries").of(&[
                int16("error_code"),
                string("error_message").nullable(),
                array("entity").of(&[string("entity_type"), string("entity_name").nullable()]),
            ]),
        ],
    ),
    (
        ApiKey::DescribeUserScramCredentials as i16,
        &[
            int32("throttle_time_ms"),
            int16("error_code"),
            string("error_message").nullable(),
            array("results").of(&[
                string("user"),
                int16("error_code"),
                string("error_message").nullable(),
                array("credential_infos").of(&[int8("mechanism"), int32("iterations")]),
            ]),
        ],
    ),
    (
        ApiKey::AlterUserScramCredentials as i16,
        &[
            int32("throttle_time_ms"),
            array("results").of(&[
                string("user"),
                int16("error_code"),
                string("error_message").nullable(),
            ]),
        ],
    ),
    (
        ApiKey::ConsumerGroupDescribe as i16,
        &[
            int32("throttle_time_ms"),
            array("groups").of(&[
                int16("error_code"),
                string("error_message").nullable(),
                string("group_id"),
                string("group_state"),
                int32("group_epoch"),
                int32("assignment_epoch"),
                string("assignor_name"),
                array("members").of(&[
                    string("member_id"),
                    string("instance_id").nullable(),
                    string("rack_id").nullable(),
                    int32("member_epoch"),
                    string("client_id"),
                    string("client_host"),
                    string_array("subscribed_topic_names"),
                    string("subscribed_topic_regex").nullable(),
                    structure("assignment").of(&[array("topic_partitions").of(&[
                        uuid("topic_id"),
                        string("topic_name"),
                        int32_array("partitions"),
                    ])]),
                    structure("target_assignment").of(&[array("topic_partitions").of(&[
                        uuid("topic_id"),
                        string("topic_name"),
                        int32_array("partitions"),
                    ])]),
                    int8("member_type").since(1),
                ]),
                int32("authorized_operations"),
            ]),
        ],
    ),
];
