//! AlterReplicaLogDirs, AlterPartitionReassignments, UpdateFeatures and UnregisterBroker, of one broker.

use anyhow::Result;
use compat_tests::scenario::{Talk, string, topic_name};
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, BrokerId, MetadataRequest,
    UnregisterBrokerRequest, UpdateFeaturesRequest,
};
use protocol_shim::newer::describe_log_dirs::DescribeLogDirsRequest;

use super::metadata::named;

pub fn log_dirs(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("moved", 2)?;
    let dirs = DescribeLogDirsRequest::default().with_topics(Some(vec![]));
    let ours = talk.quietly(1, &dirs)?.results[0].log_dir.to_string();
    let topic = |name: &str, partitions: &[i32]| {
        AlterReplicaLogDirTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions.to_vec())
    };
    let dir = |path: &str, topics: Vec<AlterReplicaLogDirTopic>| {
        AlterReplicaLogDir::default()
            .with_path(string(path))
            .with_topics(topics)
    };
    for version in 1..=2 {
        let mut ask = |what: &str, dirs: Vec<AlterReplicaLogDir>| {
            let request = AlterReplicaLogDirsRequest::default().with_dirs(dirs);
            talk.ask(what, version, &request).map(|_| ())
        };
        ask(
            "where they are",
            vec![dir(&ours, vec![topic("moved", &[0, 1])])],
        )?;
        ask(
            "elsewhere",
            vec![dir("/elsewhere", vec![topic("moved", &[0, 1])])],
        )?;
        ask("no name", vec![dir("", vec![topic("moved", &[0])])])?;
        ask(
            "another spelling",
            vec![dir(&format!("{ours}/"), vec![topic("moved", &[0])])],
        )?;
        ask(
            "unknown partition",
            vec![dir(&ours, vec![topic("moved", &[7])])],
        )?;
        ask(
            "negative partition",
            vec![dir(&ours, vec![topic("moved", &[-1])])],
        )?;
        ask(
            "unknown topic",
            vec![dir(&ours, vec![topic("moved-unknown", &[0])])],
        )?;
        ask(
            "unknown topic elsewhere",
            vec![dir("/elsewhere", vec![topic("moved-unknown", &[0])])],
        )?;
        ask("no partitions", vec![dir(&ours, vec![topic("moved", &[])])])?;
        ask("no topics", vec![dir(&ours, vec![])])?;
        ask("nothing", vec![])?;
        let here = dir(&ours, vec![topic("moved", &[0])]);
        let there = dir("/elsewhere", vec![topic("moved", &[0])]);
        ask("here, then there", vec![here.clone(), there.clone()])?;
        ask("there, then here", vec![there, here])?;
    }
    Ok(())
}

pub fn reassignments(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("reassigned", 2)?;
    let here = replicas(talk, "reassigned")?;
    let me = here[0];
    let to = |index: i32, replicas: Option<&[i32]>| {
        ReassignablePartition::default()
            .with_partition_index(index)
            .with_replicas(replicas.map(|ids| ids.iter().copied().map(BrokerId).collect()))
    };
    let topic = |name: &str, partitions: Vec<ReassignablePartition>| {
        ReassignableTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions)
    };
    for version in 0..=1 {
        for may_change in [true, false] {
            if version == 0 && !may_change {
                continue;
            }
            let mut ask = |what: &str, topics: Vec<ReassignableTopic>| {
                let request = AlterPartitionReassignmentsRequest::default()
                    .with_timeout_ms(10_000)
                    .with_allow_replication_factor_change(may_change)
                    .with_topics(topics);
                let what = format!("{what}, {}", if may_change { "freely" } else { "as many" });
                talk.ask(&what, version, &request).map(|_| ())
            };
            let mut one = |what: &str, index: i32, replicas: Option<&[i32]>| {
                ask(what, vec![topic("reassigned", vec![to(index, replicas)])])
            };
            one("where it is", 0, Some(&here))?;
            one("cancel", 0, None)?;
            one("nowhere", 0, Some(&[]))?;
            one("another broker", 0, Some(&[me + 98]))?;
            one("a broker twice", 0, Some(&[me, me]))?;
            one("two brokers", 0, Some(&[me, me + 98]))?;
            one("a negative broker", 0, Some(&[-1]))?;
            one("unknown partition", 7, Some(&[me]))?;
            one("cancel unknown partition", 7, None)?;
            one("negative partition", -1, Some(&[me]))?;
            ask(
                "unknown topic",
                vec![topic(
                    "reassigned-unknown",
                    vec![to(0, Some(&[me])), to(1, None)],
                )],
            )?;
            ask(
                "some",
                vec![
                    topic(
                        "reassigned",
                        vec![to(1, Some(&here)), to(0, None), to(1, Some(&here))],
                    ),
                    topic("reassigned", vec![to(0, Some(&here))]),
                ],
            )?;
            ask("no partitions", vec![topic("reassigned", vec![])])?;
            ask("nothing", vec![])?;
        }
    }
    Ok(())
}

pub fn features(talk: &mut Talk<'_>) -> Result<()> {
    // Levels that both have; what is unknown to both.
    let known = [
        ("group.version", 1),
        ("transaction.version", 2),
        ("metadata.version", 33),
    ];
    for version in 0..=2 {
        let update = |feature: &str, level: i16, upgrade_type: i8| {
            let update = FeatureUpdateKey::default()
                .with_feature(string(feature))
                .with_max_version_level(level);
            match version {
                0 => update.with_allow_downgrade(upgrade_type != 1),
                _ => update.with_upgrade_type(upgrade_type),
            }
        };
        for validate_only in [false, true] {
            if version == 0 && validate_only {
                continue;
            }
            let mut ask = |what: &str, updates: Vec<FeatureUpdateKey>| {
                let request = UpdateFeaturesRequest::default()
                    .with_timeout_ms(10_000)
                    .with_feature_updates(updates)
                    .with_validate_only(validate_only);
                let what = format!("{what}{}", if validate_only { ", validated" } else { "" });
                talk.ask(&what, version, &request).map(|_| ())
            };
            for (name, level) in known {
                for upgrade_type in [0, 1, 2, 3, 4, -1] {
                    if version == 0 && !(1..=2).contains(&upgrade_type) {
                        continue;
                    }
                    let what = format!("{name}, type {upgrade_type}");
                    ask(
                        &format!("{what}, present"),
                        vec![update(name, level, upgrade_type)],
                    )?;
                    ask(
                        &format!("{what}, above"),
                        vec![update(name, level + 1, upgrade_type)],
                    )?;
                    ask(
                        &format!("{what}, negative"),
                        vec![update(name, -1, upgrade_type)],
                    )?;
                }
                ask(&format!("{name} below"), vec![update(name, level - 1, 1)])?;
            }
            let all = known.map(|(name, level)| update(name, level, 1));
            ask("all", all.to_vec())?;
            let twice = [update("group.version", 1, 1), update("group.version", 7, 1)];
            ask("one twice", twice.to_vec())?;
            let twice = [update("group.version", 7, 1), update("group.version", 1, 1)];
            ask("one twice, the last one good", twice.to_vec())?;
            let good_and_bad = [
                update("group.version", 1, 1),
                update("transaction.version", 7, 1),
            ];
            ask("good and bad", good_and_bad.to_vec())?;
            ask("unknown", vec![update("no.such.version", 1, 1)])?;
            ask("unknown at 0", vec![update("no.such.version", 0, 1)])?;
            ask("no name", vec![update("", 1, 1)])?;
            ask("nothing", vec![])?;
        }
    }
    Ok(())
}

pub fn unregister(talk: &mut Talk<'_>) -> Result<()> {
    for id in [99, -1, i32::MAX] {
        let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(id));
        talk.ask(&format!("broker {id}"), 0, &request)?;
    }
    Ok(())
}

/// The brokers that have a topic's partitions.
fn replicas(talk: &mut Talk<'_>, topic: &str) -> Result<Vec<i32>> {
    let topics = Some(vec![named(topic)]);
    let told = talk.quietly(9, &MetadataRequest::default().with_topics(topics))?;
    let replicas = told.topics[0].partitions[0].replica_nodes.iter();
    Ok(replicas.map(|id| id.0).collect())
}
