//! Metadata (key 3), versions 0-13: brokers, topics and who leads their partitions.
//!
//! * v0: an empty list of topics means all; from v1 null means all and an empty list none.
//! * v4: `allow_auto_topic_creation`. Unknown topics are created if the client and
//!   `auto.create.topics.enable` allow it. Kafka answers the first request LEADER_NOT_AVAILABLE or
//!   UNKNOWN_TOPIC_OR_PARTITION and lets the client ask again; here the topic is there when the answer leaves. Only a
//!   topic that was deleted a moment ago is answered UNKNOWN_TOPIC_OR_PARTITION once: a client that deletes a topic and
//!   looks expects it to be gone.
//! * v8 (KIP-430): authorized operations on request, of the cluster up to v10.
//! * v10 (KIP-516): topic ids in the response; from v12 topics may be asked for by id, unknown ones are
//!   UNKNOWN_TOPIC_ID.
//!
//! [`Members`](crate::cluster::view::Members) says who the brokers are, and which of them leads what. A client that says where
//! it is is told of the leaders there.

use std::collections::HashSet;

use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;
use uuid::Uuid;

use super::wire;
use crate::authorizer::Authorized;
use crate::client_text::client_text;
use crate::context::{RequestContext, Tab};
use crate::log_limited;
use crate::metadata::operations::OPERATIONS_OMITTED;
use crate::metadata::{MetadataError, TopicImage, validate_topic_name};
use crate::net::account::Unaffordable;
use crate::view::View;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: MetadataRequest,
) -> Result<MetadataResponse, Unaffordable> {
    let view = ctx.view();
    let include_operations = request.include_topic_authorized_operations;
    let topics = match &request.topics {
        None => all_topics(ctx, &view, include_operations).await?,
        Some(topics) if topics.is_empty() && ctx.api_version == 0 => {
            all_topics(ctx, &view, include_operations).await?
        }
        Some(topics) => asked_topics(ctx, &view, &request, topics).await?,
    };
    let cluster_operations =
        if request.include_cluster_authorized_operations && (8..=10).contains(&ctx.api_version) {
            view.cluster_operations()
        } else {
            OPERATIONS_OMITTED
        };
    let brokers = view.cluster().brokers(&ctx.session.listener);
    let brokers = brokers.map(|broker| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(broker.id))
            .with_host(wire(broker.host))
            .with_port(i32::from(broker.port))
            .with_rack(broker.rack.map(wire))
    });
    Ok(MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(wire(view.cluster_id())))
        .with_controller_id(BrokerId(view.cluster().controller()))
        .with_topics(topics)
        .with_cluster_authorized_operations(cluster_operations))
}

async fn all_topics(
    ctx: &RequestContext,
    view: &View<'_>,
    include_operations: bool,
) -> Result<Vec<MetadataResponseTopic>, Unaffordable> {
    let mut tab = ctx.tab();
    let mut described = Vec::new();
    for topic in view.topics_from("", Operation::Describe) {
        tab.add_for_all(cost(view, &topic)).await?;
        described.push(describe(ctx, view, &topic, include_operations));
    }
    Ok(described)
}

/// What a topic takes in the response, in structs and in bytes.
fn cost(view: &View<'_>, topic: &TopicImage) -> usize {
    // Replicas and those in sync, each in an allocation of their own, and some bytes on the wire.
    let partition_bytes =
        size_of::<MetadataResponsePartition>() + 24 + 2 * view.cluster().replica_bytes();
    let partition_count = usize::try_from(topic.partition_count).unwrap_or(0);
    size_of::<MetadataResponseTopic>() + 2 * topic.name.len() + partition_count * partition_bytes
}

async fn asked_topics(
    ctx: &RequestContext,
    view: &View<'_>,
    request: &MetadataRequest,
    topics: &[MetadataRequestTopic],
) -> Result<Vec<MetadataResponseTopic>, Unaffordable> {
    let mut tab = ctx.tab();
    let may_create =
        request.allow_auto_topic_creation && ctx.config().new_topics.auto_create_topics_enable;
    let include_operations = request.include_topic_authorized_operations;
    let mut described = Vec::with_capacity(topics.len());
    let mut missing = Vec::new();
    let mut seen = HashSet::with_capacity(topics.len());
    for topic in topics {
        let by_id = !topic.topic_id.is_nil();
        if ctx.api_version < 12 && (by_id || topic.name.is_none()) {
            let name = topic.name.as_deref().map_or("", |name| name.as_str());
            described.push(failed(ErrorCode::InvalidRequest, Some(name), Uuid::nil()));
            continue;
        }
        let name = topic.name.as_deref().map(|name| name.as_str());
        // With an id the name does not count.
        if !seen.insert((topic.topic_id, name.filter(|_| !by_id))) {
            continue;
        }
        let (name, error) = match name {
            Some(name) if !by_id => match view.topic(name, Operation::Describe) {
                Ok(found) => {
                    tab.add_for_all(cost(view, &found)).await?;
                    described.push(describe(ctx, view, &found, include_operations));
                    continue;
                }
                Err(error) => (name, error),
            },
            _ => {
                described.push(
                    match view.topic_by_id(topic.topic_id, Operation::Describe) {
                        Ok(found) => {
                            tab.add_for_all(cost(view, &found)).await?;
                            describe(ctx, view, &found, include_operations)
                        }
                        Err(error) => failed(error, None, topic.topic_id),
                    },
                );
                continue;
            }
        };
        let error = match validate_topic_name(name) {
            _ if error != ErrorCode::UnknownTopicOrPartition => error,
            Ok(()) if may_create && !view.metadata().tell_deleted(name) => {
                match view.creatable(name) {
                    Ok(name) => {
                        missing.push(name);
                        continue;
                    }
                    Err(denied) => denied,
                }
            }
            Ok(()) => error,
            Err(error) => error.code(),
        };
        described.push(failed(error, Some(name), Uuid::nil()));
    }
    if !missing.is_empty() {
        let created = create(ctx, view, &mut tab, missing, include_operations).await?;
        described.extend(created);
    }
    Ok(described)
}

/// Creates the topics that are not there, and describes them.
async fn create(
    ctx: &RequestContext,
    view: &View<'_>,
    tab: &mut Tab<'_>,
    missing: Vec<Authorized<String>>,
    include_operations: bool,
) -> Result<Vec<MetadataResponseTopic>, Unaffordable> {
    let mut described = Vec::with_capacity(missing.len());
    // All in one change: a producer of a hundred topics waits for the disk once.
    // A topic that is above the quota is not there yet: the client asks again.
    let metadata = ctx.charged_metadata_of_bystander();
    let created = metadata.auto_create(missing.clone()).await;
    let mut refused = None;
    let mut refused_count = 0_usize;
    for (name, created) in missing.iter().zip(created) {
        if let Ok(topic) = &created {
            tab.add_for_all(cost(view, topic)).await?;
        }
        described.push(match created {
            Ok(topic) => describe(ctx, view, &topic, include_operations),
            Err(MetadataError::Throttled) => {
                failed(ErrorCode::UnknownTopicOrPartition, Some(name), Uuid::nil())
            }
            Err(error) => {
                let code = error.code();
                refused_count += 1;
                refused.get_or_insert((name, error));
                failed(code, Some(name), Uuid::nil())
            }
        });
    }
    if let Some((name, error)) = refused {
        let (name_shown, why) = (client_text(name), error.to_string());
        log_limited!(
            warn,
            "cannot create topic {name_shown}: {}; so with {refused_count} in all",
            client_text(&why)
        );
    }
    Ok(described)
}

fn describe(
    ctx: &RequestContext,
    view: &View<'_>,
    topic: &TopicImage,
    include_operations: bool,
) -> MetadataResponseTopic {
    let rack = ctx.client_rack();
    let partitions = (0..topic.partition_count).map(|partition| {
        let leader = view.leader(topic, partition, rack);
        let replicas = view.replicas(topic, partition);
        MetadataResponsePartition::default()
            .with_partition_index(partition)
            .with_leader_id(BrokerId(leader.broker_id))
            .with_leader_epoch(leader.epoch)
            .with_isr_nodes(replicas.clone())
            .with_replica_nodes(replicas)
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(wire(&topic.name))))
        .with_topic_id(topic.topic_id)
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(if include_operations {
            view.topic_operations(&topic.name)
        } else {
            OPERATIONS_OMITTED
        })
}

fn failed(error: ErrorCode, name: Option<&str>, topic_id: Uuid) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(error as i16)
        .with_name(name.map(|name| TopicName(wire(name))))
        .with_topic_id(topic_id)
}
