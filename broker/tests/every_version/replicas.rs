//! Where replicas are, which brokers there are, and what they can do: of one broker.

use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, BrokerId,
    UnregisterBrokerRequest, UpdateFeaturesRequest,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode as E;
use protocol_shim::newer::api_versions::ApiVersionsRequest;
use protocol_shim::newer::describe_log_dirs::DescribeLogDirsRequest;

use super::Case;
use super::support::topic_name;

/// What the broker of these tests is called.
const NODE_ID: i32 = 1;

fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub async fn alter_log_dirs(case: &mut Case) {
    let dirs = DescribeLogDirsRequest::default().with_topics(Some(vec![]));
    let dirs = case.client.call(1, dirs).await;
    let ours = dirs.results[0].log_dir.clone();
    let dir = |path: &str, partitions: &[i32], topics: &[&'static str]| {
        let topics = topics.iter().map(|name| {
            AlterReplicaLogDirTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions.to_vec())
        });
        AlterReplicaLogDir::default()
            .with_path(string(path))
            .with_topics(topics.collect())
    };
    let dirs = vec![
        dir(&ours, &[0, 9, -1], &["topic", "nowhere"]),
        dir("/elsewhere", &[0, 1], &["topic"]),
        dir(&format!("{ours}/"), &[2], &["topic"]),
        dir(&ours, &[], &["nothing"]),
        // The last word counts.
        dir(&ours, &[1], &["topic"]),
    ];
    let request = AlterReplicaLogDirsRequest::default().with_dirs(dirs);
    let response = case.client.call(case.version, request).await;
    let mut errors = Vec::new();
    for topic in &response.results {
        for partition in &topic.partitions {
            let name = topic.topic_name.to_string();
            errors.push((name, partition.partition_index, error(partition.error_code)));
        }
    }
    let expected = [
        ("nowhere", -1, E::UnknownTopicOrPartition),
        ("nowhere", 0, E::UnknownTopicOrPartition),
        ("nowhere", 9, E::UnknownTopicOrPartition),
        ("topic", -1, E::UnknownTopicOrPartition),
        ("topic", 0, E::LogDirNotFound),
        ("topic", 1, E::None),
        ("topic", 2, E::LogDirNotFound),
        ("topic", 9, E::UnknownTopicOrPartition),
    ];
    let expected = expected.map(|(name, index, error)| (name.to_owned(), index, error));
    assert_eq!(errors, expected);
}

pub async fn alter_reassignments(case: &mut Case) {
    let to = |index, replicas: Option<&[i32]>| {
        let replicas = replicas.map(|ids| ids.iter().copied().map(BrokerId).collect());
        ReassignablePartition::default()
            .with_partition_index(index)
            .with_replicas(replicas)
    };
    let topic = |name: &'static str, partitions| {
        ReassignableTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions)
    };
    let wanted = [
        (0, Some(&[NODE_ID][..]), E::None),
        (0, None, E::NoReassignmentInProgress),
        (0, Some(&[][..]), E::InvalidReplicaAssignment),
        (0, Some(&[NODE_ID + 1][..]), E::InvalidReplicaAssignment),
        (
            0,
            Some(&[NODE_ID, NODE_ID][..]),
            E::InvalidReplicaAssignment,
        ),
        (0, Some(&[NODE_ID, -1][..]), E::InvalidReplicaAssignment),
        (9, Some(&[NODE_ID][..]), E::UnknownTopicOrPartition),
        (-1, None, E::UnknownTopicOrPartition),
    ];
    let partitions = wanted.map(|(index, replicas, _)| to(index, replicas));
    let mut request = AlterPartitionReassignmentsRequest::default().with_topics(vec![
        topic("topic", partitions.to_vec()),
        topic("nowhere", vec![to(0, Some(&[NODE_ID]))]),
    ]);
    if case.version >= 1 {
        request.allow_replication_factor_change = false;
    }
    let response = case.client.call(case.version, request).await;
    assert_eq!(
        (error(response.error_code), response.error_message),
        (E::None, None)
    );
    assert_eq!(response.allow_replication_factor_change, case.version == 0);
    let answers = &response.responses[0].partitions;
    let errors: Vec<_> = answers.iter().map(|one| error(one.error_code)).collect();
    assert_eq!(errors, wanted.map(|(_, _, error)| error));
    for answer in answers {
        assert_eq!(answer.error_code == 0, answer.error_message.is_none());
    }
    let nowhere = &response.responses[1].partitions[0];
    assert_eq!(error(nowhere.error_code), E::UnknownTopicOrPartition);
}

/// The level that is announced is granted, every other refused.
pub async fn update_features(case: &mut Case) {
    let ask = ApiVersionsRequest::default()
        .with_client_software_name(string("client"))
        .with_client_software_version(string("1"));
    let told = case.client.call(4, ask.clone()).await;
    assert!(!told.finalized_features.is_empty());
    let update = |feature: &str, level: i16, upgrade_type: i8| {
        let update = FeatureUpdateKey::default()
            .with_feature(string(feature))
            .with_max_version_level(level);
        match case.version {
            0 => update.with_allow_downgrade(upgrade_type != 1),
            _ => update.with_upgrade_type(upgrade_type),
        }
    };
    let present: Vec<_> = told
        .finalized_features
        .iter()
        .map(|feature| (feature.name.to_string(), feature.max_version_level))
        .collect();
    let mut cases = vec![
        (vec![], E::None),
        (vec![update("unknown", 0, 1)], E::InvalidUpdateVersion),
    ];
    for upgrade_type in 1..=3 {
        let all = present.iter();
        let all = all.map(|(name, level)| update(name, *level, upgrade_type));
        cases.push((all.collect(), E::None));
        for (name, level) in &present {
            for another in [level - 1, level + 1, 0, -1, i16::MAX] {
                let wrong = update(name, another, upgrade_type);
                let right = update(&present[0].0, present[0].1, 1);
                // Of the same feature the last one counts.
                let first = match *name == present[0].0 {
                    true => E::None,
                    false => E::InvalidUpdateVersion,
                };
                cases.push((vec![wrong.clone(), right.clone()], first));
                cases.push((vec![right, wrong], E::InvalidUpdateVersion));
            }
        }
    }
    if case.version >= 1 {
        let (name, level) = &present[0];
        cases.push((vec![update(name, *level, 0)], E::InvalidUpdateVersion));
        cases.push((vec![update(name, *level, 4)], E::InvalidUpdateVersion));
    }
    for validate_only in [false, true] {
        for (updates, expected) in &cases {
            let mut request =
                UpdateFeaturesRequest::default().with_feature_updates(updates.clone());
            if case.version >= 1 {
                request.validate_only = validate_only;
            }
            let response = case.client.call(case.version, request).await;
            assert_eq!(error(response.error_code), *expected, "{updates:?}");
            assert_eq!(response.error_code == 0, response.error_message.is_none());
            let rows = match case.version < 2 && *expected == E::None {
                true => updates.len(),
                false => 0,
            };
            assert_eq!(response.results.len(), rows, "{updates:?}");
        }
    }
    let after = case.client.call(4, ask).await;
    assert_eq!(after, told, "nothing has changed");
}

pub async fn unregister_broker(case: &mut Case) {
    for (id, expected) in [
        (NODE_ID, E::InvalidRequest),
        (NODE_ID + 1, E::BrokerIdNotRegistered),
        (-1, E::BrokerIdNotRegistered),
    ] {
        let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(id));
        let response = case.client.call(case.version, request).await;
        assert_eq!(error(response.error_code), expected);
        assert!(response.error_message.is_some_and(|text| !text.is_empty()));
    }
}

fn error(code: i16) -> E {
    E::from_code(code).unwrap()
}
