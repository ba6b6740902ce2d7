//! ElectLeaders (key 43), versions 0-2 (KIP-183, KIP-460).
//!
//! Who leads a partition follows from which brokers there are: ELECTION_NOT_NEEDED. Asked for all partitions (null), Kafka leaves
//! out those that need no election, so what is left is the topics' names.

use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;

use super::wire;
use crate::authorizer::denial;
use crate::client_text::client_text;
use crate::context::RequestContext;
use crate::net::account::Unaffordable;

/// 0 is preferred, 1 is unclean.
const ELECTION_TYPES: std::ops::RangeInclusive<i8> = 0..=1;

/// What the answer for one partition or topic takes, as a struct and encoded, its text included, and without its name.
const RESULT_BYTES: usize = 512;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: ElectLeadersRequest,
) -> Result<ElectLeadersResponse, Unaffordable> {
    let known_type = ELECTION_TYPES.contains(&request.election_type);
    let view = ctx.view();
    let topics = || view.topics_of_cluster(Operation::Alter);
    match &request.topic_partitions {
        None => {
            let bytes = topics().map(|topic| RESULT_BYTES + 2 * topic.name.len());
            ctx.pay_for_all(bytes.sum()).await?;
        }
        Some(topics) => {
            let asked = topics.iter().map(|topic| 1 + topic.partitions.len());
            ctx.pay(asked.sum::<usize>() * RESULT_BYTES + ctx.request_bytes)
                .await?;
        }
    }
    let results = match request.topic_partitions {
        None => topics()
            .map(|topic| ReplicaElectionResult::default().with_topic(TopicName(wire(&topic.name))))
            .collect(),
        Some(topics) => topics
            .into_iter()
            .map(|asked| {
                let topic = view.topic_of_cluster(&asked.topic, Operation::Alter).ok();
                let name = client_text(&asked.topic);
                let results = asked.partitions.iter().map(|partition| {
                    let unknown = ErrorCode::UnknownTopicOrPartition;
                    let (error, message) = match topic {
                        _ if !known_type => (
                            ErrorCode::InvalidRequest,
                            "Unknown type of election".to_owned(),
                        ),
                        None => (unknown, format!("No such topic as {name}")),
                        Some(topic) if !topic.has_partition(*partition) => {
                            (unknown, format!("No such partition as {name}-{partition}"))
                        }
                        Some(_) => (
                            ErrorCode::ElectionNotNeeded,
                            "Leader election not needed for topic partition.".to_owned(),
                        ),
                    };
                    PartitionResult::default()
                        .with_partition_id(*partition)
                        .with_error_code(error.into())
                        .with_error_message(Some(StrBytes::from_string(message)))
                });
                let results = results.collect();
                ReplicaElectionResult::default()
                    .with_partition_result(results)
                    .with_topic(asked.topic)
            })
            .collect(),
    };
    let error = match known_type {
        true => ErrorCode::None,
        false => ErrorCode::InvalidRequest,
    };
    Ok(ElectLeadersResponse::default()
        .with_error_code(error.into())
        .with_replica_election_results(results))
}

/// For a client that may not alter the cluster.
pub(crate) fn refused(
    ctx: &RequestContext,
    request: &ElectLeadersRequest,
    error: ErrorCode,
) -> ElectLeadersResponse {
    let asked = request.topic_partitions.iter().flatten();
    let results = asked.map(|asked| {
        let partitions = asked.partitions.iter().map(|partition| {
            PartitionResult::default()
                .with_partition_id(*partition)
                .with_error_code(error.into())
                .with_error_message(Some(StrBytes::from_static_str(denial(error))))
        });
        ReplicaElectionResult::default()
            .with_topic(asked.topic.clone())
            .with_partition_result(partitions.collect())
    });
    let error = match ctx.api_version {
        0 => ErrorCode::None,
        _ => error,
    };
    ElectLeadersResponse::default()
        .with_error_code(error.into())
        .with_replica_election_results(results.collect())
}
