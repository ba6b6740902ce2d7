//! Every API that is announced is answered in every version that is announced.
//!
//! The cases ask what a client would ask: topics and groups that exist and that do not, several
//! partitions, null and empty lists where the version has them; and all of it with bytes behind the last field, which
//! some clients send and Kafka ignores. A handler that sets a field which a
//! version does not have cannot encode its response and closes the connection; that fails here.
//!
//! The loop goes over the API table: an API that is served and has no case fails.

#![allow(clippy::unwrap_used)]

extern crate ottla as broker;

mod admin;
mod consumer_groups;
mod data;
mod groups;
mod later;
mod logins;
mod quotas;
mod replicas;
#[path = "../support/mod.rs"]
mod support;
mod telemetry;
mod transactions;

use std::sync::Arc;
use std::time::Duration;

use broker::api;
use broker::broker::Broker;
use kafka_protocol::messages::ApiKey;
use protocol_shim::api_spec::ApiSpec;
use support::{Client, connect, produce, start_broker};
use uuid::Uuid;

/// A broker with two topics and the group `group`, which has committed an offset.
struct Case {
    broker: Arc<Broker>,
    client: Client,
    version: i16,
    /// The id of `topic`, which has three partitions with two records each; `other` is empty.
    topic_id: Uuid,
}

impl Case {
    async fn new(version: i16, tail: &'static [u8]) -> Self {
        let broker = start_broker().await;
        let mut client = connect(&broker);
        client.tail = tail;
        let topic_id = client.create_topic("topic", 3).await;
        client.create_topic("other", 1).await;
        let batches = (0..3).map(|partition| (partition, support::batch(&["a", "b"])));
        let produced = client.call(9, produce("topic", batches.collect())).await;
        for partition in &produced.responses[0].partition_responses {
            assert_eq!((partition.error_code, partition.base_offset), (0, 0));
        }
        groups::commit_one_offset(&mut client).await;
        Self {
            broker,
            client,
            version,
            topic_id,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_announced_version_of_every_api_is_answered() {
    let mut failed = Vec::new();
    for spec in api::advertised() {
        for version in spec.min_version..=spec.max_version {
            for tail in [&[][..], &[1, 0, 0xff, 0]] {
                let asking =
                    tokio::spawn(
                        async move { ask(spec, &mut Case::new(version, tail).await).await },
                    );
                let what = format!("{} v{version}, {} bytes behind", spec.name, tail.len());
                // Time is paused: only something that waits for ever takes ten minutes.
                match tokio::time::timeout(Duration::from_secs(600), asking).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_panicked)) => failed.push(what),
                    Err(_) => failed.push(format!("{what} (no answer)")),
                }
            }
        }
    }
    assert!(failed.is_empty(), "see above: {}", failed.join(", "));
}

async fn ask(spec: &ApiSpec, case: &mut Case) {
    match ApiKey::try_from(spec.api_key).unwrap() {
        ApiKey::Produce => data::produce(case).await,
        ApiKey::Fetch => data::fetch(case).await,
        ApiKey::ListOffsets => data::list_offsets(case).await,
        ApiKey::Metadata => data::metadata(case).await,
        ApiKey::ApiVersions => data::api_versions(case).await,
        ApiKey::OffsetForLeaderEpoch => data::offset_for_leader_epoch(case).await,
        ApiKey::InitProducerId => data::init_producer_id(case).await,
        ApiKey::OffsetCommit => groups::offset_commit(case).await,
        ApiKey::OffsetFetch => groups::offset_fetch(case).await,
        ApiKey::OffsetDelete => groups::offset_delete(case).await,
        ApiKey::FindCoordinator => groups::find_coordinator(case).await,
        ApiKey::JoinGroup => groups::join_group(case).await,
        ApiKey::SyncGroup => groups::sync_group(case).await,
        ApiKey::Heartbeat => groups::heartbeat(case).await,
        ApiKey::LeaveGroup => groups::leave_group(case).await,
        ApiKey::DescribeGroups => groups::describe_groups(case).await,
        ApiKey::ConsumerGroupHeartbeat => consumer_groups::heartbeat(case).await,
        ApiKey::ConsumerGroupDescribe => consumer_groups::describe(case).await,
        ApiKey::ListGroups => groups::list_groups(case).await,
        ApiKey::DeleteGroups => groups::delete_groups(case).await,
        ApiKey::CreateTopics => admin::create_topics(case).await,
        ApiKey::DeleteTopics => admin::delete_topics(case).await,
        ApiKey::DeleteRecords => admin::delete_records(case).await,
        ApiKey::CreatePartitions => admin::create_partitions(case).await,
        ApiKey::DescribeConfigs => admin::describe_configs(case).await,
        ApiKey::AlterConfigs => admin::alter_configs(case).await,
        ApiKey::IncrementalAlterConfigs => admin::incremental_alter_configs(case).await,
        ApiKey::ListConfigResources => admin::list_config_resources(case).await,
        ApiKey::DescribeTopicPartitions => admin::describe_topic_partitions(case).await,
        ApiKey::DescribeCluster => admin::describe_cluster(case).await,
        ApiKey::DescribeLogDirs => admin::describe_log_dirs(case).await,
        ApiKey::AlterReplicaLogDirs => replicas::alter_log_dirs(case).await,
        ApiKey::AlterPartitionReassignments => replicas::alter_reassignments(case).await,
        ApiKey::UpdateFeatures => replicas::update_features(case).await,
        ApiKey::UnregisterBroker => replicas::unregister_broker(case).await,
        ApiKey::ElectLeaders => later::elect_leaders(case).await,
        ApiKey::ListPartitionReassignments => later::list_partition_reassignments(case).await,
        ApiKey::DescribeQuorum => later::describe_quorum(case).await,
        ApiKey::WriteTxnMarkers => later::write_txn_markers(case).await,
        ApiKey::AddPartitionsToTxn => transactions::add_partitions(case).await,
        ApiKey::AddOffsetsToTxn => transactions::add_offsets(case).await,
        ApiKey::EndTxn => transactions::end(case).await,
        ApiKey::TxnOffsetCommit => transactions::commit_offsets(case).await,
        ApiKey::DescribeProducers => later::describe_producers(case).await,
        ApiKey::DescribeTransactions => later::describe_transactions(case).await,
        ApiKey::ListTransactions => later::list_transactions(case).await,
        ApiKey::DescribeAcls => later::describe_acls(case).await,
        ApiKey::CreateAcls => later::create_acls(case).await,
        ApiKey::DeleteAcls => later::delete_acls(case).await,
        ApiKey::CreateDelegationToken => later::create_delegation_token(case).await,
        ApiKey::RenewDelegationToken => later::renew_delegation_token(case).await,
        ApiKey::ExpireDelegationToken => later::expire_delegation_token(case).await,
        ApiKey::DescribeDelegationToken => later::describe_delegation_token(case).await,
        ApiKey::DescribeClientQuotas => quotas::describe_quotas(case).await,
        ApiKey::AlterClientQuotas => quotas::alter_quotas(case).await,
        ApiKey::DescribeUserScramCredentials => later::describe_user_scram_credentials(case).await,
        ApiKey::AlterUserScramCredentials => logins::alter_user_scram_credentials(case).await,
        ApiKey::GetTelemetrySubscriptions => telemetry::subscriptions(case).await,
        ApiKey::PushTelemetry => telemetry::push(case).await,
        ApiKey::SaslHandshake => logins::sasl_handshake(case).await,
        ApiKey::SaslAuthenticate => logins::sasl_authenticate(case).await,
        other => panic!("{other:?} is served and has no case here"),
    }
}
