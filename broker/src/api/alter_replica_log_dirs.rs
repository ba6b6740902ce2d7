//! AlterReplicaLogDirs (key 34), versions 1-2 (KIP-113).
//!
//! There is one data directory, the one that DescribeLogDirs tells, and every partition is in it already. Another one is
//! LOG_DIR_NOT_FOUND. A partition that is named twice goes where it is named last.

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, TopicName,
};
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;

use super::describe_log_dirs::log_dir;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

/// What the answer for one partition or topic takes, as a struct and encoded, and what it is gathered in; without its name.
const RESULT_BYTES: usize = 192;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: AlterReplicaLogDirsRequest,
) -> Result<AlterReplicaLogDirsResponse, Unaffordable> {
    let topics = request.dirs.iter().flat_map(|dir| &dir.topics);
    let asked = topics.map(|topic| 1 + topic.partitions.len());
    ctx.pay(asked.sum::<usize>() * RESULT_BYTES + ctx.request_bytes)
        .await?;

    let mut wanted: BTreeMap<&TopicName, BTreeMap<i32, &str>> = BTreeMap::new();
    for dir in &request.dirs {
        for topic in &dir.topics {
            let partitions = wanted.entry(&topic.name).or_default();
            let named = topic.partitions.iter();
            partitions.extend(named.map(|partition| (*partition, dir.path.as_str())));
        }
    }
    let ours = log_dir(ctx);
    let view = ctx.view();
    let results = wanted
        .into_iter()
        .filter(|(_, partitions)| !partitions.is_empty());
    let results = results.map(|(name, partitions)| {
        let topic = view.topic_of_cluster(name, Operation::Alter).ok();
        let partitions = partitions.into_iter().map(|(partition, path)| {
            let error = match topic.is_some_and(|topic| topic.has_partition(partition)) {
                _ if path != ours => ErrorCode::LogDirNotFound,
                true => ErrorCode::None,
                false => ErrorCode::UnknownTopicOrPartition,
            };
            AlterReplicaLogDirPartitionResult::default()
                .with_partition_index(partition)
                .with_error_code(error.into())
        });
        AlterReplicaLogDirTopicResult::default()
            .with_topic_name(name.clone())
            .with_partitions(partitions.collect())
    });
    Ok(AlterReplicaLogDirsResponse::default().with_results(results.collect()))
}

/// For a client that may not alter the cluster.
pub(crate) fn refused(
    _ctx: &RequestContext,
    request: &AlterReplicaLogDirsRequest,
    error: ErrorCode,
) -> AlterReplicaLogDirsResponse {
    let topics = request.dirs.iter().flat_map(|dir| &dir.topics);
    let results = topics.map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            AlterReplicaLogDirPartitionResult::default()
                .with_partition_index(*partition)
                .with_error_code(error.into())
        });
        AlterReplicaLogDirTopicResult::default()
            .with_topic_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    AlterReplicaLogDirsResponse::default().with_results(results.collect())
}
