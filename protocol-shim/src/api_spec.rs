//! The advertised truth: which APIs exist, in which versions, and which of them this broker serves.
//!
//! A range here is what Kafka 4.2 and `kafka-protocol` have in common. The decoder's own ranges are not used: they
//! overstate some APIs.

use crate::access::{Access, Operation};
use crate::guard::field::Shape;
use crate::guard::shapes::{admin, cluster, data, group, security, share, transaction};

/// What an API is about. Decides nothing about the wire; for metrics, quotas and permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiClass {
    /// Records, and what clients ask before they produce or fetch.
    Data,
    /// Consumer groups and committed offsets.
    Group,
    /// Producer ids and transactions.
    Transaction,
    /// Topics, partitions and configs.
    Admin,
    /// Brokers, replicas, quorum, telemetry.
    Cluster,
    /// Authentication, ACLs, tokens, quotas, credentials.
    Security,
    /// Share groups (KIP-932).
    Share,
}

/// One API of a broker listener.
#[derive(Debug)]
pub struct ApiSpec {
    pub api_key: i16,
    /// As in Kafka's `ApiKeys`, for logs and metrics: `OffsetForLeaderEpoch`.
    pub name: &'static str,
    /// First version whose requests are accepted.
    pub min_version: i16,
    /// Last version whose requests are accepted.
    pub max_version: i16,
    /// First version that ApiVersions announces. Below `min_version` only for Produce (KAFKA-18659: librdkafka reads
    /// a range that does not start at 0 as "no compression codec beyond gzip").
    pub advertised_min_version: i16,
    /// First version with compact lengths, tagged fields and request header v2 (KIP-482).
    pub flexible_from: i16,
    pub class: ApiClass,
    /// What somebody must be allowed to do before the request is looked at.
    pub access: Access,
    /// Whether this broker answers the API. One that it does not serve is neither announced nor accepted.
    pub served: bool,
    pub(crate) shape: Shape,
}

impl ApiSpec {
    /// Whether requests of `version` are accepted.
    pub const fn has(&self, version: i16) -> bool {
        self.min_version <= version && version <= self.max_version
    }

    /// Whether `version` has compact lengths and tagged fields.
    pub const fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// Version of the header before a request of `version`: 1, or 2 when flexible.
    pub const fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Version of the header before a response of `version`: 0, or 1 when flexible.
    ///
    /// ApiVersions answers with header 0 always, so that a client which asked in a version that the broker
    /// does not know can still read the answer (KIP-511).
    pub const fn response_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) && self.api_key != API_VERSIONS {
            1
        } else {
            0
        }
    }

    const fn served(mut self) -> Self {
        self.served = true;
        self
    }

    const fn advertised_from(mut self, version: i16) -> Self {
        self.advertised_min_version = version;
        self
    }
}

/// Key of Fetch.
pub const FETCH: i16 = 1;
/// Key of the one API whose versions a client may not know yet.
pub const API_VERSIONS: i16 = 18;

/// A request names an API or a version that this broker does not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    #[error("API key {api_key} is not served")]
    Api { api_key: i16 },
    #[error("{name} v{version} is not served, only {min}..={max}")]
    Version {
        name: &'static str,
        version: i16,
        min: i16,
        max: i16,
    },
}

/// The spec of an API key, served or not.
pub fn spec(api_key: i16) -> Option<&'static ApiSpec> {
    let slot = *BY_KEY.get(usize::try_from(api_key).ok()?)?;
    API_SPECS.get(usize::from(slot))
}

/// The spec of an API that this broker serves in `version`.
///
/// # Errors
/// When it does not. Kafka closes the connection then, except for ApiVersions, which it answers in version 0 with
/// UNSUPPORTED_VERSION: see [`crate::decode::api_versions_fallback`].
pub fn served(api_key: i16, version: i16) -> Result<&'static ApiSpec, Unsupported> {
    let spec = spec(api_key)
        .filter(|spec| spec.served)
        .ok_or(Unsupported::Api { api_key })?;
    if spec.has(version) {
        Ok(spec)
    } else {
        Err(Unsupported::Version {
            name: spec.name,
            version,
            min: spec.min_version,
            max: spec.max_version,
        })
    }
}

/// What ApiVersions announces, in the order of the keys: `(api_key, min_version, max_version)` from
/// `advertised_min_version` and `max_version`.
pub fn advertised() -> impl Iterator<Item = &'static ApiSpec> {
    (0..KEY_COUNT as i16)
        .filter_map(spec)
        .filter(|spec| spec.served)
}

const NEVER: i16 = i16::MAX;

const fn api(
    api_key: i16,
    name: &'static str,
    (min_version, max_version): (i16, i16),
    flexible_from: i16,
    class: ApiClass,
    access: Access,
    shape: Shape,
) -> ApiSpec {
    ApiSpec {
        api_key,
        name,
        min_version,
        max_version,
        advertised_min_version: min_version,
        flexible_from,
        class,
        access,
        served: false,
        shape,
    }
}

use Access::{Named, OnCluster, Open};
use ApiClass::{Admin, Cluster, Data, Group, Security, Share, Transaction};
use Operation::{Alter, AlterConfigs, ClusterAction, Describe, DescribeConfigs};

/// Every API that a broker listener has and the decoder knows.
///
/// Per row: key, name, versions, flexible from, class, access, shape.
#[rustfmt::skip] // a table: one row per line
pub static API_SPECS: &[ApiSpec] = &[
    // Records, and what clients ask before they produce or fetch.
    api(0,  "Produce",                        (3, 13), 9,     Data, Named, data::PRODUCE).advertised_from(0).served(),
    api(1,  "Fetch",                          (4, 18), 12,    Data, Named, data::FETCH).served(),
    api(2,  "ListOffsets",                    (1, 10), 6,     Data, Named, data::LIST_OFFSETS).served(),
    api(3,  "Metadata",                       (0, 13), 9,     Data, Named, data::METADATA).served(),
    api(18, "ApiVersions",                    (0, 4),  3,     Data, Open, data::API_VERSIONS).served(),
    api(23, "OffsetForLeaderEpoch",           (2, 4),  4,     Data, Named, data::OFFSET_FOR_LEADER_EPOCH).served(),
    // Consumer groups, classic and KIP-848.
    api(8,  "OffsetCommit",                   (2, 9),  8,     Group, Named, group::OFFSET_COMMIT).served(),
    api(9,  "OffsetFetch",                    (1, 9),  6,     Group, Named, group::OFFSET_FETCH).served(),
    api(10, "FindCoordinator",                (0, 6),  3,     Group, Named, group::FIND_COORDINATOR).served(),
    api(11, "JoinGroup",                      (0, 9),  6,     Group, Named, group::JOIN_GROUP).served(),
    api(12, "Heartbeat",                      (0, 4),  4,     Group, Named, group::HEARTBEAT).served(),
    api(13, "LeaveGroup",                     (0, 5),  4,     Group, Named, group::LEAVE_GROUP).served(),
    api(14, "SyncGroup",                      (0, 5),  4,     Group, Named, group::SYNC_GROUP).served(),
    api(15, "DescribeGroups",                 (0, 6),  5,     Group, Named, group::DESCRIBE_GROUPS).served(),
    api(16, "ListGroups",                     (0, 5),  3,     Group, Named, group::LIST_GROUPS).served(),
    api(42, "DeleteGroups",                   (0, 2),  2,     Group, Named, group::DELETE_GROUPS).served(),
    api(47, "OffsetDelete",                   (0, 0),  NEVER, Group, Named, group::OFFSET_DELETE).served(),
    api(68, "ConsumerGroupHeartbeat",         (0, 1),  0,     Group, Named, group::CONSUMER_GROUP_HEARTBEAT).served(),
    api(69, "ConsumerGroupDescribe",          (0, 1),  0,     Group, Named, group::CONSUMER_GROUP_DESCRIBE).served(),
    // Producer ids and transactions.
    api(22, "InitProducerId",                 (0, 5),  2,     Transaction, Named, transaction::INIT_PRODUCER_ID).served(),
    api(24, "AddPartitionsToTxn",             (0, 5),  3,     Transaction, Named, transaction::ADD_PARTITIONS_TO_TXN),
    api(25, "AddOffsetsToTxn",                (0, 4),  3,     Transaction, Named, transaction::ADD_OFFSETS_TO_TXN),
    api(26, "EndTxn",                         (0, 5),  3,     Transaction, Named, transaction::END_TXN),
    api(27, "WriteTxnMarkers",                (1, 1),  1,     Transaction, Named, transaction::WRITE_TXN_MARKERS),
    api(28, "TxnOffsetCommit",                (0, 5),  3,     Transaction, Named, transaction::TXN_OFFSET_COMMIT),
    api(61, "DescribeProducers",              (0, 0),  0,     Transaction, Named, transaction::DESCRIBE_PRODUCERS).served(),
    api(65, "DescribeTransactions",           (0, 0),  0,     Transaction, Named, transaction::DESCRIBE_TRANSACTIONS).served(),
    api(66, "ListTransactions",               (0, 2),  0,     Transaction, Named, transaction::LIST_TRANSACTIONS).served(),
    // Topics, partitions and configs.
    api(19, "CreateTopics",                   (2, 7),  5,     Admin, Named, admin::CREATE_TOPICS).served(),
    api(20, "DeleteTopics",                   (1, 6),  4,     Admin, Named, admin::DELETE_TOPICS).served(),
    api(21, "DeleteRecords",                  (0, 2),  2,     Admin, Named, admin::DELETE_RECORDS).served(),
    api(32, "DescribeConfigs",                (1, 4),  4,     Admin, Named, admin::DESCRIBE_CONFIGS).served(),
    api(33, "AlterConfigs",                   (0, 2),  2,     Admin, Named, admin::ALTER_CONFIGS).served(),
    api(37, "CreatePartitions",               (0, 3),  2,     Admin, Named, admin::CREATE_PARTITIONS).served(),
    api(44, "IncrementalAlterConfigs",        (0, 1),  1,     Admin, Named, admin::INCREMENTAL_ALTER_CONFIGS).served(),
    api(74, "ListConfigResources",            (0, 1),  0,     Admin, OnCluster(DescribeConfigs), admin::LIST_CONFIG_RESOURCES).served(),
    api(75, "DescribeTopicPartitions",        (0, 0),  0,     Admin, Named, admin::DESCRIBE_TOPIC_PARTITIONS).served(),
    // Brokers, replicas, quorum, telemetry.
    api(34, "AlterReplicaLogDirs",            (1, 2),  2,     Cluster, OnCluster(Alter), cluster::ALTER_REPLICA_LOG_DIRS),
    api(35, "DescribeLogDirs",                (1, 4),  2,     Cluster, OnCluster(Describe), cluster::DESCRIBE_LOG_DIRS).served(),
    api(43, "ElectLeaders",                   (0, 2),  2,     Cluster, OnCluster(Alter), cluster::ELECT_LEADERS).served(),
    api(45, "AlterPartitionReassignments",    (0, 1),  0,     Cluster, OnCluster(Alter), cluster::ALTER_PARTITION_REASSIGNMENTS),
    api(46, "ListPartitionReassignments",     (0, 0),  0,     Cluster, OnCluster(Describe), cluster::LIST_PARTITION_REASSIGNMENTS).served(),
    api(55, "DescribeQuorum",                 (0, 2),  0,     Cluster, OnCluster(Describe), cluster::DESCRIBE_QUORUM).served(),
    api(57, "UpdateFeatures",                 (0, 2),  0,     Cluster, OnCluster(Alter), cluster::UPDATE_FEATURES),
    api(60, "DescribeCluster",                (0, 2),  0,     Cluster, Open, cluster::DESCRIBE_CLUSTER).served(),
    api(64, "UnregisterBroker",               (0, 0),  0,     Cluster, OnCluster(Alter), cluster::UNREGISTER_BROKER),
    api(71, "GetTelemetrySubscriptions",      (0, 0),  0,     Cluster, Open, cluster::GET_TELEMETRY_SUBSCRIPTIONS),
    api(72, "PushTelemetry",                  (0, 0),  0,     Cluster, Open, cluster::PUSH_TELEMETRY),
    api(80, "AddRaftVoter",                   (0, 0),  0,     Cluster, OnCluster(Alter), cluster::ADD_RAFT_VOTER),
    api(81, "RemoveRaftVoter",                (0, 0),  0,     Cluster, OnCluster(Alter), cluster::REMOVE_RAFT_VOTER),
    // Authentication, ACLs, tokens, quotas, credentials.
    api(17, "SaslHandshake",                  (0, 1),  NEVER, Security, Open, security::SASL_HANDSHAKE),
    api(29, "DescribeAcls",                   (1, 3),  2,     Security, OnCluster(Describe), security::DESCRIBE_ACLS).served(),
    api(30, "CreateAcls",                     (1, 3),  2,     Security, OnCluster(Alter), security::CREATE_ACLS).served(),
    api(31, "DeleteAcls",                     (1, 3),  2,     Security, OnCluster(Alter), security::DELETE_ACLS).served(),
    api(36, "SaslAuthenticate",               (0, 2),  2,     Security, Open, security::SASL_AUTHENTICATE),
    api(38, "CreateDelegationToken",          (1, 3),  2,     Security, Named, security::CREATE_DELEGATION_TOKEN),
    api(39, "RenewDelegationToken",           (1, 2),  2,     Security, Named, security::RENEW_DELEGATION_TOKEN),
    api(40, "ExpireDelegationToken",          (1, 2),  2,     Security, Named, security::EXPIRE_DELEGATION_TOKEN),
    api(41, "DescribeDelegationToken",        (1, 3),  2,     Security, Named, security::DESCRIBE_DELEGATION_TOKEN).served(),
    api(48, "DescribeClientQuotas",           (0, 1),  1,     Security, OnCluster(DescribeConfigs), security::DESCRIBE_CLIENT_QUOTAS).served(),
    api(49, "AlterClientQuotas",              (0, 1),  1,     Security, OnCluster(AlterConfigs), security::ALTER_CLIENT_QUOTAS),
    api(50, "DescribeUserScramCredentials",   (0, 0),  0,     Security, OnCluster(Describe), security::DESCRIBE_USER_SCRAM_CREDENTIALS).served(),
    api(51, "AlterUserScramCredentials",      (0, 0),  0,     Security, OnCluster(Alter), security::ALTER_USER_SCRAM_CREDENTIALS),
    // Share groups.
    api(76, "ShareGroupHeartbeat",            (1, 1),  0,     Share, Named, share::SHARE_GROUP_HEARTBEAT),
    api(77, "ShareGroupDescribe",             (1, 1),  0,     Share, Named, share::SHARE_GROUP_DESCRIBE),
    api(78, "ShareFetch",                     (1, 1),  0,     Share, Named, share::SHARE_FETCH),
    api(79, "ShareAcknowledge",               (1, 1),  0,     Share, Named, share::SHARE_ACKNOWLEDGE),
    api(83, "InitializeShareGroupState",      (0, 0),  0,     Share, OnCluster(ClusterAction), share::INITIALIZE_SHARE_GROUP_STATE),
    api(84, "ReadShareGroupState",            (0, 0),  0,     Share, OnCluster(ClusterAction), share::READ_SHARE_GROUP_STATE),
    api(85, "WriteShareGroupState",           (0, 0),  0,     Share, OnCluster(ClusterAction), share::WRITE_SHARE_GROUP_STATE),
    api(86, "DeleteShareGroupState",          (0, 0),  0,     Share, OnCluster(ClusterAction), share::DELETE_SHARE_GROUP_STATE),
    api(87, "ReadShareGroupStateSummary",     (0, 0),  0,     Share, OnCluster(ClusterAction), share::READ_SHARE_GROUP_STATE_SUMMARY),
    api(90, "DescribeShareGroupOffsets",      (0, 0),  0,     Share, Named, share::DESCRIBE_SHARE_GROUP_OFFSETS),
    api(91, "AlterShareGroupOffsets",         (0, 0),  0,     Share, Named, share::ALTER_SHARE_GROUP_OFFSETS),
    api(92, "DeleteShareGroupOffsets",        (0, 0),  0,     Share, Named, share::DELETE_SHARE_GROUP_OFFSETS),
];

const KEY_COUNT: usize = 93;
const NO_SLOT: u8 = u8::MAX;

/// Position in [`API_SPECS`] of each key.
static BY_KEY: [u8; KEY_COUNT] = {
    let mut slots = [NO_SLOT; KEY_COUNT];
    let mut slot = 0;
    while slot < API_SPECS.len() {
        slots[API_SPECS[slot].api_key as usize] = slot as u8;
        slot += 1;
    }
    slots
};

#[cfg(test)]
mod tests;
