//! DescribeTopicPartitions (key 75), version 0 (KIP-966): topics and partitions, page by page.
//!
//! Topics come in the order of their names; no names means all. A page holds as many partitions as the request
//! and `max.request.partition.size.limit` allow, and a cursor to the next partition if there are more.

use std::collections::BTreeSet;

use kafka_protocol::messages::describe_topic_partitions_request::DescribeTopicPartitionsRequest;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use protocol_shim::ErrorCode;
use protocol_shim::access::Operation;

use super::wire;
use crate::context::RequestContext;
use crate::metadata::{TopicImage, validate_topic_name};
use crate::net::account::Unaffordable;
use crate::view::View;

pub(crate) async fn handle(
    ctx: &RequestContext,
    request: DescribeTopicPartitionsRequest,
) -> Result<DescribeTopicPartitionsResponse, Unaffordable> {
    let asked: BTreeSet<&str> = request
        .topics
        .iter()
        .map(|topic| topic.name.as_str())
        .collect();
    let (first, first_partition) = match &request.cursor {
        Some(cursor)
            if cursor.partition_index < 0
                || !(asked.is_empty() || asked.contains(cursor.topic_name.as_str())) =>
        {
            let refused = request.topics.iter();
            let refused = refused.map(|topic| failed(&topic.name, ErrorCode::InvalidRequest));
            let response = DescribeTopicPartitionsResponse::default();
            return Ok(response.with_topics(refused.collect()));
        }
        Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index),
        None => ("", 0),
    };
    let limit = ctx.config().serving.max_request_partition_size_limit;
    let limit = limit.min(request.response_partition_limit).max(1);
    let view = ctx.view();
    // A page may be full; two replica sets and some bytes on the wire for each.
    let partition_bytes = size_of::<DescribeTopicPartitionsResponsePartition>()
        + 32
        + 2 * view.cluster().replica_bytes();
    ctx.pay_for_all(usize::try_from(limit).unwrap_or(0) * partition_bytes)
        .await?;

    let mut denied = Vec::new();
    let mut page = Page {
        view: &view,
        rack: ctx.client_rack(),
        room: limit,
        topics: Vec::new(),
        next_cursor: None,
    };
    let start_of = |name: &str| if name == first { first_partition } else { 0 };
    if asked.is_empty() {
        for topic in view.topics_from(first, Operation::Describe) {
            if !page.add(&topic, start_of(&topic.name)) {
                break;
            }
        }
    } else {
        for name in asked.range(first..) {
            match view.topic(name, Operation::Describe) {
                Ok(topic) => {
                    if !page.add(&topic, start_of(name)) {
                        break;
                    }
                }
                // Behind the others, as in Kafka.
                Err(error @ ErrorCode::TopicAuthorizationFailed) => {
                    denied.push(failed(name, error));
                }
                Err(_) if page.room == 0 => {
                    page.next_cursor = Some(cursor(name, 0));
                    break;
                }
                Err(_) => {
                    let error = validate_topic_name(name).map_or_else(
                        |error| error.code(),
                        |()| ErrorCode::UnknownTopicOrPartition,
                    );
                    page.topics.push(
                        failed(name, error)
                            .with_topic_authorized_operations(view.topic_operations(name)),
                    );
                }
            }
        }
    }
    page.topics.extend(denied);
    Ok(DescribeTopicPartitionsResponse::default()
        .with_topics(page.topics)
        .with_next_cursor(page.next_cursor))
}

struct Page<'a> {
    view: &'a View<'a>,
    /// Where the client is.
    rack: Option<&'a str>,
    /// Partitions that still fit.
    room: i32,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    next_cursor: Option<Cursor>,
}

impl Page<'_> {
    /// Adds what fits of a topic; false, with a cursor, when the page is full before its end.
    fn add(&mut self, topic: &TopicImage, from: i32) -> bool {
        let end = topic.partition_count.min(from.saturating_add(self.room));
        if self.room > 0 {
            let partitions = (from..end).map(|index| partition(self.view, topic, index, self.rack));
            self.topics.push(
                DescribeTopicPartitionsResponseTopic::default()
                    .with_name(Some(topic_name(&topic.name)))
                    .with_topic_id(topic.topic_id)
                    .with_is_internal(topic.is_internal())
                    .with_partitions(partitions.collect())
                    .with_topic_authorized_operations(self.view.topic_operations(&topic.name)),
            );
            self.room -= (end - from).max(0);
        }
        let complete = end >= topic.partition_count;
        if !complete {
            self.next_cursor = Some(cursor(&topic.name, end));
        }
        complete
    }
}

fn partition(
    view: &View<'_>,
    topic: &TopicImage,
    index: i32,
    rack: Option<&str>,
) -> DescribeTopicPartitionsResponsePartition {
    let leader = view.leader(topic, index, rack);
    let replicas = view.replicas(topic, index);
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(index)
        .with_leader_id(BrokerId(leader.broker_id))
        .with_leader_epoch(leader.epoch)
        .with_isr_nodes(replicas.clone())
        .with_replica_nodes(replicas)
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}

fn failed(name: &str, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(topic_name(name)))
        .with_error_code(error as i16)
}

fn cursor(topic: &str, partition: i32) -> Cursor {
    Cursor::default()
        .with_topic_name(topic_name(topic))
        .with_partition_index(partition)
}

fn topic_name(name: &str) -> TopicName {
    TopicName(wire(name))
}
