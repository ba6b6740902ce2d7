//! DescribeQuorum (key 55), versions 0-2 (KIP-595, KIP-853).
//!
//! The quorum is all brokers: one leads, all vote, and none is behind, for a change is answered when all have followed it.
//! Nobody really votes: on one machine there is nobody else, and in a cluster the database decides. Anything but partition 0 of
//! `__cluster_metadata` is UNKNOWN_TOPIC_OR_PARTITION.

use kafka_protocol::messages::describe_quorum_request::DescribeQuorumRequest;
use kafka_protocol::messages::describe_quorum_response::{
    DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;

use super::wire;
use crate::context::RequestContext;
use crate::metadata::{CLUSTER_METADATA_TOPIC, LEADER_EPOCH};
use crate::net::account::Unaffordable;

/// What the answer for one partition or topic that is not known takes, as a struct and encoded, without its name.
const RESULT_BYTES: usize = 320;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DescribeQuorumRequest,
) -> Result<DescribeQuorumResponse, Unaffordable> {
    let asks_for_metadata = match request.topics.as_slice() {
        [topic] => match topic.partitions.as_slice() {
            [partition] => {
                &**topic.topic_name == CLUSTER_METADATA_TOPIC && partition.partition_index == 0
            }
            _ => false,
        },
        _ => false,
    };
    if !asks_for_metadata {
        let asked = request
            .topics
            .iter()
            .map(|topic| 1 + topic.partitions.len());
        ctx.pay(asked.sum::<usize>() * RESULT_BYTES + ctx.request_bytes)
            .await?;
        let topics = unknown(ctx.api_version, request);
        return Ok(DescribeQuorumResponse::default().with_topics(topics));
    }
    let view = ctx.view();
    let version = view.metadata().version().borrow().unwrap_or(-1);
    let now_ms = ctx.clock().wall_ms();
    let controller = BrokerId(view.cluster().controller());
    let voters = view.cluster().broker_ids().map(|id| {
        let mut voter = ReplicaState::default()
            .with_replica_id(BrokerId(id))
            .with_log_end_offset(version);
        if ctx.api_version >= 1 {
            voter = voter
                .with_last_fetch_timestamp(now_ms)
                .with_last_caught_up_timestamp(now_ms);
        }
        if ctx.api_version >= 2 {
            voter.replica_directory_id = ctx.directory_id();
        }
        voter
    });
    let partition = PartitionData::default()
        .with_leader_id(controller)
        .with_leader_epoch(LEADER_EPOCH)
        .with_high_watermark(version)
        .with_current_voters(voters.collect());
    let mut response = DescribeQuorumResponse::default();
    if ctx.api_version >= 2 {
        let brokers = view.cluster().brokers(&ctx.session.listener);
        let nodes = brokers.map(|broker| {
            let listener = Listener::default()
                .with_name(wire(&ctx.session.listener.name))
                .with_host(wire(broker.host))
                .with_port(broker.port);
            Node::default()
                .with_node_id(BrokerId(broker.id))
                .with_listeners(vec![listener])
        });
        response.nodes = nodes.collect();
    }
    let topic = TopicData::default()
        .with_topic_name(TopicName(StrBytes::from_static_str(CLUSTER_METADATA_TOPIC)))
        .with_partitions(vec![partition]);
    Ok(response.with_topics(vec![topic]))
}

/// For a client that may not describe the cluster.
pub(crate) fn refused(
    _ctx: &RequestContext,
    _request: &DescribeQuorumRequest,
    error: ErrorCode,
) -> DescribeQuorumResponse {
    DescribeQuorumResponse::default().with_error_code(error.into())
}

fn unknown(api_version: i16, request: DescribeQuorumRequest) -> Vec<TopicData> {
    let error = ErrorCode::UnknownTopicOrPartition;
    let message = "This server does not host this topic-partition.";
    let refuse = |partition_index| {
        let refused = PartitionData::default()
            .with_partition_index(partition_index)
            .with_error_code(error.into());
        match api_version {
            ..2 => refused,
            _ => refused.with_error_message(Some(StrBytes::from_static_str(message))),
        }
    };
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter();
        TopicData::default()
            .with_topic_name(topic.topic_name)
            .with_partitions(
                partitions
                    .map(|asked| refuse(asked.partition_index))
                    .collect(),
            )
    });
    topics.collect()
}
