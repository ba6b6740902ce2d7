//! ApiVersions, DescribeCluster, DescribeLogDirs and FindCoordinator.

use anyhow::Result;
use compat_tests::scenario::{Talk, string, topic_name};
use kafka_protocol::messages::{DescribeClusterRequest, FindCoordinatorRequest};
use protocol_shim::newer::api_versions::ApiVersionsRequest;
use protocol_shim::newer::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};

pub fn api_versions(talk: &mut Talk<'_>) -> Result<()> {
    let cluster = talk.quietly(2, &DescribeClusterRequest::default())?;
    let (cluster_id, node_id) = (cluster.cluster_id, cluster.brokers[0].broker_id.0);
    for version in 0..=5 {
        let named = |name: &str, software_version: &str| {
            let request = ApiVersionsRequest::default();
            if version < 3 {
                return request;
            }
            request
                .with_client_software_name(string(name))
                .with_client_software_version(string(software_version))
        };
        talk.ask("known", version, &named("a-client", "1.2.3"))?;
        if version >= 3 {
            talk.ask("no name", version, &named("", "1.0"))?;
            talk.ask("no version", version, &named("client", ""))?;
            talk.ask("a blank", version, &named("a client", "1.0"))?;
            talk.ask("a dash in front", version, &named("-client", "1.0"))?;
            talk.ask("a dash at the end", version, &named("client", "1.0-"))?;
        }
        if version >= 5 {
            let mut ask = |what: &str, cluster_id: Option<&str>, node_id: i32, name: &str| {
                let request = named(name, "1.0")
                    .with_cluster_id(cluster_id.map(string))
                    .with_node_id(node_id);
                talk.ask(what, version, &request).map(|_| ())
            };
            ask("known, and meant", Some(&cluster_id), node_id, "client")?;
            ask("no name, and meant", Some(&cluster_id), node_id, "")?;
            ask("another cluster", Some("another"), node_id, "client")?;
            ask("another node", Some(&cluster_id), node_id + 1, "client")?;
            ask("another, no name", Some("another"), node_id, "")?;
            ask("a cluster alone", Some(&cluster_id), -1, "client")?;
            ask("another cluster alone", Some("another"), -1, "client")?;
            ask("a node alone", None, node_id, "client")?;
            ask("a negative node", None, -2, "client")?;
            ask("a cluster without a name", Some(""), node_id, "client")?;
        }
    }
    for version in [6, 99, -1] {
        talk.unsupported_api_versions(version)?;
    }
    Ok(())
}

pub fn describe_cluster(talk: &mut Talk<'_>) -> Result<()> {
    for version in 0..=2 {
        let request = DescribeClusterRequest::default();
        talk.ask("brokers", version, &request)?;
        talk.ask(
            "with operations",
            version,
            &request
                .clone()
                .with_include_cluster_authorized_operations(true),
        )?;
        if version >= 1 {
            for endpoint_type in [0, 2, 3] {
                let request = request.clone().with_endpoint_type(endpoint_type);
                talk.ask(&format!("endpoint type {endpoint_type}"), version, &request)?;
            }
        }
        if version >= 2 {
            talk.ask(
                "fenced ones too",
                version,
                &request.with_include_fenced_brokers(true),
            )?;
        }
    }
    Ok(())
}

pub fn describe_log_dirs(talk: &mut Talk<'_>) -> Result<()> {
    talk.create_topic("dirs", 2)?;
    let topic = |name: &str, partitions: &[i32]| {
        DescribableLogDirTopic::default()
            .with_topic(topic_name(name))
            .with_partitions(partitions.to_vec())
    };
    for version in 1..=5 {
        let mut ask = |what: &str, topics: Vec<DescribableLogDirTopic>| {
            let request = DescribeLogDirsRequest::default().with_topics(Some(topics));
            talk.ask(what, version, &request).map(|_| ())
        };
        ask("one", vec![topic("dirs", &[0, 1])])?;
        ask("unknown partition", vec![topic("dirs", &[1, 7])])?;
        ask(
            "unknown topic",
            vec![topic("dirs", &[0]), topic("dirs-unknown", &[0])],
        )?;
        ask("no partitions", vec![topic("dirs", &[])])?;
        ask("none", vec![])?;
        ask("one twice", vec![topic("dirs", &[1, 0, 1])])?;
        ask(
            "topic twice",
            vec![topic("dirs", &[0]), topic("dirs", &[1, 0])],
        )?;
        ask(
            "unknown twice",
            vec![topic("dirs", &[7, 7]), topic("dirs-unknown", &[0, 0])],
        )?;
    }
    Ok(())
}

pub fn find_coordinator(talk: &mut Talk<'_>) -> Result<()> {
    for version in 0..=6 {
        let keys = |keys: &[&str]| {
            FindCoordinatorRequest::default()
                .with_coordinator_keys(keys.iter().map(|key| string(key)).collect())
        };
        if version < 4 {
            let key = |key: &str| FindCoordinatorRequest::default().with_key(string(key));
            talk.ask("group", version, &key("any"))?;
            talk.ask("no name", version, &key(""))?;
            if version >= 1 {
                for key_type in [2, 3, -1] {
                    talk.ask_or_close(
                        &format!("key type {key_type}"),
                        version,
                        &key("any").with_key_type(key_type),
                    )?;
                }
            }
            continue;
        }
        talk.ask("one", version, &keys(&["any"]))?;
        talk.ask("several", version, &keys(&["b", "a", "b", ""]))?;
        talk.ask("none", version, &keys(&[]))?;
        for key_type in [3, -1] {
            talk.ask_or_close(
                &format!("key type {key_type}"),
                version,
                &keys(&["any"]).with_key_type(key_type),
            )?;
        }
    }
    Ok(())
}
