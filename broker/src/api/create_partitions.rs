//! CreatePartitions (key 37), versions 0-3 (KIP-195).
//!
//! Grows topics to a number of partitions; the new ones are empty. Fewer or as many as there are:
//! INVALID_PARTITIONS. A topic that is named twice: INVALID_REQUEST, once.
//!
//! Deviation: internal topics do not grow (INVALID_REQUEST): a group belongs to the partition that its id
//! hashes to. Kafka grows them and loses sight of the groups.

use std::collections::HashSet;

use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_partitions_response::{
    CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;

use crate::context::RequestContext;
use crate::metadata::{MetadataError, NewPartitions};

/// The first version whose clients know that they are above their quota (KIP-599).
const STRICT_SINCE: i16 = 3;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let names: Vec<TopicName> = request
        .topics
        .iter()
        .map(|topic| topic.name.clone())
        .collect();
    let view = ctx.view();
    let (mut wanted, mut denied) = (Vec::new(), Vec::new());
    for topic in &request.topics {
        let authorized = view.change(Operation::Alter, new_partitions(topic));
        denied.push(authorized.map(|new| wanted.push(new)).err());
    }
    let created = ctx
        .charged_metadata(STRICT_SINCE)
        .create_partitions(wanted, request.validate_only)
        .await;
    let mut created = created.into_iter();
    let outcomes = denied.into_iter().filter_map(|denied| match denied {
        Some(error) => Some(Err(MetadataError::Denied(error))),
        None => created.next(),
    });
    let mut answered = HashSet::new();
    let results = names
        .into_iter()
        .zip(outcomes)
        .filter(|(name, _)| answered.insert(name.clone()))
        .map(|(name, outcome)| {
            let result = CreatePartitionsTopicResult::default().with_name(name);
            match outcome {
                Ok(()) => result,
                Err(error) => result
                    .with_error_code(error.code() as i16)
                    .with_error_message(Some(StrBytes::from_string(error.to_string()))),
            }
        })
        .collect();
    CreatePartitionsResponse::default().with_results(results)
}

fn new_partitions(topic: &CreatePartitionsTopic) -> NewPartitions {
    let brokers = |assignment: &CreatePartitionsAssignment| {
        let brokers = assignment.broker_ids.iter();
        brokers.map(|broker| broker.0).collect()
    };
    let assignments = topic.assignments.as_ref();
    NewPartitions {
        name: topic.name.to_string(),
        count: topic.count,
        assignments: assignments.map(|all| all.iter().map(brokers).collect()),
    }
}
