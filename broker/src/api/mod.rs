//! One file per API key, and the table of what is served.
//!
//! Each file has `async fn handle(ctx: &RequestContext, request: …Request) -> …Response`, or a `Result` of it, and opens
//! with the API's key, versions, behaviour, KIPs and deviations. Wire structs stop here.

mod acl_filter;
pub(crate) mod add_offsets_to_txn;
pub(crate) mod add_partitions_to_txn;
pub(crate) mod alter_client_quotas;
pub(crate) mod alter_configs;
pub(crate) mod alter_partition_reassignments;
pub(crate) mod alter_replica_log_dirs;
pub(crate) mod alter_user_scram_credentials;
pub(crate) mod api_versions;
mod commit_topics;
pub(crate) mod consumer_group_describe;
pub(crate) mod consumer_group_heartbeat;
pub(crate) mod create_acls;
pub(crate) mod create_delegation_token;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_acls;
pub(crate) mod delete_groups;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_acls;
pub(crate) mod describe_client_quotas;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_delegation_token;
pub(crate) mod describe_groups;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_producers;
pub(crate) mod describe_quorum;
pub(crate) mod describe_topic_partitions;
pub(crate) mod describe_transactions;
pub(crate) mod describe_user_scram_credentials;
pub(crate) mod elect_leaders;
pub(crate) mod end_txn;
pub(crate) mod expire_delegation_token;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod get_telemetry_subscriptions;
pub(crate) mod heartbeat;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_config_resources;
pub(crate) mod list_groups;
pub(crate) mod list_offsets;
pub(crate) mod list_partition_reassignments;
pub(crate) mod list_transactions;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod push_telemetry;
pub(crate) mod renew_delegation_token;
pub(crate) mod sasl_authenticate;
pub(crate) mod sasl_handshake;
pub(crate) mod sync_group;
pub(crate) mod txn_offset_commit;
pub(crate) mod unregister_broker;
pub(crate) mod update_features;
pub(crate) mod write_txn_markers;

#[cfg(test)]
mod admin_tests;
#[cfg(test)]
mod canaries;
#[cfg(test)]
mod coordination_tests;
#[cfg(test)]
mod transaction_tests;
#[cfg(test)]
mod walk;

/// Every API that this broker serves: hands its rows to the macro `$with`, which makes of them what it needs. An API
/// without a row is neither announced nor accepted.
///
/// A row says the API's name in `ApiKey`, its module, and how the module is called:
/// * `?`: the handler may refuse to answer, which closes the connection;
/// * `early`: it does its work in the order of the connection's requests (see [`dispatch`](crate::dispatch::dispatch));
/// * `on_cluster`: the API is for clients that may do something to the cluster. For others the module has a `refused`;
/// * `no_throttle_time`: its response cannot say for how long the client is throttled.
macro_rules! served_apis {
    ($with:ident) => {
        $with! {
            Produce                      => produce                         [early];
            Fetch                        => fetch                           [?];
            ApiVersions                  => api_versions                    [];
            ListOffsets                  => list_offsets                    [];
            Metadata                     => metadata                        [?];
            OffsetForLeaderEpoch         => offset_for_leader_epoch         [];
            InitProducerId               => init_producer_id                [];
            DeleteRecords                => delete_records                  [];
            FindCoordinator              => find_coordinator                [?];
            JoinGroup                    => join_group                      [?];
            SyncGroup                    => sync_group                      [?];
            Heartbeat                    => heartbeat                       [];
            LeaveGroup                   => leave_group                     [?];
            ConsumerGroupHeartbeat       => consumer_group_heartbeat        [];
            ConsumerGroupDescribe        => consumer_group_describe         [?];
            OffsetCommit                 => offset_commit                   [?];
            OffsetFetch                  => offset_fetch                    [?];
            OffsetDelete                 => offset_delete                   [?];
            DescribeGroups               => describe_groups                 [?];
            ListGroups                   => list_groups                     [?];
            DeleteGroups                 => delete_groups                   [?];
            CreateTopics                 => create_topics                   [];
            DeleteTopics                 => delete_topics                   [];
            CreatePartitions             => create_partitions               [];
            DescribeConfigs              => describe_configs                [?];
            AlterConfigs                 => alter_configs                   [];
            IncrementalAlterConfigs      => incremental_alter_configs       [];
            ListConfigResources          => list_config_resources           [on_cluster];
            DescribeCluster              => describe_cluster                [];
            DescribeTopicPartitions      => describe_topic_partitions       [?];
            DescribeLogDirs              => describe_log_dirs               [on_cluster ?];
            AlterReplicaLogDirs          => alter_replica_log_dirs          [on_cluster ?];
            ElectLeaders                 => elect_leaders                   [on_cluster ?];
            AlterPartitionReassignments  => alter_partition_reassignments   [on_cluster ?];
            ListPartitionReassignments   => list_partition_reassignments    [on_cluster];
            DescribeQuorum               => describe_quorum                 [on_cluster ? no_throttle_time];
            UpdateFeatures               => update_features                 [on_cluster ?];
            UnregisterBroker             => unregister_broker               [on_cluster];
            GetTelemetrySubscriptions    => get_telemetry_subscriptions     [?];
            PushTelemetry                => push_telemetry                  [];
            WriteTxnMarkers              => write_txn_markers               [? no_throttle_time];
            DescribeProducers            => describe_producers              [?];
            AddPartitionsToTxn           => add_partitions_to_txn           [?];
            AddOffsetsToTxn              => add_offsets_to_txn              [];
            EndTxn                       => end_txn                         [];
            TxnOffsetCommit              => txn_offset_commit               [?];
            DescribeTransactions         => describe_transactions           [?];
            ListTransactions             => list_transactions               [?];
            DescribeAcls                 => describe_acls                   [on_cluster ?];
            CreateAcls                   => create_acls                     [on_cluster ?];
            DeleteAcls                   => delete_acls                     [on_cluster ?];
            CreateDelegationToken        => create_delegation_token         [?];
            RenewDelegationToken         => renew_delegation_token          [];
            ExpireDelegationToken        => expire_delegation_token         [];
            DescribeDelegationToken      => describe_delegation_token       [?];
            DescribeClientQuotas         => describe_client_quotas          [on_cluster ?];
            AlterClientQuotas            => alter_client_quotas             [on_cluster ?];
            DescribeUserScramCredentials => describe_user_scram_credentials [on_cluster ?];
            AlterUserScramCredentials    => alter_user_scram_credentials    [on_cluster ?];
            SaslHandshake                => sasl_handshake                  [no_throttle_time];
            SaslAuthenticate             => sasl_authenticate               [no_throttle_time];
        }
    };
}
pub(crate) use served_apis;

macro_rules! keys {
    ($($api:ident => $module:ident [$($how:tt)*];)*) => {
        &[$((ApiKey::$api as i16, is_on_cluster!($($how)*))),*]
    };
}
macro_rules! is_on_cluster {
    (on_cluster $($how:tt)*) => {
        true
    };
    ($($how:tt)*) => {
        false
    };
}

/// By API key.
static IS_SERVED: [bool; KEY_COUNT] = {
    let keys: &[(i16, bool)] = served_apis!(keys);
    let mut is_served = [false; KEY_COUNT];
    let mut at = 0;
    while at < keys.len() {
        let (key, is_on_cluster) = keys[at];
        match api_spec::spec(key) {
            Some(spec) => assert!(
                is_on_cluster == matches!(spec.access, Access::OnCluster(_)),
                "a row says otherwise than api_spec who may use the API"
            ),
            None => panic!("an API has no row in api_spec"),
        }
        is_served[key as usize] = true;
        at += 1;
    }
    is_served
};

/// The spec of an API that this broker serves in `version`.
///
/// # Errors
/// When it does not. Kafka closes the connection then, except for ApiVersions, which it answers in version 0 with
/// UNSUPPORTED_VERSION: see [`protocol_shim::decode::api_versions_fallback`].
pub fn served(api_key: i16, version: i16) -> Result<&'static ApiSpec, Unsupported> {
    let spec = api_spec::spec(api_key)
        .filter(|spec| IS_SERVED[spec.api_key as usize])
        .ok_or(Unsupported::Api { api_key })?;
    match spec.has(version) {
        true => Ok(spec),
        false => Err(Unsupported::Version {
            name: spec.name,
            version,
            min: spec.min_version,
            max: spec.max_version,
        }),
    }
}

/// Whether a broker of this configuration serves the API: clients are asked for metrics where somebody wants them.
pub(crate) fn is_switched_on(spec: &ApiSpec, config: &BrokerConfig) -> bool {
    const OF_CLIENT_METRICS: [i16; 2] = [
        ApiKey::GetTelemetrySubscriptions as i16,
        ApiKey::PushTelemetry as i16,
    ];
    config.serving.client_metrics || !OF_CLIENT_METRICS.contains(&spec.api_key)
}

/// What ApiVersions announces where everything is switched on, in the order of the keys: each from `advertised_min_version` to
/// `max_version`.
pub fn advertised() -> impl Iterator<Item = &'static ApiSpec> {
    api_spec::all().filter(|spec| IS_SERVED[spec.api_key as usize])
}

use bytes::Bytes;
use coordinators::allowance::Priced;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;
use protocol_shim::access::Access;
use protocol_shim::api_spec::{self, ApiSpec, KEY_COUNT, Unsupported};

use crate::config::BrokerConfig;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

/// Why nothing can be done about ACLs; in Kafka's words.
const NO_AUTHORIZER: StrBytes = StrBytes::from_static_str("No Authorizer is configured.");

/// A name or id that outlives its request, copied so that it does not pin the request's frame.
fn owned<T: for<'a> From<&'a str>>(name: &StrBytes) -> T {
    T::from(name.as_str())
}

/// Bytes that outlive their request, copied for the same reason.
fn owned_bytes(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// What one part of an answer takes, as a struct and encoded, besides what it tells: a group, a member, a partition.
const PART_BYTES: usize = 256;

/// Pays for the answers to a request that names groups or transactional ids, which may be one again and again.
async fn pay_for_described<R: Priced>(
    ctx: &RequestContext,
    outcomes: &[Result<R, ErrorCode>],
) -> Result<(), Unaffordable> {
    let prices = outcomes.iter().flatten().map(Priced::price_bytes);
    ctx.pay(prices.sum()).await
}

/// PRODUCER_FENCED, for a version that does not know it yet, is INVALID_PRODUCER_EPOCH.
fn known_to(knows_fencing: bool, error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced if !knows_fencing => ErrorCode::InvalidProducerEpoch,
        error => error,
    }
}

/// A client's reason (KIP-800), as much of it as Kafka keeps.
fn reason(text: &StrBytes) -> Box<str> {
    const MAX_CHARS: usize = 255;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => text[..end].into(),
        None => text.as_str().into(),
    }
}

/// A name on its way out.
fn wire(name: &str) -> StrBytes {
    StrBytes::from_string(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_announced_is_not_accepted() {
        for api_key in 0..KEY_COUNT as i16 {
            let spec = advertised().find(|spec| spec.api_key == api_key);
            for version in -1..32 {
                let has = spec.is_some_and(|spec| spec.has(version));
                assert_eq!(
                    served(api_key, version).is_ok(),
                    has,
                    "{api_key} v{version}"
                );
            }
        }
        let unserved = Unsupported::Api { api_key: -1 };
        assert_eq!(served(-1, 0).unwrap_err(), unserved);
        let too_old = Unsupported::Version {
            name: "Produce",
            version: 2,
            min: 3,
            max: 13,
        };
        assert_eq!(served(0, 2).unwrap_err(), too_old);
    }

    /// What a broker of Kafka 4.4.0 announces.
    #[rustfmt::skip]
    const BY_KAFKA: &[(&str, i16, i16)] = &[
        ("Produce", 0, 13),
        ("Fetch", 4, 18),
        ("ListOffsets", 1, 11),
        ("Metadata", 0, 13),
        ("OffsetCommit", 2, 10),
        ("OffsetFetch", 1, 10),
        ("FindCoordinator", 0, 6),
        ("JoinGroup", 0, 9),
        ("Heartbeat", 0, 4),
        ("LeaveGroup", 0, 5),
        ("SyncGroup", 0, 5),
        ("DescribeGroups", 0, 6),
        ("ListGroups", 0, 5),
        ("SaslHandshake", 0, 1),
        ("ApiVersions", 0, 5),
        ("CreateTopics", 2, 7),
        ("DeleteTopics", 1, 6),
        ("DeleteRecords", 0, 2),
        ("InitProducerId", 0, 5),
        ("OffsetForLeaderEpoch", 2, 4),
        ("AddPartitionsToTxn", 0, 5),
        ("AddOffsetsToTxn", 0, 4),
        ("EndTxn", 0, 5),
        ("WriteTxnMarkers", 1, 2),
        ("TxnOffsetCommit", 0, 6),
        ("DescribeAcls", 1, 3),
        ("CreateAcls", 1, 3),
        ("DeleteAcls", 1, 3),
        ("DescribeConfigs", 1, 4),
        ("AlterConfigs", 0, 2),
        ("AlterReplicaLogDirs", 1, 2),
        ("DescribeLogDirs", 1, 5),
        ("SaslAuthenticate", 0, 2),
        ("CreatePartitions", 0, 3),
        ("CreateDelegationToken", 1, 3),
        ("RenewDelegationToken", 1, 2),
        ("ExpireDelegationToken", 1, 2),
        ("DescribeDelegationToken", 1, 3),
        ("DeleteGroups", 0, 3),
        ("ElectLeaders", 0, 2),
        ("IncrementalAlterConfigs", 0, 1),
        ("AlterPartitionReassignments", 0, 1),
        ("ListPartitionReassignments", 0, 0),
        ("OffsetDelete", 0, 0),
        ("DescribeClientQuotas", 0, 1),
        ("AlterClientQuotas", 0, 1),
        ("DescribeUserScramCredentials", 0, 0),
        ("AlterUserScramCredentials", 0, 0),
        ("DescribeQuorum", 0, 2),
        ("UpdateFeatures", 0, 2),
        ("DescribeCluster", 0, 2),
        ("DescribeProducers", 0, 0),
        ("UnregisterBroker", 0, 0),
        ("DescribeTransactions", 0, 0),
        ("ListTransactions", 0, 2),
        ("ConsumerGroupHeartbeat", 0, 1),
        ("ConsumerGroupDescribe", 0, 1),
        // Where there is somebody to take them.
        ("GetTelemetrySubscriptions", 0, 0),
        ("PushTelemetry", 0, 0),
        ("ListConfigResources", 0, 1),
        ("DescribeTopicPartitions", 0, 0),
        ("ShareGroupHeartbeat", 1, 1),
        ("ShareGroupDescribe", 1, 1),
        ("ShareFetch", 1, 2),
        ("ShareAcknowledge", 1, 2),
        ("AddRaftVoter", 0, 1),
        ("RemoveRaftVoter", 0, 0),
        ("InitializeShareGroupState", 0, 0),
        ("ReadShareGroupState", 0, 0),
        ("WriteShareGroupState", 0, 1),
        ("DeleteShareGroupState", 0, 0),
        ("ReadShareGroupStateSummary", 0, 1),
        ("StreamsGroupHeartbeat", 0, 1),
        ("StreamsGroupDescribe", 0, 1),
        ("DescribeShareGroupOffsets", 0, 1),
        ("AlterShareGroupOffsets", 0, 0),
        ("DeleteShareGroupOffsets", 0, 0),
        ("StreamsGroupTopologyDescriptionUpdate", 0, 0),
        ("UnregisterController", 0, 0),
    ];

    #[test]
    fn versions_are_announced_as_kafka_does() {
        for spec in advertised() {
            let ours = (spec.name, spec.advertised_min_version, spec.max_version);
            assert!(BY_KAFKA.contains(&ours), "{ours:?}");
        }
    }

    #[test]
    fn apis_are_announced_in_the_order_of_their_keys() {
        let keys: Vec<i16> = advertised().map(|spec| spec.api_key).collect();
        assert!(keys.is_sorted());
        let rows: &[(i16, bool)] = served_apis!(keys);
        assert_eq!(keys.len(), rows.len(), "no row is twice");
    }

    #[test]
    fn a_reason_is_kept_to_255_characters_whatever_their_width() {
        let kept = |text: &str| reason(&StrBytes::from_string(text.to_owned())).len();
        assert_eq!(kept("short"), 5);
        assert_eq!(kept(&"x".repeat(255)), 255);
        assert_eq!(kept(&"x".repeat(20_000)), 255);
        assert_eq!(kept(&"€".repeat(20_000)), 3 * 255);
    }
}
