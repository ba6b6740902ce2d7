//! DescribeLogDirs (key 35), versions 1-5 (KIP-113): how large the logs of the one data directory are.
//!
//! Null topics mean all. A partition that does not exist is left out, and so is a topic without any that does. v4 tells the
//! total and the usable bytes of the volume (KIP-827), v5 whether the directory takes no new partitions (KIP-1066): the one
//! that there is always does. A replica has no lag and never moves between directories.
//!
//! In a cluster a broker tells of the partitions that it serves, whose records are in the object store.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;
use protocol_shim::newer::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};

use super::wire;
use crate::context::RequestContext;
use crate::metadata::TopicImage;
use crate::net::account::Unaffordable;
use crate::view::{Topic, View};

/// The volume's size is not known.
const UNKNOWN_BYTES: i64 = -1;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DescribeLogDirsRequest,
) -> Result<DescribeLogDirsResponse, Unaffordable> {
    let view = ctx.view();
    let mut tab = ctx.tab();
    let mut topics = Vec::new();
    match &request.topics {
        None => {
            for topic in view.topics_of_cluster(Operation::Describe) {
                tab.add_for_all(cost(&topic, topic.partition_count as usize))
                    .await?;
                let described = describe(&view, topic, 0..topic.partition_count).await;
                if !described.partitions.is_empty() {
                    topics.push(described);
                }
            }
        }
        Some(asked) => {
            // Each partition once, however often it is named.
            let mut named: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
            for asked in asked {
                let partitions = named.entry(asked.topic.as_str()).or_default();
                partitions.extend(&asked.partitions);
            }
            for (name, partitions) in named {
                let Ok(topic) = view.topic_of_cluster(name, Operation::Describe) else {
                    continue;
                };
                tab.add_for_all(cost(&topic, partitions.len())).await?;
                let described = describe(&view, topic, partitions.into_iter()).await;
                if !described.partitions.is_empty() {
                    topics.push(described);
                }
            }
        }
    }
    let dir = log_dir(ctx);
    let (total_bytes, usable_bytes) = match rustix::fs::statvfs(&*dir) {
        Ok(volume) => (
            bytes(volume.f_blocks, volume.f_frsize),
            bytes(volume.f_bavail, volume.f_frsize),
        ),
        Err(_) => (UNKNOWN_BYTES, UNKNOWN_BYTES),
    };
    let result = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_string(dir))
        .with_topics(topics)
        .with_total_bytes(total_bytes)
        .with_usable_bytes(usable_bytes);
    Ok(DescribeLogDirsResponse::default().with_results(vec![result]))
}

/// The name of the one data directory. In a cluster the object store stands in for it.
pub(super) fn log_dir(ctx: &RequestContext) -> String {
    if let Some(stores) = &ctx.config().cluster {
        return stores.objects_url.clone();
    }
    let dir = &ctx.config().data_dir;
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
    dir.display().to_string()
}

/// For a client that may not describe the cluster.
pub(crate) fn refused(
    _ctx: &RequestContext,
    _request: &DescribeLogDirsRequest,
    error: ErrorCode,
) -> DescribeLogDirsResponse {
    DescribeLogDirsResponse::default().with_error_code(error.into())
}

/// What a topic takes in the response, in structs and in bytes.
fn cost(topic: &TopicImage, partition_count: usize) -> usize {
    const PARTITION_BYTES: usize = size_of::<DescribeLogDirsPartition>() + 32;
    size_of::<DescribeLogDirsTopic>() + 2 * topic.name.len() + partition_count * PARTITION_BYTES
}

fn bytes(blocks: u64, block_bytes: u64) -> i64 {
    i64::try_from(blocks.saturating_mul(block_bytes)).unwrap_or(i64::MAX)
}

async fn describe(
    view: &View<'_>,
    topic: Topic<'_>,
    partitions: impl Iterator<Item = i32>,
) -> DescribeLogDirsTopic {
    let mut described = Vec::new();
    let is_here = |partition: &i32| {
        topic.has_partition(*partition) && view.cluster().serves(*topic.id(), *partition)
    };
    for partition in partitions.filter(is_here) {
        described.push(
            DescribeLogDirsPartition::default()
                .with_partition_index(partition)
                .with_partition_size(log_size_bytes(view, topic, partition).await),
        );
    }
    DescribeLogDirsTopic::default()
        .with_name(TopicName(wire(&topic.name)))
        .with_partitions(described)
}

/// Bytes of a partition's log.
async fn log_size_bytes(view: &View<'_>, topic: Topic<'_>, partition: i32) -> i64 {
    let found = view.partition(Ok(topic), partition).await;
    let bytes = found.map_or(0, |partition| partition.log.size_bytes());
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
