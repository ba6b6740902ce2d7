//! CreateTopics (key 19), versions 2-7.
//!
//! Each topic succeeds or fails by itself; a name that occurs twice fails once, with INVALID_REQUEST.
//! -1 for partitions and replication factor means the broker's defaults (KIP-464). From v5 the answer
//! tells partitions, replication factor and settings (KIP-525), from v7 the topic id (KIP-516).
//!
//! Deviations: the request's timeout is not used, the answer waits until the topics are durable. A single
//! node stores one copy: other replication factors are INVALID_REPLICATION_FACTOR unless
//! `ottla.accept.any.replication.factor` is set; the answer then still says 1, which is what there is. In a cluster any factor is
//! taken, and the answer says in how many racks there are brokers. Assignments name brokers of the cluster, and are not kept.

#![expect(clippy::disallowed_methods, reason = "it has checked the topic")]

use std::collections::HashSet;

use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol_shim::access::Operation;
use protocol_shim::error_code::ErrorCode;

use super::describe_configs::{ConfigEntry, topic_entries};
use super::wire;
use crate::authorizer::Resource;
use crate::context::RequestContext;
use crate::metadata::{MetadataError, NewTopic, Placement, TopicImage};
use crate::view::View;

/// The first version whose clients know that they are above their quota (KIP-599).
const STRICT_SINCE: i16 = 6;

/// Topics whose settings one response tells; the others' are null.
const MAX_DESCRIBED_TOPICS: usize = 10_000;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    let mut wanted = Vec::with_capacity(request.topics.len());
    let view = ctx.view();
    for topic in &request.topics {
        // Whoever may not create it is not told what else is wrong.
        let new = new_topic(topic).map_err(|error| match view.creatable(&topic.name) {
            Ok(_) => error,
            Err(denied) => MetadataError::Denied(denied),
        });
        let authorized = new.and_then(|new| {
            let authorized = view.change_or_on_cluster(Operation::Create, new);
            authorized.map_err(MetadataError::Denied)
        });
        match authorized {
            Ok(topic) => wanted.push(topic),
            Err(error) => results.push(failed(&topic.name, &error)),
        }
    }
    let names: Vec<TopicName> = wanted
        .iter()
        .map(|topic| TopicName(wire(&topic.name)))
        .collect();
    let metadata = ctx.charged_metadata(STRICT_SINCE);
    let created = metadata.create_topics(wanted, request.validate_only).await;
    // What is there now.
    let view = ctx.view();
    let mut refused_duplicates = HashSet::new();
    for (place, (name, outcome)) in names.into_iter().zip(created).enumerate() {
        match outcome {
            Ok(topic) => {
                let with_configs = place < MAX_DESCRIBED_TOPICS;
                results.push(created_topic(ctx, &view, &topic, with_configs));
            }
            Err(error) => {
                // Kafka answers a repeated name once.
                let repeated = matches!(error, MetadataError::InvalidRequest(_));
                if !repeated || refused_duplicates.insert(name.clone()) {
                    results.push(failed(&name, &error));
                }
            }
        }
    }
    CreateTopicsResponse::default().with_topics(results)
}

fn new_topic(topic: &CreatableTopic) -> Result<NewTopic, MetadataError> {
    let placement = if topic.assignments.is_empty() {
        Placement::Counts {
            partitions: topic.num_partitions,
            replication_factor: topic.replication_factor,
        }
    } else {
        let not_default = match (topic.replication_factor, topic.num_partitions) {
            (-1, -1) => None,
            (-1, _) => Some("numPartitions"),
            _ => Some("replication factor"),
        };
        if let Some(what) = not_default {
            return Err(MetadataError::InvalidRequest(format!(
                "A manual partition assignment was specified, but {what} was not set to -1."
            )));
        }
        let assignments = topic.assignments.iter().map(|assignment| {
            let brokers = assignment.broker_ids.iter().map(|broker| broker.0);
            (assignment.partition_index, brokers.collect())
        });
        Placement::Manual(assignments.collect())
    };
    let configs = topic.configs.iter().map(|config| {
        let value = config.value.as_ref().map(|value| value.to_string());
        (config.name.to_string(), value)
    });
    Ok(NewTopic {
        name: topic.name.to_string(),
        placement,
        configs: configs.collect(),
    })
}

fn created_topic(
    ctx: &RequestContext,
    view: &View<'_>,
    topic: &TopicImage,
    with_configs: bool,
) -> CreatableTopicResult {
    let name = TopicName(wire(&topic.name));
    let result = CreatableTopicResult::default()
        .with_name(name)
        .with_error_message(None);
    if ctx.api_version < 5 {
        return result;
    }
    let result = result.with_topic_id(topic.topic_id);
    if !view.allows(Operation::DescribeConfigs, Resource::Topic(&topic.name)) {
        return result.with_topic_config_error_code(ErrorCode::TopicAuthorizationFailed.into());
    }
    // Exactly Kafka's keys, unless the client itself has named another one.
    let known = |entry: &ConfigEntry| {
        !entry.name.starts_with("ottla.") || topic.overrides.contains_key(&*entry.name)
    };
    let configs = with_configs.then(|| {
        let entries =
            topic_entries(ctx.config(), &view.whole_metadata().image, &topic.overrides).into_iter();
        entries.filter(known)
    });
    let on_wire = |entry: ConfigEntry| {
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_string(entry.name.into_owned()))
            .with_value(entry.value.map(StrBytes::from_string))
            .with_config_source(entry.source as i8)
    };
    let configs = configs.map(|entries| entries.map(on_wire).collect());
    let replicas = view.cluster().replica_count();
    result
        .with_num_partitions(topic.partition_count)
        .with_replication_factor(i16::try_from(replicas).unwrap_or(i16::MAX))
        .with_configs(configs)
}

fn failed(name: &TopicName, error: &MetadataError) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name.clone())
        .with_error_code(error.code() as i16)
        .with_error_message(Some(StrBytes::from_string(error.to_string())))
}
