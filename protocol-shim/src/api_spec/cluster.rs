//! Cluster, replicas, log directories, quorum and telemetry.

use super::{ApiSpec, api};
use crate::access::Access::{OnCluster, Open};
use crate::access::Operation::{Alter, Describe};
use crate::api_spec::ApiClass::Cluster;
use crate::guard::field::*;

#[rustfmt::skip] // one line for an API, then the fields of its requests
pub(super) static APIS: &[ApiSpec] = &[
    api(34, "AlterReplicaLogDirs", (1, 2), 2, Cluster, OnCluster(Alter)).body(&[array("dirs").of(&[
        string("path"),
        array("topics").of(&[string("name"), int32_array("partitions")]),
    ])]),
    api(35, "DescribeLogDirs", (1, 5), 2, Cluster, OnCluster(Describe)).body(&[array("topics")
        .nullable()
        .of(&[string("topic"), int32_array("partitions")])]),
    api(43, "ElectLeaders", (0, 2), 2, Cluster, OnCluster(Alter)).body(&[
        int8("election_type").since(1),
        array("topic_partitions")
            .nullable()
            .of(&[string("topic"), int32_array("partitions")]),
        int32("timeout_ms"),
    ]),
    api(45, "AlterPartitionReassignments", (0, 1), 0, Cluster, OnCluster(Alter)).body(&[
        int32("timeout_ms"),
        boolean("allow_replication_factor_change").since(1),
        array("topics").of(&[
            string("name"),
            array("partitions").of(&[int32("partition_index"), int32_array("replicas").nullable()]),
        ]),
    ]),
    api(46, "ListPartitionReassignments", (0, 0), 0, Cluster, OnCluster(Describe)).body(&[
        int32("timeout_ms"),
        array("topics")
            .nullable()
            .of(&[string("name"), int32_array("partition_indexes")]),
    ]),
    api(55, "DescribeQuorum", (0, 2), 0, Cluster, OnCluster(Describe)).body(&[array("topics").of(&[
        string("topic_name"),
        array("partitions").of(&[int32("partition_index")]),
    ])]),
    api(57, "UpdateFeatures", (0, 2), 0, Cluster, OnCluster(Alter)).body(&[
        int32("timeout_ms"),
        array("feature_updates").of(&[
            string("feature"),
            int16("max_version_level"),
            boolean("allow_downgrade").until(0),
            int8("upgrade_type").since(1),
        ]),
        boolean("validate_only").since(1),
    ]),
    api(60, "DescribeCluster", (0, 2), 0, Cluster, Open).body(&[
        boolean("include_cluster_authorized_operations"),
        int8("endpoint_type").since(1),
        boolean("include_fenced_brokers").since(2),
    ]),
    api(64, "UnregisterBroker", (0, 0), 0, Cluster, OnCluster(Alter)).body(&[int32("broker_id")]),
    api(71, "GetTelemetrySubscriptions", (0, 0), 0, Cluster, Open).body(&[uuid("client_instance_id")]),
    api(72, "PushTelemetry", (0, 0), 0, Cluster, Open).body(&[
        uuid("client_instance_id"),
        int32("subscription_id"),
        boolean("terminating"),
        int8("compression_type"),
        bytes("metrics"),
    ]),
    api(80, "AddRaftVoter", (0, 0), 0, Cluster, OnCluster(Alter)).body(&[
        string("cluster_id").nullable(),
        int32("timeout_ms"),
        int32("voter_id"),
        uuid("voter_directory_id"),
        array("listeners").of(&[string("name"), string("host"), uint16("port")]),
    ]),
    api(81, "RemoveRaftVoter", (0, 0), 0, Cluster, OnCluster(Alter)).body(&[
        string("cluster_id").nullable(),
        int32("voter_id"),
        uuid("voter_directory_id"),
    ]),
];
