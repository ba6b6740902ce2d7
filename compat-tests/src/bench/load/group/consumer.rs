//! A member of the consumer protocol (KIP-848): what Java's consumer does with `group.protocol=consumer`.

use std::time::Duration;

use anyhow::{Result, ensure};
use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::protocol::StrBytes;

use super::board::Place;
use super::{GroupLoad, group_id};
use crate::bench::async_client::AsyncClient;
use crate::bench::request::topic_name;

const CONSUMER_GROUP_HEARTBEAT_VERSION: i16 = 1;
/// `max.poll.interval.ms`, a default.
const REBALANCE_TIMEOUT_MS: i32 = 300_000;

/// Joins and takes on what it is given, at once; ends with an error or never.
pub async fn be_member(load: &GroupLoad, mut client: AsyncClient, place: Place) -> Result<()> {
    let member_id = StrBytes::from_string(uuid::Uuid::new_v4().to_string());
    let mut owned: Vec<i32> = Vec::new();
    let mut member_epoch = 0;
    // What has not changed since the last request is left out of the next one.
    let mut tell_owned = true;
    loop {
        let mut heartbeat = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(&load.id))
            .with_member_id(member_id.clone())
            .with_member_epoch(member_epoch)
            .with_rebalance_timeout_ms(-1)
            .with_topic_partitions(None);
        if member_epoch == 0 {
            heartbeat = heartbeat
                .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
                .with_subscribed_topic_names(Some(vec![topic_name(&load.topic.name)]));
        }
        if tell_owned {
            let partitions = TopicPartitions::default()
                .with_topic_id(load.topic_id)
                .with_partitions(owned.clone());
            let topics = if owned.is_empty() {
                vec![]
            } else {
                vec![partitions]
            };
            heartbeat = heartbeat.with_topic_partitions(Some(topics));
        }
        place.sign_of_life();
        let answer = client
            .call(CONSUMER_GROUP_HEARTBEAT_VERSION, &heartbeat)
            .await?;
        ensure!(
            answer.error_code == 0,
            "ConsumerGroupHeartbeat: error {} {:?}",
            answer.error_code,
            answer.error_message
        );
        let is_new_epoch = answer.member_epoch != member_epoch;
        member_epoch = answer.member_epoch;
        tell_owned = answer.assignment.is_some();
        if let Some(assignment) = answer.assignment {
            let topics = assignment.topic_partitions.into_iter();
            owned = topics.flat_map(|topic| topic.partitions).collect();
        }
        if tell_owned || is_new_epoch {
            place.hold(member_epoch, owned.clone())?;
        }
        if !tell_owned {
            let interval = Duration::from_millis(u64::try_from(answer.heartbeat_interval_ms)?);
            tokio::time::sleep(interval).await;
        }
    }
}
