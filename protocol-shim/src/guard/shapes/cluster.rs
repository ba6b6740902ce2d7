//! Cluster, replicas, log directories, quorum and telemetry.

use crate::guard::field::*;

/// AlterReplicaLogDirs (34), versions 1-2.
pub(crate) const ALTER_REPLICA_LOG_DIRS: Shape = &[array("dirs").of(&[
    string("path"),
    array("topics").of(&[string("name"), int32_array("partitions")]),
])];

/// DescribeLogDirs (35), versions 1-4.
pub(crate) const DESCRIBE_LOG_DIRS: Shape = &[array("topics")
    .nullable()
    .of(&[string("topic"), int32_array("partitions")])];

/// ElectLeaders (43), versions 0-2.
pub(crate) const ELECT_LEADERS: Shape = &[
    int8("election_type").since(1),
    array("topic_partitions")
        .nullable()
        .of(&[string("topic"), int32_array("partitions")]),
    int32("timeout_ms"),
];

/// AlterPartitionReassignments (45), versions 0-1.
pub(crate) const ALTER_PARTITION_REASSIGNMENTS: Shape = &[
    int32("timeout_ms"),
    boolean("allow_replication_factor_change").since(1),
    array("topics").of(&[
        string("name"),
        array("partitions").of(&[int32("partition_index"), int32_array("replicas").nullable()]),
    ]),
];

/// ListPartitionReassignments (46), versions 0-0.
pub(crate) const LIST_PARTITION_REASSIGNMENTS: Shape = &[
    int32("timeout_ms"),
    array("topics")
        .nullable()
        .of(&[string("name"), int32_array("partition_indexes")]),
];

/// DescribeQuorum (55), versions 0-2.
pub(crate) const DESCRIBE_QUORUM: Shape = &[array("topics").of(&[
    string("topic_name"),
    array("partitions").of(&[int32("partition_index")]),
])];

/// UpdateFeatures (57), versions 0-2.
pub(crate) const UPDATE_FEATURES: Shape = &[
    int32("timeout_ms"),
    array("feature_updates").of(&[
        string("feature"),
        int16("max_version_level"),
        boolean("allow_downgrade").until(0),
        int8("upgrade_type").since(1),
    ]),
    boolean("validate_only").since(1),
];

/// DescribeCluster (60), versions 0-2.
pub(crate) const DESCRIBE_CLUSTER: Shape = &[
    boolean("include_cluster_authorized_operations"),
    int8("endpoint_type").since(1),
    boolean("include_fenced_brokers").since(2),
];

/// UnregisterBroker (64), versions 0-0.
pub(crate) const UNREGISTER_BROKER: Shape = &[int32("broker_id")];

/// GetTelemetrySubscriptions (71), versions 0-0.
pub(crate) const GET_TELEMETRY_SUBSCRIPTIONS: Shape = &[uuid("client_instance_id")];

/// PushTelemetry (72), versions 0-0.
pub(crate) const PUSH_TELEMETRY: Shape = &[
    uuid("client_instance_id"),
    int32("subscription_id"),
    boolean("terminating"),
    int8("compression_type"),
    bytes("metrics"),
];

/// AddRaftVoter (80), versions 0-0.
pub(crate) const ADD_RAFT_VOTER: Shape = &[
    string("cluster_id").nullable(),
    int32("timeout_ms"),
    int32("voter_id"),
    uuid("voter_directory_id"),
    array("listeners").of(&[string("name"), string("host"), uint16("port")]),
];

/// RemoveRaftVoter (81), versions 0-0.
pub(crate) const REMOVE_RAFT_VOTER: Shape = &[
    string("cluster_id").nullable(),
    int32("voter_id"),
    uuid("voter_directory_id"),
];
